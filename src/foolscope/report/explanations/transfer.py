"""The transfer matrix: how often examples made on one model fool each of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foolscope.report.explanations.shapes import ranges
from foolscope.report.explanations.style import axis
from foolscope.report.render import render_page
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent, short

Record = Mapping[str, Any]


def render_transfer(record: Record) -> str:
    """The page of a transfer matrix, one self-contained HTML file.

    Args:
        record: `transfer.json`, parsed.
    """
    return render_page(", ".join(record["models"]), "Transfer", [section(record)])


def section(record: Record) -> Section:
    """The section of a transfer matrix's record."""
    return Section(
        slug="transfer",
        title="Transfer between models",
        finding=record["finding"],
        figures=(
            Chart(
                chart(record),
                "Share of images fooled for each model that examples were made on and tried on, with 95% intervals.",
            ),
        ),
        table=Table(
            f"Examples of {record['attack']}, {'targeted' if record['targeted'] else 'untargeted'}",
            (
                Column("Made on"),
                Column("Tried on"),
                Column("Given the target" if record["targeted"] else "Fooled", numeric=True),
                Column("95% interval", numeric=True),
                Column("Same wrong class on both", numeric=True),
                Column("Mean size", numeric=True),
            ),
            tuple(_row(record, i, j) for i, j in _pairs(record)),
        ),
        method=record["method"],
    )


def chart(record: Record) -> dict[str, Any]:
    """Shares with their intervals, a row a pair of models, coloured by the model that the examples were made on."""
    rows = [
        {
            "name": record["models"][i],
            "pair": f"{record['models'][i]} \u2192\n{record['models'][j]}",
            "rate": record["rate"][i][j],
            "low": record["interval"][i][j][0],
            "high": record["interval"][i][j][1],
        }
        for i, j in _pairs(record)
    ]
    what = "given the target" if record["targeted"] else "fooled"
    value = axis("rate", f"share of {record['n']:,} images {what} (made on \u2192 tried on)", domain=(0, 1), form="~%")
    return ranges(rows, value, names=record["models"])


def _pairs(record: Record) -> Iterator[tuple[int, int]]:
    places = range(len(record["models"]))
    return ((i, j) for i in places for j in places)


def _row(record: Record, i: int, j: int) -> tuple[Cell, ...]:
    rate, (low, high) = record["rate"][i][j], record["interval"][i][j]
    both, same = record["both_wrong"][i][j], record["agreeing"][i][j]
    return (
        Cell(record["models"][i], i),
        Cell(record["models"][j], j),
        Cell(percent(rate), rate, bar=rate),
        Cell(f"{percent(low)} to {percent(high)}"),
        Cell(f"{percent(same / both)} of {both:,}" if both else "–", same / both if both else None),
        Cell(short(record["size"][i]), record["size"][i]),
    )
