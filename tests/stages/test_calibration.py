"""A pruning reads the calibration records of the splits, all of them, and no others."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import torch
from lab import SEQ_LEN, Lab, write_lines
from structured_fixtures import run
from torch import Tensor, nn
from transformers import AutoTokenizer

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.stages.stage import Job
from compression_order.text import chat

CUT = ["--ratio=0.5", "--round-to=64", "--score=wanda", f"--seq-len={SEQ_LEN}"]
EXACTLY = "--compute=float32"


def kept_by_reference(lab: Lab, split: str) -> list[Tensor]:
    """The neurons that stay, by their definition, one conversation at a time.

    The score of a neuron is the norm of its activation over the tokens of the split, times the
    norm of its column of `down_proj` (Sun et al. 2024, equation 1).
    """
    model = Checkpoint(lab.base).model(torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    lines = files.read_lines(lab.chats)
    squares = [torch.zeros(256) for _ in model.model.layers]

    def observer(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def observe(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            total.add_(inputs[0][0].square().sum(0))

        return observe

    for layer, total in zip(model.model.layers, squares, strict=True):
        layer.mlp.down_proj.register_forward_pre_hook(observer(total))
    for number in files.read_json(lab.splits)[split]:
        text = tokenizer.apply_chat_template(lines[number]["messages"], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:SEQ_LEN]
        with torch.no_grad():
            model(torch.tensor([ids]))
    columns = [layer.mlp.down_proj.weight.norm(dim=0) for layer in model.model.layers]
    scores = [total.sqrt() * column for total, column in zip(squares, columns, strict=True)]
    return [score.topk(128).indices.sort().values for score in scores]


def check(lab: Lab, out: Path) -> None:
    """Fail where the stage keeps other neurons than the calibration split says."""
    run(lab, "prune", lab.base, out, [*CUT, EXACTLY])
    dense, pruned = (Checkpoint(path).model(torch.float32) for path in (lab.base, out))
    for layer, kept in enumerate(kept_by_reference(lab, "calibration")):
        whole, cut = (model.model.layers[layer].mlp.down_proj.weight for model in (dense, pruned))
        assert torch.equal(cut, whole[:, kept]), "other neurons are kept"


def test_a_pruning_keeps_the_neurons_that_the_calibration_split_says(
    lab: Lab, tmp_path: Path
) -> None:
    check(lab, tmp_path / "P")


@pytest.mark.parametrize("split", ["held_out", "train"])
def test_calibration_on_another_split_is_noticed(
    split: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(job: Job) -> list[chat.Encoded]:
        return job.documents(split, SEQ_LEN)

    monkeypatch.setattr(Job, "calibration", other)
    with pytest.raises(AssertionError, match="other neurons are kept"):
        check(lab, tmp_path / "P")


def rewritten(lab: Lab, folder: Path, numbers: Collection[int]) -> Lab:
    """The lab with other words in some conversations, and with the same splits."""
    made, lines = Lab(folder), files.read_lines(lab.chats)
    for number in numbers:
        for turn in lines[number]["messages"]:
            turn["content"] = "0123456789 {}()[]<>;:!? " * 8
    folder.mkdir()
    write_lines(made.chats, lines)
    splits = files.read_json(lab.splits)
    splits["sha256"] = dict.fromkeys(splits["sha256"], files.sha256(made.chats))
    files.write_json(made.splits, splits)
    return made


@pytest.fixture(scope="module")
def weights(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Collection[int]], str]:
    """The digest of the pruned weights when these conversations have other words."""

    def digest(numbers: Collection[int]) -> str:
        folder = tmp_path_factory.mktemp("rewritten")
        its = rewritten(lab, folder / "lab", numbers)
        manifest = run(its, "prune", lab.base, folder / "P", [*CUT, EXACTLY])
        found: str = manifest["files"]["model.safetensors"]
        return found

    return digest


def test_only_calibration_conversations_change_the_pruned_weights(
    lab: Lab, weights: Callable[[Collection[int]], str]
) -> None:
    splits = files.read_json(lab.splits)
    own, unread = splits["calibration"], [*splits["held_out"], *splits["train"]]
    assert len(own) == 8
    assert not set(own) & set(unread)
    as_is = weights([])
    assert weights(unread) == as_is
    assert [number for number in own if weights([number]) == as_is] == []
