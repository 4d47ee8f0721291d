"""State before a run which differences a study can detect, under stated assumptions."""

import math
from collections.abc import Iterator

from compression_order import orderings
from compression_order.common import writing
from compression_order.statistics import normal_power
from compression_order.statistics.contrast import geometric
from compression_order.study.study import Study

ALPHA = 0.05  # as analysis.json has it


def lines(asked: Study, sd: float, seed_sd: float) -> Iterator[str]:
    """State which differences the documents, questions and seeds detect with 80% power.

    Args:
        asked: the study.
        sd: assumed paired standard deviation between two orders, nats per token.
        seed_sd: assumed standard deviation of an order over seeds, nats per token.
    """
    arms = asked.plan.arms or {"": asked.plan.rows}
    able = [[row for row in rows if row not in asked.plan.refused] for rows in arms.values()]
    sizes = [len(orders.rows) for rows in able for orders in orderings.full_orders(rows)]
    orders = max(sizes, default=2)
    pairs = math.comb(orders, 2)
    yield f"{_documents(asked.file.splits.held_out, sd, pairs)}."
    yield from _primary(asked, sd, seed_sd)
    told = [_questions(task, n) for task, n in asked.file.evaluations.tasks.items() if n]
    if told:
        yield f"accuracy differences found, one comparison: {', '.join(told)}."
    yield f"{_seeds(len(asked.seeds), orders)}."


def _documents(held_out: int, sd: float, pairs: int) -> str:
    alone, among = (
        math.exp(normal_power.smallest_effect(sd, held_out, alpha))
        for alpha in (ALPHA, ALPHA / pairs)
    )
    two = normal_power.units_needed(math.log(1.02), sd, ALPHA / pairs)
    return (
        f"{held_out} held-out conversations find a perplexity ratio of {alone:.3f} between two "
        f"orders, {among:.3f} in all of {writing.count(pairs, 'pair')}; 1.020 in all needs {two:,}"
    )


def _primary(asked: Study, sd: float, seed_sd: float) -> Iterator[str]:
    """Power of the primary contrasts: to find the bound, and to show that there is less."""
    wanted = asked.file.comparisons
    if not wanted.contrasts:
        return
    alpha, bound = ALPHA / len(wanted.contrasts), math.log(wanted.bound)
    for name, contrast in wanted.contrasts.items():
        coefficients = geometric(contrast.over, contrast.under)
        squares = sum(its**2 for its in coefficients.values())
        se = normal_power.contrast_se(
            squares, asked.file.splits.held_out, sd, len(asked.seeds), seed_sd
        )
        finds = normal_power.power_of(bound, se, alpha)
        equal = normal_power.equivalence_power(bound, se, alpha)
        width = math.exp(normal_power.beyond(alpha) * se)
        yield (
            f"primary contrast {name!r}: its interval reaches a factor of {width:.3f} either way; "
            f"it finds a ratio of {wanted.bound:g} with power {finds:.2f}, and shows that there is "
            f"none with {equal:.2f}."
        )


def _questions(task: str, count: int) -> str:
    found = normal_power.smallest_difference(count, normal_power.FLIPS)
    return f"{task} {f'{found:.3f}' if found else 'none'} ({count} questions)"


def _seeds(count: int, orders: int) -> str:
    if count == 1:
        return "one seed says nothing about other training runs"
    df = (orders - 1) * (count - 1)
    return f"{count} seeds give the spread over training runs, with {df} degrees of freedom"
