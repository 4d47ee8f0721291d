"""Files of GitHub repositories at a pinned commit, through git, which verifies what it fetches.

Git's own settings hold: a proxy, credentials, or a mirror by `url.<base>.insteadOf`. For a machine
without a network: `git clone --mirror` elsewhere, copy, and set GITHUB_URL=file:///folder/of/copies.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from compression_order.assets import archives
from compression_order.common import files
from compression_order.common.errors import HarnessError

URL = "https://github.com"
TIMEOUT = 600  # seconds for one command of git
# the bytes of the commit, whatever the repository or the user says about line ends and filters
AS_STORED = "* -text -eol -filter -ident -working-tree-encoding\n"


def fetch(repository: str, revision: str, patterns: Sequence[str], out: Path) -> None:
    """Fetch files of one commit into a folder; asset.json, written last, records them.

    Args:
        repository: as OWNER/NAME.
        revision: commit, 40 hexadecimal digits.
        patterns: files, or patterns in the last part of a path, such as data/*.json.
        out: the folder.

    Raises:
        HarnessError: the revision is no commit, git is missing, GitHub or the network refused, or
            a pattern finds nothing.
    """
    archives.require_commit(revision)
    asked = f"{repository}@{revision[:7]}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".git-") as folder:
        blobs = _checked_out(Path(folder), repository, revision, patterns)
        with files.replacing(out) as aside:
            for path in blobs:
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(folder, path), aside / path)
            record = {
                "source": {"github": repository, "revision": revision},
                "files": {path: files.sha256(aside / path) for path in blobs},
                "blobs": blobs,
            }
            files.write_json(aside / archives.RECORD, record)
    megabytes = sum((out / path).stat().st_size for path in blobs) / 1e6
    print(f"{out}: {len(blobs)} files of {asked}, {megabytes:.1f} MB")


def _checked_out(
    folder: Path, repository: str, revision: str, patterns: Sequence[str]
) -> dict[str, str]:
    """Check the files out into a folder; path -> git's blob id, sorted."""
    asked = f"{repository}@{revision[:7]}"
    url = f"{os.environ.get('GITHUB_URL', URL)}/{repository}"
    _git(folder, asked, "init", "--quiet")
    _git(folder, asked, "remote", "add", "origin", url)
    _git(folder, asked, "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", revision)
    listed = _git(folder, asked, "ls-tree", "-r", "-z", revision).split("\0")[:-1]
    entries = (line.split("\t", 1) for line in listed if line.startswith("100"))  # plain files
    known = {path: its.split()[2] for its, path in entries}
    found = {p: blob for p, blob in known.items() if any(_matches(p, its) for its in patterns)}
    for pattern in patterns:
        if not any(_matches(path, pattern) for path in found):
            raise HarnessError(
                f"files: {pattern!r} matches nothing in {asked}; correct the pattern in the study"
            )
    lines = "\n".join(f"/{path}" for path in found)
    (folder / ".git/info").mkdir(exist_ok=True)
    (folder / ".git/info/attributes").write_text(AS_STORED)
    _git(folder, asked, "sparse-checkout", "set", "--no-cone", "--stdin", told=lines)
    _git(folder, asked, "checkout", "--quiet", revision)
    return dict(sorted(found.items()))


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern names a path; it does not reach into folders below."""
    same = PurePosixPath(path).parent == PurePosixPath(pattern).parent
    return same and fnmatchcase(path, pattern)


def _git(folder: Path, asked: str, *words: str, told: str = "") -> str:
    """What a command of git prints.

    Raises:
        HarnessError: one sentence for whatever git could not do.
    """
    command = ["git", "-C", str(folder), *words]
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            input=told,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise HarnessError(f"git is not found, which fetches {asked}; install git") from None
    except subprocess.TimeoutExpired:
        raise HarnessError(f"git gave up on {asked} after {TIMEOUT} s; run again") from None
    if done.returncode:
        said = done.stderr.splitlines()
        why = next((line for line in said if line.startswith(("error: ", "fatal: "))), "no message")
        raise HarnessError(
            f"git cannot fetch {asked} ({why}); connect this machine, or correct the repository, "
            "the revision or the files in the study"
        )
    return done.stdout
