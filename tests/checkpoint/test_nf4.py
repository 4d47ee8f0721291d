"""What training through the NF4 grid sees is what bitsandbytes stores, bit for bit."""

from typing import Any

import bitsandbytes
import bitsandbytes.functional
import pytest
import torch
from lab import Lab
from safetensors.torch import load_file
from torch import Tensor

from compression_order.checkpoint.forms.nf4 import Nf4
from compression_order.checkpoint.stored import Checkpoint


def weights() -> Tensor:
    """[96, 200] in bf16: 300 blocks of 64, more than one group of 256 of their scales."""
    rng = torch.Generator().manual_seed(0)
    sizes = torch.rand(96, 1, generator=rng)  # scales that differ
    return (torch.randn(96, 200, generator=rng) * sizes).bfloat16()


def by_bitsandbytes(weight: Tensor, double_quant: bool) -> Tensor:
    """A linear of bitsandbytes with these weights, quantized as it is moved to its device."""
    linear = bitsandbytes.nn.Linear4bit(*weight.T.shape, bias=False)
    linear.weight = bitsandbytes.nn.Params4bit(
        weight, requires_grad=False, compress_statistics=double_quant, quant_type="nf4"
    )
    kept = linear.to("cpu").weight
    assert kept.dtype == torch.uint8
    assert kept.quant_state.nested == double_quant
    return bitsandbytes.functional.dequantize_4bit(kept.data, kept.quant_state)


@pytest.mark.parametrize("double_quant", [True, False])
def test_rounding_gives_the_values_of_a_quantized_linear(double_quant: bool) -> None:
    rounded = Nf4(double_quant).rounded("", weights())
    assert torch.equal(rounded, by_bitsandbytes(weights(), double_quant))


def test_rounding_without_double_quantization_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_bitsandbytes(weights(), True)
    assert not torch.equal(Nf4(False).rounded("", weights()), expected)
    own = bitsandbytes.functional.quantize_4bit

    def single(weight: Tensor, **named: Any) -> Any:
        return own(weight, **{**named, "compress_statistics": False})

    monkeypatch.setattr(bitsandbytes.functional, "quantize_4bit", single)
    assert not torch.equal(Nf4(True).rounded("", weights()), expected)


def test_rounding_gives_the_values_of_a_stored_checkpoint(lab: Lab) -> None:
    dense = load_file(lab.base / "model.safetensors")
    stored = Checkpoint(lab.quantized).model(torch.float32)
    changed = 0
    for name, weight in stored.named_parameters():
        if dense[name].ndim == 2 and "layers" in name:
            rounded = Nf4(True).rounded(name, dense[name])
            assert torch.equal(weight, rounded.float()), name
            changed += not torch.equal(weight, dense[name].float())
    assert changed == 14
