"""What a study may say of SparseGPT. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.methods import kinds


class Settings(kinds.CalibratedZeroing):
    """Zero weights one by one and adapt the others (Frantar and Alistarh 2023, algorithm 1)."""

    dampening: kinds.Dampening = 0.01
    block_size: Annotated[int, Field(ge=1, description="columns whose mask is chosen together")] = (
        128
    )
