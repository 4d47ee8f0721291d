"""What all model families here have in common, and what one may say of itself.

All are decoders: gated feed-forward blocks, RMS norms, attention whose query heads may share key
and value heads. transformers names their parts alike: `model.embed_tokens`, `model.layers`,
`model.norm`, `lm_head`, and in a layer `self_attn`, `mlp` and the linears below.
"""

from dataclasses import dataclass

# the linears of a decoder layer, in the order of `Architecture.matrices`
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# the numbers of a config.json that decide a shape
FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
# what a config.json may switch on and the formulas do not count
UNCOUNTED = ("attention_bias", "mlp_bias")


@dataclass(frozen=True)
class Family:
    """What tells one family from another.

    Attributes:
        model_type: its name in a config.json and in transformers.
        qkv_bias: whether the linears of queries, keys and values have biases.
        whole_heads: whether its plain configuration in transformers demands that the hidden size
            is a multiple of the number of heads. Where that does not hold after pruning, the
            checkpoint gets a configuration of ours (`checkpoint/models.py`).
    """

    model_type: str
    qkv_bias: bool = False
    whole_heads: bool = False
