"""Files that appear whole or not at all, and their digests."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compression_order.common.errors import HarnessError

PACKAGE = Path(__file__).parents[1]


def _workflow() -> Path:
    """Folder of the Snakefile and what lies beside it: a checkout's, or the installed package's."""
    checkout = PACKAGE.parents[1]
    return checkout if (checkout / "Snakefile").is_file() else PACKAGE / "workflow_files"


WORKFLOW = _workflow()


def of_workflow(path: str | Path) -> str:
    """A file of the workflow as rules name it: relative where it runs in its own folder."""
    whole = WORKFLOW / path
    return str(whole.relative_to(WORKFLOW) if Path.cwd() == WORKFLOW else whole)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises:
        HarnessError: the file is missing.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: Path) -> HarnessError:
    return HarnessError(f"{path} does not exist; run the step that writes it first")


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value: equal values give equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        HarnessError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise _missing(path) from None
    except json.JSONDecodeError as fault:
        raise HarnessError(f"{path} is not JSON ({fault}); delete it and run again") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file, in order.

    Raises:
        HarnessError: the file is missing or one line is not JSON.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise _missing(path) from None
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as fault:
        raise HarnessError(f"{path} has a line that is not JSON ({fault}); delete it") from None


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 with LF, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write sorted, indented JSON: equal values give equal bytes."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none: neither file may be changed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path aside that takes the place of `path` when the block ends without an error.

    The block makes a file or a folder there. What stood at `path` is replaced; after an
    error nothing is left aside and `path` is as it was.
    """
    with scratch(path) as aside:
        yield aside
        _open_as_the_umask_says(aside)
        if path.is_dir():
            shutil.rmtree(path)
        aside.rename(path)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` that is gone when the block ends.

    What a killed process left there goes as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.partial"):
        if not Path("/proc", left.name.split(".")[-2]).exists():
            _remove(left)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield aside
    finally:
        _remove(aside)


def _open_as_the_umask_says(path: Path) -> None:
    """Give files and folders the mode that the user's umask gives; some libraries write 600."""
    umask = os.umask(0)
    os.umask(umask)
    for its in (path, *path.rglob("*")) if path.is_dir() else (path,):
        if its.is_dir() or its.stat().st_nlink == 1:  # the hub's cache keeps what is linked to it
            its.chmod((0o777 if its.is_dir() else 0o666) & ~umask)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
