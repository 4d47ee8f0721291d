"""Question sets through lm-eval, with every answer kept.

Tasks are local task files (`tasks/*.yaml`); lm-eval's own index of tasks is not read, which
saves five seconds a process. A task's entry of `lm_eval.json` keeps one number a question, so
that two checkpoints can be compared on the same questions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order import files
from compression_order.errors import HarnessError

METRIC = "acc"


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

    def indices(self, available: int) -> list[int]:
        """Question numbers spread evenly over the set: the head of a file may be ordered."""
        count = min(self.count or available, available)
        return [i * available // count for i in range(count)]


def language_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> HFLM:
    """The model as lm-eval sees it: loaded once for all tasks, log-probabilities in float32."""
    return HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        softmax_dtype="float32",
    )


def answer(lm: HFLM, tasks: Iterable[Asked]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run task files one after the other; yields each task's name and its record.

    Raises:
        HarnessError: a task file names no such metric, or has no questions.
    """
    for asked in tasks:
        path, name = asked.path, asked.path.stem
        results = simple_evaluate(
            model=lm,
            tasks=[name],
            task_manager=TaskManager(include_path=str(path.parent), include_defaults=False),
            samples={name: asked.indices(_available(path))},
            log_samples=True,
            bootstrap_iters=0,  # the standard error of an accuracy has a closed form
            random_seed=0,
            numpy_random_seed=0,
            torch_random_seed=0,
            fewshot_random_seed=0,
        )
        yield name, _record(path, name, results)


def _available(path: Path) -> int:
    """The number of questions in a task's data file."""
    files_of = yaml.safe_load(path.read_text())["dataset_kwargs"]["data_files"]
    return sum(len(files.read_lines(Path(data))) for data in files_of.values())


def _record(path: Path, name: str, results: dict[str, Any] | None) -> dict[str, Any]:
    samples = sorted((results or {})["samples"][name], key=lambda sample: sample["doc_id"])
    if not samples:
        raise HarnessError(f"{path}: the task has no questions; look at its data file")
    if METRIC not in samples[0]:
        raise HarnessError(f"{path}: the task has no metric {METRIC!r}; add it to metric_list")
    correct = [int(sample[METRIC]) for sample in samples]
    value = sum(correct) / len(correct)
    return {
        "metric": METRIC,
        "value": value,
        "stderr": (value * (1 - value) / max(1, len(correct) - 1)) ** 0.5,
        "chance": yaml.safe_load(path.read_text())["metadata"]["chance"],
        "samples": len(samples),
        "sample_sha256": files.digest([_asked(sample) for sample in samples]),
        "correct": correct,
        "choice": [_likeliest(sample) for sample in samples],
    }


def _asked(sample: dict[str, Any]) -> list[Any]:
    # what was scored: every prompt with every continuation, and the right answer
    requests = [arguments for arguments in sample["arguments"]]
    return [[[str(a) for a in pair] for pair in requests], str(sample["target"])]


def _likeliest(sample: dict[str, Any]) -> int:
    scores = [float(score) for score, _ in sample["filtered_resps"]]
    return scores.index(max(scores))
