"""Which rows of a study stand for which published pipeline, arm by arm.

A published pipeline has no variants: in the arm that has `P.paper` and `KD.text`, the row
`P.paper-KD.text-Q` stands for `P-KD-Q`.
"""

from collections.abc import Mapping

from compression_order import orderings
from compression_order.errors import HarnessError
from compression_order.orderings import Plan

ALL = "all"  # the one arm of a study without arms

Rows = Mapping[str, str]  # published pipeline -> the row that stands for it


def of(plan: Plan, source: str) -> dict[str, Rows]:
    """The rows of each arm, in the study's order.

    Args:
        plan: of the study.
        source: the study file, for messages.

    Raises:
        HarnessError: two rows of an arm stand for the same published pipeline.
    """
    found: dict[str, Rows] = {}
    for arm, its in (plan.arms or {ALL: plan.rows}).items():
        rows: dict[str, str] = {}
        for row in its:
            other = rows.setdefault(orderings.plain(row), row)
            if other != row:
                raise HarnessError(
                    f"{source}: orderings: the arm {arm!r} holds {other} and {row}, which both "
                    f"stand for the published {orderings.plain(row)}; put them into two arms"
                )
        found[arm] = rows
    return found
