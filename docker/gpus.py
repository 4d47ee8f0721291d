"""python docker/gpus.py studies/qwen2.5-3b.yaml

Print how many GPUs a run of the study may take; 0 for one that computes on the CPU. A study that
needs a GPU where there is none is told here in one sentence, before Snakemake starts.
"""

import sys
from pathlib import Path

import yaml

# beside this file, in the image as in a checkout: what the workflow's own check says
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from compression_order.common import errors, process
from compression_order.common.errors import HarnessError


def device_of(study: Path) -> str:
    """The study's device; what else is wrong in the file, the workflow tells.

    Raises:
        HarnessError: there is no such file.
    """
    if not study.is_file():
        raise HarnessError(
            f"STUDY: {study} does not exist; name a study, as in -e STUDY=config.yaml"
        )
    try:
        settings = yaml.safe_load(study.read_text())
    except yaml.YAMLError:
        return "cpu"
    return str(settings.get("device", "cpu")) if isinstance(settings, dict) else "cpu"


def main() -> None:
    if device_of(Path(sys.argv[1])) != "cuda":
        print(0)
        return
    process.usable("cuda")
    import torch

    print(torch.cuda.device_count())


if __name__ == "__main__":
    errors.run(main)
