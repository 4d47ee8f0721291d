"""What one job takes: tokens, operations, memory (`memory`), bytes read and written.

Operations are two a multiply-accumulate of `shapes.macs`. A trained token takes three forward
passes' worth (forward, and backward to inputs and to weights): 6 a weight of linears and head,
plus attention. Softmaxes over the vocabulary and the optimizer are not counted.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from compression_order.architecture import memory
from compression_order.architecture.memory import Memory, TrainingRun
from compression_order.architecture.shapes import Architecture, macs
from compression_order.architecture.storage import BF16, FP32, Storage, dense_bytes
from compression_order.common.declare import Settings

# what every stage proves itself on: prompts, tokens each, greedy tokens; `stage.Job._probe`
PROMPTS, PROMPT, ANSWER = 4, 64, 16
# conversations on which the loss of a top-k is measured; `stages/teach.py`
SAMPLE = 32


class Assumed(Settings):
    """Lengths and counts that a study file does not say, because its data do."""

    conversation: Annotated[
        int, Field(ge=0, description="mean tokens of a conversation; 0 = the longest allowed")
    ] = 0
    question: Annotated[int, Field(ge=1, description="tokens of a question with one answer")] = 64
    answer: Annotated[int, Field(ge=1, description="tokens of an answer that is chosen")] = 4
    text: Annotated[
        int, Field(ge=1, description="tokens of a text that is scored whole (max_tokens: 0)")
    ] = 300_000
    questions: Annotated[
        int, Field(ge=1, description="questions of a set that is asked whole (0)")
    ] = 1000

    def cut(self, longest: int) -> int:
        """Mean tokens of a conversation that is cut at `longest`."""
        return min(self.conversation or longest, longest)


@dataclass(frozen=True)
class Part:
    """One piece of a job: the tokens that pass through the model, and the operations.

    Its devices share both evenly.
    """

    name: str
    tokens: int
    flops: int
    devices: int = 1

    @property
    def span(self) -> int:
        """Operations of one of its devices."""
        return -(-self.flops // self.devices)


@dataclass(frozen=True)
class Demand:
    """What one job takes; `read` and `written` are bytes of weights and teacher outputs."""

    parts: tuple[Part, ...]
    memory: Memory
    read: int
    written: int

    @property
    def tokens(self) -> int:
        """Tokens of all parts."""
        return sum(part.tokens for part in self.parts)

    @property
    def flops(self) -> int:
        """Operations of all parts."""
        return sum(part.flops for part in self.parts)

    @property
    def span(self) -> int:
        """Operations of one device: what the job waits for."""
        return sum(part.span for part in self.parts)

    @property
    def resident(self) -> int:
        """Bytes of its process on a CPU: the peak, the libraries, and the files that it loads."""
        return self.memory.peak + memory.LIBRARIES + self.read

    @property
    def devices(self) -> int:
        """Devices that the job holds from its start to its end."""
        return max((part.devices for part in self.parts), default=1)


@dataclass(frozen=True)
class State:
    """A checkpoint: its shape, and how its linears are stored, None where it is dense.

    `adapter`: parameters of the adapter beside the weights, in bf16.
    """

    shape: Architecture
    storage: Storage | None = None
    adapter: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of its weights as stored."""
        weights = self.storage.bytes(self.shape) if self.storage else dense_bytes(self.shape)
        return weights + BF16 * self.adapter


def forward(
    shape: Architecture, name: str, sequences: int, length: int, predicted: int | None = None
) -> Part:
    """Forward passes; the head at `predicted` positions of all, None: at every one."""
    tokens = sequences * length
    head = tokens if predicted is None else predicted
    return Part(name, tokens, 2 * macs(shape, sequences, length, head).total)


def trained(shape: Architecture, name: str, how: TrainingRun) -> Part:
    """Training steps; the head at every position, an upper bound where prompts are masked.

    Frozen weights take no gradient: two forward passes' worth instead of three, and the adapter.
    """
    whole = forward(shape, name, how.sequences, how.mean, how.heads * how.tokens)
    flops = (2 if how.adapter else 3) * whole.flops + 6 * how.adapter * how.tokens
    flops += 2 * how.taught * how.tokens  # the teacher's logits: forward only
    return Part(name, whole.tokens, flops, how.devices)


def proof(shape: Architecture) -> Part:
    """The logits of the probe's prompts, and its greedy answers."""
    logits = forward(shape, "proof", PROMPTS, PROMPT)
    answers = forward(shape, "proof", PROMPTS, PROMPT + ANSWER, PROMPTS * ANSWER)
    return Part("proof", logits.tokens + answers.tokens, logits.flops + answers.flops)


def stored(parent: State, child: State, teacher: int) -> tuple[int, int]:
    """Bytes that a stage reads and writes."""
    return parent.bytes + teacher, child.bytes


def prune(
    parent: State, child: State, calibration: Part | None, batch: int, cut: int, how: TrainingRun
) -> Demand:
    """Calibrate on the whole width, cut, recover on the new one.

    Args:
        parent: what is pruned.
        child: what is left.
        calibration: the calibration pass; None where the score needs none.
        batch: sequences a calibration batch.
        cut: longest of them, tokens.
        how: the recovery.
    """
    recovery = [trained(child.shape, "recovery", how)] if how.steps else []
    parts = ([calibration] if calibration else []) + recovery + [proof(child.shape)]
    weights = FP32 * parent.shape.parameters
    observed = Memory(weights)
    if calibration:
        copies = 0 if how.number == FP32 else how.number * sum(parent.shape.linears)
        activations = memory.passing(parent.shape, batch * cut, 0, how.number)
        observed = Memory(weights + copies, activations=activations)
    peaks = [observed]
    if recovery:
        peaks.append(memory.training_memory(child.shape, how, 0, memory.ENTROPY_LOGIT))
    return Demand(tuple(parts), memory.highest(peaks), *stored(parent, child, 0))


def tune(
    parent: State,
    child: State,
    how: TrainingRun,
    teacher: int = 0,
    logit: int = memory.ENTROPY_LOGIT,
) -> Demand:
    """Fine-tune, or distil with `teacher` bytes of its cache; `logit`: bytes a logit."""
    parts = [trained(child.shape, "training", how)] if how.steps else []
    peak = memory.training_memory(child.shape, how, teacher, logit)
    read, written = stored(parent, child, teacher)
    return Demand((*parts, proof(child.shape)), peak, read, written)


def quantize(parent: State, child: State, calibration: Part | None = None) -> Demand:
    """Quantize and prove: the bf16 model, its proved copy and the quantized one.

    A method that calibrates works on a copy of the model before: no more than those weights.
    """
    logits = PROMPTS * PROMPT * child.shape.vocabulary * BF16
    peak = Memory(
        weights=2 * dense_bytes(child.shape) + child.bytes,
        activations=memory.passing(child.shape, PROMPTS * PROMPT, logits),
    )
    parts = [calibration] if calibration else []
    return Demand((*parts, proof(child.shape)), peak, *stored(parent, child, 0))


def cached(demand: Demand, on_gpu: bool) -> Demand:
    """The demand of a job that holds the teacher's cache: in the host's memory, beside a GPU."""
    return replace(demand, memory=replace(demand.memory, host=on_gpu))


def teach(
    teacher: State,
    student: Architecture,
    documents: int,
    mean: int,
    longest: int,
    k: int,
    eight: bool,
    number: int = BF16,
    measured: int = 0,
    wide: bool = False,
) -> Demand:
    """Run the teacher over the training split, in batches; the head only for a top-k.

    Args:
        teacher: the model.
        student: what it shares its vocabulary with.
        documents: conversations.
        mean: tokens of one.
        longest: of them, tokens.
        k: ids kept a token; 0: the hidden states.
        eight: whether its linears are int8.
        number: bytes of a number that products are made of.
        wide: whether its weights are in float32, multiplied as copies.
        measured: conversations on which a top-k is measured against the student, beside it.
    """
    shape, tokens = teacher.shape, documents * mean
    shared = min(shape.vocabulary, student.vocabulary)
    written = memory.cache_bytes(shape, shared, tokens, documents, k, number)
    linears = sum(shape.linears)
    logits = memory.SCORE_CHUNK * shape.vocabulary * memory.CACHED_LOGIT if k else 0
    peak = Memory(
        weights=memory.read_bytes(shape, FP32 if wide else number)
        + (number * linears if wide and number < FP32 else 0)
        - (number - 1) * linears * eight
        + (memory.read_bytes(student, number) if measured else 0),
        teacher=written,
        activations=memory.passing(shape, max(memory.BATCH, longest), logits, number),
    )
    parts = [forward(shape, "teacher", documents, mean, None if k else 0)]
    parts += [forward(its, "sample", measured, mean) for its in (shape, student) if measured]
    return Demand(tuple(parts), peak, teacher.bytes, written)
