"""Runs attacks over a data set piece by piece and checks every answer afresh: an attack's word is never taken.

A fresh forward pass on its final tensor, in the dtype that the user runs, tells whether an image is fooled, and it must lie in the box.
Over 400 lines: what is known of an image and the two ways to learn more of it (attack, probe) share one format on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foolscope.attacks import Bound
from foolscope.norms import NORMS
from foolscope.oracle import NOT_FINITE, ZERO, Oracle
from foolscope.store import Store

if TYPE_CHECKING:
    from foolscope.data import DataSet

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]

REASONS = ("done", "zero_gradient", "not_finite", "budget")
TIE = 1e-4  # of the logits' spread: a margin whose sign rounding may have decided
FOOLED, RESISTED, ALREADY_WRONG = "fooled", "resisted", "already_wrong"


@dataclass(frozen=True)
class Case:
    """What is audited, and how.

    Attributes:
        model: images to logits, in evaluation mode, frozen.
        data: the images and labels.
        bounds: the box, or None.
        norm: in which distances are compared.
        eps: the radius that decides; None where only distances count.
        seed: of every random draw.
        batch_size: images a piece.
        store: where finished pieces lie.
        progress: told (stage, images done, images in all).
        deadline: `time.monotonic()` after which no further piece is begun.
        swift: a copy of the model that computes the same faster, for attacks alone; None where there is none.
    """

    model: nn.Module
    data: DataSet
    bounds: tuple[float, float] | None
    norm: str
    eps: float | None
    seed: int
    batch_size: int
    store: Store
    progress: Progress = lambda stage, done, total: None
    deadline: float = float("inf")
    swift: nn.Module | None = None

    def oracle(self, positions: Ints, clean: Tensor | None = None) -> Oracle:
        """An oracle over these images."""
        return Oracle(
            self.model,
            self.data.read(positions),
            torch.from_numpy(self.data.labels[positions]),
            bounds=self.bounds,
            index=torch.from_numpy(positions),
            clean=clean,
            batch=self.batch_size,
        )

    def parts(self, positions: Ints) -> Iterator[Ints]:
        """Pieces of `positions`, in order."""
        for first in range(0, len(positions), self.batch_size):
            yield positions[first : first + self.batch_size]


@dataclass(frozen=True)
class Stage:
    """One attack's share of a run.

    Attributes:
        name: of the stage.
        tried: positions that it was run on.
        fooled: of those, which it fooled at eps and no stage before had.
        wins: of those, after how many backward passes; 0 where it did not fool.
        forwards, backwards: totals over images.
        seconds: wall time.
        budget: gradient passes that an image may get.
        finished: False if the deadline came first.
        astray: of those, for how many the attack's answer was not finite or outside the box.
    """

    name: str
    tried: Ints
    fooled: npt.NDArray[np.bool_]
    wins: Ints
    forwards: int
    backwards: int
    seconds: float
    budget: int
    finished: bool
    astray: int = 0


@dataclass(frozen=True)
class Ledger:
    """What is known of each image so far; the arrays are filled in as stages go by, `(n,)` unless said.

    Attributes:
        prediction: of the clean image; -1 where its logits are not numbers.
        confidence: softmax of the clean prediction.
        logits: `(n, c)`, clean, on disk.
        attack: name of the first stage that fooled the image at eps, or "".
        reason: index into `REASONS` of why the last attack on it stopped.
        distance: `(n, 4)` in the order of `NORMS`, of the nearest fooling image; infinite where none is known.
        adversarial_prediction, adversarial_confidence, survives_8bit: of that image.
        place: `(n, 2)`: number in `pieces` and row where that image lies; -1 where none is known.
        pieces: names of the pieces with adversarial images.
        forwards, backwards: passes spent on each image.
        stages: what was run.
    """

    prediction: Ints
    confidence: Floats
    logits: npt.NDArray[np.floating[Any]]
    attack: npt.NDArray[np.object_]
    reason: Ints
    distance: Floats
    adversarial_prediction: Ints
    adversarial_confidence: Floats
    survives_8bit: npt.NDArray[np.bool_]
    place: Ints
    forwards: Ints
    backwards: Ints
    pieces: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    @property
    def fooled(self) -> npt.NDArray[np.bool_]:
        """Fooled at eps by any stage."""
        return np.asarray(self.attack != "")

    def correct(self, labels: Ints) -> npt.NDArray[np.bool_]:
        """Right on the clean image."""
        return np.asarray(self.prediction == labels)

    def spend(self, positions: Ints, forwards: Tensor, backwards: Tensor) -> None:
        """Books passes."""
        self.forwards[positions] += forwards.numpy()
        self.backwards[positions] += backwards.numpy()


def predicted(logits: Tensor) -> Tensor:
    """The class of the largest logit, `(b,)`; -1 where a logit is not a number, which is no prediction."""
    return logits.argmax(1).where(~logits.isnan().any(1), -1)


def median_of(distance: Floats) -> float:
    """The median; of a half that is finite and a half that is not, the largest finite one; infinite where fewer are finite.

    Example:
        >>> median_of(np.array([1.0, 2.0])), median_of(np.array([1.0, np.inf])), median_of(np.array([1.0, np.inf, np.inf]))
        (1.5, 1.0, inf)
    """
    if not len(distance):
        return float("inf")
    median = float(np.median(distance))
    return median if np.isfinite(median) else float(np.quantile(distance, 0.5, method="lower"))


def slack(norm: str, eps: float, components: int, dtype: torch.dtype, bounds: tuple[float, float] | None) -> float:
    """How much a perturbation of size eps may exceed it once image plus perturbation is rounded to `dtype`."""
    largest = max(map(abs, bounds)) if bounds else 1.0
    return eps * 1e-6 + NORMS[norm].largest(components, torch.finfo(dtype).eps / 2 * largest) * (norm != "l0")


def clean_pass(case: Case) -> Ledger:
    """Logits and predictions of every clean image; the ledger that everything else is written into."""
    n, ledger, seconds = len(case.data), None, 0.0
    for number, part in enumerate(case.parts(np.arange(n))):
        tensors, took = piece_of(case, f"clean-pass-{number:05d}", partial(_clean_part, case, part))
        logits = tensors["logits"]
        ledger = ledger or _new_ledger(case, logits)
        ledger.logits[part] = logits.numpy()
        ledger.prediction[part] = predicted(logits).numpy()
        ledger.confidence[part] = logits.double().softmax(1).amax(1).numpy()
        ledger.forwards[part] += tensors["forwards"].numpy()
        seconds += took
        case.progress("clean", int(part[-1]) + 1, n)
    assert ledger is not None  # a data set is never empty
    none = np.zeros(n, np.int64)
    ledger.stages.append(Stage("clean", np.arange(n), none > 0, none, int(ledger.forwards.sum()), 0, seconds, 0, True))
    return ledger


def run_attack(case: Case, ledger: Ledger, name: str, attack: Bound, positions: Ints) -> Stage:
    """Runs one attack on the images at `positions` and writes what it found into the ledger.

    Args:
        case: what is audited.
        ledger: from `clean_pass`.
        name: of the stage; names of pieces begin with it.
        attack: called with an `Oracle`.
        positions: images to try, all right on the clean image.

    Returns:
        The stage, also the last of `ledger.stages`.
    """
    done, seconds, forwards, backwards, astray = 0, 0.0, 0, 0, 0
    fooled, wins = [np.zeros(0, bool)], [np.zeros(0, np.int64)]
    for number, part in enumerate(case.parts(positions)):
        piece = f"{name}-{number:05d}"
        if not may_begin(case, name, number):
            break
        tensors, took = piece_of(case, piece, partial(_attack_part, case, ledger, attack, part))
        new = _apply(case, ledger, name, piece, part, tensors)
        fooled.append(new)
        wins.append(np.where(new, tensors["wins"].numpy(), 0))
        forwards, backwards = forwards + int(tensors["forwards"].sum()), backwards + int(tensors["backwards"].sum())
        done, seconds = done + len(part), seconds + took
        astray += int(tensors["astray"].sum()) if "astray" in tensors else 0  # older pieces do not tell
        case.progress(name, done, len(positions))
    ledger.stages.append(
        Stage(
            name,
            positions[:done],
            np.concatenate(fooled),
            np.concatenate(wins),
            forwards,
            backwards,
            seconds,
            attack.budget,
            done == len(positions),
            astray,
        )
    )
    return ledger.stages[-1]


def may_begin(case: Case, stage: str, number: int = 0) -> bool:
    """Whether this piece of a stage may be made, or is there already: no other is begun after the deadline."""
    return time.monotonic() <= case.deadline or case.store.has(f"{stage}-{number:05d}")


def adversarials(case: Case, ledger: Ledger, positions: Ints) -> Tensor:
    """The nearest fooling image known of each of these images, `(k, ...)`; NaN where none is known."""
    places = torch.from_numpy(ledger.place[positions])
    out = None
    for number in np.unique(ledger.place[positions, 0]).tolist():
        piece = case.store.load(ledger.pieces[number]) if number >= 0 else None
        if piece is not None:
            stored = piece[0]["adversarial"]
            out = stored.new_full((len(positions), *case.data.shape), torch.nan) if out is None else out
            mine = places[:, 0] == number
            out[mine] = stored[places[mine, 1]]
    return torch.full((len(positions), *case.data.shape), torch.nan) if out is None else out


def judge(oracle: Oracle, adversarial: Tensor) -> dict[str, Tensor]:
    """Checks candidate images afresh; two forwards an image at most.

    Args:
        oracle: over the images that were attacked.
        adversarial: `(b, ...)`, what the attack handed back.

    Returns:
        `found` `(b,)`: finite, in the box and fooling. `prediction`, `confidence`, `margin` (of rescaled logits), `distance` `(b, 4)`
        in the order of `NORMS` and `survives_8bit` (still fooling after rounding to 256 levels), meaningful where found.
        `astray`: not finite or outside the box.
    """
    rows = oracle.rows_all
    x = adversarial.to(oracle.inputs).reshape(oracle.inputs.shape)
    sane = torch.isfinite(x).flatten(1).all(1)
    if oracle.bounds is not None:
        sane &= ((x >= oracle.bounds[0]) & (x <= oracle.bounds[1])).flatten(1).all(1)
    x = torch.where(sane.view(-1, *[1] * (x.ndim - 1)), x, oracle.inputs)
    logits = oracle.logits(x, rows)
    prediction = predicted(logits)
    found = sane & (prediction >= 0) & _is_fooled(oracle, prediction, rows)
    survives = torch.zeros_like(found)
    if bool(found.any()):
        low, high = oracle.bounds or (0.0, 1.0)
        levels = ((x[found] - low) / (high - low) * 255).round() / 255 * (high - low) + low
        survives[found] = _is_fooled(oracle, predicted(oracle.logits(levels, rows[found])), rows[found])
    d = x - oracle.inputs
    return {
        "found": found,
        "astray": ~sane,
        "prediction": prediction,
        "margin": oracle.margin(logits, rows),
        "confidence": logits.double().softmax(1).gather(1, prediction.clamp_min(0)[:, None]).squeeze(1),
        "distance": torch.stack([norm.size(d.double()) for norm in NORMS.values()], 1),
        "survives_8bit": survives,
        "adversarial": x,
    }


def _is_fooled(oracle: Oracle, prediction: Tensor, rows: Tensor) -> Tensor:
    return prediction != oracle.labels[rows] if oracle.targets is None else prediction == oracle.targets[rows]


def _attack_part(case: Case, ledger: Ledger, attack: Bound, part: Ints) -> dict[str, Tensor]:
    tensors = _attacked(case, ledger, attack, part, case.swift)
    tie = ~tensors["found"] & (tensors["margin"].abs() < TIE)
    if case.swift is not None and bool(tie.any()):
        # Perhaps the copy was fooled where the model itself is not: attacked once more, on the model itself.
        again = _attacked(case, ledger, attack, part[tie.numpy()], None)
        for key, value in again.items():
            tensors[key][tie] = tensors[key][tie] + value if key in ("forwards", "backwards") else value
    tensors["adversarial"] = tensors["adversarial"][tensors["found"]]
    return tensors | {"wins": tensors["backwards"].clone()}


def _attacked(case: Case, ledger: Ledger, attack: Bound, part: Ints, swift: nn.Module | None) -> dict[str, Tensor]:
    """An attack on these images, through the copy where one is given, and the verdict of the model itself."""
    oracle = case.oracle(part, clean=torch.from_numpy(ledger.logits[part]))
    adversarial = attack(oracle.through(swift))
    state, backwards = oracle.state.clone(), oracle.backwards.clone()
    verdict = judge(oracle, adversarial)
    codes = {ZERO: REASONS.index("zero_gradient"), NOT_FINITE: REASONS.index("not_finite")}
    reason = torch.full_like(state, REASONS.index("budget"), dtype=torch.int64)
    for code, meaning in codes.items():
        reason[state == code] = meaning
    tensors = {key: value.cpu() for key, value in verdict.items()}
    reason[tensors["found"]] = REASONS.index("done")
    return tensors | {"reason": reason, "forwards": oracle.forwards, "backwards": backwards}


def _apply(
    case: Case, ledger: Ledger, stage: str, piece: str, part: Ints, tensors: dict[str, Tensor]
) -> npt.NDArray[np.bool_]:
    """Writes a finished piece into the ledger; which images it is the first to fool at eps."""
    found = tensors["found"].numpy()
    distance = tensors["distance"].numpy()
    own = distance[:, list(NORMS).index(case.norm)]
    fooled = found.copy()
    if case.eps is not None:
        components = int(np.prod(case.data.shape))
        dtype = tensors["adversarial"].dtype
        fooled &= own <= case.eps + slack(case.norm, case.eps, components, dtype, case.bounds)
    new = fooled & ~ledger.fooled[part]
    ledger.attack[part[new]] = stage
    ledger.reason[part] = np.where(ledger.fooled[part], REASONS.index("done"), tensors["reason"].numpy())
    nearer = found & (own < ledger.distance[part, list(NORMS).index(case.norm)])
    at = part[nearer]
    ledger.distance[at] = distance[nearer]
    ledger.adversarial_prediction[at] = tensors["prediction"].numpy()[nearer]
    ledger.adversarial_confidence[at] = tensors["confidence"].numpy()[nearer]
    ledger.survives_8bit[at] = tensors["survives_8bit"].numpy()[nearer]
    ledger.place[at, 0] = len(ledger.pieces)
    ledger.place[at, 1] = (np.cumsum(found) - 1)[nearer]
    ledger.pieces.append(piece)
    ledger.spend(part, tensors["forwards"], tensors["backwards"])
    return new


def probe(
    case: Case, ledger: Ledger, name: str, positions: Ints, make: Callable[[Ints], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Passes that look without deciding: run piece by piece and booked as a stage of their own that fools nothing.

    Args:
        case: what is audited.
        ledger: where the passes are booked.
        name: of the stage.
        positions: images to look at.
        make: positions of a piece -> its tensors, `forwards` and `backwards` among them.

    Returns:
        The tensors over all positions.
    """
    pieces, seconds = [], 0.0
    for number, part in enumerate(case.parts(positions)):
        tensors, took = piece_of(case, f"{name}-{number:05d}", partial(make, part))
        ledger.spend(part, tensors["forwards"], tensors["backwards"])
        pieces.append(tensors)
        seconds += took
        case.progress(name, min(len(positions), (number + 1) * case.batch_size), len(positions))
    seen = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    none = np.zeros(len(positions), np.int64)
    forwards, backwards = int(seen["forwards"].sum()), int(seen["backwards"].sum())
    ledger.stages.append(Stage(name, positions, none > 0, none, forwards, backwards, seconds, 0, True))
    return seen


def piece_of(case: Case, name: str, make: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], float]:
    """A piece and the seconds it took: read, if it was finished before, else made and written."""
    piece = case.store.load(name)
    if piece is None:
        begun = time.perf_counter()
        tensors = make()
        piece = tensors, {"seconds": repr(time.perf_counter() - begun)}
        case.store.save(name, *piece)
    return piece[0], float(piece[1]["seconds"])


def _clean_part(case: Case, part: Ints) -> dict[str, Tensor]:
    oracle = case.oracle(part)
    clean = oracle.clean.cpu()
    return {"logits": clean if clean.dtype == torch.float64 else clean.float(), "forwards": oracle.forwards}


def _new_ledger(case: Case, like: Tensor) -> Ledger:
    n = len(case.data)
    logits = case.store.mapped("logits", (n, like.shape[1]), like.numpy().dtype)
    return Ledger(
        prediction=np.full(n, -1),
        confidence=np.zeros(n),
        logits=logits,
        attack=np.full(n, "", dtype=object),
        reason=np.zeros(n, np.int64),
        distance=np.full((n, len(NORMS)), np.inf),
        adversarial_prediction=np.full(n, -1),
        adversarial_confidence=np.zeros(n),
        survives_8bit=np.zeros(n, bool),
        place=np.full((n, 2), -1),
        forwards=np.zeros(n, np.int64),
        backwards=np.zeros(n, np.int64),
    )
