"""Settings of a made model, of scoring and of serving. Pure Python."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

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


class Scoring(Settings):
    """How the texts and questions of every checkpoint are scored: the flags of src/measure.py."""

    seq_len: Annotated[int, Field(ge=2, description="window, tokens")] = 512
    max_tokens: Annotated[int, Field(ge=0, description="tokens scored per text; 0 = all")] = 8192
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


def _of_two_rows(contrasts: list[list[str]]) -> list[list[str]]:
    seen: set[frozenset[str]] = set()
    for contrast in contrasts:
        rows = frozenset(contrast)
        if len(contrast) != 2 or len(rows) < 2:
            raise fault(f"{contrast!r} is not two rows; write two different ones, as [P-Q, Q-P]")
        if rows in seen:
            raise fault(f"{contrast!r} is there twice, in this order or the other; name it once")
        seen.add(rows)
    return contrasts


class Comparisons(Settings):
    """Comparisons of the findings beside those that every study has."""

    pairs: Annotated[
        Literal["same-stages", "all"],
        Field(
            description="same-stages = every two orders of the same stages; all = every two rows "
            "too, and analysis.json lists every comparison"
        ),
    ] = "same-stages"
    contrasts: Annotated[
        list[list[str]],
        Field(
            description="comparisons that the study is about, each of two rows, the first over "
            "the second; they are corrected as a family of their own"
        ),
        AfterValidator(_of_two_rows),
    ] = []
