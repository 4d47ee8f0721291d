"""Models whose layers differ, or whose width is no multiple of their heads: built and loaded.

Plain transformers builds one width and one number of heads for all layers, and refuses a Llama
whose hidden size is not a multiple of its heads, though `head_dim` is stated. Such a checkpoint
says its layers in transformers' own `per_layer_config`; plain `from_pretrained` refuses it with
an error, and this module rebuilds it, dense or quantized, with every weight in its place:

    from compression_order import loading
    model = loading.pretrained("results/study/seed0/checkpoints/BP")

Everything else goes through the plain classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from compression_order.architecture import families
from compression_order.architecture.families.family import Family
from compression_order.architecture.shapes import Architecture, Block
from compression_order.checkpoint import masks
from compression_order.common.errors import HarnessError

_OPEN = "allow_global_per_layer_attribute_access"


def _layered_config(family: Family) -> Any:
    """A configuration of a family with layers of their own widths; `head_dim` is stated."""
    plain: Any = CONFIG_MAPPING[family.model_type]

    class Layered(plain):
        if family.whole_heads:

            def validate_architecture(self) -> None:
                """Any widths: the weights decide."""

    Layered.__name__ = Layered.__qualname__ = f"Layered{plain.__name__}"
    return strict(Layered)


_LAYERED = {family.model_type: _layered_config(family) for family in families.FAMILIES}


def is_plain(fields: Mapping[str, Any]) -> bool:
    """Whether plain transformers builds the model of a config.json.

    Args:
        fields: the file as read.
    """
    if fields.get("per_layer_config"):
        return False
    family = families.find(fields["model_type"])
    if family is None or not family.whole_heads:
        return True
    return bool(fields["hidden_size"] % fields["num_attention_heads"] == 0)


def attends_to_all(config: Any) -> bool:
    """Whether every layer attends to all earlier positions, so that a mask may say which it sees.

    Args:
        config: of the model; that of a family that nothing describes is not trusted.
    """
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    return families.find(config.model_type) is not None and set(kinds) == {"full_attention"}


def config_of(folder: Path, fields: Mapping[str, Any]) -> Any:
    """The configuration of a checkpoint folder; `fields` is its config.json."""
    if is_plain(fields):
        return AutoConfig.from_pretrained(folder)
    return _layered(fields["model_type"]).from_pretrained(folder)


def _layered(model_type: str) -> Any:
    if model_type not in _LAYERED:
        raise HarnessError(
            f"layers of a {model_type} model cannot differ; this works for {families.known()}"
        )
    return _LAYERED[model_type]


def pretrained(folder: Path, fields: Mapping[str, Any], **options: Any) -> PreTrainedModel:
    """The model of a checkpoint folder.

    Args:
        folder: the checkpoint.
        fields: its config.json.
        options: those of `from_pretrained`.
    """
    if is_plain(fields):
        plain: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, **options)
        return plain
    config = config_of(folder, fields)
    model: PreTrainedModel = _class_of(config).from_pretrained(folder, config=config, **options)
    return model


def kernels(model: PreTrainedModel, name: str) -> list[Any]:
    """The linears of one of bitsandbytes' classes; PEFT's wrappers have the same names."""
    ours = (m for m in model.modules() if type(m).__name__ == name)
    return [module for module in ours if type(module).__module__.startswith("bitsandbytes")]


def tokenizer(folder: Path, fields: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder: transformers reads the configuration for it too."""
    options = {} if is_plain(fields) else {"config": config_of(folder, fields)}
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
    return found


def from_state(config: Any, state: dict[str, Tensor], dtype: torch.dtype) -> PreTrainedModel:
    """The model of a configuration with these weights."""
    model: PreTrainedModel = _class_of(config).from_pretrained(
        None, config=config, state_dict=state, dtype=dtype
    )
    return model


def blank(config: Any) -> PreTrainedModel:
    """The model of a configuration with whatever weights torch gives it."""
    model: PreTrainedModel = _class_of(config)(config)
    return model


def _class_of(config: Any) -> Any:
    kind = type(config)
    if kind not in _LAYERED.values():
        return MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    return _layered_class(MODEL_FOR_CAUSAL_LM_MAPPING[kind.__mro__[1]])


@cache
def _layered_class(plain: Any) -> Any:
    """A model class that makes every decoder layer from that layer's own configuration."""

    class Layered(plain):
        def __init__(self, config: Any) -> None:
            with _global_access(config):
                super().__init__(config)
            layers = self.model.layers
            for index, layer in enumerate(layers):
                layers[index] = type(layer)(config.per_layer_config[index], index)

    # save_pretrained writes the name of the class into config.json
    Layered.__name__ = Layered.__qualname__ = plain.__name__
    return Layered


@contextmanager
def _global_access(config: Any) -> Iterator[None]:
    """Let the plain constructor read the widths that stand for all layers."""
    setattr(config, _OPEN, True)
    try:
        yield
    finally:
        del config.__dict__[_OPEN]


def architecture(model: PreTrainedModel) -> Architecture:
    """The shape of a dense model, read off its weights rather than its configuration.

    Channels a head are the one thing that weights do not tell.
    """
    layers = model.base_model.layers
    embedding = model.get_input_embeddings().weight
    head_dim = layers[0].self_attn.head_dim
    return Architecture(
        hidden=embedding.shape[1],
        head_dim=head_dim,
        blocks=tuple(
            Block(
                ffn=layer.mlp.down_proj.weight.shape[1],
                heads=layer.self_attn.q_proj.weight.shape[0] // head_dim,
                key_value_heads=layer.self_attn.k_proj.weight.shape[0] // head_dim,
            )
            for layer in layers
        ),
        vocabulary=embedding.shape[0],
        tied=model.get_output_embeddings().weight is embedding,
        qkv_bias=layers[0].self_attn.q_proj.bias is not None,
        mlp_bias=layers[0].mlp.down_proj.bias is not None,
    )


def restate(model: PreTrainedModel) -> None:
    """Make configuration and modules say what the weights are, after a cut; changes the model.

    The widths that most layers have stand for all; layers with others are named one by one.
    """
    shape, config = architecture(model), model.config
    config.per_layer_config = None
    common = max(shape.blocks, key=shape.blocks.count)
    config.hidden_size, config.num_hidden_layers = shape.hidden, shape.layers
    if hasattr(config, "head_dim") or not _implied(shape):
        config.head_dim = shape.head_dim
    for name, value in _fields(common).items():
        setattr(config, name, value)
    if shape.mlp_bias:
        config.mlp_bias = True
    others = {i: _fields(block) for i, block in enumerate(shape.blocks) if block != common}
    _choose_class(config, bool(others))
    if others:
        config.per_layer_config = others
    for index, (layer, block) in enumerate(zip(model.base_model.layers, shape.blocks, strict=True)):
        layer.self_attn.layer_idx = index
        layer.self_attn.num_key_value_groups = block.heads // block.key_value_heads
        layer.self_attn.config = layer.mlp.config = config.per_layer_config[index]
        layer.mlp.hidden_size, layer.mlp.intermediate_size = shape.hidden, block.ffn
        layer.hidden_size = shape.hidden


def _implied(shape: Architecture) -> bool:
    return all(block.heads * shape.head_dim == shape.hidden for block in shape.blocks)


def _fields(block: Block) -> dict[str, int]:
    return {
        "intermediate_size": block.ffn,
        "num_attention_heads": block.heads,
        "num_key_value_heads": block.key_value_heads,
    }


def _choose_class(config: Any, differ: bool) -> None:
    """A layered configuration only where the plain one would refuse the model."""
    fields = {
        "model_type": config.model_type,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "per_layer_config": differ,
    }
    kind = type(config)
    plain = kind.__mro__[1] if kind in _LAYERED.values() else kind
    # the modules of a model share one configuration object: it changes class in place
    config.__class__ = plain if is_plain(fields) else _layered(config.model_type)


def keep_rows(linear: Any, kept: Tensor) -> None:
    """Keep these outputs of a linear, its bias included; changes it."""
    _select(linear, kept, 0)
    linear.out_features = len(kept)
    if linear.bias is not None:
        linear.bias = _kept(linear.bias, kept, 0)


def keep_columns(linear: Any, kept: Tensor) -> None:
    """Keep these inputs of a linear; changes it."""
    _select(linear, kept, 1)
    linear.in_features = len(kept)


def keep_channels(module: Any, kept: Tensor) -> None:
    """Keep these channels of an embedding or a norm; changes it."""
    module.weight = _kept(module.weight, kept, module.weight.dim() - 1)
    if isinstance(module, nn.Embedding):
        module.embedding_dim = len(kept)


def _select(linear: Any, kept: Tensor, dim: int) -> None:
    linear.weight = _kept(linear.weight, kept, dim)
    masks.select(linear, kept, dim)


def _kept(tensor: Tensor, kept: Tensor, dim: int) -> nn.Parameter:
    return nn.Parameter(tensor.detach().index_select(dim, kept))
