"""Perplexity and fidelity against plain loops, transformers' own loss and lm-eval."""

import math
from pathlib import Path

import pytest
import torch
from lab import Lab, write_lines
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.evaluation import perplexity, samples
from compression_order.study.settings import Opening, Scoring
from compression_order.text import chat
from compression_order.training import forward

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(scope="module")
def tokenizer(lab: Lab) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(lab.base)


def windowed(seq_len: int, max_tokens: int, joined: bool = True) -> Scoring:
    """How a text is cut into windows."""
    return Scoring(seq_len=seq_len, max_tokens=max_tokens, joined=joined)


def base(lab: Lab, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return Checkpoint(lab.base).model(dtype)


def other(lab: Lab, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model that differs from the base: its NF4 weights."""
    return Checkpoint(lab.quantized).model(dtype)


def last(
    model: PreTrainedModel, sample: samples.Sample, against: perplexity.Reference | None = None
) -> perplexity.Scores:
    return perplexity.score(model, sample, against)


def own_losses(model: PreTrainedModel, sample: samples.Sample) -> list[float]:
    """transformers' own mean loss of each sequence."""
    losses = []
    for sequence in sample.sequences:
        ids = torch.tensor([sequence])
        labels = ids.clone()
        labels[:, : sample.context] = chat.IGNORED
        with torch.no_grad():
            losses.append(float(model(input_ids=ids, labels=labels).loss.double()))
    return losses


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_perplexity_is_transformers_own(
    lab: Lab, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> None:
    sample = samples.windows(tokenizer, lab.plain, windowed(64, 0))
    assert {len(s) for s in sample.sequences} == {64}
    text = "\n\n".join(record["text"] for record in files.read_lines(lab.plain))
    ids = tokenizer(text)["input_ids"]
    joined = [token for sequence in sample.sequences for token in sequence]
    assert joined == ids[: len(joined)]
    assert len(ids) - len(joined) < 64
    model = base(lab, dtype)
    total, tokens = 0.0, 0
    for loss in own_losses(model, sample):
        total, tokens = total + 63 * loss, tokens + 63
    record = perplexity.perplexity_record(sample, last(model, sample))
    assert record["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-4)
    assert record["tokens"] == tokens
    assert record["protocol"] == "windows"


@pytest.mark.parametrize("dtype", DTYPES)
def test_documents_perplexity_is_transformers_own(
    lab: Lab, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> None:
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    lengths = [len(sequence) for sequence in sample.sequences]
    assert len(set(lengths)) > 1  # or the mean over documents would be that over tokens
    model = base(lab, dtype)
    losses = own_losses(model, sample)
    record = perplexity.perplexity_record(sample, last(model, sample))
    assert record["perplexity"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-4)
    assert record["losses"] == pytest.approx(losses, rel=1e-4)
    assert record["counts"] == [length - sample.context for length in lengths]
    opening = tokenizer.decode(sample.sequences[0][: sample.context])
    assert "<|im_start|>" in opening  # the template's part, and no more than that
    assert all(tokenizer.decode(s).startswith(opening) for s in sample.sequences)


def test_documents_agree_with_lm_eval_rolling(lab: Lab, tokenizer: PreTrainedTokenizerBase) -> None:
    """Where the definitions coincide.

    lm-eval predicts every token of a text, the first one after a prefix token: the beginning
    of sequence. This project predicts every token but the first. A conversation in the chat
    template begins with just that token, so its text without it, in one window, is the same.
    """
    sequences = samples.documents(tokenizer, lab.chats, lab.splits, Opening()).sequences
    sample = samples.Sample("documents", sequences)
    model = base(lab)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
    scores = last(model, sample)
    texts = [tokenizer.decode(sequence[1:]) for sequence in sample.sequences]
    for sequence, text in zip(sample.sequences, texts, strict=True):
        assert sequence[0] == lm.prefix_token_id == tokenizer.bos_token_id
        assert lm.tok_encode(text) == sequence[1:]
        assert len(sequence) <= lm.max_length
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    found = lm.loglikelihood_rolling(requests, disable_tqdm=True)
    ours = [-loss * count for loss, count in zip(scores.losses, scores.counts, strict=True)]
    assert found == pytest.approx(ours, rel=1e-3)
    per_document = [-f / c for f, c in zip(found, scores.counts, strict=True)]
    theirs = math.exp(sum(per_document) / len(per_document))
    assert perplexity.perplexity(sample, scores) == pytest.approx(theirs, rel=1e-3)


def left_padded(prompts: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    length = max(map(len, prompts))
    ids = [[pad] * (length - len(p)) + p for p in prompts]
    mask = [[0] * (length - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids), torch.tensor(mask)


def test_a_left_padded_batch_equals_single_rows(
    lab: Lab, tokenizer: PreTrainedTokenizerBase
) -> None:
    numbered = chat.records(lab.chats, lab.splits, "held_out")
    prompts = [chat.template_ids(tokenizer, r["messages"][:1], prompt=True) for _, r in numbered]
    prompts = [prompt[: len(prompt) - 3 * i] for i, prompt in enumerate(prompts)]
    assert len({len(p) for p in prompts}) > 3
    model = base(lab)
    ids, mask = left_padded(prompts, tokenizer.pad_token_id)
    with torch.no_grad():
        together = model(ids, attention_mask=mask).logits
        for row, prompt in enumerate(prompts):
            alone = model(torch.tensor([prompt])).logits[0]
            torch.testing.assert_close(together[row, -len(prompt) :], alone, rtol=0, atol=1e-4)
        how = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        how |= {"return_dict_in_generate": True, "output_logits": True}
        answers = model.generate(ids, attention_mask=mask, **how)
        for row, prompt in enumerate(prompts):
            single = model.generate(torch.tensor([prompt]), **how)
            new = single.sequences[0, len(prompt) :]
            assert torch.equal(answers.sequences[row, ids.shape[1] :][: len(new)], new)
            for step, logits in enumerate(single.logits):
                torch.testing.assert_close(answers.logits[step][row], logits[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_base_agrees_with_itself(
    lab: Lab, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, tmp_path: Path
) -> None:
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    perplexity.reference(base(lab, dtype), sample).write(tmp_path / "reference.safetensors")
    against = perplexity.Reference.read(tmp_path / "reference.safetensors", CPU)
    record = perplexity.fidelity_record("chats", sample, last(base(lab, dtype), sample, against))
    # in fp32 the alignment of a tensor in memory may show in the last bit of a logit
    assert record["kl"] == pytest.approx(0, abs=1e-9 if dtype == torch.float32 else 0)
    assert record["kl_per_document"] == pytest.approx([0] * 6, abs=1e-9)
    assert record["top1_agreement"] == 1
    assert (
        record["tokens"]
        == sum(record["counts"])
        == sum(len(s) - sample.context for s in sample.sequences)
    )


def test_kl_by_brute_force(lab: Lab, tokenizer: PreTrainedTokenizerBase) -> None:
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    teacher, student = base(lab), other(lab)
    scores = last(student, sample, perplexity.reference(teacher, sample))
    total = tokens = agreed = 0.0
    every: list[float] = []
    for sequence, found in zip(sample.sequences, scores.kl, strict=True):
        with torch.no_grad():
            ids, rows = torch.tensor([sequence]), slice(sample.context - 1, -1)
            z, y = (m(ids).logits[0, rows].double() for m in (teacher, student))
        p, q = z.softmax(-1), y.softmax(-1)
        kl = (p * (p.log() - q.log())).sum(-1)
        assert found == pytest.approx(float(kl.mean()), rel=1e-4)
        total, tokens = total + float(kl.sum()), tokens + len(kl)
        every += kl.tolist()
        agreed += float((p.argmax(-1) == q.argmax(-1)).sum())
    record = perplexity.fidelity_record("chats", sample, scores)
    assert record["kl"] == pytest.approx(total / tokens, rel=1e-4)
    assert record["top1_agreement"] == pytest.approx(agreed / tokens, abs=1e-12)
    below = sum(value <= record["kl_p99"] for value in every) / len(every)
    assert below == pytest.approx(0.99, abs=1 / len(every))
    assert 0 < record["kl"] < 1
    assert 0.5 < record["top1_agreement"] < 1


def test_chunks_do_not_show(
    lab: Lab, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = samples.windows(tokenizer, lab.plain, windowed(64, 256))
    whole = last(base(lab), sample)
    monkeypatch.setattr(forward, "CHUNK", 5)
    assert last(base(lab), sample).losses == pytest.approx(whole.losses, rel=1e-6)


def test_another_text_has_another_digest(
    lab: Lab, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    records = files.read_lines(lab.plain)
    records[0]["text"] = records[0]["text"].replace("stands", "stood", 1)
    write_lines(tmp_path / "plain.jsonl", records)
    one = samples.windows(tokenizer, lab.plain, windowed(64, 256))
    assert one.digest == samples.windows(tokenizer, lab.plain, windowed(64, 256)).digest
    assert (
        one.digest != samples.windows(tokenizer, tmp_path / "plain.jsonl", windowed(64, 256)).digest
    )
    assert one.digest != samples.windows(tokenizer, lab.plain, windowed(32, 256)).digest
    assert one.digest != samples.windows(tokenizer, lab.plain, windowed(64, 128)).digest
    assert one.digest != samples.Sample("documents", one.sequences).digest


def test_a_limit_gives_the_head_of_the_whole(lab: Lab, tokenizer: PreTrainedTokenizerBase) -> None:
    whole = samples.windows(tokenizer, lab.plain, windowed(64, 0))
    head = samples.windows(tokenizer, lab.plain, windowed(64, 200))
    assert len(head.sequences) == 3
    assert head.sequences == whole.sequences[:3]


def test_answers_alone_are_the_tokens_that_are_trained_on(
    lab: Lab, tokenizer: PreTrainedTokenizerBase
) -> None:
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening(answers_only=True))
    whole = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    assert sample.sequences == whole.sequences
    assert sample.digest != whole.digest
    model = base(lab)
    scores = last(model, sample, perplexity.reference(other(lab), sample))
    encoded = chat.encode(
        tokenizer, chat.records(lab.chats, lab.splits, "held_out"), mask_prompt=True
    )
    for document, loss, count in zip(encoded, scores.losses, scores.counts, strict=True):
        assert count == len(document.loss_positions()) < len(document.ids) - 1
        with torch.no_grad():
            own = model(
                input_ids=torch.tensor([document.ids]), labels=torch.tensor([document.labels])
            )
        assert loss == pytest.approx(float(own.loss), rel=1e-5)
    assert min(scores.kl) > 0
    record = perplexity.perplexity_record(sample, scores)
    assert record["answers_only"] and record["tokens"] == sum(scores.counts)


def test_no_window_crosses_a_document(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Tokens are spread over many documents, and each window says which it is of."""
    texts = [f"document {nth} " + f"word{nth} " * 40 for nth in range(100)]
    path = tmp_path / "many.jsonl"
    write_lines(path, [{"text": its} for its in texts])
    sample = samples.windows(tokenizer, path, windowed(16, 960, joined=False))
    assert len(set(sample.clusters)) == 60  # as many as there would be windows
    assert sum(map(len, sample.sequences)) <= 960
    for sequence, number in zip(sample.sequences, sample.clusters, strict=True):
        ids = tokenizer(texts[number], add_special_tokens=False)["input_ids"]
        assert sequence in [ids[i : i + len(sequence)] for i in range(0, len(ids), 16)]
    few = samples.windows(tokenizer, path, windowed(16, 64, joined=False))
    assert len(set(few.clusters)) == 30
    assert {max(few.clusters), min(few.clusters)} == {29 * 100 // 30, 0}
    whole = samples.windows(tokenizer, path, windowed(16, 0, joined=False))
    assert set(whole.clusters) == set(range(100))


def test_a_text_shorter_than_one_window(lab: Lab, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(HarnessError, match=r"plain\.jsonl has \d+ tokens, fewer than one window"):
        samples.windows(tokenizer, lab.plain, windowed(100_000, 0))


def test_a_reference_of_another_sample_is_refused(
    lab: Lab, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    fewer = samples.Sample("documents", sample.sequences[:-1])
    against = perplexity.Reference.read(lab.reference, CPU)
    with pytest.raises(HarnessError, match="the reference was made of another sample"):
        last(base(lab), fewer, against)
    with pytest.raises(HarnessError, match=r"does not exist; run src/reference\.py first"):
        perplexity.Reference.read(tmp_path / "none.safetensors", CPU)
