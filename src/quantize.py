"""Quantize a checkpoint.

    python src/quantize.py --parent results/smollm2-135m/seed0/checkpoints/P \\
        --out results/smollm2-135m/seed0/checkpoints/P-Q --pipeline P-Q \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --double-quant true
"""

import torch

from compression_order import errors, stage


def main() -> None:
    """Quantize (some methods calibrate), prove, store; a quantized parent is dequantized first."""
    job = stage.begin("quantize", __doc__ or "", torch.bfloat16)
    model, settings = job.parent.model, job.settings
    form, shown = job.method.apply(model, job.calibration(), settings)
    job.finish(model, {**job.parent.manifest["architecture"], **shown}, form)


if __name__ == "__main__":
    errors.run(main)
