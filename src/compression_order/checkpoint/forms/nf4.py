"""NF4 of bitsandbytes: 4-bit NormalFloat weights.

Dettmers et al. 2023, QLoRA, section 3 (arXiv 2305.14314). Every linear of the decoder layers
is quantized; embeddings, norms and the output head stay in bf16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import BitsAndBytesConfig, PreTrainedModel

from compression_order.architecture import storage
from compression_order.checkpoint import models
from compression_order.checkpoint.forms import bnb

FORMAT = "bnb-nf4"
_BLOCK = 64  # weights that share a scale
_ZEROS = 0x77  # two weights of code 7, which is 0
_MARK = ".quant_state.bitsandbytes__nf4"


@dataclass(frozen=True)
class Nf4(bnb.BitsAndBytes):
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

    def quantize(self, model: PreTrainedModel) -> PreTrainedModel:
        """A dense bf16 model with its decoder linears in NF4; the model stays as it is."""
        made = super().quantize(model)
        for name, module in made.named_modules():
            if type(module).__name__ == self.KERNEL:
                codes, weight = module.weight.data, model.get_submodule(name).weight.data
                _keep_zeros(codes, weight.to(codes.device))
        return made

    def analytic(self, shape: storage.Counts) -> int:
        """Bytes of the weights, by formula."""
        return storage.nf4_bytes(shape, self.double_quant)

    def state(self, weights: Path) -> dict[str, Tensor]:
        """The state of a stored model with every 4-bit weight in bf16."""
        return dequantized(weights)

    def prepare(self, loaded: PreTrainedModel) -> None:
        """Let every 4-bit linear run on this machine, whatever its width."""
        allow_any_width(loaded)

    def rounded(self, name: str, weight: Tensor) -> Tensor:
        """A weight in NF4 and back.

        Weights that lie on the grid stay there but for the rounding of the block scales.
        """
        import bitsandbytes.functional as bnb

        codes, state = bnb.quantize_4bit(
            weight, quant_type="nf4", compress_statistics=self.double_quant
        )
        _keep_zeros(codes, weight)
        return bnb.dequantize_4bit(codes, state).to(weight.dtype)


def _keep_zeros(codes: Tensor, weight: Tensor) -> None:
    """Give every block of zeros the code of zero; changes `codes`.

    Its largest weight is 0, which bitsandbytes divides by: where denormal numbers count as zero
    each weight then gets the code of 1, and double quantization does not give 0 back for the scale.

    Args:
        codes: two weights a byte, in the order of the flat weight.
        weight: that they were made from.
    """
    blocks = functional.pad(weight.flatten(), (0, -weight.numel() % _BLOCK)).view(-1, _BLOCK)
    empty = (blocks == 0).all(dim=1).repeat_interleave(_BLOCK // 2)
    codes.view(-1)[empty[: codes.numel()]] = _ZEROS


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
        for module in models.kernels(model, "Linear4bit")
        if module.out_features % 32 or module.in_features % 64
    ]
    for module in refused:
        module.support_avx512bf16_for_cpu = False
    return len(refused)


def read(config: Mapping[str, Any], folder: Path) -> Nf4:
    """The form of a stored checkpoint, by `quantization_config` of its config.json."""
    return Nf4(bool(config["bnb_4bit_use_double_quant"]))
