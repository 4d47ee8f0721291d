"""What a study may say of LLM.int8. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.architecture import storage
from compression_order.architecture.demands import State
from compression_order.methods import kinds
from compression_order.methods.formulas import Context


class Settings(kinds.Quantize):
    """Store 8-bit weights with one scale a row (Dettmers et al. 2022, section 3)."""

    threshold: Annotated[
        float, Field(ge=0, description="activations from this size on are computed in 16 bits")
    ] = 6.0

    def child(self, parent: State, context: Context) -> State:
        """The parent's shape in 8 bits."""
        return State(parent.shape, storage.Int8())
