"""The verdicts on one checkpoint's stored answers: G-Eval, prompt alignment, clarity."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from compression_order.common import files, process
from compression_order.judge import clarity, entries, metrics, prompts
from compression_order.judge.endpoint import client
from compression_order.judge.metrics import Case, Rated
from compression_order.judge.panel import DEEPEVAL, Panel, Verdict
from compression_order.judge.prompts import Answer, Prompt
from compression_order.judge.settings import ALIGNMENT, CLARITY, G_EVAL, PAPER, Options

# no words, no verdict: it is not put to the judge
EMPTY: Verdict = {"score": 0.0, "weighted": None, "answered_by": None}


class Judging:
    """The verdicts on one checkpoint's answers.

    Args:
        panel: the judge with its store.
        steps: the evaluation steps of each G-Eval metric.
        asked: the prompts.
        answers: to each of them.
        label: for the progress lines.
    """

    def __init__(
        self,
        panel: Panel,
        steps: dict[str, list[str]],
        asked: Sequence[Prompt],
        answers: Sequence[Answer],
        label: str,
    ) -> None:
        self.panel, self.steps, self.label = panel, steps, label
        self.options, self.answers = panel.options, answers
        self.rated = {m.name: m for m in metrics.rated(self.options.variant)}
        self.cases = [self._case(p, a) for p, a in zip(asked, answers, strict=True)]
        self.verdicts: list[Verdict] = []  # all that the judge gave

    def _case(self, prompt: Prompt, answer: Answer) -> Case:
        # as published, the text that is judged still begins with the prompt
        output = f"{prompt.text}\n{answer.text}" if self.options.variant == PAPER else answer.text
        return Case(prompt.text, output, prompt.gold)

    def entries(self) -> dict[str, Any]:
        """The entry of each metric that is asked for."""
        entries = {G_EVAL: self.g_eval, ALIGNMENT: self.alignment, CLARITY: self.clarity}
        return {metric: entries[metric]() for metric in self.options.asked}

    def g_eval(self) -> dict[str, Any]:
        """Correctness and relevance, with the share of probability-weighted scores."""
        found = self._rate(self.rated[G_EVAL])
        told = [v["weighted"] for row in found for v in row if v["weighted"] is not None]
        share = sum(told) / len(told) if told else None
        return {**entries.entry(_scores(found)), "weighted": share}

    def alignment(self) -> dict[str, Any]:
        """The share of the instructions that are followed."""
        asked = metrics.instructions(self.options.variant)

        def ask(case: Case, id: str, repeat: int) -> Verdict:
            return self.panel.align(asked, case, id, repeat)

        return entries.entry(_scores(self._each(ALIGNMENT, ask, self.options.repeats)))

    def clarity(self) -> dict[str, Any]:
        """Readability, fluency and coherence, and their mean."""
        if self.options.variant == PAPER:
            found = self._each("cosine", lambda case, id, repeat: self.panel.cosine(case, id), 1)
        else:
            found = self._rate(self.rated[metrics.COHERENCE])
        coherences = _scores(found)
        by_repeat = [
            [
                clarity.parts(answer, case.output, coherence, self.options.variant)
                for coherence in row
            ]
            for answer, case, row in zip(self.answers, self.cases, coherences, strict=True)
        ]
        means = [
            {name: sum(p[name] for p in row) / len(row) for name in row[0]} for row in by_repeat
        ]
        entry = entries.entry([[clarity.score(p) for p in row] for row in by_repeat])
        return {**entry, "parts": {name: [m[name] for m in means] for name in means[0]}}

    def _rate(self, its: Rated) -> list[list[Verdict]]:
        ask = partial(self.panel.rate, its, self.steps[its.name])
        return self._each(its.name, ask, self.options.repeats)

    def _each(
        self, metric: str, ask: Callable[[Case, str, int], Verdict], repeats: int
    ) -> list[list[Verdict]]:
        """The verdicts on all answers, [answers][repeats], several asked at once."""
        asked = [(n, r) for n in range(len(self.cases)) for r in range(repeats)]
        progress = process.Progress(f"{self.label} {metric}", "verdict", len(asked))
        found: list[list[Verdict]] = [[] for _ in self.cases]
        with _at_once(self.options.parallel) as pool:
            waiting = [pool.submit(self._one, ask, n, r) for n, r in asked]
            for done, ((n, _), one) in enumerate(zip(asked, waiting, strict=True), 1):
                found[n].append(one.result())
                progress.update(done)
        self.verdicts += [verdict for row in found for verdict in row]
        return found

    def _one(self, ask: Callable[[Case, str, int], Verdict], n: int, repeat: int) -> Verdict:
        case = self.cases[n]
        return ask(case, self.answers[n].id, repeat) if case.output.strip() else EMPTY


@contextmanager
def _at_once(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are sent home when one of them finds a fault."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _scores(verdicts: Sequence[Sequence[Verdict]]) -> list[list[float]]:
    return [[float(verdict["score"]) for verdict in row] for row in verdicts]


def record(judge: Options, steps: Any, sample: str, judging: Judging) -> dict[str, Any]:
    """The contents of judge.json."""
    entries = judging.entries()
    definition = {
        **judge.deciding,
        "deepeval": DEEPEVAL,
        "steps": steps,
        "instructions": metrics.instructions(judge.variant),
        "repeats": judge.repeats,
    }
    named = {v["answered_by"] for v in judging.verdicts if v.get("answered_by")}
    return {
        "judge": definition,
        "answered_by": sorted(named),
        "sample_sha256": files.digest([sample, definition]),
        "prompts_sha256": sample,
        "prompts": [answer.id for answer in judging.answers],
        "metrics": entries,
    }


def write(args: argparse.Namespace, judge: Options) -> None:
    """Judge the answers, and write what was found.

    Args:
        args: answers, text, splits, prompts, steps, store and out.
        judge: who judges, and how.

    Raises:
        HarnessError: the endpoint cannot be asked, or the answers are to other prompts.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    process.log.setLevel(logging.INFO)
    asked = prompts.read(args.text, args.splits, args.prompts)
    answers = prompts.answers(args.answers, asked)
    steps = files.read_json(args.steps)
    panel = Panel(judge, client(judge), args.store)
    judging = Judging(panel, steps, asked, answers, f"{args.answers.parent.name} judge")
    files.write_json(args.out, record(judge, steps, prompts.sample(asked), judging))


def write_steps(args: argparse.Namespace, judge: Options) -> None:
    """Ask the judge once by which steps it means to go: the chain of thought of G-Eval.

    Args:
        args: store and out.
        judge: who judges, and how.
    """
    panel = Panel(judge, client(judge), args.store)
    needed = {"g_eval": G_EVAL, metrics.COHERENCE: CLARITY}
    wanted = [m for m in metrics.rated(judge.variant) if needed[m.name] in judge.asked]
    files.write_json(args.out, {m.name: panel.steps(m) for m in wanted})
