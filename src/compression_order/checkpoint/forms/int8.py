"""8-bit linears with bitsandbytes: one int8 a weight and one float32 scale a row, no calibration.

Dettmers et al. 2022, LLM.int8, section 3 (arXiv 2208.07339). Every linear of the decoder layers
is quantized; embeddings, norms and the output head stay in bf16. The kernels round activations
to 8 bits too, but for the columns of outliers; the dequantized copy that evaluations score does
not. How far apart the two are is measured in tests/checkpoint/test_int8.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BitsAndBytesConfig

from compression_order.architecture import storage
from compression_order.checkpoint.forms import bnb
from compression_order.common.errors import HarnessError

FORMAT = "bnb-int8"
_CODES = 127


@dataclass(frozen=True)
class Int8(bnb.BitsAndBytes):
    """LLM.int8's only choice: from which activation on a column is computed in 16 bits."""

    FORMAT = FORMAT
    KERNEL = "Linear8bitLt"

    threshold: float = 6.0

    def config(self) -> BitsAndBytesConfig:
        """How transformers is to quantize while it loads.

        Raises:
            HarnessError: see `require_kernels`.
        """
        require_kernels()
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=self.threshold)

    def analytic(self, shape: storage.Counts) -> int:
        """Bytes of the weights, by formula."""
        return storage.int8_bytes(shape)

    def state(self, weights: Path) -> dict[str, Tensor]:
        """The state of a stored model with every 8-bit weight in bf16."""
        return dequantized(weights)

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


def read(config: Mapping[str, Any], folder: Path) -> Int8:
    """The form of a stored checkpoint, by `quantization_config` of its config.json."""
    return Int8(float(config["llm_int8_threshold"]))
