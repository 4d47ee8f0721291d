"""What one job takes: tokens, operations, memory, bytes read and written.

Operations are two a multiply-accumulate of `shapes.macs`. A trained token takes three forward
passes' worth (forward, and backward to inputs and to weights): 6 a weight of linears and head,
plus attention. Softmaxes over the vocabulary and the optimizer are not counted.

Memory is that of `training.py`: float32 weights, gradients and two moments of AdamW, bf16
copies of the linears that autocast keeps until the backward pass is through. All five terms
are added as if they peaked together, which they nearly do at the first steps of a backward
pass; libraries, allocator and files mapped into memory come on top.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from compression_order.formulas import BF16, FP32, dense_bytes, nf4_bytes
from compression_order.shapes import Architecture, macs

LOSS_CHUNK = 256  # tokens whose logits are in memory at a time; `losses.chunked`
SCORE_CHUNK = 128  # likewise; `scoring.CHUNK`
TAIL = 8  # float32 numbers a token that the teacher's cache keeps of the tail; `teacher.NODES`
# bytes a logit at the peak: logits in bf16 and float32, and what is derived from them
ENTROPY_LOGIT, DIVERGENCE_LOGIT, SCORED_LOGIT, ANSWERED_LOGIT = 16, 24, 18, 10
# what every stage proves itself on: prompts, tokens each, greedy tokens; `stage.Job._probe`
PROMPTS, PROMPT, ANSWER = 4, 64, 16


@dataclass(frozen=True)
class Part:
    """One piece of a job: the tokens that pass through the model, and the operations."""

    name: str
    tokens: int
    flops: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a job."""

    weights: int
    gradients: int = 0
    optimizer: int = 0
    teacher: int = 0
    activations: int = 0

    @property
    def peak(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimizer + self.teacher + self.activations


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


@dataclass(frozen=True)
class State:
    """A checkpoint: its shape, and its NF4 setting `double_quant`, None where it is dense."""

    shape: Architecture
    double_quant: bool | None = None

    @property
    def bytes(self) -> int:
        """Bytes of its weights as stored."""
        if self.double_quant is None:
            return dense_bytes(self.shape)
        return nf4_bytes(self.shape, self.double_quant)


@dataclass(frozen=True)
class Training:
    """Steps of batches of sequences; `mean` is the length that counts, `longest` the cut."""

    steps: int
    batch: int
    mean: int
    longest: int

    @property
    def tokens(self) -> int:
        """Tokens of all steps."""
        return self.steps * self.batch * self.mean


def forward(
    shape: Architecture, name: str, sequences: int, length: int, predicted: int | None = None
) -> Part:
    """Forward passes; the head at `predicted` positions of all, None: at every one."""
    tokens = sequences * length
    head = tokens if predicted is None else predicted
    return Part(name, tokens, 2 * macs(shape, sequences, length, head).total)


def trained(shape: Architecture, name: str, how: Training) -> Part:
    """Training steps; the head at every position, an upper bound where prompts are masked."""
    whole = forward(shape, name, how.steps * how.batch, how.mean)
    return Part(name, whole.tokens, 3 * whole.flops)


def proof(shape: Architecture) -> Part:
    """The logits of the probe's prompts, and its greedy answers."""
    logits = forward(shape, "proof", PROMPTS, PROMPT)
    answers = forward(shape, "proof", PROMPTS, PROMPT + ANSWER, PROMPTS * ANSWER)
    return Part("proof", logits.tokens + answers.tokens, logits.flops + answers.flops)


def layer_bytes(shape: Architecture, tokens: int, length: int) -> int:
    """What one decoder layer keeps for its backward pass under bf16 autocast.

    By the method of Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) for this block; a
    token keeps, with h channels, a channels of query heads and f feed-forward neurons:

    - two norms: input and normalized input in float32, 16 h, and one root each, 8;
    - bf16 inputs of the five linears that read the stream, 10 h (autocast copies for each);
    - attention: queries, keys and values, repeated for all query heads, and the output in
      bf16, 8 a, and float32 log-sums, 4 a head; the square of scores is never stored (fused
      kernels); the bf16 mask of a padded batch, 2 a position of the sequence;
    - feed-forward: gate, its SiLU, up and their product in bf16, 8 f.

    No recomputation, no dropout. Equal to what torch saves on the CPU (tests/test_plan.py).
    """
    each = 26 * shape.hidden + 8 * shape.attention + 8 * shape.ffn
    return tokens * (each + 4 * shape.heads + 8 + 2 * length)


def training_memory(shape: Architecture, how: Training, teacher: int, logit: int) -> Memory:
    """The peak of a training step; `logit`: bytes a logit of the loss, see above.

    The loss adds its chunk of logits, the float32 gradient of the head that is made in the same
    pass, and the head in bf16.
    """
    tokens = how.batch * how.longest
    chunk = min(LOSS_CHUNK, tokens) * shape.vocabulary * logit
    layers = shape.layers * layer_bytes(shape, tokens, how.longest)
    last = 2 * FP32 * shape.hidden * tokens  # the last norm: its input, and normalized
    return Memory(
        weights=FP32 * shape.parameters + BF16 * sum(shape.linears),
        gradients=FP32 * shape.parameters,
        optimizer=2 * FP32 * shape.parameters,
        teacher=teacher,
        activations=layers + last + chunk + (FP32 + BF16) * shape.head,
    )


def passing(shape: Architecture, batch: int, length: int, logits: int) -> int:
    """Bytes of activations of a forward pass: one layer's, and the logits' bytes."""
    return layer_bytes(shape, batch * length, length) + logits


def stored(parent: State, child: State, teacher: int) -> tuple[int, int]:
    """Bytes that a stage reads and writes; a quantized child is first written dense, aside."""
    aside = 0 if child.double_quant is None else dense_bytes(child.shape)
    return parent.bytes + teacher, child.bytes + aside


def prune(
    parent: State, child: State, calibration: Part | None, batch: int, cut: int, how: Training
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
        copies = BF16 * sum(parent.shape.linears)
        observed = Memory(weights + copies, activations=passing(parent.shape, batch, cut, 0))
    peaks = [observed]
    if recovery:
        peaks.append(training_memory(child.shape, how, 0, ENTROPY_LOGIT))
    return Demand(tuple(parts), _highest(peaks), *stored(parent, child, 0))


def distill(parent: State, child: State, how: Training, teacher: int) -> Demand:
    """Train against the teacher's cache of `teacher` bytes."""
    parts = [trained(child.shape, "training", how)] if how.steps else []
    memory = training_memory(child.shape, how, teacher, DIVERGENCE_LOGIT)
    read, written = stored(parent, child, teacher)
    return Demand((*parts, proof(child.shape)), memory, read, written)


def quantize(parent: State, child: State) -> Demand:
    """Store dense and in 4 bits, and prove: the bf16 model, its proved copy and the 4-bit one."""
    logits = PROMPTS * PROMPT * child.shape.vocabulary * BF16
    memory = Memory(
        weights=2 * dense_bytes(child.shape) + child.bytes,
        activations=passing(child.shape, PROMPTS, PROMPT, logits),
    )
    return Demand((proof(child.shape),), memory, *stored(parent, child, 0))


def _highest(memories: Iterable[Memory]) -> Memory:
    return max(memories, key=lambda memory: memory.peak)


def cache_bytes(shape: Architecture, tokens: int, documents: int, k: int) -> int:
    """The teacher's cache as stored: k ids and bf16-sized log-probabilities a token, the tail."""
    ident = 2 if shape.vocabulary <= 2**16 else 4
    return tokens * ((ident + 2) * k + FP32 * TAIL) + 16 * documents


def teach(base: State, documents: int, mean: int, longest: int, k: int) -> Demand:
    """Run the teacher over the training split, document by document."""
    tokens = documents * mean
    logits = longest * base.shape.vocabulary * SCORED_LOGIT
    memory = Memory(
        weights=dense_bytes(base.shape),
        teacher=tokens * (12 * k + FP32 * TAIL),  # int64 ids and float32, until they are stored
        activations=passing(base.shape, 1, longest, logits),
    )
    written = cache_bytes(base.shape, tokens, documents, k)
    return Demand((forward(base.shape, "teacher", documents, mean),), memory, base.bytes, written)
