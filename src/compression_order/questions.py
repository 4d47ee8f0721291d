"""Question sets through lm-eval, with every answer kept.

Tasks are local task files (`tasks/*.yaml`); lm-eval's own index of tasks is not read, which
saves five seconds a process. A task's entry of `lm_eval.json` keeps one number a question, so
that two checkpoints can be compared on the same questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order import files
from compression_order.errors import HarnessError
from compression_order.runtime import Progress


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

    def indices(self, available: int) -> list[int]:
        """Question numbers spread evenly over the set: the head of a file may be ordered."""
        count = min(self.count or available, available)
        return [i * available // count for i in range(count)]


class ToldHFLM(HFLM):
    """lm-eval's model, loaded once for all tasks, that tells how far it is.

    Log-probabilities are taken in float32. Where all continuations of a context are one token
    long they share a pass, so that the time left is an upper bound.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int, label: str
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch, softmax_dtype="float32"
        )
        self._label, self._done = label, 0

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        """Score continuations; see lm-eval's `LM.loglikelihood`."""
        self._progress, self._done = Progress(self._label, "continuation", len(requests)), 0
        return super().loglikelihood(requests, disable_tqdm=True)

    def _model_call(self, inps: Tensor, *args: Any, **kwargs: Any) -> Any:
        logits = super()._model_call(inps, *args, **kwargs)
        self._done += len(inps)
        self._progress.update(self._done)
        return logits


def answer(lm: HFLM, tasks: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """Run task files of one folder; each task's name and its record.

    Raises:
        HarnessError: a task has no questions, or none of the metrics that are understood.
    """
    if not tasks:
        return {}
    folder = tasks[0].path.parent
    results = simple_evaluate(
        model=lm,
        tasks=[asked.name for asked in tasks],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        samples={asked.name: asked.indices(_available(asked.path)) for asked in tasks},
        log_samples=True,
        bootstrap_iters=0,  # the standard error of an accuracy has a closed form
        random_seed=0,
        numpy_random_seed=0,
        torch_random_seed=0,
        fewshot_random_seed=0,
    )
    assert results is not None  # only other ranks of a distributed run get None
    return {asked.name: _record(asked.path, results["samples"][asked.name]) for asked in tasks}


def _available(path: Path) -> int:
    """The number of questions in a task's data file."""
    files_of = yaml.safe_load(path.read_text())["dataset_kwargs"]["data_files"]
    return sum(len(files.read_lines(Path(data))) for data in files_of.values())


def _record(path: Path, unsorted: list[dict[str, Any]]) -> dict[str, Any]:
    samples = sorted(unsorted, key=lambda sample: sample["doc_id"])
    if not samples:
        raise HarnessError(f"{path}: the task has no questions; look at its data file")
    metric = next((m for m in METRICS if m in samples[0]), None)
    if metric is None:
        raise HarnessError(f"{path}: metric_list has none of {', '.join(METRICS)}; add one")
    correct = [int(sample[metric]) for sample in samples]
    value = sum(correct) / len(correct)
    return {
        "metric": metric,
        "value": value,
        "stderr": (value * (1 - value) / max(1, len(correct) - 1)) ** 0.5,
        "chance": yaml.safe_load(path.read_text())["metadata"]["chance"],
        "samples": len(samples),
        "sample_sha256": files.digest([_asked(sample) for sample in samples]),
        "correct": correct,
        "choice": [METRICS[metric](sample) for sample in samples],
    }


def _asked(sample: dict[str, Any]) -> list[Any]:
    # what was scored: every prompt with every continuation, and the right answer
    return [[[str(a) for a in pair] for pair in sample["arguments"]], str(sample["target"])]


def _likeliest(sample: dict[str, Any]) -> int:
    scores = [float(score) for score, _ in sample["filtered_resps"]]
    return scores.index(max(scores))


def _likeliest_per_character(sample: dict[str, Any]) -> int:
    # the continuation begins with the delimiter, which lm-eval does not count
    lengths = [len(continuation) - 1 for _, continuation in sample["arguments"]]
    pairs = zip(sample["filtered_resps"], lengths, strict=True)
    scores = [float(score) / length for (score, _), length in pairs]
    return scores.index(max(scores))


# in order of preference: a task that lists acc_norm has choices of unequal length
METRICS = {"acc_norm": _likeliest_per_character, "acc": _likeliest}
