"""The figure of the README: the six full orders, each over the one of lowest perplexity."""

from typing import Any

import altair as alt
import shipped
import vl_convert

TEXT = "alpaca"
WIDTH, ROW = 440, 30  # pixels: of the plot, of one order
PADDING = {"left": 96, "top": 42, "right": 166, "bottom": 30}
ENDS, TICKS = (1.0, 1.45), (1.0, 1.1, 1.2, 1.3, 1.4)  # of the axis
INK, PAPER, MARK, GRID = "#1f2328", "#ffffff", "#2f81f7", "#d1d9e0"
# follows the reader's theme: paper and ink change places
DARK = (
    "<style>@media (prefers-color-scheme:dark){svg>rect{fill:#0d1117}text{fill:#f0f6fc}"
    ".mark-rule.role-axis-grid line{stroke:#3d444d}}</style>"
)


def draw() -> str:
    """The figure as SVG. Equal records give equal bytes: no place depends on a machine's fonts."""
    config = {"background": PAPER, "font": "Arial, Helvetica, sans-serif", "view": {"stroke": None}}
    spec = {**chart(lines()).to_dict(), "config": config}
    version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    head, end, rest = drawn.partition(">")
    return f"{head}{end}{DARK}{rest}\n"


def lines() -> list[dict[str, Any]]:
    """Each order with its ratio to the lowest one and the interval, the lowest first.

    The analysis has every two orders once; either may come first.
    """
    orders = shipped.made().analysis["arms"]["all"]["perplexity"][TEXT]["full_orders"][0]
    ratios = {}
    for pair in orders["pairs"]["entries"]:
        low, high = pair["simultaneous"]
        ratios[pair["first"], pair["second"]] = (pair["ratio"], low, high)
        ratios[pair["second"], pair["first"]] = (1 / pair["ratio"], 1 / high, 1 / low)
    names = orders["orders"]
    lowest = next(n for n in names if all(ratios[o, n][0] > 1 for o in names if o != n))
    found = [line(name, lowest, *ratios.get((name, lowest), (1, 1, 1))) for name in names]
    return sorted(found, key=lambda its: its["ratio"])


def line(order: str, lowest: str, ratio: float, low: float, high: float) -> dict[str, Any]:
    """One line of the figure, rounded so that the last digits of a machine do not show."""
    told = "1" if order == lowest else f"{ratio:.3f} ({low:.3f} to {high:.3f})"
    numbers = {"ratio": round(ratio, 4), "low": round(low, 4), "high": round(high, 4)}
    return {"order": order, "told": told, **numbers}


def chart(its: list[dict[str, Any]]) -> alt.LayerChart:
    """A forest plot: a point and an interval a line."""
    plain = {"domain": False, "ticks": False, "labelFontSize": 14, "labelColor": INK}
    scale = alt.Scale(domain=ENDS, nice=False)
    axis = alt.Axis(
        format=".2f", values=TICKS, gridColor=GRID, labelPadding=8,
        labelFlush=False, labelOverlap=False, **plain,
    )  # fmt: skip
    low, ratio = (alt.X(f"{n}:Q", scale=scale, axis=axis, title=None) for n in ("low", "ratio"))
    y = alt.Y("order:N", sort=None, title=None).axis(labelLimit=0, labelPadding=14, **plain)
    base = alt.Chart(alt.InlineData(values=its)).encode(y=y)
    interval = base.mark_rule(strokeWidth=3, color=MARK).encode(x=low, x2="high:Q")
    point = base.mark_point(filled=True, size=110, color=MARK, opacity=1).encode(x=ratio)
    told = base.mark_text(align="left", fontSize=14, color=INK).encode(
        text="told:N", x=alt.value(WIDTH + 12)
    )
    title = alt.TitleParams(
        f"chat perplexity over that of {its[0]['order']}",
        anchor="start", frame="group", color=INK, fontSize=15, fontWeight="normal", offset=14,
    )  # fmt: skip
    return alt.layer(interval, point, told).properties(
        title=title, width=WIDTH, height=ROW * len(its), padding=PADDING, autosize="none"
    )
