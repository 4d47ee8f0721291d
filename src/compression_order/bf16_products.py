"""Products of bf16 matrices on a CPU that has no instructions for them.

There torch multiplies bf16 matrices element by element: SmolLM2-135M-Instruct then takes ten times
as long as in float32. Here the factors are widened to float32, which is exact, multiplied, and the
result is rounded to bf16 once. That is what the instructions do (products accumulate in float32),
so that a study means the same on every CPU, but for the order of additions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

_ATEN = torch.ops.aten
# operator -> the outputs that it gives in float32 whatever its inputs: log-sums of attention
_WIDENED: Mapping[Any, Sequence[int]] = {
    _ATEN.mm.default: (),
    _ATEN.addmm.default: (),
    _ATEN.bmm.default: (),
    _ATEN.baddbmm.default: (),
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default: (1,),
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default: (),
}


class Widened(TorchDispatchMode):
    """While it is on, products of bf16 tensors on the CPU are made of float32 ones."""

    def __torch_dispatch__(
        self,
        operator: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operator; see torch's `TorchDispatchMode`."""
        named = dict(kwargs or {})
        if operator not in _WIDENED or not any(map(_is_slow, args)):
            return operator(*args, **named)
        found = operator(*map(_wide, args), **{key: _wide(value) for key, value in named.items()})
        if isinstance(found, Tensor):
            return found.to(torch.bfloat16)
        kept = _WIDENED[operator]
        return tuple(out if i in kept else out.to(torch.bfloat16) for i, out in enumerate(found))


def _is_slow(value: Any) -> bool:
    return (
        isinstance(value, Tensor) and value.dtype == torch.bfloat16 and value.device.type == "cpu"
    )


def _wide(value: Any) -> Any:
    return value.float() if _is_slow(value) else value


def are_fast() -> bool:
    """Whether this CPU multiplies bf16 matrices by instructions of its own (torch asks oneDNN)."""
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def widen() -> None:
    """From now on widen the products of this process, where the CPU is slow at them; once."""
    on = any(isinstance(mode, Widened) for mode in _get_current_dispatch_mode_stack())
    if not on and not are_fast():
        Widened().__enter__()
