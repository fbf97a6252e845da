"""A training run's record as the sections of its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.background import flat
from foolscope.report.lines import lines_chart
from foolscope.report.render import render_page
from foolscope.report.section import Cell, Chart, Column, Fact, Facts, Figure, Notes, Number, Numbers, Section, Table
from foolscope.report.wording import count, duration, percent, plural, short

Record = Mapping[str, Any]
ERRORS = {
    "train_error": "training images",
    "validation_error": "validation images",
    "single_step_error": "validation images, single step",
    "adversarial_error": "validation images, probe",
}
SETTINGS = (
    *("objective", "epochs", "batch_size", "optimiser", "lr", "momentum", "weight_decay", "schedule", "augment"),
    *("stop", "patience", "probe", "bounds", "seed", "device", "threads"),
)


def render_training(record: Record) -> str:
    """The report of a training run, one self-contained HTML file; `record` is `train.json`, parsed."""
    title = f"{record['model']['name']} on {record['data']['name']}"
    return render_page(title, f"Training: {record['objective']}", training_sections(record))


def training_sections(record: Record) -> list[Section]:
    """The sections, what came of it first."""
    sections = [outcome_section(record), curves_section(record), epochs_section(record), training_settings(record)]
    notes = tuple(str(note) for note in record["notes"])
    return [*sections, Section("notes", "Notes and warnings", "", (Notes(notes),))] if notes else sections


def outcome_section(record: Record) -> Section:
    """What came of it, and whether adversarial training fooled itself."""
    history = record["history"]
    if not history:
        return Section("outcome", "No epoch is done yet", "The same command goes on from where it stopped.")
    best = history[record["best_epoch"] - 1]
    done, planned = record["epochs_done"], record["epochs"]
    finding = (
        f"{plural(record['trained_on'], 'image')}, {plural(done, 'epoch')}, {plural(record['updates'], 'update')}. "
    )
    if record["stop"] != "none":
        finding += f"The weights kept are those of epoch {best['epoch']}, where the {record['stop']} validation error was lowest."
    else:
        finding += "The weights kept are those of the last epoch."
    warnings = _warnings(record)
    if not record["complete"]:
        warnings = (f"Stopped after {done} of {planned} epochs; the same command goes on from there.", *warnings)
    numbers = [Number("Training error", percent(best["train_error"]), "of the weights kept, in eval mode")]
    for key, label in (("validation_error", "Validation error"), ("adversarial_error", "Under attack")):
        if best[key] is not None:
            what = (
                "clean images" if key == "validation_error" else f"{record['probe']}, eps {short(record['probe_eps'])}"
            )
            numbers.append(Number(label, percent(best[key]), what))
    numbers.append(Number("Time", duration(record["seconds"]), "of training alone"))
    figures: list[Figure] = [Notes(warnings, "bad")] if warnings else []
    return Section("outcome", "What came of it", finding, (*figures, Numbers(tuple(numbers))))


def _warnings(record: Record) -> tuple[str, ...]:
    found = []
    if record["catastrophic_epoch"] is not None:
        found.append(
            f"Catastrophic overfitting in epoch {record['catastrophic_epoch']}: the error under the probe jumped while that under a "
            "single step did not. The network resists the step it was trained with and little else."
        )
    if record["label_leak_epoch"] is not None:
        found.append(
            f"Label leak from epoch {record['label_leak_epoch']}: a larger single step is answered better than a smaller one, so the "
            "network reads the label off the perturbation. Single-step numbers do not count here."
        )
    return tuple(found)


def curves_section(record: Record) -> Section:
    """Errors and loss over epochs."""
    history = record["history"]
    kinds = [key for key in ERRORS if history and history[0][key] is not None]
    rows = [
        {"x": epoch["epoch"], "y": epoch[key], "series": ERRORS[key], "text": percent(epoch[key])}
        for key in kinds
        for epoch in history
    ]
    losses = [{"x": e["epoch"], "y": e["loss"], "series": "loss", "text": short(e["loss"])} for e in history]
    errors = lines_chart(rows, x="epoch", y="error", series=[ERRORS[key] for key in kinds], percent=True, whole=True)
    loss = lines_chart(losses, x="epoch", y="mean loss of the epoch", series=["loss"], whole=True)
    return Section(
        "curves",
        "Errors and loss",
        "The share of images that the network gets wrong after each epoch, and what was minimised.",
        (
            Chart(errors, "Errors over epochs; the table beneath gives the values."),
            Chart(loss, "Mean loss over epochs; the table beneath gives the values."),
        ),
        method=f"The training error is measured on at most 1,000 training images after the epoch, in eval mode; the errors under attack on "
        f"at most {count(record['probe_samples'])} validation images. The single step is FGSM on every image; the probe, "
        f"{record['probe']}, is checked by a fresh pass.",
    )


def epochs_section(record: Record) -> Section:
    """The numbers behind the curves."""
    columns = (
        Column("Epoch", numeric=True),
        Column("Loss", numeric=True),
        *(Column(f"Error, {name}", numeric=True) for name in ERRORS.values()),
        Column("Label leak", numeric=True),
        Column("Learning rate", numeric=True),
        Column("Time", numeric=True),
    )
    rows = tuple(
        (
            Cell(str(epoch["epoch"]), epoch["epoch"]),
            Cell(short(epoch["loss"]), epoch["loss"]),
            *(Cell("–" if epoch[key] is None else percent(epoch[key]), epoch[key]) for key in (*ERRORS, "label_leak")),
            Cell(short(epoch["lr"]), epoch["lr"]),
            Cell(duration(epoch["seconds"]), epoch["seconds"]),
        )
        for epoch in record["history"]
    )
    return Section(
        "epochs",
        "Epoch by epoch",
        "The label leak is the largest rise of the accuracy under a single step from a smaller eps (0, a half, one) to a larger one.",
        table=Table("All epochs", columns, rows),
    )


def training_settings(record: Record) -> Section:
    """Everything needed to train the same network again."""
    model, data = record["model"], record["data"]
    settings = tuple(pair for name in SETTINGS for pair in flat(record[name], name.replace("_", " ")))
    program = [("foolscope", record["foolscope"]), ("command", record["command"]), *flat(record["environment"])]
    return Section(
        "settings",
        "Settings",
        "What it takes to train the same network again.",
        (
            Facts(
                "Model",
                (
                    Fact("name", str(model["name"]), code=True),
                    Fact("parameters", count(model["parameters"])),
                    Fact("SHA-256 of the initial weights", str(model["sha256"]), code=True),
                    Fact("SHA-256 of best.safetensors", str(record["weights"]["best"]), code=True),
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
            Facts("Training", tuple(Fact(name, str(text)) for name, text in settings)),
            Facts("Program", tuple(Fact(name, str(text), code=name == "command") for name, text in program)),
        ),
    )
