"""Fine-tuning and what a training stage changes of its parent: weights, an adapter, a grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import SEQ_LEN, Lab, training_flags
from peft import PeftModel
from safetensors.torch import load_file
from structured_fixtures import KINDS, around, base_of, run
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from compression_order import methods
from compression_order.architecture.demands import State
from compression_order.checkpoint import adapters, masks, models, parents
from compression_order.checkpoint.forms import nf4
from compression_order.checkpoint.stored import WITH_ADAPTER, Checkpoint
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.stages import tuning
from compression_order.training import loop
from compression_order.training.settings import Training

SHAPE = ["--adapter.rank=4", "--adapter.alpha=8", "--adapter.targets=q_proj,down_proj"]
LORA = ["--method=lora", *SHAPE, *training_flags("training", steps=6, learning_rate=1e-2)]
FULL = ["--method=full", *training_flags("training", steps=6)]

Tune = Callable[..., dict[str, Any]]


@pytest.fixture
def tune(lab: Lab) -> Tune:
    """Run finetune.py: parent, folder, flags; the manifest."""

    def run_(parent: Path, out: Path, *more: object) -> dict[str, Any]:
        return run(lab, "finetune", parent, out, more)

    return run_


def state(folder: Path) -> dict[str, Tensor]:
    """The dense weights of a checkpoint, an adapter merged."""
    loaded = parents.load(folder, "dequantize", torch.float32)
    return {name: weight.detach() for name, weight in loaded.model.named_parameters()}


def logits(model: PreTrainedModel) -> Tensor:
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        found: Tensor = model(ids).logits.float()
    return found


def test_an_adapter_is_merged_into_a_dense_parent(lab: Lab, tune: Tune, tmp_path: Path) -> None:
    manifest = tune(lab.base, tmp_path / "FT", *LORA)
    before, after = state(lab.base), state(tmp_path / "FT")
    changed = {n.split(".")[-2] for n in before if not torch.equal(before[n], after[n])}
    assert changed == {"q_proj", "down_proj"}
    for name in (n for n in before if n.endswith(("q_proj.weight", "down_proj.weight"))):
        ranks = torch.linalg.svdvals(after[name] - before[name])
        # rounding to bf16 is all that is not of rank 4
        assert ranks[4] < 0.05 * ranks[0], name
    assert manifest["format"] == "dense"
    shape = models.architecture(Checkpoint(lab.base).model(torch.bfloat16))
    assert manifest["parameters"]["trainable"] == shape.adapter(4, ("q_proj", "down_proj"))
    training = manifest["claims"]["training"]
    assert training["loss_last"] < training["loss_first"]
    assert not (tmp_path / "FT" / adapters.CONFIG).exists()


def test_what_is_merged_is_what_peft_merges(lab: Lab) -> None:
    one, other = (Checkpoint(lab.base).model(torch.float32) for _ in range(2))
    its = adapters.Adapter(rank=4, alpha=8, targets="v_proj,up_proj")
    adapters.put(one, its, masked=False)
    for name, parameter in one.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    one.float()
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj", "up_proj"])
    theirs = get_peft_model(other, config)
    theirs.load_state_dict({f"base_model.model.{n}": p for n, p in one.state_dict().items()})
    unmerged = logits(one)
    adapters.merge(one)
    torch.testing.assert_close(logits(one), unmerged, rtol=1e-4, atol=1e-4)
    for name, weight in theirs.merge_and_unload().named_parameters():
        torch.testing.assert_close(dict(one.named_parameters())[name], weight)


def test_full_fine_tuning_trains_everything(lab: Lab, tune: Tune, tmp_path: Path) -> None:
    manifest = tune(lab.base, tmp_path / "FT", *FULL)
    before, after = state(lab.base), state(tmp_path / "FT")
    assert all(not torch.equal(before[n], after[n]) for n in before if n.endswith("proj.weight"))
    assert manifest["parameters"]["trainable"] == manifest["parameters"]["total"]
    assert (
        manifest["claims"]["training"]["loss_last"] < manifest["claims"]["training"]["loss_first"]
    )


@pytest.mark.parametrize(
    ("method", "on_quantized", "format_"),
    [
        ("lora", "requantize", nf4.FORMAT),
        ("lora", "dequantize", "dense"),
        ("lora", "adapter", nf4.FORMAT + WITH_ADAPTER),
        ("full", "requantize", nf4.FORMAT),
        ("full", "dequantize", "dense"),
        ("full", "fake-quant", nf4.FORMAT),
    ],
)
def test_on_a_quantized_parent(
    method: str, on_quantized: str, format_: str, lab: Lab, tune: Tune, tmp_path: Path
) -> None:
    flags = LORA if method == "lora" else FULL
    manifest = tune(lab.quantized, tmp_path / "Q-FT", *flags, f"--on-quantized={on_quantized}")
    assert manifest["format"] == format_
    assert manifest["settings"]["on_quantized"] == on_quantized
    assert ("adapter" in manifest["settings"]) == (method == "lora")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_refuse(method: str, lab: Lab, tune: Tune, tmp_path: Path) -> None:
    flags = LORA if method == "lora" else FULL
    with pytest.raises(HarnessError, match="`on_quantized: refuse`"):
        tune(lab.quantized, tmp_path / "Q-FT", *flags, "--on-quantized=refuse")
    assert not (tmp_path / "Q-FT").exists()


@pytest.fixture(scope="module")
def beside(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An NF4 checkpoint with an adapter beside its weights: QLoRA."""
    out = tmp_path_factory.mktemp("beside") / "checkpoints" / "Q-FT"
    run(lab, "finetune", lab.quantized, out, [*LORA, "--on-quantized=adapter"])
    return out


def test_an_adapter_lies_beside_the_parents_own_weights(lab: Lab, beside: Path) -> None:
    manifest = files.read_json(beside / "checkpoint.json")
    parent = files.read_json(lab.quantized / "checkpoint.json")
    assert manifest["files"]["model.safetensors"] == parent["files"]["model.safetensors"]
    tensors = load_file(beside / adapters.WEIGHTS)
    count = sum(t.numel() for t in tensors.values())
    assert manifest["claims"]["adapter"]["parameters"] == count
    assert manifest["parameters"]["trainable"] == count
    assert manifest["parameters"]["total"] == parent["parameters"]["total"] + count
    assert manifest["bytes"]["analytic"] == parent["bytes"]["analytic"] + 2 * count
    assert any(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)


def test_plain_transformers_and_peft_load_the_adapter(lab: Lab, beside: Path) -> None:
    """As scored, as loaded by name, and as PEFT puts it on the parent: the same numbers."""
    scored = logits(parents.load(beside, "adapter", torch.bfloat16).model)
    plain = logits(AutoModelForCausalLM.from_pretrained(beside))
    kernels = AutoModelForCausalLM.from_pretrained(lab.quantized)
    without = logits(parents.load(lab.quantized, "dequantize", torch.bfloat16).model)
    single = logits(parents.load(lab.quantized, "dequantize", torch.float32).model)
    # of the 4-bit kernels, without any adapter; on some CPUs they round as bf16 products do
    rounding = max((logits(kernels) - without).norm(), (single - without).norm())
    assert (plain - scored).norm() < 2 * rounding
    assert (scored - without).norm() > 5 * rounding
    kernels = AutoModelForCausalLM.from_pretrained(lab.quantized)
    theirs = PeftModel.from_pretrained(kernels, beside)  # computes the adapter in float32
    assert (logits(theirs) - plain).norm() < rounding


def test_equal_work_gives_equal_bytes(lab: Lab, beside: Path, tune: Tune, tmp_path: Path) -> None:
    tune(lab.quantized, tmp_path / "Q-FT", *LORA, "--on-quantized=adapter")
    names = sorted(path.name for path in beside.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "Q-FT").iterdir())
    assert {adapters.CONFIG, adapters.WEIGHTS} < set(names)
    for name in names:
        assert (beside / name).read_bytes() == (tmp_path / "Q-FT" / name).read_bytes(), name


def test_every_stage_works_on_a_checkpoint_with_an_adapter(
    lab: Lab, beside: Path, tmp_path: Path
) -> None:
    """Merged into the dequantized weights; what is stored has none beside it."""
    for token in ("P", "KD", "Q"):
        manifest = lab.stage(beside, tmp_path / "checkpoints" / f"Q-FT-{token}")
        assert manifest["format"] == nf4.FORMAT
        assert not (tmp_path / "checkpoints" / f"Q-FT-{token}" / adapters.CONFIG).exists()
    merged, stored = state(beside), state(tmp_path / "checkpoints" / "Q-FT-Q")
    name = "model.layers.0.mlp.down_proj.weight"
    rounded = nf4.Nf4().rounded("", merged[name].bfloat16()).float()
    assert torch.equal(stored[name], rounded)


def test_the_next_stage_goes_on_with_the_adapter(beside: Path, tune: Tune, tmp_path: Path) -> None:
    first = load_file(beside / adapters.WEIGHTS)
    manifest = tune(beside, tmp_path / "Q-FT-FT", *LORA, "--on-quantized=adapter", "--seed=5")
    second = load_file(tmp_path / "Q-FT-FT" / adapters.WEIGHTS)
    assert first.keys() == second.keys()
    assert manifest["claims"]["training"]["loss_first"] < 6
    moved = [(second[n] - first[n]).float().norm() / first[n].float().norm() for n in first]
    assert 0 < max(moved) < 1.5
    with pytest.raises(HarnessError, match="an adapter of another shape"):
        other = [*LORA, "--adapter.rank=2", "--on-quantized=adapter"]
        tune(beside, tmp_path / "Q-FT-FT2", *other)


def test_a_distillation_trains_an_adapter_too(lab: Lab, tmp_path: Path) -> None:
    flags = ["--on-quantized=adapter", *SHAPE]
    manifest = lab.stage(lab.quantized, tmp_path / "Q-KD", *flags)
    assert manifest["format"] == nf4.FORMAT + WITH_ADAPTER
    assert manifest["settings"]["adapter"]["rank"] == 4
    dense = lab.stage(lab.base, tmp_path / "KD", *flags)
    assert dense["format"] == "dense"
    assert dense["parameters"]["trainable"] == dense["parameters"]["total"]


# the straight-through grid


def test_fake_quant_trains_what_it_stores(lab: Lab, tmp_path: Path) -> None:
    """Training sees the rounded weights, and storing them again rounds nothing more."""
    loaded = parents.load(lab.quantized, "fake-quant", torch.float32)
    assert loaded.form is not None
    seen = tuning.through(loaded.form)(loaded.model)
    assert len(seen) == 14
    for name, weight in seen.items():
        own = loaded.model.get_parameter(name)
        rounded = loaded.form.rounded(name.removesuffix(".weight"), own.bfloat16()).float()
        torch.testing.assert_close(weight, rounded, rtol=0, atol=1e-6)
        weight.sum().backward()
        assert own.grad is not None
        assert torch.equal(own.grad, torch.ones_like(own))


def test_fake_quant_moves_codes_where_requantizing_loses_the_training(
    lab: Lab, tmp_path: Path
) -> None:
    """The training loss on the grid goes down, and the stored model is the one that trained."""
    flags = training_flags("training", steps=24, learning_rate=3e-3)
    manifest = lab.stage(lab.quantized, tmp_path / "Q-KD", "--on-quantized=fake-quant", *flags)
    told = manifest["claims"]["training"]
    assert told["loss_last"] < told["loss_first"]
    before, after = state(lab.quantized), state(tmp_path / "Q-KD")
    names = [n for n in before if n.endswith("proj.weight")]
    assert any(not torch.equal(before[n], after[n]) for n in names)


def test_a_manifest_says_what_of_a_training_is_left(lab: Lab, tmp_path: Path) -> None:
    """Against the stored weights: small steps are put back, and the record says how many."""
    for way, rate in (("requantize", 1e-6), ("requantize", 3e-3), ("fake-quant", 3e-3)):
        flags = training_flags("training", steps=8, learning_rate=rate)
        out = tmp_path / f"{way}{rate}" / "Q-KD"
        manifest = lab.stage(lab.quantized, out, f"--on-quantized={way}", *flags)
        told = manifest["claims"]["training"]["survives"]
        before, after = (
            dict(masks.linears(Checkpoint.open(its).model(torch.bfloat16)))
            for its in (lab.quantized, out)
        )
        unlike = sum(int((after[name].weight != before[name].weight).sum()) for name in before)
        count = sum(linear.weight.numel() for linear in before.values())
        assert told["moved"] == pytest.approx(unlike / count, abs=1e-4)
        assert told["kept"] < 0.05 if rate < 1e-5 else told["kept"] > 0.3
    dense = lab.stage(lab.base, tmp_path / "KD", *training_flags("training", steps=2))
    assert "survives" not in dense["claims"]["training"]


def test_recovery_may_see_what_it_stores(lab: Lab, tmp_path: Path) -> None:
    """Cut a 4-bit parent and recover through the grid of the cut weights: storing loses little."""
    flags = [
        "--ratio=0.5",
        "--round-to=16",
        *training_flags("recovery", steps=40, learning_rate=3e-4),
    ]
    kept = {}
    for way in ("requantize", "fake-quant"):
        folder = tmp_path / way / "Q-P"
        manifest = lab.stage(lab.quantized, folder, f"--on-quantized={way}", *flags)
        assert manifest["format"] == nf4.FORMAT
        kept[way] = manifest["claims"]["recovery"]["loss_last"], folder
    told = {way: loss(lab, folder) for way, (_, folder) in kept.items()}
    assert told["fake-quant"] < told["requantize"]
    # what was trained is what is stored: little is lost between the two
    assert abs(told["fake-quant"] - kept["fake-quant"][0]) < 0.5


def loss(lab: Lab, folder: Path) -> float:
    """Mean loss of a stored checkpoint on the training conversations."""
    its = Checkpoint.open(folder)
    documents = loop.documents(its.tokenizer, lab.chats, lab.splits, Training(seq_len=SEQ_LEN))
    model, total, count = its.model(torch.float32), 0.0, 0
    for document in documents:
        ids, labels = torch.tensor([document.ids]), torch.tensor([document.labels])
        with torch.no_grad():
            its_loss = model(input_ids=ids, labels=labels).loss
        total += float(its_loss) * len(document.loss_positions())
        count += len(document.loss_positions())
    return total / count


# pruned zeros


@pytest.fixture(scope="module")
def sparse(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the weights of every linear pruned."""
    out = tmp_path_factory.mktemp("sparse") / "checkpoints" / "M"
    run(lab, "prune", lab.base, out, ["--method=magnitude", "--sparsity=0.5"])
    return out


@pytest.mark.parametrize("flags", [LORA, FULL], ids=["lora", "full"])
def test_zeros_stay_zero(flags: list[str], sparse: Path, tune: Tune, tmp_path: Path) -> None:
    manifest = tune(sparse, tmp_path / "M-FT", *flags)
    assert manifest["claims"]["zeros"]["retained"] == 1.0
    assert (
        manifest["claims"]["training"]["loss_last"] < manifest["claims"]["training"]["loss_first"]
    )


def test_a_masked_adapter_computes_what_is_merged(sparse: Path) -> None:
    model = parents.load(sparse, "requantize", torch.float32).model
    adapters.put(model, adapters.Adapter(rank=4), masked=True)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.float()
    trained = logits(model)
    adapters.merge(model)
    torch.testing.assert_close(logits(model), trained, rtol=1e-4, atol=1e-4)
    kept = masks.retention(masks.of(model), model)
    assert kept.zero == kept.masked > 0


def test_an_adapter_beside_pruned_and_quantized_weights(
    lab: Lab, sparse: Path, tune: Tune, tmp_path: Path
) -> None:
    lab.stage(sparse, tmp_path / "M-Q")
    manifest = tune(tmp_path / "M-Q", tmp_path / "M-Q-FT", *LORA, "--on-quantized=adapter")
    assert manifest["claims"]["zeros"]["retained"] == 1.0
    on_top = lab.stage(tmp_path / "M-Q-FT", tmp_path / "M-Q-FT-Q")
    assert on_top["claims"]["zeros"]["retained"] == 1.0


# what cannot be


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--adapter.targets=gemm"], ["adapter.targets", "'gemm'", "all-linear", "q_proj"]),
        (["--adapter.targets=lm_head"], ["adapter.targets", "'lm_head'"]),
        (["--adapter.rank=0"], ["adapter.rank", "0", "at least 1"]),
        (["--adapter.dropout=1.0"], ["adapter.dropout", "less than 1"]),
        (["--training.devices=2"], ["training.devices", "one device"]),
        (["--on-quantized=fake-quant"], ["--on-quantized", "fake-quant", "requantize"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input(
    flags: list[str], words: list[str], lab: Lab, tune: Tune, tmp_path: Path
) -> None:
    with pytest.raises(HarnessError) as fault:
        tune(lab.base, tmp_path / "FT", *LORA, *flags)
    for word in words:
        assert word in str(fault.value)
    assert not (tmp_path / "FT").exists()


def test_a_sabotaged_adapter_fails_the_stage(
    lab: Lab, tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that is not stored is not claimed."""
    monkeypatch.setattr(adapters, "store", lambda model, folder: None)
    with pytest.raises(HarnessError, match="the adapter has 0 parameters, the stage claims"):
        tune(lab.quantized, tmp_path / "Q-FT", *LORA, "--on-quantized=adapter")
    assert not (tmp_path / "Q-FT").exists()


# the planner


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["all-linear", "k_proj,o_proj"])
def test_the_planner_gives_the_bytes_on_disk(
    kind: str, targets: str, lab: Lab, tune: Tune, tmp_path: Path
) -> None:
    base = base_of(lab, tmp_path, kind)
    run(lab, "quantize", base, tmp_path / "Q", [])
    flags = ["--method=lora", "--adapter.rank=3", f"--adapter.targets={targets}"]
    steps = training_flags("training", steps=1)
    manifest = tune(tmp_path / "Q", tmp_path / "Q-FT", *flags, *steps, "--on-quantized=adapter")
    shape = models.architecture(Checkpoint(base).model(torch.bfloat16))
    quantized = methods.settings("nf4")().child(State(shape), around("requantize"))
    lora = methods.settings("lora").model_validate({"adapter": {"rank": 3, "targets": targets}})
    tuned = lora.child(quantized, around("adapter"))
    assert tuned.bytes == manifest["bytes"]["analytic"]
    again = lora.child(tuned, around("requantize"))
    assert again.bytes == quantized.bytes
