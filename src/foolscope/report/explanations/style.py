"""One look for the charts of explanations: colours that the colour-blind can tell apart and that both the light and the dark page carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from foolscope.report.charts import HEIGHT, finished, legend

# After Okabe and Ito; each at least 3 : 1 against both papers.
PALETTE = ("#2a88c4", "#d55e00", "#009e73", "#b86aa0", "#8a7a00")
QUIET = "#8a877f"  # references and diagonals
PLAIN = ".4~g"  # of an axis' numbers: as many digits as a tick has, and 100, not 1e+2
DASHES = {"solid": [1, 0], "dashed": [6, 4], "dotted": [2, 3]}
T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


def axis(
    field: str, title: str, *, log: bool = False, domain: Sequence[float] | None = None, form: str = ""
) -> dict[str, Any]:
    """An axis of a chart, as an encoding's arguments: its field, its title with the unit, its scale."""
    scale: dict[str, Any] = {"type": "log"} if log else {"type": "linear", "zero": False}
    if domain is not None:
        scale |= {"domain": list(domain), "nice": False}
    ticks: dict[str, Any] = {"grid": False, "tickCount": 6}
    if form:
        ticks["format"] = form
    return {"shorthand": f"{field}:Q", "title": title, "scale": scale, "axis": ticks}


def lines(
    rows: Rows,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    *,
    names: Sequence[str],
    dash: str = "",
    steps: bool = False,
) -> Any:
    """Lines through rows, coloured by their `name`, in the order of `names`; `dash` is the field that says solid, dashed or dotted."""
    import altair as alt

    strokes = list(dict.fromkeys(row[dash] for row in rows)) if dash else []
    encoding: dict[str, Any] = {"x": alt.X(**x), "y": alt.Y(**y), "color": colour(names), "detail": "name:N"}
    if dash:
        scale = alt.Scale(domain=strokes, range=[*DASHES.values()][: len(strokes)])
        encoding["strokeDash"] = alt.StrokeDash(
            f"{dash}:N", scale=scale, legend=legend(strokes, symbolStrokeColor=QUIET)
        )
    return (
        alt.Chart(alt.InlineData(values=list(rows)))
        .mark_line(strokeWidth=2, clip=True, interpolate="step-after" if steps else "linear")
        .encode(**encoding)
    )


def points(
    rows: Rows,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    *,
    names: Sequence[str],
    opacity: float = 0.7,
    size: int = 28,
) -> Any:
    """Points, coloured by their `name`, in the order of `names`; the row's `tip` is shown on hover where there is one."""
    import altair as alt

    encoding: dict[str, Any] = {"x": alt.X(**x), "y": alt.Y(**y), "color": colour(names)}
    if rows and "tip" in rows[0]:
        encoding["tooltip"] = alt.Tooltip("tip:N", title=" ")
    data = alt.InlineData(values=list(rows))
    return alt.Chart(data).mark_point(filled=True, size=size, opacity=opacity, clip=True).encode(**encoding)


def diagonal(low: float, high: float, x: Mapping[str, Any], y: Mapping[str, Any]) -> Any:
    """Where both axes are equal."""
    import altair as alt

    rows = [{"here": low}, {"here": high}]
    ends = {"x": alt.X(**{**x, "shorthand": "here:Q"}), "y": alt.Y(**{**y, "shorthand": "here:Q"})}
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(color=QUIET, strokeDash=DASHES["dashed"], clip=True)
        .encode(**ends)
    )


def layered(*parts: Any, height: int = HEIGHT) -> dict[str, Any]:
    """These layers as one Vega-Lite specification in the report's style."""
    import altair as alt

    return finished(alt.layer(*parts).resolve_scale(color="shared"), height)


def colour(names: Sequence[str]) -> Any:
    """The colours of these names, in the palette's order."""
    import altair as alt

    scale = alt.Scale(domain=list(names), range=list(PALETTE[: len(names)]))
    return alt.Color("name:N", scale=scale, legend=legend(names) if len(names) > 1 else None)


def spread(rows: Sequence[T], most: int) -> list[T]:
    """At most so many of the rows, evenly spread, the first and the last among them.

    Example:
        >>> spread("abcdefg", 3)
        ['a', 'd', 'g']
    """
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def span(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis over positive values: a little beyond all but the smallest 1 %, which may lie decades away.

    Example:
        >>> span([1e-9, *[1.0] * 99, 2.0])
        (0.8, 2.5)
    """
    ordered = sorted(values) or [1.0]
    return ordered[len(ordered) // 100] * 0.8, ordered[-1] * 1.25
