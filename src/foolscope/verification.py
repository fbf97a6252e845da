"""Checks the claims of a finished audit with fresh passes: anyone can do it who has the model and the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from foolscope.auditing.result import curve_of
from foolscope.errors import InputError
from foolscope.files import read_samples
from foolscope.ledger import ALREADY_WRONG, FOOLED, RESISTED, Progress, judge, median_of, predicted, slack
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.subject import Subject, adapted
from foolscope.untouched import untouched

if TYPE_CHECKING:
    from foolscope.data import DataSet

NEEDED = (  # of audit.json
    *("model", "data", "norm", "eps", "effort", "seed", "n", "batch_size", "bounds"),
    *("clean_accuracy", "robust_accuracy", "median_distance", "curve", "forwards", "backwards"),
)
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
    missing = [key for key in NEEDED if key not in record] if isinstance(record, dict) else list(NEEDED)
    if missing:
        raise InputError(
            "DIR", "a folder with the audit.json of an audit", f"{folder}, whose audit.json has no {missing[0]}"
        )
    return dict(record)


def check_recorded(record: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuses a setting, by its key in the record, that is not the one the audit was run with."""
    for key, value in given.items():
        if value != record[key]:
            option = "--samples" if key == "n" else f"--{key.replace('_', '-')}"
            raise InputError(option, f"{_text(record[key])}, which the audit was run with", _text(value))


def _text(setting: Any) -> Any:
    """A setting as an option says it."""
    if isinstance(setting, list):
        return ",".join(f"{value:g}" for value in setting)
    return "none" if setting is None else setting


def run_verification(
    folder: Path, record: dict[str, Any], subject: Subject, data: DataSet, data_sha256: str, progress: Progress
) -> tuple[Claim, ...]:
    """Every claim of the audit in `folder`, checked against this model and data.

    Raises:
        InputError: the files can't be read, or do not belong to each other.
    """
    samples = _checked_samples(read_samples(folder / "samples.parquet"))
    norm, eps, size = record["norm"], record["eps"], int(record["batch_size"])
    bounds = None if record["bounds"] is None else (float(record["bounds"][0]), float(record["bounds"][1]))
    n = len(data)
    if len(samples["index"]) != n:
        raise InputError("DIR", f"a row of samples.parquet for each of {n} images", len(samples["index"]))
    outcome, clean = (
        np.array(samples["outcome"]),
        np.array([-1 if c is None else c for c in samples["clean_prediction"]]),
    )
    stored_distance = {name: _floats(samples[f"distance_{name}"]) for name in NORMS}
    failed = dict.fromkeys(
        ("clean prediction", "in the box, finite and fooling", "distance", "within eps exactly where fooled"), 0
    )
    try:
        with safe_open(folder / "adversarial.safetensors", "pt") as file, untouched(subject.module):
            index = file.get_tensor("index").numpy()
            images = file.get_slice("adversarial")
            if images.get_shape() != [len(index), *data.shape]:
                came = f"shape {images.get_shape()} in adversarial.safetensors"
                raise InputError("DIR", f"{len(index)} images of shape {data.shape}", came)
            wrong_labels = int((file.get_tensor("label").numpy() != data.labels[index % n]).sum())
            if len(index) and (index.min() < 0 or index.max() >= n or (np.diff(index) <= 0).any()):
                raise InputError("DIR", f"rising indices below {n} in adversarial.safetensors", str(index[:5]))
            model = adapted(subject, data, bounds, size)
            for first in range(0, n, size):
                part = np.arange(first, min(first + size, n))
                oracle = Oracle(model, data.read(part), torch.from_numpy(data.labels[part]), bounds=bounds)
                failed["clean prediction"] += int((predicted(oracle.clean).cpu().numpy() != clean[part]).sum())
                progress("clean", int(part[-1]) + 1, n)
            for first in range(0, len(index), size):
                last = min(first + size, len(index))
                part = index[first:last]
                oracle = Oracle(model, data.read(part), torch.from_numpy(data.labels[part]), bounds=bounds)
                verdict = judge(oracle, images[first:last])
                found, distance = verdict["found"].cpu().numpy(), verdict["distance"].cpu().numpy()
                failed["in the box, finite and fooling"] += int((~found).sum())
                wrong = np.zeros(len(part), bool)
                for place, name in enumerate(NORMS):
                    wrong |= ~np.isclose(distance[:, place], stored_distance[name][part], rtol=DISTANCE, atol=1e-9)
                failed["distance"] += int(wrong.sum())
                own = distance[:, list(NORMS).index(norm)]
                allowed = eps + slack(norm, eps, int(np.prod(data.shape)), oracle.inputs.dtype, bounds)
                # Rounding may carry a fooled image past eps by `slack`; an image that resisted has none within eps itself.
                wrong = np.where(outcome[part] == FOOLED, own > allowed, (outcome[part] == RESISTED) & (own <= eps))
                failed["within eps exactly where fooled"] += int(wrong.sum())
                progress("adversarial", last, len(index))
    except (SafetensorError, OSError) as error:
        raise InputError("DIR", "a folder with the adversarial.safetensors of an audit", str(error)) from error
    has_image = np.isin(np.arange(n), index)
    counted = _counted(record, samples)
    counted["weights have the recorded SHA-256"] = subject.sha256 == record["model"]["sha256"]
    counted["images have the recorded SHA-256"] = data_sha256 == record["data"]["sha256"]
    wrong_labels += int((np.array(samples["label"]) != data.labels).sum())
    checked = {"clean prediction": n}
    return (
        *(Claim(claim, 1, int(not holds)) for claim, holds in counted.items()),
        Claim("labels are those of the data", n + len(index), wrong_labels),
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


def _checked_samples(samples: dict[str, list[Any]]) -> dict[str, list[Any]]:
    needed = ["index", "label", "clean_prediction", "outcome", "forwards", "backwards"]
    missing = [name for name in (*needed, *(f"distance_{name}" for name in NORMS)) if name not in samples]
    if missing:
        raise InputError("DIR", "a samples.parquet of an audit", f"one without {missing[0]}")
    if samples["index"] != list(range(len(samples["index"]))):
        raise InputError("DIR", "a row of samples.parquet for each image, in order", "other indices")
    return samples


def _counted(record: dict[str, Any], samples: dict[str, list[Any]]) -> dict[str, bool]:
    """What `audit.json` says of `samples.parquet`: claim -> whether it holds."""
    outcome = np.array(samples["outcome"])
    correct, fooled = outcome != ALREADY_WRONG, outcome == FOOLED
    distance = np.nan_to_num(_floats(samples[f"distance_{record['norm']}"]), nan=np.inf)
    median = median_of(distance[correct])
    # A fooled image may measure a rounding error beyond eps; the curve and the count at eps are to agree.
    curve = curve_of(correct, np.where(fooled, np.minimum(distance, record["eps"]), distance), record["eps"])
    shares = record["curve"]["robust_accuracy"]
    told = {
        "clean_accuracy": np.isclose(correct.mean(), record["clean_accuracy"]),
        "robust_accuracy": np.isclose((correct & ~fooled).mean(), record["robust_accuracy"]),
        "median_distance": (
            not np.isfinite(median)
            if record["median_distance"] is None
            else np.isclose(median, record["median_distance"])
        ),
        "curve": len(shares) == len(curve["eps"])
        and np.allclose(record["curve"]["eps"], curve["eps"])
        and np.allclose(shares, curve["robust_accuracy"]),
        "passes": (sum(samples["forwards"]), sum(samples["backwards"])) == (record["forwards"], record["backwards"]),
    }
    return {f"{key}: as samples.parquet has it": bool(holds) for key, holds in told.items()}


def _floats(values: list[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)
