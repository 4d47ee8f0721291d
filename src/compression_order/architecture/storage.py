"""Closed formulas that need neither torch nor weights: widths and bytes (DESIGN section 7)."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Protocol

from compression_order.common.errors import HarnessError

BF16, FP32 = 2, 4  # bytes a number


class Counts(Hashable, Protocol):
    """What the size of a model depends on."""

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of every linear of the decoder layers; the head is not among them."""

    @property
    def linears(self) -> tuple[int, ...]:
        """Weights of each of them."""

    @property
    def other(self) -> int:
        """Parameters outside those linears, a tied embedding counted once."""


def kept_width(width: int, ratio: float, round_to: int) -> int:
    """The neurons left of `width` after `ratio` of them went, a multiple of `round_to`.

    As the reference study counts (arXiv 2511.19495): `int(ratio * width)` go. The remainder is
    then rounded to the nearest multiple, and never reaches 0.

    Raises:
        HarnessError: nothing would go, or nothing would be left.
    """
    left = width - int(ratio * width)
    rounded = round_to * max(1, round(left / round_to))
    if not 0 < rounded < width:
        raise HarnessError(
            f"ratio {ratio} with round_to {round_to} leaves {rounded} of {width} FFN neurons; "
            f"choose a ratio that removes at least one block of {round_to} and keeps one"
        )
    return rounded


@cache
def dense_bytes(model: Counts) -> int:
    """bf16: two bytes a parameter."""
    return BF16 * (sum(model.linears) + model.other)


def nf4_linear_bytes(weights: int, double_quant: bool = True) -> int:
    """One linear in NF4 (bitsandbytes; Dettmers et al. 2023, section 3).

    Half a byte a weight, the code book of NF4 (16 float32) and one scale a block of 64:
    float32, or with double quantization int8, with one float32 scale a block of 256 of those
    and their code book (256 float32).
    """
    blocks = ceil(weights / 64)
    scales = blocks + 4 * ceil(blocks / 256) + 4 * 256 if double_quant else 4 * blocks
    return ceil(weights / 2) + scales + 4 * 16


@cache
def nf4_bytes(model: Counts, double_quant: bool = True) -> int:
    """NF4 linears, everything else in bf16."""
    return sum(nf4_linear_bytes(n, double_quant) for n in model.linears) + BF16 * model.other


def packed_linear_bytes(
    rows: int, columns: int, bits: int, group_size: int, symmetric: bool
) -> int:
    """One linear in compressed-tensors' `pack-quantized` layout, as GPTQ and AWQ are stored.

    A row of codes fills whole int32 words. A group of `group_size` columns has one bf16 scale
    and, unless symmetric, one zero point of `bits` bits, packed into int32 words down the rows.
    """
    groups = ceil(columns / group_size)
    codes = rows * 4 * ceil(columns * bits / 32)
    zero_points = 0 if symmetric else groups * 4 * ceil(rows * bits / 32)
    return codes + BF16 * rows * groups + zero_points


@cache
def packed_bytes(model: Counts, bits: int, group_size: int, symmetric: bool) -> int:
    """Packed linears, everything else in bf16."""
    linears = (packed_linear_bytes(*m, bits, group_size, symmetric) for m in model.matrices)
    return sum(linears) + BF16 * model.other


@cache
def int8_bytes(model: Counts) -> int:
    """LLM.int8 linears (bitsandbytes): a byte a weight, a float32 scale a row; the rest bf16."""
    rows = sum(rows for rows, _ in model.matrices)
    return sum(model.linears) + FP32 * rows + BF16 * model.other


class Storage(Protocol):
    """How the linears of the decoder layers are stored, for who plans without torch."""

    def bytes(self, model: Counts) -> int:
        """Bytes of a model so stored."""


@dataclass(frozen=True)
class Nf4:
    """`nf4_bytes`."""

    double_quant: bool

    def bytes(self, model: Counts) -> int:
        """Bytes of a model so stored."""
        return nf4_bytes(model, self.double_quant)


@dataclass(frozen=True)
class Packed:
    """`packed_bytes`."""

    bits: int
    group_size: int
    symmetric: bool

    def bytes(self, model: Counts) -> int:
        """Bytes of a model so stored."""
        return packed_bytes(model, self.bits, self.group_size, self.symmetric)


@dataclass(frozen=True)
class Int8:
    """`int8_bytes`."""

    def bytes(self, model: Counts) -> int:
        """Bytes of a model so stored."""
        return int8_bytes(model)
