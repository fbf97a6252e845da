"""Power law: adversarial error against eps, log against log, with the fits, and a table of exponents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.explanations.style import PLAIN, axis, layered, lines, points
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent, short

Record = Mapping[str, Any]


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    return Section(
        slug="power_law",
        title="Power law of the adversarial error",
        finding=entry["finding"],
        figures=(
            Chart(
                chart(entry),
                "Adversarial error against eps for each attack, both logarithmic, with the fitted power laws as lines.",
            ),
        ),
        table=Table(
            "Exponents of the adversarial error at small eps",
            (
                Column("Attack"),
                Column("Exponent", numeric=True),
                Column("95% interval", numeric=True),
                Column("Flips fitted", numeric=True),
                Column("Up to eps", numeric=True),
                Column("p of the fit", numeric=True),
                Column("Right again in the range", numeric=True),
            ),
            tuple(_row(curve) for curve in entry["series"]["curves"]),
        ),
        method=entry["method"],
    )


def chart(entry: Record) -> dict[str, Any]:
    """Measured errors as points, the fits as lines, both axes logarithmic."""
    measured, fitted, names = [], [], []
    for curve in entry["series"]["curves"]:
        name, law = curve["name"], curve["law"]
        names.append(name)
        measured += [
            {"name": name, "eps": eps, "error": error, "tip": f"{name}: {percent(error)} at eps {short(eps)}"}
            for eps, error in zip(curve["eps"], curve["error"], strict=True)
            if error
        ]
        if law:
            fitted += [
                {"name": name, "eps": eps, "error": law["amplitude"] * eps ** law["exponent"]}
                for eps in (law["lower"], law["upper"])
            ]
    x = axis("eps", "eps in input units (L2: Euclidean length)", log=True, form=PLAIN)
    y = axis("error", "adversarial error (share of all images)", log=True, form=".2~%")
    return layered(points(measured, x, y, names=names), lines(fitted, x, y, names=names))


def _row(curve: Record) -> tuple[Cell, ...]:
    law = curve["law"]
    if law is None:
        return (Cell(curve["name"]), Cell("too few flips"), *(Cell("–") for _ in range(4)), Cell("–"))
    low, high = law["interval"]
    return (
        Cell(curve["name"]),
        Cell(f"{law['exponent']:.2f}", law["exponent"]),
        Cell(f"{low:.2f} to {high:.2f}"),
        Cell(str(law["flips"]), law["flips"]),
        Cell(short(law["upper"]), law["upper"]),
        Cell(short(law["goodness"]), law["goodness"]),
        Cell(percent(curve["returning"]), curve["returning"]),
    )
