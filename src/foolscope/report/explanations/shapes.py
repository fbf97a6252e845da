"""Further shapes of the charts of explanations, in their style: stacked bars, boxes, heat maps, rules with a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from foolscope.report.charts import finished
from foolscope.report.explanations.style import PALETTE, QUIET, Rows, colour


def bars(rows: Rows, x: Mapping[str, Any], y: Mapping[str, Any], *, names: Sequence[str], until: str) -> Any:
    """Bars from the row's field of `x` to its field `until`, coloured by `name`; a row's `bottom` and `top` stack them."""
    import altair as alt

    return (
        alt.Chart(alt.InlineData(values=list(rows)))
        .mark_bar(clip=True)
        .encode(
            x=alt.X(**x),
            x2=f"{until}:Q",
            y=alt.Y(**{**y, "shorthand": "bottom:Q"}),
            y2="top:Q",
            color=colour(names),
            tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip(y["shorthand"], title=y["title"])],
        )
    )


def rules(rows: Rows, x: Mapping[str, Any]) -> Any:
    """Upright dashed rules at the rows' `at`, each with its `label` at the top of the plot, on its `side` (left or right) of the rule."""
    import altair as alt

    at = alt.X(**{**x, "shorthand": "at:Q"})
    line = alt.Chart(alt.InlineData(values=list(rows))).mark_rule(color=QUIET, strokeDash=[4, 4]).encode(x=at)

    def labels(side: str, align: Literal["left", "right"], dx: int) -> Any:
        data = alt.InlineData(values=[row for row in rows if row["side"] == side])
        text = alt.Chart(data).mark_text(align=align, dx=dx, baseline="top", lineBreak="\n", color=QUIET, fontSize=12)
        return text.encode(x=at, y=alt.value(2), text="label:N")

    return alt.layer(line, labels("left", "right", -5), labels("right", "left", 5))


def boxes(rows: Rows, value: Mapping[str, Any], *, names: Sequence[str], height: int = 150) -> dict[str, Any]:
    """Lying boxes, one a row: `name` and the quantiles `low`, `q1`, `median`, `q3`, `high` (5, 25, 50, 75, 95 %)."""
    import altair as alt

    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y("name:N", sort=list(names), title=None),
        color=alt.Color("name:N", scale=alt.Scale(domain=list(names), range=list(PALETTE[: len(names)])), legend=None),
    )
    tip = [alt.Tooltip("name:N", title=" "), *(alt.Tooltip(f"{q}:Q", format=".3~g") for q in ("q1", "median", "q3"))]
    whiskers = base.mark_rule(strokeWidth=1.5).encode(x=alt.X(**{**value, "shorthand": "low:Q"}), x2="high:Q")
    box = base.mark_bar(size=16, opacity=0.45).encode(x=alt.X(**{**value, "shorthand": "q1:Q"}), x2="q3:Q", tooltip=tip)
    middle = base.mark_tick(thickness=3, size=22).encode(x=alt.X(**{**value, "shorthand": "median:Q"}))
    return finished(alt.layer(whiskers, box, middle), height)


def ranges(rows: Rows, value: Mapping[str, Any], *, names: Sequence[str], each: int = 36) -> dict[str, Any]:
    """Points with their intervals, one a row: its `pair` in two lines in the margin, its `low` and `high`, coloured by its `name`."""
    import altair as alt

    order = [row["pair"] for row in rows]
    scale = alt.Scale(domain=list(names), range=[PALETTE[k % len(PALETTE)] for k in range(len(names))])
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y("pair:N", sort=order, title=None, axis=alt.Axis(labelExpr=r"split(datum.label, '\n')", labelOffset=-7)),
        color=alt.Color("name:N", scale=scale, legend=None),
    )
    tip = [
        alt.Tooltip("pair:N", title=" "),
        *(alt.Tooltip(f"{end}:Q", format=".1%") for end in ("rate", "low", "high")),
    ]
    whiskers = base.mark_rule(strokeWidth=1.5).encode(x=alt.X(**{**value, "shorthand": "low:Q"}), x2="high:Q")
    middle = base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X(**value), tooltip=tip)
    return finished(alt.layer(whiskers, middle), each * max(2, len(rows)))
