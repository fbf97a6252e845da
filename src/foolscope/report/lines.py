"""Charts of several lines as Vega-Lite specifications: told apart by colour, by dashes and by a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foolscope.report.charts import finished, legend

# Okabe & Ito's colours that stand out on light and on dark paper; the dashes tell the lines apart without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#7a7a7a")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (12, 4), (1, 4))


def lines_chart(
    rows: Sequence[Mapping[str, Any]],
    *,
    x: str,
    y: str,
    series: Sequence[str],
    percent: bool = False,
    steps: bool = False,
    band: bool = False,
    whole: bool = False,
) -> dict[str, Any]:
    """Lines of `y` over `x`, one a series, with values on hover.

    Args:
        rows: `x`, `y`, `series` and `text` (for the tooltip), and `lower` and `upper` where there is a band.
        x: title of the horizontal axis, with its unit.
        y: title of the vertical one.
        series: the names in their order.
        percent: `y` is a share of 1.
        steps: the value holds until the next point.
        band: draw the band.
        whole: `x` counts.

    Returns:
        A Vega-Lite specification.
    """
    import altair as alt

    order = list(series)
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(order))]
    dashes = [list(DASHES[k % len(DASHES)]) for k in range(len(order))]
    above = legend(order, symbolType="stroke", symbolSize=500) if len(order) > 1 else None
    colour = alt.Color("series:N", sort=order, scale=alt.Scale(domain=order, range=colours), legend=above)
    dash = alt.StrokeDash("series:N", sort=order, scale=alt.Scale(domain=order, range=dashes), legend=above)
    axis = alt.Axis(grid=False, format="d", values=_whole(rows)) if whole else alt.Axis(grid=False, tickCount=6)
    across = alt.X("x:Q", title=x, axis=axis, scale=alt.Scale(nice=False))
    up = alt.Y(
        "y:Q",
        title=y,
        axis=alt.Axis(format=".0%" if percent else "~g", tickCount=5),
        scale=alt.Scale(domain=[0, 1]) if percent and steps else alt.Scale(zero=True),
    )
    base = alt.Chart(alt.InlineData(values=[dict(row) for row in rows])).encode(x=across)
    shape: Any = "step-after" if steps else "linear"
    point = alt.OverlayMarkDef(size=30, filled=True) if len(rows) <= 60 * len(order) and not steps else False
    line = base.mark_line(interpolate=shape, strokeWidth=2.5, point=point).encode(
        y=up,
        color=colour,
        strokeDash=dash,
        tooltip=[
            alt.Tooltip("series:N", title="of"),
            alt.Tooltip("x:Q", title=x, format="d" if whole else ".4~g"),
            alt.Tooltip("text:N", title=y),
        ],
    )
    layers = [line]
    if band:
        layers.insert(
            0,
            base.mark_area(interpolate=shape, opacity=0.15).encode(
                y=alt.Y("lower:Q", title=y), y2="upper:Q", color=colour
            ),
        )
    return finished(alt.layer(*layers))


def _whole(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Ten ticks at most, at whole numbers."""
    last = max((row["x"] for row in rows), default=1)
    return list(range(1, last + 1)) if last <= 10 else [round(k * last / 10) for k in range(1, 11)]
