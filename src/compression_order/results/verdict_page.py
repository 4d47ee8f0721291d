"""Write a verdict for programs, for reading and for the terminal."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compression_order.common.writing import MISSING, csv_text, show
from compression_order.results.verdict import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Finding,
)

VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_TESTABLE)
COLUMNS = (
    *("arm", "claim", "about", "verdict", "ours", "low", "high", "published"),
    *("rows", "statement", "method", "evidence"),
)
WIDTH = 120  # columns of the terminal


@dataclass(frozen=True)
class Report:
    """Everything that a verdict says.

    Attributes:
        study: ours.
        published: the published study to compare with.
        scope: which claims the study can test, in sentences.
        arms: arm -> findings, in the order of the registry.
        left_out: how many published figures cannot be used, and why.
    """

    study: str
    published: str
    scope: Sequence[str]
    arms: Mapping[str, Sequence[Finding]]
    left_out: Sequence[str]


def to_csv(report: Report) -> str:
    """One line per claim and arm."""
    lines = []
    for arm, findings in report.arms.items():
        for f in findings:
            numbers = [show(value, 4) for value in (f.ours, f.low, f.high, f.published)]
            told = " ".join(f.rows) or MISSING, f.statement, f.method, f.evidence
            lines.append([arm, f.name, f.about, f.verdict, *numbers, *told])
    return csv_text(COLUMNS, lines)


def counted(findings: Sequence[Finding]) -> str:
    """How many claims have each verdict."""
    found = [finding.verdict for finding in findings]
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS)


def heading(report: Report, arm: str) -> str:
    """The heading of one arm; a study without arms has one arm without a name."""
    named = f"arm {arm}: " if len(report.arms) > 1 else ""
    return f"{named}{counted(report.arms[arm])}"


def markdown(report: Report) -> str:
    """The page."""
    blocks = [f"# {report.study} against {report.published}", " ".join(report.scope)]
    for arm, findings in report.arms.items():
        lines = [
            "| claim | verdict | evidence | how it is tested |",
            "|---|---|---|---|",
            *(
                _line(f"`{f.name}`: {f.statement}", f"**{f.verdict}**", f.evidence, f.method)
                for f in findings
            ),
        ]
        title = heading(report, arm)
        blocks += [f"## {title[0].upper()}{title[1:]}", "\n".join(lines)]
    out = [f"- {line}" for line in report.left_out] or ["None: all can be used."]
    blocks += ["## Published figures left out", "\n".join(out)]
    return "\n\n".join(blocks) + "\n"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def terminal(report: Report) -> Iterator[str]:
    """The same in lines of limited width."""
    yield f"\n{report.study} against {report.published}\n"
    yield from textwrap.wrap(" ".join(report.scope), WIDTH)
    for arm, findings in report.arms.items():
        yield f"\n{heading(report, arm)}\n"
        for finding in findings:
            start = f"{finding.verdict.ljust(max(map(len, VERDICTS)))}  "
            yield from textwrap.wrap(
                f"{finding.statement}: {finding.evidence}",
                WIDTH, initial_indent=start, subsequent_indent=" " * len(start),
                break_on_hyphens=False,
            )  # fmt: skip
    yield "\nPublished figures left out: " + ("; ".join(report.left_out) or "none") + "."
