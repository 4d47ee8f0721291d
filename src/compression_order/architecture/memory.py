"""Bytes that a job holds at its peak.

Memory is that of `training/loop.py`: weights, gradients and two moments of AdamW, and with float32
weights the bf16 copies of the linears that autocast keeps until the backward pass is through.
All five terms are added as if they peaked together, which they nearly do at the first steps of a
backward pass; libraries, allocator and files mapped into memory come on top.

On several devices (`training/distributed.py`) figures are of one of them: weights, gradients and
moments are shared out, and so are the sequences of a batch. Whole on each device are, for a while,
the embedding, the head and two layers of mean size (one computes, one is fetched), the gradients of
the former and of a layer, and the bf16 copies of all linears, which autocast keeps. Before it is
sharded a device holds the whole model.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from compression_order.architecture.shapes import Architecture, Block
from compression_order.architecture.storage import BF16, FP32

LOSS_CHUNK = 256  # tokens whose logits are in memory at a time; `losses.chunked`
SCORE_CHUNK = 256  # likewise; `forward.CHUNK`
LIBRARIES = 650_000_000  # resident bytes of a process that has imported everything, measured
BATCH = 1024  # tokens of a batch that is only read; `forward.TOKENS`
TAIL = 8  # float32 numbers a token that a top-k of the teacher keeps of the tail; `buckets.NODES`
# bytes a logit at the peak: logits in bf16 and float32, and what is derived from them
ENTROPY_LOGIT, SCORED_LOGIT, ANSWERED_LOGIT = 16, 22, 10
# likewise of a divergence: exact (logits, and three tensors of both models), or of a top-k
EXACT_LOGIT, BUCKETS_LOGIT = 16, 24
CACHED_LOGIT = 22  # of a top-k: logits, log-probabilities, the tail, and one power of it


@dataclass(frozen=True)
class TrainingRun:
    """Steps of batches of sequences; `mean` is the length that counts, `longest` the cut.

    Attributes:
        steps: optimizer steps.
        batch: sequences a batch.
        mean: tokens a sequence, on average.
        longest: tokens a sequence, at most.
        accumulation: batches a step.
        weight: bytes of a weight, and of its gradient.
        moments: bytes of a weight's two moments.
        heads: how often a token's logits are made: once, or once a term of the loss.
        devices: that share the batches and the weights.
        adapter: parameters of the adapter that trains on frozen bf16 weights; 0: all weights do.
        rounded: whether the forward pass rounds the linears' weights to a grid.
        number: bytes of a number that products are made of.
        masked: whether padding counts, so that attention needs a mask.
        taught: weights of the teacher's output embedding, where its logits are made again; 0: not.
    """

    steps: int
    batch: int
    mean: int
    longest: int
    accumulation: int = 1
    weight: int = FP32
    moments: float = 2 * FP32
    heads: int = 1
    devices: int = 1
    adapter: int = 0
    rounded: bool = False
    number: int = BF16
    masked: bool = False
    taught: int = 0

    @property
    def sequences(self) -> int:
        """Sequences of all steps."""
        return self.steps * self.accumulation * self.batch

    @property
    def tokens(self) -> int:
        """Tokens of all steps."""
        return self.sequences * self.mean


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a job.

    On a GPU the teacher's cache stays in the memory of the host (`host`), and only a batch of
    it at a time comes over; it then is no part of the peak.
    """

    weights: int
    gradients: int = 0
    optimizer: int = 0
    teacher: int = 0
    activations: int = 0
    host: bool = False

    @property
    def peak(self) -> int:
        """The sum, on the device."""
        own = self.weights + self.gradients + self.optimizer + self.activations
        return own if self.host else own + self.teacher


def moment_bytes(optimizer: str, weight: int) -> float:
    """Bytes of a weight's two moments: as the weight, or 8 bits and a float32 a block of 256."""
    return 2 * (1 + FP32 / 256) if optimizer == "adamw-8bit" else 2 * weight


def layer_bytes(
    shape: Architecture, block: Block, tokens: int, number: int = BF16, masked: int = 0
) -> int:
    """What one decoder layer keeps for its backward pass.

    By the method of Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) for this block; a
    token keeps, with h channels, a channels of query heads, k of the heads that they share and f
    feed-forward neurons, under bf16 autocast:

    - two norms: input and normalized input in float32, 16 h, and one root each, 8;
    - bf16 inputs of the five linears that read the stream, 10 h (autocast copies for each);
    - attention: queries and the output, 4 a, keys and values, 4 k, all in bf16, and float32
      log-sums, 4 a head; the square of scores is never stored (fused kernels);
    - feed-forward: gate, its SiLU, up and their product in bf16, 8 f.

    In float32 every number of attention and feed-forward takes 4 bytes, and the linears share
    their input, 8 h. A mask adds a number a position of the sequence, and keys and values are
    repeated for all query heads. No recomputation, no dropout. Equal to what torch saves on the
    CPU, as tests/planning/test_plan.py shows.

    Args:
        shape: of the model.
        block: the layer.
        tokens: of the batch, padding counted.
        number: bytes of a number that products are made of.
        masked: length of the sequences where padding counts and attention needs a mask; else 0.
    """
    own = shape.attention(block)
    seen = own if masked else block.key_value_heads * shape.head_dim
    stream = 26 if number == BF16 else 24
    each = stream * shape.hidden + number * (2 * own + 2 * seen + 4 * block.ffn + masked)
    return tokens * (each + 4 * block.heads + 8)


def training_memory(shape: Architecture, how: TrainingRun, teacher: int, logit: int) -> Memory:
    """The peak of a training step; `logit`: bytes a logit of the loss, see above.

    The loss adds its chunk of logits, the float32 gradient of the head that is made in the same
    pass, the head in bf16, and the teacher's where its logits are made again.
    """
    tokens = -(-how.batch // how.devices) * how.longest
    chunk = min(LOSS_CHUNK, tokens) * shape.vocabulary * logit + how.number * how.taught
    mask = how.longest if how.masked else 0
    layers = sum(layer_bytes(shape, block, tokens, how.number, mask) for block in shape.blocks)
    last = 2 * FP32 * shape.hidden * tokens  # the last norm: its input, and normalized
    if how.adapter:
        return Memory(
            weights=how.number * shape.parameters + how.weight * how.adapter,
            gradients=how.weight * how.adapter,
            optimizer=round(how.moments * how.adapter),
            teacher=teacher,
            activations=layers + last + chunk,
        )
    narrow = how.weight > how.number  # autocast keeps copies of the linears and of the head
    copies = how.number * sum(shape.linears) if narrow else 0
    if how.rounded:  # the rounded weights, and how far they are from the trained ones
        copies += 2 * how.weight * sum(shape.linears)
    own = -(-shape.parameters // how.devices)
    # whole for a while where weights are sharded: embedding and head, and layers in turn
    root, layer = shape.other, sum(shape.linears) // shape.layers
    gathered, reduced = (root + 2 * layer, root + layer) if how.devices > 1 else (0, 0)
    training = Memory(
        weights=how.weight * (own + gathered) + copies,
        gradients=how.weight * (own + reduced),
        optimizer=round(how.moments * own),
        teacher=teacher,
        activations=layers
        + last
        + chunk
        + (how.heads * how.weight + narrow * how.number) * shape.head,
    )
    loaded = how.weight * (shape.parameters + own) if how.devices > 1 else 0
    return highest([training, Memory(loaded, teacher=teacher)])


def passing(shape: Architecture, tokens: int, logits: int, number: int = BF16) -> int:
    """Bytes of activations of a forward pass over a batch: the widest layer's, and the logits'.

    Args:
        shape: of the model.
        tokens: of the batch, padding counted.
        logits: bytes of them that are in memory at a time.
        number: bytes of a number that products are made of.
    """
    return max(layer_bytes(shape, block, tokens, number) for block in shape.blocks) + logits


def read_bytes(shape: Architecture, number: int) -> int:
    """Bytes of the weights of a model that is only read, dense."""
    return number * shape.parameters


def highest(memories: Iterable[Memory]) -> Memory:
    """The one with the highest peak."""
    return max(memories, key=lambda memory: memory.peak)


def cache_bytes(
    teacher: Architecture,
    vocabulary: int,
    tokens: int,
    documents: int,
    k: int,
    number: int = BF16,
) -> int:
    """The teacher's cache as stored.

    Exact (`k` 0): its last hidden states, and its output embedding in bf16. Else k ids and
    log-probabilities a token of two bytes each, and the tail. Beside them two numbers a document,
    and the rows of vocabulary.

    Args:
        teacher: its shape.
        vocabulary: rows that it shares with the student.
        tokens: that are trained on.
        documents: conversations.
        k: ids kept a token; 0: the hidden states.
        number: bytes of a number that products are made of.
    """
    ident = 2 if vocabulary <= 2**16 else 4
    each = (ident + 2) * k + FP32 * TAIL if k else number * teacher.hidden
    head = 0 if k else BF16 * vocabulary * teacher.hidden
    return tokens * each + head + 16 * documents + 8
