"""What each family says of itself, against a tiny random model of it in transformers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from compression_order.architecture import cuts, families, shapes
from compression_order.architecture.families.family import LINEARS, Family
from compression_order.architecture.shapes import Architecture
from compression_order.checkpoint import disk, models
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.methods.ffn_neurons import run as ffn_neurons
from compression_order.methods.llm_pruner import run as llm_pruner
from compression_order.methods.shortgpt import run as shortgpt

# family -> whether its feed-forward blocks can be given biases (`compensate` of ffn-neurons)
ROWS = {
    "llama": True,
    "qwen2": False,
}
SIZES = {
    "hidden_size": 96,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 600,
}
NORMS = ("input_layernorm", "post_attention_layernorm")
IDS = torch.arange(20).reshape(2, 10)
every_family = pytest.mark.parametrize("family", families.FAMILIES, ids=lambda f: f.model_type)


def tiny(family: Family, tied: bool) -> tuple[Architecture, PreTrainedModel]:
    """The shape by formula, and the model."""
    fields = {**SIZES, "tie_word_embeddings": tied}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.model_type, **fields))
    return shapes.from_config({**fields, "model_type": family.model_type}, "tiny"), model.eval()


def names(family: Family, layers: int, tied: bool) -> set[str]:
    """The tensors that a model of the family has."""
    blocks = ["self_attn"] * 4 + ["mlp"] * 3
    inside = [f"{b}.{name}.weight" for b, name in zip(blocks, LINEARS, strict=True)]
    inside += [f"{norm}.weight" for norm in NORMS]
    if family.qkv_bias:
        inside += [f"self_attn.{name}.bias" for name in LINEARS[:3]]
    ends = ["model.embed_tokens.weight", "model.norm.weight", *([] if tied else ["lm_head.weight"])]
    return {f"model.layers.{i}.{name}" for i in range(layers) for name in inside} | set(ends)


def test_every_family_has_a_row_here_and_a_file() -> None:
    assert [family.model_type for family in families.FAMILIES] == list(ROWS)
    written = {path.stem for path in Path(families.__file__).parent.glob("*.py")}
    assert written - {"__init__", "family"} == set(families.REGISTRY)


@every_family
@pytest.mark.parametrize("tied", [True, False])
def test_a_tiny_model_has_the_shape_that_the_family_says(family: Family, tied: bool) -> None:
    shape, model = tiny(family, tied)
    assert shape.parameters == model.num_parameters()
    assert shape.matrices == disk.shape_of(model.config).matrices
    assert models.architecture(model) == shape
    found = {name for name, _ in model.named_parameters()}
    assert found == names(family, shape.layers, tied)
    # losses are computed from hidden states and head alone: nothing may scale or cap the logits
    with torch.no_grad():
        hidden = model.base_model(IDS).last_hidden_state
        assert torch.equal(model.get_output_embeddings()(hidden), model(IDS).logits)


def narrower(model: PreTrainedModel, before: Architecture) -> Architecture:
    """Feed-forward neurons gone, more of them from the first layer."""
    after = before.with_ffn([128, *[256] * (before.layers - 1)])
    scores = [torch.rand(block.ffn) for block in before.blocks]
    ffn_neurons.cut(model, scores, [block.ffn for block in after.blocks])
    return after


def shallower(model: PreTrainedModel, before: Architecture) -> Architecture:
    """A layer gone."""
    shortgpt.keep(model, [0, 2])
    return cuts.layers(before, [0, 2])


def fewer_heads(model: PreTrainedModel, before: Architecture) -> Architecture:
    """Heads and neurons gone from the layer in the middle."""
    after = cuts.blocks(before, 0.5, 1, 1, 1)
    model(IDS, labels=IDS).loss.backward()
    layer = model.base_model.layers[1]
    llm_pruner.cut_block(layer, before.blocks[1], after.blocks[1], before.head_dim)
    models.restate(model)
    return after


def fewer_channels(model: PreTrainedModel, before: Architecture) -> Architecture:
    """Hidden channels gone; those left are no multiple of the heads."""
    llm_pruner.cut_channels(model, torch.arange(94), before.tied)
    models.restate(model)
    return replace(before, hidden=94)


def require_stored(model: PreTrainedModel, after: Architecture, folder: Path) -> None:
    """The model has the shape, and comes back from a file as it is."""
    assert models.architecture(model) == after
    assert model.num_parameters() == after.parameters
    model.save_pretrained(folder)
    loaded = models.pretrained(folder, files.read_json(folder / "config.json"))
    with torch.no_grad():
        assert torch.equal(loaded.eval()(IDS).logits, model(IDS).logits)


@every_family
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cut", [narrower, shallower, fewer_heads, fewer_channels])
def test_what_can_be_cut_is_stored_and_comes_back(
    family: Family,
    tied: bool,
    cut: Callable[[PreTrainedModel, Architecture], Architecture],
    tmp_path: Path,
) -> None:
    before, model = tiny(family, tied)
    after = cut(model, before)
    assert after != before
    require_stored(model, after, tmp_path)


@every_family
def test_whether_feed_forward_blocks_can_be_given_biases(family: Family, tmp_path: Path) -> None:
    before, model = tiny(family, tied=True)
    if not ROWS[family.model_type]:
        with pytest.raises(HarnessError, match=f"a {family.model_type} model has no place"):
            ffn_neurons.means_of(model, [], ffn_neurons.Settings(compensate=True))
        return
    widths = [128] * before.layers
    random = [torch.rand(block.ffn) for block in before.blocks]
    ffn_neurons.cut(model, random, widths, means=random)
    require_stored(model, replace(before.with_ffn(widths), mlp_bias=True), tmp_path)


def test_another_family_is_refused_with_the_known_ones() -> None:
    fields = {**SIZES, "tie_word_embeddings": True, "model_type": "mamba"}
    with pytest.raises(HarnessError, match=r"^a\.json: model_type 'mamba' .* llama, qwen2;"):
        shapes.from_config(fields, "a.json")
    with pytest.raises(shapes.UnknownShape, match=r"\(model_type llama, qwen2\)"):
        shapes.named("another")
