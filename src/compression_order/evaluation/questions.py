"""Question sets through lm-eval, with every answer kept.

Tasks are local task files (`tasks/*.yaml`), or lm-eval's own (`hub_questions.py`). A task's entry
of `lm_eval.json` keeps one number a question, so that two checkpoints can be compared on the
same questions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint import models
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.common.process import Progress
from compression_order.evaluation import continuations, question_records

TOLD = ("value", "samples", question_records.ABSTENTION)  # of each part of a group


@dataclass(frozen=True)
class Asked:
    """A task file and how many of its questions are asked (0: all)."""

    path: Path
    count: int

    @classmethod
    def parse(cls, text: str) -> "Asked":
        """Read `tasks/boolq.yaml:80`.

        Raises:
            HarnessError: it is not of that form, or there is no such file.
        """
        path, _, count = text.rpartition(":")
        if not count.isdigit() or not Path(path).exists():
            raise HarnessError(
                f"--tasks: {text!r} is not a task file, a colon and a number of questions; "
                "write it as tasks/boolq.yaml:80"
            )
        return cls(Path(path), int(count))

    @property
    def name(self) -> str:
        """The task's name: the stem of its file."""
        return self.path.stem


@dataclass(frozen=True)
class Prepared:
    """A question set whose data are loaded.

    Attributes:
        name: of the set.
        where: the task or its file, for messages.
        leaves: lm-eval's tasks by name, in the order of the record; a set without groups is one.
        count: questions to ask of each leaf, 0: all.
        chance: accuracy of guessing; None: from the number of choices.
        facts: further entries of the record.
        alike: whether every leaf has the same weight, whatever its number of questions.
    """

    name: str
    where: str
    leaves: Mapping[str, Any]
    count: int
    chance: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    alike: bool = False


class ToldHFLM(HFLM):
    """lm-eval's model, loaded once for all tasks, with progress reports.

    Answers that are chosen are scored by `continuations.py`, generated ones by lm-eval. A model
    whose layers do not all attend to every earlier position is scored by lm-eval too.
    Log-probabilities are in float32. Generated answers are greedy and as long as the task allows;
    the model's other generation settings (a penalty for repetition, a length) are ignored.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int, label: str
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch, softmax_dtype="float32"
        )
        self._label, self._done = label, 0

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Score continuations; see lm-eval's `LM.loglikelihood`."""
        if not models.attends_to_all(self.model.config):
            return super()._loglikelihood_tokens(requests, disable_tqdm=True)
        progress = Progress(self._label, "answer", len(requests))
        pairs = [(context, continuation) for _, context, continuation in requests]
        return continuations.score(self.model, pairs, self.max_length, progress.update)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        """Generate answers; see lm-eval's `LM.generate_until`."""
        self._progress, self._done = Progress(self._label, "answer", len(requests)), 0
        own = self.model.generation_config
        ends = {key: getattr(own, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        self.model.generation_config = GenerationConfig(**ends)
        try:
            return super().generate_until(requests, disable_tqdm=True)
        finally:
            self.model.generation_config = own

    def _model_generate(self, context: Tensor, *args: Any, **kwargs: Any) -> Any:
        tokens = super()._model_generate(context, *args, **kwargs)
        self._done += len(context)
        self._progress.update(self._done)
        return tokens


def prepare(tasks: Sequence[Asked]) -> list[Prepared]:
    """Load the data of local task files, all of one folder."""
    if not tasks:
        return []
    manager = TaskManager(include_path=str(tasks[0].path.parent), include_defaults=False)
    prepared = []
    for asked in tasks:
        if not _available(asked.path):
            raise HarnessError(f"{asked.path}: the task has no questions; look at its data file")
        leaves = manager.load([asked.name])["tasks"]
        chance = yaml.safe_load(asked.path.read_text())["metadata"]["chance"]
        prepared.append(Prepared(asked.name, str(asked.path), leaves, asked.count, chance))
    return prepared


def _available(path: Path) -> int:
    """The number of questions in a task's data file."""
    files_of = yaml.safe_load(path.read_text())["dataset_kwargs"]["data_files"]
    return sum(len(files.read_lines(Path(data))) for data in files_of.values())


def spread(count: int, available: int) -> list[int]:
    """Question numbers spread evenly over a set, because the head of a file may be sorted.

    Args:
        count: how many, 0: all.
        available: questions in the set.
    """
    count = min(count or available, available)
    return [i * available // count for i in range(count)]


def answer(lm: HFLM, prepared: Iterable[Prepared]) -> dict[str, dict[str, Any]]:
    """Ask all sets in one run; return the record of each set by name.

    Raises:
        HarnessError: two sets share a task, or one has no questions, or none of the metrics that
            are understood.
    """
    sets = list(prepared)
    tasks: dict[str, Any] = {}
    chosen: dict[str, list[int]] = {}
    for one in sets:
        for name, task in one.leaves.items():
            if name in tasks:
                raise HarnessError(f"{one.where}: {name} is in another set too; leave one out")
            if not len(task.eval_docs):
                raise HarnessError(f"{one.where}: {name} has no questions; leave it out")
            tasks[name] = task
            if one.count:
                chosen[name] = spread(one.count, len(task.eval_docs))
    if not tasks:
        return {}
    results = simple_evaluate(
        model=lm,
        tasks=list(tasks.values()),
        task_manager=TaskManager(include_defaults=False),  # the tasks are loaded already
        samples=chosen,
        log_samples=True,
        bootstrap_iters=0,  # the standard error of an accuracy has a closed form
        random_seed=0,
        numpy_random_seed=0,
        torch_random_seed=0,
        fewshot_random_seed=0,
    )
    assert results is not None  # only other ranks of a distributed run get None
    return {one.name: _record(one, results["samples"]) for one in sets}


def require_room(lm: HFLM, prepared: Iterable[Prepared]) -> None:
    """Refuse a task that may generate more than the model can hold.

    Raises:
        HarnessError: there is such a task.
    """
    for name, task in ((n, t) for one in prepared for n, t in one.leaves.items()):
        if task.OUTPUT_TYPE != "generate_until":
            continue
        longest = task.config.generation_kwargs.get("max_gen_toks", lm.max_gen_toks)
        if longest >= lm.max_length:
            raise HarnessError(
                f"{name}: an answer may be {longest} tokens long, but the model ends at "
                f"{lm.max_length} (max_position_embeddings in its config.json); leave the task out"
            )


def _record(one: Prepared, logged: Mapping[str, list[question_records.Sample]]) -> dict[str, Any]:
    """The entry of one set; a group's is that of all its questions, leaf after leaf."""
    parts = {name: _in_order(logged[name]) for name in one.leaves}
    entry = question_records.record(one.where, list(parts.values()), one.chance, one.alike)
    entry |= dict(one.facts)
    if len(parts) > 1:
        entry["groups"] = {
            name: {key: scored[key] for key in TOLD if key in scored}
            for name, part in parts.items()
            for scored in [question_records.record(name, [part], one.chance)]
        }
    return entry


def _in_order(samples: list[question_records.Sample]) -> list[question_records.Sample]:
    """Sort by question number; keep one sample per question, that of the task's first filter."""
    first = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    return sorted(first, key=lambda sample: sample["doc_id"])
