"""A study as the workflow asks for it: its nodes, its paths, and the flags of every command.

Pure Python: the Snakefile has a `Study` wherever it is parsed, login nodes included.
`study_file.py` reads and checks the file that it is made of.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order import hub_tasks, methods, orderings, processes
from compression_order.errors import HarnessError
from compression_order.judging import options
from compression_order.judging.options import Options
from compression_order.orderings import Plan, Stage
from compression_order.settings import flags

PUBLISHED = "published/published.csv"
HUB = "assets/hub"


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        config: the file as read.
        stages: what each token means.
        plan: rows, nodes and refusals.
        root: folder of the repository.
    """

    config: Mapping[str, Any]
    stages: Mapping[str, Stage]
    plan: Plan
    root: Path

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
    def held_out(self) -> str:
        """Path of the text that evaluations score as whole conversations."""
        splits = self.config["splits"]
        return text_path(splits.get("held_out_text", splits["text"]))

    @property
    def device(self) -> str:
        """Where stages and evaluations compute: cpu or cuda."""
        return str(self.config.get("device", "cpu"))

    @property
    def gpus(self) -> int:
        """GPUs that one stage or evaluation takes."""
        return int(self.device == "cuda")

    def devices(self, token: str) -> int:
        """Devices, and processes, that share a stage's training; 1 where nothing is trained."""
        return processes.devices(self.stages[token].settings)

    @property
    def models(self) -> dict[str, Mapping[str, Any]]:
        """The prepared models by name: the one to compress, and the teacher if another."""
        entries = [self.config["model"], self.teacher_model]
        return {entry["name"]: entry for entry in entries if entry}

    @property
    def made_models(self) -> list[str]:
        """The names of the models that are made on the spot."""
        return [name for name, entry in self.models.items() if "made" in entry]

    @property
    def model(self) -> str:
        """Folder of the prepared model."""
        return model_path(self.config["model"]["name"])

    @property
    def teacher_model(self) -> Mapping[str, Any] | None:
        """The teacher's entry, None where the uncompressed model teaches."""
        return teacher_model(self.config)

    @property
    def teacher(self) -> str | None:
        """Folder of the prepared teacher, None where the uncompressed model teaches."""
        entry = self.teacher_model
        return model_path(entry["name"]) if entry else None

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
            "device": self.device,
        }
        return flags({**common, **stage.settings})

    def teacher_flags(self, token: str) -> list[str]:
        """What of a distillation's settings decides the teacher's outputs: not T, not alpha."""
        settings = self.stages[token].settings
        training = settings.get("training", {})
        read = ("seq_len", "mask_prompt", "count_padding", "conversations")
        chosen = {key: training[key] for key in read if key in training}
        chosen |= {key: settings[key] for key in ("top_k", "teacher_weights") if key in settings}
        if self.teacher:
            chosen["model"] = self.teacher
        return flags({**chosen, "device": self.device})

    def cache_token(self, token: str) -> str:
        """The first distillation that needs the same teacher's outputs: they share one file."""
        wanted = self.teacher_flags(token)
        return next(t for t in self.of_kind("distill") if self.teacher_flags(t) == wanted)

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

    def source_flags(self, entry: Mapping[str, Any]) -> list[str]:
        """The flags that take a text or a model out of its package or its hub snapshot."""
        if "hub" in entry:
            folder = snapshot_path("datasets" if "form" in entry else "models", entry)
            chosen = {key: entry[key] for key in ("files", "take", "form") if key in entry}
            return flags({"snapshot": folder, **chosen})
        sha256 = self.config["packages"][entry["package"]]["sha256"]
        chosen = {key: entry[key] for key in ("member", "form") if key in entry}
        return flags({"archive": self.archive(entry["package"]), "sha256": sha256, **chosen})

    def source_file(self, entry: Mapping[str, Any]) -> str:
        """The fetched file of a text or a model: an archive, or the record of a snapshot."""
        if "hub" in entry:
            kind = "datasets" if "form" in entry else "models"
            return f"{snapshot_path(kind, entry)}/asset.json"
        return self.archive(entry["package"])

    def model_flags(self, name: str) -> list[str]:
        """The flags that prepare one model."""
        template = self.config.get("chat_template")
        chosen = flags({"chat_template": template}) if template else []
        return [*self.source_flags(self.models[name]), *chosen]

    def hub_flags(self, folder: str) -> list[str]:
        """The flags that name the files of a snapshot that the study reads; none means all."""
        texts = [e for e in self.config["text"].values() if "hub" in e]
        files = {e["files"] for e in texts if snapshot_path("datasets", e) == folder}
        pins = [p for p in hub_tasks.read(self.config, self.root) if p.folder == folder]
        if any(not pin.files for pin in pins):
            return []
        cards = {hub_tasks.CARD for pin in pins if pin.host == "hub"}
        files |= cards | {name for pin in pins for name in pin.files}
        return [f"--files={name}" for name in sorted(files)]

    def split_flags(self) -> list[str]:
        """The flags that draw the parts of the chat text."""
        splits = self.config["splits"]
        return flags({key: splits[key] for key in ("seed", "train", "calibration", "held_out")})

    def document_flags(self) -> list[str]:
        """The flags that say how whole conversations are scored, and where."""
        opening = self.config["evaluations"].get("score_opening")
        scored = {} if opening is None else {"score_opening": opening}
        return flags({**scored, "device": self.device})

    def measure_flags(self) -> list[str]:
        """The flags that say what is evaluated."""
        wanted = self.config["evaluations"]
        texts = [f"--windows={text_path(name)}" for name in wanted["windows"]]
        asked = [f"--tasks={task_path(name)}:{n}" for name, n in wanted["tasks"].items()]
        sizes = {key: wanted[key] for key in ("seq_len", "max_tokens", "batch_size")}
        hub = hub_tasks.flags(self.config, self.root)
        return [*texts, *asked, *hub, *flags(sizes), *self.document_flags()]

    def serving_flags(self) -> list[str]:
        """The flags that say how serving is measured; none where the study does not ask for it."""
        asked = self.config.get("serving")
        if asked is None:
            return []
        sizes = ",".join(map(str, asked["batch_sizes"]))
        return flags({**asked, "batch_sizes": sizes, "device": self.device})

    @property
    def judge(self) -> Mapping[str, Any] | None:
        """The judge's entry; None: nothing is judged."""
        return self.config.get("judge")

    @property
    def judged(self) -> list[str]:
        """The judged metrics, none without a judge."""
        return options.asked(self.judge.get("metrics", Options.metrics)) if self.judge else []

    @property
    def judged_text(self) -> str:
        """Path of the text whose prompts are answered."""
        assert self.judge is not None
        return text_path(self.judge["answers"]["text"])

    def prompt_flags(self) -> list[str]:
        """The flags that say which prompts of the text are asked."""
        assert self.judge is not None
        chosen = flags({"prompts": self.judge["answers"]["prompts"]})
        splits = [f"--splits=results/{self.name}/splits.json"]
        return [*chosen, *(splits if self.judged_text == self.held_out else [])]

    def answer_flags(self) -> list[str]:
        """The flags that say how answers are generated, and where."""
        assert self.judge is not None
        asked = self.judge["answers"]
        drawn = {k: asked[k] for k in ("max_new_tokens", "temperature") if k in asked}
        return [*self.prompt_flags(), *flags({**drawn, "device": self.device})]

    def judge_flags(self) -> list[str]:
        """The flags that say who judges, and how."""
        assert self.judge is not None
        return flags({key: value for key, value in self.judge.items() if key != "answers"})

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
        arms = [f"{arm}={','.join(rows)}" for arm, rows in self.plan.arms.items()]
        return [
            *("--rows", *self.plan.rows),
            *(["--refused", *refused] if refused else []),
            *(["--arms", *arms] if arms else []),
            *(["--judged"] if self.judge else []),
        ]

    def measured_files(self) -> list[str]:
        """The texts, task files and hub datasets that the evaluations read."""
        wanted = self.config["evaluations"]
        texts = [text_path(name) for name in (*wanted["windows"], *wanted["tasks"])]
        local = [*texts, *(task_path(name) for name in wanted["tasks"])]
        return [*local, *hub_tasks.files(self.config, self.root)]

    def scoring_modules(self) -> list[str]:
        """The modules that task files name, which no import tells."""
        return hub_tasks.modules(self.config, self.root)


def published_studies(path: Path) -> set[str]:
    """The studies whose figures the project carries."""
    with path.open(newline="") as stream:
        return {row["study"] for row in csv.DictReader(stream)}


def teacher_model(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The teacher's entry of a study file, None where the uncompressed model teaches."""
    entry = config.get("teacher", orderings.BASE)
    return None if entry == orderings.BASE else entry


def model_path(name: str) -> str:
    """Folder of a prepared model."""
    return f"assets/models/{name}"


def snapshot_path(kind: str, entry: Mapping[str, Any]) -> str:
    """Folder of a hub repository at one revision; `kind` is models or datasets."""
    return f"{HUB}/{kind}/{entry['hub']}/{entry['revision']}"


def text_path(name: str) -> str:
    """Path of a text."""
    return f"assets/text/{name}.jsonl"


def task_path(name: str) -> str:
    """Path of a task file."""
    return f"tasks/{name}.yaml"
