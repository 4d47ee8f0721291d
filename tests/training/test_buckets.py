"""A top-k of the teacher against its exact distribution, and what it leaves out."""

from pathlib import Path

import pytest
import torch
from lab import SEQ_LEN, Lab, cli, inside
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from compression_order.common.errors import HarnessError
from compression_order.text import chat
from compression_order.training import buckets, teacher

CPU = torch.device("cpu")
VOCABULARY, K = 49152, 64
TEMPERATURES = (1.0, 1.5, 2.0, 4.0, 10.0)
# nats of KL(exact || cached): interpolating the tail, and storing log-probabilities in fp16
INTERPOLATION, STORAGE = 1e-4, 1e-6


def exact_tail(log_probs: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """log of the sum of p^(1/T) over the ids that are not kept, [tokens]."""
    rest = (log_probs / temperature).scatter(-1, ids, -torch.inf)
    return rest.logsumexp(-1)


def kl(log_p: Tensor, log_q: Tensor) -> float:
    """The largest KL of a token, nats."""
    return float((log_p.exp() * (log_p - log_q)).sum(-1).max())


def heavy_tailed(seed: int = 0) -> LlamaForCausalLM:
    """A model of 49,152 ids; rows of its head differ in length, which makes the tails heavy."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    lengths = 2.5 / (torch.randn(VOCABULARY, 1, 5).square().mean(-1)).sqrt()
    model.lm_head.weight.data = torch.randn(VOCABULARY, 32) / 32**0.5 * lengths
    return model


@pytest.fixture(scope="module")
def realistic(tmp_path_factory: pytest.TempPathFactory) -> tuple[teacher.Cache, Tensor]:
    """A cache of heavy-tailed logits, and their log-probabilities in float64.

    The logits of a token have a standard deviation between 3 and 5: one of SmolLM2-135M's on
    chat text has 3.7.
    """
    model = heavy_tailed()
    ids = torch.randint(VOCABULARY, (25,)).tolist()
    path = tmp_path_factory.mktemp("teacher") / "cache.safetensors"
    teacher.write(path, model, [chat.Encoded(0, ids, ids)], K, model.config.vocab_size, "teacher")
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    deviations = logits.std(-1)
    assert deviations.min() > 2
    assert deviations.max() < 6
    asked = teacher.key([chat.Encoded(0, ids, ids)], K)
    return teacher.Cache(path, asked), logits.double().log_softmax(-1)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_buckets_equal_the_exact_distribution(
    realistic: tuple[teacher.Cache, Tensor], temperature: float, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, log_probs = realistic
    ids, found = cache.buckets([0], temperature, CPU)
    assert torch.equal(ids, log_probs.topk(K).indices)
    top, tail = log_probs.gather(-1, ids), exact_tail(log_probs, ids, temperature)
    tail = tail[:, None]
    exact = torch.cat([top / temperature, tail], -1).log_softmax(-1)
    stored = torch.cat([top.half().double() / temperature, tail], -1).log_softmax(-1)
    # the definition: tempered probabilities, the ids' own and the sum of the others
    tempered = (log_probs / temperature).softmax(-1)
    by_definition = torch.cat(
        [tempered.gather(-1, ids), tempered.scatter(-1, ids, 0).sum(-1, keepdim=True)], -1
    )
    torch.testing.assert_close(exact.exp(), by_definition, rtol=1e-9, atol=1e-14)
    interpolation, storage = kl(stored, found.double()), kl(exact, stored)
    with capsys.disabled():
        errors = (found.double() - stored).abs().max(), (stored - exact).abs().max()
        print(
            f"\nT {temperature:g}, {buckets.NODES} nodes: interpolation {errors[0]:.1e} in a "
            f"log-probability, KL {interpolation:.1e}; fp16 {errors[1]:.1e}, KL {storage:.1e}",
            end="",
        )
    assert abs(interpolation) < INTERPOLATION
    assert abs(storage) < STORAGE
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(len(found)))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_mass_of_the_tail_is_recorded(
    realistic: tuple[teacher.Cache, Tensor], temperature: float
) -> None:
    cache, log_probs = realistic
    tempered = (log_probs / temperature).softmax(-1)
    rest = tempered.scatter(-1, log_probs.topk(K).indices, 0).sum(-1).mean()
    assert cache.losses_of_top_k(temperature) == {"tail_mass": pytest.approx(float(rest), abs=2e-3)}


def test_the_share_that_is_kept_is_that_of_the_definition() -> None:
    ours, theirs = heavy_tailed(0), heavy_tailed(1)
    theirs.lm_head.weight.data.mul_(0.1).add_(ours.lm_head.weight.data)
    ids = torch.randint(VOCABULARY, (25,)).tolist()
    text = [chat.Encoded(0, ids, ids)]
    temperatures = [1.0, 2.0, 4.0]
    found = buckets.measured(ours, theirs, text, K, VOCABULARY, temperatures)
    assert found["temperatures"].tolist() == temperatures
    with torch.no_grad():
        logits = [m(torch.tensor([ids])).logits[0, :-1].double() for m in (ours, theirs)]
    kept_ids = logits[0].topk(K).indices
    for temperature, share in zip(temperatures, found["kl_kept"].tolist(), strict=True):
        p, q = ((z / temperature).softmax(-1) for z in logits)
        exact = (p * (p / q).log()).sum()
        both = [
            torch.cat([d.gather(-1, kept_ids), d.scatter(-1, kept_ids, 0).sum(-1)[:, None]], -1)
            for d in (p, q)
        ]
        bucketed = (both[0] * (both[0] / both[1]).log()).sum()
        assert share == pytest.approx(float(bucketed / exact), rel=1e-3)
        assert 0 < share < 1


@pytest.fixture(scope="module")
def told(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache of the likeliest four ids from another teacher than the student, and stderr."""
    folder = tmp_path_factory.mktemp("top_k")
    tuned = folder / "made" / "P"
    lab.stage(lab.base, tuned)
    source = ["--student", lab.base, "--model", tuned, *lab.read(), f"--seq-len={SEQ_LEN}"]
    out = folder / "cache.safetensors"
    asked = ["--top-k=4", "--temperatures=1.0,4.0", "--costs", folder / "costs", "--out", out]
    return out, cli("teach", *source, *asked).stderr


def test_a_top_k_that_loses_the_divergence_is_warned_of(told: tuple[Path, str]) -> None:
    lines = [line for line in told[1].splitlines() if line.startswith("warning:")]
    assert any("top_k 4 at temperature 4 keeps" in line for line in lines)
    assert all("set top_k: 0 for the exact one" in line for line in lines)


def test_a_stage_records_what_its_top_k_leaves_out(
    lab: Lab, told: tuple[Path, str], tmp_path: Path
) -> None:
    def record(temperature: float) -> dict[str, float]:
        flags = ("--teacher-outputs", told[0], "--top-k=4", f"--temperature={temperature}")
        manifest = lab.stage(lab.base, tmp_path / str(temperature) / "KD", *flags)
        its: dict[str, float] = manifest["claims"]["teacher"]
        return its

    one, four, other = record(1.0), record(4.0), record(2.0)
    assert 0 < one["tail_mass"] < other["tail_mass"] < four["tail_mass"] < 1
    assert 0 < four["kl_kept"] < one["kl_kept"] < 1
    assert "kl_kept" not in other  # a temperature that was not asked for
    assert one["outputs"] == four["outputs"]


def test_more_ids_than_the_vocabulary_has_are_refused(lab: Lab, tmp_path: Path) -> None:
    source = ["--student", lab.base, *lab.read(), "--costs", tmp_path / "costs"]
    out = tmp_path / "cache.safetensors"
    with pytest.raises(HarnessError, match="top_k 512 leaves nothing of the vocabulary of 512"):
        inside("teach", *source, "--top-k=512", "--out", out)
    assert not out.exists()
