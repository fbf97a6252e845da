"""What a training run leaves: the result, its record and its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from foolscope import __version__
from foolscope.environment import environment
from foolscope.models.adapters import Adapted, core
from foolscope.models.weights import fingerprint as weights_fingerprint
from foolscope.models.weights import fit, read_state
from foolscope.store import Store, write_json, write_text
from foolscope.subject import SCHEMA, Subject
from foolscope.training.checkpoint import Position
from foolscope.training.loop import Plan
from foolscope.training.watching import LEAK, Epoch, overfitted

if TYPE_CHECKING:
    from foolscope.data import DataSet


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        module: the network of the best epoch (the last one without early stopping), in eval mode.
        history: a record an epoch.
        record: what `train.json` holds.
        folder: where the files are; None if none were asked for.
        held_out: the validation images, or None.
    """

    module: nn.Module
    history: tuple[Epoch, ...]
    record: Mapping[str, Any]
    folder: Path | None
    held_out: DataSet | None


def record_of(
    subject: Subject, images: DataSet, settings: dict[str, Any], plan: Plan, at: Position, command: str
) -> dict[str, Any]:
    """What `train.json` holds, but for the hashes of the weights."""
    leaks = [epoch.label_leak for epoch in at.history if epoch.label_leak is not None]
    complete = at.epoch == plan.epochs or (plan.stop != "none" and at.epoch - at.best_epoch >= plan.patience)
    return {
        "schema": SCHEMA,
        "foolscope": __version__,
        "command": command,
        "environment": environment(),
        **{key: value for key, value in settings.items() if key not in ("schema", "foolscope")},
        "model": settings["model"] | {"parameters": subject.parameters},
        "trained_on": len(plan.positions),
        "probe_norm": None if plan.probe is None else plan.probe_norm,
        "probe_eps": None if plan.probe is None else plan.probe.options["eps"],
        "complete": complete,
        "epochs_done": at.epoch,
        "best_epoch": at.best_epoch,
        "updates": at.update,
        "seconds": sum(epoch.seconds for epoch in at.history) + at.seconds,
        "catastrophic_epoch": overfitted(at.history),
        "label_leak_epoch": next((e.epoch for e in at.history if (e.label_leak or 0) > LEAK), None) if leaks else None,
        "history": [asdict(epoch) for epoch in at.history],
        "notes": list(dict.fromkeys((*subject.notes, *images.notes))),
    }


def write_run(
    store: Store, own: nn.Module, record: dict[str, Any], at: Position, held_out: DataSet | None, keep: bool
) -> Trained:
    """The files of the run so far, and its result."""
    last = weights_fingerprint(core(own))
    if at.best_epoch:
        fit(core(own), read_state(str(store.folder / "best.safetensors")))
    record |= {"weights": {"best": weights_fingerprint(core(own)), "last": last}}
    if keep:
        from foolscope.report.training import render_training

        write_text(store.folder / "report.html", render_training(record))
        write_history(store.folder / "history.parquet", at.history)
        write_json(store.folder / "train.json", record)
        if record["complete"]:
            store.finish()
    return Trained(_given_back(own), tuple(at.history), record, store.folder if keep else None, held_out)


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """`history.parquet`, a row an epoch."""
    from foolscope.files import write_samples

    rows = [asdict(epoch) for epoch in history]
    columns = {
        key: np.array([math.nan if row[key] is None else row[key] for row in rows], int if key == "epoch" else float)
        for key in Epoch.__dataclass_fields__
    }
    write_samples(path, columns)


def finished_run(store: Store, own: nn.Module, held_out: DataSet | None) -> Trained | None:
    """The run that a folder holds already; None if it is not complete."""
    try:
        record = json.loads((store.folder / "train.json").read_text())
    except (OSError, ValueError):
        return None
    best = store.folder / "best.safetensors"
    if not record["complete"] or not best.is_file():
        return None
    fit(core(own), read_state(str(best)))
    return Trained(
        _given_back(own), tuple(Epoch(**epoch) for epoch in record["history"]), record, store.folder, held_out
    )


def _given_back(own: nn.Module) -> nn.Module:
    """The user's own module where the adapter does nothing but call it."""
    module = own.module if isinstance(own, Adapted) and own.normalise is None else own
    return module.eval()
