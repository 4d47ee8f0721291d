"""Snapshots of hub datasets, small but in the datasets' own files: names, columns and nesting.

A function a dataset writes the files of its repository into a folder, README.md included, whose
head says which files are the splits of which configuration. The texts are made up.
"""

import importlib.util
import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from datasets import ClassLabel, Dataset, Features, List, Value
from lab import THINGS, sentence
from lawbench_fixtures import lawbench

Rows = list[dict[str, Any]]
TEXT = Value("string")
CHOICES = {"text": List(TEXT), "label": List(TEXT)}
SPLITS = ("train", "validation", "test")
# questions a split, unless a dataset says otherwise: enough for examples before a question
EACH = 8


def rng(dataset: str) -> random.Random:
    return random.Random(dataset)


def parquet(path: Path, rows: Rows, features: Features) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(path)


def readme(folder: Path, configs: Iterable[tuple[str, Mapping[str, str]]] = ()) -> None:
    """A card whose head lists configurations: (name, split -> pattern of its files)."""
    listed = [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
        }
        for name, splits in configs
    ]
    head = {"license": "mit", **({"configs": listed} if listed else {})}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n\n# Made for tests\n")


def sharded(
    folder: Path, configs: Mapping[str, Mapping[str, Rows]], features: Features, prefix: str = ""
) -> None:
    """`<config>/<split>-00000-of-00001.parquet`, the hub's usual layout, and its README.md."""
    for config, splits in configs.items():
        for split, rows in splits.items():
            parquet(folder / (prefix or config) / f"{split}-00000-of-00001.parquet", rows, features)
    readme(
        folder,
        [
            (config, {split: f"{prefix or config}/{split}-*" for split in splits})
            for config, splits in configs.items()
        ],
    )


def lettered(draw: random.Random, labels: str = "ABCD") -> dict[str, Any]:
    return {"text": [f"the {draw.choice(THINGS)}" for _ in labels], "label": list(labels)}


def ai2_arc(folder: Path) -> None:
    draw = rng("allenai/ai2_arc")

    def row(number: int) -> dict[str, Any]:
        labels = "1234" if number == 1 else "ABCDE" if number == 2 else "ABCD"
        return {
            "id": f"Made_{number}",
            "question": f"{sentence(draw)} Which one?",
            "choices": lettered(draw, labels),
            "answerKey": draw.choice(labels),
        }

    features = Features({"id": TEXT, "question": TEXT, "choices": CHOICES, "answerKey": TEXT})
    configs = ("ARC-Challenge", "ARC-Easy")
    made = {c: {s: [row(i) for i in range(EACH)] for s in SPLITS} for c in configs}
    sharded(folder, made, features)


def openbookqa(folder: Path) -> None:
    draw = rng("allenai/openbookqa")

    def row(number: int) -> dict[str, Any]:
        return {
            "id": f"7-{number}",
            "question_stem": f"{sentence(draw)} So one sees",
            "choices": lettered(draw),
            "answerKey": draw.choice("ABCD"),
        }

    features = Features({"id": TEXT, "question_stem": TEXT, "choices": CHOICES, "answerKey": TEXT})
    sharded(folder, {"main": {s: [row(i) for i in range(EACH)] for s in SPLITS}}, features)


def hellaswag(folder: Path) -> None:
    draw = rng("Rowan/hellaswag")

    def row(number: int, split: str) -> dict[str, Any]:
        first, second = sentence(draw), "then the man"
        return {
            "ind": number,
            "activity_label": "Building a wall",
            "ctx_a": first,
            "ctx_b": second,
            "ctx": f"{first} {second}",
            "endings": [f"takes the {draw.choice(THINGS)}. [title] {i}" for i in range(4)],
            "source_id": f"activitynet~v_{number}",
            "split": split,
            "split_type": "indomain",
            "label": "" if split == "test" else str(draw.randrange(4)),
        }

    names = ("activity_label", "ctx_a", "ctx_b", "ctx")
    last = ("source_id", "split", "split_type", "label")
    features = Features(
        {"ind": Value("int32"), **dict.fromkeys(names, TEXT), "endings": List(TEXT)}
        | dict.fromkeys(last, TEXT)
    )
    made = {"default": {s: [row(i, s) for i in range(EACH)] for s in SPLITS}}
    sharded(folder, made, features, prefix="data")


def winogrande(folder: Path) -> None:
    draw = rng("allenai/winogrande")

    def row(split: str) -> dict[str, Any]:
        one, two = draw.sample(THINGS, 2)
        return {
            "sentence": f"The {one} did not fit the {two} because the _ was too large.",
            "option1": one,
            "option2": two,
            "answer": "" if split == "test" else draw.choice("12"),
        }

    features = Features(dict.fromkeys(("sentence", "option1", "option2", "answer"), TEXT))
    configs = ("winogrande_debiased", "winogrande_xl")
    sharded(
        folder, {c: {s: [row(s) for _ in range(EACH)] for s in SPLITS} for c in configs}, features
    )


def piqa(folder: Path) -> None:
    """Files at the top, and a card that does not list them."""
    draw = rng("baber/piqa")
    features = Features({"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": Value("int64")})
    for split in SPLITS:
        rows = [
            {
                "goal": f"how to move a {draw.choice(THINGS)}?",
                "sol1": sentence(draw),
                "sol2": sentence(draw),
                "label": -1 if split == "test" else draw.randrange(2),
            }
            for _ in range(EACH)
        ]
        parquet(folder / f"piqa_{split}.parquet", rows, features)
    readme(folder)


def subjects() -> list[str]:
    """The subjects of MMLU, by the names of lm-eval's files."""
    found = importlib.util.find_spec("lm_eval")
    assert found and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0], "tasks/mmlu/default")
    return sorted(path.stem.removeprefix("mmlu_") for path in folder.glob("mmlu_*.yaml"))


def mmlu(folder: Path) -> None:
    """One configuration a subject; of `all` and `auxiliary_train` only the card tells."""
    draw = rng("cais/mmlu")
    letters = ClassLabel(names=list("ABCD"))
    features = Features(
        {"question": TEXT, "subject": TEXT, "choices": List(TEXT), "answer": letters}
    )
    each = {"test": 3, "validation": 2, "dev": 5}

    def row(subject: str) -> dict[str, Any]:
        choices = [f"the {draw.choice(THINGS)}" for _ in range(4)]
        asked = f"{sentence(draw)} Which one?"
        return {
            "question": asked, "subject": subject, "choices": choices, "answer": draw.randrange(4)
        }  # fmt: skip

    made = {c: {s: [row(c) for _ in range(n)] for s, n in each.items()} for c in subjects()}
    sharded(folder, made, features)
    whole = {"auxiliary_train": {"train": "auxiliary_train/train-*"}}
    whole["all"] = {split: f"all/{split}-*" for split in each}
    listed = {name: {split: f"{name}/{split}-*" for split in each} for name in made}
    readme(folder, (listed | whole).items())


def gsm8k(folder: Path) -> None:
    draw = rng("openai/gsm8k")

    def row() -> dict[str, Any]:
        one, two = draw.randrange(2, 90), draw.randrange(2, 90)
        thing = draw.choice(THINGS)
        return {
            "question": f"Ann has {one} of {thing} and buys {two}. How many has she?",
            "answer": f"{one}+{two} = <<{one}+{two}={one + two}>>{one + two}\n#### {one + two}",
        }

    features = Features({"question": TEXT, "answer": TEXT})
    made = {
        c: {s: [row() for _ in range(EACH)] for s in ("train", "test")}
        for c in ("main", "socratic")
    }
    sharded(folder, made, features)


INSTRUCTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 4}),
    ("language:response_language", {"language": "de"}),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
    ),
    ("change_case:english_lowercase", {}),
    ("keywords:forbidden_words", {"forbidden_words": ["stone", "garden"]}),
    ("punctuation:no_comma", {}),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 5}),
    ("startend:quotation", {}),
)


def ifeval(folder: Path) -> None:
    """JSON lines at the top, a card that does not list them, and one split: train."""
    draw = rng("google/IFEval")
    rows = []
    for number, first in enumerate(INSTRUCTIONS):
        chosen = [
            first,
            *([INSTRUCTIONS[(number + 3) % len(INSTRUCTIONS)]] if number % 3 == 0 else []),
        ]
        rows.append(
            {
                "key": 1000 + number,
                "prompt": f"Write about a {draw.choice(THINGS)}. Mind the rules.",
                "instruction_id_list": [name for name, _ in chosen],
                "kwargs": [kwargs for _, kwargs in chosen],
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "ifeval_input_data.jsonl").write_text(lines)
    readme(folder)


SNAPSHOTS: dict[str, Callable[[Path], None]] = {
    "allenai/ai2_arc": ai2_arc,
    "Rowan/hellaswag": hellaswag,
    "allenai/winogrande": winogrande,
    "baber/piqa": piqa,
    "allenai/openbookqa": openbookqa,
    "cais/mmlu": mmlu,
    "google/IFEval": ifeval,
    "openai/gsm8k": gsm8k,
    "open-compass/LawBench": lawbench,
}


def punkt(folder: Path) -> None:
    """A tiny model of sentence boundaries in the files of NLTK's punkt_tab, below `folder`."""
    target = folder / "tokenizers" / "punkt_tab" / "english"
    target.mkdir(parents=True)
    (target / "abbrev_types.txt").write_text("dr\nmr\n")
    (target / "collocations.tab").write_text("a\tb\n")
    (target / "ortho_context.tab").write_text("the\t46\n")
    (target / "sent_starters.txt").write_text("the\n")
