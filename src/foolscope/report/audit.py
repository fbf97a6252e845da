"""An audit's record as the sections of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foolscope.report.charts import accuracy_at, curve_chart, wilson
from foolscope.report.columns import Column as SampleColumn
from foolscope.report.columns import Samples, read_samples
from foolscope.report.gallery import Tile
from foolscope.report.pictures import classes_section, gallery_section, images_section
from foolscope.report.render import render_page
from foolscope.report.section import (
    Cell,
    Chart,
    Column,
    Fact,
    Facts,
    Notes,
    Number,
    Numbers,
    Section,
    Share,
    Shares,
    Table,
)
from foolscope.report.wording import (
    NORMS,
    allowance,
    count,
    distance,
    duration,
    eps_label,
    percent,
    plural,
    short,
    unit,
)

Record = Mapping[str, Any]


def render_audit(
    record: Record, samples: Mapping[str, SampleColumn], classes: Sequence[str], gallery: Sequence[Tile]
) -> str:
    """The report of an audit, one self-contained HTML file.

    Args:
        record: `audit.json`, parsed.
        samples: the columns of `samples.parquet`.
        classes: the names of the classes, by label; a class beyond its end goes by its number.
        gallery: the images to show.

    Returns:
        HTML; nothing in it is loaded from anywhere.
    """
    model, data = record["model"]["name"], record["data"]["name"]
    sections = audit_sections(record, samples, classes, gallery)
    return render_page(f"{model} on {data}", "Robustness audit", sections)


def audit_sections(
    record: Record, samples: Mapping[str, SampleColumn], classes: Sequence[str], gallery: Sequence[Tile]
) -> list[Section]:
    """The sections, the verdict first; where it is suspicious, the trust checks come second. Arguments as for `render_audit`."""
    table = read_samples(samples, record["norm"])
    trust = trust_section(record)
    sections = [
        verdict_section(record, table),
        curve_section(record),
        gallery_section(record, classes, gallery),
        classes_section(record, table, classes),
        images_section(record, table, classes, gallery),
        stages_section(record),
        settings_section(record),
        reading_section(record),
    ]
    sections.insert(1 if record["trust"]["verdict"] == "suspicious" else 5, trust)
    notes = notes_section(record)
    return [*sections, notes] if notes else sections


def verdict_section(record: Record, samples: Samples) -> Section:
    """The verdict in words and big numbers."""
    n, clean, robust = record["n"], record["clean_accuracy"], record["robust_accuracy"]
    low, high = record["robust_accuracy_interval"]
    right, stay, bounds = round(clean * n), round(robust * n), record["bounds"]
    flagged = len(_flagged(record))
    may = allowance(record["eps"], record["eps_text"], record["norm"], bounds)
    if right == 0:
        title = "It is wrong on every image, attacked or not"
    elif stay == 0:
        title = "Every image can be fooled"
    elif stay == right:
        title = "Not one image was fooled"
    else:
        title = f"At most {percent(robust)} of images stay correct under attack"
    finding = f"Without an attack, the model classifies {percent(clean)} of {plural(n, 'image')} correctly. "
    if right:
        finding += (
            f"Against an attacker who may {may}, at most {percent(robust)} stay correct "
            f"(95% interval {percent(low)} to {percent(high)}): the attacks fooled {count(right - stay)} of the {count(right)} it had right. "
        )
    finding += _trust_sentence(record, flagged)
    suspicious = record["trust"]["verdict"] == "suspicious"
    reach = record["median_distance"]
    numbers = (
        Number("Clean accuracy", percent(clean), f"{count(right)} of {count(n)}"),
        Number(
            f"Robust accuracy at {_eps(record)}, at most",
            percent(robust),
            f"{count(stay)} of {count(n)}; 95% {percent(low)} to {percent(high)}",
        ),
        Number(
            "Median distance to a mistake",
            short(reach),
            unit(record["norm"])
            if reach is not None
            else "half the images or more were never fooled"
            if right
            else "no image was right",
        ),
        Number(
            "Can it be trusted?",
            "Suspicious" if suspicious else "Sound",
            f"{count(flagged)} of {plural(len(_checks(record)), 'check')} flagged",
            tone="bad" if suspicious else "good",
        ),
    )
    warnings = () if record.get("complete", True) else (INCOMPLETE,)
    figures = [Numbers(numbers), _outcomes(samples, n)]
    return Section("verdict", title, finding, figures=(*([Notes(warnings, "bad")] if warnings else []), *figures))


INCOMPLETE = (
    "This audit was stopped by its time limit before every attack had run. The robust accuracy is still an upper bound, "
    "but a finished audit may find it lower."
)


def _trust_sentence(record: Record, flagged: int) -> str:
    if record["trust"]["verdict"] == "suspicious":
        what = f"{plural(flagged, 'check')} of the audit itself {'gives' if flagged == 1 else 'give'} reason for doubt"
        return f"Do not rely on this number: {what}, and the true robust accuracy may be well below it."
    return "The audit's checks on itself found no sign that this number flatters the model."


def _outcomes(samples: Samples, n: int) -> Shares:
    named = (("resisted", "stayed correct"), ("fooled", "fooled"), ("already_wrong", "wrong before any attack"))
    shares = []
    for key, label in named:
        found = int((samples.outcome == key).sum())
        shares.append(Share(key, label, found / n, f"{percent(found / n)} ({count(found)})"))
    return Shares("What happened to the images", tuple(shares))


def curve_section(record: Record) -> Section:
    """Robust accuracy against eps: a chart to hover and a table of the same."""
    eps, norm, bounds, n = record["eps"], record["norm"], record["bounds"], record["n"]
    curve, half = record["curve"], record["clean_accuracy"] / 2
    fallen = next(
        (at for at, accuracy in zip(curve["eps"], curve["robust_accuracy"], strict=True) if accuracy <= half), None
    )
    if record["clean_accuracy"] == 0:
        finding = "No image was classified correctly to begin with, so there is nothing to lose."
    elif fallen is not None:
        finding = f"Robust accuracy has fallen to half the clean accuracy by eps {distance(fallen, norm, bounds)}."
    else:
        finding = "Robust accuracy stays above half the clean accuracy at every eps examined."
    rows = []
    radii = [0.0, *sorted({eps / 4, eps / 2, eps, 2 * eps, 4 * eps} if norm != "l0" else {eps, 2 * eps, 4 * eps})]
    for radius in radii:
        accuracy = (
            record["clean_accuracy"]
            if radius == 0
            else record["robust_accuracy"]
            if radius == eps
            else accuracy_at(curve, radius)
        )
        if accuracy is None or radius > max(eps, *curve["eps"]):
            continue
        low, high = wilson(accuracy, n)
        name = (
            "0 (clean)"
            if radius == 0
            else f"{eps_label(radius, norm, bounds)} (audited)"
            if radius == eps
            else eps_label(radius, norm, bounds)
        )
        rows.append(
            (
                Cell(name, radius),
                Cell(percent(accuracy), accuracy, bar=accuracy),
                Cell(f"{percent(low)} to {percent(high)}", low),
            )
        )
    return Section(
        slug="curve",
        title="Robustness curve",
        finding=finding,
        figures=(
            Chart(
                curve_chart(record),
                f"Robust accuracy against eps, falling from {percent(record['clean_accuracy'])} at eps 0 to "
                f"{percent(record['robust_accuracy'])} at the audited eps {_eps(record)}. The table beneath gives values.",
            ),
        ),
        table=Table(
            "Robust accuracy at some eps",
            (
                Column("eps"),
                Column("Robust accuracy, at most", numeric=True),
                Column("95% interval", numeric=True),
            ),
            tuple(rows),
        ),
        method=f"Each image counts as correct up to the smallest change found that fools it ({unit(record['norm'])}). The line is an upper bound on the "
        f"true curve; the band is the 95% Wilson interval for {plural(n, 'image')}, the play of chance in drawing them.",
    )


def trust_section(record: Record) -> Section:
    """The audit's checks on itself, the flagged ones first."""
    checks = _checks(record)
    flagged = sum(check["flagged"] for check in checks)
    if record["trust"]["verdict"] == "suspicious":
        finding = f"{plural(flagged, 'check')} of {count(len(checks))} {'is' if flagged == 1 else 'are'} flagged: the attacks may have been hindered, not resisted."
    elif flagged:
        finding = f"{plural(flagged, 'check')} of {count(len(checks))} {'is' if flagged == 1 else 'are'} flagged, which does not change the verdict: sound."
    else:
        finding = f"None of {plural(len(checks), 'check')} is flagged. The attacks worked as they should on a model that hides nothing."
    rows = tuple(
        (
            Cell(
                "Flagged" if check["flagged"] else "Passed",
                0.0 if check["flagged"] else 1.0,
                tone="bad" if check["flagged"] else "good",
            ),
            Cell(check["message"]),
            Cell(_value(check["value"]), _key(check["value"])),
            Cell(_value(check["threshold"]), _key(check["threshold"])),
            Cell(check["code"], tone="quiet"),
        )
        for check in checks
    )
    notes = tuple(record["trust"].get("notes", ()))
    return Section(
        slug="trust",
        title="Can the numbers be trusted?",
        finding=finding,
        figures=(Notes(notes),) if notes else (),
        table=Table(
            "Checks, the flagged ones first",
            (
                Column("Result"),
                Column("What was checked"),
                Column("Value", numeric=True),
                Column("Threshold", numeric=True),
                Column("Code"),
            ),
            rows,
        ),
        method="Some models resist attacks only by hiding their gradients; a stronger attacker then finds what a weaker one missed. Each check "
        "compares the audit's attacks with one another or looks for a known way of hiding. Passing them all is evidence, not proof.",
    )


def _checks(record: Record) -> list[Mapping[str, Any]]:
    """Every check, flagged first; reasons that are not among the checks count as flagged ones."""
    checks = list(record["trust"].get("checks", ()))
    known = {check["code"] for check in checks}
    checks += [{**reason, "flagged": True} for reason in record["trust"]["reasons"] if reason["code"] not in known]
    return sorted(checks, key=lambda check: not check["flagged"])


def _flagged(record: Record) -> list[Mapping[str, Any]]:
    return [check for check in _checks(record) if check["flagged"]]


def stages_section(record: Record) -> Section:
    """What each attack tried, won and cost."""
    n, passes = record["n"], record["forwards"] + record["backwards"]
    stages = record["stages"]
    rows = tuple(
        (
            Cell(stage["name"]),
            Cell(count(stage["tried"]), stage["tried"]),
            Cell(count(stage["fooled"]), stage["fooled"]),
            Cell(count(stage["forwards"]), stage["forwards"]),
            Cell(count(stage["backwards"]), stage["backwards"]),
            Cell(short(per := (stage["forwards"] + stage["backwards"]) / max(1, stage["tried"])), per),
            Cell(duration(stage["seconds"]), stage["seconds"]),
        )
        for stage in stages
    )
    best = max(stages, key=lambda stage: stage["fooled"], default=None)
    most = (
        f" Most images fell to {best['name']}: {count(best['fooled'])} of {count(best['tried'])} tried."
        if best and best["fooled"]
        else ""
    )
    return Section(
        slug="cost",
        title="Attacks and their cost",
        finding=f"{plural(record['forwards'], 'forward pass', 'forward passes')} and {plural(record['backwards'], 'backward pass', 'backward passes')}, "
        f"{short(passes / n)} an image, in {duration(record['seconds'])}.{most}",
        table=Table(
            "Stages, in the order in which they ran",
            (
                Column("Stage"),
                Column("Images tried", numeric=True),
                Column("Fooled", numeric=True),
                Column("Forward passes", numeric=True),
                Column("Backward passes", numeric=True),
                Column("Passes per image", numeric=True),
                Column("Time", numeric=True),
            ),
            rows,
        ),
        method="A pass is counted per image, not per batch. Each stage tries only the images that none before it had settled, so later stages face harder ones.",
    )


def settings_section(record: Record) -> Section:
    """Everything needed to run the same audit again."""
    model, data = record["model"], record["data"]
    about_model = [
        Fact("name", str(model["name"]), code=True),
        Fact("parameters", count(model["parameters"])),
        Fact("classes", count(model["classes"])),
    ]
    about_data = [Fact("name", str(data["name"]), code=True), Fact("images", count(data["n"]))]
    attack = [Fact("norm", NORMS[record["norm"]]), Fact("eps", _eps(record)), Fact("bounds", _bounds(record["bounds"]))]
    attack += [
        Fact(name.replace("_", " "), _plain(record[name]))
        for name in ("effort", "seed", "n", "batch_size", "device", "threads")
        if name in record
    ]
    program = [Fact("foolscope", str(record["foolscope"])), Fact("command", _plain(record["command"], " "), code=True)]
    program += [Fact(name, text) for name, text in _flat(record.get("environment", {}))]
    return Section(
        slug="settings",
        title="Settings",
        finding="With the same files and these settings the audit gives the same result.",
        figures=(
            Facts("Model", (*about_model, Fact("SHA-256 of the weights", str(model["sha256"]), code=True))),
            Facts("Data", (*about_data, Fact("SHA-256 of the images", str(data["sha256"]), code=True))),
            Facts("Audit", tuple(attack)),
            Facts("Program", tuple(program)),
        ),
    )


def reading_section(record: Record) -> Section:
    """How to read the report."""
    return Section(
        slug="reading",
        title="How to read this report",
        finding="Robust accuracy is the share of all images that the model classifies correctly and goes on classifying correctly under every attack tried.",
        figures=(
            Notes(
                (
                    "It is an upper bound. An attack that succeeds proves that an image can be fooled; attacks that fail prove nothing. "
                    "The true value is this or lower.",
                    "eps is how much an attacker may change an image, here "
                    f"{NORMS[record['norm']]}: {unit(record['norm'])}. Robust accuracy means nothing without it.",
                    "Every attacked image was checked afresh: a new pass of the model on the final image, inside eps and inside the range of valid "
                    "pixel values. The images are in adversarial.safetensors, and foolscope verify checks them again.",
                    f"The interval is Wilson's at 95%: how far the share might move if {plural(record['n'], 'image')} were drawn anew from the same "
                    "source. It says nothing about attacks not tried.",
                    "Sound means that no check found the attacks hindered. Suspicious means that the number may look better than the model is.",
                )
            ),
        ),
    )


def notes_section(record: Record) -> Section | None:
    """Remarks and warnings of the run; None where there are none."""
    weaker = record.get("weaker")
    notes = [str(note) for note in record.get("notes", ())]
    if weaker:
        notes += (
            [weaker]
            if isinstance(weaker, str)
            else [f"Weaker than standard: {name}: {text}" for name, text in _flat(weaker)]
        )
    return Section("notes", "Notes and warnings", "", figures=(Notes(tuple(notes)),)) if notes else None


def _eps(record: Record) -> str:
    return str(record["eps_text"])


def _reach_note(reach: float, record: Record) -> str:
    levels = f"{reach * 255:.1f}/255; " if grey_levels(record["norm"], record["bounds"]) else ""
    return levels + unit(record["norm"])


def _bounds(bounds: Sequence[float] | None) -> str:
    return "none (pixel values are not limited)" if bounds is None else f"{bounds[0]:g} to {bounds[1]:g}"


def _value(value: object) -> str:
    """A setting or a measured value as text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return short(value) if isinstance(value, int | float) else str(value)


def _plain(value: object, joint: str = ", ") -> str:
    """A setting as text, unrounded."""
    if isinstance(value, list | tuple):
        return joint.join(_plain(item) for item in value)
    return _value(value) if value is None or isinstance(value, bool) else str(value)


def _key(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _flat(values: object, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as names and texts: `{"torch": {"version": 2}}` is `torch version`, `2`."""
    if isinstance(values, Mapping):
        return [pair for key, value in values.items() for pair in _flat(value, f"{name} {key}".strip())]
    return [(name, _plain(values))]
