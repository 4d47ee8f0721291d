"""8-bit linears with bitsandbytes: one int8 a weight and one float32 scale a row, no calibration.

Dettmers et al. 2022, LLM.int8, section 3 (arXiv 2208.07339). Every linear of the decoder layers
is quantized; embeddings, norms and the output head stay in bf16. The kernels round activations
to 8 bits too, but for the columns of outliers; the dequantized copy that evaluations score does
not. How far apart the two are is measured in tests/test_int8.py.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from compression_order import chat, files, formulas, loading
from compression_order.errors import HarnessError

FORMAT = "bnb-int8"
_CODES = 127


@dataclass(frozen=True)
class Settings:
    """LLM.int8's only choice: from which activation on a column is computed in 16 bits."""

    threshold: float = 6.0

    @property
    def format(self) -> str:
        """The manifest's `format`."""
        return FORMAT

    def record(self) -> dict[str, Any]:
        """The manifest's `quantization`."""
        return asdict(self)

    def store(self, model: PreTrainedModel, folder: Path) -> dict[str, Any]:
        """Write a dense model, quantized, into a folder that this makes."""
        with files.scratch(folder.with_name("dense")) as dense:
            model.save_pretrained(dense, max_shard_size="1TB")
            quantize(dense, self).save_pretrained(folder, max_shard_size="1TB")
        return {}

    def linears(self, loaded: PreTrainedModel, weights: Path) -> int:
        """How many linears are 8-bit ones."""
        return len(loading.kernels(loaded, "Linear8bitLt"))

    def analytic(self, shape: formulas.Counts) -> int:
        """Bytes of the weights, by formula."""
        return formulas.int8_bytes(shape)

    def rounded(self, name: str, weight: Tensor) -> Tensor:
        """A weight in 8 bits and back."""
        import bitsandbytes.functional as bnb

        codes, scales, _ = bnb.int8_vectorwise_quant(weight.half())
        return _weight(codes, scales)


def require_kernels() -> None:
    """Raise HarnessError where bitsandbytes cannot quantize to 8 bits on this device."""
    import bitsandbytes.functional as bnb

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        bnb.int8_vectorwise_quant(torch.ones(1, 64, dtype=torch.float16, device=device))
    except (RuntimeError, NotImplementedError, AttributeError) as fault:
        raise HarnessError(
            f"method int8: bitsandbytes cannot quantize to 8 bits on this {device} "
            f"({str(fault).splitlines()[0]}); use nf4, or run on a CUDA device"
        ) from None


def quantize(dense: Path, settings: Settings) -> PreTrainedModel:
    """The model of a dense checkpoint folder with its decoder linears in 8 bits."""
    require_kernels()
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=settings.threshold)
    return loading.pretrained(dense, quantization_config=config, dtype=torch.bfloat16)


def dequantized(stored: Path) -> dict[str, Tensor]:
    """The state of a stored 8-bit model with every quantized weight in bf16."""
    tensors = load_file(stored)
    for name in [n.removesuffix(".SCB") for n in tensors if n.endswith(".SCB")]:
        scales = tensors.pop(f"{name}.SCB")
        tensors.pop(f"{name}.weight_format")
        tensors[f"{name}.weight"] = _weight(tensors[f"{name}.weight"], scales)
    return tensors


def _weight(codes: Tensor, scales: Tensor) -> Tensor:
    return (codes.float() * (scales[:, None] / _CODES)).to(torch.bfloat16)


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[Settings, dict[str, Any]]:
    """The form, and what the checkpoint must show: its 8-bit linears. Storing does the work."""
    layers = model.base_model.layers
    count = sum(isinstance(m, nn.Linear) for layer in layers for m in layer.modules())
    return settings, {"quantized_linears": count}
