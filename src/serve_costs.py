"""Measure what one checkpoint costs to serve: size, operations, latency, throughput, energy.

    python src/serve_costs.py --checkpoint results/smollm2-135m/seed0/checkpoints/P-Q \\
        --batch-sizes 1,4 --prompt 64 --new-tokens 32 --repeats 5 --warmup 1 \\
        --costs results/smollm2-135m/seed0/costs/P-Q

Writes <costs>/serving.json. Its times are those of this machine on this day, and mean something
only if nothing else runs: no table and no manifest reads them.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from compression_order import errors, files, parents, runtime, serving, settings
from compression_order.errors import HarnessError


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    add("--costs", type=Path, default=Path("work/costs"), help="folder for serving.json")
    add("--batch-sizes", default="1,4", help="sequences served at once (default: 1,4)")
    add("--prompt", type=int, default=64, help="tokens of a prompt (default: 64)")
    add("--new-tokens", type=int, default=32, help="tokens of an answer (default: 32)")
    add("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    add("--warmup", type=int, default=1, help="rounds before them, not timed (default: 1)")
    settings.add_device(parser)
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args(sys.argv[1:])


def asked_for(args: argparse.Namespace) -> serving.Settings:
    """The settings that the flags say.

    Raises:
        HarnessError: one cannot be measured.
    """
    try:
        sizes = tuple(map(int, args.batch_sizes.split(",")))
    except ValueError:
        raise HarnessError(
            f"--batch-sizes: {args.batch_sizes!r} are not whole numbers; write them as 1,4"
        ) from None
    return serving.Settings(sizes, args.prompt, args.new_tokens, args.repeats, args.warmup)


def main() -> None:
    """Load once, count, measure every batch size, write."""
    args = parse_args()
    asked = asked_for(args)
    device = runtime.start(args.threads, device=args.device, as_served=True)
    torch.use_deterministic_algorithms(False)  # as served, not as compared
    # a second thread would take its share of what is timed
    costs = runtime.Costs("serving", args.threads, sampled=False)
    manifest = parents.verified(args.checkpoint)
    model = serving.load(args.checkpoint, device)
    serving.require_room(model, asked)
    exact = serving.exact(args.checkpoint, manifest, model)
    costs.loaded()
    measured = []
    for batch in asked.batch_sizes:
        measured.append(serving.measure(model, batch, asked))
        tell(args.checkpoint.name, measured[-1])
    record = {**costs.record(), "settings": asdict(asked), "exact": exact, "measured": measured}
    if device.type == "cuda":  # counted anew for each batch size
        record["peak_device_bytes"] = max(its["peak_device_bytes"] for its in measured)
    files.write_json(args.costs / "serving.json", record)


def tell(name: str, its: dict[str, object]) -> None:
    """One line a batch size."""
    prefill, decode, rate = (
        dict(its[key])["median"]  # type: ignore[call-overload]
        for key in ("prefill_s", "decode_s_per_token", "tokens_per_s")
    )
    joules = its["joules_per_token"]
    drawn = f"{joules:.3g} J/token" if isinstance(joules, float) else "energy: no counter"
    runtime.log.info(
        "[%s serving] batch %s: prefill %.1f ms, decode %.2f ms/token, %.1f token/s, %s",
        name, its["batch"], 1e3 * prefill, 1e3 * decode, rate, drawn,
    )  # fmt: skip


if __name__ == "__main__":
    errors.run(main)
