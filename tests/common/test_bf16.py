"""Products of bf16 matrices, on CPUs with instructions for them and on others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compression_order.common import bf16


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


PRODUCTS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "linear": (F.linear, [(7, 64), (96, 64), (96,)]),
    "linear without bias": (F.linear, [(3, 7, 64), (96, 64)]),
    "matrices": (torch.matmul, [(9, 64), (64, 33)]),
    "batches": (torch.matmul, [(4, 9, 64), (4, 64, 33)]),
    "attention": (attention, [(2, 3, 11, 16)] * 3),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_widened_product_is_the_float32_product_rounded_once(name: str) -> None:
    product, shapes = PRODUCTS[name]
    factors = [drawn(*shape).requires_grad_() for shape in shapes]
    wide = [factor.detach().float().requires_grad_() for factor in factors]
    with bf16.widened():
        found = product(*factors)
        found.float().square().sum().backward()
    expected = product(*wide)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
    # what flows back is rounded to bf16 at every operator
    expected.backward(2 * found.detach().float())
    for narrow, single in zip(factors, wide, strict=True):
        assert narrow.grad is not None and narrow.grad.dtype == torch.bfloat16
        assert single.grad is not None
        torch.testing.assert_close(narrow.grad.float(), single.grad, rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_widened_product_is_torchs_own_but_for_rounding(name: str) -> None:
    product, shapes = PRODUCTS[name]
    factors = [drawn(*shape) for shape in shapes]
    own = product(*factors)
    with bf16.widened():
        found = product(*factors)
    torch.testing.assert_close(found, own, rtol=2**-6, atol=2**-5)


def test_other_products_stay_what_they_are() -> None:
    a, b = drawn(5, 8).float(), drawn(8, 3).float()
    with bf16.widened():
        assert torch.equal(a @ b, torch.mm(a, b))
        assert (a @ b).dtype == torch.float32
        assert (a.double() @ b.double()).dtype == torch.float64


def test_only_where_the_cpu_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    @contextmanager
    def widened() -> Iterator[None]:
        entered.append("on")
        yield

    monkeypatch.setattr(bf16, "widened", widened)
    decide = bf16.widen.__wrapped__  # not what this process decided already
    monkeypatch.setattr(bf16, "are_fast", lambda: True)
    assert decide() is None and not entered
    monkeypatch.setattr(bf16, "are_fast", lambda: False)
    assert decide() is not None and entered == ["on"]


def test_the_kernels_are_put_back() -> None:
    a, b = drawn(5, 8), drawn(8, 3)
    own = a @ b
    for _ in range(2):
        with bf16.widened():
            assert torch.equal(a @ b, (a.float() @ b.float()).bfloat16())
        assert torch.equal(a @ b, own)
