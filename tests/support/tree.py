"""The map of the repository: what each folder, room, script and rules file says of itself."""

import ast
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab import ROOT
from rooms import ROOMS

PACKAGE = ROOT / "src/compression_order"
# folders that hold no Python to ask
FOLDERS = {
    "architectures": "shapes of published models, which the planner reads in place of weights",
    "benchmarks": "speed and memory beside other programs: what is measured, and the results",
    "config": "how to use the workflow from another folder or from another workflow",
    "docker": "what the container image runs and how it is installed",
    "docs": "these pages, and the records that the published findings are made from",
    "envs": "the environments: what each needs (`.in`) and every version that it has (`.lock`)",
    "profiles": "what every run starts from (`default`), and how jobs reach Slurm (`slurm`)",
    "published": "figures of published studies, each with how far it can be trusted",
    "rules": "the rules of the workflow, one file a phase; see below",
    "src": "one script a rule, and the package that they share; see below",
    "studies": "other studies, each a file; `overlays` holds files to lay over a study",
    "tasks": "question sets, lm-eval's own tasks by name, and LawBench's",
    "tests": "a folder a room, and tests of whole studies, of the workflow, of these pages",
    "workflow": "the workflow where tools that deploy workflows look for it",
}
FILES = {
    "Snakefile": "the table of contents: where a run begins",
    "Makefile": "one word for each thing that a person does; `make` alone lists them",
    "config.yaml": "the default study, every setting with its reason",
}
HEAD = """\
# Map of the repository

`make docs` writes this page. Each line is the first sentence of the file that it names.
"""
COMMAND = re.compile(r"python |\.venv|\s")  # how a docstring begins that shows the command first


def write() -> str:
    """The page.

    Raises:
        ValueError: a folder is new or gone.
    """
    if unlike := set(top_folders()) ^ set(FOLDERS):
        raise ValueError(f"{__file__}: mend FOLDERS, which differs by {', '.join(unlike)}")
    rooms = [room for room in ROOMS if (PACKAGE / room).is_dir()]
    return "\n".join(
        [
            HEAD,
            *table("folder", ((f"{name}/", FOLDERS[name]) for name in top_folders())),
            *table("file", FILES.items()),
            "## Rooms of the package\n\nThey lie in `src/compression_order/`. A room imports only "
            "rooms above it in this list.\n",
            *table("room", ((f"{room}/", said(PACKAGE / room / "__init__.py")) for room in rooms)),
            "Two files lie outside the rooms: `orderings.py` decides which checkpoints exist, and "
            "`loading.py` is what stored models name.\n",
            "## Scripts\n\nEvery script is a command: `python src/prune.py --help`.\n",
            *table("script", files("src/*.py")),
            "## Rules\n",
            *table("rules", files("rules/*.smk")),
        ]
    ).removesuffix("\n")


def top_folders() -> list[str]:
    """The folders of the repository, without those that git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    there = {name for name in filter(None, listed.split("\0")) if (ROOT / name).exists()}
    return sorted({name.split("/")[0] for name in there if "/" in name and name[0] != "."})


def table(what: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """A table of two columns."""
    return [f"| {what} | |", "|---|---|", *(f"| `{name}` | {told} |" for name, told in rows), ""]


def files(pattern: str) -> list[tuple[str, str]]:
    """Files of the repository with what each says of itself."""
    return [(path.name, said(path)) for path in sorted(ROOT.glob(pattern))]


def said(path: Path) -> str:
    """The first sentence of a file's docstring, after the command that some begin with."""
    found = re.match(r'r?"""(.*?)"""', path.read_text(), re.S)
    parts = ast.literal_eval(found[0]).split("\n\n") if found else []
    for part in parts:
        if not COMMAND.match(part):
            sentence = re.split(r"(?<=[.?])\s", " ".join(part.split()))[0]
            return sentence.removesuffix(".")
    raise ValueError(f"{path} does not begin with a sentence that says what it does")
