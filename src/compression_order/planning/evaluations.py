"""Cost of a study's evaluations, from the study file and, where it does not say, assumptions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from compression_order.architecture import demands, memory
from compression_order.architecture.demands import Assumed, Demand, Part, State
from compression_order.architecture.memory import Memory
from compression_order.architecture.shapes import Architecture
from compression_order.architecture.storage import BF16, FP32
from compression_order.common import arithmetic
from compression_order.common.errors import HarnessError
from compression_order.study import hub_tasks
from compression_order.study.settings import FEWEST_DOCUMENTS
from compression_order.study.study import Study, task_path


@dataclass(frozen=True)
class Questions:
    """The questions of one task that pass through the model, each context once.

    Attributes:
        name: of the task.
        sequences: number of questions.
        length: mean tokens of a question with one answer.
        choices: answers of each question that are scored on its context.
        answer: tokens of an answer that is chosen.
        generated: tokens generated after each question at most; 0: answers are chosen.
    """

    name: str
    sequences: int
    length: int
    choices: int = 1
    answer: int = 1
    generated: int = 0

    def part(self, shape: Architecture) -> Part:
        """Count the forward passes: a generated token takes one more, on cached keys and values."""
        name = f"task {self.name}"
        if self.generated:
            length, head = self.length + self.generated, self.sequences * self.generated
            return demands.forward(shape, name, self.sequences, length, head)
        length = self.length + (self.choices - 1) * self.answer
        head = self.sequences * self.choices * self.answer
        return demands.forward(shape, name, self.sequences, length, head)

    def activations(self, shape: Architecture, batch: int, number: int) -> int:
        """Bytes of a batch.

        Args:
            shape: of the model.
            batch: answers that are generated at once.
            number: bytes of a number that products are made of.
        """
        if not self.generated:
            logits = memory.SCORE_CHUNK * shape.vocabulary * memory.ANSWERED_LOGIT
            return memory.passing(shape, max(memory.BATCH, self.length), logits, number)
        heads = sum(block.key_value_heads for block in shape.blocks)
        kept = 2 * heads * shape.head_dim * number
        cache = batch * (self.length + self.generated) * kept
        logits = batch * shape.vocabulary * memory.ANSWERED_LOGIT
        return memory.passing(shape, batch * self.length, logits, number) + cache


# bytes that measuring holds beside on a CPU: lm-eval, and holes between blocks of many sizes; 16
# rows of the default study took 1.26 to 2.48 GB, and the same code another figure each time
BETWEEN = 600_000_000


def number(study: Study) -> int:
    """Bytes of a number that products are made of; of the wider ones where a run is to choose."""
    return BF16 if study.file.compute == arithmetic.BF16 else FP32


def _held_out(study: Study, assumed: Assumed) -> tuple[int, int]:
    """Held-out conversations, whole, and their tokens each."""
    length = assumed.conversation or study.file.evaluations.seq_len
    return getattr(study.file.splits, study.file.evaluations.part), length


def _reference_bytes(study: Study, base: State, assumed: Assumed) -> int:
    documents, length = _held_out(study, assumed)
    return number(study) * (base.shape.head + documents * length * base.shape.hidden)


def reference(study: Study, base: State, assumed: Assumed) -> Demand:
    """Keep the base's hidden states on the held-out conversations."""
    documents, length = _held_out(study, assumed)
    kept = _reference_bytes(study, base, assumed)
    peak = Memory(
        weights=memory.read_bytes(base.shape, number(study)),
        teacher=kept,
        activations=memory.passing(base.shape, max(memory.BATCH, length), 0, number(study)),
    )
    part = demands.forward(base.shape, "reference", documents, length, 0)
    return Demand((part,), peak, base.bytes, kept)


def tasks(study: Study, assumed: Assumed, root: Path) -> list[Questions]:
    """List the sequences of each task; lengths of local tasks are assumed."""
    asked = study.file.evaluations.tasks.items()
    local = [
        Questions(name, n or assumed.questions, assumed.question, choices, assumed.answer)
        for name, n in asked
        for choices in [_choices(root, task_path(name))]
    ]
    known = hub_tasks.index(root)
    hub = [
        Questions(name, row.asked(n), tokens, row.passes, assumed.answer, row.generated)
        for name, n in hub_tasks.asked(study.file).items()
        for row in [known[name]]
        for tokens in [hub_tasks.tokens(study.file, name, row)]
    ]
    return [*local, *hub]


def _choices(root: Path, path: str) -> int:
    """The answers of one question.

    Choices listed in the task file are labels of one token, all predicted by the question's last
    one. Of choices from the data the number follows from the chance level.

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
        tokens = wanted.max_tokens or assumed.text
        length = window
        if not wanted.joined and wanted.max_tokens:
            length = min(window, tokens // FEWEST_DOCUMENTS)
        yield demands.forward(state.shape, f"windows {text}", tokens // length, length)
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
    wanted, shape, each = study.file.evaluations, state.shape, number(study)
    kept = _reference_bytes(study, base, assumed)
    longest = max(memory.BATCH, wanted.seq_len, _held_out(study, assumed)[1])
    chunk = memory.SCORE_CHUNK * shape.vocabulary * memory.SCORED_LOGIT
    activations = [memory.passing(shape, longest, chunk, each)]
    activations += [task.activations(shape, wanted.batch_size, each) for task in asked]
    weights = memory.read_bytes(shape, each)
    beside = 0 if study.gpus else BETWEEN
    peak = Memory(weights, teacher=kept, activations=max(activations) + beside)
    parts = tuple(_scored(study, state, asked, assumed))
    return Demand(parts, peak, state.bytes + kept, 0)


def answers(study: Study, state: State, base: State, assumed: Assumed) -> Demand:
    """Answer the judge's prompts one at a time; base scores the fluency of each answer."""
    assert study.judge is not None
    how = study.judge.answers
    prompts = how.prompts or study.file.splits.held_out
    asked = Questions("answers", prompts, assumed.question, generated=how.max_new_tokens)
    shapes, each = (state.shape, base.shape), number(study)
    peak = Memory(
        weights=sum(memory.read_bytes(shape, each) for shape in shapes),
        activations=asked.activations(state.shape, 1, each),
    )
    fluent = demands.forward(base.shape, "fluency", prompts, how.max_new_tokens)
    return Demand((asked.part(state.shape), fluent), peak, state.bytes + base.bytes, 0)
