"""Results trees of known content, and the commands that read them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import ROOT

import table as script
from compression_order import orderings
from compression_order.commands import entry
from compression_order.common import errors
from compression_order.results import guards, table

FIGURES = ROOT / "published" / "published.csv"
ALL = ["base", *orderings.all_subsets(["P", "KD", "Q"])]
SMALL = ["base", "P", "Q", "P-Q", "Q-P"]
KINDS = {"P": "prune", "KD": "distill", "FT": "finetune", "Q": "quantize"}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit(path: Path, *keys: str, **changes: Any) -> None:
    """Change entries of a JSON file, below `keys`."""
    value = json.loads(path.read_text())
    inner = value
    for key in keys:
        inner = inner[key]
    inner.update(changes)
    write(path, value)


def perplexity(protocol: str, losses: Sequence[float], counts: Sequence[int]) -> dict[str, Any]:
    weights = counts if protocol == "windows" else np.ones(len(counts))
    return {
        "protocol": protocol,
        "seq_len": 512,
        "tokens": int(sum(counts)),
        "sample_sha256": f"sample-{protocol}",
        "losses": list(losses),
        "counts": list(counts),
        "perplexity": float(np.exp(np.average(losses, weights=weights))),
    }


def answers(right: int, samples: int, choice: Sequence[int] | None = None) -> dict[str, Any]:
    share = right / samples
    return {
        "metric": "acc",
        "value": share,
        "stderr": (share * (1 - share) / (samples - 1)) ** 0.5,
        "chance": 0.25,
        "samples": samples,
        "sample_sha256": "sample-quiz",
        "correct": [1] * right + [0] * (samples - right),
        "choice": list(choice) if choice else [n % 4 for n in range(samples)],
    }


def damage(pipeline: str, seed: int) -> float:
    """Nats that a pipeline loses, with Q before P far above everything else."""
    early = bool(orderings.before(pipeline, "Q", "P"))
    return 0.1 * len(orderings.split(pipeline)) + 1.8 * early + 0.01 * ALL.index(pipeline)


def results_tree(
    root: Path, pipelines: Sequence[str], seeds: Sequence[int] = (0,), noise: float = 0.05
) -> Path:
    for seed in seeds:
        for pipeline in pipelines:
            add_row(root, pipeline, seed, damage(pipeline, seed), noise)
    return root


def add_row(root: Path, pipeline: str, seed: int, more: float, noise: float = 0.05) -> None:
    shared = np.random.default_rng(0)
    rng = np.random.default_rng([seed, *pipeline.encode()])
    at = root / f"seed{seed}" / "evaluations" / pipeline
    texts = {}
    for text, protocol in (("chat", "documents"), ("wiki", "windows")):
        losses = shared.normal(2, 0.5, 60)
        if pipeline != "base":
            losses = losses + more + rng.normal(0, noise, 60)
        texts[text] = perplexity(protocol, losses.tolist(), [511] * 59 + [100])
    size = 1000 * 2**20 // (4 if "Q" in orderings.split(pipeline) else 1)
    bare = pipeline == "base"
    write(at / "perplexity.json", texts)
    write(
        at / "fidelity.json",
        {"text": "chat", "sample_sha256": "sample-chat", "kl": 0.0 if bare else more,
         "kl_p99": 0.0 if bare else 9 * more,
         "top1_agreement": 1.0 if bare else 0.8},
    )  # fmt: skip
    write(at / "lm_eval.json", {"quiz": answers(50 - len(pipeline), 100)})
    write(at / "size.json", {"bytes": size, "parameters": 134_000_000})
    costs = {"process": "evaluate", "wall_s": 10.0, "startup_s": 1.0, "load_s": 0.5, "work_s": 8.5}
    write(root / f"seed{seed}" / "costs" / pipeline / "evaluate.json", costs)
    if not bare:
        manifest = {
            "pipeline": pipeline,
            "seed": seed,
            "method": "a-method",
            "settings": {"ratio": 0.25, "recovery": {"lr": 1e-4}},
            "bytes": {"model": size},
        }
        write(root / f"seed{seed}" / "checkpoints" / pipeline / "checkpoint.json", manifest)


def process(*line: object) -> subprocess.CompletedProcess[str]:
    """Run Python as a user does: a script of src/ or `-m` and a module, then flags."""
    return subprocess.run(
        [sys.executable, *map(str, line)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )


def command(main: Callable[[], None], *flags: object) -> subprocess.CompletedProcess[str]:
    """Run a CLI in this process, which spares the imports."""
    line, out, err, code = ["script", *(str(flag) for flag in flags)], StringIO(), "", 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(sys, "argv", line)
        try:
            errors.run(main)
        except SystemExit as fault:
            err, code = f"{fault.code}\n", 1
    return subprocess.CompletedProcess(line, code, out.getvalue(), err)


def ask(name: str, *flags: object) -> subprocess.CompletedProcess[str]:
    """Run `compression-order NAME` in this process."""
    return command(entry.run, name, *flags)


def kinds(rows: Sequence[str]) -> dict[str, str]:
    """Token -> kind of stage, by the names that these trees use; other names have none."""
    tokens = {token for row in rows for token in orderings.split(row)}
    named = {token: KINDS.get(orderings.stem(token)) for token in sorted(tokens)}
    return {token: kind for token, kind in named.items() if kind}


def make(root: Path, rows: Sequence[str], *more: object, seeds: Sequence[int] = (0,)) -> Any:
    return command(
        script.main, "--study", "test", "--results", root, "--rows", *rows, "--seeds", *seeds,
        "--csv", root / "table.csv", "--markdown", root / "table.md",
        "--kinds", *(f"{token}={kind}" for token, kind in kinds(rows).items()), *more,
    )  # fmt: skip


def built(root: Path, rows: Sequence[str], seeds: Sequence[int] = (0,)) -> dict[str, table.Row]:
    made = table.build(rows, guards.load(root, rows, seeds), {}, None, kinds(rows))
    return {str(row["pipeline"]): row for row in made.rows}


def perplexity_file(root: Path, pipeline: str, seed: int = 0) -> Path:
    return root / f"seed{seed}" / "evaluations" / pipeline / "perplexity.json"
