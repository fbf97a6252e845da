"""Linearity: the logits along the sign of the gradient, and the margin's rise against the number of inputs that move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.explanations.style import PLAIN, axis, layered, lines, points
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import short

Record = Mapping[str, Any]
WAYS = {"signed": "along the gradient's sign", "random": "random signs (root mean square)"}


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    series = entry["series"]
    return Section(
        slug="linearity",
        title="Linearity along the gradient",
        finding=entry["finding"],
        figures=(
            Chart(rays(entry), "The largest logits of one image along the sign of its gradient."),
            Chart(growth(entry), "Rise of the margin against the number of inputs that move by eps, both logarithmic."),
        ),
        table=Table(
            "How the rise of the margin grows with the number of inputs that move",
            (Column("Direction"), Column("Exponent", numeric=True), Column("95% interval", numeric=True)),
            tuple(_row(WAYS[way], series["exponents"][way]) for way in WAYS),
        ),
        method=entry["method"],
    )


def rays(entry: Record, image: int = 0) -> dict[str, Any]:
    """The logits of one image against the step, those that come nearest to being the largest."""
    series = entry["series"]
    names = [f"class {k}" for k in series["classes"][image]]
    rows = [
        {"name": name, "step": step, "logit": value}
        for name, curve in zip(names, series["logits"][image], strict=True)
        for step, value in zip(series["steps"], curve, strict=True)
    ]
    x = axis("step", "step along the sign of the gradient (input units)")
    return layered(lines(rows, x, axis("logit", "logit"), names=names))


def growth(entry: Record) -> dict[str, Any]:
    """The mean rise of the margin against the number of inputs that move."""
    series = entry["series"]
    rows = [
        {"name": name, "n": n, "rise": rise, "tip": f"{n:.0f} inputs: {short(rise)}"}
        for way, name in WAYS.items()
        for n, rise in zip(series["components"], series["rise"][way], strict=True)
        if rise and rise > 0
    ]
    x = axis("n", "inputs that move by eps", log=True, form="~s")
    y = axis("rise", "rise of the margin (rescaled logits)", log=True, form=PLAIN)
    names = tuple(WAYS.values())
    return layered(lines(rows, x, y, names=names), points(rows, x, y, names=names))


def _row(name: str, exponent: Record | None) -> tuple[Cell, ...]:
    if exponent is None:
        return Cell(name), Cell("no rise"), Cell("–")
    low, high = exponent["interval"]
    return Cell(name), Cell(f"{exponent['value']:.2f}", exponent["value"]), Cell(f"{low:.2f} to {high:.2f}")
