"""The race of the four losses: logits and probabilities step by step, steps needed, least perturbation, and survival."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.explanations.shapes import boxes
from foolscope.report.explanations.style import PLAIN, axis, layered, lines
from foolscope.report.section import Cell, Chart, Column, Section, Table
from foolscope.report.wording import percent, short

Record = Mapping[str, Any]
FOOTINGS = {"perturbation": "equal perturbation", "multiplier": "equal multiplier"}
CURVES = {
    "target_logit": ("target's logit (median)", False),
    "target_probability": ("target's probability (median)", False),
    "gradient": ("size of the gradient, l2 (median)", True),
}


def section(entry: Record) -> Section:
    """The section of one entry of `explain.json`."""
    traced = tuple(
        Chart(trace(entry, field, footing), f"{title}, against the step, for four losses; {FOOTINGS[footing]}.")
        for field, (title, _) in CURVES.items()
        for footing in FOOTINGS
        if field != "gradient" or footing == "multiplier"  # equal perturbation divides by it
    )
    boxed = tuple(
        Chart(
            box(entry, size, footing), f"{size} size of the perturbation that reaches the target; {FOOTINGS[footing]}."
        )
        for footing in FOOTINGS
        for size in ("l2", "linf")
        if any(row[size] for row in entry["series"]["footings"][footing].values())
    )
    return Section(
        slug="loss_race",
        title="Four losses on an equal footing",
        finding=entry["finding"],
        figures=traced + boxed,
        table=Table(
            "What each loss needs to reach its target",
            (
                Column("Loss"),
                Column("Footing"),
                Column("Reached", numeric=True),
                Column("Steps, median (25 to 75%)", numeric=True),
                Column("l2, median", numeric=True),
                Column("linf, median", numeric=True),
                Column("ms a step and image", numeric=True),
                Column("Gradient died", numeric=True),
                Column("Survive blur", numeric=True),
                Column("Survive TV", numeric=True),
            ),
            tuple(
                _row(entry["series"]["names"][loss], FOOTINGS[footing], row)
                for footing, losses in entry["series"]["footings"].items()
                for loss, row in losses.items()
            ),
        ),
        method=entry["method"],
    )


def trace(entry: Record, field: str, footing: str) -> dict[str, Any]:
    """The median of one quantity at each step, a line a loss."""
    names = entry["series"]["names"]
    title, log = CURVES[field]
    rows = [
        {"name": names[loss], "step": step, "value": value}
        for loss, row in entry["series"]["footings"][footing].items()
        for step, value in enumerate(row["trace"][field])
        if value is not None and (value > 0 or not log)
    ]
    x = axis("step", f"step ({FOOTINGS[footing]})")
    y = axis("value", title, log=log, form=PLAIN if log else "")
    return layered(lines(rows, x, y, names=tuple(names.values())), height=240)


def box(entry: Record, size: str, footing: str) -> dict[str, Any]:
    """Boxes of the perturbation's size on arrival, a box a loss."""
    names = entry["series"]["names"]
    rows = [
        {"name": names[loss], **row[size]} for loss, row in entry["series"]["footings"][footing].items() if row[size]
    ]
    what = "Euclidean length" if size == "l2" else "largest change of a pixel value"
    return boxes(rows, axis("median", f"{what} on arrival ({FOOTINGS[footing]})"), names=tuple(names.values()))


def _row(name: str, footing: str, row: Record) -> tuple[Cell, ...]:
    steps = row["steps"]
    return (
        Cell(name),
        Cell(footing),
        Cell(f"{row['reached']} of {row['n']}", row["reached"]),
        Cell(
            f"{steps['median']:.0f} ({steps['q1']:.0f} to {steps['q3']:.0f})" if steps else "–",
            steps and steps["median"],
        ),
        *(
            Cell(short(row[size]["median"] if row[size] else None), row[size] and row[size]["median"])
            for size in ("l2", "linf")
        ),
        Cell(short(row["milliseconds"]), row["milliseconds"]),
        Cell(str(row["stalled"]), row["stalled"]),
        *(_survival(row[how]) for how in ("blur", "tv")),
    )


def _survival(kept: Record) -> Cell:
    if not kept["of"]:
        return Cell("–")
    share = kept["kept"] / kept["of"]
    low, high = kept["interval"]
    return Cell(f"{percent(share)} ({percent(low)} to {percent(high)})", share)
