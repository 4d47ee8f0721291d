"""Records: the inputs of a finished study's table and findings, without weights or times.

A record has a few hundred kilobytes, the study's own file among them. Anyone can make the same
table and findings from it without a model. Equal results give equal bytes.
"""

import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.results import guards
from compression_order.study.study import Study


def measured(asked: Study) -> Iterator[Path]:
    """The files of a record, in a fixed order.

    Raises:
        HarnessError: a file is missing, broken or about another sample; see `guards.load`.
    """
    results = Path("results", asked.name)
    rows = [row for row in asked.plan.rows if row not in asked.plan.refused]
    guards.load(results, rows, asked.seeds, asked.judge is not None)
    for seed in asked.seeds:
        for row in rows:
            yield results / f"seed{seed}/checkpoints/{row}/checkpoint.json"
            yield from sorted((results / f"seed{seed}/evaluations/{row}").glob("*.json"))


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Clear the archive member's fields that differ between users and runs."""
    member.mtime, member.mode = 0, 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def study_file(asked: Study) -> tuple[str, bytes]:
    """Path and contents of the study's own file, without its seeds: all of its records agree."""
    told = asked.file.model_dump(exclude_none=True, exclude={"seeds"})
    return f"results/{asked.name}/study.yaml", yaml.safe_dump(told, sort_keys=False).encode()


def pack(asked: Study, out: Path) -> None:
    """Write a record."""
    packed = list(measured(asked))
    name, told = study_file(asked)
    with files.replacing(out) as aside, tarfile.open(aside, "w:xz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(told)
        archive.addfile(plain(member), io.BytesIO(told))
        for path in packed:
            archive.add(path, filter=plain)
    print(f"{out}: {len(packed)} files of {asked.name}, {out.stat().st_size} bytes")


def contents(path: Path, study: str) -> dict[Path, bytes]:
    """The files of a record.

    Raises:
        HarnessError: the file is no record, or belongs to another study.
    """
    found = {}
    try:
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                stream = archive.extractfile(member)
                parts = PurePosixPath(member.name).parts
                if parts[:2] != ("results", study) or ".." in parts or stream is None:
                    raise HarnessError(
                        f"{path} holds {member.name}, which is not a result of {study}; name the "
                        "study that the record was made of: --study, or STUDY=..."
                    )
                found[Path(*parts)] = stream.read()
    except FileNotFoundError:
        raise HarnessError(f"{path} does not exist; name what --pack wrote") from None
    except (tarfile.TarError, lzma.LZMAError, EOFError) as fault:
        raise HarnessError(f"{path} is not a record ({fault}); name what --pack wrote") from None
    return found


def unpack(asked: Study, records: list[Path]) -> None:
    """Unpack records to the places where a run puts the files: all of them, or none.

    Raises:
        HarnessError: a record cannot be read, or a file exists with different contents.
    """
    found: dict[Path, bytes] = {}
    for record in records:
        for path, data in contents(record, asked.name).items():
            there = found.get(path, path.read_bytes() if path.exists() else data)
            if there != data:
                raise HarnessError(
                    f"{record}: {path} is there already and differs; move results/{asked.name} "
                    "away first, or leave the record out"
                )
            found[path] = data
    for path, data in found.items():
        if not path.exists():
            with files.replacing(path) as aside:
                aside.write_bytes(data)
    print(f"results/{asked.name}: {len(found)} files of {len(records)} records")
