"""One judge with its store: every verdict is asked once, and again where it was nonsense.

A verdict is a file, `<store>/<model>/<deepeval version>/<metric>/<key>.json`; the key is the hash
of everything that decides it, the hash of the prompt among them. What was asked once is not asked,
nor paid for, again. The files are the cache of a run and survive `make clean`; a study's own record
is `judge.json`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.judge import endpoint, metrics
from compression_order.judge.endpoint import Endpoint, Nonsense
from compression_order.judge.metrics import Case, Rated
from compression_order.judge.settings import Options

Verdict = dict[str, Any]

DEEPEVAL = version("deepeval")
AGAIN = 1.0  # temperature of the second attempt on: at 0 the judge would repeat itself


@dataclass(frozen=True)
class Panel:
    """The judge of a study.

    Attributes:
        options: of the study.
        client: of the endpoint.
        kept: folder of the stored verdicts.
    """

    options: Options
    client: openai.OpenAI
    kept: Path

    def steps(self, its: Rated) -> list[str]:
        """The evaluation steps of a G-Eval metric."""
        if its.steps:
            return list(its.steps)

        def ask(judge: Endpoint) -> Verdict:
            return {"steps": metrics.evaluation_steps(its, judge)}

        definition = {"criteria": its.criteria, "looks_at": list(its.looks_at)}
        steps: list[str] = self._recall(f"{its.name}-steps", definition, None, 0, ask)["steps"]
        return steps

    def rate(self, its: Rated, steps: Sequence[str], case: Case, id: str, repeat: int) -> Verdict:
        """The verdict of a G-Eval metric on one answer."""
        definition = {"steps": list(steps), "looks_at": list(its.looks_at)}
        return self._recall(
            its.name, definition, (id, case), repeat,
            lambda judge: metrics.rate(its, judge, steps, case),
        )  # fmt: skip

    def align(self, asked: list[str], case: Case, id: str, repeat: int) -> Verdict:
        """The verdict of prompt alignment on one answer."""
        return self._recall(
            "prompt_alignment", {"instructions": asked}, (id, case), repeat,
            lambda judge: metrics.align(judge, asked, case),
        )  # fmt: skip

    def cosine(self, case: Case, id: str) -> Verdict:
        """Cosine of the embeddings of the answer and of the text's own, -1..1."""

        def ask() -> Verdict:
            try:
                response = self.client.embeddings.create(
                    model=self.options.embedding_model,
                    input=[case.output, case.expected],
                    encoding_format="float",
                )
            except openai.OpenAIError as fault:
                endpoint.fail(self.options, fault)
            vectors = [[float(x) for x in entry.embedding] for entry in response.data]
            return {"score": _cosine(vectors, self.options)}

        return recall(self.kept, self._key("cosine", {}, (id, case), 0), ask)

    def _key(
        self,
        metric: str,
        definition: Mapping[str, Any],
        about: tuple[str, Case] | None,
        repeat: int,
    ) -> dict[str, Any]:
        case = about and {"prompt": about[0], "texts": files.digest(vars(about[1]))}
        return {
            **self.options.deciding,
            "deepeval": DEEPEVAL,
            "metric": metric,
            "definition": dict(definition),
            "about": case,
            "repeat": repeat,
        }

    def _recall(
        self,
        metric: str,
        definition: Mapping[str, Any],
        about: tuple[str, Case] | None,
        repeat: int,
        ask: Callable[[Endpoint], Verdict],
    ) -> Verdict:
        key = self._key(metric, definition, about, repeat)
        return recall(self.kept, key, lambda: self._ask(metric, about, repeat, ask))

    def _ask(
        self,
        metric: str,
        about: tuple[str, Case] | None,
        repeat: int,
        ask: Callable[[Endpoint], Verdict],
    ) -> Verdict:
        """Ask, and ask again with another seed where the answer is nonsense."""
        options, why = self.options, ""
        for attempt in range(options.attempts):
            temperature = max(options.temperature, AGAIN if attempt else 0.0)
            seed = repeat + 1000 * attempt
            judge = Endpoint(options, self.client, seed, temperature)
            try:
                found = ask(judge)
            except Nonsense as fault:
                why = str(fault)
                continue
            said = judge.exchanges[-1]
            return {
                **found,
                "said": said.text,
                "judge_prompt_sha256": files.digest(said.prompt),
                "answered_by": said.model,
                "fingerprint": said.fingerprint,
                "attempt": attempt + 1,
            }
        of = f" of the answer to prompt {about[0][:12]}" if about else ""
        raise HarnessError(
            f"judge.model {options.model!r} gave {why} for {metric}{of}, {options.attempts} times; "
            "name a stronger model, let the server hold it to the form "
            "(judge.response_format: json_schema), or raise judge.attempts or judge.max_tokens"
        )


def _cosine(vectors: Sequence[Sequence[float]], options: Options) -> float:
    lengths = [math.hypot(*vector) for vector in vectors]
    if len(vectors) != 2 or len(vectors[0]) != len(vectors[1]) or not all(lengths):
        raise HarnessError(
            f"judge.embedding_model {options.embedding_model!r} gave {len(vectors)} embeddings of "
            f"{', '.join(str(len(v)) for v in vectors) or 'no'} numbers for two texts, which have "
            "no cosine; name a model for embeddings"
        )
    dot = sum(a * b for a, b in zip(*vectors, strict=True))
    return dot / (lengths[0] * lengths[1])


def path_of(store: Path, key: Mapping[str, Any]) -> Path:
    """Where the verdict of a key lies; `model`, `deepeval` and `metric` are in every key."""
    model = re.sub(r"[^A-Za-z0-9._-]+", "_", key["model"])
    name = files.digest(dict(key))
    return store / model / key["deepeval"] / key["metric"] / name[:2] / f"{name}.json"


def recall(store: Path, key: Mapping[str, Any], ask: Callable[[], Verdict]) -> Verdict:
    """The stored verdict, or the answer of `ask`, which is stored whole or not at all.

    Raises:
        HarnessError: the stored file is damaged; or what `ask` raises.
    """
    at = path_of(store, key)
    if not at.exists():
        files.write_json(at, {"key": dict(key), "verdict": ask()})
    stored = files.read_json(at)
    if not isinstance(stored, dict) or stored.get("key") != key or "verdict" not in stored:
        raise HarnessError(f"{at} is not the verdict that its name says; delete it and run again")
    verdict: Verdict = stored["verdict"]
    return verdict
