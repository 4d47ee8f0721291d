"""The arithmetic of a process, and the flag that chooses it."""

from pathlib import Path

import pytest
import torch

from compression_order.common import arithmetic, declare, process
from compression_order.common.errors import HarnessError


@pytest.mark.parametrize(("name", "dtype"), [("bf16", "bfloat16"), ("float32", "float32")])
def test_products_are_made_as_the_process_says(name: str, dtype: str) -> None:
    process.start(1, compute=name)
    try:
        assert arithmetic.used() == name
        assert str(arithmetic.dtype()) == f"torch.{dtype}"
        with arithmetic.products("cpu"):
            made = torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2))
        assert made.dtype == arithmetic.dtype()
    finally:
        process.start(1)
    assert arithmetic.used() == "bf16"


def flag(value: str) -> str:
    parser = declare.Parser("compute")
    declare.add_work(parser)
    return str(parser.parse_args([f"--compute={value}"]).compute)


def test_the_flag_names_an_arithmetic_or_a_file_that_does(tmp_path: Path) -> None:
    lock = tmp_path / "own.lock.yaml"
    lock.write_text("compute: float32\nrates: {bf16: 7.2e+10, float32: 15e10}\n")
    assert [flag(value) for value in ("bf16", "float32", str(lock))] == [
        "bf16",
        "float32",
        "float32",
    ]
    assert arithmetic.locked(lock) == {
        "compute": "float32",
        "rates": {"bf16": 7.2e10, "float32": 1.5e11},
    }


@pytest.mark.parametrize(
    "text",
    ["", "bf16", "compute: bf16", "compute: tf32\nrates: {bf16: 1, float32: 1}",
     "compute: bf16\nrates: {bf16: fast, float32: 1}",
     "compute: bf16\nrates: {bf16: 0, float32: 1}",
     "compute: [", "- bf16"],
)  # fmt: skip
def test_a_lock_file_that_no_run_wrote_is_refused(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "own.lock.yaml"
    lock.write_text(text)
    with pytest.raises(HarnessError, match=r"own\.lock\.yaml: it does not say .* delete it"):
        flag(str(lock))


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="'fp16' is not known; use one of bf16, float32"):
        flag("fp16")
    with pytest.raises(HarnessError, match=r"none\.lock\.yaml does not exist; the rule `lock`"):
        flag(str(tmp_path / "none.lock.yaml"))
