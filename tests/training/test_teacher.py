"""The teacher's cache against the model that it was made from, and whose documents it serves."""

import copy
from pathlib import Path

import pytest
import torch
from lab import SEQ_LEN, Lab, inside
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedModel

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files
from compression_order.common.errors import HarnessError
from compression_order.text import chat
from compression_order.training import forward, loop, losses, teacher

KINDS = (0, 64)  # exact, and a top-k


@pytest.fixture(scope="module")
def tiny(lab: Lab) -> tuple[PreTrainedModel, list[chat.Encoded]]:
    """The tiny model in fp32 and the training documents as a distillation reads them."""
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    numbered = chat.records(lab.chats, lab.splits, "train")
    documents = chat.encode(tokenizer, numbered, SEQ_LEN, mask_prompt=True)
    return Checkpoint(lab.base).model(torch.float32), documents


@pytest.fixture(scope="module", params=KINDS, ids=["exact", "top-64"])
def cache(
    request: pytest.FixtureRequest,
    tiny: tuple[PreTrainedModel, list[chat.Encoded]],
    tmp_path_factory: pytest.TempPathFactory,
) -> teacher.Cache:
    path = tmp_path_factory.mktemp("teacher") / "cache.safetensors"
    teacher.write(path, *tiny, request.param, tiny[0].config.vocab_size, "teacher")
    return teacher.Cache(path, teacher.key(tiny[1], request.param))


def divergence(
    cache: teacher.Cache, indices: list[int], temperature: float, hidden: Tensor, head: Tensor
) -> tuple[float, Tensor]:
    """The sum of KL(teacher || student) of the tokens, and its gradient in the hidden states."""
    student = hidden.detach().requires_grad_()
    total = losses.chunked(student, head, cache.divergence(indices, temperature, student))
    total.backward()
    assert student.grad is not None
    return total.item(), student.grad


def test_the_divergence_is_that_of_the_teachers_logits(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path: Path
) -> None:
    """Of hidden states rounded to bf16, as they are stored; to the digit of float32."""
    model, documents = tiny
    chosen = documents[3:1:-1]
    path = tmp_path / "cache.safetensors"
    teacher.write(path, model, documents, 0, 500, "teacher")
    cache = teacher.Cache(path, teacher.key(documents, 0))
    assert cache.vocabulary == 500
    batch = chat.batch(chosen, 2)
    with torch.no_grad():
        mask = loop.loss_mask(batch)
        states = model.base_model(input_ids=batch.ids).last_hidden_state[:, :-1][mask]
    head = model.get_output_embeddings().weight.detach()[:500]
    student = states + 0.3 * torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 4.0):
        value, gradient = divergence(cache, batch.indices, temperature, student, head)
        theirs = states.bfloat16().double() @ head.bfloat16().double().T
        ours = student.double().requires_grad_()
        kl = F.kl_div(
            (ours @ head.double().T / temperature).log_softmax(-1),
            (theirs / temperature).softmax(-1),
            reduction="sum",
        )
        kl.backward()
        assert value == pytest.approx(kl.item(), rel=1e-4)
        torch.testing.assert_close(gradient.double(), ours.grad, rtol=1e-3, atol=1e-5)


def test_a_teacher_has_next_to_nothing_to_teach_itself(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path: Path
) -> None:
    """In bf16 the products of teacher and student are the same ones: exactly nothing."""
    documents = tiny[1][:4]
    model = copy.deepcopy(tiny[0]).bfloat16()
    teacher.write(tmp_path / "c.safetensors", model, documents, 0, 512, "teacher")
    cache = teacher.Cache(tmp_path / "c.safetensors", teacher.key(documents, 0))
    found = {}
    for batch in forward.trained_states(model, documents):
        found |= batch
    hidden = torch.cat([found[place] for place in range(len(documents))])
    head = model.get_output_embeddings().weight.detach()
    value, gradient = divergence(cache, [d.index for d in documents], 2.0, hidden, head)
    assert value == 0
    assert not gradient.any()


def test_documents_may_be_asked_for_in_any_order(
    cache: teacher.Cache, tiny: tuple[PreTrainedModel, list[chat.Encoded]]
) -> None:
    chosen = tiny[1][:3]
    sizes = [len(document.loss_positions()) for document in chosen]
    model = tiny[0]
    hidden = torch.randn(sum(sizes), model.config.hidden_size)
    head = model.get_output_embeddings().weight.detach()
    each = hidden.split(sizes)
    order = (2, 0, 1)
    indices = [chosen[place].index for place in order]
    shuffled = torch.cat([each[place] for place in order])
    whole = divergence(cache, indices, 2.0, shuffled, head)
    apart = [divergence(cache, [chosen[p].index], 2.0, each[p], head) for p in order]
    assert whole[0] == pytest.approx(sum(value for value, _ in apart), rel=1e-5)
    torch.testing.assert_close(whole[1], torch.cat([gradient for _, gradient in apart]))


@pytest.mark.parametrize("k", KINDS)
def test_the_same_bytes_every_time(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path: Path, k: int
) -> None:
    """Metadata of several entries comes out in any order."""
    path = tmp_path / "cache.safetensors"
    made = set()
    for _ in range(8):
        teacher.write(path, tiny[0], tiny[1][:1], k, tiny[0].config.vocab_size, "teacher")
        made.add(files.sha256(path))
    assert len(made) == 1


def test_padding_never_enters(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path: Path
) -> None:
    """Row by row a padded batch's trained positions are the cache's, in the same order."""
    model, documents = tiny
    path = tmp_path / "cache.safetensors"
    teacher.write(path, model, documents, 0, model.config.vocab_size, "teacher")
    chosen = [min(documents, key=lambda d: len(d.ids)), max(documents, key=lambda d: len(d.ids))]
    assert len(chosen[0].ids) < len(chosen[1].ids)
    batch = chat.batch(chosen, 2)
    with torch.no_grad():
        padded = loop.hidden_states(model, batch)[:, :-1][loop.loss_mask(batch)]
    places = [next(n for n, d in enumerate(documents) if d is c) for c in chosen]
    with safe_open(path, "pt") as stored:
        split = stored.get_tensor("hidden").split(stored.get_tensor("counts").tolist())
    kept = torch.cat([split[place] for place in places])
    assert len(kept) == len(loop.targets(batch))
    torch.testing.assert_close(kept.float(), padded, rtol=1e-2, atol=1e-3)
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
    config = Checkpoint(lab.base).config
    assert shapes["hidden"] == (sum(counts), config.hidden_size)
    assert shapes["head"] == (config.vocab_size, config.hidden_size)
    assert teacher.Cache(lab.teacher, teacher.key(asked, 0)).losses_of_top_k(2.0) == {}


@pytest.mark.parametrize(
    "change",
    [
        ("held_out", SEQ_LEN, True, 0),
        ("train", SEQ_LEN - 1, True, 0),
        ("train", SEQ_LEN, False, 0),
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
        lab.stage(lab.base, tmp_path / "made" / "KD", "--teacher-outputs", missing)
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


def test_the_manifest_names_the_teachers_outputs(lab: Lab, tmp_path: Path) -> None:
    manifest = lab.stage(lab.base, tmp_path / "made" / "KD")
    assert manifest["claims"]["teacher"] == {"outputs": files.sha256(lab.teacher)}


def test_a_checkpoint_of_a_pipeline_teaches(lab: Lab, tmp_path: Path) -> None:
    """Here a quantized one: the weights that its kernels compute with."""
    out = tmp_path / "cache.safetensors"
    source = ["--student", lab.base, "--model", lab.quantized, *lab.read(), f"--seq-len={SEQ_LEN}"]
    inside("teach", *source, "--costs", tmp_path / "costs", "--out", out)
    model = Checkpoint(lab.quantized).model(torch.float32)
    documents = encoded(lab, "train", SEQ_LEN, True)
    with arithmetic.products("cpu"):
        teacher.write(tmp_path / "same", model, documents, 0, model.config.vocab_size, "teacher")
    assert files.sha256(out) == files.sha256(tmp_path / "same")
    assert files.sha256(out) != files.sha256(lab.teacher)


def test_a_base_that_teaches_itself_teaches_nothing(lab: Lab, tmp_path: Path) -> None:
    """The negative control: without cross entropy not one weight of the base moves.

    A divergence of rounding alone would move them: Adam makes full steps of small gradients.
    """
    its = lab.stage(lab.base, tmp_path / "made" / "KD", "--alpha=1.0")
    assert its["claims"]["training"]["loss_first"] == 0
    made = load_file(tmp_path / "made/KD/model.safetensors")
    for name, weight in load_file(lab.base / "model.safetensors").items():
        assert torch.equal(made[name], weight), name


def test_in_float32_hidden_states_are_not_rounded(
    tiny: tuple[PreTrainedModel, list[chat.Encoded]], tmp_path: Path
) -> None:
    path = tmp_path / "cache.safetensors"
    arithmetic.use(arithmetic.FLOAT32)
    try:
        teacher.write(path, tiny[0], tiny[1][:2], 0, 512, "teacher")
    finally:
        arithmetic.use(arithmetic.BF16)
    kept = load_file(path)
    assert (kept["hidden"].dtype, kept["head"].dtype) == (torch.float32, torch.bfloat16)
