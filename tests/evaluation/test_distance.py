"""Commutators: the swaps of a study, the divergence of two checkpoints, and the commands."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import Lab, cli, inside
from torch.nn import functional
from transformers import AutoTokenizer
from workflow_fixtures import link_archives, repository

from compression_order import orderings
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common.errors import HarnessError
from compression_order.evaluation import distance, perplexity, samples
from compression_order.study.settings import Opening


def test_swaps_are_of_two_neighbours_and_nothing_else() -> None:
    rows = ["base", "P", "Q", "P-Q", "Q-P", "P-KD-Q", "P-Q-KD", "Q-KD-P", "KD-P-Q", "P-P"]
    assert orderings.swaps(rows) == [
        *(("P-Q", "Q-P"), ("P-KD-Q", "P-Q-KD"), ("P-KD-Q", "KD-P-Q")),
    ]
    assert orderings.swapped("KD-P-Q", "KD-Q-P") == 1
    assert orderings.swapped("P-KD-Q", "Q-KD-P") is None
    assert orderings.swapped("P", "P-Q") is None


@pytest.fixture(scope="module")
def both(lab: Lab) -> tuple[samples.Sample, perplexity.Reference, perplexity.Reference]:
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    models = (Checkpoint(folder).model(torch.bfloat16) for folder in (lab.base, lab.quantized))
    first, second = (perplexity.reference(model, sample) for model in models)
    return sample, first, second


def test_the_divergence_is_torchs(
    both: tuple[samples.Sample, perplexity.Reference, perplexity.Reference],
) -> None:
    sample, first, second = both
    found = list(distance.apart(first, second))
    assert len(found) == len(sample.sequences)
    for nth, its in enumerate(found):
        a, b = (m.logits(nth, slice(None)).double().log_softmax(-1) for m in (first, second))
        forward = functional.kl_div(b, a, log_target=True, reduction="none").sum(-1)
        backward = functional.kl_div(a, b, log_target=True, reduction="none").sum(-1)
        torch.testing.assert_close(its.forward, forward, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(its.backward, backward, rtol=1e-3, atol=1e-6)
        assert torch.equal(its.agree, a.argmax(-1) == b.argmax(-1))
    assert sum(float(its.forward.sum()) for its in found) > 0


def test_a_model_is_not_apart_from_itself(
    both: tuple[samples.Sample, perplexity.Reference, perplexity.Reference],
) -> None:
    sample, first, _ = both
    found = list(distance.apart(first, first))
    told = distance.record({"first": "P", "second": "P"}, sample.digest, found)
    assert told["kl_first_second"] == {"mean": 0, "se": 0}
    assert told["top1"]["mean"] == 1
    assert told["tokens"] == sum(len(ids) - sample.context for ids in sample.sequences)


def test_other_samples_and_vocabularies_are_refused(
    both: tuple[samples.Sample, perplexity.Reference, perplexity.Reference],
) -> None:
    _, first, second = both
    with pytest.raises(HarnessError, match="different samples"):
        list(distance.apart(first, perplexity.Reference(second.head, second.states, "other")))
    cut = perplexity.Reference(second.head[:-1], second.states, second.digest)
    with pytest.raises(HarnessError, match="vocabularies of"):
        list(distance.apart(first, cut))


def written(folder: Path, lab: Lab) -> tuple[Path, dict[str, Any]]:
    """The record of `base` and `Q`, with the evaluations that the table reads beside it."""
    seed = folder / "seed0"
    out = seed / "commutators" / "base~Q.json"
    places = [seed / "checkpoints" / name for name in ("base", "Q")]
    for place, origin in zip(places, (lab.base, lab.quantized), strict=True):
        shutil.copytree(origin, place)
    inside(
        *("compare", "--first", places[0], "--second", places[1], "--out", out),
        *("--text", lab.chats, "--splits", lab.splits, "--costs", folder / "costs"),
    )
    record = json.loads(out.read_text())
    for name, kl in (("base", 0.0), ("Q", 0.25)):
        fidelity = seed / "evaluations" / name / "fidelity.json"
        fidelity.parent.mkdir(parents=True)
        fidelity.write_text(json.dumps({"sample_sha256": record["sample_sha256"], "kl": kl}))
    return out, record


def test_the_commands(lab: Lab, tmp_path: Path) -> None:
    path, record = written(tmp_path, lab)
    assert record["kl_first_second"]["mean"] > 0 < record["kl_first_second"]["se"]
    assert (tmp_path / "costs" / "compare.json").exists()
    out = tmp_path / "commutators.csv"
    flags = ("commutators", "--study=tiny", "--out", out, "--records", path)
    done = cli("collect", *flags)
    assert done.returncode == 0, done.stderr
    (line,) = csv.DictReader(out.open())
    assert (line["first"], line["second"], line["seed"]) == ("base", "Q", "0")
    assert float(line["kl_first_second"]) == pytest.approx(
        record["kl_first_second"]["mean"], abs=1e-5
    )
    assert (line["kl_base_first"], line["kl_base_second"]) == ("0.00000", "0.25000")
    # a damaged record, one of another sample, and no record: one sentence each, the file stays
    before = out.read_bytes()
    scored = tmp_path / "seed0/evaluations/Q/fidelity.json"
    scored.write_text(json.dumps({"sample_sha256": "other", "kl": 0}))
    for change, words in (
        (None, "are of different samples"),
        (json.dumps({"first": "base"}), "is not whole (KeyError: 'second')"),
    ):
        if change:
            path.write_text(change)
        with pytest.raises(HarnessError) as fault:
            inside("collect", *flags)
        assert words in str(fault.value)
        assert "\n" not in str(fault.value)
    with pytest.raises(HarnessError, match="no two pipelines of the study tiny differ by a swap"):
        inside("collect", "commutators", "--study=tiny", "--out", out)
    assert out.read_bytes() == before


@pytest.mark.workflow
def test_the_workflow_compares_every_swap_and_only_when_asked(tmp_path: Path) -> None:
    copied = repository(tmp_path / "repository")
    link_archives(copied)
    done = copied.snakemake("commutators", "--dry-run")
    assert done.returncode == 0, done.stdout
    # P-Q, P-KD and KD-Q with their swaps, and six swaps of neighbours among six orders of three
    assert done.stdout.count("rule compare:") == 9
    table = copied.snakemake("results/table.csv", "--dry-run")
    assert "rule compare:" not in table.stdout
