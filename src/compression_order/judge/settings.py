"""What a study may say of its judge and of the answers that are judged. Pure Python."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from compression_order.common.declare import Settings, fault

G_EVAL, ALIGNMENT, CLARITY = "g_eval", "prompt_alignment", "clarity"
METRICS = (G_EVAL, ALIGNMENT, CLARITY)
PAPER, CORRECTED = "paper", "corrected"

# what decides a verdict; the address, patience and haste do not
_DECIDING = (
    "model", "variant", "temperature", "log_probabilities", "response_format", "max_tokens",
    "embedding_model",
)  # fmt: skip


class Generation(Settings):
    """How answers are generated: the flags of src/answers.py."""

    prompts: Annotated[
        int,
        Field(
            ge=0,
            description="prompts to answer, the first held-out ones or spread evenly; 0 = all",
        ),
    ] = 0
    max_new_tokens: Annotated[int, Field(ge=1, description="longest answer, tokens")] = 200
    temperature: Annotated[
        float,
        Field(
            ge=0,
            description="of the answers; 0 = greedy, else they are drawn with the study's seed",
        ),
    ] = 0.0


class Answering(Generation):
    """The answers that are judged."""

    text: Annotated[
        str,
        Field(
            description="chat text that the prompts are of; of the held-out text the held-out "
            "conversations, of another one all"
        ),
    ]

    @property
    def generation(self) -> Generation:
        """How they are generated."""
        return Generation(**self.model_dump(exclude={"text"}))


class Options(Settings):
    """Who judges, and how: the flags of src/judge.py."""

    endpoint: Annotated[
        str,
        Field(
            pattern="^https?://",
            description="address of an OpenAI-compatible server, such as http://localhost:8000/v1",
        ),
    ]
    model: Annotated[str, Field(min_length=1, description="the judge, by its name on the server")]
    variant: Annotated[
        Literal["corrected", "paper"],
        Field(description="corrected, or paper, which repeats arXiv 2511.19495 with its quirks"),
    ] = "corrected"
    metrics: Annotated[
        str,
        Field(
            pattern="^(g_eval|prompt_alignment|clarity)(,(g_eval|prompt_alignment|clarity))*$",
            description="what is judged, of g_eval, prompt_alignment and clarity, joined by commas",
        ),
    ] = ",".join(METRICS)
    temperature: Annotated[
        float,
        Field(
            ge=0, description="of the judge; an answer that is no verdict is asked for again at 1"
        ),
    ] = 0.0
    repeats: Annotated[
        int,
        Field(
            ge=1,
            description="verdicts on each answer; their mean counts, and 2 or more tell how far "
            "they agree",
        ),
    ] = 1
    log_probabilities: Annotated[
        bool,
        Field(description="ask for log-probabilities and weight the scores of G-Eval by them"),
    ] = True
    response_format: Annotated[
        Literal["text", "json_object", "json_schema"],
        Field(
            description="what the server holds the judge to; text is nothing, json_object and "
            "json_schema are those of the OpenAI protocol, for servers that can"
        ),
    ] = "text"
    max_tokens: Annotated[int, Field(ge=16, description="longest verdict, tokens")] = 512
    timeout: Annotated[float, Field(gt=0, description="wait for a verdict, seconds")] = 120.0
    attempts: Annotated[
        int,
        Field(
            ge=1,
            description="requests before a fault of the network or an answer that is no verdict "
            "counts",
        ),
    ] = 3
    parallel: Annotated[int, Field(ge=1, description="requests at once")] = 4
    embedding_model: Annotated[
        str,
        Field(
            description="model of the server that gives embeddings, for clarity with variant paper"
        ),
    ] = ""

    @property
    def asked(self) -> list[str]:
        """The metrics, in the order of the table."""
        named = self.metrics.split(",")
        return [metric for metric in METRICS if metric in named]

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide a verdict."""
        return {name: getattr(self, name) for name in _DECIDING}

    @model_validator(mode="after")
    def _require_embeddings(self) -> Self:
        if self.variant == PAPER and CLARITY in self.asked and not self.embedding_model:
            raise fault(
                "the key 'embedding_model' is missing; `variant: paper` compares answers by the "
                "cosine of their embeddings, name the model that gives them, or leave out clarity"
            )
        return self


class Judge(Options):
    """A judge of generated answers; without one nothing is judged."""

    answers: Answering

    @property
    def options(self) -> Options:
        """Who judges, and how."""
        return Options(**self.model_dump(exclude={"answers"}))
