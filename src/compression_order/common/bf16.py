"""Products of bf16 matrices on a CPU that has no instructions for them.

There torch multiplies bf16 matrices element by element: a forward pass of SmolLM2-135M-Instruct
takes six times as long as in float32. Here the factors are widened to float32, which is exact,
multiplied, and the result is rounded to bf16 once. That is what the instructions do (products
accumulate in float32), so that a study means the same on every CPU, but for the order of additions.

The kernels are replaced rather than each call of them: whatever makes a product, a library or the
backward pass, is served, and nothing else gets slower. Torch is imported where it is needed: a
CLI's --help must not wait for it.
"""

import atexit
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any

# kernel -> the outputs that it gives in float32 whatever its inputs: log-sums of attention
_KERNELS: Mapping[str, Sequence[int]] = {
    "mm": (),
    "addmm": (),
    "bmm": (),
    "baddbmm": (),
    "_scaled_dot_product_flash_attention_for_cpu": (1,),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (),
}


@contextmanager
def widened() -> Iterator[None]:
    """Widen all products of bf16 tensors on the CPU until the block ends."""
    from torch.library import _scoped_library, get_kernel

    with _scoped_library("aten", "IMPL") as library:
        for name, kept in _KERNELS.items():
            replacing = partial(_run, get_kernel(f"aten::{name}", "CPU"), kept)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns that a kernel is replaced
                library.impl(name, replacing, "CPU", with_keyset=True)
        yield


def _run(kernel: Any, kept: Sequence[int], keys: Any, *args: Any, **named: Any) -> Any:
    import torch

    if not any(map(_is_narrow, args)):
        return kernel.call_boxed(keys, *args, **named)
    wide = {name: _widened(value) for name, value in named.items()}
    found = kernel.call_boxed(keys, *map(_widened, args), **wide)
    if isinstance(found, torch.Tensor):
        return found.bfloat16()
    return tuple(out if i in kept else out.bfloat16() for i, out in enumerate(found))


def _is_narrow(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def _widened(value: Any) -> Any:
    return value.float() if _is_narrow(value) else value


def are_fast() -> bool:
    """Whether this CPU multiplies bf16 matrices by instructions of its own (torch asks oneDNN)."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def widen() -> AbstractContextManager[None] | None:
    """From now on widen the products of this process, where the CPU is slow at them."""
    if are_fast():
        return None
    lasting = widened()
    lasting.__enter__()
    # put back before the interpreter takes torch apart, which would be told as an error
    atexit.register(lasting.__exit__, None, None, None)
    return lasting
