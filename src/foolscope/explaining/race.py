"""Four losses from a common start towards a common target: probabilities, logits, gradient and perturbation at every step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from foolscope import rng
from foolscope.attacks.equal_footing import moved, raw_loss
from foolscope.losses import Loss
from foolscope.oracle import Oracle

LOSSES = ("ce", "ce_sign", "logit", "m_logit")
TARGET_DRAW = 7_001  # attacks' own draws have small numbers
TRACED = ("target_probability", "own_probability", "target_logit", "own_logit", "gradient", "l2", "linf", "reached")


@dataclass(frozen=True)
class Trace:
    """What one loss did, `(b, steps + 1)` each; column 0 is the image itself.

    Attributes:
        target_probability, own_probability: softmax of the target and of the initial class.
        target_logit, own_logit: their logits.
        gradient: l2 size of the gradient that the next step is taken from; of its sign for `ce_sign`.
        l2, linf: size of the perturbation.
        reached: 1 where the target is the largest logit.
        end: the last iterates, `(b, ...)`.
    """

    target_probability: Tensor
    own_probability: Tensor
    target_logit: Tensor
    own_logit: Tensor
    gradient: Tensor
    l2: Tensor
    linf: Tensor
    reached: Tensor
    end: Tensor


def race(oracle: Oracle, loss: str, *, footing: str, step_size: float, steps: int) -> Trace:
    """The path of one loss towards the oracle's targets, by the steps of `equal_footing`; it goes on after the target is reached.

    ``x <- clip(x + alpha p)`` with p the gradient of `ce`, its sign, of `logit` or of `m_logit`; alpha = `step_size` (multiplier) or
    ``step_size / |p|_2`` (perturbation). A step costs one gradient: the logits are noted as the loss is handed them.

    Args:
        oracle: with targets.
        loss: `ce`, `ce_sign`, `logit` or `m_logit`.
        footing: `multiplier` or `perturbation`.
        step_size: alpha, or the l2 size of what a step adds, in input units.
        steps: of the path.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> oracle = Oracle(model, torch.tensor([[0.75, 0.25]]), torch.tensor([0]), targets=torch.tensor([1]))
        >>> trace = race(oracle, "logit", footing="perturbation", step_size=0.25, steps=3)
        >>> trace.target_logit.tolist(), trace.reached.int().tolist()
        ([[0.25, 0.5, 0.75, 1.0]], [[0, 0, 0, 1]])

    References:
        Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456, sec. IV, eq. 11-16.
    """
    assert oracle.targets is not None
    source, rows, x = raw_loss(loss), oracle.rows_all, oracle.inputs
    noted: list[Tensor] = []

    def noting(logits: Tensor, labels: Tensor, targets: Tensor | None, clean: Tensor | None) -> Tensor:
        noted.append(logits.detach())
        return source.function(logits, labels, targets, clean)

    noisy = Loss(loss, noting, homogeneous=False, source=source.source)
    seen: dict[str, list[Tensor]] = {key: [] for key in TRACED}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loss=")  # a gradient that dies is what is looked for
        for step in range(steps + 1):
            answer = oracle.gradient(x, rows, noisy)
            p = answer.gradient.sign() if loss == "ce_sign" else answer.gradient
            now = _state(oracle, noted.pop(), x) | {"gradient": p.flatten(1).norm(dim=1), "reached": answer.margin > 0}
            for key, value in now.items():
                seen[key].append(value)
            if step < steps:
                x = moved(oracle, rows, x, p, loss=loss, footing=footing, step_size=step_size)
    return Trace(**{key: torch.stack(values, 1) for key, values in seen.items()}, end=x)


def drawn_targets(oracle: Oracle, seed: int) -> Tensor:
    """A wrong class for each image, drawn by its index, `(b,)`."""
    classes = oracle.clean.shape[1]
    u = rng.uniform(seed, oracle.index, TARGET_DRAW)
    return (oracle.labels + 1 + (u * (classes - 1)).long().clamp_max(classes - 2)) % classes


def _state(oracle: Oracle, logits: Tensor, x: Tensor) -> dict[str, Tensor]:
    assert oracle.targets is not None
    probabilities, d = logits.softmax(1), (x - oracle.inputs).flatten(1)
    own, target = oracle.labels[:, None], oracle.targets[:, None]
    return {
        "target_probability": probabilities.gather(1, target).squeeze(1),
        "own_probability": probabilities.gather(1, own).squeeze(1),
        "target_logit": logits.gather(1, target).squeeze(1),
        "own_logit": logits.gather(1, own).squeeze(1),
        "l2": d.norm(dim=1),
        "linf": d.abs().amax(1),
    }
