"""The benchmark program on invented measurements: medians, ratios, rules, page."""

import json
from typing import Any

import performance
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import gauge, given, machine, run, summary
from benchmarks.programs import losses as plain
from benchmarks.ways import COMPARISONS, OURS, WAYS, Way
from compression_order.architecture import shapes
from compression_order.common.errors import HarnessError
from compression_order.methods.logits.settings import Settings
from compression_order.training import losses

PEAK = {"float32": 1e11, "bfloat16": 2e11}


def measured(
    name: str, number: int, cpu: float, value: float = 2.0, gb: float = 3
) -> dict[str, Any]:
    return {
        "comparison": "distillation", "way": name, "round": number, "arithmetic": "float32",
        "units": 100, "cpu_s": cpu, "wall_s": 2 * cpu, "flop": 5e10 * cpu, "peak": PEAK,
        "peak_bytes": gb * 1e9, "value": 2.0,
    }  # fmt: skip


def rounds(*ours: float, other: float = 3.0) -> list[dict[str, Any]]:
    return [
        one
        for number, cpu in enumerate(ours)
        for one in (
            measured(OURS, number, cpu),
            measured("trainer-float32", number, other, gb=4),
        )
    ]


def test_ratios_are_taken_within_a_round_and_then_their_median():
    # a machine that is slow in the second round alone: its ratio is the same
    its = [*rounds(1.0, other=3.0), *rounds(0, 10.0, other=30.0)[2:], *rounds(0, 0, 2.0)[4:]]
    entry = summary.summarize(its)["distillation"]
    assert entry["trainer-float32"]["speed"] == {"median": 3.0, "low": 1.5, "high": 3.0}
    assert entry["trainer-float32"]["speed_by_clock"]["median"] == 3.0
    assert entry["trainer-float32"]["memory"]["median"] == 0.75
    assert entry[OURS]["per_cpu_s"] == {"median": 50.0, "low": 10.0, "high": 100.0}
    assert entry[OURS]["share_of_peak"]["median"] == 0.5
    assert entry[OURS]["rounds"] == 3 and "speed" not in entry[OURS]


@pytest.mark.parametrize(("cpu", "falls"), [(1.0, False), (1.32, False), (1.35, True)])
def test_a_ratio_falls_when_it_loses_a_quarter(cpu, falls):
    stored = summary.summarize(rounds(1.0))
    worse = summary.fallen(summary.summarize(rounds(cpu)), stored)
    assert bool(worse) == falls
    if falls:
        assert "speed of ours to HF Trainer, float32 is 2.22, and was 3.00" in run.sentence(worse)


def test_more_memory_is_a_fall_and_more_speed_is_none():
    stored = summary.summarize(rounds(1.0))
    found = summary.summarize(
        [measured(OURS, 0, 0.5, gb=4.1), measured("trainer-float32", 0, 3.0, gb=4)]
    )
    assert "memory" in run.sentence(summary.fallen(found, stored))
    found = summary.summarize(
        [measured(OURS, 0, 0.5, gb=1), measured("trainer-float32", 0, 3.0, gb=4)]
    )
    assert summary.fallen(found, stored) == {}
    assert summary.fallen(found, {}) == {}


def test_a_program_that_computes_something_else_is_refused():
    its = rounds(1.0)
    assert summary.disagreement(its, {"buckets": 2.001}) == ""
    assert "ours computes 2 where 2.1 is wanted" in summary.disagreement(its, {"buckets": 2.1})
    its[1]["value"] = 2.1  # ours is the reference where there is none
    assert "HF Trainer, float32 computes 2.1" in summary.disagreement(its, {})
    its[1]["value"] = float("nan")
    assert "computes nan" in summary.disagreement(its, {})


def fake(monkeypatch, tmp_path, seconds: list[float]) -> None:
    """Let `quick` see these CPU seconds of ours, one a measurement, in place of processes."""
    left = iter(seconds)

    def process(self: run.Session, name: str, python: Any, module: str, *arguments: str) -> str:
        if module == "prepare":
            (self.folder / "given.json").write_text(json.dumps({"references": {}}))
            return ""
        if arguments == ("peak",):
            return json.dumps(PEAK)
        comparison, way, _ = arguments
        cpu = next(left) if (comparison, way) == ("distillation", OURS) else 3.0
        told = measured(way, 0, cpu)
        del told["round"], told["peak"]
        return json.dumps({**told, "comparison": comparison})

    monkeypatch.setattr(run.Session, "_process", process)
    monkeypatch.setattr(run, "WORK", tmp_path / "work")
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "_git", lambda *_: "abc")
    monkeypatch.setattr(Way, "python", tmp_path)


def test_quick_fails_after_a_second_measurement(monkeypatch, tmp_path, capsys):
    fake(monkeypatch, tmp_path, [1.0] * 3 + [1.1, 1.5, 1.2, 1.5, 1.6])
    run.quick("some-cpu")
    assert "nothing is compared" in capsys.readouterr().out
    run.full("some-cpu", 1, ["distillation"])
    assert json.loads((tmp_path / "results/some-cpu.json").read_text())["quick"]
    capsys.readouterr()
    run.quick("some-cpu")
    assert "measured once more" not in capsys.readouterr().out
    run.quick("some-cpu")  # 1.5, then 1.2 when measured once more
    assert "measured once more" in capsys.readouterr().out
    with pytest.raises(HarnessError, match=r"HF Trainer, float32 is 1\.88, and was 3\.00"):
        run.quick("some-cpu")


def test_the_order_turns_with_the_round(monkeypatch, tmp_path):
    fake(monkeypatch, tmp_path, [1.0] * 3)
    session = run.Session("quick", [way for way in WAYS if way.quick])
    session.prepare()
    first, second = ([m["way"] for m in session.round(number)] for number in (0, 1))
    assert second == [*first[1:], first[0]]


def test_a_missing_environment_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.ways.ROOT", tmp_path)
    with pytest.raises(HarnessError, match=r"\.venv-benchmark does not exist.*make benchmark-env"):
        run.Session("full", [w for w in WAYS if w.name == "gkd-bf16"]).prepare()


@pytest.mark.parametrize(
    ("model", "flags", "expected"),
    [
        ("AMD EPYC 9B14", "avx2 avx512f avx512_bf16", "amd-epyc-avx512-bf16-torch2.13.0"),
        (
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            "avx2 avx512f avx512_bf16 amx_bf16",
            "intel-xeon-amx-torch2.13.0",
        ),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "sse avx2", "intel-xeon-avx2-torch2.13.0"),
    ],
)
def test_the_kind_of_a_machine(model, flags, expected):
    text = f"processor\t: 0\nmodel name\t: {model}\nflags\t\t: {flags}\n"
    assert machine.kind(text, "2.13.0+cpu") == expected


def test_every_way_belongs_to_a_comparison_with_ours():
    names = [(way.comparison, way.name) for way in WAYS]
    assert len(set(names)) == len(names)
    assert {c.name for c in COMPARISONS} == {c for c, name in names if name == OURS}
    quick = {(way.comparison, way.name) for way in WAYS if way.quick}
    assert all((comparison, OURS) in quick for comparison, _ in quick)
    assert {way.environment for way in WAYS if way.quick} == {".venv"}


def test_the_loss_of_the_peers_is_ours():
    """Written with autograd by the one, with its gradient by the other."""
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 50), torch.randint(50, (5,))
    ids = torch.stack([torch.randperm(50)[:8] for _ in range(5)])
    teacher = torch.randn(5, 50).div(given.TEMPERATURE).softmax(-1)
    top = teacher.gather(-1, ids)
    log_probs = torch.cat([top, 1 - top.sum(-1, keepdim=True)], -1).log()
    settings = Settings(temperature=given.TEMPERATURE, alpha=given.ALPHA)
    divergence = losses.bucket_kl(ids, log_probs, settings.temperature)
    ours = losses.distillation(labels, divergence, settings.temperature, settings.alpha)
    value, _ = ours(logits, slice(0, 5))
    theirs = plain.bucket_loss(logits, labels, ids, log_probs)
    assert torch.allclose(value / 5, theirs, rtol=1e-5)
    # all ids in their own buckets: the divergence over the whole vocabulary
    every = torch.arange(50).expand(5, -1)
    empty = torch.full((5, 1), -80.0)
    scores = torch.randn(5, 50)
    whole = (scores / given.TEMPERATURE).log_softmax(-1)
    full = plain.vocabulary_loss(logits, labels, scores)
    divergence = losses.bucket_kl(every, torch.cat([whole, empty], -1), given.TEMPERATURE)
    cut = losses.distillation(labels, divergence, given.TEMPERATURE, 0.5)
    assert torch.allclose(cut(logits, slice(0, 5))[0] / 5, full, rtol=1e-4)


def test_the_gauge_counts_what_runs():
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=64, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    shape = shapes.from_config(config.to_dict(), "config.json")
    forward = 2 * shapes.macs(shape, 2, 7, 14).total
    its = gauge.Gauge()
    its.watch(model)
    ids = torch.ones(2, 7, dtype=torch.long)
    its.mark()
    with torch.no_grad():
        model(input_ids=ids)
    its.mark()
    assert its.measured()["flop"] == forward
    model(input_ids=ids).logits.sum().backward()
    its.mark()
    assert its.measured()["flop"] == 4 * forward


def test_steps_are_marked_by_any_optimizer():
    its = gauge.Gauge()
    its.mark_steps()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([weight])
    for _ in range(3):
        weight.sum().backward()
        optimizer.step()
    assert len(its._marks) == 3


def test_the_page_and_the_figure_show_the_data():
    section = {
        "sizes": {},
        "peak_flop_per_cpu_s": {n: summary.spread([rate]) for n, rate in PEAK.items()},
        "comparisons": summary.summarize(rounds(1.0, 1.0)),
    }
    facts = {"kind": "some-cpu", "processor": "A CPU", "commit": "abc", "date": "2026-01-01"}
    page = performance.write([{**facts, "full": section}])
    assert "## some-cpu" in page and "100 GFLOP a CPU second in float32" in page
    (line,) = [row for row in page.splitlines() if row.startswith("| HF Trainer, float32")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:8] == [
        "33.33", "3.00 (3.00 to 3.00)", "1.3", "3.00", "4.00 GB", "0.75 (0.75 to 0.75)", "0.9",
    ]  # fmt: skip
    drawn = performance.draw([{**facts, "full": section}])
    assert "HF Trainer, float32" in drawn and "some-cpu" in drawn
    assert performance.NONE in performance.write([])
