"""Audits of several models on the same images, side by side and image by image."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope import __version__
from foolscope.auditing.run import Audit, read_audit
from foolscope.errors import InputError
from foolscope.intervals import wilson
from foolscope.store import open_store, write_json, write_text

SCHEMA = 1
Z = 1.959963984540054  # of a 95 % interval
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Audits side by side.

    Attributes:
        record: what `compare.json` holds.
        folder: where the files are; None if none were asked for.
    """

    record: Mapping[str, Any]
    folder: Path | None


@dataclass(frozen=True)
class Twin:
    """One audit, as far as it is compared: an array entry an image.

    Attributes:
        audit: as it was read.
        correct: right when clean.
        standing: right and not fooled at the eps of the comparison.
        distance: of the nearest fooling image; infinite where none is known, 0 where the clean image is wrong.
    """

    audit: Audit
    correct: Bools
    standing: Bools
    distance: Floats


def compare(
    *folders: str | Path, out: str | Path | None = None, overwrite: bool = False, command: str = ""
) -> Comparison:
    """Puts audits of the same images side by side; the first is what the others are compared with.

    Args:
        folders: of two audits or more.
        out: the folder for `compare.json` and `report.html`; None writes nothing.
        overwrite: replace another comparison in `out`.
        command: as typed, for the record.

    Returns:
        A `Comparison`: robust accuracies at the first audit's eps, and paired differences from the first with 95 % intervals.

    Raises:
        InputError: fewer than two folders, one that holds no audit, or audits of different images, norm or bounds.
    """
    audits = [_read(Path(folder)) for folder in folders]
    if len(audits) < 2:
        raise InputError("DIR", "two audits or more", len(audits))
    first = audits[0].record
    for folder, audit in zip(folders[1:], audits[1:], strict=True):
        mine = {
            "images": audit.record["data"]["sha256"],
            "norm": audit.record["norm"],
            "bounds": audit.record["bounds"],
        }
        for what, theirs in (("images", first["data"]["sha256"]), ("norm", first["norm"]), ("bounds", first["bounds"])):
            if mine[what] != theirs:
                raise InputError(
                    "DIR",
                    f"audits of the same {what} ({_short(theirs)} in {folders[0]})",
                    f"{_short(mine[what])} in {folder}",
                )
    twins = [_twin(audit, first["eps"]) for audit in audits]
    record = {
        "schema": SCHEMA,
        "foolscope": __version__,
        "command": command,
        "data": first["data"],
        "norm": first["norm"],
        "bounds": first["bounds"],
        "eps": first["eps"],
        "eps_text": first["eps_text"],
        "n": first["n"],
        "audits": [
            _row(name, folder, twin, None if k == 0 else twins[0])
            for k, (name, folder, twin) in enumerate(zip(short_names(folders), folders, twins, strict=True))
        ],
    }
    if out is None:
        return Comparison(record | {"report": None}, None)
    return _write(record, twins, out, overwrite)


def _read(folder: Path) -> Audit:
    audit = read_audit(folder)
    if audit is None:
        raise InputError("DIR", "the folder of an audit", str(folder))
    return audit


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def short_names(folders: Sequence[str | Path]) -> list[str]:
    """The folders by the part of their paths in which they differ.

    Example:
        >>> short_names(["runs/plain/audit", "runs/madry/audit"])
        ['plain', 'madry']
    """
    parts = [Path(folder).absolute().parts for folder in folders]
    if len(set(parts)) < len(parts):
        return [f"{Path(folder)} ({k})" for k, folder in enumerate(folders, 1)]
    while all(len(part) > 1 for part in parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    while all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    return ["/".join(part).replace("//", "/") for part in parts]


def _twin(audit: Audit, eps: float) -> Twin:
    record, samples = audit.record, audit.samples
    outcome = np.asarray(samples["outcome"])
    correct = outcome != "already_wrong"
    distance = np.array([math.inf if d is None else d for d in samples[f"distance_{record['norm']}"]], np.float64)
    distance = np.where(np.isnan(distance), np.inf, distance)
    standing = outcome == "resisted" if record["eps"] == eps else correct & (distance > eps)
    return Twin(audit, correct, standing, np.where(correct, distance, 0.0))


def _row(name: str, folder: str | Path, twin: Twin, reference: Twin | None) -> dict[str, Any]:
    record = twin.audit.record
    n, standing = len(twin.standing), int(twin.standing.sum())
    row: dict[str, Any] = {
        "name": name,
        "folder": str(folder),
        "model": record["model"]["name"],
        "sha256": record["model"]["sha256"],
        "objective": _objective(Path(folder)),
        "effort": record["effort"],
        "complete": record["complete"],
        "audited_eps": record["eps"],
        "clean_accuracy": record["clean_accuracy"],
        "robust_accuracy": standing / n,
        "robust_accuracy_interval": list(wilson(standing, n)),
        "median_distance": record["median_distance"],
        "trust": record["trust"]["verdict"],
        "curve": record["curve"],
    }
    none = dict.fromkeys(("difference", "difference_interval", "p", "only_here", "only_first"))
    none |= dict.fromkeys(("clean_difference", "clean_difference_interval", "clean_p"))
    none |= dict.fromkeys(("distance_difference", "distance_difference_interval", "distance_n"))
    if reference is None:
        return row | none
    robust, clean = paired(twin.standing, reference.standing), paired(twin.correct, reference.correct)
    both = twin.correct & reference.correct
    middle, low, high = median_difference(twin.distance[both], reference.distance[both])
    return row | {
        "difference": robust.difference,
        "difference_interval": [robust.low, robust.high],
        "p": robust.p,
        "only_here": robust.only_here,
        "only_first": robust.only_there,
        "clean_difference": clean.difference,
        "clean_difference_interval": [clean.low, clean.high],
        "clean_p": clean.p,
        "distance_difference": middle,
        "distance_difference_interval": [low, high],
        "distance_n": int(both.sum()),
    }


def _objective(folder: Path) -> str | None:
    """What the audited network was trained for, if `foolscope train` wrote the folder."""
    try:
        return str(json.loads((folder.absolute().parent / "train.json").read_text())["objective"])
    except (OSError, ValueError, KeyError):
        return None


@dataclass(frozen=True)
class Paired:
    """The difference of two shares on the same images, its 95 % interval, and the p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float
    only_here: int
    only_there: int


def paired(here: Bools, there: Bools) -> Paired:
    """How much larger the share of `here` is than that of `there`, image by image.

    The interval is Tango's score interval for paired shares, which holds in small samples and where nothing differs; the p-value is
    McNemar's exact one.

    Example:
        >>> same = paired(np.array([True] * 10), np.array([True] * 10))
        >>> same.difference, round(same.low, 2), round(same.high, 2), same.p
        (0.0, -0.28, 0.28, 1.0)

    References:
        Tango 1998, Statistics in Medicine 17, eq. 8; McNemar 1947.
    """
    from scipy.optimize import brentq
    from scipy.stats import binomtest

    n, b, c = len(here), int((here & ~there).sum()), int((~here & there).sum())

    def score(delta: float) -> float:
        linear = -b - c + (2 * n - b + c) * delta
        free = (math.sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta))) - linear) / (4 * n)
        spread = math.sqrt(max(0.0, n * (2 * free + delta * (1 - delta))))
        return (b - c - n * delta) / max(spread, 1e-9)

    middle = (b - c) / n
    low = brentq(lambda d: score(d) - Z, -1.0, middle) if score(-1.0) > Z else -1.0
    high = brentq(lambda d: score(d) + Z, middle, 1.0) if score(1.0) < -Z else 1.0
    p = float(binomtest(b, b + c).pvalue) if b + c else 1.0
    return Paired(middle, float(low), float(high), p, b, c)


def median_difference(here: Floats, there: Floats) -> tuple[float | None, float | None, float | None]:
    """The median of the paired differences and its 95 % interval by order statistics; None where it is not finite.

    Two infinite distances differ by 0.

    Example:
        >>> median_difference(np.arange(2.0, 12.0), np.arange(1.0, 11.0))
        (1.0, 1.0, 1.0)
    """
    from scipy.stats import binom

    if not len(here):
        return None, None, None
    never = np.isinf(here) & np.isinf(there)
    d = np.sort(np.subtract(here, there, out=np.zeros_like(here), where=~never))
    k = int(binom.ppf(0.025, len(d), 0.5))
    middle = float(np.quantile(d, 0.5, method="nearest"))
    low, high = (float(d[k - 1]), float(d[len(d) - k])) if k else (-math.inf, math.inf)
    told = tuple(value if math.isfinite(value) else None for value in (middle, low, high))
    return told[0], told[1], told[2]


def _write(record: dict[str, Any], twins: Sequence[Twin], out: str | Path, overwrite: bool) -> Comparison:
    from foolscope.report.compare import render_comparison

    audits = [hashlib.sha256((Path(row["folder"]) / "audit.json").read_bytes()).hexdigest() for row in record["audits"]]
    store = open_store(out, {"foolscope": __version__, "compared": audits}, overwrite=overwrite)
    with store.begin():
        record |= {"report": str(store.folder / "report.html")}
        samples = [(twin.correct, twin.standing, twin.distance) for twin in twins]
        labels = np.asarray(twins[0].audit.samples["label"])
        write_text(store.folder / "report.html", render_comparison(record, labels, samples))
        write_json(store.folder / "compare.json", record)
        store.finish()
    return Comparison(record, store.folder)
