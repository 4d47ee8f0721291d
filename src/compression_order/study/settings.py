"""Settings of a made model, of scoring and of serving. Pure Python."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from compression_order.common.declare import Settings, fault


def _different(values: list[Any]) -> list[Any]:
    if len(set(map(str, values))) < len(values):
        raise fault(f"{values!r} names one of them twice; name each once")
    return values


Different = AfterValidator(_different)


class MadeModel(Settings):
    """A tiny model made and trained on the spot."""

    layers: Annotated[int, Field(ge=1, description="decoder layers")] = 2
    hidden: Annotated[int, Field(ge=8, description="hidden channels")] = 64
    ffn: Annotated[int, Field(ge=8, description="FFN neurons a layer")] = 256
    heads: Annotated[int, Field(ge=1, description="attention heads")] = 4
    key_value_heads: Annotated[int, Field(ge=1, description="heads that share keys")] = 2
    vocabulary: Annotated[
        int, Field(ge=260, description="token ids: 256 bytes, the marks of a chat, words")
    ] = 512
    steps: Annotated[int, Field(ge=0, description="training steps of 2048 tokens")] = 200
    seed: Annotated[int, Field(ge=0, description="of weights and batches")] = 0


FEWEST_DOCUMENTS = 30  # of a text that is cut in windows, if it has them


class Scoring(Settings):
    """How the texts and questions of every checkpoint are scored: the flags of src/measure.py."""

    seq_len: Annotated[int, Field(ge=2, description="window, tokens")] = 512
    max_tokens: Annotated[int, Field(ge=0, description="tokens scored per text; 0 = all")] = 8192
    joined: Annotated[
        bool,
        Field(
            description="cut windows from all documents joined, as the literature does; false = no "
            "window crosses a document, and the tokens are spread over many of them"
        ),
    ] = False
    batch_size: Annotated[int, Field(ge=1, description="questions a batch")] = 8


class Opening(Settings):
    """How whole conversations are scored."""

    score_opening: Annotated[
        bool,
        Field(
            description="score the opening that all held-out conversations share; false = it is "
            "read only"
        ),
    ] = False
    answers_only: Annotated[
        bool,
        Field(description="score the assistant's tokens alone, as they are trained on"),
    ] = False
    part: Annotated[
        Literal["held_out", "dev"],
        Field(description="the conversations to score: held_out, or dev to choose settings on"),
    ] = "held_out"


class Serving(Settings):
    """What `make serving` measures: the flags of src/serve.py."""

    batch_sizes: Annotated[
        list[Annotated[int, Field(ge=1)]],
        Field(min_length=1, description="sequences served at once, one measurement each"),
        Different,
    ] = [1, 4]
    prompt: Annotated[int, Field(ge=1, description="tokens of a prompt")] = 64
    new_tokens: Annotated[
        int,
        Field(ge=2, description="tokens of an answer, the first of which comes with the prefill"),
    ] = 32
    repeats: Annotated[int, Field(ge=1, description="timed rounds")] = 5
    warmup: Annotated[int, Field(ge=0, description="rounds before them, not timed")] = 1


Ascending = AfterValidator(lambda values: sorted(set(values)))


class Grid(Settings):
    """The settings of one stage that are tried."""

    parents: Annotated[
        list[str],
        Field(min_length=1, description="pipelines that each point is tried on, base among them"),
        Different,
    ]
    settings: Annotated[
        dict[str, Annotated[list[int | float], Field(min_length=1), Ascending]],
        Field(
            min_length=1,
            description="values of each setting by its dotted name; where the best lies at an end, "
            "one more is tried",
        ),
    ]


class Tuning(Settings):
    """How settings are chosen on the dev split, before any order is compared: `make tune`."""

    seed: Annotated[int, Field(ge=0, description="of its draw; no seed of the study")]
    grid: Annotated[
        dict[str, Grid], Field(min_length=1, description="stages with what is tried of each")
    ]


MOST_PRIMARY = 8  # contrasts: each one more widens the intervals of all

Group = Annotated[list[str], Field(min_length=1), Different]


def _groups(value: Any) -> Any:
    """A row that stands alone is a group of one."""
    return [[its] if isinstance(its, str) else its for its in value]


Groups = Annotated[list[Group], Field(min_length=1), BeforeValidator(_groups)]


class Contrast(Settings):
    """Perplexity of some rows over that of others, chosen before the study is run."""

    over: Annotated[
        Groups,
        Field(
            description="rows above the line; a list within the list is the geometric mean of its "
            "rows, and several stand for their product"
        ),
    ]
    under: Annotated[Groups, Field(description="rows below the line, as many as above")]
    expect: Annotated[
        Literal["lower", "higher", "equal", "open"],
        Field(description="what the ratio is expected to be: below 1, above 1, 1, or not said"),
    ] = "open"

    @property
    def is_pair(self) -> bool:
        """Whether it is one row over another."""
        return [len(group) for group in [*self.over, *self.under]] == [1, 1]

    @property
    def rows(self) -> list[str]:
        """Every row that it names, once."""
        return list(dict.fromkeys(row for group in [*self.over, *self.under] for row in group))


def _comparable(contrasts: dict[str, Contrast]) -> dict[str, Contrast]:
    if len(contrasts) > MOST_PRIMARY:
        raise fault(
            f"{len(contrasts)} contrasts are too many to be called primary; choose at most "
            f"{MOST_PRIMARY}"
        )
    for name, its in contrasts.items():
        if len(its.over) != len(its.under):
            raise fault(
                f"{name!r} has {len(its.over)} terms over {len(its.under)}; give as many below the "
                "line as above"
            )
        if its.over == its.under:
            raise fault(f"{name!r} divides rows by themselves; name two different sets of rows")
    return contrasts


class Comparisons(Settings):
    """What the findings compare: chosen before the study is run."""

    text: Annotated[
        str,
        Field(
            description="the text that decides; none = the first that is scored by whole "
            "conversations"
        ),
    ] = ""
    weighting: Annotated[
        Literal["tokens", "documents"],
        Field(
            description="what a document counts in a mean: its scored tokens, or as much as any "
            "other"
        ),
    ] = "tokens"
    bound: Annotated[
        float,
        Field(
            gt=1,
            description="two perplexities are called equal where the interval of their ratio lies "
            "between 1 / bound and bound",
        ),
    ] = 1.05
    pairs: Annotated[
        Literal["same-stages", "all"],
        Field(
            description="same-stages = every two orders of the same stages; all = every two rows "
            "too, and analysis.json lists every comparison"
        ),
    ] = "same-stages"
    contrasts: Annotated[
        dict[str, Contrast],
        Field(
            description="the primary contrasts by name: what the study is about, corrected as a "
            "family of their own; in a file laid over a study null leaves one out, or all of them"
        ),
        AfterValidator(_comparable),
    ] = {}

    @property
    def all_pairs(self) -> bool:
        """Whether every two rows of an arm are compared, and every comparison is listed."""
        return self.pairs == "all"
