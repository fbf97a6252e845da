"""Further shapes of the charts of explanations, in their style: stacked bars, boxes, heat maps, rules with a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    """Upright dashed rules at the rows' `at`, each with its `label` above the plot."""
    import altair as alt

    base = alt.Chart(alt.InlineData(values=list(rows))).encode(x=alt.X(**{**x, "shorthand": "at:Q"}))
    line = base.mark_rule(color=QUIET, strokeDash=[4, 4])
    text = base.mark_text(baseline="bottom", color=QUIET, fontSize=12).encode(y=alt.value(-4), text="label:N")
    return alt.layer(line, text)


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
