"""Shared code of the compression-order harness: what more than one stage script needs.

The libraries below read these variables when they are imported, so they are set here, before
any of them: after fetching nothing may touch the network, and the harness draws its own
progress. They are set whatever the user's environment says: one of them (offline or not) would
otherwise enter the tokenizer's configuration, and so the manifest.

Importing these libraries makes a million objects that stay. Python's default threshold looks
through them again after every 700 new ones, which takes a fifth of a process's start.
"""

import gc
import os

for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TQDM_DISABLE"):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
gc.set_threshold(50_000, 20, 20)
