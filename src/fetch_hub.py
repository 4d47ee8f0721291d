"""python src/fetch_hub.py --kind models --repository Qwen/Qwen2.5-3B --revision HEX \\
    --out assets/hub/models/Qwen/Qwen2.5-3B/HEX

Fetch one repository of the model hub at a pinned commit, with huggingface_hub and its cache
(HF_HOME, HF_TOKEN, HF_ENDPOINT and its other settings hold), and link its files into --out.
What the cache already holds is not fetched again; with HF_HUB_OFFLINE=1 nothing else is looked
for, so that a filled cache serves a machine without a network.

asset.json, written last, records repository, revision and the SHA-256 of every file. The hub
names large files by their SHA-256: one that does not have its name is refused.
"""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

# the package below forbids its scripts the network; this one is the exception
USER = os.environ.get("HF_HUB_OFFLINE", "0")

from compression_order import assets, errors, files, settings  # noqa: E402
from compression_order.errors import HarnessError  # noqa: E402

os.environ["HF_HUB_OFFLINE"] = USER

KINDS = {"models": "model", "datasets": "dataset"}
# a model's weights in other formats, and what only its card needs
UNUSED = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.png", "*.jpg")


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--kind", choices=KINDS, required=True, help="models or datasets")
    parser.add_argument("--repository", required=True, help="as OWNER/NAME")
    parser.add_argument("--revision", required=True, help="commit, 40 hexadecimal digits")
    parser.add_argument(
        "--files", action="append", help="file or pattern to fetch; repeat it (default: all)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    return parser.parse_args()


def snapshot(kind: str, repository: str, revision: str, patterns: Sequence[str] | None) -> Path:
    """The folder of the hub's cache that holds the files of one commit, fetched if need be.

    Raises:
        HarnessError: one sentence for whatever the hub or the network refused.
    """
    from huggingface_hub import snapshot_download
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
            if USER.upper() in ("1", "ON", "YES", "TRUE")
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


def main() -> None:
    args = parse_args()
    if not re.fullmatch("[0-9a-f]{40}", args.revision):
        raise HarnessError(
            f"--revision: {args.revision!r} is no commit of 40 hexadecimal digits; a branch or "
            "tag may move, so name the commit"
        )
    asked = f"{args.repository}@{args.revision[:7]}"
    folder = snapshot(args.kind, args.repository, args.revision, args.files)
    found = require_whole(folder, args.files, asked)
    with files.replacing(args.out) as aside:
        for path in found:
            target = aside / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            files.link(path.resolve(), target)
        record = {
            "source": {"hub": args.repository, "kind": args.kind, "revision": args.revision},
            "files": {str(p.relative_to(folder)): files.sha256(p) for p in found},
        }
        files.write_json(aside / assets.RECORD, record)
    megabytes = sum(path.stat().st_size for path in found) / 1e6
    print(f"{args.out}: {len(found)} files of {asked}, {megabytes:.1f} MB")


if __name__ == "__main__":
    errors.run(main)
