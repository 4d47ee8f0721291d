"""Parameters, bytes and multiplications of a model from its configuration file alone.

Pure arithmetic: no torch, no weights. `checkpoint/disk.py` counts the same on torch's meta device;
tests/planning/test_plan.py holds the two together. What a family of models has is said in
`families/`. Pruning may leave every layer its own widths, and give feed-forward blocks biases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from compression_order.architecture import families
from compression_order.architecture.families import llama
from compression_order.architecture.families.family import FIELDS, LINEARS, UNCOUNTED, Family
from compression_order.common import files
from compression_order.common.errors import HarnessError

FOLDER = files.WORKFLOW / "architectures"


class UnknownShape(HarnessError):
    """Nothing tells a model's shape before it is fetched."""


@dataclass(frozen=True)
class Block:
    """The widths of one decoder layer: FFN neurons, query heads, and the heads they share."""

    ffn: int
    heads: int
    key_value_heads: int


@dataclass(frozen=True)
class Architecture:
    """The shape of a decoder. What follows from its fields is computed once.

    Attributes:
        hidden: channels of the residual stream.
        head_dim: channels a head.
        blocks: the decoder layers; pruning may leave them different widths.
        vocabulary: rows of the embedding.
        tied: whether the output head is the embedding.
        qkv_bias: whether queries, keys and values have biases.
        mlp_bias: whether the three linears of the feed-forward block have biases.
    """

    hidden: int
    head_dim: int
    blocks: tuple[Block, ...]
    vocabulary: int
    tied: bool
    qkv_bias: bool
    mlp_bias: bool = False

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return len(self.blocks)

    def attention(self, block: Block) -> int:
        """Channels of all query heads of a layer."""
        return block.heads * self.head_dim

    @cached_property
    def query_channels(self) -> int:
        """The same of all layers together."""
        return sum(map(self.attention, self.blocks))

    @cached_property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of every linear of the decoder layers; the head is not among them."""
        found: list[tuple[int, int]] = []
        for block in self.blocks:
            keys = (block.key_value_heads * self.head_dim, self.hidden)
            queries = (self.attention(block), self.hidden)
            up, down = (block.ffn, self.hidden), (self.hidden, block.ffn)
            found += (queries, keys, keys, queries[::-1], up, up, down)
        return tuple(found)

    @cached_property
    def linears(self) -> tuple[int, ...]:
        """Weights of each of them."""
        return tuple(rows * columns for rows, columns in self.matrices)

    def adapter(self, rank: int, targets: Sequence[str]) -> int:
        """Parameters of a low-rank adapter on the linears of these names."""
        names = LINEARS * self.layers
        pairs = zip(names, self.matrices, strict=True)
        return sum(rank * (rows + columns) for name, (rows, columns) in pairs if name in targets)

    @property
    def head(self) -> int:
        """Weights of the output head: the embedding's where they are tied."""
        return self.vocabulary * self.hidden

    @cached_property
    def other(self) -> int:
        """Parameters outside those linears: embedding, untied head, norms, biases."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.head * (1 if self.tied else 2) + norms + sum(map(self._biases, self.blocks))

    def _biases(self, block: Block) -> int:
        queries_keys_values = (block.heads + 2 * block.key_value_heads) * self.head_dim
        feed_forward = 2 * block.ffn + self.hidden
        return self.qkv_bias * queries_keys_values + self.mlp_bias * feed_forward

    @cached_property
    def parameters(self) -> int:
        """All parameters, a tied embedding counted once."""
        return sum(self.linears) + self.other

    def with_ffn(self, widths: Sequence[int]) -> "Architecture":
        """The same model with other feed-forward widths, one a layer."""
        pairs = zip(self.blocks, widths, strict=True)
        return replace(self, blocks=tuple(replace(block, ffn=width) for block, width in pairs))

    def described(self) -> dict[str, Any]:
        """The entry `architecture` of a manifest; head counts are lists where layers differ."""
        heads = [block.heads for block in self.blocks]
        implied = len(set(heads)) == 1 and self.hidden == heads[0] * self.head_dim
        return {
            "layers": self.layers,
            "ffn_widths": [block.ffn for block in self.blocks],
            "attention_heads": _common(heads),
            "key_value_heads": _common([block.key_value_heads for block in self.blocks]),
            "hidden_size": self.hidden,
            **({} if implied else {"head_dim": self.head_dim}),
            **({"mlp_bias": True} if self.mlp_bias else {}),
        }


def _common(counts: list[int]) -> int | list[int]:
    return counts[0] if len(set(counts)) == 1 else counts


def known() -> list[str]:
    """The names of the architectures kept as data."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def named(name: str, folder: Path = FOLDER) -> Architecture:
    """The architecture kept as `architectures/<name>.json`.

    Raises:
        HarnessError: there is no such file, or it lacks a field.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise UnknownShape(
            f"the model {name!r} has no architecture: write {folder.name}/{path.name} from the "
            f"config.json of its checkpoint (model_type {families.known()}), or use one of: "
            f"{', '.join(known())}"
        )
    return from_config(files.read_json(path), str(path.relative_to(folder.parent)))


def from_config(config: Mapping[str, Any], source: str) -> Architecture:
    """The architecture of a Hugging Face config.json; fields not needed are passed over.

    Args:
        config: the file as read.
        source: its name, for messages.

    Raises:
        HarnessError: a field is missing, or the model is of no family known here.
    """
    for field in (*FIELDS, "model_type", "tie_word_embeddings"):
        if field not in config:
            raise HarnessError(
                f"{source}: the field {field!r} is missing; copy it from the model's config.json"
            )
    for field in FIELDS:
        if type(config[field]) is not int or config[field] < 1:
            raise HarnessError(
                f"{source}: {field} is {config[field]!r}, not a whole number of at least 1; "
                "copy it from the model's config.json"
            )
    family = _family(config, source)
    hidden, ffn, layers, heads, shared, vocabulary = (config[field] for field in FIELDS)
    return Architecture(
        hidden=hidden,
        head_dim=config.get("head_dim") or hidden // heads,
        blocks=(Block(ffn, heads, shared),) * layers,
        vocabulary=vocabulary,
        tied=bool(config["tie_word_embeddings"]),
        qkv_bias=family.qkv_bias,
    )


def _family(config: Mapping[str, Any], source: str) -> Family:
    family = families.find(config["model_type"])
    if family is None:
        raise HarnessError(
            f"{source}: model_type {config['model_type']!r} has no formulas; use a model of one "
            f"of: {families.known()}; or add the family (docs/add-a-family.md)"
        )
    for field in UNCOUNTED:
        if config.get(field):
            raise HarnessError(
                f"{source}: {field} is true, and the formulas count no such biases; use a model "
                "without them"
            )
    return family


def of_made(made: Any) -> Architecture:
    """The architecture of a model that `src/make_model.py` makes: Llama's, tied.

    `made`: a study's entry, with layers, hidden, ffn, heads, key_value_heads and vocabulary.
    """
    return Architecture(
        hidden=made.hidden,
        head_dim=made.hidden // made.heads,
        blocks=(Block(made.ffn, made.heads, made.key_value_heads),) * made.layers,
        vocabulary=made.vocabulary,
        tied=True,
        qkv_bias=llama.FAMILY.qkv_bias,
    )


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one forward pass over [batch, length] tokens.

    Counted: the linears of the decoder layers, the two matrix products of attention over the
    full square of positions (the causal half that some kernels skip included), the output head
    at `predicted` positions. Not counted: norms, rotary embeddings, softmax, activation
    functions, biases, residual additions: together below 0.1% here.

    Llama-2-7B, (1, 64): linears 414.464, head 8.389, attention 1.074, total 423.927 GMac; the
    published table prints 425.12. The difference of 1.193, term by term: rotary 0.034
    (4 a channel of the heads), norms 0.034 (2 a channel, 65 norms), softmax 0.004, SiLU 0.023
    give 424.021, which LLM-Pruner's counter prints for this model as 424.02. The 1.100 left are
    attention's two products, softmax and SiLU once more (1.074 + 0.004 + 0.023), as a counter
    does that hooks both modules and functions: inferred from the sum, 425.122; the code that
    printed the figure was not run.
    """

    linears: int
    attention: int
    head: int

    @property
    def total(self) -> int:
        """All three."""
        return self.linears + self.attention + self.head


def macs(shape: Architecture, batch: int, length: int, predicted: int) -> Macs:
    """A forward pass over `batch` sequences of `length` tokens; the head at `predicted` of all."""
    return Macs(
        linears=batch * length * sum(shape.linears),
        attention=batch * 2 * length * length * shape.query_channels,
        head=predicted * shape.head,
    )
