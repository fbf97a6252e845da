"""Explanations over a data set: the answer to `foolscope explain` and `foolscope.explain`, and the audit's share of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foolscope.explaining._table import EXPLANATIONS
from foolscope.explaining.explanation import Explanation, unsaid
from foolscope.explaining.scene import OutOfTime, Scene
from foolscope.ledger import Case, Ledger, Progress
from foolscope.store import open_store, write_json, write_text
from foolscope.subject import SCHEMA, Subject, checked_batch_size, checked_eps, described, opened, settings_of

if TYPE_CHECKING:
    from foolscope.data import DataSet

RECORD, PAGE = "explain.json", "report.html"


@dataclass(frozen=True)
class Explained:
    """The explanations of a model.

    Attributes:
        record: what `explain.json` holds, an entry a slug.
        folder: where the files are.
        notes: what the user should be told.
    """

    record: Mapping[str, Any]
    folder: Path
    notes: tuple[str, ...] = ()


def run_explanations(
    subject: Subject,
    data: DataSet,
    slugs: Sequence[str],
    *,
    out: str | Path,
    norm: str = "linf",
    eps: float | None = None,
    eps_text: str | None = None,
    effort: str = "standard",
    seed: int = 0,
    batch_size: int | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    overwrite: bool = False,
    time_limit: float | None = None,
    data_sha256: str = "",
    command: str = "",
    progress: Progress = lambda stage, done, total: None,
) -> Explained:
    """Explains a model on the images it gets right, and writes the folder `out`; a run that was killed goes on.

    Args:
        subject: the model; it comes back untouched.
        data: images and labels.
        slugs: of the explanations, in order.
        out: the folder to write.
        norm, eps, eps_text, effort, seed, batch_size, bounds, overwrite, data_sha256, command, progress: as for `run_audit`.
        time_limit: seconds after which no further piece is begun; what is missing then says so.

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model raised.
    """
    radius = checked_eps(norm, eps, data.shape, bounds)
    size = checked_batch_size(batch_size, data.shape, subject.device)
    box = list(bounds) if bounds else None
    common = {"norm": norm, "eps": radius, "effort": effort, "seed": seed, "batch_size": size, "bounds": box}
    settings = settings_of("explain", subject, data, data_sha256, **common, only=list(slugs))
    store = open_store(out, settings, overwrite=overwrite)
    finished = _read(store.folder) if store.resumed and not store.work.exists() else None
    if finished is not None:
        return replace(finished, notes=(*subject.notes, *data.notes))
    with opened(
        subject,
        data,
        store,
        norm=norm,
        eps=radius,
        seed=seed,
        batch_size=size,
        bounds=bounds,
        time_limit=time_limit,
        progress=progress,
    ) as run:
        record, complete = _explained(Scene(run.case, run.ledger, run.correct, effort), slugs)
        notes = tuple(dict.fromkeys(run.notes))
        facts = {
            **described(subject, data, data_sha256, command, classes=int(run.ledger.logits.shape[1])),
            **common,
            "eps_text": eps_text or ("8/255" if eps is None else f"{eps:g}"),
            "n": len(data),
            "correct": len(run.correct),
            "device": str(subject.device),
            "threads": torch.get_num_threads(),
            "complete": complete,
            "seconds": store.seconds(),
            "notes": list(notes),
        }
        from foolscope.report.explanations import render_explanations

        write_text(store.folder / PAGE, render_explanations(record, facts))
        write_json(store.folder / RECORD, record)
        if complete:
            store.finish()
    return Explained(record, store.folder, notes)


def explain_audit(case: Case, ledger: Ledger) -> dict[str, Any]:
    """The explanations that an audit's report has, after its battery, on a sample where they cost passes, which are booked."""
    correct = np.flatnonzero(ledger.correct(case.data.labels))
    # The battery is done, so that the time limit has nothing left to stop.
    case = replace(case, deadline=float("inf"))
    record: dict[str, Any] = {}
    for row in EXPLANATIONS.values():
        if row.audited:
            places = np.linspace(0, max(0, len(correct) - 1), min(row.audited, len(correct))).round().astype(int)
            record |= _explained(Scene(case, ledger, correct[places], "quick"), [row.slug])[0]
    return record


def _explained(scene: Scene, slugs: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """The record of these explanations, and whether time was enough for all."""
    record, complete = {}, True
    for slug in slugs:
        try:
            found = _one(scene, slug)
        except OutOfTime:
            complete = False
            found = unsaid("Not finished: the time limit came first. The same command goes on from there.")
        record[slug] = {"schema": SCHEMA} | found.record()
    return record, complete


def _one(scene: Scene, slug: str) -> Explanation:
    if not len(scene.positions):
        return unsaid(f"The model is wrong on all {len(scene.case.data):,} images, so that there is nothing to fool.")
    return EXPLANATIONS[slug].explain(scene)


def _read(folder: Path) -> Explained | None:
    """The explanations that a folder holds; None if it holds none, or a part of them is missing or damaged."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return Explained(record, folder) if (folder / PAGE).is_file() else None
    except (OSError, ValueError):
        return None
