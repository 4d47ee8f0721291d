"""The real SmolLM2-135M-Instruct: what the tiny model cannot show."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import Lab, cli
from transformers import AutoModelForCausalLM, AutoTokenizer

from compression_order.checkpoint.forms import nf4
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.evaluation import perplexity, samples
from compression_order.text import chat

pytestmark = pytest.mark.slow

QUESTIONS = (
    "Why do leaves change color in autumn?",
    "How can I keep bread fresh for longer?",
    "What is the capital of France, and what is it known for?",
    "Give me three tips for learning a new language.",
)
ANSWERS = (
    "In autumn the days become shorter and cooler, and trees stop making chlorophyll, the green "
    "pigment that they use to turn sunlight into food. As the green fades, the yellow and orange "
    "pigments that were in the leaves all along become visible. Some trees also make red pigments "
    "from the sugar that is left in their leaves.",
    "Store bread in a paper bag or a bread box at room temperature, away from direct sunlight. "
    "Do not keep it in the refrigerator, because cold air makes it stale faster. If you cannot "
    "eat it within a few days, slice it and put it in the freezer, and toast the slices when "
    "you need them.",
    "The capital of France is Paris. It is known for the Eiffel Tower, the Louvre Museum, the "
    "cathedral of Notre-Dame, and its food, fashion and art. The river Seine runs through the "
    "middle of the city.",
    "1. Practice every day, even if it is only for ten minutes. 2. Listen to music and watch "
    "films in the language, so that you get used to how it sounds. 3. Speak with other people as "
    "early as you can, and do not be afraid to make mistakes.",
)


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Path:
    """The prepared model."""
    return smollm2


@pytest.fixture(scope="module")
def sample(model: Path) -> samples.Sample:
    """Four conversations as people have them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    pairs = enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    numbered = [
        (i, {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]})
        for i, (q, a) in pairs
    ]
    return samples.Sample("documents", [d.ids for d in chat.encode(tokenizer, numbered)])


@pytest.fixture(scope="module")
def quantized(model: Path, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model in NF4, made by the commands of the README."""
    folder = tmp_path_factory.mktemp("real")
    base, out, costs = folder / "base", folder / "Q", ["--costs", folder / "costs"]
    made = cli("base", "--model", model, "--out", base, *costs)
    assert made.returncode == 0, made.stderr
    flags = ["--parent", base, "--out", out, "--pipeline=Q", *lab.read(), "--work", folder / "work"]
    made = cli("quantize", *flags, *costs)
    assert made.returncode == 0, made.stderr
    return out


def test_perplexity_is_transformers_own(model: Path, sample: samples.Sample) -> None:
    loaded = Checkpoint(model).model(torch.bfloat16)
    losses = []
    for sequence in sample.sequences:
        ids = torch.tensor([sequence])
        with torch.no_grad():
            losses.append(float(loaded(input_ids=ids, labels=ids).loss.double()))
    against = perplexity.reference(loaded, sample)
    scores = perplexity.score(loaded, sample, against)
    # a batch adds the products of bf16 in another order than a sequence alone
    assert scores.losses == pytest.approx(losses, rel=2e-3)
    expected = math.exp(sum(losses) / len(losses))
    assert perplexity.perplexity(sample, scores) == pytest.approx(expected, rel=2e-3)
    assert 1.5 < expected < 40
    record = perplexity.fidelity_record("chats", sample, scores)
    assert record["kl"] == 0
    assert record["top1_agreement"] == 1


def test_the_size_of_the_4_bit_model(quantized: Path) -> None:
    manifest = files.read_json(quantized / "checkpoint.json")
    assert manifest["bytes"]["analytic"] == 111_691_056
    assert manifest["claims"]["quantized_linears"] == 30 * 7
    assert manifest["parameters"]["total"] == 134_515_008
    size = manifest["bytes"]
    assert size["model"] == 111_691_056 + size["header"] + size["metadata"]
    assert (quantized / "model.safetensors").stat().st_size == size["model"]


def test_the_dequantized_copy_scores_as_the_4_bit_kernels_do(
    quantized: Path, model: Path, sample: samples.Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifty times nearer than quantization moves the model, so the copy may be scored instead.

    The two are equal to the bit where the 4-bit model is not packed (test_stages.py); the packed
    kernels of a CPU with AVX512-BF16 round the scales of the blocks to bf16.
    """
    kernels = AutoModelForCausalLM.from_pretrained(quantized).eval()
    copy = Checkpoint(quantized).model(torch.bfloat16)
    base = Checkpoint(model).model(torch.bfloat16)
    single = Checkpoint(quantized).model(torch.float32)

    def apart(one: Any, other: Any) -> dict[str, Any]:
        scores = perplexity.score(other, sample, perplexity.reference(one, sample))
        ppl = perplexity.perplexity(sample, scores)
        return perplexity.fidelity_record("chats", sample, scores) | {"perplexity": ppl}

    found = {
        "4-bit kernels || copy": apart(kernels, copy),
        "copy in fp32 || copy": apart(single, copy),
        "base || copy": apart(base, copy),
        "base || 4-bit kernels": apart(base, kernels),
    }
    with capsys.disabled():
        for name, record in found.items():
            print(
                f"\nKL({name}) {record['kl']:.1e}, top-1 agreement "
                f"{record['top1_agreement']:.4f}, perplexity {record['perplexity']:.4f}",
                end="",
            )
    one, other = found["4-bit kernels || copy"], found["base || copy"]
    # about as far apart as the copy is from itself with fp32 products
    assert one["kl"] < 1e-2
    assert one["kl"] < 3 * found["copy in fp32 || copy"]["kl"]
    assert one["kl"] < 0.02 * other["kl"]
    assert one["top1_agreement"] > 0.96
    theirs = found["base || 4-bit kernels"]["perplexity"]
    assert other["perplexity"] == pytest.approx(theirs, rel=0.03)


def test_requantizing_the_real_model(quantized: Path, model: Path) -> None:
    """Relative to the weights, next to nothing; the 4-bit codes are the same."""
    tensors = nf4.dequantized(quantized / "model.safetensors")
    names = [name for name in tensors if name.endswith("down_proj.weight")]
    assert len(names) == 30
    for name in names:
        moved = (nf4.Nf4().rounded(name, tensors[name]) - tensors[name]).float().norm()
        assert moved < 2**-8 * tensors[name].float().norm()
