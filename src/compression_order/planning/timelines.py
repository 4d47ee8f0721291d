"""Device utilization, second by second, of the stages of orderings."""

from collections.abc import Sequence
from pathlib import Path

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.costs import figure
from compression_order.costs.figure import Timeline
from compression_order.planning import measured
from compression_order.study.study import Study


def chosen(asked: Study, named: Sequence[str] | None) -> list[str]:
    """Choose the orderings to draw: those named, else those with the most stages.

    Raises:
        HarnessError: the study does not run one that is named.
    """
    runs = [node for node in asked.plan.nodes if orderings.split(node)]
    for name in named or ():
        if name not in runs:
            raise HarnessError(
                f"--ordering: {name!r} is not run by {asked.name}; use one of {', '.join(runs)}"
            )
    most = max((len(orderings.split(node)) for node in runs), default=0)
    return list(named or (node for node in runs if len(orderings.split(node)) == most))


def timelines(asked: Study, names: Sequence[str], results: Path) -> list[Timeline]:
    """Read the timelines of each ordering that is complete, from its first complete seed.

    Raises:
        HarnessError: none has, or a file is damaged.
    """
    found = []
    for name in names:
        for seed in asked.seeds:
            paths = {
                stage: measured.timeline(
                    results / f"seed{seed}", stage, asked.stages[orderings.last(stage)].kind
                )
                for stage in orderings.prefixes(name)
            }
            if all(path.is_file() for path in paths.values()):
                found.append(figure.read(name, paths))
                break
    if not found:
        raise HarnessError(
            f"{results} has no timelines of all stages of {', '.join(names)}; run the study first"
        )
    return found
