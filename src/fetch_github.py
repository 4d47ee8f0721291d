"""python src/fetch_github.py --repository open-compass/LawBench --revision HEX \\
    --files 'data/zero_shot/*.json' --out assets/github/open-compass/LawBench/HEX

Fetch files of one GitHub repository at a pinned commit, over GitHub's API (GITHUB_API_URL,
GITHUB_TOKEN and the proxy settings of Python hold). A file whose bytes are not those that git
names by its blob id is refused. asset.json, written last, records repository, revision, and each
file's SHA-256 and blob id.

For a machine without a network: fetch elsewhere and copy assets/github, or set GITHUB_MIRROR to
such a folder. Files are then taken from there, and their SHA-256 must be the recorded ones.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib import error, parse, request

from compression_order import assets, errors, files, settings
from compression_order.errors import HarnessError

API = "https://api.github.com"
TIMEOUT = 60  # seconds without a byte


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--repository", required=True, help="as OWNER/NAME")
    parser.add_argument("--revision", required=True, help="commit, 40 hexadecimal digits")
    parser.add_argument(
        "--files", action="append", required=True,
        help="file, or pattern in its last part, such as data/*.json; repeat it",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    return parser.parse_args()


def read(url: str, asked: str, secret: bool = False) -> bytes:
    """What lies at a URL; `secret`: with the user's token.

    Raises:
        HarnessError: one sentence for whatever GitHub or the network refused.
    """
    token = os.environ.get("GITHUB_TOKEN") if secret else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with request.urlopen(request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            content: bytes = answer.read()
            return content
    except error.HTTPError as fault:
        if fault.code == 404:
            why = "correct the repository, the revision or the files in the study"
        elif fault.code in (403, 429):
            why = "wait an hour, or set GITHUB_TOKEN, which may ask more often"
        else:
            why = "run again later"
        raise HarnessError(f"GitHub refused {asked} ({fault.code} {fault.reason}); {why}") from None
    except (OSError, error.URLError) as fault:  # no name, no route, a broken connection
        raise HarnessError(
            f"no network: {asked} cannot be fetched from GitHub ({fault}); connect this machine, "
            "or set GITHUB_MIRROR to a copy of assets/github of another"
        ) from None


def listed(repository: str, revision: str, pattern: str) -> Iterator[dict[str, Any]]:
    """GitHub's entries of the files that a pattern names at a commit.

    Raises:
        HarnessError: there is no such file.
    """
    base = os.environ.get("GITHUB_API_URL", API)
    folder = parse.quote(str(PurePosixPath(pattern).parent))
    url = f"{base}/repos/{repository}/contents/{'' if folder == '.' else folder}?ref={revision}"
    asked = f"the folder of {pattern!r} in {repository}@{revision[:7]}"
    try:
        entries = json.loads(read(url, asked, secret=True))
        found = [
            entry
            for entry in entries
            if entry["type"] == "file" and fnmatchcase(entry["path"], pattern)
        ]
    except (ValueError, TypeError, KeyError):
        raise HarnessError(f"{url} is no listing of a folder on GitHub; look at it") from None
    if not found:
        raise HarnessError(
            f"files: {pattern!r} matches nothing in {repository}@{revision[:7]}; correct the "
            "pattern in the study"
        )
    yield from found


def fetched(repository: str, revision: str, patterns: Sequence[str]) -> dict[str, bytes]:
    """The files that the patterns name, each with the bytes that its blob id says.

    Raises:
        HarnessError: a pattern finds nothing, or a file's bytes are others.
    """
    entries = {e["path"]: e for p in patterns for e in listed(repository, revision, p)}
    found = {}
    for path, entry in sorted(entries.items()):
        content = read(entry["download_url"], f"{path} of {repository}@{revision[:7]}")
        if blob(content) != entry["sha"]:
            raise HarnessError(
                f"{path} of {repository}@{revision[:7]} came with the blob id {blob(content)}, "
                f"and the commit has {entry['sha']}; run again"
            )
        found[path] = content
    return found


def blob(content: bytes) -> str:
    """The id by which git names these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def mirrored(folder: Path, patterns: Sequence[str]) -> dict[str, bytes]:
    """The files that the patterns name in a copy of an asset, verified.

    Raises:
        HarnessError: it is no asset, a pattern finds nothing, or a file's bytes are others.
    """
    known = assets.verified(folder)
    found = {path: (folder / path).read_bytes() for p in patterns for path in matching(known, p)}
    for pattern in patterns:
        if not any(matching(known, pattern)):
            raise HarnessError(f"files: {pattern!r} matches nothing in {folder}; fetch it there")
    return found


def matching(paths: dict[str, str], pattern: str) -> Iterator[str]:
    """The paths that a pattern names; it does not reach into folders below."""
    folder = PurePosixPath(pattern).parent
    return (p for p in paths if fnmatchcase(p, pattern) and PurePosixPath(p).parent == folder)


def main() -> None:
    args = parse_args()
    if not re.fullmatch("[0-9a-f]{40}", args.revision):
        raise HarnessError(
            f"--revision: {args.revision!r} is no commit of 40 hexadecimal digits; a branch or "
            "tag may move, so name the commit"
        )
    mirror = os.environ.get("GITHUB_MIRROR")
    if mirror:
        found = mirrored(Path(mirror, args.repository, args.revision), args.files)
    else:
        found = fetched(args.repository, args.revision, args.files)
    with files.replacing(args.out) as aside:
        for path, content in found.items():
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        record = {
            "source": {"github": args.repository, "revision": args.revision},
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in found.items()},
            "blobs": {path: blob(content) for path, content in found.items()},
        }
        files.write_json(aside / assets.RECORD, record)
    megabytes = sum(map(len, found.values())) / 1e6
    asked = f"{args.repository}@{args.revision[:7]}"
    print(f"{args.out}: {len(found)} files of {asked}, {megabytes:.1f} MB")


if __name__ == "__main__":
    errors.run(main)
