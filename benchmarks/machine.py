"""The kind of machine that a measurement is of: its processor, not its name."""

import platform
import re
from importlib.metadata import version
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# the most capable first: what decides how fast matrices are multiplied
_SETS = (
    ("amx_bf16", "amx"),
    ("avx512_bf16", "avx512-bf16"),
    ("avx512f", "avx512"),
    ("avx2", "avx2"),
    ("bf16", "bf16"),
    ("asimd", "neon"),
)


def kind(cpuinfo: str | None = None, torch: str | None = None) -> str:
    """Such as `amd-epyc-avx512-bf16-torch2.13.0`.

    Args:
        cpuinfo: the text of /proc/cpuinfo; None: this machine's.
        torch: its version; None: the installed one.
    """
    text = _cpuinfo() if cpuinfo is None else cpuinfo
    flags = set(_field(text, "flags|Features").split())
    instructions = next((name for flag, name in _SETS if flag in flags), platform.machine())
    release = (version("torch") if torch is None else torch).partition("+")[0]
    return f"{_family(_field(text, 'model name'))}-{instructions}-torch{release}"


def processor() -> str:
    """The processor as the system names it."""
    return _field(_cpuinfo(), "model name") or platform.machine()


def _family(model: str) -> str:
    """`Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz` is an intel-xeon."""
    words = re.sub(r"\((r|tm)\)", "", model.lower()).split() or [platform.machine()]
    return "-".join(re.sub(r"[^a-z0-9]", "", word) for word in words[:2])


def _field(text: str, name: str) -> str:
    found = re.search(rf"^(?:{name})\s*: (.*)$", text, re.M)
    return found[1].strip() if found else ""


def _cpuinfo() -> str:
    return CPUINFO.read_text() if CPUINFO.exists() else ""
