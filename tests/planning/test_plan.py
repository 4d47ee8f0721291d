"""The planner: its formulas against torch, the published figures, and what its command prints."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lab import ROOT
from results_tree import ask
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from compression_order.architecture import cuts, demands, memory, shapes, storage
from compression_order.checkpoint import disk
from compression_order.common.errors import HarnessError
from compression_order.planning import graph, timetable
from compression_order.planning.devices import DEVICES
from compression_order.stages import teach
from compression_order.study import parse, study
from compression_order.text import chat
from compression_order.training import buckets, forward, losses, teacher

MIB = 2**20
ASSUMED = demands.Assumed(conversation=0, question=64, text=300_000, questions=1000)
TINY = {
    "hidden_size": 96,
    "intermediate_size": 352,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 600,
    "tie_word_embeddings": True,
}
KINDS = ("llama", "qwen2")


def huggingface(fields: dict[str, Any], **more: Any) -> Any:
    kind = fields["model_type"]
    return AutoConfig.for_model(
        kind, **{k: v for k, v in fields.items() if k != "model_type"}, **more
    )


def tiny(kind: str, layers: int = 2, **more: Any) -> tuple[shapes.Architecture, PreTrainedModel]:
    fields = {**TINY, "model_type": kind, "num_hidden_layers": layers}
    model = AutoModelForCausalLM.from_config(huggingface(fields, **more))
    return shapes.from_config(fields, kind), model


def config(path: str = "config.yaml") -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return read


def planned(read: dict[str, Any]) -> tuple[study.Study, list[graph.Job]]:
    built = parse.build(read, "the study", ROOT)
    shape = graph.architecture(built)
    return built, graph.jobs(built, shape, ASSUMED, ROOT)


# --- shapes ---------------------------------------------------------------------------------

PUBLISHED = {
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "llama-2-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "smollm2-135m-instruct": 134_515_008,
}


def test_every_architecture_has_the_parameters_of_its_model_card() -> None:
    assert {name: shapes.named(name).parameters for name in shapes.known()} == PUBLISHED


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_shapes_are_those_of_the_meta_device(name: str) -> None:
    fields = json.loads((shapes.FOLDER / f"{name}.json").read_text())
    own, meta = shapes.named(name), disk.shape_of(huggingface(fields))
    assert sorted(own.linears) == sorted(meta.linears)
    assert own.other == meta.other
    assert storage.dense_bytes(own) == storage.dense_bytes(meta)
    for double_quant in (True, False):
        assert storage.nf4_bytes(own, double_quant) == storage.nf4_bytes(meta, double_quant)


def test_the_published_sizes_and_ratios() -> None:
    whole = shapes.named("qwen2.5-3b")
    pruned = cuts.neurons(whole, 0.3, 1)
    assert {block.ffn for block in pruned.blocks} == {7706}
    assert pruned.parameters == 2_355_589_120
    stored = [
        storage.dense_bytes(whole),
        storage.dense_bytes(pruned),
        storage.nf4_bytes(whole, True),
        storage.nf4_bytes(pruned, True),
    ]
    assert [round(n / MIB, 1) for n in stored] == [5886.0, 4492.9, 1959.2, 1599.9]
    assert [round(stored[0] / n, 4) for n in stored] == [1.0, 1.3100, 3.0042, 3.6790]


def test_the_nf4_file_of_smollm2() -> None:
    assert storage.nf4_bytes(shapes.named("smollm2-135m-instruct"), True) == 111_691_056


def test_constants_are_those_of_the_code_that_runs() -> None:
    assert losses.chunked.__defaults__ == (memory.LOSS_CHUNK,)
    assert (forward.CHUNK, forward.TOKENS) == (memory.SCORE_CHUNK, memory.BATCH)
    assert buckets.NODES == memory.TAIL
    assert teach.SAMPLE == demands.SAMPLE


# --- operations -----------------------------------------------------------------------------


def test_macs_of_llama_2_7b_against_the_published_figure() -> None:
    """425.12 GMac is printed; 423.93 are counted here, and the rest has these names."""
    shape = shapes.named("llama-2-7b")
    counted = shapes.macs(shape, 1, 64, 64)
    assert counted.linears == 64 * 6_476_005_376
    assert counted.head == 64 * 131_072_000
    assert abs(counted.total / 425.12e9 - 1) < 0.01
    (block,) = {*shape.blocks}
    rotary = shape.layers * 4 * 64 * shape.attention(block)
    norms = (2 * shape.layers + 1) * 2 * 64 * shape.hidden
    softmax = shape.layers * block.heads * 64 * 64
    silu = shape.layers * 64 * block.ffn
    once = counted.total + rotary + norms + softmax + silu
    assert round(once / 1e9, 2) == 424.02
    assert round((once + counted.attention + softmax + silu) / 1e9, 2) == 425.12


@pytest.mark.parametrize("kind", KINDS)
def test_operations_of_a_step_are_those_that_torch_counts(kind: str) -> None:
    shape, model = tiny(kind, attn_implementation="eager")
    with FlopCounterMode(display=False) as forward:
        logits = model(torch.zeros(3, 10, dtype=torch.long), use_cache=False).logits
    assert forward.get_total_flops() == demands.forward(shape, "", 3, 10).flops
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    both = forward.get_total_flops() + backward.get_total_flops()
    assert both == demands.trained(shape, "", memory.TrainingRun(1, 3, 10, 10)).flops


# --- memory and files -----------------------------------------------------------------------


def saved_bytes(model: PreTrainedModel, batch: int, length: int, number: int, masked: bool) -> int:
    """Bytes that a training forward pass keeps for its backward pass, weights left out."""
    weights = {id(p) for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    attention = torch.ones(batch, length, dtype=torch.long)
    attention[0, -3:] = 0
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.autocast("cpu", torch.bfloat16, enabled=number == storage.BF16), hooks:
        ids = torch.zeros(batch, length, dtype=torch.long)
        mask = attention if masked else None
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    storages = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in storages)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "length"), [(2, 128), (3, 40)])
@pytest.mark.parametrize("number", [storage.BF16, storage.FP32])
@pytest.mark.parametrize("masked", [False, True])
def test_what_a_layer_keeps_is_what_torch_saves(
    kind: str, batch: int, length: int, number: int, masked: bool
) -> None:
    shape, two = tiny(kind, 2)
    one_shape, one = tiny(kind, 1)
    how = (batch, length, number, masked)
    layer = saved_bytes(two.train(), *how) - saved_bytes(one.train(), *how)
    if number == storage.BF16:  # autocast keeps copies of the linears
        layer -= number * (sum(shape.linears) - sum(one_shape.linears))
    mask = length if masked else 0
    expected = memory.layer_bytes(shape, shape.blocks[0], batch * length, number, mask)
    assert layer == expected


@pytest.mark.parametrize("vocabulary", [600, 590])
@pytest.mark.parametrize("k", [0, 4, 64])
def test_the_teachers_cache_to_the_byte(tmp_path: Path, k: int, vocabulary: int) -> None:
    shape, model = tiny("llama")
    rows = [chat.Encoded(i, [5] * n, [5] * n) for i, n in enumerate((9, 21))]
    teacher.write(tmp_path / "cache.safetensors", model, rows, k, vocabulary, "test")
    with safe_open(tmp_path / "cache.safetensors", "pt") as stored:
        tensors = [stored.get_tensor(name) for name in stored.keys()]
    written = sum(t.numel() * t.element_size() for t in tensors)
    assert written == memory.cache_bytes(shape, vocabulary, 8 + 20, 2, k)


def test_full_training_of_qwen_3b_needs_what_the_paper_did_not_have() -> None:
    """16 bytes a parameter before any activation: 49 GB, more than the 48 GB stated."""
    shape = shapes.named("qwen2.5-3b")
    held = memory.training_memory(shape, memory.TrainingRun(1, 2, 512, 512), 0, 16)
    assert 49e9 < 16 * shape.parameters < 50e9
    assert held.weights + held.gradients + held.optimizer > 16 * shape.parameters
    assert held.peak == sum((held.weights, held.gradients, held.optimizer, held.activations))


# --- a whole plan ---------------------------------------------------------------------------


def test_the_default_study_has_these_jobs() -> None:
    built, jobs = planned(config())
    kinds = [job.kind for job in jobs]
    counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    stages = {"prune": 5, "distill": 5, "quantize": 5}
    assert counted == {"base": 1, "reference": 1, "teach": 1, **stages, "measure": 16}
    names = [job.name for job in jobs]
    for place, job in enumerate(jobs):
        assert {*job.after} <= {*names[:place]}, job.name
    shared = timetable.saved_by_prefixes(built, jobs)
    assert shared.jobs == 33 - 15
    # P, KD and Q begin five pipelines each, a pair two: four and one repeats are spared
    flops = {job.name: job.demand.flops for job in jobs}
    singles, pairs = (
        ("P", "KD", "Q"),
        [j.pipeline for j in jobs if j.pipeline.count("-") == 1 and j.state],
    )
    assert shared.flops == 4 * sum(flops[s] for s in singles) + sum(flops[p] for p in pairs)
    assert timetable.saved_by_cache(built, jobs, ASSUMED).flops == 4 * flops["teacher KD"]


def test_orders_end_in_equal_sizes_and_keep_their_format() -> None:
    _, jobs = planned(config())
    states = {job.pipeline: job.state for job in jobs if job.state}
    full = {states[p] for p in states if p.count("-") == 2}
    assert len(full) == 1
    assert states["Q-KD"] == states["Q"]
    read = config()
    read["stages"]["KD"]["on_quantized"] = "dequantize"
    _, jobs = planned(read)
    states = {job.pipeline: job.state for job in jobs if job.state}
    assert states["Q-KD"] == states["base"]


def test_tokens_of_stages_and_evaluations() -> None:
    _, jobs = planned(config())
    tokens = {(j.name, p.name): p.tokens for j in jobs for p in j.demand.parts}
    assert tokens["P", "calibration"] == 32 * 256
    assert tokens["P", "recovery"] == tokens["KD", "training"] == 24 * 4 * 256
    assert tokens["teacher KD", "teacher"] == 96 * 256
    assert tokens["measure P", "windows wiki"] == 30 * 204
    # a question with one answer, and what is read of the other three
    assert tokens["measure P", "task openbookqa"] == 120 * (64 + 3 * 4)
    assert tokens["measure P", "task mmlu"] == 60 * 64  # the four labels are one token each


def test_seeds_repeat_stages_but_not_the_teacher() -> None:
    _, one = planned(config())
    _, three = planned({**config(), "seeds": [0, 1, 2]})
    shared = sum(j.demand.flops for j in one if j.kind in ("teach", "reference"))
    whole = timetable.all_jobs(one).flops
    assert timetable.all_jobs(three).flops == 3 * (whole - shared) + shared
    assert timetable.critical_path(three) == timetable.critical_path(one)


@pytest.mark.parametrize("workers", [1, 2, 3, 40])
def test_the_timetable_lies_between_its_bounds(workers: int) -> None:
    _, jobs = planned(config())
    flops = {job.name: job.demand.flops for job in jobs}
    everything = sum(flops.values())
    critical = sum(flops[name] for name in timetable.critical_path(jobs))
    done = timetable.side_by_side(jobs, workers)
    assert max(critical, everything / workers) <= done <= everything
    assert workers > 1 or done == everything
    assert workers < 40 or done == critical


def test_a_made_model_is_planned_from_its_entry() -> None:
    _, jobs = planned(config("studies/smoke.yaml"))
    made = config("studies/smoke.yaml")["model"]["made"]
    fields = {
        "model_type": "llama",
        "hidden_size": made["hidden"],
        "intermediate_size": made["ffn"],
        "num_hidden_layers": made["layers"],
        "num_attention_heads": made["heads"],
        "num_key_value_heads": made["key_value_heads"],
        "vocab_size": made["vocabulary"],
        "tie_word_embeddings": True,
    }
    assert jobs[0].state is not None
    assert jobs[0].state.shape.parameters == disk.shape_of(huggingface(fields)).total


# --- the command ----------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("path", ["config.yaml", "studies/smoke.yaml"])
def test_the_command_writes_what_it_prints(path: str, tmp_path: Path) -> None:
    done = ask("plan", f"--study={path}", "--device=h100-sxm", f"--csv={tmp_path / 'plan.csv'}")
    assert done.returncode == 0, done.stderr
    table = rows_of(tmp_path / "plan.csv")
    assert [row["pipeline"] for row in table if row["parameters"]][:2] == ["base", "P"]
    for row in table:
        if row["parameters"]:
            assert f"{int(row['bytes']):,}" in done.stdout
        # the hours of a row are its operations at 30% of the peak
        hours = float(row["hours"])
        assert hours == pytest.approx(int(row["flops"]) / 0.3 / 989.4e12 / 3600, rel=1e-5)
    whole = next(row for row in table if row["job"] == "all jobs")
    jobs = [row for row in table if row["peak_bytes"]]
    assert int(whole["flops"]) == sum(int(r["flops"]) * int(r["copies"]) for r in jobs)
    parts = [row for row in table if row["kind"] == "part"]
    assert sum(int(r["flops"]) for r in parts) == sum(int(r["flops"]) for r in jobs)
    assert "critical path: base > " in done.stdout


def test_a_plan_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, 'src'); from compression_order.commands import entry; "
        f"entry.run(['plan', '--csv={tmp_path / 'plan.csv'}']); "
        "print(sorted({'torch', 'transformers', 'numpy', 'pandas'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")


def test_another_architecture_and_what_does_not_fit(tmp_path: Path) -> None:
    out = f"--csv={tmp_path / 'plan.csv'}"
    done = ask("plan", "--architecture=qwen2.5-3b", "--device=rtx-4090", out)
    assert done.returncode == 0, done.stderr
    base = rows_of(tmp_path / "plan.csv")[0]
    assert (base["parameters"], base["mib"]) == ("3085938688", "5886.0")
    assert "does not fit: KD needs " in done.stdout
    assert "does not fit: Q needs" not in done.stdout


def test_a_plan_says_what_the_study_can_find(tmp_path: Path) -> None:
    done = ask("plan", "--paired-sd=0.1", f"--csv={tmp_path / 'plan.csv'}")
    assert done.returncode == 0, done.stderr
    # Cohen: d = 0.4125 is found by 48 pairs with 80% power, and exp(0.04125) is 1.042
    assert "48 held-out conversations find a perplexity ratio of 1.042" in done.stdout
    assert "in all of 15 pairs" in done.stdout
    assert "one seed says nothing about other training runs" in done.stdout
    assert "a paired standard deviation of 0.1 nats" in done.stdout
    # a pair: 0.1 / sqrt(48) times the 2.73 of a family of eight; no seed spreads with one
    swap = next(line for line in done.stdout.splitlines() if "'swap of P and KD before Q'" in line)
    assert f"a factor of {math.exp(2.7344 * 0.1 / math.sqrt(48)):.3f} either way" in swap
    # (ln 1.05) / 0.01443 - 2.7344 = 0.646
    assert "finds a ratio of 1.05 with power 0.74, and shows that there is none with 0.48" in swap
    # too few questions for 10% of them to tell anything
    assert "boolq none (40 questions)" in done.stdout


def test_a_plan_is_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert ask("plan", f"--csv={tmp_path / name}").returncode == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device=b200"], ["--device", "b200", *DEVICES]),
        (["--utilization=1.5"], ["--utilization", "1.5"]),
        (["--utilization=0"], ["--utilization", "0.0"]),
        (["--question=0"], ["--question", "0"]),
        (["--paired-sd=0"], ["--paired-sd", "0.0"]),
        (["--seed-sd=-1"], ["--seed-sd", "-1.0"]),
        (["--study=nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (["--architecture=gpt-5"], ["gpt-5", "architectures/gpt-5.json", "qwen2.5-3b"]),
        (["--unknown"], ["--unknown"]),
    ],
)
def test_bad_flags_are_one_sentence(flags: list[str], words: list[str], tmp_path: Path) -> None:
    done = ask("plan", *flags, f"--csv={tmp_path / 'plan.csv'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "plan.csv").exists()
    for word in words:
        assert word in done.stderr


def test_an_architecture_that_lacks_a_field(tmp_path: Path) -> None:
    fields = json.loads((shapes.FOLDER / "qwen2.5-3b.json").read_text())
    for field in fields:
        rest = {k: v for k, v in fields.items() if k != field}
        (tmp_path / "cut.json").write_text(json.dumps(rest))
        with pytest.raises(HarnessError, match=rf"cut\.json: the field '{field}' is missing"):
            shapes.named("cut", tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"model_type": "mamba"}, "model_type 'mamba' has no formulas"),
        ({"attention_bias": True}, "attention_bias is true"),
    ],
)
def test_an_architecture_that_the_formulas_do_not_know(change: dict[str, Any], words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        shapes.from_config({**TINY, "model_type": "llama", **change}, "a.json")


def test_a_model_without_an_architecture() -> None:
    read = config()
    read["model"]["name"] = "another-model"
    with pytest.raises(HarnessError, match=r"architectures/another-model\.json.*qwen2\.5-3b"):
        planned(read)


@pytest.mark.parametrize(
    ("token", "path"), [("P", "ratio"), ("KD", "training.steps"), ("Q", "double_quant")]
)
def test_a_setting_left_to_the_code(token: str, path: str) -> None:
    """It plans as its default written out."""
    default = {"ratio": 0.25, "training.steps": 32, "double_quant": True}[path]
    read, asked = config(), config()
    for made in (read, asked):
        entry = made["stages"][token]
        *folders, key = path.split(".")
        for folder in folders:
            entry = entry[folder]
        if made is read:
            del entry[key]
        else:
            entry[key] = default
    assert planned(read)[1] == planned(asked)[1]


def test_hours_go_by_what_a_run_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the rate, half the hours; in the arithmetic of the study."""
    monkeypatch.chdir(tmp_path)
    lock = Path("studies", f"{config()['study']}.lock.yaml")
    lock.parent.mkdir()
    flags = [f"--study={ROOT / 'config.yaml'}", "--csv=plan.csv"]
    hours = []
    for bf16 in (1e11, 2e11):
        lock.write_text(f"compute: float32\nrates: {{bf16: {bf16}, float32: 9.0e+11}}\n")
        done = ask("plan", *flags)
        assert f"{bf16 / 1e9:.0f} GFLOP/s of a job's products, measured" in done.stdout, done.stderr
        row = next(row for row in rows_of(Path("plan.csv")) if row["job"] == "P")
        assert row["device"] == "measured"
        hours.append(float(row["hours"]))
    assert hours[0] == pytest.approx(2 * hours[1], rel=1e-5)
    assert "a job's products" not in ask("plan", *flags, "--device=h100-sxm").stdout
    lock.write_text("compute: bf16")
    assert "lock.yaml: it does not say" in ask("plan", *flags).stderr
