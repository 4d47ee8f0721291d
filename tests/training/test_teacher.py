"""The teacher's cache against its exact distribution, and whose documents it serves."""

from pathlib import Path

import pytest
import torch
from lab import SEQ_LEN, Lab, inside
from safetensors import safe_open
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.text import chat
from compression_order.training import loop, teacher

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


@pytest.fixture(scope="module")
def realistic(tmp_path_factory: pytest.TempPathFactory) -> tuple[teacher.Cache, Tensor]:
    """A cache of heavy-tailed logits over 49,152 ids, and their log-probabilities in float64.

    The logits of a token have a standard deviation between 3 and 5: one of SmolLM2-135M's on
    chat text has 3.7. Rows of the head differ in length, which makes the tails heavy.
    """
    torch.manual_seed(0)
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
            f"\nT {temperature:g}, {teacher.NODES} nodes: interpolation {errors[0]:.1e} in a "
            f"log-probability, KL {interpolation:.1e}; fp16 {errors[1]:.1e}, KL {storage:.1e}",
            end="",
        )
    assert abs(interpolation) < INTERPOLATION
    assert abs(storage) < STORAGE
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(len(found)))


@pytest.fixture(scope="module")
def tiny(lab: Lab) -> tuple[PreTrainedModel, list[chat.Encoded]]:
    """The tiny model in fp32 and the training documents as a distillation reads them."""
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    numbered = chat.records(lab.chats, lab.splits, "train")
    documents = chat.encode(tokenizer, numbered, SEQ_LEN, mask_prompt=True)
    return Checkpoint(lab.base).model(torch.float32), documents


@pytest.fixture(scope="module")
def cache(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path_factory: pytest.TempPathFactory
) -> teacher.Cache:
    path = tmp_path_factory.mktemp("teacher") / "cache.safetensors"
    teacher.write(path, *tiny, K, tiny[0].config.vocab_size, "teacher")
    return teacher.Cache(path, teacher.key(tiny[1], K))


def test_documents_may_be_asked_for_in_any_order(
    cache: teacher.Cache, tiny: tuple[PreTrainedModel, list[chat.Encoded]]
) -> None:
    first, second, third = (document.index for document in tiny[1][:3])
    whole = cache.buckets([third, first, second], 2.0, CPU)
    apart = [cache.buckets([index], 2.0, CPU) for index in (third, first, second)]
    for part, together in enumerate(whole):
        assert torch.equal(together, torch.cat([one[part] for one in apart]))


def test_the_same_bytes_every_time(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path: Path
) -> None:
    """Metadata of several entries comes out in any order."""
    path = tmp_path / "cache.safetensors"
    made = set()
    for _ in range(8):
        teacher.write(path, tiny[0], tiny[1][:1], K, tiny[0].config.vocab_size, "teacher")
        made.add(files.sha256(path))
    assert len(made) == 1


def test_padding_never_enters(
    cache: teacher.Cache, tiny: tuple[PreTrainedModel, list[chat.Encoded]]
) -> None:
    """Row by row a padded batch's trained positions are the cache's, in the same order."""
    model, documents = tiny
    chosen = [min(documents, key=lambda d: len(d.ids)), max(documents, key=lambda d: len(d.ids))]
    assert len(chosen[0].ids) < len(chosen[1].ids)
    batch = chat.batch(chosen, 2)
    ids, log_probs = cache.buckets(batch.indices, 1.0, CPU)
    counts = [len(document.loss_positions()) for document in chosen]
    assert len(ids) == sum(counts) == len(loop.targets(batch))
    with torch.no_grad():
        logits = model(input_ids=batch.ids, attention_mask=batch.attention).logits
    padded = logits[:, :-1][loop.loss_mask(batch)].log_softmax(-1)
    torch.testing.assert_close(log_probs[:, :-1], padded.gather(-1, ids), rtol=2e-3, atol=1e-3)
    # only the assistant's tokens: the labels are what comes after each kept position
    after = [d.ids[t + 1] for d in chosen for t in d.loss_positions()]
    assert loop.targets(batch).tolist() == after


def encoded(lab: Lab, split: str, seq_len: int, mask_prompt: bool) -> list[chat.Encoded]:
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    return chat.encode(tokenizer, chat.records(lab.chats, lab.splits, split), seq_len, mask_prompt)


def test_the_bf16_cache_that_the_command_line_writes(lab: Lab) -> None:
    asked = encoded(lab, "train", SEQ_LEN, True)
    with safe_open(lab.teacher, "pt") as stored:
        shapes = {name: tuple(stored.get_tensor(name).shape) for name in stored.keys()}
        counts = stored.get_tensor("counts").tolist()
        documents = stored.get_tensor("documents").tolist()
    assert documents == files.read_json(lab.splits)["train"]
    assert shapes["ids"] == shapes["log_probs"] == (sum(counts), K)
    assert shapes["tail"] == (sum(counts), teacher.NODES)
    cache = teacher.Cache(lab.teacher, teacher.key(asked, K))
    assert len(cache.buckets(documents, 2.0, CPU)[0]) == sum(counts)


@pytest.mark.parametrize(
    "change",
    [
        ("held_out", SEQ_LEN, True, K),
        ("train", SEQ_LEN - 1, True, K),
        ("train", SEQ_LEN, False, K),
        ("train", SEQ_LEN, True, 8),
    ],
)
def test_a_cache_of_other_documents_is_refused(
    lab: Lab, change: tuple[str, int, bool, int]
) -> None:
    *how, k = change
    asked = teacher.key(encoded(lab, *how), k)
    with pytest.raises(HarnessError, match=r"was made with other .*; delete it and run again"):
        teacher.Cache(lab.teacher, asked)


def test_a_missing_cache_is_one_sentence(lab: Lab, tmp_path: Path) -> None:
    missing = tmp_path / "none.safetensors"
    with pytest.raises(HarnessError, match=r"none\.safetensors does not exist; run the step that"):
        lab.stage(lab.base, tmp_path / "made" / "KD", "--teacher", missing)
    assert not (tmp_path / "made").exists()


def test_a_stage_with_another_cut_refuses_the_cache(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="was made with other"):
        lab.stage(lab.base, tmp_path / "KD", "--training.seq-len=64")
    assert not (tmp_path / "KD").exists()


def test_a_cache_of_another_split_is_refused(lab: Lab, tmp_path: Path) -> None:
    sizes = ["--train=56", "--calibration=8", "--held-out=6", "--seed=1"]
    inside("split_text", "--text", lab.chats, *sizes, "--out", tmp_path / "splits.json")
    with pytest.raises(HarnessError, match="was made with other"):
        lab.stage(lab.base, tmp_path / "KD", "--splits", tmp_path / "splits.json")


def test_more_ids_than_the_vocabulary_has_are_refused(lab: Lab, tmp_path: Path) -> None:
    source = ["--student", lab.base, *lab.read(), "--costs", tmp_path / "costs"]
    out = tmp_path / "cache.safetensors"
    with pytest.raises(HarnessError, match="top_k 512 leaves nothing of the vocabulary of 512"):
        inside("teach", *source, "--top-k=512", "--out", out)
    assert not out.exists()
