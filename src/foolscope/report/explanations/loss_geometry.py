"""Loss geometry: how confident the images are, and on which of them cross-entropy's gradient is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foolscope.report.explanations.shapes import bars, rules
from foolscope.report.explanations.style import axis, layered
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent

Record = Mapping[str, Any]
BINS = 40  # at most
HEADROOM = 1.2  # of the tallest bar, for the labels of rules
NAMES = {
    "seen": "cross-entropy sees",
    "misled": "cross-entropy points elsewhere",
    "blind": "cross-entropy's gradient is zero",
}


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    series, n = entry["series"], entry["n"]
    counts = {name: series["state"].count(place) for place, name in enumerate(series["states"])}
    return Section(
        slug="loss_geometry",
        title="What cross-entropy can see",
        finding=entry["finding"],
        figures=(
            Chart(
                chart(entry),
                "Images by the logarithm of the odds of their class, coloured by what cross-entropy's gradient is there.",
            ),
        ),
        table=Table(
            "Images by what an attack's gradient is on them",
            (Column("Gradient"), Column("Images", numeric=True), Column("Share", numeric=True)),
            tuple(
                (Cell(NAMES[name]), Cell(f"{count:,}", count), Cell(percent(count / n), count / n, bar=count / n))
                for name, count in counts.items()
            ),
        ),
        method=entry["method"],
    )


def chart(entry: Record) -> dict[str, Any]:
    """A histogram of log(P / (1 - P)), with the gaps at which the precision loses parts of the gradient."""
    series = entry["series"]
    odds = np.array([np.nan if value is None else value for value in series["odds"]], float)
    state = np.array(series["state"])
    gaps = series["gaps"]
    low, high = (float(end) for end in (np.nanmin(odds), np.nanmax(odds)))
    bins = int(np.clip(2 * len(odds) ** 0.5, 10, BINS))
    edges = np.linspace(low, max(high, low + 1e-9), bins + 1)
    counts = np.array([np.histogram(odds[state == place], edges)[0] for place in range(len(series["states"]))])
    tops = counts.cumsum(0)
    rows = [
        {"name": NAMES[name], "left": left, "right": right, "count": int(n), "bottom": int(top - n), "top": int(top)}
        for name, some, above in zip(series["states"], counts, tops, strict=True)
        for left, right, n, top in zip(edges[:-1].tolist(), edges[1:].tolist(), some, above, strict=True)
        if n
    ]
    shown = {"confident logit's\nown part lost": gaps["own"], "everything lost": gaps["every"]}
    shown = {label: gap for label, gap in shown.items() if gap <= 1.3 * high}
    start, end = min(low, 0.0), max([high, *shown.values()])
    limits = [
        {"at": gap, "label": f"{label}\n({series['precision']}, {gap:.1f})", "side": _roomier(gap, start, end)}
        for label, gap in shown.items()
    ]
    x = axis("left", "log-odds of the image's class (log P - log(1 - P))", domain=(start, end + 0.02 * (end - start)))
    y = axis("count", "images", domain=(0, int(tops.max()) * (HEADROOM if limits else 1.05)))
    return layered(bars(rows, x, y, names=tuple(NAMES.values()), until="right"), rules(limits, x))


def _roomier(at: float, start: float, end: float) -> str:
    """The side of a rule on which there is more room for its label."""
    return "left" if at > (start + end) / 2 else "right"
