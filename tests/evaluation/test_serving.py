"""What a checkpoint costs to serve: exact figures against torch's own counts, times by their rules.

Times themselves are not tested: they are the machine's.
"""

import copy
import csv
import ctypes
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
import yaml
from lab import ROOT, Lab, cli, inside, training_flags
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from workflow_fixtures import link_archives, repository

from compression_order.architecture import storage
from compression_order.checkpoint import models
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common.errors import HarnessError
from compression_order.costs import energy, gpu
from compression_order.evaluation import serving
from compression_order.evaluation.serving import Round
from compression_order.planning import sheet
from compression_order.study import parse
from compression_order.study.settings import Serving

CPU = torch.device("cpu")
SHORT = Serving(batch_sizes=[1, 3], prompt=9, new_tokens=5, repeats=3, warmup=2)
SERVING = {"batch_sizes": [1, 2], "prompt": 8, "new_tokens": 4, "repeats": 2, "warmup": 1}
SMOKE = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())


@pytest.fixture(scope="module")
def folders(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of every kind: dense, pruned, 4-bit, with an adapter; and a bare Qwen2."""
    root = tmp_path_factory.mktemp("serving") / "checkpoints"
    lab.stage(lab.base, root / "P", "--recovery.steps=0", "--round-to=32")
    adapted = root / "Q-FT"
    inside(
        "finetune", "--parent", lab.quantized, "--out", adapted, "--pipeline=Q-FT", *lab.read(),
        "--method=lora", "--on-quantized=adapter", "--adapter.rank=3", "--max-degenerate=1",
        "--work", root / "work", "--costs", root / "costs", *training_flags("training", steps=1),
    )  # fmt: skip
    shape: Any = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3}
    heads: Any = {"num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 96}
    config = Qwen2Config(**shape, **heads, tie_word_embeddings=False)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(root / "qwen2")
    made = {"base": lab.base, "Q": lab.quantized}
    return {**made, **{name: root / name for name in ("P", "Q-FT", "qwen2")}}


# --- figures that no machine changes --------------------------------------------------------


def counted(model: PreTrainedModel) -> int:
    """Operations of one pass over (1, 64) tokens, as torch counts them."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, serving.PROMPT, dtype=torch.long), use_cache=False)
    total: int = counter.get_total_flops()
    return total


@pytest.mark.parametrize("name", ["base", "P", "qwen2"])
def test_macs_are_half_the_operations_that_torch_counts(
    name: str, folders: dict[str, Path]
) -> None:
    """Term by term: on a CPU torch does not see the two products inside the fused attention."""
    checkpoint = Checkpoint(folders[name])
    macs = serving.macs(checkpoint)
    assert min(macs.linears, macs.attention, macs.head) > 0
    where = (checkpoint.folder, checkpoint.fields)
    fused = models.pretrained(*where, attn_implementation="sdpa")
    assert counted(fused) == 2 * (macs.linears + macs.head)
    plain = models.pretrained(*where, attn_implementation="eager")
    assert counted(plain) == 2 * macs.total


def test_quantization_keeps_the_macs_and_an_adapter_adds_its_own(
    folders: dict[str, Path],
) -> None:
    quantized, base = (Checkpoint(folders[name]) for name in ("Q", "base"))
    assert serving.macs(quantized) == serving.macs(base)
    adapted = Checkpoint(folders["Q-FT"])
    exact = serving.exact(adapted, adapted.served(CPU))
    added = exact["macs_1x64"].pop("adapter")
    assert added == 64 * adapted.manifest["parameters"]["trainable"] > 0
    assert exact["macs_1x64"]["total"] == serving.macs(adapted).total + added


def test_the_plan_counts_the_same_input() -> None:
    assert sheet.PROMPT == serving.PROMPT


@pytest.mark.parametrize("name", ["base", "P", "Q", "Q-FT"])
def test_bytes_in_memory_are_those_of_the_formulas(name: str, folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint(folders[name])
    stored, model = checkpoint.manifest["bytes"], checkpoint.served(CPU)
    four_bit = models.kernels(model, "Linear4bit")
    assert bool(four_bit) == name.startswith("Q")  # served by its own kernels
    # two tables of rotary frequencies, half a head each; the mean of the scales of each linear
    head_dim = model.config.hidden_size // model.config.num_attention_heads
    beside = storage.FP32 * (head_dim + len(four_bit))
    exact = serving.exact(checkpoint, model)
    assert exact["memory_bytes"] == stored["analytic"] + beside
    assert exact["disk_bytes"] == stored["model"] > stored["analytic"]
    assert exact["parameters"] >= exact["nonzero"] > 0


# --- what is timed --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base", "Q", "Q-FT"])
def test_what_is_timed_is_greedy_generation(name: str, folders: dict[str, Path]) -> None:
    model = Checkpoint(folders[name]).served(CPU)
    prompts = torch.arange(20, 44).reshape(2, 12)
    taken, tokens = serving.answer(model, prompts, 6)
    expected = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=6, min_new_tokens=6,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    assert torch.equal(tokens, expected[:, 12:])
    assert taken.prefill_s > 0 < taken.decode_s


def test_figures_of_known_rounds() -> None:
    """Three rounds of 2 answers of 5 tokens: 4 decoding steps each."""
    its = serving.figures([Round(1.0, 4.0), Round(3.0, 2.0), Round(2.0, 8.0)], 2, 5)
    assert its["prefill_s"] == {"median": 2.0, "min": 1.0, "max": 3.0, "values": [1.0, 3.0, 2.0]}
    assert its["decode_s_per_token"]["values"] == [1.0, 0.5, 2.0]
    assert its["tokens_per_s"]["values"] == [2.0, 2.0, 1.0]
    assert its["tokens_per_s"]["median"] == 2.0


def test_warm_up_is_not_timed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five rounds the two first are left out."""
    rounds, told = [], iter(range(1, 6))

    def answer(model: Any, prompts: torch.Tensor, new_tokens: int) -> tuple[Round, torch.Tensor]:
        rounds.append((tuple(prompts.shape), new_tokens))
        return Round(float(next(told)), 1.0), prompts

    monkeypatch.setattr(serving, "answer", answer)
    found = serving.measure(Checkpoint(lab.base).served(CPU), 3, SHORT)
    assert rounds == [((3, 9), 5)] * 5
    assert found["prefill_s"]["values"] == [3.0, 4.0, 5.0]


# --- energy ---------------------------------------------------------------------------------


def package(powercap: Path, number: int, micro: int, limit: int = 1000_000_000) -> None:
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{micro}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")


def test_energy_of_all_packages_and_over_a_wrap(tmp_path: Path) -> None:
    package(tmp_path, 0, 999_000_000)
    package(tmp_path, 1, 5_000_000)
    part = tmp_path / "intel-rapl:0:0"  # a part of package 0 must not count twice
    part.mkdir()
    meter = energy.meter(CPU, tmp_path)
    assert meter is not None
    assert meter.joules() == 0
    package(tmp_path, 0, 2_000_000)  # 1 J to the end of its range, then 2 J
    package(tmp_path, 1, 9_000_000)
    assert meter.joules() == pytest.approx(3 + 4)
    package(tmp_path, 1, 9_500_000)
    assert meter.joules() == pytest.approx(7.5)


def test_without_a_counter_there_is_no_energy(tmp_path: Path) -> None:
    assert energy.meter(CPU, tmp_path / "absent") is None
    (tmp_path / "intel-rapl:0").mkdir()  # a counter that cannot be read
    assert energy.meter(CPU, tmp_path) is None


def test_the_energy_of_a_batch_is_a_token_s(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 J over 3 repeats of 2 answers of 5 tokens."""
    readings = iter([100.0, 130.0])
    meter = SimpleNamespace(source="a stand-in", joules=lambda: next(readings))
    monkeypatch.setattr(energy, "meter", lambda device: meter)
    found = serving.measure(Checkpoint(lab.base).served(CPU), 2, SHORT)
    assert found["joules_per_token"] == pytest.approx(1.0)
    assert found["energy_source"] == "a stand-in"


# a function of the driver, the C type of its answer, and how a GPU at work fills it
ANSWERS: dict[str, tuple[Any, Any]] = {
    "nvmlDeviceGetUtilizationRates": (
        ctypes.c_uint * 2, lambda a: a.contents.__setitem__(slice(0, 2), [73, 21]),
    ),
    "nvmlDeviceGetMemoryInfo": (
        ctypes.c_ulonglong * 3, lambda a: a.contents.__setitem__(slice(0, 3), [80, 50, 30]),
    ),
    "nvmlDeviceGetTotalEnergyConsumption": (
        ctypes.c_ulonglong, lambda a: setattr(a.contents, "value", 12_500),
    ),
}  # fmt: skip


def drive(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Put C functions in the driver's place: what they write goes through the real structures."""

    def function(name: str) -> Any:
        kind, fill = ANSWERS[name]
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(kind))

        @prototype
        def call(handle: int, answer: Any) -> int:
            fill(answer)
            return code

        # a reference to another structure of the same layout, as C takes it
        return lambda handle, answer: call(handle, ctypes.cast(answer, call.argtypes[1]))

    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", function)


def test_what_the_driver_writes_is_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, pynvml.NVML_SUCCESS)
    one = gpu.Gpu(ctypes.c_void_p())
    assert (one.utilization(), one.memory_used(), one.joules()) == (73.0, 30, 12.5)


def test_what_a_gpu_does_not_tell_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        drive(patch, pynvml.NVML_ERROR_NOT_SUPPORTED)
        refusing = gpu.Gpu(ctypes.c_void_p())
        assert (refusing.utilization(), refusing.memory_used(), refusing.joules()) == (None,) * 3
    for library in ("libno-such-library.so.1", "libc.so.6"):  # the second without these functions
        loading = partial(ctypes.CDLL, library)
        with monkeypatch.context() as patch:
            patch.setattr(pynvml, "nvmlLib", None)
            patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
            patch.setattr(pynvml, "CDLL", lambda _, load=loading: load())
            assert gpu.known("GPU-0") is None
            assert gpu.Gpu(ctypes.c_void_p()).joules() is None


# --- the commands ---------------------------------------------------------------------------


def test_the_commands_and_what_they_write(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--batch-sizes=1,3", "--prompt=9", "--new-tokens=5", "--repeats=2", "--warmup=0"]
    records = []
    for name in ("base", "Q-FT"):
        costs = tmp_path / "seed4" / "costs" / name
        serve = ["--checkpoint", folders[name], "--costs", costs, *flags]
        if name == "base":  # as a user does, and in this process
            done = cli("serve", *serve)
            assert done.returncode == 0, done.stderr
            told = done.stderr
        else:
            with caplog.at_level("INFO", "compression_order"):
                inside("serve", *serve)
            told = caplog.text
        assert told.count(f"[{folders[name].name} serving] batch") == 2
        records.append(costs / "serving.json")
    record = json.loads(records[1].read_text())
    assert {"startup_s", "load_s", "wall_s", "peak_rss_bytes"} <= {*record}
    assert [len(its["prefill_s"]["values"]) for its in record["measured"]] == [2, 2]
    out = tmp_path / "serving.csv"
    done = cli("collect", "serving", "--study=tiny", "--out", out, "--records", *records)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    keys = [(row["pipeline"], row["seed"], row["batch"]) for row in rows]
    assert keys == [(name, "4", batch) for name in ("base", "Q-FT") for batch in "13"]
    assert all(cell for row in rows for cell in row.values())
    for row, its in zip(rows[2:], record["measured"], strict=True):
        assert int(row["memory_bytes"]) == record["exact"]["memory_bytes"]
        median = its["tokens_per_s"]["median"]
        assert float(row["tokens_per_s_median"]) == pytest.approx(median, rel=1e-5)
        assert float(row["prefill_s_min"]) <= float(row["prefill_s_max"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--repeats=0"], "--repeats: 0 must be at least 1"),
        (["--new-tokens=1"], "--new-tokens: 1 must be at least 2"),
        (["--warmup=-1"], "--warmup: -1 must be at least 0"),
        (["--batch-sizes=2,0"], "--batch-sizes: 0 must be at least 1"),
        (["--batch-sizes=two"], "--batch-sizes: 'two' are not whole numbers; write them as 1,4"),
        (["--prompt=100000"], "make one of them smaller"),
    ],
)
def test_bad_settings_are_one_sentence(
    flags: list[str], words: str, lab: Lab, tmp_path: Path
) -> None:
    told = ["--checkpoint", lab.base, "--costs", tmp_path, *flags]
    with pytest.raises(HarnessError) as fault:
        inside("serve", *told)
    assert words in str(fault.value)
    assert not list(tmp_path.iterdir())


def test_a_pipeline_without_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as fault:
        inside("serve", "--checkpoint", tmp_path / "P-Z", "--costs", tmp_path / "costs")
    expected = f"{tmp_path}/P-Z/checkpoint.json does not exist; run the step that writes it"
    assert str(fault.value).startswith(expected)
    assert "\n" not in str(fault.value)


def test_a_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "seed0/costs/P/serving.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"measured": [{"batch": 1}]}')
    with pytest.raises(HarnessError, match=f"{path} is not whole .KeyError: 'exact'.; delete it"):
        inside("collect", "serving", "--study=x", "--records", path, "--out", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


# --- the study and the workflow -------------------------------------------------------------


def with_serving(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SMOKE), "serving": {**SERVING, **changes}}


def test_a_study_says_what_is_measured() -> None:
    made = parse.build(with_serving(), "smoke", ROOT)
    assert made.serving_flags() == [
        *("--batch-sizes=1,2", "--device=cpu", "--new-tokens=4"),
        *("--prompt=8", "--repeats=2", "--warmup=1"),
    ]
    assert parse.build(SMOKE, "smoke", ROOT).serving_flags() == []
    assert {*Serving.model_fields} == {*SERVING}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repeats": 0}, "serving.repeats: 0 must be at least 1"),
        ({"batch_sizes": []}, "serving.batch_sizes: [] needs this many entries at least: 1"),
        ({"batches": 4}, "serving: the key 'batches' is not known here"),
        ({"prompt": "long"}, "serving.prompt: 'long' is not a whole number"),
    ],
)
def test_a_bad_study_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HarnessError) as fault:
        parse.build(with_serving(**changes), "smoke", ROOT)
    assert words in str(fault.value)


@pytest.mark.workflow
def test_the_workflow_measures_every_checkpoint_alone_and_only_when_asked(tmp_path: Path) -> None:
    copied = repository(tmp_path / "repository")
    link_archives(copied)
    (copied.root / "studies/served.yaml").write_text(yaml.safe_dump(with_serving()))
    told = {"study": "studies/served.yaml"}
    done = copied.snakemake("serving", "--dry-run", **told)
    assert done.returncode == 0, done.stdout
    plan = done.stdout.split("rule serve:")
    assert len(plan) == 1 + 16
    assert all("threads: 2" in job.split("rule ")[0] for job in plan[1:])
    table = copied.snakemake("results/table.csv", "--dry-run", **told)
    assert "rule measure:" in table.stdout
    assert "rule serve:" not in table.stdout
    # a study that does not say how: one sentence, and nothing else runs
    done = copied.snakemake("serving", study="studies/smoke.yaml")
    assert done.returncode == 1
    assert "serving: the study smoke does not say how to measure it" in done.stdout
    assert not (copied.root / "results/smoke/seed0").exists()
