"""What a study may say of ShortGPT. Pure Python."""

from typing import Annotated

from pydantic import Field

from compression_order.architecture import cuts
from compression_order.architecture.demands import Demand, State
from compression_order.common.declare import Role
from compression_order.methods import formulas, kinds
from compression_order.methods.formulas import Context


class Settings(kinds.Structured):
    """Remove the decoder layers that change their input least (Men et al. 2024, section 3.2)."""

    layers: Annotated[
        int, Field(ge=0, description="decoder layers to remove; 0 = use ratio"), Role.STRENGTH
    ] = 0
    ratio: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of the layers to remove, rounded down, less than 1; 0 = use layers",
        ),
        Role.STRENGTH,
    ] = 0.25
    samples: Annotated[
        int,
        Field(ge=0, description="calibration conversations that layers are judged on; 0 = all"),
    ] = 0

    def child(self, parent: State, context: Context) -> State:
        """The parent with fewer layers.

        Which ones go is known after the run only; where layers differ, the last but one and those
        before it are assumed to, as they mostly do.
        """
        layers = parent.shape.layers
        gone = cuts.layers_gone(layers, self.layers, self.ratio)
        first = max(0, layers - 1 - gone)
        kept = [i for i in range(layers) if not first <= i < first + gone]
        return formulas.stored(parent, context, cuts.layers(parent.shape, kept))

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """One forward pass over the samples; recovery."""
        return self.pruned(parent, made, context, self.samples or context.calibration)
