"""All evaluations of one checkpoint: perplexity, fidelity to the base, question sets, size.

One process runs them all, because importing the libraries and loading the model take longer than
some of the scores.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process
from compression_order.costs import meter
from compression_order.evaluation import hub_questions, perplexity, questions, samples
from compression_order.evaluation.perplexity import Reference, Scores
from compression_order.evaluation.samples import Sample
from compression_order.study.settings import Opening, Scoring


class Battery:
    """One checkpoint under evaluation.

    Args:
        args: the flags of src/measure.py.
        scoring: how texts and questions are scored.
        opening: how whole conversations are scored.
        scratch: an empty folder that stays until the questions are answered.
    """

    def __init__(
        self, args: argparse.Namespace, scoring: Scoring, opening: Opening, scratch: Path
    ) -> None:
        self.args, self.scoring, self.opening = args, scoring, opening
        device = process.start(args.threads, device=args.device, compute=args.compute)
        self.costs = meter.Costs("measure", args.threads)
        self.name = args.checkpoint.name
        self.prepared = self._prepare(scratch)
        # an adapter is scored beside the weights, not merged
        self.checkpoint = Checkpoint.open(args.checkpoint)
        self.model = self.checkpoint.model(arithmetic.dtype(), device)
        label = f"{self.name} lm-eval"
        self.lm = questions.ToldHFLM(
            self.model, self.checkpoint.tokenizer, scoring.batch_size, label
        )
        questions.require_room(self.lm, self.prepared)
        self.costs.loaded()

    def _prepare(self, scratch: Path) -> list[questions.Prepared]:
        """Load all questions before any slow step."""
        args = self.args
        folders = hub_questions.snapshots(args.dataset)
        sources = hub_questions.Sources(folders, args.task_folder, args.nltk)
        asked = hub_questions.parse(args.hub_tasks, args.hub_shots)
        local = questions.prepare([questions.Asked.parse(task) for task in args.tasks])
        return [*local, *hub_questions.prepare(asked, sources, scratch)]

    def run(self) -> None:
        """Score everything, write everything."""
        perplexities, fidelity = self.texts()
        out = self.args.out
        files.write_json(out / "perplexity.json", perplexities)
        files.write_json(out / "fidelity.json", fidelity)
        files.write_json(out / "lm_eval.json", questions.answer(self.lm, self.prepared))
        files.write_json(out / "size.json", size_record(self.checkpoint.manifest))
        self.costs.write(self.args.costs)

    def texts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The contents of perplexity.json and fidelity.json."""
        args, tokenizer = self.args, self.checkpoint.tokenizer
        perplexities = {}
        for text in args.windows:
            sample = samples.windows(tokenizer, text, self.scoring)
            perplexities[text.stem] = perplexity.perplexity_record(sample, self.score(text, sample))
        chat = args.documents
        sample = samples.documents(tokenizer, chat, args.splits, self.opening)
        against = Reference.read(args.reference, self.model.device)
        scores = self.score(chat, sample, against)
        perplexities[chat.stem] = perplexity.perplexity_record(sample, scores)
        return perplexities, perplexity.fidelity_record(chat.stem, sample, scores)

    def score(self, text: Path, sample: Sample, against: Reference | None = None) -> Scores:
        """Score one sample and report progress."""
        label = f"{self.name} perplexity {text.stem}"
        progress = process.Progress(label, "sequence", len(sample.sequences))
        return perplexity.score(self.model, sample, against, progress.update)


def size_record(manifest: dict[str, Any]) -> dict[str, Any]:
    """The contents of size.json, from the manifest that the stage proved."""
    stored = manifest["bytes"]
    return {
        "format": manifest["format"],
        "bytes": stored["model"],
        "analytic_bytes": stored["analytic"],
        "header_bytes": stored["header"],
        "metadata_bytes": stored["metadata"],
        "parameters": manifest["parameters"]["total"],
        "nonzero": manifest["parameters"]["nonzero"],
    }


def measure(args: argparse.Namespace, scoring: Scoring, opening: Opening) -> None:
    """Load once, score everything, write everything.

    Args:
        args: the flags of src/measure.py.
        scoring: how texts and questions are scored.
        opening: how whole conversations are scored.

    Raises:
        HarnessError: the checkpoint is damaged, or a text, a task or a dataset does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="questions-") as scratch:
        Battery(args, scoring, opening, Path(scratch)).run()
