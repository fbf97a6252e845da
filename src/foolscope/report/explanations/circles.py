"""The two circles: maps of the size of each loss's gradient over the plane."""

from __future__ import annotations

import math
from typing import Any

from foolscope.explaining.circles import Circles
from foolscope.explaining.loss_race import NAMES

FLOOR = 1e-4  # of the map's colours


def maps(found: Circles, side: int = 210) -> dict[str, Any]:
    """A heat map a loss, colour on a logarithmic scale that all share."""
    import altair as alt

    half = 0.53 * (found.at[1] - found.at[0])  # a little over, so that no seams show
    rows: list[dict[str, Any]] = [
        {
            "loss": NAMES[loss],
            "left": float(a - half),
            "right": float(a + half),
            "low": float(b - half),
            "high": float(b + half),
            "size": max(FLOOR, float(size[j, i])),
        }
        for loss, size in found.size.items()
        for j, b in enumerate(found.at)
        for i, a in enumerate(found.at)
    ]
    top = 10 ** math.ceil(math.log10(max(float(size.max()) for size in found.size.values())))
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("left:Q", title="first coordinate", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False)),
            x2="right:Q",
            y=alt.Y("low:Q", title="second coordinate", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False)),
            y2="high:Q",
            color=alt.Color(
                "size:Q",
                title="size of the gradient, l2",
                scale=alt.Scale(type="log", scheme="cividis", domain=[FLOOR, top], clamp=True),
            ),
        )
        .properties(width=side, height=side)
        .facet(column=alt.Column("loss:N", title=None, sort=list(NAMES.values())))
    )
    spec: dict[str, Any] = chart.configure(background="transparent", aria=False).to_dict()
    return spec
