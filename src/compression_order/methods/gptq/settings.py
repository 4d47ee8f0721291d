"""What a study may say of GPTQ. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.methods import kinds


class Settings(kinds.Packed):
    """Round to 4 bits, later weights making each error good (Frantar et al. 2022, algorithm 1)."""

    symmetric: kinds.Symmetric = True
    dampening: kinds.Dampening = 0.01
    activation_order: Annotated[
        bool, Field(description="quantize the columns of the largest activations first")
    ] = True
