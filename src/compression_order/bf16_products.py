"""Products of bf16 matrices on a CPU that has no instructions for them.

There torch multiplies bf16 matrices element by element: SmolLM2-135M-Instruct then takes six times
as long as in float32, or more. Here the factors are widened to float32, which is exact, multiplied,
and the result is rounded to bf16 once. That is what the instructions do (products accumulate in
float32), so that a study means the same on every CPU, but for the order of additions.

Torch is imported where it is needed: a CLI's --help must not wait for it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any


@cache
def mode() -> Any:
    """The class of torch's dispatch mode under which products of bf16 tensors are widened."""
    import torch
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode

    aten = torch.ops.aten
    # operator -> the outputs that it gives in float32 whatever its inputs: log-sums of attention
    widened: Mapping[Any, Sequence[int]] = {
        aten.mm.default: (),
        aten.addmm.default: (),
        aten.bmm.default: (),
        aten.baddbmm.default: (),
        aten._scaled_dot_product_flash_attention_for_cpu.default: (1,),
        aten._scaled_dot_product_flash_attention_for_cpu_backward.default: (),
    }

    def slow(value: Any) -> bool:
        narrow = isinstance(value, Tensor) and value.dtype == torch.bfloat16
        return narrow and value.device.type == "cpu"

    def wide(value: Any) -> Any:
        return value.float() if slow(value) else value

    class Widened(TorchDispatchMode):
        def __torch_dispatch__(
            self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            if operator not in widened or not any(map(slow, args)):
                return operator(*args, **named)
            found = operator(*map(wide, args), **{key: wide(its) for key, its in named.items()})
            if isinstance(found, Tensor):
                return found.to(torch.bfloat16)
            kept = widened[operator]
            return tuple(out if i in kept else out.bfloat16() for i, out in enumerate(found))

    return Widened


def are_fast() -> bool:
    """Whether this CPU multiplies bf16 matrices by instructions of its own (torch asks oneDNN)."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def widen() -> None:
    """From now on widen the products of this process, where the CPU is slow at them; once."""
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as stack

    if not are_fast() and not any(isinstance(its, mode()) for its in stack()):
        mode()().__enter__()
