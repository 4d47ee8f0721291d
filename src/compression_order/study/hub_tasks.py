"""Hub tasks that a study file names: their pinned datasets and their costs.

A task is one of lm-eval's own, or one of ours in a file of the same form that reads pinned files
of GitHub.

`tasks/hub/index.yaml` lists the known tasks, so that a study can be checked and planned without
lm-eval. Pure Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from compression_order.common.errors import HarnessError
from compression_order.common.files import of_workflow
from compression_order.study.file import Snapshot, StudyFile

INDEX = "tasks/hub/index.yaml"
CARD = "README.md"  # maps files to the splits of each configuration
NLTK = "assets/nltk"
# files that NLTK reads to find the ends of English sentences
PUNKT = tuple(
    f"{NLTK}/tokenizers/punkt_tab/english/{name}"
    for name in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")
)


OURS = "tasks/"  # where the folder of a task of this repository begins


@dataclass(frozen=True)
class HubTask:
    """One row of the index; the index file explains its columns."""

    folder: str
    datasets: tuple[str, ...]
    leaves: int
    questions: int
    passes: int
    shots: int
    tokens: int
    generated: int
    needs: tuple[str, ...] = ()
    module: str = ""

    def asked(self, count: int) -> int:
        """Count all questions when `count` are asked of each leaf (0 = all).

        This is an upper bound: a leaf with fewer questions gives only those it has.
        """
        return min(count * self.leaves or self.questions, self.questions)


@dataclass(frozen=True)
class Pin:
    """One dataset at one revision; `files`: patterns of the files to fetch, none = all."""

    dataset: str
    revision: str
    files: tuple[str, ...]
    host: str = "hub"

    @property
    def folder(self) -> str:
        """Where its snapshot lies."""
        place = "hub/datasets" if self.host == "hub" else self.host
        return f"assets/{place}/{self.dataset}/{self.revision}"

    @property
    def manifest(self) -> str:
        """The file that appears when the snapshot is whole."""
        return f"{self.folder}/asset.json"


def index(root: Path) -> dict[str, HubTask]:
    """All tasks that a study may name."""
    rows = yaml.safe_load((root / INDEX).read_text())
    return {name: _row(**row) for name, row in rows.items()}


def _row(
    folder: str, datasets: Sequence[str], needs: Sequence[str] = (), module: str = "",
    **numbers: int,
) -> HubTask:  # fmt: skip
    return HubTask(folder, tuple(datasets), needs=tuple(needs), module=module, **numbers)


def pins(file: StudyFile) -> dict[str, Pin]:
    """The pinned datasets of a study, by name.

    Raises:
        HarnessError: a dataset of GitHub does not name its files.
    """
    found = {}
    for dataset, entry in file.datasets.items():
        its = Snapshot(revision=entry) if isinstance(entry, str) else entry
        pin = Pin(dataset, its.revision, tuple(its.files), its.host)
        if pin.host == "github" and not pin.files:
            raise HarnessError(
                f"datasets.{dataset}: a repository on GitHub needs `files`, patterns such as "
                "data/*.json; add them"
            )
        found[dataset] = pin
    return found


def asked(file: StudyFile) -> dict[str, int]:
    """The tasks of a study, each with the number of questions per leaf (0 = all)."""
    return dict(file.evaluations.hub_tasks)


def shots(file: StudyFile) -> dict[str, int]:
    """The solved examples before each question, of the tasks whose default the study changes."""
    return dict(file.evaluations.hub_shots)


def tokens(file: StudyFile, name: str, task: HubTask) -> int:
    """Mean tokens of a sequence with the study's examples, assuming each as long as a question."""
    return task.tokens * (1 + shots(file).get(name, task.shots)) // (1 + task.shots)


def check(file: StudyFile, root: Path) -> None:
    """Refuse a study with an unknown task, or a task that reads an unpinned dataset.

    Raises:
        HarnessError: the first such task, with what to write where.
    """
    known, pinned, wanted = index(root), pins(file), file.evaluations
    for name in asked(file):
        if name not in known:
            raise HarnessError(
                f"evaluations.hub_tasks: {name!r} is not in {INDEX}; use one of "
                f"{', '.join(known)}, or add its row there"
            )
        if name in wanted.tasks:
            raise HarnessError(
                f"evaluations.hub_tasks: {name!r} is under evaluations.tasks too, and the table "
                "has one column a name; leave one of them out"
            )
        for dataset in known[name].datasets:
            if dataset not in pinned:
                raise HarnessError(
                    f"evaluations.hub_tasks: {name} reads the dataset {dataset}, which `datasets` "
                    "does not pin; add it there with a revision of 40 hexadecimal digits"
                )
        if "nltk" in known[name].needs and wanted.nltk is None:
            raise HarnessError(
                f"evaluations.hub_tasks: {name} needs NLTK's sentence boundaries, and "
                "evaluations.nltk does not say which package carries them; add it"
            )
    for name in shots(file):
        if name not in asked(file):
            raise HarnessError(
                f"evaluations.hub_shots: {name!r} is not asked; add it under evaluations.hub_tasks "
                "or leave it out"
            )
    if wanted.nltk and wanted.nltk.package not in file.packages:
        raise HarnessError(
            f"evaluations.nltk.package: {wanted.nltk.package!r} is not defined under "
            "`packages`; define it there"
        )


def read(file: StudyFile, root: Path) -> list[Pin]:
    """The datasets that the study's tasks read, sorted by name."""
    known, pinned = index(root), pins(file)
    names = {dataset for task in asked(file) for dataset in known[task].datasets}
    return [pinned[name] for name in sorted(names)]


def needs_nltk(file: StudyFile, root: Path) -> bool:
    """Whether a task of the study reads NLTK's data."""
    known = index(root)
    return any("nltk" in known[task].needs for task in asked(file))


def files(file: StudyFile, root: Path) -> list[str]:
    """Files that must exist before the tasks can run, our task files among them."""
    manifests = [pin.manifest for pin in read(file, root)]
    folders = {index(root)[name].folder for name in asked(file)}
    ours = [path for f in sorted(folders) if f.startswith(OURS) for path in (root / f).iterdir()]
    own = sorted(of_workflow(path.relative_to(root)) for path in ours if path.name.endswith("yaml"))
    return [*manifests, *own, *(PUNKT if needs_nltk(file, root) else ())]


def modules(file: StudyFile, root: Path) -> list[str]:
    """Modules of this package that the study's tasks name: changing one changes scores."""
    known = index(root)
    return sorted({known[name].module for name in asked(file)} - {""})


def flags(file: StudyFile, root: Path) -> list[str]:
    """The flags of `measure.py` for these tasks; a revision is the name of a folder."""
    known, wanted = index(root), asked(file)
    tasks = [f"--hub-tasks={name}:{count}" for name, count in wanted.items()]
    examples = [f"--hub-shots={name}:{count}" for name, count in shots(file).items()]
    folders = [f"--task-folder={f}" for f in sorted({known[name].folder for name in wanted})]
    snapshots = [f"--dataset={pin.dataset}={pin.folder}" for pin in read(file, root)]
    nltk = [f"--nltk={NLTK}"] if needs_nltk(file, root) else []
    return [*tasks, *examples, *folders, *snapshots, *nltk]
