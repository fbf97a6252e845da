"""Figures of the results' page, where the paper has one: records' series as Vega-Lite specifications, and those as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foolscope.search.exponents import BIN

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31", "#999999", "#4b0092")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 2, 2, 2))
WIDTH, HEIGHT = 320, 220  # of one panel, in pixels


@dataclass(frozen=True)
class Figure:
    """Which of a series' columns are drawn.

    Attributes:
        x, y: columns, with their axis titles.
        colour: the column that tells lines apart, "" for one line.
        panel: the column that tells panels apart, "" for one.
        percent: whether y is a share.
        bars: bars so wide in x, stacked by colour, instead of lines; 0 for lines.
        alt: what the picture shows, in words.
    """

    x: tuple[str, str]
    y: tuple[str, str]
    colour: str = ""
    panel: str = ""
    percent: bool = True
    bars: float = 0.0
    alt: str = ""


FIGURES: Mapping[str, Figure] = {
    "L8": Figure(
        ("eps", "eps along the sign of the gradient (input units)"),
        ("logit", "logit"),
        "class",
        percent=False,
        alt="Logits of one test image against eps along the sign of the gradient, one line a class",
    ),
    "R2": Figure(("eps", "eps (linf, input units)"), ("accuracy", "accuracy"), alt="Accuracy against eps"),
    "R4": Figure(
        ("eps", "eps (linf, input units)"),
        ("accuracy", "accuracy"),
        "examples",
        alt="Accuracy against eps, on examples of the plain network and on fresh ones",
    ),
    "C4": Figure(
        ("exponent", "exponent of the adversarial error (FGSM)"),
        ("networks", "networks"),
        "kind",
        percent=False,
        bars=BIN,
        alt="Histogram of the exponents of random architectures, fully connected and convolutional",
    ),
    "C14": Figure(
        ("gap", "gap between the two largest logits"),
        ("share below", "share of images below"),
        "training",
        alt="Cumulative distribution of the gap between the two largest logits",
    ),
    "C15": Figure(
        ("eps", "eps (linf, input units)"),
        ("accuracy", "accuracy under step l.l."),
        "training",
        "network",
        alt="Step-l.l. accuracy against eps for four ways of training, fully connected and convolutional",
    ),
    "C16": Figure(
        ("eps", "eps (linf, input units)"),
        ("accuracy", "accuracy under PGD"),
        "training",
        "loss",
        alt="PGD accuracy against eps for four ways of training, on cross-entropy and on the margin",
    ),
}


def specification(figure: Figure, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The Vega-Lite specification of a figure."""
    import altair as alt

    axis = alt.Axis(format=".0%") if figure.percent else alt.Axis()
    scale = alt.Scale(domain=[0, 1]) if figure.percent else alt.Scale()
    x = alt.X(f"{figure.x[0]}:Q", title=figure.x[1])
    if figure.bars:
        half = figure.bars / 2
        rows = [{**row, "from": row[figure.x[0]] - half, "until": row[figure.x[0]] + half} for row in rows]
        x = alt.X("from:Q", bin="binned", title=figure.x[1], axis=alt.Axis(tickCount=8))
    base = alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
    drawn = (
        base.mark_bar(stroke="white", strokeWidth=0.5).encode(x2="until:Q")
        if figure.bars
        else base.mark_line(strokeWidth=2, point=len(rows) < 80, color=PALETTE[0])
    )
    chart = drawn.encode(
        x=x,
        y=alt.Y(f"{figure.y[0]}:Q", title=figure.y[1], axis=axis, scale=scale),
    ).properties(width=WIDTH, height=HEIGHT)
    if figure.colour:
        names = list(dict.fromkeys(row[figure.colour] for row in rows))
        colours = alt.Scale(domain=names, range=list(PALETTE[: len(names)]))
        chart = chart.encode(color=alt.Color(f"{figure.colour}:N", sort=names, scale=colours))
        if not figure.bars:
            dashes = alt.Scale(domain=names, range=[list(DASHES[k % len(DASHES)]) for k in range(len(names))])
            chart = chart.encode(strokeDash=alt.StrokeDash(f"{figure.colour}:N", sort=names, scale=dashes))
    if figure.panel:
        panels = list(dict.fromkeys(row[figure.panel] for row in rows))
        chart = chart.facet(column=alt.Column(f"{figure.panel}:N", sort=panels, title=None))
    found: dict[str, Any] = chart.configure(background="white", font="sans-serif").to_dict()
    return found


def as_svg(specified: dict[str, Any]) -> str:
    """The picture of a specification."""
    import altair
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(specified, vl_version=".".join(altair.SCHEMA_VERSION.split(".")[:2]))
    return svg
