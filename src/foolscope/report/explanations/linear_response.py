"""Linear response: predicted against measured distance, and both as curves of the adversarial error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foolscope.report.explanations.style import PLAIN, axis, diagonal, layered, lines, points, span, spread
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent, short, unit

Record = Mapping[str, Any]
SHOWN = 600  # points of the scatter and of a curve; more cannot be told apart


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    series = entry["series"]
    return Section(
        slug="linear_response",
        title="Linear response",
        finding=entry["finding"],
        figures=(
            Chart(
                scatter(entry),
                "Predicted against measured distance, a point an image, with the diagonal where they are equal.",
            ),
            Chart(
                curves(entry),
                "Share of images whose class has changed at a distance: measured, predicted, and by the mean field.",
            ),
        ),
        table=Table(
            "Which logit overtakes first, by the prediction",
            (Column("Rank of the class on the clean image"), Column("Share of images", numeric=True)),
            tuple((Cell(rank), Cell(percent(share), share, bar=share)) for rank, share in series["first_rank"].items()),
        ),
        method=entry["method"],
    )


def scatter(entry: Record) -> dict[str, Any]:
    """Measured against predicted distance, both logarithmic; images without either are not shown."""
    series = entry["series"]
    rows = [
        {
            "name": "runner-up first" if rank == 2 else "lower rank first",
            "predicted": predicted,
            "measured": measured,
            "tip": f"predicted {short(predicted)}, measured {short(measured)}, rank {rank}",
        }
        for predicted, measured, rank in zip(series["predicted"], series["measured"], series["rank"], strict=True)
        if predicted and measured
    ]
    rows = spread(rows, SHOWN)
    ends = span([row[key] for row in rows for key in ("predicted", "measured")])
    what = unit(series["norm"])
    x = axis("predicted", f"predicted distance along the ray ({what})", log=True, domain=ends, form=PLAIN)
    y = axis("measured", f"measured distance ({what})", log=True, domain=ends, form=PLAIN)
    return layered(diagonal(*ends, x, y), points(rows, x, y, names=("runner-up first", "lower rank first")), height=400)


def curves(entry: Record) -> dict[str, Any]:
    """Share of images whose class has changed, against the distance."""
    series = entry["series"]
    named = {"measured": "measured", "predicted": "linear response", "mean_field": "mean field"}
    finite = sorted(value for value in series["measured"] if value is not None)
    end = 1.5 * finite[int(0.9 * (len(finite) - 1))] if finite else 1.0
    rows = [
        {"name": name, "eps": eps, "share": share}
        for key, name in named.items()
        for eps, share in _risen(series[key], end)
    ]
    x = axis("eps", f"distance along the {series['direction']} ({unit(series['norm'])})", domain=(0, end), form=PLAIN)
    y = axis("share", "share of images whose class has changed", domain=(0, 1), form=".0%")
    return layered(lines(rows, x, y, names=tuple(named.values()), steps=True))


def _risen(values: Sequence[float | None], end: float) -> list[tuple[float, float]]:
    """The share of values up to eps, as points of a step line from 0 to `end`."""
    ordered = sorted(value for value in values if value is not None and value <= end)
    n = len(values)
    steps = [(0.0, 0.0), *((value, (place + 1) / n) for place, value in enumerate(ordered))]
    return [*spread(steps, SHOWN), (end, len(ordered) / n)]
