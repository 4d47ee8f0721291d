"""What a study may say of magnitude pruning. Pure Python."""

from compression_order.architecture.demands import Demand, State
from compression_order.methods import kinds
from compression_order.methods.formulas import Context


class Settings(kinds.Zeroing):
    """Set the weights of smallest absolute value to zero (Han et al. 2015, section 3)."""

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Zero weights, recover; no text is read."""
        return self.zeroed(parent, made, context, None, 0)
