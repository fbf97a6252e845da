"""What most claims measure: a network's outputs on attacked images, errors, confidences, and their intervals."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foolscope import rng
from foolscope.attacks import bind
from foolscope.intervals import wilson
from foolscope.oracle import Oracle
from foolscope.untouched import untouched

BATCH = 500  # images a pass
EPS = 0.25  # Goodfellow et al.'s radius for MNIST
ROUNDED = 0.02  # more error on the margin loss than on cross-entropy is worth a note


@dataclass(frozen=True)
class Images:
    """Images in memory.

    Attributes:
        inputs: `(n, C, H, W)`.
        labels: int64 `(n,)`.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, n: int) -> Images:
        """The first `n` of them."""
        return Images(self.inputs[:n], self.labels[:n])

    def keep(self, where: Tensor) -> Images:
        """Those where the mask `(n,)` is true."""
        return Images(self.inputs[where], self.labels[where])


def _oracles(
    model: nn.Module, images: Images, bounds: tuple[float, float] | None, batch: int, targets: Tensor | None = None
) -> Iterator[Oracle]:
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        yield Oracle(
            model,
            images.inputs[part],
            images.labels[part],
            targets=None if targets is None else targets[part],
            bounds=bounds,
            index=torch.arange(len(images))[part],
        )


def outputs(model: nn.Module, inputs: Tensor, batch: int = BATCH) -> Tensor:
    """Logits of all `inputs`, `(n, c)`."""
    images = Images(inputs, torch.zeros(len(inputs), dtype=torch.int64))
    with untouched(model):
        return torch.cat([oracle.clean for oracle in _oracles(model, images, None, batch)])


def perturb(
    model: nn.Module,
    images: Images,
    attack: str,
    *,
    targets: Tensor | None = None,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    batch: int = BATCH,
) -> Tensor:
    """The attacked images `(n, ...)`, without a box unless `bounds` say so; those that are wrong already come back as they are.

    Args:
        model: images to logits.
        images: what is attacked.
        attack: as on the command line, ``fgsm:eps=0.25,loss=ce`` say.
        targets: the classes to reach, `(n,)`; None: any wrong one.
        bounds: the box; None as in Goodfellow et al.
        seed: of random draws.
        batch: images a pass.
    """
    bound = bind(attack, seed=seed)
    with untouched(model), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "loss=ce: its gradient is exactly zero"
        )  # cross-entropy as the papers have it
        return torch.cat([bound(oracle) for oracle in _oracles(model, images, bounds, batch, targets)])


def linear_distance(model: nn.Module, images: Images, *, batch: int = BATCH) -> Tensor:
    """The linf distance at which the linearised margin closes, `(n,)`: the margin over the L1 norm of its gradient, negative if wrong."""
    found = []
    with untouched(model):
        for oracle in _oracles(model, images, None, batch):
            answer = oracle.gradient(oracle.inputs, oracle.rows_all, "margin")
            found.append(-answer.margin / answer.gradient.flatten(1).abs().sum(1))
    return torch.cat(found)


def fgsm(eps: float = EPS, loss: str = "ce") -> str:
    """The papers' fast gradient sign method as an ATTACK text."""
    return f"fgsm:eps={eps:g},loss={loss}"


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Which predictions differ from the labels, `(n,)`; a logit that is not a number predicts nothing and is wrong."""
    return (logits.argmax(1) != labels) | ~torch.isfinite(logits).all(1)


def confidence(logits: Tensor) -> Tensor:
    """The softmax probability of each predicted class, `(n,)`."""
    return logits.softmax(1).amax(1)


def error(logits: Tensor, labels: Tensor) -> float:
    """Share of wrong predictions."""
    return float(wrong(logits, labels).double().mean())


def mean_where(values: Tensor, mask: Tensor) -> float:
    """Mean of the values where the mask is true; NaN where it is nowhere."""
    return float(values[mask].double().mean()) if bool(mask.any()) else float("nan")


def share_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `n`."""
    return wilson(round(share * n), n)


def mean_interval(values: Tensor) -> tuple[float, float]:
    """The mean of independent values plus and minus 1.96 standard errors.

    Example:
        >>> mean_interval(torch.tensor([1.0, 1.0, 1.0]))
        (1.0, 1.0)
    """
    x = values.double().numpy()
    half = 1.959964 * float(np.std(x, ddof=1)) / len(x) ** 0.5 if len(x) > 1 else float("nan")
    return float(x.mean()) - half, float(x.mean()) + half


def gaussian(shape: tuple[int, ...], n: int, seed: int = 0) -> Tensor:
    """`n` draws of N(0, I), `(n, *shape)`: rubbish images."""
    u = rng.uniform(seed, torch.arange(n), 0, shape, torch.float64)
    return (2**0.5 * torch.erfinv(2 * u - 1)).float()


@dataclass(frozen=True)
class Fooled:
    """One network under one attack.

    Attributes:
        clean_error: share of wrong predictions on the images themselves.
        fgsm_error: share of wrong predictions on the attacked images, all images counted.
        confidence_on_mistakes: mean probability of the predicted class over the images that the attack turned wrong.
        confidence_on_clean: the same over the untouched images that are right.
        adversarial: the attacked images.
        logits: of the attacked images.
    """

    clean_error: float
    fgsm_error: float
    confidence_on_mistakes: float
    confidence_on_clean: float
    adversarial: Tensor
    logits: Tensor

    @property
    def values(self) -> dict[str, float]:
        """The four numbers by name."""
        return {
            "clean_error": self.clean_error,
            "fgsm_error": self.fgsm_error,
            "confidence_on_mistakes": self.confidence_on_mistakes,
            "confidence_on_clean": self.confidence_on_clean,
        }


def fooled(model: nn.Module, images: Images, attack: str, *, bounds: tuple[float, float] | None = None) -> Fooled:
    """Attacks every image once and looks at clean and attacked images afresh.

    Args:
        model: images to logits.
        images: what is attacked.
        attack: an ATTACK text.
        bounds: the box; None as in Goodfellow et al.
    """
    clean = outputs(model, images.inputs)
    adversarial = perturb(model, images, attack, bounds=bounds)
    logits = outputs(model, adversarial)
    was, now = wrong(clean, images.labels), wrong(logits, images.labels)
    return Fooled(
        float(was.double().mean()),
        float(now.double().mean()),
        mean_where(confidence(logits), now & ~was),
        mean_where(confidence(clean), ~was),
        adversarial,
        logits,
    )


def rounding(model: nn.Module, images: Images, found: Fooled, eps: float = EPS) -> dict[str, float]:
    """How far FGSM on cross-entropy fails through rounding: the same step on the margin loss, and with its gradient taken in float64.

    Args:
        model: images to logits, in float32.
        images: what was attacked.
        found: what FGSM without a box did to them.
        eps: of that step.

    Returns:
        Both errors; the share of images whose predicted probability is exactly 1 in float32, and that share among those that resist.
    """
    exact = perturb(copy.deepcopy(model).double(), images, fgsm(eps)).to(images.inputs)
    certain = confidence(outputs(model, images.inputs)) == 1
    resists = ~wrong(found.logits, images.labels)
    return {
        "fgsm_error_margin_loss": error(outputs(model, perturb(model, images, fgsm(eps, "margin"))), images.labels),
        "fgsm_error_float64": error(outputs(model, exact), images.labels),
        "certain_in_float32": float(certain.double().mean()),
        "certain_among_resisting": mean_where(certain.double(), resists),
    }


def rounding_notes(values: Mapping[str, float]) -> tuple[str, ...]:
    """What `rounding` says, where it says anything."""
    if values["fgsm_error_margin_loss"] < values["fgsm_error"] + ROUNDED:
        return ()
    return (
        "FGSM fails through rounding here, not through the network's resistance: on "
        f"{values['certain_in_float32']:.1%} of the images the predicted probability is exactly 1 in float32, where the gradient of "
        f"cross-entropy is zero or rounded, and {values['certain_among_resisting']:.1%} of the images that resist are such. The same step "
        f"with its gradient taken in float64 leaves {1 - values['fgsm_error_float64']:.2%} of the images standing, on the margin loss "
        f"{1 - values['fgsm_error_margin_loss']:.2%}",
    )
