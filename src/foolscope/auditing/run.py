"""The audit: clean pass, battery, trust, curve, files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foolscope.attacks import bind
from foolscope.auditing.battery import REMARKS, Step, battery
from foolscope.auditing.gallery import make_gallery
from foolscope.auditing.result import curve_of
from foolscope.auditing.tiles import Tile
from foolscope.auditing.trust import Check, Probes, blind_share, check_trust, gradients_missed, probe_gradients
from foolscope.explaining.run import explain_audit
from foolscope.files import Columns, read_samples, sample_columns, write_adversarials, write_samples
from foolscope.intervals import wilson
from foolscope.ledger import Case, Ints, Ledger, Progress, may_begin, median_of, run_attack
from foolscope.norms import NORMS
from foolscope.store import Store, open_store, write_json, write_text
from foolscope.subject import SCHEMA, Subject, checked_batch_size, checked_eps, described, opened, settings_of

if TYPE_CHECKING:
    from foolscope.data import DataSet


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
    steps = battery(effort, norm)
    radius = checked_eps(norm, eps, data.shape, bounds)
    size = checked_batch_size(batch_size, data.shape, subject.device)
    box = list(bounds) if bounds else None
    common = {"norm": norm, "eps": radius, "effort": effort, "seed": seed, "batch_size": size, "bounds": box}
    store = open_store(out, settings_of("audit", subject, data, data_sha256, **common), overwrite=overwrite)
    finished = read_audit(store.folder) if store.resumed else None
    if finished is not None and finished.record["complete"]:
        return finished
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
        case, ledger = run.case, run.ledger
        seeing, probes = [step.name for step in steps if step.sees != "gradients"], None
        for number, step in enumerate(steps):
            if step.if_masked and not gradients_missed(ledger, run.correct, seeing):
                continue
            tried = run.correct if step.everyone else run.correct[~ledger.fooled[run.correct]]
            if step.within is not None and all(stage.finished for stage in ledger.stages) and may_begin(case, "trust"):
                probes = probes or _probes(case, ledger, run.correct)
                tried = _near(ledger, tried, step.within * radius, norm, probes, seeing)
            own_seed = seed + (number << 32)  # a stage is not to start where the one before has been
            run_attack(case, ledger, step.name, bind(step.attack, eps=radius, norm=norm, seed=own_seed), tried)
        complete = all(stage.finished for stage in ledger.stages)
        if complete:
            gradients, outputs = (
                [step.name for step in steps if step.sees == seen] for seen in ("gradients", "outputs")
            )
            checks = check_trust(
                case,
                ledger,
                probes or _probes(case, ledger, run.correct),
                probabilities=run.probabilities,
                gradient_stages=gradients,
                ascents=[step.name for step in steps if step.name in gradients and step.row.kind == "fixed eps"],
                black_box_stages=outputs,
            )
            tiles = make_gallery(case, ledger)
            explanations = explain_audit(case, ledger)
        else:
            checks, tiles, explanations = (_incomplete(ledger, steps),), (), {}
        columns = sample_columns(case, ledger)
        record = {
            "schema": SCHEMA,
            **described(subject, data, data_sha256, command, classes=int(ledger.logits.shape[1])),
            **common,
            "eps_text": eps_text or ("8/255" if eps is None else f"{eps:g}"),
            "n": len(data),
            "device": str(subject.device),
            "threads": torch.get_num_threads(),
            "complete": complete,
            **_numbers(case, ledger),
            "trust": _trust(case, ledger, checks, run.probabilities),
            "notes": [*dict.fromkeys(run.notes), *REMARKS.get(effort, ())],
        }
        return _write(store, case, ledger, record, columns, tiles, explanations)


def _probes(case: Case, ledger: Ledger, correct: Ints) -> Probes | None:
    return probe_gradients(case, ledger) if len(correct) else None


def _near(ledger: Ledger, tried: Ints, reach: float, norm: str, probes: Probes | None, seeing: Sequence[str]) -> Ints:
    """Those of which a fooling image is known within `reach`, or none at all; all of them where distances may be far too large.

    They may be where a probe found a sign that gradients mislead, or where one of the stages `seeing` outputs found what these missed,
    on whichever image: then what gradients tell of the others is in doubt as well.
    """
    misled = probes is not None and any(check.flagged for check in probes.checks)
    if misled or np.isin(ledger.attack.astype(str), seeing).any():
        return tried
    known = ledger.distance[tried, list(NORMS).index(norm)]
    near: Ints = tried[(known <= reach) | np.isinf(known)]
    return near


def _incomplete(ledger: Ledger, steps: Sequence[Step]) -> Check:
    """A number from part of the battery is an upper bound still, but not one to trust."""
    names = {step.name for step in steps}
    finished = sum(stage.finished and stage.name in names for stage in ledger.stages)
    message = (
        f"the time limit came when {finished} of {len(steps)} stages were done; the same command goes on from there"
    )
    return Check("incomplete", 1 - finished / len(steps), 0.0, True, message)


def _numbers(case: Case, ledger: Ledger) -> dict[str, Any]:
    n = len(case.data)
    correct = ledger.correct(case.data.labels)
    standing = correct & ~ledger.fooled
    distance = ledger.distance[:, list(NORMS).index(case.norm)]
    median = median_of(distance[correct])
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
    plain = [asdict(check) for check in checks]
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
    store: Store,
    case: Case,
    ledger: Ledger,
    record: dict[str, Any],
    columns: Columns,
    tiles: tuple[Tile, ...],
    explanations: dict[str, Any],
) -> Audit:
    from foolscope.report.audit import render_audit

    write_samples(store.folder / "samples.parquet", columns)
    write_adversarials(store.folder / "adversarial.safetensors", case, ledger)
    page = render_audit(record, columns, case.data.classes, tiles, explanations)
    write_text(store.folder / "report.html", page)
    if explanations:
        write_json(store.folder / "explain.json", explanations)
    write_json(store.folder / "audit.json", record)
    if record["complete"]:
        store.finish()
    return Audit(record, columns, store.folder)


def read_audit(folder: Path) -> Audit | None:
    """The audit that a folder holds, complete or not; None if it holds none, or a part of it is missing or damaged."""
    try:
        record = json.loads((folder / "audit.json").read_text())
        if not isinstance(record, dict) or "data" not in record:
            return None
        if not all((folder / name).is_file() for name in ("adversarial.safetensors", "report.html")):
            return None
        return Audit(record, read_samples(folder / "samples.parquet"), folder)
    except (OSError, ValueError):
        return None
