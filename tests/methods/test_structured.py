"""Layer, head, neuron and channel pruning: scores by hand, cuts by hand, and what loads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lab import Lab
from structured_fixtures import KINDS, base_of, calibration, flags, model_of, run
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from compression_order import loading
from compression_order.architecture import cuts, shapes, storage
from compression_order.checkpoint import disk, models
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common.errors import HarnessError
from compression_order.methods.ffn_neurons import run as ffn_neurons
from compression_order.methods.llm_pruner import run as llm_pruner
from compression_order.methods.shortgpt import run as shortgpt

IDS = torch.tensor([[1, 85, 91, 85, 86, 71, 79, 201, 59, 223, 264, 71]])


@pytest.fixture(scope="module")
def bases(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {kind: base_of(lab, folder, kind) for kind in KINDS}


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits.double()
    return found


def generates_with_a_cache(model: PreTrainedModel) -> None:
    """The same greedy tokens with and without the cache, from a model in float32."""
    asked = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 2, "eos_token_id": None}
    answers = [model.generate(IDS, use_cache=cache, **asked) for cache in (True, False)]
    assert answers[0].shape[1] == IDS.shape[1] + 8
    assert torch.equal(*answers)


# --- shortgpt -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_block_influence_is_that_of_an_independent_pass(kind: str, lab: Lab) -> None:
    """From `output_hidden_states`, one conversation at a time, without hooks or padding.

    The last of those states has been through the final norm, so it is taken from a model whose
    norm does nothing.
    """
    model, documents = model_of(kind), calibration(lab)
    assert len({len(d.ids) for d in documents}) > 1
    found = shortgpt.block_influence(model, documents, 3)
    model.base_model.norm = nn.Identity()
    cosines: list[list[Tensor]] = [[] for _ in found]
    with torch.no_grad():
        for document in documents:
            ids = torch.tensor([document.ids])
            states = model.double()(ids, output_hidden_states=True).hidden_states
            for layer in range(len(found)):
                pair = (states[layer][0], states[layer + 1][0])
                cosines[layer].append(torch.cosine_similarity(*pair, dim=-1))
    by_hand = [1 - float(torch.cat(layer).mean()) for layer in cosines]
    assert len(by_hand) == 6
    # the project's states come from a bf16 forward
    assert found == pytest.approx(by_hand, rel=0.02)
    order = [sorted(range(6), key=lambda i, v=values: v[i]) for values in (found, by_hand)]
    assert order[0] == order[1]


@pytest.mark.parametrize("kind", KINDS)
def test_shortgpt_is_the_model_without_those_layers(
    kind: str, bases: dict[str, Path], lab: Lab, tmp_path: Path
) -> None:
    out = tmp_path / "L"
    settings = {"layers": 2, "ratio": 0, "seq_len": 48}
    manifest = run(lab, "prune", bases[kind], out, flags("shortgpt", settings))
    gone, influence = (manifest["claims"][key] for key in ("removed_layers", "block_influence"))
    assert len(influence) == 6
    assert gone == sorted(sorted(range(6), key=lambda i: influence[i])[:2])
    assert manifest["architecture"]["layers"] == 4
    assert "loader" not in manifest
    stored = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert stored.config.num_hidden_layers == len(stored.model.layers) == 4
    assert [layer.self_attn.layer_idx for layer in stored.model.layers] == [0, 1, 2, 3]
    assert len(getattr(stored.config, "layer_types", None) or "four") == 4
    whole = AutoModelForCausalLM.from_pretrained(bases[kind], dtype=torch.float32)
    for layer in gone:  # a layer that adds nothing to the residual stream is no layer
        for linear in (
            whole.model.layers[layer].self_attn.o_proj,
            whole.model.layers[layer].mlp.down_proj,
        ):
            nn.init.zeros_(linear.weight)
    torch.testing.assert_close(logits(stored), logits(whole), rtol=1e-4, atol=1e-4)
    generates_with_a_cache(stored)


def test_layer_types_go_with_their_layers() -> None:
    model = model_of("qwen2")
    model.config.layer_types = [f"{i}" for i in range(6)]
    shortgpt.keep(model, [0, 2, 5])
    assert model.config.layer_types == ["0", "2", "5"]
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2]


@pytest.mark.parametrize(
    ("layers", "ratio", "gone"), [(7, 0, 7), (0, 0.2, 7), (1, 0, 1), (35, 0, 35), (0, 0.999, 35)]
)
def test_how_many_of_36_layers_go(layers: int, ratio: float, gone: int) -> None:
    assert cuts.layers_gone(36, layers, ratio) == gone


@pytest.mark.parametrize(
    ("layers", "ratio", "words"),
    [
        (36, 0, "layers 36 removes 36 of 36"),
        (0, 0.02, "ratio 0.02 removes 0 of 36"),
        (0, 0, "ratio 0 removes 0"),
        (3, 0.5, "layers 3 and ratio 0.5 both"),
    ],
)
def test_a_count_of_layers_that_cannot_go(layers: int, ratio: float, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        cuts.layers_gone(36, layers, ratio)


# --- llm-pruner -----------------------------------------------------------------------------

SETTINGS = llm_pruner.Settings(
    ratio=0.5, skip_first=1, skip_last=1, samples=4, calibration_batch=3, seq_len=48
)


@pytest.mark.parametrize(
    ("cut", "ratio", "parameters", "percent"),
    [
        ("block", 0.25, 5_422_977_024, 80.48),
        ("block", 0.4, 4_677_079_040, 69.41),
        ("block", 0.5, 4_107_538_432, 60.96),
        ("block", 0.6, 3_592_204_288, 53.31),
        ("channel", 0.2, 5_389_416_396, 79.98),
        ("channel", 0.3, 4_716_561_907, 70.00),
        ("channel", 0.4, 4_042_062_297, 59.99),
        ("channel", 0.5, 3_369_207_808, 50.00),
    ],
)
def test_the_published_parameter_counts(
    cut: str, ratio: float, parameters: int, percent: float
) -> None:
    """Llama-2-7B, layers 4 to 29, as published/published.csv has them."""
    whole = shapes.named("llama-2-7b")
    left = llm_pruner.planned(whole, llm_pruner.Settings(part=cut, ratio=ratio))
    assert left.parameters == parameters
    assert round(100 * left.parameters / whole.parameters, 2) == percent
    if cut == "block":
        whole_layers = [i for i, block in enumerate(left.blocks) if block == whole.blocks[0]]
        assert whole_layers == [0, 1, 2, 3, 30, 31]


def mean_loss(model: PreTrainedModel, documents: list[Any]) -> Tensor:
    """Next-token loss written out: the mean over all tokens of all documents."""
    losses = []
    for document in documents:
        ids = torch.tensor(document.ids)
        scores = model(ids[None]).logits[0].log_softmax(-1)
        losses.append(-scores[torch.arange(len(ids) - 1), ids[1:]])
    return torch.cat(losses).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(kind: str, lab: Lab) -> None:
    """Of the loss written out, at the steepest weight of every kind of tensor."""
    model = model_of(kind, 2).double()  # its norms and its loss compute in float32 all the same
    documents = llm_pruner.samples(calibration(lab, 48), SETTINGS)
    llm_pruner.differentiate(model, documents, 3)
    step = 2e-3
    for name, parameter in model.named_parameters():
        if "layers.1." in name and "norm" not in name:
            continue
        assert parameter.grad is not None, name
        place = tuple(
            int(i) for i in (parameter.grad.abs() == parameter.grad.abs().max()).nonzero()[0]
        )
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * step
                values.append(float(mean_loss(model, documents)))
                parameter[place] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert difference == pytest.approx(float(parameter.grad[place]), rel=5e-3), name


@pytest.mark.parametrize("kind", KINDS)
def test_importance_is_summed_over_the_coupled_weights(kind: str, lab: Lab) -> None:
    """Each group gathered weight by weight, by name."""
    model = model_of(kind, 2)
    documents = llm_pruner.samples(calibration(lab, 48), SETTINGS)
    llm_pruner.differentiate(model, documents, 10)
    taylor = {n: (p * p.grad).abs().detach() for n, p in model.named_parameters()}
    layer, at = model.model.layers[1], "model.layers.1."
    shared = model.config.num_key_value_heads
    per, size = 8 // shared, 8
    heads = llm_pruner.head_importance(layer, shared)
    for head in range(shared):
        queries = slice(head * per * size, (head + 1) * per * size)
        keys = slice(head * size, (head + 1) * size)
        by_hand = taylor[f"{at}self_attn.o_proj.weight"][:, queries].sum()
        for name, rows in (("q", queries), ("k", keys), ("v", keys)):
            by_hand = by_hand + taylor[f"{at}self_attn.{name}_proj.weight"][rows].sum()
            if kind == "qwen2":
                by_hand = by_hand + taylor[f"{at}self_attn.{name}_proj.bias"][rows].sum()
        torch.testing.assert_close(heads[head], by_hand)
    neuron = sum(taylor[f"{at}mlp.{n}_proj.weight"][17].sum() for n in ("gate", "up"))
    neuron = neuron + taylor[f"{at}mlp.down_proj.weight"][:, 17].sum()
    torch.testing.assert_close(llm_pruner.neuron_importance(layer)[17], neuron)
    tied = kind == "llama"
    assert ("lm_head.weight" in taylor) != tied
    channel = torch.tensor(0.0)
    for name, values in taylor.items():
        if "norm" in name:
            channel = channel + values[11]
        elif name.endswith("bias"):
            continue
        elif "o_proj" in name or "down_proj" in name:
            channel = channel + values[11].sum()
        else:
            channel = channel + values[:, 11].sum()
    torch.testing.assert_close(llm_pruner.channel_importance(model, tied)[11], channel)


def silenced(model: PreTrainedModel, importance: dict[int, tuple[list[int], list[int]]]) -> None:
    """Zero what the lowest groups add to the residual stream; changes the model."""
    for index, (heads, neurons) in importance.items():
        layer = model.model.layers[index]
        layer.self_attn.o_proj.weight.data[:, heads] = 0
        layer.mlp.down_proj.weight.data[:, neurons] = 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_pruned_model_is_the_old_one_without_those_groups(kind: str, lab: Lab) -> None:
    before, after = model_of(kind), model_of(kind)
    documents = calibration(lab, 48)
    llm_pruner.apply(after, documents, SETTINGS)
    llm_pruner.differentiate(before, llm_pruner.samples(documents, SETTINGS), 10)
    shared = before.config.num_key_value_heads
    width = 64 // shared
    lowest = {}
    for index in range(1, 5):
        layer = before.model.layers[index]
        worst = llm_pruner.head_importance(layer, shared).topk(shared // 2, largest=False).indices
        queries = [head * width + i for head in worst.tolist() for i in range(width)]
        neurons = llm_pruner.neuron_importance(layer).topk(64, largest=False).indices.tolist()
        lowest[index] = (queries, neurons)
    silenced(before, lowest)
    assert not torch.allclose(logits(before), logits(model_of(kind)), atol=1e-2)
    torch.testing.assert_close(logits(after), logits(before), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_pruned_model_has_the_best_channels_of_every_tensor(kind: str, lab: Lab) -> None:
    before, after = model_of(kind), model_of(kind)
    documents, settings = calibration(lab, 48), SETTINGS.with_(part="channel", ratio=0.25)
    claims = llm_pruner.apply(after, documents, settings)
    assert (claims["hidden_size"], claims["head_dim"]) == (48, 8)
    llm_pruner.differentiate(before, llm_pruner.samples(documents, settings), 10)
    importance = llm_pruner.channel_importance(before, kind == "llama")
    kept = sorted(importance.topk(48).indices.tolist())
    old, new = before.state_dict(), after.state_dict()
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        if "o_proj" in name or "down_proj" in name or "norm" in name:
            expected = tensor[kept]
        else:
            expected = tensor if name.endswith("bias") else tensor[:, kept]
        assert torch.equal(new[name], expected), name
    assert (after.lm_head.weight is after.model.embed_tokens.weight) == (kind == "llama")


CASES = [
    ("block", {"part": "block", "ratio": 0.5, "skip_first": 1, "skip_last": 1}, False),
    ("all", {"part": "block", "ratio": 0.5, "skip_first": 0, "skip_last": 0}, True),
    ("channel", {"part": "channel", "ratio": 0.25}, True),
    ("odd", {"part": "channel", "ratio": 0.21}, None),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("case", "settings", "plain"), CASES)
def test_what_is_stored_loads_or_says_that_it_does_not(
    case: str,
    settings: dict[str, object],
    plain: bool | None,
    kind: str,
    bases: dict[str, Path],
    lab: Lab,
    tmp_path: Path,
) -> None:
    """Uniform shapes load with plain transformers; others are refused by it, never mismatched."""
    out, quantized = tmp_path / "B", tmp_path / "B-Q"
    asked = flags("llm-pruner", {**settings, "samples": 4, "seq_len": 48})
    manifest = run(lab, "prune", bases[kind], out, asked)
    run(lab, "quantize", out, quantized, [])
    plain = kind == "qwen2" if plain is None else plain  # 51 channels: Llama's rule forbids them
    for folder in (out, quantized):
        shape = models.architecture(loading.pretrained(out))
        own = loading.pretrained(folder).eval()
        if plain:
            assert torch.equal(four(own), four(AutoModelForCausalLM.from_pretrained(folder).eval()))
        else:
            with pytest.raises(
                Exception, match=r"per-layer attribute|not a multiple of the number"
            ):
                AutoModelForCausalLM.from_pretrained(folder)
    assert ("loader" in manifest) != plain
    assert manifest["architecture"] == shape.described()
    assert manifest["bytes"]["analytic"] == storage.dense_bytes(shape)
    config = Checkpoint(out).config
    assert config.head_dim == 8
    assert sorted(disk.shape_of(config).linears) == sorted(shape.linears)
    assert disk.stored_bytes(quantized / "model.safetensors").weights == storage.nf4_bytes(shape)
    generates_with_a_cache(loading.pretrained(out, dtype=torch.float32))


def four(model: PreTrainedModel) -> Tensor:
    """Logits through kernels that take any width."""
    states = model.get_input_embeddings()(IDS).detach().requires_grad_()
    found: Tensor = model(inputs_embeds=states).logits.detach()
    return found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"skip_first": 3, "skip_last": 3}, "skip_first 3 and skip_last 3 leave none of 6 layers"),
        ({"ratio": 0.995}, "ratio 0.995 leaves none of 4 key/value heads"),
        ({"ratio": 0.3, "round_to": 256}, "ratio 0.3 with round_to 256 leaves 0 of 128 FFN"),
        ({"ratio": 0.01, "round_to": 32}, "ratio 0.01 with round_to 32 removes nothing"),
        ({"part": "channel", "ratio": 0.99}, "leaves 0 of 64 hidden channels"),
        ({"part": "channel", "ratio": 0.01, "round_to": 64}, "removes nothing"),
        ({"seq_len": 4000}, "has 0 conversations of at least seq_len 4000 tokens"),
        ({"samples": 400}, "fewer than samples 400"),
    ],
)
def test_bad_settings_are_one_sentence(settings: dict[str, Any], words: str, lab: Lab) -> None:
    made = SETTINGS.with_(**settings)
    with pytest.raises(HarnessError, match=words) as fault:
        llm_pruner.apply(model_of("llama"), calibration(lab, 48), made)
    assert "\n" not in str(fault.value)


def test_a_ratio_below_one_group_leaves_attention_whole() -> None:
    """As LLM-Pruner's own floor does; 0.4 of 2 key/value heads is none."""
    left = cuts.blocks(models.architecture(model_of("qwen2")), 0.4, 1, 1, 1)
    assert {(b.heads, b.key_value_heads) for b in left.blocks} == {(8, 2)}
    assert [b.ffn for b in left.blocks] == [128, 76, 76, 76, 76, 128]


# --- more scores of ffn-neurons -------------------------------------------------------------


def activations(model: PreTrainedModel, documents: list[Any]) -> list[Tensor]:
    """[tokens, width] in float64 of every layer, one conversation at a time."""
    seen: list[list[Tensor]] = [[] for _ in model.model.layers]
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs, found=seen[i]: found.append(inputs[0][0].double())
        )
        for i, layer in enumerate(model.model.layers)
    ]
    with torch.no_grad():
        for document in documents:
            model(torch.tensor([document.ids]))
    for hook in hooks:
        hook.remove()
    return [torch.cat(found) for found in seen]


def test_flap_scores_by_hand(lab: Lab) -> None:
    model, documents = model_of("llama"), calibration(lab)
    settings = ffn_neurons.Settings(score="flap", calibration_batch=3)
    found = ffn_neurons.scores(model, documents, settings)
    for layer, score, seen in zip(
        model.model.layers, found, activations(model, documents), strict=True
    ):
        columns = layer.mlp.down_proj.weight.detach().double().square().sum(0)
        by_hand = seen.var(0) * columns
        # the project's activations come from a bf16 forward
        torch.testing.assert_close(score.double(), by_hand, rtol=0.1, atol=1e-9)


def test_random_scores_are_the_seeds() -> None:
    model, drawn = model_of("llama"), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        torch.rand(seed + 3)  # what ran before has no say
        drawn.append(torch.stack(ffn_neurons.random_scores(model)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len(drawn[0].unique()) > 700  # no layer repeats another


def test_compensation_adds_the_mean_of_what_went(lab: Lab) -> None:
    """The mean output of every feed-forward block stays; without compensation it moves."""
    documents = calibration(lab)
    whole = model_of("llama", 1)
    seen = activations(whole, documents)[0]
    before = (seen @ whole.model.layers[0].mlp.down_proj.weight.detach().double().T).mean(0)
    moved = {}
    for compensate in (True, False):
        model = model_of("llama", 1)
        settings = ffn_neurons.Settings(
            ratio=0.5, round_to=1, score="random", compensate=compensate
        )
        ffn_neurons.apply(model, documents, settings)
        down = model.model.layers[0].mlp.down_proj
        after = (activations(model, documents)[0] @ down.weight.detach().double().T).mean(0)
        after = after + (down.bias.detach().double() if compensate else 0)
        moved[compensate] = float((after - before).norm() / before.norm())
    # the project's means come from a bf16 forward
    assert moved[True] < 0.02
    assert moved[False] > 0.2


def test_a_compensated_model_loads_with_plain_transformers(
    bases: dict[str, Path], lab: Lab, tmp_path: Path
) -> None:
    given: dict[str, object] = {"compensate": "true", "ratio": 0.25, "round_to": 32, "seq_len": 48}
    for name in ("F", "F-F"):
        parent = bases["llama"] if name == "F" else tmp_path / "F"
        manifest = run(lab, "prune", parent, tmp_path / name, flags("ffn-neurons", given))
        assert manifest["architecture"]["mlp_bias"] is True
        assert "loader" not in manifest
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert model.config.mlp_bias
        assert all(layer.mlp.down_proj.bias.abs().sum() > 0 for layer in model.model.layers)
        assert all(layer.mlp.gate_proj.bias.abs().sum() == 0 for layer in model.model.layers)
    manifest = run(lab, "quantize", tmp_path / "F-F", tmp_path / "F-F-Q", [])
    assert manifest["architecture"]["ffn_widths"] == [64] * 6


def test_a_model_without_a_place_for_biases_is_refused(lab: Lab) -> None:
    settings = ffn_neurons.Settings(compensate=True, round_to=1)
    with pytest.raises(HarnessError, match=r"a qwen2 model has no place; set compensate: false"):
        ffn_neurons.apply(model_of("qwen2"), calibration(lab), settings)
