"""Every stage on dense and quantized parents: what it stores, what it claims, what it loads as."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from lab import Lab
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from compression_order.architecture.storage import kept_width
from compression_order.checkpoint.forms import nf4
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.methods.ffn_neurons import run as ffn_neurons
from compression_order.text import chat

IDS = torch.tensor([[1, 85, 91, 85, 86, 71, 79, 201, 59, 223, 264, 71]])


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits.float()
    return found


def linears(model: PreTrainedModel) -> list[str]:
    """The classes of the linears of the decoder layers."""
    layers = model.base_model.layers
    return [
        type(m).__name__ for layer in layers for m in layer.modules() if isinstance(m, nn.Linear)
    ]


def check(folder: Path, manifest: dict[str, Any], format_: str, width: int) -> None:
    """A checkpoint is what its manifest says, and loads as users load it."""
    assert manifest["format"] == format_
    assert manifest["architecture"] == {
        "layers": 2,
        "ffn_widths": [width, width],
        "attention_heads": 4,
        "key_value_heads": 2,
        "hidden_size": 64,
    }
    model = AutoModelForCausalLM.from_pretrained(folder)
    expected = {"dense": "Linear", nf4.FORMAT: "Linear4bit"}[format_]
    assert set(linears(model)) == {expected}
    assert len(linears(model)) == 2 * 7
    assert model.config.intermediate_size == width
    assert logits(model).isfinite().all()
    assert manifest["parameters"]["total"] == model.num_parameters()
    assert 0 < manifest["parameters"]["nonzero"] <= manifest["parameters"]["total"]
    assert manifest["claims"]["finite_logits"] is True
    assert 0 <= manifest["claims"]["degenerate_share"] <= 1
    named = {path.name for path in folder.iterdir()} - {"checkpoint.json"}
    assert set(manifest["files"]) == named
    for name in named:
        assert manifest["files"][name] == files.sha256(folder / name)
    assert len(AutoTokenizer.from_pretrained(folder)) > 256


@pytest.mark.parametrize("token", ["P", "KD", "Q"])
@pytest.mark.parametrize("on_quantized", ["requantize", "dequantize", "refuse"])
@pytest.mark.parametrize("parent", ["base", "Q"])
def test_a_stage(parent: str, on_quantized: str, token: str, lab: Lab, tmp_path: Path) -> None:
    name = token if parent == "base" else f"{parent}-{token}"
    out = tmp_path / "checkpoints" / name
    folder = lab.folder / "checkpoints" / parent
    flags = [f"--on-quantized={on_quantized}", "--seed=3"]
    if parent == "Q" and on_quantized == "refuse":
        with pytest.raises(HarnessError, match=r"Q is quantized and the stage says `on_quantized"):
            lab.stage(folder, out, *flags)
        assert not out.parent.exists()
        return
    manifest = lab.stage(folder, out, *flags)
    stays_small = token == "Q" or (parent == "Q" and on_quantized == "requantize")
    check(out, manifest, nf4.FORMAT if stays_small else "dense", 192 if token == "P" else 256)
    assert manifest["pipeline"] == name
    assert manifest["stage"] == token
    assert manifest["seed"] == 3
    assert manifest["parent"] == files.sha256(folder / "checkpoint.json")
    assert manifest["settings"]["on_quantized"] == on_quantized
    assert manifest["quantization"] == ({"double_quant": True} if stays_small else None)
    assert set(manifest["versions"]) >= {"torch", "transformers", "bitsandbytes"}
    trained = manifest["parameters"]["total"] if token == "KD" else 0
    assert manifest["parameters"]["trainable"] == trained
    if token == "KD":
        assert manifest["claims"]["training"]["steps"] == 3
        assert manifest["claims"]["training"]["tokens"] > 0


def test_recovery_is_training_after_the_cut(lab: Lab, tmp_path: Path) -> None:
    flags = ["--recovery.steps=4", "--recovery.learning-rate=1e-3", "--recovery.seq-len=160"]
    manifest = lab.stage(lab.base, tmp_path / "P", *flags)
    assert manifest["claims"]["recovery"]["steps"] == 4
    assert manifest["parameters"]["trainable"] == manifest["parameters"]["total"]
    assert manifest["claims"]["ffn_widths"] == [192, 192]


@pytest.mark.parametrize("token", ["P", "KD", "Q"])
def test_equal_work_gives_equal_bytes(token: str, lab: Lab, tmp_path: Path) -> None:
    flags = ["--recovery.steps=3", "--recovery.seq-len=160"] if token == "P" else []
    for run in ("one", "two"):
        lab.stage(lab.quantized, tmp_path / run / f"Q-{token}", *flags)
    one, two = (tmp_path / run / f"Q-{token}" for run in ("one", "two"))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_the_seed_draws_the_batches(lab: Lab, tmp_path: Path) -> None:
    digests = []
    for seed in (0, 1):
        out = tmp_path / str(seed) / "KD"
        digests.append(lab.stage(lab.base, out, f"--seed={seed}")["files"]["model.safetensors"])
    assert digests[0] != digests[1]


# NF4


def test_nf4_reloaded_gives_the_logits_it_had_when_saved(lab: Lab, tmp_path: Path) -> None:
    model = nf4.Nf4().quantize(Checkpoint(lab.base).model(torch.bfloat16))
    model.save_pretrained(tmp_path / "Q")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "Q")
    stored = AutoModelForCausalLM.from_pretrained(lab.quantized)
    saved = logits(model.eval())
    assert torch.equal(logits(reloaded.eval()), saved)
    assert torch.equal(logits(stored.eval()), saved)
    assert not torch.equal(saved, logits(Checkpoint(lab.base).model(torch.bfloat16)))


def test_blocks_of_zeros_stay_zero(lab: Lab, tmp_path: Path) -> None:
    """With denormals flushed, as in every stage, bitsandbytes alone makes constants of them."""
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight.view(-1)[64:128] = 0  # the second of three blocks
    dense = Checkpoint(lab.base).model(torch.bfloat16)
    first = dense.base_model.layers[0].mlp.up_proj
    first.weight.data[3:9] = 0
    zeros = first.weight == 0
    torch.set_flush_denormal(True)
    try:
        rounded = nf4.Nf4().rounded("", weight)
        nf4.Nf4().store(dense, tmp_path / "Q")
    finally:
        torch.set_flush_denormal(False)
    assert (rounded[weight == 0] == 0).all()
    stored = nf4.dequantized(tmp_path / "Q" / "model.safetensors")
    found = stored["model.layers.0.mlp.up_proj.weight"]
    assert zeros.sum() >= 6 * first.in_features
    assert (found[zeros] == 0).all()


def unpacked(model: PreTrainedModel, dtype: torch.dtype) -> Tensor:
    """Logits of a 4-bit model that keeps gradients: its weights are not packed for inference."""
    for parameter in model.train().parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.compute_dtype, module.compute_type_is_set = dtype, True
    states = model.get_input_embeddings()(IDS).detach().requires_grad_()
    found: Tensor = model(inputs_embeds=states).logits.detach().float()
    return found


def test_the_dequantized_copy_is_the_4_bit_model(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same weights to the bit, so the same logits where products are of bf16 weights.

    With fp32 products bitsandbytes does not round the weights to bf16. On a CPU with
    AVX512-BF16 it packs them for inference and rounds the scale of a block instead of the
    weight: there the copy is as near as that rounding.
    """

    def fresh() -> PreTrainedModel:
        return AutoModelForCausalLM.from_pretrained(lab.quantized).eval()

    weights = nf4.dequantized(lab.quantized / "model.safetensors")
    for name, module in fresh().named_modules():
        if type(module).__name__ == "Linear4bit":
            own = dequantize_4bit(module.weight.data, module.weight.quant_state)
            assert own.dtype == torch.bfloat16
            assert torch.equal(own, weights[f"{name}.weight"])
    copy = Checkpoint(lab.quantized).model(torch.bfloat16)
    single = Checkpoint(lab.quantized).model(torch.float32)
    apart = (unpacked(fresh(), torch.bfloat16) - logits(copy)).abs().max()
    apart_single = (unpacked(fresh(), torch.float32) - logits(single)).abs().max()
    p, q = (logits(model).log_softmax(-1) for model in (fresh(), copy))
    kl = (p.exp() * (p - q)).sum(-1).mean()
    with capsys.disabled():
        print(
            f"\n4-bit model and dequantized copy: logits apart {apart:.1e} in bf16, "
            f"{apart_single:.1e} in fp32; KL of the inference kernels {kl:.1e}",
            end="",
        )
    assert apart <= 1e-6
    assert apart_single < 3e-2
    assert kl < 1e-4


def test_requantizing_dequantized_weights_changes_next_to_nothing(lab: Lab, tmp_path: Path) -> None:
    """Every 4-bit code stays; a block's scale moves by the rounding of a weight to bf16."""
    manifest = lab.stage(lab.quantized, tmp_path / "Q-Q")
    paths = [folder / "model.safetensors" for folder in (lab.quantized, tmp_path / "Q-Q")]
    tensors = [load_file(path) for path in paths]
    assert tensors[0].keys() == tensors[1].keys()
    codes = [n for n, t in tensors[0].items() if t.dtype == torch.uint8 and n.endswith(".weight")]
    assert len(codes) == 2 * 7
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in codes)
    once, twice = (nf4.dequantized(path) for path in paths)
    dense = load_file(lab.base / "model.safetensors")
    for name in codes:
        weight, again, before = once[name].float(), twice[name].float(), dense[name].float()
        drift = float((weight - again).norm() / weight.norm())
        assert drift < 2**-8, name  # the spacing of bf16
        assert drift < 0.05 * float((weight - before).norm() / before.norm()), name
    assert manifest["claims"]["quantized_linears"] == 2 * 7
    once_bytes = files.read_json(lab.quantized / "checkpoint.json")["bytes"]
    assert manifest["bytes"]["analytic"] == once_bytes["analytic"]


def test_embeddings_and_norms_stay_as_they_were(lab: Lab) -> None:
    dense, quantized = (load_file(f / "model.safetensors") for f in (lab.base, lab.quantized))
    kept = [name for name in dense if "embed" in name or "norm" in name]
    assert len(kept) == 1 + 2 * 2 + 1
    assert all(torch.equal(dense[name], quantized[name]) for name in kept)


# pruning


@pytest.mark.parametrize(
    ("width", "ratio", "round_to", "kept"),
    [
        (11008, 0.3, 1, 7706),  # as published: int(0.3 * 11008) = 3302 go
        (11008, 0.3, 128, 7680),
        (1536, 0.25, 64, 1152),
        (1536, 0.3, 64, 1088),  # 1076 is nearer to 17 x 64 than to 16 x 64
        (256, 0.25, 64, 192),
        (256, 0.9, 64, 64),  # never 0
        (100, 0.5, 1, 50),
    ],
)
def test_kept_width(width: int, ratio: float, round_to: int, kept: int) -> None:
    assert kept_width(width, ratio, round_to) == kept


@pytest.mark.parametrize(
    ("width", "ratio", "round_to"), [(256, 0.05, 64), (100, 0.001, 1), (64, 0.5, 64)]
)
def test_a_cut_that_removes_nothing_is_refused(width: int, ratio: float, round_to: int) -> None:
    with pytest.raises(HarnessError, match=rf"ratio {ratio} with round_to {round_to} leaves"):
        kept_width(width, ratio, round_to)


def encoded(lab: Lab, split: str, mask: bool = False) -> list[chat.Encoded]:
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    return chat.encode(tokenizer, chat.records(lab.chats, lab.splits, split), 160, mask)


def test_wanda_scores_by_hand(lab: Lab) -> None:
    """Activations of each conversation alone, without padding or batches, in float64."""
    model = Checkpoint(lab.base).model(torch.float32)
    documents = encoded(lab, "calibration")
    assert len({len(d.ids) for d in documents}) > 1
    found = ffn_neurons.scores(model, documents, ffn_neurons.Settings(calibration_batch=3))
    for layer, score in zip(model.base_model.layers, found, strict=True):
        seen: list[Tensor] = []
        hook = layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.append(inputs[0][0].double())
        )
        with torch.no_grad():
            for document in documents:
                model(torch.tensor([document.ids]))
        hook.remove()
        activations = torch.cat(seen)  # [tokens, width]
        assert len(activations) == sum(len(d.ids) for d in documents)
        column = layer.mlp.down_proj.weight.detach().double()
        by_hand = (activations**2).sum(0) ** 0.5 * (column**2).sum(0) ** 0.5
        # the project's activations come from a bf16 forward
        torch.testing.assert_close(score.double(), by_hand, rtol=2e-2, atol=0)


def test_wanda_and_magnitude_of_two_neurons(lab: Lab) -> None:
    model = Checkpoint(lab.base).model(torch.float32)
    block = ffn_neurons.blocks(model)[0]
    for projection in (block.gate_proj, block.up_proj, block.down_proj):
        projection.weight.data.zero_()
    block.down_proj.weight.data[:2, 0] = torch.tensor([3.0, 4.0])
    block.down_proj.weight.data[:2, 1] = torch.tensor([0.0, 2.0])
    block.gate_proj.weight.data[1, 0] = 2.0
    block.up_proj.weight.data[1, 5] = 1.0
    norms = [torch.ones(256), torch.ones(256)]
    norms[0][1] = 10.0
    wanda = ffn_neurons.wanda_scores(model, norms)[0]
    assert wanda[:3].tolist() == [5.0, 20.0, 0.0]
    assert ffn_neurons.magnitude_scores(model)[0][:3].tolist() == [5.0, 3.0, 0.0]


def test_the_neurons_that_go_are_exactly_the_lowest(lab: Lab) -> None:
    before = Checkpoint(lab.base).model(torch.float32)
    after = Checkpoint(lab.base).model(torch.float32)
    documents = encoded(lab, "calibration")
    claims = ffn_neurons.apply(after, documents, ffn_neurons.Settings())
    assert claims == {"ffn_widths": [192, 192]}
    ranking = ffn_neurons.scores(before, documents, ffn_neurons.Settings())
    pairs = zip(ffn_neurons.blocks(before), ffn_neurons.blocks(after), ranking, strict=True)
    for old, new, score in pairs:
        kept = sorted(sorted(range(256), key=lambda j: -float(score[j]))[:192])
        assert torch.equal(new.gate_proj.weight, old.gate_proj.weight[kept])
        assert torch.equal(new.up_proj.weight, old.up_proj.weight[kept])
        assert torch.equal(new.down_proj.weight, old.down_proj.weight[:, kept])
        gone = sorted(set(range(256)) - set(kept))
        assert score[gone].max() <= score[kept].min()


def test_a_pruned_model_is_the_old_one_without_those_neurons(lab: Lab) -> None:
    before = Checkpoint(lab.base).model(torch.float32)
    after = Checkpoint(lab.base).model(torch.float32)
    documents = encoded(lab, "calibration")
    ffn_neurons.apply(after, documents, ffn_neurons.Settings())
    ranking = ffn_neurons.scores(before, documents, ffn_neurons.Settings())
    for block, score in zip(ffn_neurons.blocks(before), ranking, strict=True):
        block.down_proj.weight.data[:, score.topk(64, largest=False).indices] = 0
    torch.testing.assert_close(logits(after), logits(before), rtol=0, atol=1e-4)


# what is trained on


def test_only_the_answers_are_trained_on(lab: Lab) -> None:
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "First answer."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Second answer."},
    ]
    (masked,) = chat.encode(tokenizer, [(7, {"messages": messages})], mask_prompt=True)
    trained = [token for token in masked.labels if token != chat.IGNORED]
    end = "<|im_end|>\n"
    assert tokenizer.decode(trained) == f"First answer.{end}Second answer.{end}"
    pairs = zip(masked.ids, masked.labels, strict=True)
    assert all(label in (token, chat.IGNORED) for token, label in pairs)
    assert [masked.labels[t + 1] for t in masked.loss_positions()] == trained
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(masked.ids) == whole
    (plain,) = chat.encode(tokenizer, [(7, {"messages": messages})])
    assert plain.labels == plain.ids == masked.ids
    assert plain.loss_positions() == list(range(len(plain.ids) - 1))
    first = masked.labels.index(trained[0])
    assert chat.encode(tokenizer, [(7, {"messages": messages})], first, True) == []


def test_padding_has_no_label_and_no_attention(lab: Lab) -> None:
    documents = sorted(encoded(lab, "train", True), key=lambda d: len(d.ids))
    short, long = documents[0], documents[-1]
    batch = chat.batch([short, long], 2)
    assert batch.indices == (short.index, long.index)
    assert batch.ids[0, : len(short.ids)].tolist() == short.ids
    assert set(batch.labels[0, len(short.ids) :].tolist()) == {chat.IGNORED}
    assert batch.attention.sum(1).tolist() == [len(short.ids), len(long.ids)]


def test_the_batches_are_a_pure_function_of_the_seed(lab: Lab) -> None:
    documents = encoded(lab, "train", True)
    plans = [chat.schedule(documents, 4, 30, seed) for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]
    assert chat.schedule(documents, 4, 10, 0) == plans[0][:10]
    epoch = [d.index for batch in plans[0][: len(documents) // 4] for d in batch]
    assert len(epoch) == len(set(epoch))
    with pytest.raises(HarnessError, match="fewer than batch_size 99"):
        chat.schedule(documents, 99, 1, 0)


def test_the_settings_of_a_manifest_are_those_of_the_flags(lab: Lab, tmp_path: Path) -> None:
    manifest = lab.stage(lab.base, tmp_path / "P", "--score=magnitude", "--ratio=0.5")
    expected = ffn_neurons.Settings(score="magnitude", ratio=0.5, seq_len=160).model_dump()
    assert manifest["settings"] == {**expected, "on_quantized": "requantize"}
    assert manifest["architecture"]["ffn_widths"] == [128, 128]


def test_the_base_shares_no_file_with_the_prepared_model(lab: Lab) -> None:
    """Snakemake sets the times of a job's outputs: a link would make its input look newer."""
    for path in lab.base.iterdir():
        original = lab.model / path.name
        assert not original.exists() or not path.samefile(original), path.name
    weights = "model.safetensors"
    assert (lab.base / weights).read_bytes() == (lab.model / weights).read_bytes()
