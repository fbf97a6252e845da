"""One attack over a data set: the answer to `foolscope attack` and `foolscope.evaluate`."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from foolscope.attacks import ATTACKS, Bound
from foolscope.attacks._step import checked_count
from foolscope.files import Columns, read_samples, sample_columns, write_adversarials, write_png, write_samples
from foolscope.ledger import Case, Ints, Progress, Stage, median_of, run_attack
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.store import open_store, write_json
from foolscope.subject import SCHEMA, Subject, checked_batch_size, checked_eps, described, opened, settings_of

if TYPE_CHECKING:
    from foolscope.data import DataSet


@dataclass(frozen=True)
class Evaluation:
    """What one attack did to a data set.

    Attributes:
        record: what `attack.json` holds.
        samples: one row an image, as in `samples.parquet`; NaN, -1 and "" stand for null.
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
        """Share of all images that the attack did not fool (within eps, where there is one)."""
        return float(self.record["robust_accuracy"])


def run_evaluation(
    subject: Subject,
    data: DataSet,
    attack: Bound,
    *,
    out: str | Path,
    norm: str,
    eps: float | None,
    seed: int = 0,
    batch_size: int | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    overwrite: bool = False,
    time_limit: float | None = None,
    data_sha256: str = "",
    attack_sha256: str = "",
    command: str = "",
    progress: Progress = lambda stage, done, total: None,
) -> Evaluation:
    """Runs one attack on every image that is right when clean, checks each answer afresh, and writes the folder `out`.

    Args:
        subject: the model; it comes back untouched.
        data: images and labels.
        attack: the attack with its options.
        out: the folder to write.
        norm: in which the nearest fooling image is the best.
        eps: the radius within which an image counts as fooled; None: any distance counts.
        seed: of every random draw.
        batch_size: images a batch; automatic when None.
        bounds: the box.
        overwrite: replace another run in `out`.
        time_limit: seconds after which no further piece is begun.
        data_sha256: of the images used.
        attack_sha256: of the file that a stranger's attack is in.
        command: as it was typed, for the record.
        progress: told (stage, images done, images in all).

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model or the attack raised.
    """
    radius = None if eps is None else checked_eps(norm, eps, data.shape, bounds)
    size = checked_batch_size(batch_size, data.shape, subject.device)
    box = list(bounds) if bounds else None
    common = {"attack": attack.text, "norm": norm, "eps": radius, "seed": seed, "batch_size": size, "bounds": box}
    settings = settings_of("attack", subject, data, data_sha256, **common, attack_sha256=attack_sha256)
    store = open_store(out, settings, overwrite=overwrite)
    finished = read_evaluation(store.folder) if store.resumed else None
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
        rehearse=partial(_rehearse_foreign, attack),
    ) as run:
        case, ledger = run.case, run.ledger
        stage = run_attack(case, ledger, attack.name.rpartition(":")[2], attack, run.correct)
        columns = sample_columns(case, ledger)
        distance = ledger.distance[run.correct, list(NORMS).index(norm)]
        median = median_of(distance)
        record = {
            "schema": SCHEMA,
            **described(subject, data, data_sha256, command),
            **common,
            "n": len(data),
            "device": str(subject.device),
            "complete": stage.finished,
            "clean_accuracy": len(run.correct) / len(data),
            "robust_accuracy": int((~ledger.fooled[run.correct]).sum()) / len(data),
            "fooled": int(stage.fooled.sum()),
            "median_distance": median if np.isfinite(median) else None,
            "forwards": int(ledger.forwards.sum()),
            "backwards": int(ledger.backwards.sum()),
            "seconds": store.seconds(),
            "notes": [*dict.fromkeys(run.notes), *_astray(stage)],
        }
        write_samples(store.folder / "samples.parquet", columns)
        write_adversarials(store.folder / "adversarial.safetensors", case, ledger)
        write_png(store.folder / "png", case, ledger)
        write_json(store.folder / "attack.json", record)
        if stage.finished:
            store.finish()
    return Evaluation(record, columns, store.folder)


def _astray(stage: Stage) -> list[str]:
    if not stage.astray:
        return []
    said = "the attack's answer was outside the box or not finite: it counts as no success"
    return [f"on {stage.astray} of {len(stage.tried)} images {said}"]


def rehearse(attack: Bound, data: DataSet, bounds: tuple[float, float] | None) -> None:
    """One step of one of our attacks on a toy network: what is wrong with its options is said before anything is written.

    Raises:
        InputError: from the attack.
    """
    if attack.name not in ATTACKS:
        return  # a stranger's is rehearsed on the model itself
    components = math.prod(data.shape)
    linear = nn.Linear(components, 2, device="meta").to_empty(device="cpu")  # draws nothing from torch's generator
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.0], [1.0 / components]]))
        linear.bias.copy_(torch.tensor([2.0, 0.0]))
    parameters = inspect.signature(attack.function).parameters
    counts = [key for key in ("steps", "restarts") if key in parameters]
    for key in counts:  # as they are; the run below takes one of each
        checked_count(key, attack.options.get(key, 1))
    oracle = Oracle(
        nn.Sequential(nn.Flatten(), linear),
        data.read(np.zeros(1, np.int64)),
        torch.zeros(1, dtype=torch.int64),
        bounds=bounds,
    )
    replace(attack, options={**attack.options, **dict.fromkeys(counts, 1)})(oracle)


def _rehearse_foreign(attack: Bound, case: Case, positions: Ints) -> None:
    """A stranger's attack on these images: what is wrong with its answer is said before anything is written.

    Raises:
        InputError: the answer has another shape than the images.
        ForeignError: the attack raised.
    """
    if attack.name not in ATTACKS:
        attack(case.oracle(positions))


def read_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation that a folder holds, complete or not; None if it holds none, or a part of it is missing or damaged."""
    try:
        record = json.loads((folder / "attack.json").read_text())
        if not (folder / "adversarial.safetensors").is_file():
            return None
        return Evaluation(record, read_samples(folder / "samples.parquet"), folder)
    except (OSError, ValueError):
        return None
