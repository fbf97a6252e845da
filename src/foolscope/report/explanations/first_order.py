"""First-order distance: against the distance found, and what 1, 3 and 10 gradients buy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.explanations.style import PLAIN, axis, diagonal, layered, points, span, spread
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent, short, unit

Record = Mapping[str, Any]
SHOWN = 600  # points of the scatter; more cannot be told apart
NAMES = ("settled by one step", "not settled")


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    series = entry["series"]
    return Section(
        slug="first_order_distance",
        title="First-order distance",
        finding=entry["finding"],
        figures=(
            Chart(
                scatter(entry),
                "First-order distance against the distance found, a point an image; equal on the diagonal.",
            ),
        ),
        table=Table(
            "What a few gradients buy",
            (
                Column("Rivals"),
                Column("Passes an image", numeric=True),
                Column("Rank correlation", numeric=True),
                Column("Found / first order, median", numeric=True),
                Column("Within eps", numeric=True),
                Column("Verdicts that agree", numeric=True),
                Column("Proved fooled", numeric=True),
            ),
            tuple(_row(row) for row in series["by_rivals"]),
            note=f"Attacks find {percent(series['fooled'])} within eps {series['eps']:.4g}. Forwards and backwards count as passes.",
        ),
        method=entry["method"],
    )


def scatter(entry: Record) -> dict[str, Any]:
    """Distance found against first-order distance, both logarithmic."""
    series = entry["series"]
    rows = [
        {
            "name": NAMES[0] if settled else NAMES[1],
            "first": first,
            "found": found,
            "tip": f"first order {short(first)}, found {short(found)}",
        }
        for first, found, settled in zip(series["first_order"], series["found"], series["settled"], strict=True)
        if first and found
    ]
    rows = spread(rows, SHOWN)
    ends = span([row[key] for row in rows for key in ("first", "found")])
    what = unit(series["norm"])
    x = axis("first", f"first-order distance ({what})", log=True, domain=ends, form=PLAIN)
    y = axis("found", f"distance found by attacks ({what})", log=True, domain=ends, form=PLAIN)
    return layered(diagonal(*ends, x, y), points(rows, x, y, names=NAMES), height=400)


def _row(row: Record) -> tuple[Cell, ...]:
    ratio = (
        "–" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['interval'][0]:.2f} to {row['interval'][1]:.2f})"
    )
    return (
        Cell(str(row["rivals"]), row["rivals"]),
        Cell(str(2 * row["rivals"] + 1), row["rivals"]),
        Cell(short(row["correlation"]), row["correlation"]),
        Cell(ratio, row["ratio"]),
        *(Cell(percent(row[key]), row[key]) for key in ("within", "agree", "settled")),
    )
