"""What a study may say of an adapter. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.common.declare import Settings

EVERY = "all-linear"


class Adapter(Settings):
    """The shape of a low-rank adapter, and where it goes."""

    rank: Annotated[int, Field(ge=1, description="rank of the adapter's product")] = 8
    alpha: Annotated[float, Field(gt=0, description="the product is scaled by alpha / rank")] = 16.0
    dropout: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of a linear's inputs that the adapter does not see in training",
        ),
    ] = 0.0
    targets: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9_-]+(,[a-z0-9_-]+)*$",
            description="all-linear, or linears of the decoder layers joined by commas "
            "(q_proj,v_proj)",
        ),
    ] = EVERY
