"""An audit's record as the sections of its report: which there are, and the first two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foolscope.auditing.tiles import Tile
from foolscope.report.background import notes_section, reading_section, settings_section, stages_section
from foolscope.report.charts import accuracy_at, curve_chart, wilson
from foolscope.report.columns import Column as SampleColumn
from foolscope.report.columns import Samples, read_samples
from foolscope.report.explanations import explanation_sections
from foolscope.report.pictures import classes_section, gallery_section, images_section
from foolscope.report.render import render_page
from foolscope.report.section import Cell, Chart, Column, Figure, Notes, Number, Numbers, Section, Share, Shares, Table
from foolscope.report.trust import all_checks, trust_section
from foolscope.report.wording import allowance, count, distance, eps_label, grey_levels, percent, plural, short, unit

Record = Mapping[str, Any]

INCOMPLETE = (
    "This audit was stopped by its time limit before every attack had run. The robust accuracy is still an upper bound, "
    "but a finished audit may find it lower."
)


def render_audit(
    record: Record,
    samples: Mapping[str, SampleColumn],
    classes: Sequence[str],
    gallery: Sequence[Tile],
    explanations: Record | None = None,
) -> str:
    """The report of an audit, one self-contained HTML file.

    Args:
        record: `audit.json`, parsed.
        samples: the columns of `samples.parquet`.
        classes: the names of the classes, by label; a class beyond its end goes by its number.
        gallery: the images to show.
        explanations: `explain.json`, parsed, where there is one.

    Returns:
        HTML; nothing in it is loaded from anywhere.
    """
    model, data = record["model"]["name"], record["data"]["name"]
    sections = audit_sections(record, samples, classes, gallery, explanations)
    return render_page(f"{model} on {data}", "Robustness audit", sections)


def audit_sections(
    record: Record,
    samples: Mapping[str, SampleColumn],
    classes: Sequence[str],
    gallery: Sequence[Tile],
    explanations: Record | None = None,
) -> list[Section]:
    """The sections, the verdict first; where it is suspicious, the trust checks follow. Arguments as for `render_audit`."""
    table = read_samples(samples, record["norm"])
    sections = [
        verdict_section(record, table),
        curve_section(record),
        gallery_section(record, classes, gallery),
        classes_section(record, table, classes),
        images_section(record, table, classes, gallery),
        *explanation_sections(explanations or {}),
        stages_section(record),
        settings_section(record),
        reading_section(record),
    ]
    sections.insert(1 if _suspicious(record) else 5, trust_section(record))
    notes = notes_section(record)
    return [*sections, notes] if notes else sections


def verdict_section(record: Record, samples: Samples) -> Section:
    """The verdict in words and big numbers."""
    n, clean, robust = record["n"], record["clean_accuracy"], record["robust_accuracy"]
    low, high = record["robust_accuracy_interval"]
    right, stay = round(clean * n), round(robust * n)
    may = allowance(record["eps"], record["eps_text"], record["norm"], record["bounds"])
    finding = f"Without an attack, the model classifies {percent(clean)} of {plural(n, 'image')} correctly. "
    if right:
        finding += (
            f"Against an attacker who may {may}, at most {percent(robust)} stay correct (95% interval {percent(low)} to "
            f"{percent(high)}): the attacks fooled {count(right - stay)} of the {count(right)} it had right. "
        )
    figures: list[Figure] = [] if record["complete"] else [Notes((INCOMPLETE,), "bad")]
    figures += [_numbers(record, right, stay), _outcomes(samples, n)]
    return Section("verdict", _headline(record, right, stay), finding + _trust_sentence(record, stay), tuple(figures))


def _suspicious(record: Record) -> bool:
    return bool(record["trust"]["verdict"] == "suspicious")


def _headline(record: Record, right: int, stay: int) -> str:
    if right == 0:
        return "It is wrong on every image, attacked or not"
    if stay == 0:
        return "Every image can be fooled"
    doubt = ", but the number is suspicious" if _suspicious(record) else ""
    if stay == right:
        return f"Not one image was fooled{doubt}"
    return f"At most {percent(record['robust_accuracy'])} of images stay correct under attack{doubt}"


def _trust_sentence(record: Record, stay: int) -> str:
    if not _suspicious(record):
        return "The audit's checks on itself found no sign that this number flatters the model."
    flagged = sum(check["flagged"] for check in all_checks(record))
    what = f"{plural(flagged, 'check')} of the audit on itself {'gives' if flagged == 1 else 'give'} reason for doubt"
    if stay == 0:
        return f"{what[0].upper()}{what[1:]}, but no image stayed correct, and no doubt can raise that number."
    return f"Do not rely on this number: {what}, and the true robust accuracy may be well below it."


def _numbers(record: Record, right: int, stay: int) -> Numbers:
    n, reach, checks = record["n"], record["median_distance"], all_checks(record)
    low, high = record["robust_accuracy_interval"]
    if reach is not None:
        levels = f"{reach * 255:.1f}/255; " if grey_levels(record["norm"], record["bounds"]) else ""
        note = levels + unit(record["norm"])
    else:
        note = "at least half of the images were never fooled" if right else "no image was correct"
    return Numbers(
        (
            Number("Clean accuracy", percent(record["clean_accuracy"]), f"{count(right)} of {plural(n, 'image')}"),
            Number(
                f"Robust accuracy at eps {record['eps_text']}, at most",
                percent(record["robust_accuracy"]),
                f"{count(stay)} of {plural(n, 'image')}; 95% interval {percent(low)} to {percent(high)}",
            ),
            Number("Median distance to a mistake", short(reach), note),
            Number(
                "Can the numbers be trusted?",
                "Suspicious" if _suspicious(record) else "Sound",
                f"{count(sum(check['flagged'] for check in checks))} of {plural(len(checks), 'check')} flagged",
                tone="bad" if _suspicious(record) else "good",
            ),
        )
    )


def _outcomes(samples: Samples, n: int) -> Shares:
    named = (("resisted", "stayed correct"), ("fooled", "fooled"), ("already_wrong", "wrong before any attack"))
    shares = []
    for key, label in named:
        found = int((samples.outcome == key).sum())
        shares.append(Share(key, label, found / n, f"{percent(found / n)} ({count(found)})"))
    return Shares("What became of the images", tuple(shares))


def curve_section(record: Record) -> Section:
    """Robust accuracy against eps: a chart to hover and a table of the same."""
    clean, robust, reach = record["clean_accuracy"], record["robust_accuracy"], record["median_distance"]
    if clean == 0:
        finding = "No image was classified correctly to begin with, so there is nothing to lose."
    elif reach is not None:
        half = distance(reach, record["norm"], record["bounds"])
        finding = f"Half of the images that were correct at first are fooled by changes no larger than {half}."
    else:
        finding = (
            "At least half of the images that were correct at first were never fooled, however large the change tried."
        )
    description = (
        f"Robust accuracy against eps, falling from {percent(clean)} at eps 0 to {percent(robust)} at the audited eps "
        f"{record['eps_text']}. The table beneath gives values."
    )
    return Section(
        slug="curve",
        title="Robustness curve",
        finding=finding,
        figures=(Chart(curve_chart(record), description),),
        table=Table(
            "Robust accuracy at some eps",
            (Column("eps"), Column("Robust accuracy, at most", numeric=True), Column("95% interval", numeric=True)),
            _curve_rows(record),
        ),
        method=f"Each image counts as correct up to the smallest change found that fools it ({unit(record['norm'])}). The line "
        f"is an upper bound on the true curve; the band is the 95% Wilson interval for {plural(record['n'], 'image')}, "
        "the play of chance in drawing them.",
    )


def _curve_rows(record: Record) -> tuple[tuple[Cell, ...], ...]:
    """The curve at 0, the audited eps and some eps around it, as far as it was examined."""
    eps, curve = record["eps"], record["curve"]
    values = {0.0: record["clean_accuracy"]}
    for factor in (0.25, 0.5, 1, 2, 4):
        radius = factor * eps
        known = record["robust_accuracy"] if factor == 1 else accuracy_at(curve, radius)
        if known is not None and (factor <= 1 or radius <= max(curve["eps"], default=0.0)):
            values[radius] = known
    rows = []
    for radius, accuracy in values.items():
        low, high = wilson(accuracy, record["n"])
        name = "0" if radius == 0 else eps_label(radius, record["eps_text"])
        remark = {0.0: " (clean)", eps: " (audited)"}.get(radius, "")
        interval = Cell(f"{percent(low)} to {percent(high)}", low)
        rows.append((Cell(name + remark, radius), Cell(percent(accuracy), accuracy, bar=accuracy), interval))
    return tuple(rows)
