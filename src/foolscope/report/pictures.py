"""The sections about single images and classes: the gallery, the classes, the images to look at first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.auditing.tiles import Shot, Tile
from foolscope.report.columns import Samples, median_distance
from foolscope.report.images import amplify, png
from foolscope.report.section import Card, Cell, Column, Gallery, Section, Table, View
from foolscope.report.wording import count, distance, eps_label, percent, plural

SMALL = 96  # pixels; below it single pixels are shown as squares
CLASSES = 20  # rows of the per-class table where there are many more classes
LISTED = 8  # images of each kind in the table of images


def class_name(classes: Sequence[str], label: int) -> str:
    """A class by its name, or by its number where it has none."""
    return str(classes[label]) if 0 <= label < len(classes) else f"class {label}"


def gallery_section(record: Mapping[str, Any], classes: Sequence[str], tiles: Sequence[Tile]) -> Section:
    """Original, amplified perturbation and adversarial image of each tile, with one selector for eps."""
    radii = sorted({shot.eps for tile in tiles for shot in tile.shots})
    if not radii:
        return Section("gallery", "Gallery", "There is no attacked image to show: no attack found one.")
    audited = min(range(len(radii)), key=lambda i: abs(radii[i] - record["eps"]))
    names = [eps_label(eps, record["eps_text"]) for eps in radii]
    if np.isclose(radii[audited], record["eps"], rtol=1e-6):
        names[audited] += " (audited)"
    cards = tuple(_card(tile, radii, record, classes) for tile in tiles)
    fooled = sum(bool(card.views[audited].tone == "bad") for card in cards)
    return Section(
        slug="gallery",
        title="Gallery",
        finding=f"{plural(len(cards), 'image')}, the change found for each, and what the model makes of the result. "
        f"At eps {eps_label(radii[audited], record['eps_text'])}, {count(fooled)} of them {'is' if fooled == 1 else 'are'} misclassified.",
        figures=(Gallery("Largest change allowed (eps)", tuple(names), audited, cards),),
        method="The change is shown on mid-grey, amplified by the factor stated above it; mid-grey means unchanged. "
        "Percentages are the model's own confidence (softmax). The images were chosen for the reason given, not at random.",
    )


def _card(tile: Tile, radii: Sequence[float], record: Mapping[str, Any], classes: Sequence[str]) -> Card:
    wrong = tile.prediction != tile.label
    by_eps = {shot.eps: shot for shot in tile.shots}
    read = f"{class_name(classes, tile.prediction)} ({percent(tile.confidence)})"
    return Card(
        title=f"Image {tile.index}",
        why=tile.why,
        original=png(tile.image),
        label=class_name(classes, tile.label),
        original_text=f"classified as {read}" if wrong else f"{percent(tile.confidence)} confident",
        tone="bad" if wrong else "",
        small=max(tile.image.shape[-2:]) < SMALL,
        views=tuple(_view(tile, by_eps.get(eps), record, classes) for eps in radii),
    )


def _view(tile: Tile, shot: Shot | None, record: Mapping[str, Any], classes: Sequence[str]) -> View:
    if shot is None:
        return View("", "", "", "", "not attacked at this eps", "quiet")
    difference, factor = amplify(tile.image, shot.adversarial)
    changed = bool(np.any(shot.adversarial != tile.image))
    return View(
        perturbation=png(difference),
        perturbation_text=f"Change ×{factor:g}" if changed else "No change",
        adversarial=png(shot.adversarial),
        adversarial_text=f"{class_name(classes, shot.prediction)} ({percent(shot.confidence)})",
        verdict=f"{'fooled' if shot.fooled else 'not fooled'}, distance {distance(shot.distance, record['norm'], record['bounds'])}",
        tone="bad" if shot.fooled else "good",
    )


@dataclass(frozen=True)
class _Row:
    """What is known of one class; `mistaken` are the wrong classes its images were given."""

    name: str
    n: int
    clean: float
    robust: float
    median: float | None
    mistaken: npt.NDArray[np.int64]


def classes_section(record: Mapping[str, Any], samples: Samples, classes: Sequence[str]) -> Section:
    """Accuracy with and without attack, distance and most frequent confusion of each class, the weakest first."""
    rows = [_row(samples, label, class_name(classes, label)) for label in np.unique(samples.label).tolist()]
    rows.sort(key=lambda row: (row.robust, -row.n))  # of equally weak classes, the one with most evidence first
    finding, note = _class_finding(rows), ""
    if len(rows) > 2 * CLASSES:
        note = f"The {CLASSES} weakest of {count(len(rows))} classes; every image is in samples.parquet."
        rows = rows[:CLASSES]
    return Section(
        slug="classes",
        title="Classes",
        finding=finding,
        table=Table(
            caption="Classes, the weakest first",
            columns=(
                Column("Class"),
                Column("Images", numeric=True),
                Column("Clean accuracy", numeric=True),
                Column("Robust accuracy", numeric=True),
                Column("Median distance", numeric=True),
                Column("Most often mistaken for"),
            ),
            rows=tuple(_class_cells(row, record, classes) for row in rows),
            note=note,
        ),
        method="Robust accuracy and confusions are those within the audited eps; confusions count mistakes made without an attack "
        "too. The median distance is over images correct before the attack; a dash means that for half of them or more no "
        "adversarial image was found at all. Classes of few images have wide margins of error.",
    )


def _row(samples: Samples, label: int, name: str) -> _Row:
    own = samples.label == label
    mistaken = samples.mistaken[own]
    return _Row(
        name=name,
        n=int(own.sum()),
        clean=float(samples.correct[own].mean()),
        robust=float((samples.outcome[own] == "resisted").mean()),
        median=median_distance(samples.distance[own & samples.correct]),
        mistaken=mistaken[mistaken >= 0],
    )


def _class_finding(rows: Sequence[_Row]) -> str:
    weakest, strongest = rows[0], rows[-1]
    share, tied = percent(weakest.robust), sum(row.robust == weakest.robust for row in rows)
    if len(rows) == 1:
        return f"All images belong to one class, {weakest.name}: {share} of them stay correct under attack."
    if tied == len(rows):
        return f"All {count(tied)} classes hold out equally: {share} of their images stay correct under attack."
    if tied > 1:
        return f"{count(tied)} of {count(len(rows))} classes are weakest: {share} of their images stay correct under attack."
    return (
        f"The weakest class is {weakest.name}: {share} of its {plural(weakest.n, 'image')} stay correct under attack. "
        f"The strongest is {strongest.name} with {percent(strongest.robust)} of {count(strongest.n)}."
    )


def _class_cells(row: _Row, record: Mapping[str, Any], classes: Sequence[str]) -> tuple[Cell, ...]:
    confusion = Cell("–", 0.0, tone="quiet")
    if row.mistaken.size:
        found, counts = np.unique(row.mistaken, return_counts=True)
        most = int(counts.argmax())
        name, share = class_name(classes, int(found[most])), float(counts[most] / row.mistaken.size)
        confusion = Cell(f"{name} ({count(counts[most])} of {count(row.mistaken.size)})", share)
    return (
        Cell(row.name),
        Cell(count(row.n), row.n),
        Cell(percent(row.clean), row.clean),
        Cell(percent(row.robust), row.robust, bar=row.robust),
        Cell(distance(row.median, record["norm"], record["bounds"]), math.inf if row.median is None else row.median),
        confusion,
    )


def images_section(
    record: Mapping[str, Any], samples: Samples, classes: Sequence[str], tiles: Sequence[Tile]
) -> Section:
    """The images that the smallest changes fool, within eps or not, and the most confident mistakes within eps."""
    found = np.flatnonzero(samples.correct & ~np.isnan(samples.distance))
    if not found.size:
        return Section(
            "images",
            "Images to look at first",
            "No adversarial image was found for any image that the model had right.",
        )
    fooled = np.flatnonzero(samples.fooled)
    near = found[np.argsort(samples.distance[found], kind="stable")][:LISTED]
    sure = fooled[np.argsort(-samples.confidence[fooled], kind="stable")][:LISTED]
    closest = int(near[0])
    shown = {tile.index for tile in tiles}
    rows = [_image_row(i, "nearest", record, samples, classes) for i in near.tolist()]
    rows += [_image_row(i, "most confident", record, samples, classes) for i in sure.tolist()]
    pictured = len({int(samples.index[i]) for i in (*near.tolist(), *sure.tolist())} & shown)
    return Section(
        slug="images",
        title="Images to look at first",
        finding=f"Image {samples.index[closest]} ({class_name(classes, int(samples.label[closest]))}) falls to the smallest change, "
        f"{distance(float(samples.distance[closest]), record['norm'], record['bounds'])}"
        f"{'' if samples.fooled[closest] else ', which is more than the audited eps'}.",
        table=Table(
            caption="Images fooled with the least, and the most confident mistakes",
            columns=(
                Column("Image", numeric=True),
                Column("Listed as"),
                Column("True class"),
                Column("Classified as"),
                Column("Confidence", numeric=True),
                Column("Distance", numeric=True),
                Column("Attack"),
                Column("Survives 8 bits"),
            ),
            rows=tuple(rows),
            note=f"{plural(pictured, 'of them is', 'of them are')} in the gallery above." if pictured else "",
        ),
        method="Nearest: fooled by the smallest changes. Most confident: fooled within the audited eps, and surest of the wrong class. "
        "Survives 8 bits: the image still fools the model after rounding to whole grey levels, as when it is stored in a file.",
    )


def _image_row(
    i: int, why: str, record: Mapping[str, Any], samples: Samples, classes: Sequence[str]
) -> tuple[Cell, ...]:
    survives, size = samples.survives[i], float(samples.distance[i])
    return (
        Cell(str(samples.index[i]), float(samples.index[i])),
        Cell(why),
        Cell(class_name(classes, int(samples.label[i]))),
        Cell(class_name(classes, int(samples.adversarial[i]))),
        Cell(percent(float(samples.confidence[i])), float(samples.confidence[i])),
        Cell(distance(size, record["norm"], record["bounds"]), size),
        Cell(samples.attack[i] or "–"),
        Cell("–" if survives is None else "yes" if survives else "no", tone="" if survives else "quiet"),
    )
