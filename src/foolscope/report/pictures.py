"""The sections about single images and classes: the gallery, the classes, the images to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foolscope.report.columns import Samples, median_distance
from foolscope.report.gallery import Shot, Tile
from foolscope.report.images import amplify, png
from foolscope.report.section import Card, Cell, Column, Gallery, Section, Table, View
from foolscope.report.wording import count, distance, eps_label, percent, plural, short

SMALL = 96  # pixels; below it single pixels are shown as squares
CLASSES = 20  # rows of the per-class table where there are many more classes
LISTED = 8  # images of each kind in the table of images


def class_name(classes: Sequence[str], label: int) -> str:
    """A class by its name, or by its number where it has none."""
    return str(classes[label]) if 0 <= label < len(classes) else f"class {label}"


def gallery_section(record: Mapping[str, Any], classes: Sequence[str], tiles: Sequence[Tile]) -> Section:
    """Original, amplified perturbation and adversarial image of each tile, with one selector for eps."""
    norm, bounds = record["norm"], record["bounds"]
    radii = sorted({shot.eps for tile in tiles for shot in tile.shots})
    if not radii:
        return Section("gallery", "Gallery", "There is no attacked image to show: no attack found one.")
    audited = min(range(len(radii)), key=lambda i: abs(radii[i] - record["eps"]))
    names = [eps_label(eps, norm, bounds) for eps in radii]
    if np.isclose(radii[audited], record["eps"], rtol=1e-6):
        names[audited] += " (audited)"
    cards = tuple(_card(tile, radii, record, classes) for tile in tiles)
    fooled = sum(bool(card.views[audited].tone == "bad") for card in cards)
    return Section(
        slug="gallery",
        title="Gallery",
        finding=f"{plural(len(cards), 'image')}, the change found for each, and what the model makes of the result. "
        f"At eps {eps_label(radii[audited], norm, bounds)}, {count(fooled)} of them {'is' if fooled == 1 else 'are'} misclassified.",
        figures=(Gallery("Largest change allowed (eps)", tuple(names), audited, cards),),
        method="The change is shown on mid-grey, amplified by the factor stated above it; mid-grey means unchanged. "
        "Percentages are the model's own confidence (softmax). The images were chosen for the reason given, not at random.",
    )


def _card(tile: Tile, radii: Sequence[float], record: Mapping[str, Any], classes: Sequence[str]) -> Card:
    wrong = tile.prediction != tile.label
    by_eps = {shot.eps: shot for shot in tile.shots}
    read = f"{class_name(classes, tile.prediction)} {percent(tile.confidence)}"
    return Card(
        anchor=f"image-{tile.index}",
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
        adversarial_text=f"{class_name(classes, shot.prediction)} {percent(shot.confidence)}",
        verdict=f"{'fooled' if shot.fooled else 'still correct'}, distance {distance(shot.distance, record['norm'], record['bounds'])}",
        tone="bad" if shot.fooled else "good",
    )


def classes_section(record: Mapping[str, Any], samples: Samples, classes: Sequence[str]) -> Section:
    """Accuracy with and without attack, distance and most frequent confusion of each class, the weakest first."""
    rows = []
    present = np.unique(samples.label)
    for label in present.tolist():
        own = samples.label == label
        n = int(own.sum())
        clean, robust = float(samples.correct[own].mean()), float((samples.outcome[own] == "resisted").mean())
        median = median_distance(samples.distance[own & samples.correct])
        wrong = samples.mistaken[own][samples.mistaken[own] >= 0]
        rows.append((robust, clean, label, n, median, wrong))
    rows.sort(key=lambda row: row[:3])
    weakest, strongest = rows[0], rows[-1]
    if len(rows) == 1:
        finding = f"All images belong to one class, {class_name(classes, weakest[2])}."
    elif weakest[0] == strongest[0]:
        finding = (
            f"All {count(len(rows))} classes hold out equally: {percent(weakest[0])} of their images stay correct."
        )
    else:
        finding = (
            f"The weakest class is {class_name(classes, weakest[2])}: {percent(weakest[0])} of its {plural(weakest[3], 'image')} "
            f"stay correct under attack. The strongest is {class_name(classes, strongest[2])} with {percent(strongest[0])} of {count(strongest[3])}."
        )
    note = ""
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
            rows=tuple(_class_row(row, record, classes) for row in rows),
            note=note,
        ),
        method="Robust accuracy and confusions are those within the audited eps. The median distance is over images correct before the attack; a "
        "dash means that for half of them or more no adversarial image was found at all. Classes of few images have wide margins of error.",
    )


def _class_row(
    row: tuple[float, float, int, int, float | None, Any], record: Mapping[str, Any], classes: Sequence[str]
) -> tuple[Cell, ...]:
    robust, clean, label, n, median, wrong = row
    confusion = Cell("–", 0.0, tone="quiet")
    if wrong.size:
        found, counts = np.unique(wrong, return_counts=True)
        most = int(counts.argmax())
        confusion = Cell(
            f"{class_name(classes, int(found[most]))} ({count(counts[most])} of {count(wrong.size)})",
            float(counts[most] / wrong.size),
        )
    return (
        Cell(class_name(classes, label)),
        Cell(count(n), n),
        Cell(percent(clean), clean),
        Cell(percent(robust), robust, bar=robust),
        Cell(distance(median, record["norm"], record["bounds"]), median if median is not None else float("inf")),
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
    rows = [_image_row(i, "fooled with least", record, samples, classes) for i in near.tolist()]
    rows += [_image_row(i, "most confident mistake", record, samples, classes) for i in sure.tolist()]
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
        method="Survives 8 bits: the image still fools the model after rounding to whole grey levels, as when it is stored in a file.",
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
        Cell(distance(size, record["norm"], record["bounds"]), size if size == size else float("inf")),
        Cell(samples.attack[i] or "–"),
        Cell("–" if survives is None else "yes" if survives else "no", tone="" if survives else "quiet"),
    )
