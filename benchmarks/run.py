"""Measure ours beside other programs in turn, keep the ratios, or hold them against kept ones.

    python -m benchmarks.run
    python -m benchmarks.run --quick
    python -m benchmarks.run --rounds 1 --only nf4

One process a measurement and one at a time, with one thread. In each round the order is another,
and the peak of matrix products is measured too. `make benchmark` sees to what this reads.
"""

import argparse
import datetime
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, summary
from benchmarks.sizes import BY_NAME
from benchmarks.ways import BENCHMARK, COMPARISONS, OURS, QUANT, ROOT, WAYS, Way
from compression_order.common import errors, files, writing
from compression_order.common.errors import HarnessError

RESULTS = ROOT / "benchmarks/results"
WORK = ROOT / "work/benchmark"
QUICK_ROUNDS = 3  # of the quick selection, where its ratios are stored
_MAKE = {".venv": "make env", BENCHMARK: "make benchmark-env", QUANT: "make quant-env"}


class Session:
    """Measurements of one size of work.

    Args:
        name: `full` or `quick`.
        ways: what is measured.
    """

    def __init__(self, name: str, ways: Sequence[Way]) -> None:
        self.name, self.ways, self.folder = name, list(ways), WORK / name
        self.measurements: list[dict[str, Any]] = []

    def prepare(self) -> None:
        """Write what the programs read, and see that they are installed.

        Raises:
            HarnessError: an environment is missing.
        """
        for way in self.ways:
            if not way.python.exists():
                raise HarnessError(
                    f"{way.environment} does not exist, and {way.label} runs there; "
                    f"run `{_MAKE[way.environment]}`"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process("prepare", WAYS[0].python, "prepare", self.name, str(self.folder))
        (self.folder / "measurements.jsonl").unlink(missing_ok=True)

    def round(self, number: int, ways: Sequence[Way] = ()) -> list[dict[str, Any]]:
        """Measure every way once; the order turns with the number of the round.

        Raises:
            HarnessError: a program fails, or computes something else than it should.
        """
        its = list(ways or self.ways)
        turn = number % len(its)
        peak = json.loads(self._process("peak", WAYS[0].python, "measure", "peak"))
        found = []
        for way in [*its[turn:], *its[:turn]]:
            arguments = (way.comparison, way.name, str(self.folder))
            name = f"{way.comparison}.{way.name}"
            told = json.loads(self._process(name, way.python, "measure", *arguments))
            found.append({"round": number, **told, "peak": peak})
            with (self.folder / "measurements.jsonl").open("a") as stream:
                stream.write(json.dumps(found[-1]) + "\n")
            rate = told["units"] / told["cpu_s"]
            print(f"round {number + 1}  {name}: {rate:.4g} a CPU second", flush=True)
        references = files.read_json(self.folder / "given.json")["references"]
        if told := summary.disagreement(found, references):
            raise HarnessError(told)
        self.measurements += found
        return found

    def section(self) -> dict[str, Any]:
        """What is stored of this session."""
        peaks = [m["peak"] for m in self.measurements]
        rates = {name: summary.spread(p[name] for p in peaks) for name in peaks[0]}
        return {
            "sizes": BY_NAME[self.name].record(),
            "peak_flop_per_cpu_s": rates,
            "comparisons": summary.summarize(self.measurements),
        }

    def _process(self, name: str, python: Path, module: str, *arguments: str) -> str:
        """The last line that a module of this package prints."""
        log = self.folder / f"{name}.log"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}"}
        command = [str(python), "-m", f"benchmarks.{module}", *arguments]
        with log.open("w") as stream:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                check=False,
            )
        if done.returncode:
            raise HarnessError(
                f"{name}: its process ended with status {done.returncode}; "
                f"read {log.relative_to(ROOT)}"
            )
        return done.stdout.strip().rpartition("\n")[2]


def quick(kind: str) -> None:
    """Measure the quick selection once and hold it against what is stored of such a machine.

    Raises:
        HarnessError: a ratio has fallen by a quarter, and again when measured once more.
    """
    session = Session("quick", [way for way in WAYS if way.quick])
    session.prepare()
    session.round(0)
    found = summary.summarize(session.measurements)
    show(found)
    stored = read(kind).get("quick")
    if stored is None:
        print(f"no ratios are stored of a machine of the kind {kind}: nothing is compared")
        return
    worse = summary.fallen(found, stored["comparisons"])
    if worse:
        print("lower than stored, measured once more: " + sentence(worse))
        again = [way for way in session.ways if way.name in {OURS, *worse.get(way.comparison, {})}]
        again = [way for way in again if way.comparison in worse]
        found = summary.summarize(session.round(1, again))
        worse = summary.fallen(found, stored["comparisons"])
    if worse:
        raise HarnessError(
            f"on a machine of the kind {kind} {sentence(worse)}; mend what made ours slower or "
            "larger, or, if it is meant, store new ratios with `make benchmark`"
        )
    print(f"no ratio is less than three quarters of the one stored for {kind}")


def sentence(worse: dict[str, dict[str, str]]) -> str:
    """What has fallen, in one clause."""
    return "; ".join(
        f"{comparison}: {told}" for comparison, ways in worse.items() for told in ways.values()
    )


def full(kind: str, rounds: int, only: Sequence[str]) -> None:
    """Measure everything, and the quick selection, and store both."""
    wanted = [way for way in WAYS if not only or way.comparison in only]
    plans = [("full", wanted, rounds)]
    plans.append(("quick", [way for way in wanted if way.quick], min(rounds, QUICK_ROUNDS)))
    sessions = [(Session(name, ways), count) for name, ways, count in plans if ways]
    for session, _ in sessions:
        session.prepare()
    for session, count in sessions:
        for number in range(count):
            session.round(number)
        store(kind, session)
        show(summary.summarize(session.measurements))
    print(f"stored in {path(kind).relative_to(ROOT)}; `make docs` draws docs/performance.md")


def path(kind: str) -> Path:
    """The file of a kind of machine."""
    return RESULTS / f"{kind}.json"


def read(kind: str) -> dict[str, Any]:
    """What is stored of a kind of machine; empty if nothing is."""
    found: dict[str, Any] = files.read_json(path(kind)) if path(kind).exists() else {}
    return found


def store(kind: str, session: Session) -> None:
    """Write a session's numbers beside what is stored of other sessions and comparisons."""
    before, section = read(kind), session.section()
    kept = before.get(session.name, {}).get("comparisons", {})
    section["comparisons"] = {**kept, **section["comparisons"]}
    facts = {
        "kind": kind,
        "processor": machine.processor(),
        "commit": _git("describe", "--always", "--dirty", "--exclude", "*"),
        "date": datetime.date.today().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    files.write_json(path(kind), {**before, **facts, session.name: section})


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def show(section: summary.Section) -> None:
    """Print the ratios."""
    header, *rows = summary.lines(section)
    print(writing.aligned(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a small selection, held against what is stored")
    add("--rounds", type=int, default=5, help="how often all of it is measured (default: 5)")
    names = [comparison.name for comparison in COMPARISONS]
    add("--only", nargs="+", default=[], choices=names, help="these comparisons alone")
    args = parser.parse_args()
    if args.rounds < 1:
        raise HarnessError(f"--rounds: {args.rounds} is less than 1; ask for one round at least")
    kind = machine.kind()
    if args.quick:
        quick(kind)
    else:
        full(kind, args.rounds, args.only)


if __name__ == "__main__":
    errors.run(main)
