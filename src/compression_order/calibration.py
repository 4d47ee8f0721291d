"""Calibration text as windows of equal length, so that no method sees padding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compression_order.chat import Encoded
from compression_order.errors import HarnessError


def windows(documents: Sequence[Encoded], seq_len: int, most: int = 0) -> Tensor:
    """Conversations joined and cut into windows; what is left over at the end is not used.

    Args:
        documents: the calibration split, in its order.
        seq_len: tokens a window.
        most: windows wanted; 0 is all.

    Returns:
        [windows, seq_len] token ids.

    Raises:
        HarnessError: the text is shorter than one window, or than the windows wanted.
    """
    ids = [token for document in documents for token in document.ids]
    found = len(ids) // seq_len
    if found < max(most, 1):
        raise HarnessError(
            f"the calibration split has {len(ids)} tokens, fewer than {max(most, 1)} windows of "
            f"seq_len {seq_len}; lower seq_len or windows, or enlarge splits.calibration"
        )
    wanted = most or found
    return torch.tensor(ids[: wanted * seq_len]).reshape(wanted, seq_len)
