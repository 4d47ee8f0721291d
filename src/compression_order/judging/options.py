"""What a study says about its judge: `judge` in the study file, flags on the command line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from compression_order import schema
from compression_order.errors import HarnessError

G_EVAL, ALIGNMENT, CLARITY = "g_eval", "prompt_alignment", "clarity"
METRICS = (G_EVAL, ALIGNMENT, CLARITY)
PAPER, CORRECTED = "paper", "corrected"

# what decides a verdict; the address, patience and haste do not
_DECIDING = (
    "model", "variant", "temperature", "log_probabilities", "response_format", "max_tokens",
    "embedding_model",
)  # fmt: skip


@dataclass(frozen=True)
class Answering:
    """How answers are generated; meanings and units are in the schema."""

    prompts: int = 0
    max_new_tokens: int = 200
    temperature: float = 0.0


@dataclass(frozen=True)
class Options:
    """The judge; meanings and units are in the schema."""

    endpoint: str = ""
    model: str = ""
    variant: str = CORRECTED
    metrics: str = ",".join(METRICS)
    temperature: float = 0.0
    repeats: int = 1
    log_probabilities: bool = True
    response_format: str = "text"
    max_tokens: int = 512
    timeout: float = 120.0
    attempts: int = 3
    parallel: int = 4
    embedding_model: str = ""

    @property
    def asked(self) -> list[str]:
        """The metrics, in the order of the table."""
        return asked(self.metrics)

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide a verdict."""
        return {name: getattr(self, name) for name in _DECIDING}


def asked(metrics: str) -> list[str]:
    """The metrics named in `g_eval,clarity`, in the order of the table."""
    named = metrics.split(",")
    return [metric for metric in METRICS if metric in named]


def read(values: Mapping[str, Any]) -> Options:
    """The judge of the parsed flags, checked against the schema.

    Raises:
        HarnessError: a value out of its range, or one that another needs is absent.
    """
    options = Options(**{f.name: values[f.name] for f in fields(Options)})
    entry = {k: v for k, v in asdict(options).items() if v != ""}
    described = schema.method_schema("judge")
    required = [name for name in described["required"] if name != "answers"]
    schema.validate(entry, described | {"required": required}, "command line")
    check(entry, "command line: ")
    return options


def check(entry: Mapping[str, Any], where: str = "judge.") -> None:
    """Refuse a judge that cannot judge what it is asked for.

    Raises:
        HarnessError: cosines are asked for and no model gives embeddings.
    """
    metrics = asked(entry.get("metrics", Options.metrics))
    cosine = entry.get("variant", CORRECTED) == PAPER and CLARITY in metrics
    if cosine and not entry.get("embedding_model"):
        raise HarnessError(
            f"{where}embedding_model: the key is missing; `variant: paper` compares answers by the "
            "cosine of their embeddings, so name the model that gives them, or leave out clarity"
        )
