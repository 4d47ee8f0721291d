"""AWQ, without torch: packed codes of four bits, scales and zero points."""

from compression_order import plans

child = plans.packed_codes
demand = plans.calibrated
