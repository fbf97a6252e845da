"""Random architectures: a histogram of the exponents of their adversarial errors, and how it compares with sampling alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foolscope.report.explanations.shapes import bars, rules
from foolscope.report.explanations.style import axis, layered
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent

Record = Mapping[str, Any]

METHOD = (
    "Cubuk et al. 2017 (arXiv:1711.02846): networks of random architectures (fully connected, 1 to 4 hidden layers of 30 to 2,000 units; "
    "small convolutional ones with dropout 0 to 0.5) are trained and attacked with FGSM; the exponent of each one's adversarial error is "
    "fitted as in the power law's explanation. 'By sampling' is the standard deviation that the fits' own intervals would give were all "
    "exponents the same. The median's interval is a bootstrap over architectures."
)


def section(entry: Record) -> Section:
    """The section of a search: its distribution (`fitted, median, interval, inside, inside_interval, deviation, sampling`) and `bins`."""
    low, high = entry["interval"]
    return Section(
        slug="random_architectures",
        title="Exponents of random architectures",
        finding=(
            f"Of {entry['fitted']:,} networks, half have an exponent below {entry['median']:.2f} (95% interval {low:.2f} to {high:.2f}); "
            f"{percent(entry['inside'])} lie between 0.9 and 1.1."
        ),
        figures=(
            Chart(
                chart(entry["bins"], entry["width"]),
                "Histogram of the exponents by kind of network; the dashed rules stand at 0.9 and 1.1.",
            ),
        ),
        table=Table(
            "The distribution of the exponents",
            (
                Column("Networks", numeric=True),
                Column("Median", numeric=True),
                Column("95% interval", numeric=True),
                Column("From 0.9 to 1.1", numeric=True),
                Column("Standard deviation", numeric=True),
                Column("By sampling", numeric=True),
            ),
            (
                (
                    Cell(f"{entry['fitted']:,}", entry["fitted"]),
                    Cell(f"{entry['median']:.2f}", entry["median"]),
                    Cell(f"{low:.2f} to {high:.2f}"),
                    Cell(percent(entry["inside"]), entry["inside"]),
                    Cell(f"{entry['deviation']:.2f}", entry["deviation"]),
                    Cell(f"{entry['sampling']:.2f}", entry["sampling"]),
                ),
            ),
        ),
        method=METHOD,
    )


def chart(bins: Sequence[Record], width: float) -> dict[str, Any]:
    """Stacked bars, a bar a bin (`exponent` in its middle, `networks`, `kind`)."""
    names = list(dict.fromkeys(row["kind"] for row in bins))
    rows, height = [], dict[float, int]()
    for row in sorted(bins, key=lambda row: names.index(row["kind"])):
        middle, bottom = row["exponent"], height.get(row["exponent"], 0)
        height[middle] = bottom + row["networks"]
        rows.append(
            {
                "name": row["kind"],
                "from": middle - width / 2,
                "until": middle + width / 2,
                "bottom": bottom,
                "top": height[middle],
                "networks": row["networks"],
            }
        )
    x = axis("from", "exponent of the adversarial error (FGSM)")
    y = axis("networks", "networks", domain=(0, 1.1 * max(height.values(), default=1)))
    marks = [{"at": 0.9, "label": "0.9", "side": "left"}, {"at": 1.1, "label": "1.1", "side": "right"}]
    return layered(bars(rows, x, y, names=names, until="until"), rules(marks, x))
