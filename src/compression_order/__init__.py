"""Shared code of the compression-order harness: what more than one stage script needs.

The libraries below read these variables when they are imported, so they are set here, before
any of them: after fetching nothing may touch the network, and the harness draws its own
progress. A variable that is already set is left as it is.
"""

import os

for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TQDM_DISABLE"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
