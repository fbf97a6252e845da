"""The sections behind the numbers: attacks and their cost, settings, how to read the report, notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.section import Cell, Column, Fact, Facts, Notes, Section, Table
from foolscope.report.wording import NORMS, count, duration, either, percent, plural, short, unit

Record = Mapping[str, Any]
SETTINGS = ("effort", "seed", "n", "batch_size", "device", "threads")


def stages_section(record: Record) -> Section:
    """What each attack tried, won and cost."""
    stages = record["stages"]
    best = max(stages, key=lambda stage: stage["fooled"], default=None)
    finding = (
        f"{plural(record['forwards'], 'forward pass', 'forward passes')} and "
        f"{plural(record['backwards'], 'backward pass', 'backward passes')}, "
        f"{short((record['forwards'] + record['backwards']) / record['n'])} an image, in {duration(record['seconds'])}."
    )
    if best and best["fooled"]:
        share = percent(best["fooled"] / best["tried"])
        finding += f" The stage {best['name']} fooled the most: {count(best['fooled'])} of the {count(best['tried'])} it tried ({share})."
    return Section(
        slug="cost",
        title="Attacks and their cost",
        finding=finding,
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
            tuple(_stage(stage) for stage in stages),
        ),
        method="Passes are counted per image, not per batch; those per image are per image tried. Stages run in this order, and "
        "a stage that runs after another may be left with the harder images.",
    )


def _stage(stage: Record) -> tuple[Cell, ...]:
    counts = (Cell(count(stage[key]), stage[key]) for key in ("tried", "fooled", "forwards", "backwards"))
    each = (stage["forwards"] + stage["backwards"]) / stage["tried"] if stage["tried"] else None
    return (
        Cell(str(stage["name"])),
        *counts,
        Cell(short(each), each),
        Cell(duration(stage["seconds"]), stage["seconds"]),
    )


def settings_section(record: Record) -> Section:
    """Everything needed to run the same audit again."""
    model, data, bounds = record["model"], record["data"], record["bounds"]
    box = "none: pixel values are not limited" if bounds is None else f"{bounds[0]:g} to {bounds[1]:g}"
    audit = [Fact("norm", NORMS[record["norm"]]), Fact("eps", str(record["eps_text"])), Fact("bounds", box)]
    audit += [Fact(name.replace("_", " "), plain(record[name])) for name in SETTINGS if name in record]
    program = [
        Fact("foolscope", str(record["foolscope"])),
        Fact("command", plain(record["command"], " "), code=True),
        *(Fact(name, text) for name, text in flat(record.get("environment", {}))),
    ]
    return Section(
        slug="settings",
        title="Settings",
        finding="What it takes to run the same audit again.",
        figures=(
            Facts(
                "Model",
                (
                    Fact("name", str(model["name"]), code=True),
                    Fact("parameters", count(model["parameters"])),
                    Fact("classes", count(model["classes"])),
                    Fact("SHA-256 of the weights", str(model["sha256"]), code=True),
                ),
            ),
            Facts(
                "Data",
                (
                    Fact("name", str(data["name"]), code=True),
                    Fact("images", count(data["n"])),
                    Fact("SHA-256 of the images", str(data["sha256"]), code=True),
                ),
            ),
            Facts("Audit", tuple(audit)),
            Facts("Program", tuple(program)),
        ),
    )


def reading_section(record: Record) -> Section:
    """How to read the report."""
    notes = (
        "It is an upper bound. An attack that succeeds proves that an image can be fooled; attacks that fail prove nothing. "
        "The true value is this or lower.",
        f"eps is how much an attacker may change an image, here in {NORMS[record['norm']]}: {unit(record['norm'])}. "
        "Robust accuracy means nothing without it.",
        "Every adversarial image was checked afresh: a new pass of the model on the final image, inside eps and inside the "
        "range of valid pixel values. The images are in adversarial.safetensors; foolscope verify checks them again.",
        f"The interval is Wilson's at 95%: how far the share might move if {plural(record['n'], 'image')} were drawn anew from "
        "the same source. It says nothing about attacks not tried.",
        "Sound means that no check found the attacks hindered. Suspicious means that the numbers may look better than the "
        "model is.",
    )
    return Section(
        slug="reading",
        title="How to read this report",
        finding="Robust accuracy is the share of all images that the model classifies correctly, and still does under every "
        "attack tried.",
        figures=(Notes(notes),),
    )


def notes_section(record: Record) -> Section | None:
    """Remarks and warnings of the run; None where there are none."""
    notes = [str(note) for note in record.get("notes", ())]
    notes += [
        f"Weaker than the default: {name}: {text}".replace(": :", ":")
        for name, text in flat(record.get("weaker") or {})
    ]
    return Section("notes", "Notes and warnings", "", figures=(Notes(tuple(notes)),)) if notes else None


def plain(value: object, joint: str = ", ") -> str:
    """A setting as text, unrounded."""
    if isinstance(value, list | tuple):
        return joint.join(plain(item) for item in value)
    return either(value) if value is None or isinstance(value, bool) else str(value)


def flat(values: object, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings as names and texts: `{"torch": {"version": 2}}` is `torch version`, `2`."""
    if isinstance(values, Mapping):
        return [pair for key, value in values.items() for pair in flat(value, f"{name} {key}".strip())]
    return [(name, plain(values))]
