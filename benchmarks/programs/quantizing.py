"""Quantizing as other programs do it: load, quantize, store."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.gauge import Gauge
from benchmarks.given import Given


def bitsandbytes(given: Given, gauge: Gauge) -> dict[str, Any]:
    """NF4 as the documentation of transformers has it; the value is the stored size, bytes."""
    import bitsandbytes  # noqa: F401  # its import is no part of the work
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    torch.set_num_threads(1)
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with tempfile.TemporaryDirectory() as folder:
        gauge.mark()
        model = AutoModelForCausalLM.from_pretrained(
            given.base, quantization_config=how, dtype=torch.bfloat16
        )
        model.save_pretrained(folder)
        gauge.mark()
        stored = (Path(folder) / "model.safetensors").stat().st_size
    return {"units": given.facts["quantized_mb"], "value": stored}


def gptqmodel(given: Given, gauge: Gauge) -> dict[str, Any]:
    """GPTQ by GPTQModel, on the same calibration windows; the value is the stored size, bytes."""
    # with fewer its pool of workers refuses to start
    os.environ["GPTQMODEL_CPU_WORKERS"] = "2"
    from gptqmodel import GPTQModel, QuantizeConfig

    torch.set_num_threads(1)
    how = QuantizeConfig(bits=4, group_size=64, sym=True, desc_act=False, damp_percent=0.01)
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in given.facts["calibration"]
    ]
    with tempfile.TemporaryDirectory() as folder:
        gauge.mark()
        model = GPTQModel.load(str(given.base), how, device="cpu")
        model.quantize(rows, batch_size=1)
        model.save(folder)
        gauge.mark()
        stored = (Path(folder) / "model.safetensors").stat().st_size
    return {"units": given.facts["quantized_mb"], "value": stored}
