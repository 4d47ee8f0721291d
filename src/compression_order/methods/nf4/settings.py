"""What a study may say of NF4. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.architecture import storage
from compression_order.architecture.demands import State
from compression_order.methods import kinds
from compression_order.methods.formulas import Context


class Settings(kinds.Quantize):
    """Store 4-bit NormalFloat weights, without calibration (Dettmers et al. 2023, section 3)."""

    double_quant: Annotated[bool, Field(description="quantize the scales of the blocks too")] = True

    def child(self, parent: State, context: Context) -> State:
        """The parent's shape in NF4."""
        return State(parent.shape, storage.Nf4(self.double_quant))
