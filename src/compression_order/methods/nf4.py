"""NF4 quantization with bitsandbytes: 4-bit NormalFloat weights, no calibration data.

Dettmers et al. 2023, QLoRA, section 3 (arXiv 2305.14314). Every linear of the decoder layers
is quantized; embeddings, norms and the output head stay in bf16.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

from compression_order import bitsandbytes_form, chat, formulas, loading

FORMAT = "bnb-nf4"
_MARK = ".quant_state.bitsandbytes__nf4"


@dataclass(frozen=True)
class Settings(bitsandbytes_form.BitsAndBytesForm):
    """NF4's only choice: whether the scales of the blocks are quantized too."""

    FORMAT = FORMAT
    KERNEL = "Linear4bit"

    double_quant: bool = True

    def config(self) -> BitsAndBytesConfig:
        """How transformers is to quantize while it loads."""
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )

    def analytic(self, shape: formulas.Counts) -> int:
        """Bytes of the weights, by formula."""
        return formulas.nf4_bytes(shape, self.double_quant)

    def rounded(self, name: str, weight: Tensor) -> Tensor:
        """A weight in NF4 and back.

        Weights that lie on the grid stay there but for the rounding of the block scales.
        """
        import bitsandbytes.functional as bnb

        codes, state = bnb.quantize_4bit(
            weight, quant_type="nf4", compress_statistics=self.double_quant
        )
        return bnb.dequantize_4bit(codes, state).to(weight.dtype)


def dequantized(stored: Path) -> dict[str, Tensor]:
    """The state of a stored NF4 model with every 4-bit weight as the bf16 that its kernels use."""
    import bitsandbytes.functional as bnb  # slow to import; dense checkpoints do without

    tensors = load_file(stored)
    linears = [name.removesuffix(_MARK) for name in tensors if name.endswith(_MARK)]
    for name in linears:
        parts = {n: tensors.pop(n) for n in list(tensors) if n.startswith(f"{name}.")}
        state = bnb.QuantState.from_dict(
            {n.removeprefix(f"{name}."): t for n, t in parts.items()}, device=torch.device("cpu")
        )
        tensors[name] = bnb.dequantize_4bit(tensors[name], state)
    return tensors


def allow_any_width(model: PreTrainedModel) -> int:
    """Let every 4-bit linear run on this machine; the number that the fast CPU kernel refuses.

    On CPUs with AVX512-BF16 bitsandbytes packs weights into blocks of 32 rows and 64 columns, and
    stops at other shapes, such as the 7706 neurons of arXiv 2511.19495. Those linears take its
    general kernel instead.
    """
    refused = [
        module
        for module in loading.kernels(model, "Linear4bit")
        if module.out_features % 32 or module.in_features % 64
    ]
    for module in refused:
        module.support_avx512bf16_for_cpu = False
    return len(refused)


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[Settings, dict[str, Any]]:
    """The form, and what the checkpoint must show. Storing does the work."""
    return settings, settings.claims(model)
