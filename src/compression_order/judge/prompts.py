"""The prompts that every checkpoint of a study answers, and the answers of one of them.

A prompt is known by the hash of its messages, which binds an answer, a verdict and a row of the
table to it. Pure Python: `core` and `judge` both read them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.text import conversations

Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """What is asked.

    Attributes:
        id: SHA-256 of its messages.
        messages: role and content of each turn before the assistant's first.
        gold: the answer that the text has.
    """

    id: str
    messages: tuple[Message, ...]
    gold: str

    @property
    def text(self) -> str:
        """The messages as a judge reads them; a role is named only where there are several."""
        if len(self.messages) == 1:
            return self.messages[0]["content"]
        return "\n\n".join(f"{m['role']}: {m['content']}" for m in self.messages)


@dataclass(frozen=True)
class Answer:
    """What a checkpoint answered.

    Attributes:
        id: of the prompt.
        text: the answer, without the prompt and without special tokens.
        loss: mean loss of its tokens under the uncompressed model, nats; None without a token.
        degenerate: whether it is empty or repeats one token.
    """

    id: str
    text: str
    loss: float | None
    degenerate: bool


def read(text: Path, splits: Path | None, count: int) -> list[Prompt]:
    """The first prompts of the held-out split, or of a text, spread evenly over it.

    Args:
        text: JSON lines of {"messages"}.
        splits: record numbers of the splits; None takes the whole text.
        count: prompts; 0 is all. A prompt that comes again counts once.

    Raises:
        HarnessError: a record is no conversation, or there are too few prompts.
    """
    if splits:
        lines = [record for _, record in conversations.records(text, splits, "held_out")]
    else:
        lines = files.read_lines(text)
    found = list({p.id: p for p in (_prompt(text, line) for line in lines)}.values())
    if len(found) < max(1, count):
        raise HarnessError(
            f"{text} has {len(found)} prompts to answer and judge.answers.prompts asks for "
            f"{count}; lower it, or hold out more conversations"
        )
    if splits or not count:
        return found[: count or None]
    return [found[i * len(found) // count] for i in range(count)]


def _prompt(text: Path, record: dict[str, Any]) -> Prompt:
    messages = record.get("messages", [])
    roles = [message["role"] for message in messages]
    if "assistant" not in roles[1:]:
        raise HarnessError(
            f"{text} has a record that is no conversation (a question, then an answer of the "
            "assistant); name a chat text in judge.answers.text"
        )
    first = roles.index("assistant")
    asked = tuple({"role": m["role"], "content": m["content"]} for m in messages[:first])
    return Prompt(files.digest(list(asked)), asked, messages[first]["content"])


def sample(prompts: Sequence[Prompt]) -> str:
    """Hash of the prompts and the answers that the text has: what every row must share."""
    return files.digest([[prompt.id, prompt.gold] for prompt in prompts])


def answers(path: Path, prompts: Sequence[Prompt]) -> list[Answer]:
    """The stored answers of one checkpoint, proven to be to these prompts.

    Raises:
        HarnessError: the file is damaged, or answers other prompts.
    """
    stored = files.read_json(path)
    try:
        found = [Answer(**{k: a[k] for k in ANSWER}) for a in stored["answers"]]
        its_sample = stored["sample_sha256"]
    except (KeyError, TypeError):
        raise HarnessError(f"{path} does not hold answers; delete it and run again") from None
    if its_sample != sample(prompts) or [a.id for a in found] != [p.id for p in prompts]:
        raise HarnessError(
            f"{path} answers other prompts than the study asks; delete it and run again"
        )
    return found


ANSWER = ("id", "text", "loss", "degenerate")
