"""The lock with hashes says what core.lock and page.lock say, and what torch needs on CUDA."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ENVS = Path(__file__).resolve().parents[2] / "envs"
PIN = re.compile(
    r"^([a-z0-9][a-z0-9._-]*)==([^ \n]+)(.*)((?:\n +--hash=sha256:[0-9a-f]{64}.*)*)", re.M
)
# nvidia-ml-py is pure Python, and no library of CUDA
CUDA = re.compile(r"torch|triton|(cuda|nvidia)-(?!ml-py$).*")
# needed on another system, or by another Python than the one core.lock is compiled with
ELSEWHERE = re.compile(r"(sys_platform|platform_system) == '(win32|emscripten)'")


def pins(lock: str) -> dict[str, str]:
    return {found[1]: found[2] for found in PIN.finditer((ENVS / lock).read_text())}


def test_the_lock_with_hashes_has_the_pins_of_the_lock():
    core, page, cuda = pins("core.lock"), pins("page.lock"), pins("core.cuda.lock")
    plain = {**page, **core}
    assert {name: plain[name] for name in page} == page
    assert {name: cuda.get(name) for name in plain} == plain
    more = {name for name in cuda.keys() - plain.keys() if not CUDA.fullmatch(name)}
    text = (ENVS / "core.cuda.lock").read_text()
    here = {m[1] for m in PIN.finditer(text) if m[1] in more and not ELSEWHERE.search(m[3])}
    assert here == set()
    assert {"cuda-toolkit", "triton", "nvidia-cublas"} <= cuda.keys()


def test_every_file_has_a_hash():
    entries = list(PIN.finditer((ENVS / "core.cuda.lock").read_text()))
    assert len(entries) > 100
    assert [m[1] for m in entries if not m[4]] == []


def test_programs_are_timed_with_the_same_libraries():
    core, benchmark = pins("core.lock"), pins("benchmark.lock")
    same = ("torch", "transformers", "accelerate", "datasets", "safetensors")
    assert {name: benchmark[name] for name in same} == {name: core[name] for name in same}
    assert {"trl", "gptqmodel"} <= benchmark.keys()


@pytest.mark.parametrize("lock", ["core", "page", "quant", "judge", "controller", "benchmark"])
def test_a_lock_names_no_build_and_no_package_of_cuda(lock):
    its = pins(f"{lock}.lock")
    assert {name for name in its if CUDA.fullmatch(name)} <= {"torch"}
    assert [pin for pin in its.values() if "+" in pin] == []


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_pip_resolves_torch_on_cuda_to_the_lock(tmp_path, python):
    """What `pip install --dry-run` would take, from the headers of the wheels: none is fetched.

    pip asks an index without metadata files for ranges of a wheel; releases before 23.3 fetch all
    of it even so.
    """
    newer = tmp_path / "pip"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(newer),
        "pip==26.*",
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    report, limits = tmp_path / "report.json", tmp_path / "limits"
    cuda = pins("core.cuda.lock")
    limits.write_text("".join(f"{name}=={version}\n" for name, version in cuda.items()))
    dry = ["--dry-run", "--use-feature=fast-deps", "--no-cache-dir", f"--report={report}"]
    # given a platform, pip takes its wheels alone: every older one is named too
    older = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(17, 29)]
    place = [*older, "--platform=manylinux2014_x86_64", "--only-binary=:all:"]
    place.append(f"--python-version={python}")
    # this machine's own wheels of torch are set aside, and so are its indexes of them
    env = {
        k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")
    }
    env |= {"PYTHONPATH": str(newer), "PIP_CONFIG_FILE": os.devnull}
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *dry,
        *place,
        "--target",
        str(tmp_path / "none"),
    ]
    wanted = [f"torch=={cuda['torch']}", f"--constraint={limits}"]
    done = subprocess.run([*command, *wanted], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (ENVS / "core.cuda.lock").read_text()
    taken = {}
    for package in json.loads(report.read_text())["install"]:
        name = re.sub("[._-]+", "-", package["metadata"]["name"].lower())
        taken[name] = package["metadata"]["version"]
        assert package["download_info"]["archive_info"]["hashes"]["sha256"] in text, name
    assert {name: version for name, version in cuda.items() if name in taken} == taken
    assert {name for name in cuda if CUDA.fullmatch(name)} <= taken.keys()
    assert not (tmp_path / "none").exists()
