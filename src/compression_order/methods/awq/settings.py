"""What a study may say of AWQ. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.methods import kinds


class Settings(kinds.Packed):
    """Scale columns of large activations up before 4-bit rounding (Lin et al. 2023, section 3)."""

    symmetric: kinds.Symmetric = False
    grid_points: Annotated[int, Field(ge=1, description="candidates in the search for a scale")] = (
        20
    )
