"""Write what every program is given: batches, cached teacher, windows, questions, references.

    python -m benchmarks.prepare full work/benchmark/full

References are this project's inputs through plain torch in float32: what the first step of each
training program must compute.
"""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import given as data
from benchmarks.given import Given
from benchmarks.programs import losses, training
from benchmarks.sizes import BY_NAME, Sizes
from benchmarks.ways import WAYS
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process
from compression_order.evaluation import samples
from compression_order.evaluation.questions import spread
from compression_order.stages import lock
from compression_order.study.settings import Scoring
from compression_order.text import chat
from compression_order.training import loop, teacher
from compression_order.training.settings import Training

STUDY = Path("results/smollm2-135m")
BASE, SPLITS = STUDY / "seed0/checkpoints/base", STUDY / "splits.json"
TEXTS = Path("assets/text")
CHAT, PROSE = TEXTS / "alpaca.jsonl", TEXTS / "wiki.jsonl"
CALIBRATION_LENGTH = 256


def inputs(checkpoint: Checkpoint, sizes: Sizes, folder: Path, model: Any) -> dict[str, Any]:
    """Everything but the references; writes the caches of the teacher."""
    tokenizer, vocabulary = checkpoint.tokenizer, checkpoint.config.vocab_size
    how = Training(conversations=sizes.conversations)
    documents = loop.documents(tokenizer, CHAT, SPLITS, how)
    cached = folder / "teacher.safetensors"
    teacher.write(cached, model, documents, data.TOP_K, vocabulary, "teacher")
    cache = teacher.Cache(cached, teacher.key(documents, data.TOP_K))
    batches = chat.schedule(documents, sizes.batch, sizes.steps, 0)
    buckets = {}
    for number, drawn in enumerate(batches):
        found = cache.buckets([d.index for d in drawn], data.TEMPERATURE, torch.device("cpu"))
        buckets[f"ids.{number}"], buckets[f"log_probs.{number}"] = found
    save_file(buckets, folder / "buckets.safetensors")
    prose = samples.windows(
        tokenizer,
        PROSE,
        Scoring(seq_len=data.LENGTH, max_tokens=sizes.windows * data.LENGTH, joined=True),
    )
    calibration = chat.encode(tokenizer, chat.records(CHAT, SPLITS, "calibration"))
    windows = chat.windows(calibration, CALIBRATION_LENGTH, sizes.calibration)
    linears = [m for m in model.base_model.layers.modules() if isinstance(m, torch.nn.Linear)]
    return {
        "chat": str(CHAT.resolve()),
        "splits": str(SPLITS.resolve()),
        "base": str(checkpoint.folder.resolve()),
        "pad": model.config.pad_token_id or 0,
        "batches": [[{"ids": d.ids, "labels": d.labels} for d in drawn] for drawn in batches],
        "windows": prose.sequences,
        "questions": {n: chosen(n, count) for n, count in sizes.questions.items()},
        "calibration": windows.tolist(),
        "quantized_mb": sum(2 * m.weight.numel() for m in linears) / 1e6,
    }


def chosen(name: str, count: int) -> list[int]:
    """The numbers of the questions that ours asks of a set."""
    return spread(count, len(files.read_lines(TEXTS / f"{name}.jsonl")))


def faster(model: Any) -> str:
    """What `compute: auto` comes to here."""
    dtypes = {arithmetic.BF16: torch.bfloat16, arithmetic.FLOAT32: torch.float32}
    products = lock.shapes(model.config)
    rates = {name: lock.rate(products, dtype, model.device) for name, dtype in dtypes.items()}
    return lock.faster(rates)


@torch.no_grad()
def references(given: Given, wanted: Collection[str]) -> dict[str, float]:
    """The loss of the first batch as training programs have it; see `Way.value`."""
    student, its_teacher = training.student_of(given), training.model_of(given, torch.float32)

    def logits(batch: data.Batch) -> list[Tensor]:
        models = (student, its_teacher)
        return [m(input_ids=batch.ids, attention_mask=batch.attention).logits for m in models]

    batch = given.batches[0]
    mask = losses.counted(batch)
    z, theirs = (found[:, :-1][mask] for found in logits(batch))
    labels = batch.labels[:, 1:][mask]
    found = {
        "buckets": losses.bucket_loss(z, labels, *given.buckets(0)),
        "vocabulary": losses.vocabulary_loss(z, labels, theirs),
        "divergence": losses.divergence(z, theirs),
    }
    if "published" in wanted:
        whole = batch.padded(data.LENGTH, given.pad)
        z, theirs = logits(whole)
        found["published"] = losses.published_loss(z, whole.labels, theirs)
    return {name: value.item() for name, value in found.items()}


def write(name: str, folder: Path) -> None:
    """Write the folder of one of the sizes."""
    process.start(1)
    folder.mkdir(parents=True, exist_ok=True)
    sizes, checkpoint = BY_NAME[name], Checkpoint.open(BASE)
    model = checkpoint.model(torch.bfloat16)
    facts = {"sizes": name, "compute": faster(model), **inputs(checkpoint, sizes, folder, model)}
    del model
    (folder / "given.json").write_text(json.dumps(facts))
    wanted = {way.value for way in WAYS if way.quick or name != "quick"}
    facts["references"] = references(Given(folder), wanted)
    (folder / "given.json").write_text(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", choices=BY_NAME)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    write(args.sizes, args.folder)


if __name__ == "__main__":
    main()
