"""Repositories of the model hub at a pinned commit, through huggingface_hub and its cache.

What the cache already holds is not fetched again. The hub names large files by their SHA-256: one
that does not have its name is refused.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from compression_order.assets import archives
from compression_order.common import files
from compression_order.common.errors import HarnessError

KINDS = {"models": "model", "datasets": "dataset"}
# a model's weights in other formats, and what only its card needs
UNUSED = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.png", "*.jpg")


def fetch(
    kind: str, repository: str, revision: str, patterns: Sequence[str] | None, out: Path
) -> None:
    """Link the files of one commit into a folder; asset.json, written last, records them.

    Args:
        kind: models or datasets.
        repository: as OWNER/NAME.
        revision: commit, 40 hexadecimal digits.
        patterns: files or patterns to fetch; None: all.
        out: the folder.

    Raises:
        HarnessError: the revision is no commit, or the hub or the network refused something.
    """
    archives.require_commit(revision)
    asked = f"{repository}@{revision[:7]}"
    folder = snapshot(kind, repository, revision, patterns)
    found = require_whole(folder, patterns, asked)
    with files.replacing(out) as aside:
        for path in found:
            target = aside / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            files.link(path.resolve(), target)
        record = {
            "source": {"hub": repository, "kind": kind, "revision": revision},
            "files": {str(p.relative_to(folder)): files.sha256(p) for p in found},
        }
        files.write_json(aside / archives.RECORD, record)
    megabytes = sum(path.stat().st_size for path in found) / 1e6
    print(f"{out}: {len(found)} files of {asked}, {megabytes:.1f} MB")


def snapshot(kind: str, repository: str, revision: str, patterns: Sequence[str] | None) -> Path:
    """The folder of the hub's cache that holds the files of one commit, fetched if need be.

    Raises:
        HarnessError: one sentence for whatever the hub or the network refused.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    asked = f"{kind[:-1]} {repository} at {revision}"
    try:
        found = snapshot_download(
            repository,
            repo_type=KINDS[kind],
            revision=revision,
            allow_patterns=list(patterns) if patterns else None,
            ignore_patterns=None if patterns else list(UNUSED),
        )
    except LocalEntryNotFoundError:
        how = (
            "HF_HUB_OFFLINE is set: unset it, or fill the cache at HF_HOME elsewhere"
            if HF_HUB_OFFLINE
            else "connect this machine, or fill the cache at HF_HOME elsewhere and copy it here"
        )
        raise HarnessError(f"the hub's cache does not hold the {asked}, and {how}") from None
    except HfHubHTTPError as fault:
        told = " ".join(str(fault).split())[:200]
        raise HarnessError(
            f"the hub refused the {asked} ({told}); correct the repository or the revision, or "
            "set HF_TOKEN if it is gated"
        ) from None
    return Path(found)


def require_whole(folder: Path, patterns: Sequence[str] | None, asked: str) -> list[Path]:
    """The files of a snapshot, each with the digest that the hub's cache names it by.

    Raises:
        HarnessError: a pattern finds nothing, or a file's bytes are not its name's.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    for pattern in patterns or []:
        if not any(path.relative_to(folder).match(pattern) for path in found):
            raise HarnessError(
                f"files: {pattern!r} matches nothing in {asked}; correct the pattern in the study"
            )
    if not found:
        raise HarnessError(f"{asked} holds no file in the hub's cache; delete it there")
    for path in found:
        named = path.resolve().name
        if re.fullmatch("[0-9a-f]{64}", named) and files.sha256(path) != named:
            raise HarnessError(
                f"{path} is damaged: its sha256 is not its name in the hub's cache; delete "
                f"{path.resolve()} and run again"
            )
    return found
