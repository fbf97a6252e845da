"""Audits made up from a seed: every number follows from the samples, as in a real one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from foolscope.auditing.tiles import Shot, Tile
from foolscope.report.charts import wilson

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def picture(seed: int, channels: int, side: int) -> np.ndarray:
    """A smooth blob on a gradient, so that a perturbation can be told from the image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    planes = []
    for _ in range(channels):
        cx, cy, width = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.25)
        planes.append(0.15 + 0.25 * x * rng.uniform() + 0.6 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2)))
    return np.clip(np.stack(planes), 0, 1)


def gallery(
    columns: dict[str, Any], eps: float, norm: str, channels: int, side: int, tiles: int, classes: int
) -> list[Tile]:
    radii = [eps / 4, eps / 2, eps, 2 * eps]
    found = []
    near = [
        i
        for i in np.argsort([math.inf if d is None else d for d in columns[f"distance_{norm}"]])
        if columns["outcome"][i] != "already_wrong"
    ]
    for rank, i in enumerate(near[:: max(1, len(near) // max(1, tiles))][:tiles]):
        rng = np.random.default_rng(1000 + rank)
        image, size = picture(int(i), channels, side), columns[f"distance_{norm}"][i]
        shots = []
        for radius in radii:
            adversarial = np.clip(image + rng.choice([-1.0, 1.0], image.shape) * min(radius, 0.5), 0, 1)
            fooled = size is not None and size <= radius
            label = int(columns["label"][i])
            shots.append(
                Shot(
                    radius,
                    adversarial,
                    (label + 1) % classes if fooled else label,
                    0.5 + 0.1 * rank % 0.5,
                    fooled,
                    float(np.abs(adversarial - image).max()),
                )
            )
        why = ("smallest distance", "most confident mistake", "typical", "hardest")[rank % 4]
        found.append(Tile(int(columns["index"][i]), label, image, label, 0.998, why, tuple(shots)))
    return found


def make_audit(
    *,
    n: int = 400,
    classes: list[str] | None = None,
    norm: str = "linf",
    eps: float = 8 / 255,
    eps_text: str = "8/255",
    typical: float | None = None,
    clean: float = 0.96,
    found: float = 0.98,
    channels: int = 1,
    side: int = 8,
    tiles: int = 6,
    suspicious: bool = False,
    complete: bool = True,
    bounds: list[float] | None = (0, 1),
    model: str = "digits_cnn",
    **more: Any,
) -> tuple[dict[str, Any], dict[str, Any], list[str], list[Tile]]:
    """Record, samples, classes and gallery of an audit; `typical` is the median distance, `found` the share ever fooled."""
    rng = np.random.default_rng(7)
    classes = DIGITS if classes is None else classes
    label = rng.integers(0, len(classes), n)
    right = rng.permutation(n) < round(clean * n)
    ever = right & (rng.uniform(size=n) < found)
    spread = (typical or eps) * np.exp(rng.normal(0, 0.6, n)) * (0.6 + 0.8 * label / len(classes))
    distance: list[float | None] = [float(d) if e else None for d, e in zip(spread, ever, strict=True)]
    if norm == "l0":
        distance = [None if d is None else float(max(1, round(d))) for d in distance]
    fooled = np.array([r and d is not None and d <= eps for r, d in zip(right, distance, strict=True)])
    other = (label + 1 + rng.integers(0, 3, n)) % len(classes)
    columns: dict[str, Any] = {
        "index": np.arange(n),
        "label": label,
        "clean_prediction": np.where(right, label, other),
        "outcome": np.where(fooled, "fooled", np.where(right, "resisted", "already_wrong")),
        "reason": ["done"] * n,
        "attack": ["pgd" if f else None for f in fooled],
        "adversarial_prediction": [int(o) if d is not None else None for o, d in zip(other, distance, strict=True)],
        "confidence": [
            float(c) if d is not None else None for c, d in zip(rng.uniform(0.4, 1, n), distance, strict=True)
        ],
        "survives_8bit": [bool(d > eps / 2) if d is not None else None for d in distance],
        "forwards": rng.integers(50, 400, n),
        "backwards": rng.integers(40, 300, n),
    }
    columns |= {f"distance_{name}": distance for name in ("linf", "l2", "l1", "l0")}
    known = np.sort([d for d in distance if d is not None])
    at = np.concatenate([[0.0], known])
    robust = float((right & ~fooled).mean())
    clean_accuracy = float(right.mean())
    reach = (
        float(np.median([math.inf if d is None else d for d, r in zip(distance, right, strict=True) if r]))
        if right.any()
        else math.inf
    )
    flags = [
        (
            "dead_gradients",
            0.003,
            0.1,
            "Gradients vanish for 0.3% of the images; above 10% a gradient attack is blind.",
        ),
        (
            "black_box_wins",
            0.041 if suspicious else 0.002,
            0.02,
            "Attacks without gradients fooled images that gradients had given up on.",
        ),
        ("single_step", 0.0, 0.02, "A single step beats many steps on no image."),
        ("huge_eps", 0.0, 0.0, "Accuracy falls to zero when any change is allowed."),
        ("random_outputs", 0.0, 0.0, "The same image always gets the same outputs."),
        ("quantised_inputs", 0.31 if suspicious else 0.0, 0.05, "The outputs do not change when inputs are rounded."),
    ]
    checks = [
        {"code": c, "value": v, "threshold": t, "message": m, "flagged": suspicious and v > t} for c, v, t, m in flags
    ]
    reasons = [{key: check[key] for key in check if key != "flagged"} for check in checks if check["flagged"]]
    forwards, backwards = int(columns["forwards"].sum()), int(columns["backwards"].sum())
    record = {
        "schema": 1,
        "foolscope": "0.1.0",
        "command": "foolscope audit digits_cnn digits",
        "environment": {"python": "3.11.7", "torch": "2.13.0+cpu", "cpu": "AMD EPYC, 2 cores"},
        "model": {
            "name": model,
            "parameters": 52138,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "classes": len(classes),
        },
        "data": {
            "name": "digits:test",
            "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
            "n": n,
        },
        "norm": norm,
        "eps": eps,
        "eps_text": eps_text,
        "effort": "standard",
        "seed": 12345,
        "n": n,
        "batch_size": 256,
        "device": "cpu",
        "threads": 2,
        "clean_accuracy": clean_accuracy,
        "robust_accuracy": robust,
        "robust_accuracy_interval": list(wilson(robust, n)),
        "median_distance": reach if math.isfinite(reach) else None,
        "curve": {"eps": at.tolist(), "robust_accuracy": [clean_accuracy - k / n for k in range(len(at))]},
        "trust": {
            "verdict": "suspicious" if suspicious else "sound",
            "reasons": reasons,
            "checks": checks,
            "notes": ["The logits were rescaled before the attack; the verdict does not depend on their scale."],
        },
        "forwards": forwards,
        "backwards": backwards,
        "seconds": 73.4,
        "complete": complete,
        "bounds": None if bounds is None else list(bounds),
        "stages": [
            {
                "name": "pgd (margin, 5 restarts)",
                "tried": int(right.sum()),
                "fooled": max(0, int(fooled.sum()) - 2),
                "forwards": forwards - 5000,
                "backwards": backwards,
                "seconds": 51.2,
            },
            {
                "name": "fmn",
                "tried": int(right.sum()),
                "fooled": min(2, int(fooled.sum())),
                "forwards": 3000,
                "backwards": 0,
                "seconds": 15.0,
            },
            {
                "name": "square",
                "tried": int((right & ~fooled).sum()),
                "fooled": 0,
                "forwards": 2000,
                "backwards": 0,
                "seconds": 7.2,
            },
        ],
        "notes": ["The data are sorted by label; --samples took the first 400."],
    }
    return record | more, columns, classes, gallery(columns, eps, norm, channels, side, tiles, len(classes))


@pytest.fixture
def audit() -> Any:
    """The maker of made-up audits."""
    return make_audit
