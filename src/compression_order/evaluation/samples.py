"""What is scored of a text: windows of plain documents, or whole conversations."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.study.settings import FEWEST_DOCUMENTS, Opening, Scoring
from compression_order.text import chat


@dataclass(frozen=True)
class Sample:
    """Sequences to score.

    Attributes:
        protocol: `windows` or `documents`.
        sequences: token ids.
        seq_len: length of a window in tokens; 0 for whole documents.
        context: leading tokens of every sequence that are read but not predicted, at least 1.
        answers: of each sequence the positions whose next token is scored; empty: all of them
            after the context.
        clusters: the document of each window, where none crosses a document; else empty.
        records: the record numbers of whole documents; else empty.
        text: digest of the file that the records are of.
    """

    protocol: str
    sequences: list[list[int]]
    seq_len: int = 0
    context: int = 1
    answers: tuple[tuple[int, ...], ...] = ()
    clusters: tuple[int, ...] = ()
    records: tuple[int, ...] = ()
    text: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the token ids: equal digests are equal samples."""
        told = [self.protocol, self.context, self.sequences]
        return files.digest([*told, self.answers] if self.answers else told)

    def positions(self, sequence: int) -> Sequence[int]:
        """The positions of a sequence whose next token is scored."""
        if self.answers:
            return self.answers[sequence]
        return range(self.context - 1, len(self.sequences[sequence]) - 1)


def windows(tokenizer: PreTrainedTokenizerBase, text: Path, how: Scoring) -> Sample:
    """Windows of `how.seq_len` tokens, without special tokens, none of which overlap.

    Joined: over the concatenated documents, which a blank line parts: the literature's protocol.
    The first `how.max_tokens // how.seq_len` are scored (0: all), a remainder is dropped.

    Not joined: no window crosses a document. So many documents as there would be windows, and no
    fewer than 30 if the text has them, are taken evenly over the text, and of each the first
    tokens, an equal share of `how.max_tokens` (0: all documents, whole). Their last window may be
    shorter.

    Raises:
        HarnessError: the text is shorter than one window.
    """
    most, length = how.max_tokens, how.seq_len
    if 0 < most < length:
        raise HarnessError(
            f"max_tokens {most} is less than one window of seq_len {length}; raise max_tokens or "
            "lower seq_len"
        )
    texts = [record["text"] for record in files.read_lines(text)]
    found = _joined(tokenizer, texts, how) if how.joined else _apart(tokenizer, texts, how)
    if found.sequences:
        return found
    held = sum(len(_ids(tokenizer, its, most)) for its in texts)
    raise HarnessError(
        f"{text} has {held} tokens, fewer than one window of {length}; lower seq_len or use a "
        "longer text"
    )


def _joined(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], how: Scoring) -> Sample:
    ids = _ids(tokenizer, "\n\n".join(texts), how.max_tokens)
    starts = range(0, len(ids) - how.seq_len + 1, how.seq_len)
    return Sample("windows", [ids[i : i + how.seq_len] for i in starts], how.seq_len)


def _apart(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], how: Scoring) -> Sample:
    taken, share = spread(len(texts), how)
    sequences, clusters = [], []
    for number in taken:
        ids = _ids(tokenizer, texts[number], share)
        pieces = [ids[i : i + how.seq_len] for i in range(0, len(ids), how.seq_len)]
        whole = [piece for piece in pieces if len(piece) > 1]  # one token predicts none
        sequences += whole
        clusters += [number] * len(whole)
    return Sample("windows", sequences, how.seq_len, clusters=tuple(clusters))


def spread(texts: int, how: Scoring) -> tuple[list[int], int]:
    """The numbers of the documents that windows are cut from, and how many tokens of each.

    Args:
        texts: how many documents there are.
        how: tokens of a window and of all windows; no tokens given: all documents, whole (0).
    """
    if not how.max_tokens:
        return list(range(texts)), 0
    count = min(texts, max(FEWEST_DOCUMENTS, how.max_tokens // how.seq_len))
    return [nth * texts // count for nth in range(count)], how.max_tokens // max(1, count)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> list[int]:
    """The first tokens of a text; 0: all of them."""
    # a text has more characters than tokens: do not tokenize a whole corpus for its first page
    ids: list[int] = tokenizer(text[: most * 12 or None], add_special_tokens=False)["input_ids"]
    return ids[:most] if most else ids


def documents(tokenizer: PreTrainedTokenizerBase, text: Path, splits: Path, how: Opening) -> Sample:
    """The whole held-out conversations in the chat template, not cut: the paper's protocol.

    The opening that the template gives to all of them (for example a system message that it adds)
    is read but not predicted. If predicted, the same few tokens in every document would outweigh
    the conversations and correlate the documents' losses. `how.score_opening` predicts all but the
    very first token, as published. `how.answers_only` predicts the assistant's tokens alone.
    """
    numbered = chat.records(text, splits, how.part)
    encoded = chat.encode(tokenizer, numbered, mask_prompt=how.answers_only)
    sequences = [document.ids for document in encoded]
    opening = 1 if how.score_opening else max(1, _shared_opening(sequences))
    answers = [tuple(document.loss_positions()) for document in encoded if how.answers_only]
    records = tuple(document.index for document in encoded)
    return Sample(
        "documents",
        sequences,
        context=opening,
        answers=tuple(answers),
        records=records,
        text=files.sha256(text),
    )


def _shared_opening(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all sequences share; 0 for a single sequence."""
    if len(sequences) < 2:
        return 0
    columns = zip(*sequences, strict=False)  # the shortest sequence ends them
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def predicting(sample: Sample, sequence: int, states: Tensor) -> Tensor:
    """[scored tokens, width]: the states that predict the tokens of a sequence that are scored.

    Args:
        sample: the sample.
        sequence: the place of the sequence in it.
        states: its last hidden states, [tokens, width].
    """
    found = sample.positions(sequence)
    return states[found.start : found.stop] if isinstance(found, range) else states[list(found)]
