"""The audit: clean pass, battery, trust, curve, files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from foolscope import __version__
from foolscope.attacks import bind
from foolscope.auditing.battery import battery
from foolscope.auditing.environment import environment
from foolscope.auditing.files import Columns, sample_columns, write_adversarials, write_samples
from foolscope.auditing.gallery import make_gallery
from foolscope.auditing.result import curve_of, wilson
from foolscope.auditing.trust import Check, blind_share, check_trust
from foolscope.errors import InputError
from foolscope.evaluation import Case, Ledger, Progress, clean_pass, run_attack
from foolscope.norms import NORMS, get_norm
from foolscope.probabilities import LogProbabilities, are_probabilities
from foolscope.report.gallery import Tile
from foolscope.store import Store, open_store, write_json
from foolscope.untouched import untouched

if TYPE_CHECKING:
    from foolscope.data import DataSet

SCHEMA = 1
DEFAULT_EPS = 8 / 255  # linf; other norms have no default
FILES = ("audit.json", "samples.parquet", "adversarial.safetensors", "report.html")


@dataclass(frozen=True)
class Subject:
    """A model with what is said of it: `name`, `parameters`, `sha256`, `notes` and the number of `classes` if known."""

    module: nn.Module
    name: str
    parameters: int
    sha256: str
    notes: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None
    classes: int | None = None


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        record: what `audit.json` holds.
        samples: the columns of `samples.parquet`.
        folder: where the files are.
    """

    record: Mapping[str, Any]
    samples: Columns | Mapping[str, Sequence[Any]]
    folder: Path

    @property
    def clean_accuracy(self) -> float:
        """Share of all images that are right when left alone."""
        return float(self.record["clean_accuracy"])

    @property
    def robust_accuracy(self) -> float:
        """Share of all images that no attack fooled within eps: an upper bound on the true robust accuracy."""
        return float(self.record["robust_accuracy"])

    @property
    def verdict(self) -> str:
        """`sound` or `suspicious`."""
        return str(self.record["trust"]["verdict"])


def checked_eps(norm: str, eps: float | None, shape: Sequence[int], bounds: tuple[float, float] | None) -> float:
    """The radius to audit at.

    Raises:
        InputError: missing where the norm has no default, not a positive number, or more than the box allows.
    """
    if eps is None:
        if norm != "linf":
            raise InputError("--eps", f"a radius, which {norm} has no default for", "none")
        return DEFAULT_EPS
    if not 0 < eps < float("inf"):
        raise InputError("--eps", "a positive number", eps)
    if norm == "l0" and eps != int(eps):
        raise InputError("--eps", "a whole number of components in l0", eps)
    components = int(np.prod(shape))
    largest = NORMS[norm].largest(components, bounds[1] - bounds[0]) if bounds else float("inf")
    if eps > largest:
        raise InputError("--eps", f"at most {largest:g}, the largest {norm} distance inside the box", eps)
    if norm == "l0" and bounds is None:
        raise InputError("--bounds", "a box, without which one component can change everything in l0", "none")
    return float(eps)


def automatic_batch_size(shape: Sequence[int], device: torch.device) -> int:
    """Images a batch: as many as fill the caches of a processor, or keep an accelerator busy; a power of two from 8 to 1,024."""
    components = max(1, int(np.prod(shape)))
    budget = 2**18 if device.type == "cpu" else 2**24
    return int(min(1024, max(8, 2 ** int(np.log2(max(1.0, budget / components))))))


def run_audit(
    subject: Subject,
    data: DataSet,
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
) -> Audit:
    """Audits a model on data and writes the folder `out`; a run that was killed goes on, one that is complete is read.

    Args:
        subject: the model; it comes back untouched.
        data: images and labels.
        out: the folder to write.
        norm: linf, l2, l1 or l0.
        eps: the radius that decides; 8/255 in linf when None.
        eps_text: as the user wrote it.
        effort: quick, standard or exhaustive.
        seed: of every random draw.
        batch_size: images a batch; automatic when None.
        bounds: the box.
        overwrite: replace another run in `out`.
        time_limit: seconds after which no further piece is begun.
        data_sha256: of the images used.
        command: as it was typed, for the record.
        progress: told (stage, images done, images in all).

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model raised.
    """
    get_norm(norm)
    steps = battery(effort, norm)
    radius = checked_eps(norm, eps, data.shape, bounds)
    device = next((t.device for t in (*subject.module.parameters(), *subject.module.buffers())), torch.device("cpu"))
    if batch_size is not None and batch_size < 1:
        raise InputError("--batch-size", "a whole number of at least 1", batch_size)
    size = batch_size or automatic_batch_size(data.shape, device)
    settings = {
        "schema": SCHEMA,
        "foolscope": __version__,
        "model": {"name": subject.name, "sha256": subject.sha256},
        "data": {"name": data.name, "sha256": data_sha256, "n": len(data)},
        "norm": norm,
        "eps": radius,
        "effort": effort,
        "seed": seed,
        "batch_size": size,
        "device": str(device),
        "bounds": list(bounds) if bounds else None,
    }
    store = open_store(out, settings, ours=FILES, overwrite=overwrite)
    finished = read_audit(store.folder)
    if finished is not None and finished.record["complete"]:
        return finished
    deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    with untouched(subject.module) as notes:
        case = Case(subject.module, data, bounds, norm, radius, seed, size, store, progress, deadline)
        case, probabilities, looked = look(case, subject)
        ledger = clean_pass(case)
        ledger.forwards[: len(looked)] += looked
        check_labels(data, ledger)
        correct = np.flatnonzero(ledger.correct(data.labels))
        for step in steps:
            tried = correct if step.everyone else correct[~ledger.fooled[correct]]
            run_attack(case, ledger, step.name, bind(step.attack, eps=radius, norm=norm, seed=seed), tried)
        complete = all(stage.finished for stage in ledger.stages)
        gradient_stages = [step.name for step in steps if step.gradient]
        checks = check_trust(case, ledger, probabilities=probabilities, gradient_stages=gradient_stages)
        tiles = make_gallery(case, ledger)
    said = [*subject.notes, *data.notes, *notes]
    columns = sample_columns(case, ledger)
    record = {
        "schema": SCHEMA,
        "foolscope": __version__,
        "command": command,
        "environment": environment(),
        "model": {
            "name": subject.name,
            "parameters": subject.parameters,
            "sha256": subject.sha256,
            "classes": int(ledger.logits.shape[1]),
        },
        "data": {"name": data.name, "sha256": data_sha256, "n": len(data), "shape": list(data.shape)},
        "norm": norm,
        "eps": radius,
        "eps_text": eps_text or ("8/255" if eps is None else f"{eps:g}"),
        "effort": effort,
        "seed": seed,
        "n": len(data),
        "batch_size": size,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "bounds": list(bounds) if bounds else None,
        "complete": complete,
        **_numbers(case, ledger),
        "trust": _trust(case, ledger, checks, probabilities),
        "notes": list(dict.fromkeys(said)),
    }
    return _write(store, case, ledger, record, columns, tiles)


def look(case: Case, subject: Subject) -> tuple[Case, bool, np.ndarray]:
    """A first look at the first images: does the model take them, and does it hand out logits?

    Returns:
        The case, over the logarithm of the outputs where they are probabilities; whether they are; forwards spent on each image.
    """
    part = np.arange(min(len(case.data), case.batch_size))
    if (
        subject.shape is not None
        and tuple(case.data.shape) != tuple(subject.shape)
        and subject.shape[0] != case.data.shape[0]
    ):
        raise InputError(
            "DATA", f"images of {subject.shape[0]} channels for {subject.name}", f"{case.data.shape[0]} channels"
        )
    oracle = case.oracle(part)
    try:
        logits = oracle.clean
    except RuntimeError as error:
        reason = misfit(subject.module, case.data.shape, error)
        if reason is None:
            raise
        raise InputError("DATA", reason, f"images of shape {tuple(case.data.shape)}") from error
    probabilities = are_probabilities(logits)
    if probabilities:
        case = replace(case, model=LogProbabilities(case.model))
    return case, probabilities, oracle.forwards.numpy()


def misfit(module: nn.Module, shape: Sequence[int], error: RuntimeError) -> str | None:
    """What the model's first layer expects, if the error looks like a wrong shape of the images; else None."""
    if not any(word in str(error) for word in ("shape", "size", "channels", "dimension")):
        return None
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return f"images of {layer.in_channels} channels for this model, large enough for its layers ({error})"
        if isinstance(layer, nn.Linear):
            return f"images of {layer.in_features} components for this model ({error})"
    return None


def check_labels(data: DataSet, ledger: Ledger) -> None:
    """Labels that the model has no class for."""
    classes, largest = ledger.logits.shape[1], int(data.labels.max())
    if classes < 2:
        raise InputError("MODEL", "at least two classes", f"logits for {classes}")
    if largest >= classes:
        raise InputError("MODEL", f"a class for every label up to {largest}", f"logits for {classes} classes")


def _numbers(case: Case, ledger: Ledger) -> dict[str, Any]:
    n = len(case.data)
    correct = ledger.correct(case.data.labels)
    standing = correct & ~ledger.fooled
    distance = ledger.distance[:, list(NORMS).index(case.norm)]
    median = float(np.median(distance[correct])) if correct.any() else float("inf")
    if case.eps is not None:
        # A fooled image may measure a rounding error beyond eps; the curve and the count at eps are to agree.
        distance = np.where(ledger.fooled, np.minimum(distance, case.eps), distance)
    return {
        "clean_accuracy": float(correct.mean()),
        "robust_accuracy": float(standing.mean()),
        "robust_accuracy_interval": list(wilson(int(standing.sum()), n)),
        "median_distance": median if np.isfinite(median) else None,
        "curve": curve_of(correct, distance, case.eps),
        "forwards": int(ledger.forwards.sum()),
        "backwards": int(ledger.backwards.sum()),
        "seconds": case.store.seconds(),
        "stages": [
            {
                "name": stage.name,
                "tried": len(stage.tried),
                "fooled": int(stage.fooled.sum()),
                "forwards": stage.forwards,
                "backwards": stage.backwards,
                "seconds": stage.seconds,
            }
            for stage in ledger.stages
        ],
    }


def _trust(case: Case, ledger: Ledger, checks: Sequence[Check], probabilities: bool) -> dict[str, Any]:
    flagged = [check for check in checks if check.flagged]
    plain = [
        {
            "code": check.code,
            "value": check.value,
            "threshold": check.threshold,
            "message": check.message,
            "flagged": check.flagged,
        }
        for check in checks
    ]
    notes = []
    if probabilities:
        notes.append("the model hands out probabilities: their logarithm was attacked, which undoes a final softmax")
    blind = blind_share(ledger, case.data.labels)
    if blind > 0:
        notes.append(
            f"float32 cross-entropy cannot see the label's rivals on {blind:.1%} of the images (its probability rounds to 1); the margin "
            "losses used here do not depend on the scale of the logits"
        )
    return {
        "verdict": "suspicious" if flagged else "sound",
        "reasons": [{key: value for key, value in row.items() if key != "flagged"} for row in plain if row["flagged"]],
        "checks": plain,
        "notes": notes,
    }


def _write(
    store: Store, case: Case, ledger: Ledger, record: dict[str, Any], columns: Columns, tiles: tuple[Tile, ...]
) -> Audit:
    from foolscope.report.audit import render_audit
    from foolscope.store import replacing

    write_samples(store.folder / "samples.parquet", columns)
    write_adversarials(store.folder / "adversarial.safetensors", case, ledger)
    with replacing(store.folder / "report.html") as path:
        path.write_text(render_audit(record, columns, case.data.classes, tiles))
    write_json(store.folder / "audit.json", record)
    if record["complete"]:
        store.finish()
    return Audit(record, columns, store.folder)


def read_audit(folder: Path) -> Audit | None:
    """The audit that a folder holds, complete or not; None if it holds none."""
    import json

    from foolscope.auditing.files import read_samples

    try:
        record = json.loads((folder / "audit.json").read_text())
    except (OSError, ValueError):
        return None
    return Audit(record, read_samples(folder / "samples.parquet"), folder)
