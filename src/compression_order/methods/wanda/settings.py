"""What a study may say of Wanda. Pure Python."""

from compression_order.methods import kinds


class Settings(kinds.CalibratedZeroing):
    """Zero weights by size times input norm, row by row (Sun et al. 2024, equation 1)."""
