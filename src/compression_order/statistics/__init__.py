"""Uncertainty: paired comparisons, estimates over seeds, multiplicity, power."""
