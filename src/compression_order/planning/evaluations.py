"""Cost of a study's evaluations, from the study file and, where it does not say, assumptions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from compression_order.architecture import demands, storage
from compression_order.architecture.demands import Assumed, Demand, Memory, Part, State
from compression_order.architecture.shapes import Architecture
from compression_order.architecture.storage import BF16
from compression_order.common.errors import HarnessError
from compression_order.study import hub_tasks
from compression_order.study.study import Study, task_path


@dataclass(frozen=True)
class Questions:
    """The sequences of one task that pass through the model.

    Attributes:
        name: of the task.
        sequences: number of questions times passes per question.
        length: mean tokens of a sequence.
        generated: tokens generated after each at most.
    """

    name: str
    sequences: int
    length: int
    generated: int = 0

    def part(self, shape: Architecture) -> Part:
        """Count the forward passes: a generated token takes one more, on cached keys and values."""
        name, length = f"task {self.name}", self.length + self.generated
        head = self.sequences * self.generated if self.generated else None
        return demands.forward(shape, name, self.sequences, length, head)

    def activations(self, shape: Architecture, batch: int) -> int:
        """Bytes of a batch: logits of every position, or of the last, and keys and values."""
        if not self.generated:
            logits = batch * self.length * shape.vocabulary * demands.ANSWERED_LOGIT
            return demands.passing(shape, batch, self.length, logits)
        heads = sum(block.key_value_heads for block in shape.blocks)
        kept = 2 * heads * shape.head_dim * BF16
        cache = batch * (self.length + self.generated) * kept
        logits = batch * shape.vocabulary * demands.ANSWERED_LOGIT
        return demands.passing(shape, batch, self.length, logits) + cache


def _held_out(study: Study, assumed: Assumed) -> tuple[int, int]:
    """Held-out conversations, whole, and their tokens each."""
    length = assumed.conversation or study.file.evaluations.seq_len
    return study.file.splits.held_out, length


def _reference_bytes(study: Study, base: State, assumed: Assumed) -> int:
    documents, length = _held_out(study, assumed)
    return BF16 * (base.shape.head + documents * length * base.shape.hidden)


def reference(study: Study, base: State, assumed: Assumed) -> Demand:
    """Keep the base's hidden states on the held-out conversations."""
    documents, length = _held_out(study, assumed)
    kept = _reference_bytes(study, base, assumed)
    memory = Memory(
        weights=storage.dense_bytes(base.shape),
        teacher=kept,
        activations=demands.passing(base.shape, 1, length, 0),
    )
    part = demands.forward(base.shape, "reference", documents, length, 0)
    return Demand((part,), memory, base.bytes, kept)


def tasks(study: Study, assumed: Assumed, root: Path) -> list[Questions]:
    """List the sequences of each task; lengths of local tasks are assumed."""
    asked = study.file.evaluations.tasks.items()
    local = [
        Questions(name, (n or assumed.questions) * _passes(root, task_path(name)), assumed.question)
        for name, n in asked
    ]
    known = hub_tasks.index(root)
    hub = [
        Questions(name, row.asked(n) * row.passes, tokens, row.generated)
        for name, n in hub_tasks.asked(study.file).items()
        for row in [known[name]]
        for tokens in [hub_tasks.tokens(study.file, name, row)]
    ]
    return [*local, *hub]


def _passes(root: Path, path: str) -> int:
    """The passes of one question.

    Choices listed in the task file are labels of one token and share a pass. Choices from the data
    take one pass each; their number follows from the chance level.

    Raises:
        HarnessError: the task file does not say how many there are.
    """
    task = yaml.safe_load((root / path).read_text())
    if isinstance(task.get("doc_to_choice"), list):
        return 1
    chance = task.get("metadata", {}).get("chance")
    if not chance:
        raise HarnessError(f"{path}: metadata.chance is missing; give the level of guessing")
    return round(1 / chance)


def _scored(study: Study, state: State, asked: list[Questions], assumed: Assumed) -> Iterator[Part]:
    wanted = study.file.evaluations
    window = wanted.seq_len
    for text in wanted.windows:
        windows = (wanted.max_tokens or assumed.text) // window
        yield demands.forward(state.shape, f"windows {text}", windows, window)
    documents, length = _held_out(study, assumed)
    name = f"documents {study.file.splits.scored}"
    own = demands.forward(state.shape, name, documents, length)
    base_head = 2 * own.tokens * state.shape.head
    yield Part(name, own.tokens, own.flops + base_head)  # the base's logits, for fidelity
    for task in asked:
        yield task.part(state.shape)


def measure(
    study: Study, state: State, base: State, asked: list[Questions], assumed: Assumed
) -> Demand:
    """Score one checkpoint, with 4-bit weights dequantized. `asked`: see `tasks`."""
    wanted, shape = study.file.evaluations, state.shape
    kept = _reference_bytes(study, base, assumed)
    longest = max(wanted.seq_len, _held_out(study, assumed)[1])
    chunk = demands.SCORE_CHUNK * shape.vocabulary * demands.SCORED_LOGIT
    activations = [demands.passing(shape, 1, longest, chunk)]
    activations += [task.activations(shape, wanted.batch_size) for task in asked]
    memory = Memory(storage.dense_bytes(shape), teacher=kept, activations=max(activations))
    parts = tuple(_scored(study, state, asked, assumed))
    return Demand(parts, memory, state.bytes + kept, 0)


def answers(study: Study, state: State, base: State, assumed: Assumed) -> Demand:
    """Answer the judge's prompts one at a time; base scores the fluency of each answer."""
    assert study.judge is not None
    how = study.judge.answers
    prompts = how.prompts or study.file.splits.held_out
    asked = Questions("answers", prompts, assumed.question, how.max_new_tokens)
    memory = Memory(
        weights=storage.dense_bytes(state.shape) + storage.dense_bytes(base.shape),
        activations=asked.activations(state.shape, 1),
    )
    fluent = demands.forward(base.shape, "fluency", prompts, how.max_new_tokens)
    return Demand((asked.part(state.shape), fluent), memory, state.bytes + base.bytes, 0)
