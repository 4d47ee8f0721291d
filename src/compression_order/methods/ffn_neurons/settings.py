"""What a study may say of feed-forward neurons. Pure Python."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from compression_order.architecture import cuts
from compression_order.architecture.demands import Demand, State
from compression_order.common.declare import Role
from compression_order.methods import formulas, kinds
from compression_order.methods.formulas import Context
from compression_order.training.settings import CountPadding

UNCALIBRATED = ("magnitude", "random")  # scores that read no text


class Settings(kinds.Structured):
    """Remove the same share of feed-forward neurons from every layer, by one of five scores."""

    ratio: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="share of the FFN neurons of every layer to remove, greater than 0 and "
            "less than 1",
        ),
        Role.STRENGTH,
    ] = 0.25
    score: Annotated[
        Literal["wanda", "magnitude", "paper", "flap", "random"],
        Field(description="what a neuron is worth"),
    ] = "wanda"
    round_to: kinds.RoundTo = 64
    count_padding: CountPadding = False
    compensate: Annotated[
        bool,
        Field(description="give down_proj a bias, the mean of what the removed neurons added"),
    ] = False

    def child(self, parent: State, context: Context) -> State:
        """The parent with narrower feed-forward blocks."""
        shape = cuts.neurons(parent.shape, self.ratio, self.round_to)
        biased = shape.mlp_bias or self.compensate
        return formulas.stored(parent, context, replace(shape, mlp_bias=biased))

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Score on the calibration split, where the score reads it; cut; recover."""
        passes = (self.score not in UNCALIBRATED) + self.compensate
        documents = passes * context.calibration
        return self.pruned(parent, made, context, documents, padded=self.count_padding)
