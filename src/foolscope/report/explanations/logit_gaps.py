"""Logit gaps: how often each is below t, log against log, with the fits, and a table of exponents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.explanations.style import PLAIN, axis, layered, lines
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import short

Record = Mapping[str, Any]


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    return Section(
        slug="logit_gaps",
        title="Logit gaps",
        finding=entry["finding"],
        figures=(
            Chart(
                chart(entry), "Share of images whose logit gap is at most t, for each rank; the table holds the fits."
            ),
        ),
        table=Table(
            "Exponents of the density of each gap near zero",
            (
                Column("Rank"),
                Column("Exponent", numeric=True),
                Column("95% interval", numeric=True),
                Column("Gaps fitted", numeric=True),
                Column("p of the fit", numeric=True),
                Column("Independent logits, same share", numeric=True),
                Column("At the limit", numeric=True),
            ),
            tuple(_row(row) for row in entry["series"]["ranks"]),
        ),
        method=entry["method"],
    )


def chart(entry: Record) -> dict[str, Any]:
    """Share of gaps up to t (solid) and its fit (dashed) for each rank, both axes logarithmic."""
    curves, names = [], []
    for row in entry["series"]["ranks"]:
        name = f"rank {row['rank']}"
        names.append(name)
        curves += [
            {"name": name, "gap": gap, "share": share, "line": "measured"}
            for gap, share in zip(row["gap"], row["share"], strict=True)
        ]
        if "exponent" in row and row["gap"]:
            top, slope, part = row["until"], row["exponent"] + 1, row["fitted_share"]
            low = top * (row["share"][0] / part) ** (1 / slope)
            curves += [
                {"name": name, "gap": gap, "share": part * (gap / top) ** slope, "line": "fitted"} for gap in (low, top)
            ]
    gaps = [row["gap"] for row in curves]
    ends = (min(gaps), max(gaps)) if gaps else None
    x = axis("gap", "gap to the largest logit (logit units)", log=True, domain=ends, form=PLAIN)
    y = axis("share", "share of images with at most this gap", log=True, form=".3~%")
    return layered(lines(curves, x, y, names=names, dash="line"))


def _row(row: Record) -> tuple[Cell, ...]:
    fitted = "exponent" in row
    interval = f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}" if fitted else "–"
    return (
        Cell(str(row["rank"]), row["rank"]),
        Cell(f"{row['exponent']:.2f}" if fitted else "too few", row.get("exponent")),
        Cell(interval),
        Cell(str(row["points"]) if fitted else "–", row.get("points")),
        Cell(short(row.get("goodness")), row.get("goodness")),
        Cell(f"{row['reference']:.2f}" if fitted else "–", row.get("reference")),
        Cell(str(row["limit"]), row["limit"]),
    )
