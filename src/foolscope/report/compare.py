"""Audits side by side as the sections of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.report.charts import curve_points
from foolscope.report.lines import lines_chart
from foolscope.report.render import render_page
from foolscope.report.section import Cell, Chart, Column, Fact, Facts, Figure, Notes, Number, Numbers, Section, Table
from foolscope.report.wording import NORMS, allowance, count, percent, plural, short, unit

Record = Mapping[str, Any]
Arrays = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float64]]
MOST = 100  # images in the table of those that differ
CURVE = 100  # points of a curve


def render_comparison(record: Record, labels: npt.NDArray[np.int64], samples: Sequence[Arrays]) -> str:
    """The report, one self-contained HTML file.

    Args:
        record: `compare.json`, parsed.
        labels: of the images, `(n,)`.
        samples: for each audit: right when clean, right under attack, distance; `(n,)` each.
    """
    names = " and ".join(row["name"] for row in record["audits"])
    return render_page(names, "Audits compared", comparison_sections(record, labels, samples))


def comparison_sections(record: Record, labels: npt.NDArray[np.int64], samples: Sequence[Arrays]) -> list[Section]:
    """The sections; arguments as for `render_comparison`."""
    return [
        outcome_section(record),
        curves_section(record),
        images_section(record, labels, samples),
        settings_section(record),
    ]


def signed(value: float) -> str:
    """A difference of two shares in percentage points."""
    return f"{_points(value)} points"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def outcome_section(record: Record) -> Section:
    """Robust accuracies and what separates them."""
    rows = record["audits"]
    first, rest = rows[0], rows[1:]
    may = allowance(record["eps"], record["eps_text"], record["norm"], record["bounds"])
    finding = f"Against an attacker who may {may}, on the same {plural(record['n'], 'image')}: "
    told = []
    for row in rest:
        low, high = row["difference_interval"]
        sure = "" if low > 0 or high < 0 else "; the interval holds 0, so this may be chance"
        told.append(
            f"{row['name']} keeps {signed(row['difference'])} compared with {first['name']} (95% interval {_points(low)} to "
            f"{_points(high)}{sure})"
        )
    numbers = tuple(
        Number(
            row["name"],
            percent(row["robust_accuracy"]),
            f"robust, at most; {percent(row['clean_accuracy'])} clean",
            tone="bad" if row["trust"] == "suspicious" else "",
        )
        for row in rows
    )
    doubts = tuple(
        f"The audit of {row['name']} is suspicious: see its own report." for row in rows if row["trust"] != "sound"
    )
    doubts += tuple(f"The audit of {row['name']} is not complete." for row in rows if not row["complete"])
    figures: list[Figure] = [Notes(doubts, "bad")] if doubts else []
    best = max(rows, key=lambda row: row["robust_accuracy"])
    level = len({row["robust_accuracy"] for row in rows}) == 1
    chance = all(row["difference_interval"][0] <= 0 <= row["difference_interval"][1] for row in rest)
    headline = f"{best['name']} keeps the most images" + (", which may be chance" if chance else "")
    return Section(
        "outcome",
        "None keeps more images than another" if level else headline,
        finding + "; ".join(told) + ".",
        (*figures, Numbers(numbers)),
        _table(record),
        "Differences are paired: the same image under two models. Their interval is Tango's score interval, p is McNemar's exact test, and "
        "the interval of the median difference of distances comes from order statistics, over images that both models had right. "
        "Robust accuracies are upper bounds, and so a difference between them can be one between attacks.",
    )


def _table(record: Record) -> Table:
    columns = (
        Column("Audit"),
        Column("Trained for"),
        Column("Clean", numeric=True),
        Column("Robust, at most", numeric=True),
        Column("Difference (95% interval)", numeric=True),
        Column("p", numeric=True),
        Column("Only here / only first", numeric=True),
        Column("Median distance", numeric=True),
        Column("Median difference", numeric=True),
    )
    rows = []
    for row in record["audits"]:
        low, high = row["difference_interval"] or (math.nan, math.nan)
        near, far = row["distance_difference_interval"] or (None, None)
        moved = short(row["distance_difference"])
        rows.append(
            (
                Cell(row["name"]),
                Cell(row["objective"] or "–"),
                Cell(percent(row["clean_accuracy"]), row["clean_accuracy"]),
                Cell(percent(row["robust_accuracy"]), row["robust_accuracy"], bar=row["robust_accuracy"]),
                Cell(
                    "–" if row["p"] is None else f"{signed(row['difference'])} ({_points(low)} to {_points(high)})", low
                ),
                Cell(short(row["p"]), row["p"]),
                Cell("–" if row["p"] is None else f"{row['only_here']} / {row['only_first']}", row["only_here"]),
                Cell(short(row["median_distance"]), row["median_distance"]),
                Cell(
                    "–" if row["p"] is None else f"{moved} ({short(near)} to {short(far)})", row["distance_difference"]
                ),
            )
        )
    return Table("All audits; differences are from the first", columns, tuple(rows))


def curves_section(record: Record) -> Section:
    """All curves in one chart."""
    rows = []
    furthest = max(4 * record["eps"], *(1.3 * (row["median_distance"] or 0) for row in record["audits"]))
    for row in record["audits"]:
        like = {**record, **{key: row[key] for key in ("clean_accuracy", "curve", "robust_accuracy")}}
        points = [point for point in curve_points(like) if point["eps"] <= furthest]
        keep = {round(i * (len(points) - 1) / (CURVE - 1)) for i in range(CURVE)}
        for place in sorted(keep):
            point = points[place]
            rows.append(
                {
                    "x": point["eps"],
                    "y": point["accuracy"],
                    "lower": point["lower"],
                    "upper": point["upper"],
                    "text": f"{point['accuracy_text']} ({point['interval_text']})",
                    "series": row["name"],
                }
            )
    spec = lines_chart(
        rows,
        x=f"eps: {unit(record['norm'])} ({NORMS[record['norm']]})",
        y="robust accuracy",
        series=[row["name"] for row in record["audits"]],
        percent=True,
        steps=True,
        band=True,
    )
    described = "Robust accuracy against eps for " + ", ".join(row["name"] for row in record["audits"])
    return Section(
        "curves",
        "Robustness curves",
        "Each image counts as correct up to the smallest change found that fools the model.",
        (Chart(spec, f"{described}. The table above gives the values at the audited eps."),),
        method="The lines are upper bounds on the true curves; the bands are 95% Wilson intervals of each share by itself. Bands that "
        "overlap may still belong to shares that differ, because the images are the same: the paired intervals above decide.",
    )


def images_section(record: Record, labels: npt.NDArray[np.int64], samples: Sequence[Arrays]) -> Section:
    """The images on which the models part ways."""
    names = [row["name"] for row in record["audits"]]
    standing = np.stack([stands for _, stands, _ in samples])
    parted = np.flatnonzero(standing.any(0) & ~standing.all(0))
    distance = np.stack([d for _, _, d in samples])
    spread = np.where(np.isinf(distance), 1e9, distance)[:, parted]
    order = parted[np.argsort(-(spread.max(0) - spread.min(0)), kind="stable")][:MOST]
    rows = tuple(
        (
            Cell(str(at), float(at)),
            Cell(str(labels[at]), float(labels[at])),
            *(_cell(correct[at], stands[at], d[at]) for correct, stands, d in samples),
        )
        for at in order
    )
    every, none = int(standing.all(0).sum()), int((~standing.any(0)).sum())
    finding = (
        f"{count(every)} of {plural(record['n'], 'image')} stay correct under every model, {count(none)} under none, and on "
        f"{count(len(parted))} the models part ways."
    )
    columns = (Column("Image", numeric=True), Column("Label"), *(Column(name, numeric=True) for name in names))
    caption = f"The smallest change found that fools each model, in {NORMS[record['norm']]}"
    note = f"The {MOST} images with the largest differences." if len(parted) > MOST else ""
    table = Table(caption, columns, rows, note) if rows else None
    return Section("images", "Image by image", finding, table=table)


def _cell(correct: bool, standing: bool, distance: float) -> Cell:
    if not correct:
        return Cell("wrong when clean", 0.0, tone="quiet")
    text = "never fooled" if math.isinf(distance) else short(distance)
    return Cell(text, float(distance), tone="" if standing else "bad")


def settings_section(record: Record) -> Section:
    """Which audits these are."""
    groups = [
        Facts(
            row["name"],
            (
                Fact("folder", row["folder"], code=True),
                Fact("model", row["model"], code=True),
                Fact("SHA-256 of the weights", row["sha256"], code=True),
                Fact("effort", row["effort"]),
                Fact("audited eps", short(row["audited_eps"])),
            ),
        )
        for row in record["audits"]
    ]
    data = record["data"]
    groups.append(
        Facts(
            "Images",
            (
                Fact("name", str(data["name"]), code=True),
                Fact("images", count(record["n"])),
                Fact("SHA-256", str(data["sha256"]), code=True),
            ),
        )
    )
    groups.append(
        Facts("Program", (Fact("foolscope", record["foolscope"]), Fact("command", record["command"], code=True)))
    )
    return Section("settings", "Settings", "Which audits these are.", tuple(groups))
