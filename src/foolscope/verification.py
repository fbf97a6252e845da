"""Checks the claims of a finished audit with fresh passes: anyone can do it who has the model and the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from foolscope.errors import InputError
from foolscope.files import read_samples
from foolscope.ledger import ALREADY_WRONG, FOOLED, Progress, judge, slack
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.subject import Subject, adapted
from foolscope.untouched import untouched

if TYPE_CHECKING:
    from foolscope.data import DataSet

DISTANCE = 1e-5  # relative difference of a distance measured again


@dataclass(frozen=True)
class Claim:
    """One claim of an audit: how many images it was checked on, and on how many it failed."""

    claim: str
    checked: int
    failed: int


def read_record(folder: Path) -> dict[str, Any]:
    """The `audit.json` of a folder.

    Raises:
        InputError: there is none, or it can't be read.
    """
    try:
        record = json.loads((folder / "audit.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError("DIR", "a folder with the audit.json of an audit", str(folder)) from error
    if not isinstance(record, dict):
        raise InputError("DIR", "a folder with the audit.json of an audit", str(folder))
    return record


def run_verification(
    folder: Path, record: dict[str, Any], subject: Subject, data: DataSet, data_sha256: str, progress: Progress
) -> tuple[Claim, ...]:
    """Every claim of the audit in `folder`, checked against this model and data.

    Raises:
        InputError: the files can't be read, or do not belong to each other.
    """
    samples = read_samples(folder / "samples.parquet")
    norm, eps, size = record["norm"], record["eps"], int(record["batch_size"])
    bounds = None if record["bounds"] is None else (float(record["bounds"][0]), float(record["bounds"][1]))
    n = len(data)
    if len(samples["index"]) != n:
        raise InputError("DIR", f"a row of samples.parquet for each of {n} images", len(samples["index"]))
    outcome, clean = np.array(samples["outcome"]), np.array(samples["clean_prediction"])
    stored_distance = {name: _floats(samples[f"distance_{name}"]) for name in NORMS}
    failed = dict.fromkeys(
        ("clean prediction", "in the box, finite and fooling", "distance", "within eps where fooled"), 0
    )
    try:
        with safe_open(folder / "adversarial.safetensors", "pt") as file, untouched(subject.module):
            index = file.get_tensor("index").numpy()
            images = file.get_slice("adversarial")
            if len(index) and (index.min() < 0 or index.max() >= n or (np.diff(index) <= 0).any()):
                raise InputError("DIR", f"rising indices below {n} in adversarial.safetensors", str(index[:5]))
            model = adapted(subject, data, bounds, size)
            for first in range(0, n, size):
                part = np.arange(first, min(first + size, n))
                oracle = Oracle(model, data.read(part), torch.from_numpy(data.labels[part]), bounds=bounds)
                failed["clean prediction"] += int((oracle.clean.argmax(1).cpu().numpy() != clean[part]).sum())
                progress("clean", int(part[-1]) + 1, n)
            for first in range(0, len(index), size):
                last = min(first + size, len(index))
                part = index[first:last]
                oracle = Oracle(model, data.read(part), torch.from_numpy(data.labels[part]), bounds=bounds)
                verdict = {key: value.cpu().numpy() for key, value in judge(oracle, images[first:last]).items()}
                failed["in the box, finite and fooling"] += int((~verdict["found"]).sum())
                wrong = np.zeros(len(part), bool)
                for place, name in enumerate(NORMS):
                    wrong |= ~np.isclose(
                        verdict["distance"][:, place], stored_distance[name][part], rtol=DISTANCE, atol=1e-9
                    )
                failed["distance"] += int(wrong.sum())
                own = verdict["distance"][:, list(NORMS).index(norm)]
                allowed = eps + slack(norm, eps, int(np.prod(data.shape)), oracle.inputs.dtype, bounds)
                failed["within eps where fooled"] += int(((outcome[part] == FOOLED) & (own > allowed)).sum())
                progress("adversarial", last, len(index))
    except (SafetensorError, OSError) as error:
        raise InputError("DIR", "a folder with the adversarial.safetensors of an audit", str(error)) from error
    has_image = np.isin(np.arange(n), index)
    robust = float((~np.isin(outcome, (FOOLED, ALREADY_WRONG))).mean())
    counted: dict[str, Callable[[], bool]] = {
        "weights have the recorded SHA-256": lambda: subject.sha256 == record["model"]["sha256"],
        "images have the recorded SHA-256": lambda: data_sha256 == record["data"]["sha256"],
        "robust_accuracy is the share of samples.parquet": lambda: bool(np.isclose(robust, record["robust_accuracy"])),
        "passes are the sums of samples.parquet": lambda: (
            sum(samples["forwards"]) == record["forwards"] and sum(samples["backwards"]) == record["backwards"]
        ),
    }
    checked = {"clean prediction": n, "within eps where fooled": int((outcome == FOOLED).sum())}
    return (
        *(Claim(claim, 1, int(not holds())) for claim, holds in counted.items()),
        Claim(
            "every fooled image is there", int((outcome == FOOLED).sum()), int(((outcome == FOOLED) & ~has_image).sum())
        ),
        Claim(
            "already_wrong is what the clean pass says",
            n,
            int(((outcome == ALREADY_WRONG) != (clean != data.labels)).sum()),
        ),
        *(Claim(claim, checked.get(claim, len(index)), count) for claim, count in failed.items()),
    )


def _floats(values: list[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)
