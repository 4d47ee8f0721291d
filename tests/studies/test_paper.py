"""The quirks of arXiv 2511.19495, each pinned: docs/paper.md names these tests."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_hub
import pytest
import torch
import yaml
from lab import ROOT, Lab
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedModel

from compression_order.architecture import storage
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common.errors import HarnessError
from compression_order.evaluation import perplexity, samples
from compression_order.methods.ffn_neurons import run as ffn_neurons
from compression_order.methods.logits import run as logits
from compression_order.study.settings import Opening
from compression_order.text import chat
from compression_order.training import loop, losses, teacher
from compression_order.training.settings import Training

CPU = torch.device("cpu")
STUDY: dict[str, Any] = yaml.safe_load((ROOT / "studies/qwen2.5-3b.yaml").read_text())
STAGES = STUDY["stages"]
PAD, LENGTH = 3, 24


def documents(count: int = 4, padded: bool = False) -> list[chat.Encoded]:
    """Short conversations of random ids, padded to `LENGTH` where padding counts."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(count):
        ids = torch.randint(10, 500, (12 + 3 * number,), generator=generator).tolist()
        missing = LENGTH - len(ids) if padded else 0
        whole = ids + [PAD] * missing
        made.append(chat.Encoded(number, whole, whole, missing))
    return made


@pytest.fixture(scope="module")
def student() -> PreTrainedModel:
    return fake_hub.model(512, 64, True, seed=1).eval()


@pytest.fixture(scope="module")
def master() -> PreTrainedModel:
    """A teacher with more rows of vocabulary."""
    return fake_hub.model(544, 96, False, seed=2).eval()


# the score


def by_hand(model: PreTrainedModel, batches: Sequence[chat.Batch], count_padding: bool) -> Tensor:
    """The published score of the first layer, from the block's own formula."""
    layer, outputs = model.base_model.layers[0], []
    for batch in batches:
        hidden = model.base_model.embed_tokens(batch.ids)
        positions = torch.arange(batch.ids.shape[1])[None]
        rotary = model.base_model.rotary_emb(hidden, positions)
        normed = layer.input_layernorm(hidden)
        length = batch.ids.shape[1]
        causal = torch.full((length, length), -math.inf).triu(1)[None, None]
        mask = causal.masked_fill(~batch.attention.bool()[:, None, None], -math.inf)
        attended, _ = layer.self_attn(normed, rotary, attention_mask=mask)
        normed = layer.post_attention_layernorm(hidden + attended)
        before = normed @ layer.mlp.gate_proj.weight.T  # no SiLU
        counted = torch.ones_like(batch.attention) if count_padding else batch.attention
        outputs.append(before[counted.bool()])
    a = torch.cat(outputs).abs().mean(0)
    w = layer.mlp.gate_proj.weight.abs().sum(1) + layer.mlp.up_proj.weight.abs().sum(1)
    score: Tensor = 0.5 * w / w.max() + 0.5 * a / a.max()
    return score.detach()


@pytest.mark.parametrize("count_padding", [True, False])
def test_the_published_score_is_the_gate_before_its_activation(
    student: PreTrainedModel, count_padding: bool
) -> None:
    how = ffn_neurons.Settings(score="paper", calibration_batch=2, count_padding=count_padding)
    text = documents(padded=True)
    with torch.no_grad():
        found = ffn_neurons.scores(student, text, how)[0]
        batches = [chat.batch(text[i : i + 2], PAD) for i in (0, 2)]
        expected = by_hand(student, batches, count_padding)
    # activations come from a bf16 pass, the hand's from float32
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.005)
    other = how.with_(count_padding=not count_padding)
    assert not torch.equal(found, ffn_neurons.scores(student, text, other)[0])


def test_the_published_score_never_looks_at_down_proj(student: PreTrainedModel) -> None:
    how, text = ffn_neurons.Settings(score="paper"), documents()
    before = ffn_neurons.scores(student, text, how)
    kept = [b.down_proj.weight.data.clone() for b in ffn_neurons.blocks(student)]
    last = ffn_neurons.blocks(student)[-1]
    last.down_proj.weight.data[:, 5] *= 1000  # the neuron that matters most
    after = ffn_neurons.scores(student, text, how)
    last.down_proj.weight.data.copy_(kept[-1])
    assert torch.equal(before[-1], after[-1])


def test_widths() -> None:
    paper, corrected = STAGES["P.paper"], STAGES["P"]
    assert storage.kept_width(11008, paper["ratio"], paper["round_to"]) == 7706
    assert storage.kept_width(11008, corrected["ratio"], corrected["round_to"]) == 7680


# the loss


def cached(
    master: PreTrainedModel, text: Sequence[chat.Encoded], folder: Path, k: int
) -> teacher.Cache:
    path = folder / f"cache{k}.safetensors"
    teacher.write(path, master, text, k, 512, "teacher")
    return teacher.Cache(path, teacher.key(text, k))


def published(
    student: PreTrainedModel, master: PreTrainedModel, batch: chat.Batch, how: logits.Settings
) -> Tensor:
    """The published loss, written as its code has it, over the shared vocabulary."""
    with torch.no_grad():
        theirs = master(batch.ids, attention_mask=batch.attention).logits[:, :-1, :512]
    ours = student(batch.ids, attention_mask=batch.attention).logits[:, :-1, :512]
    t = how.temperature
    # `batchmean` divides by the first dimension alone
    kl = F.kl_div((ours / t).log_softmax(-1), (theirs / t).softmax(-1), reduction="batchmean")
    ce = F.cross_entropy(ours.flatten(0, 1), batch.labels[:, 1:].flatten())
    return (1 - how.alpha) * ce + how.alpha * torch.clamp(t**2 * kl, max=100.0)


def ours(
    student: PreTrainedModel, cache: teacher.Cache, batch: chat.Batch, how: logits.Settings
) -> Tensor:
    hidden = loop.hidden_states(student, batch)[:, :-1][loop.loss_mask(batch)]
    step = loop.Step(tokens=len(hidden), batches=1)
    head = student.get_output_embeddings().weight
    return logits.against(cache, how)(hidden, head, batch, step)


def gradient(loss: Tensor, model: PreTrainedModel) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("k", [0, 511])
@pytest.mark.parametrize("temperature", [2.0, 4.0])
def test_the_published_loss_and_its_gradient(
    student: PreTrainedModel, master: PreTrainedModel, tmp_path: Path, temperature: float, k: int
) -> None:
    """Exact; and with all ids but one kept, where the buckets are the vocabulary."""
    text = documents(2, padded=True)
    batch, cache = chat.batch(text, PAD), cached(master, text, tmp_path, k)
    how = logits.Settings(temperature=temperature, alpha=0.3, reduction="paper")
    expected, found = published(student, master, batch, how), ours(student, cache, batch, how)
    # hidden states are kept in bf16, log-probabilities in fp16
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-3)
    theirs, mine = gradient(expected, student), gradient(found, student)
    torch.testing.assert_close(mine, theirs, rtol=0.02, atol=2e-4)
    assert mine.abs().max() > 0.01


def test_the_clamp_has_a_dead_zone_where_the_gradient_is_exactly_zero(
    student: PreTrainedModel, master: PreTrainedModel, tmp_path: Path
) -> None:
    """Dead where the published code's clamp is, alive below it, on both sides of 100."""
    text = documents(2, padded=True)
    batch, cache = chat.batch(text, PAD), cached(master, text, tmp_path, 0)
    head = student.get_output_embeddings().weight
    kept, positions, dead = head.data.clone(), LENGTH - 1, []
    for scale in (1, 20, 60):
        head.data = scale * kept  # the surer of itself, the farther from its teacher
        for temperature in (2.0, 4.0):
            how = logits.Settings(temperature=temperature, alpha=1.0, reduction="paper")
            loss = ours(student, cache, batch, how)
            theirs = published(student, master, batch, how)
            threshold = logits.CLAMP / (positions * temperature**2)
            mean = kl_per_position(student, cache, batch, temperature)
            dead.append(mean > threshold)
            moved, expected = (gradient(its, student).abs().max() for its in (loss, theirs))
            assert dead[-1] == (moved == 0.0) == (loss == logits.CLAMP)
            assert (expected == 0.0) == (moved == 0.0)
    head.data = kept
    assert set(dead) == {False, True}
    # and the correct mean over tokens learns from the same batch
    how = logits.Settings(temperature=4.0, alpha=1.0, reduction="token-mean")
    assert gradient(ours(student, cache, batch, how), student).abs().max() > 0


def kl_per_position(
    student: PreTrainedModel, cache: teacher.Cache, batch: chat.Batch, temperature: float
) -> float:
    hidden = loop.hidden_states(student, batch)[:, :-1][loop.loss_mask(batch)]
    head = student.get_output_embeddings().weight
    per_token = cache.divergence(batch.indices, temperature, hidden)
    return losses.chunked(hidden, head, per_token).item() / len(hidden)


def test_a_student_far_from_its_teacher_is_in_the_dead_zone(
    student: PreTrainedModel, master: PreTrainedModel, tmp_path: Path
) -> None:
    """At 512 positions the zone begins at 0.049 nats a position (T 2) and 0.012 (T 4)."""
    assert pytest.approx(0.0488, abs=1e-4) == logits.CLAMP / (512 * 2**2)
    assert pytest.approx(0.0122, abs=1e-4) == logits.CLAMP / (512 * 4**2)
    text = documents(2, padded=True)
    batch, cache = chat.batch(text, PAD), cached(master, text, tmp_path, 0)
    head = student.get_output_embeddings().weight
    kept = head.data.clone()
    head.data *= 200  # sure of itself, and wrong
    how = logits.Settings(temperature=2.0, alpha=1.0, reduction="paper")
    loss = ours(student, cache, batch, how)
    assert kl_per_position(student, cache, batch, 2.0) > logits.CLAMP / ((LENGTH - 1) * 4)
    assert loss == logits.CLAMP
    assert torch.count_nonzero(gradient(loss, student)) == 0
    head.data.copy_(kept)


@pytest.mark.slow
def test_the_clamp_on_the_real_model_is_dead_where_the_published_one_is(
    smollm2: Path, tmp_path: Path
) -> None:
    """SmolLM2 teaches itself with weaker feed-forward blocks, at 512 positions, padding counted.

    At T = 4 the 64 likeliest ids keep a sixth of the divergence: with them the gradient is alive
    where the published code's is zero.
    """
    prepared = Checkpoint(smollm2)
    talk = [{"role": "user", "content": "What is the capital of France, and what is it known for?"}]
    answer = "It is Paris. It is known for the Eiffel Tower, the Louvre, its food and its fashion."
    numbered = [(0, {"messages": [*talk, {"role": "assistant", "content": answer}]})]
    text = chat.encode(prepared.tokenizer, numbered, 512, mask_prompt=False, count_padding=True)
    batch = chat.batch(text, prepared.tokenizer.pad_token_id)
    master = prepared.model(torch.float32)
    caches = {}
    for k in (0, 64):
        path = tmp_path / f"{k}.safetensors"
        teacher.write(path, master, text, k, master.config.vocab_size, "teacher")
        caches[k] = teacher.Cache(path, teacher.key(text, k))
    weaker = prepared.model(torch.float32)
    blocks = ffn_neurons.blocks(weaker)
    kept = [block.down_proj.weight.data.clone() for block in blocks]
    head = master.get_output_embeddings().weight.detach()
    zero = {}
    for scale in (0.97, 0.85):
        for block, weight in zip(blocks, kept, strict=True):
            block.down_proj.weight.data = scale * weight
        with torch.no_grad():
            states = [loop.hidden_states(m, batch)[0, :-1] for m in (weaker, master)]
            z, theirs = (its @ head.T for its in states)
        for temperature in (2.0, 4.0):
            how = logits.Settings(temperature=temperature, alpha=1.0, reduction="paper")
            t, log_q = (theirs / temperature).softmax(-1), (z / temperature).log_softmax(-1)
            dead = bool(temperature**2 * F.kl_div(log_q, t, reduction="sum") > logits.CLAMP)
            for k, cache in caches.items():
                hidden = states[0].clone().requires_grad_()
                logits.against(cache, how)(hidden, head, batch, loop.Step(511, 1)).backward()
                zero[scale, temperature, k] = not torch.count_nonzero(hidden.grad)
            assert zero[scale, temperature, 0] == dead == (scale == 0.85)
    assert not zero[0.85, 4.0, 64]


def test_padding_enters_the_loss_only_where_it_is_counted(student: PreTrainedModel) -> None:
    plain, padded = chat.batch(documents(2), PAD), chat.batch(documents(2, padded=True), PAD)
    assert int(loop.loss_mask(padded).sum()) == 2 * (LENGTH - 1)
    real = sum(len(d.ids) - 1 for d in documents(2))
    assert int(loop.loss_mask(plain).sum()) == real
    # attention passes the padding over in both
    assert int(padded.attention.sum()) == int(plain.attention.sum())
    with torch.no_grad():
        found = {}
        for name, batch in (("plain", plain), ("padded", padded)):
            hidden = loop.hidden_states(student, batch)[:, :-1][loop.loss_mask(batch)]
            step = loop.Step(len(hidden), 1)
            head = student.get_output_embeddings().weight
            found[name] = float(loop.next_token(hidden, head, batch, step))
        shown = student(padded.ids, attention_mask=padded.attention).logits[:, :-1]
        expected = F.cross_entropy(shown.flatten(0, 1), padded.ids[:, 1:].flatten())
    assert found["padded"] == pytest.approx(float(expected), rel=1e-4)
    assert found["padded"] != pytest.approx(found["plain"], rel=1e-3)


def test_the_command_line_pads_to_the_cut(lab: Lab) -> None:
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    how = Training(seq_len=160, mask_prompt=False, count_padding=True, conversations=5)
    text = loop.documents(tokenizer, lab.chats, lab.splits, how)
    assert len(text) == 5
    assert {len(d.ids) for d in text} == {160}
    assert any(document.padding for document in text)
    for document in text:
        filler = document.ids[len(document.ids) - document.padding :]
        assert filler == [tokenizer.pad_token_id] * document.padding
        assert document.labels == document.ids


# the vocabulary


def test_vocabularies_are_cut_to_the_shared_ids(
    student: PreTrainedModel, master: PreTrainedModel, tmp_path: Path
) -> None:
    text = documents(1)
    cache = cached(master, text, tmp_path, 64)
    assert cache.vocabulary == 512
    ids, log_probs = cache.buckets([0], 1.0, CPU)
    with torch.no_grad():
        whole = master(torch.tensor([text[0].ids])).logits[0, :-1]
    expected = whole[:, :512].log_softmax(-1)  # not of all 544 rows
    torch.testing.assert_close(log_probs[:, :-1], expected.gather(-1, ids), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(len(ids)))


def test_a_student_with_more_rows_than_its_teacher_learns_over_the_shared_ones(
    master: PreTrainedModel, tmp_path: Path
) -> None:
    large, text = fake_hub.model(576, 64, True, seed=3), documents(1)
    cache, batch = cached(master, text, tmp_path, 0), chat.batch(text, PAD)
    how = logits.Settings(alpha=1.0)
    large.get_output_embeddings().weight.grad = None
    ours(large, cache, batch, how).backward()
    grad = large.get_output_embeddings().weight.grad
    used = torch.zeros(576, dtype=torch.bool)
    used[batch.ids] = True
    assert grad[:512].abs().max() > 0
    assert grad[512:][~used[512:]].abs().max() == 0


def vocabulary(changes: dict[str, int]) -> Any:
    known = {f"t{i}": i for i in range(500)} | changes
    return SimpleNamespace(get_vocab=lambda: known)


def test_tokenizers_must_agree_below_the_cut() -> None:
    same = vocabulary({})
    assert teacher.shared_vocabulary(same, vocabulary({"more": 530}), 512, 544) == 512
    assert teacher.shared_vocabulary(same, same, 544, 512) == 512
    told = r"2 of 512 ids differ, the first is 7 \('t7' and 'other'\); choose a teacher of the same"
    with pytest.raises(HarnessError, match=told):
        teacher.shared_vocabulary(same, vocabulary({"other": 7, "t7": 505}), 512, 544)


# perplexity over documents


def test_documents_perplexity_is_the_unweighted_mean_over_whole_conversations(lab: Lab) -> None:
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    sample = samples.documents(tokenizer, lab.chats, lab.splits, Opening(score_opening=True))
    assert sample.context == 1
    model = Checkpoint(lab.base).model(torch.float32)
    scores = perplexity.score(model, sample)
    with torch.no_grad():
        each = [
            float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss)
            for ids in sample.sequences
        ]
    assert perplexity.perplexity(sample, scores) == pytest.approx(math.exp(sum(each) / len(each)))
    assert max(map(len, sample.sequences)) > 160  # not cut
    read = samples.documents(tokenizer, lab.chats, lab.splits, Opening())
    assert read.context > 1
    assert read.digest != sample.digest


# the text form


def test_the_published_text_form() -> None:
    its = fake_hub.tokenizer([{"messages": [{"role": "user", "content": "hello world"}]}])
    its.chat_template = STUDY["chat_template"]
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert its.apply_chat_template(turns, tokenize=False) == (
        "<|user|>\nWhy?</s>\n<|assistant|>\nSo.</s>"
    )
    asked = its.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|user|>\nWhy?</s>\n<|assistant|>\n"


# what the file says


def test_both_published_variants_of_distillation_are_there() -> None:
    script, text = STAGES["KD.paper"], STAGES["KD.text"]
    assert (script["temperature"], script["training"]["learning_rate"]) == (2.0, 1e-4)
    assert (text["temperature"], text["training"]["learning_rate"]) == (4.0, 2e-5)
    for entry in (script, text):
        assert (entry["reduction"], entry["teacher_weights"]) == ("paper", "int8")
        assert entry["training"]["count_padding"] is True


def test_the_budget_is_the_published_one() -> None:
    recovery, training_ = STAGES["P.paper"]["recovery"], STAGES["KD.paper"]["training"]
    step = recovery["batch_size"] * recovery["accumulation"]
    assert step == training_["batch_size"] * training_["accumulation"] == 8
    assert recovery["steps"] == 2 * recovery["conversations"] // step
    assert STUDY["splits"]["train"] == 20786 - math.ceil(0.05 * 20786)
    assert training_["steps"] == 2 * STUDY["splits"]["train"] // step
