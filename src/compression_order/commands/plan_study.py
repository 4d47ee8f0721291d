r"""Estimate what a study will take before anything runs: sizes, operations, memory, hours.

    compression-order plan --study config.yaml --device cpu-2-cores --utilization 0.3

Needs no weights, no network and no torch. Where studies/<study>.lock.yaml says how fast this
machine multiplies, hours go by that (`snakemake studies/<study>.lock.yaml` measures it, in a
second). Writes results/<study>/plan.csv: one row per job, part
of a job or total, with figures for one copy of a job. After a run, the measured costs (costs/)
stand beside the planned ones; before a run these cells are empty.
"""

import argparse
import math
import os
from pathlib import Path

from compression_order.architecture.demands import Assumed
from compression_order.common import arithmetic, declare, files
from compression_order.common.errors import HarnessError
from compression_order.common.writing import csv_of_rows
from compression_order.planning import (
    devices,
    foresight,
    graph,
    measured,
    screen,
    sheet,
    timetable,
)
from compression_order.statistics import normal_power
from compression_order.study import parse
from compression_order.study.study import Study


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    add = parser.add_argument
    declare.add_study(parser)
    add("--architecture", help="plan for architectures/NAME.json (default: the study's model)")
    add("--csv", type=Path, help="file to write (default: results/<study>/plan.csv)")
    add("--results", type=Path, help="folder of a run (default: results/<study>)")
    group = parser.add_argument_group("device")
    known = ", ".join(devices.DEVICES)
    usual = ", ".join(f"{name} for {where}" for where, name in devices.USUAL.items())
    group.add_argument("--device", help=f"{known} (default: by the study's device, {usual})")
    group.add_argument(
        "--utilization",
        type=float,
        help=f"share of its peak, 0 to 1 (default: {devices.UTILIZATION}, or {devices.OF_PRODUCTS} "
        "of what a run measured)",
    )
    declare.add_flags(parser, Assumed, "what the data decide, assumed here")
    add(
        "--paired-sd",
        type=float,
        default=normal_power.PAIRED_SD,
        help="of two orders over conversations, nats per token (default: %(default)s)",
    )
    add(
        "--seed-sd",
        type=float,
        default=normal_power.SEED_SD,
        help="of one order over seeds beside the others, nats per token (default: %(default)s)",
    )


def check(args: argparse.Namespace) -> None:
    """Refuse numbers out of their range."""
    if args.utilization is not None and not 0 < args.utilization <= 1:
        raise HarnessError(
            f"--utilization: {args.utilization} is not a share; give more than 0, at most 1"
        )
    for flag, spread in (("--paired-sd", args.paired_sd), ("--seed-sd", args.seed_sd)):
        if not 0 < spread < math.inf:
            raise HarnessError(f"{flag}: {spread} is no spread; give more than 0")


def pace_of(args: argparse.Namespace, asked: Study) -> sheet.Pace:
    """The device that was asked for; else the products that a run timed; else the usual one."""
    lock = arithmetic.locked(Path(asked.lock))
    if args.device or args.architecture or lock is None:
        name = args.device or devices.USUAL[asked.device]
        return sheet.Pace(name, devices.named(name), args.utilization or devices.UTILIZATION)
    chosen = asked.file.compute
    rate = lock["rates"][lock["compute"] if chosen == arithmetic.AUTO else chosen]
    workers = asked.gpus or len(os.sched_getaffinity(0))
    found = devices.measured(rate, workers)
    return sheet.Pace(devices.MEASURED, found, args.utilization or devices.OF_PRODUCTS)


def run(args: argparse.Namespace) -> None:
    """Plan, write, show."""
    check(args)
    assumed = declare.read(Assumed, vars(args))
    asked = parse.read(args.study, files.WORKFLOW)
    pace = pace_of(args, asked)
    shape = graph.architecture(asked, args.architecture)
    planned = graph.jobs(asked, shape, assumed, files.WORKFLOW)
    path = timetable.critical_path(planned)
    results = args.results or Path("results", asked.name)
    # measured costs are those of the study's own model
    took = {} if args.architecture else measured.of(planned, asked.seeds, results)
    totals = sheet.totals(asked, planned, path, assumed, pace)
    table = list(sheet.rows(planned, totals, pace, took))
    suffix = f".{args.architecture}" if args.architecture else ""
    out = args.csv or Path("results", asked.name, f"plan{suffix}.csv")
    files.write_text(out, csv_of_rows(sheet.COLUMNS, table))
    print(*screen.told(table, planned, path, pace), sep="\n\n")
    power = foresight.lines(asked, args.paired_sd, args.seed_sd)
    print("\npower (80%, 5% two-sided):", *power, sep="\n- ")
    print(screen.premises(pace, assumed, args.paired_sd, args.seed_sd))
    print(f"Written: {out}")
