"""Can the numbers be trusted? Signs that the attacks, not the network, are what failed.

A gradient attack that cannot work reports a high robust accuracy. Each check compares what was seen with a threshold fixed beforehand
(`docs/trust.md` has the error rates); any that is crossed makes the verdict `suspicious`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from foolscope import rng
from foolscope.attacks import Bound, bind
from foolscope.attacks.fgsm import NORMS as SINGLE_STEP_NORMS
from foolscope.attacks.pgd import NORMS as PGD_NORMS
from foolscope.ledger import Case, Ints, Ledger, Stage, judge, probe
from foolscope.norms import NORMS
from foolscope.oracle import OK, Oracle

PROBED = 200  # images at most that the probes are run on, spread evenly over those that are right when clean
HUGE = 64  # of them, at most, that are attacked with an eps that allows everything
JITTER = 0.01  # of the box: first off the image, whose values may lie on a quantiser's very edges
TINY, TOUCHED = 1e-4, 16  # of the box, in so many components: any smooth network notices, but hardly an edge is crossed
PROBE = 0.02  # of the way to the linearised boundary: the step on which a gradient is compared with the difference it predicts
LONGEST = 0.02  # of the box, for that step
SIGNIFICANCE = 0.05  # of being above the threshold, for shares that vary with the attacks' luck
FINE = 1e-6  # relative rounding of the dtypes in which a tiny change can be told from none

DEAD = 0.05
SINGLE_STEP = 0.02
BLACK_BOX = 0.02
LAST_DOUBLING = 0.02
HUGE_EPS = 0.02
RANDOM = 0.0
SATURATED = 0.1
FLAT = 0.1
MISMATCH = 0.1
CONFIDENT = 0.999
DIFFERENCE = 1e-4  # relative difference of two identical calls beyond what kernels do on their own


@dataclass(frozen=True)
class Check:
    """One sign, measured.

    Attributes:
        code: its stable name.
        value: what was measured.
        threshold: flagged above it.
        flagged: whether it makes the verdict suspicious.
        message: what it means, in plain words.
    """

    code: str
    value: float
    threshold: float
    flagged: bool
    message: str


@dataclass(frozen=True)
class Probes:
    """What a look at clean images and their gradients tells, before anything is attacked.

    Attributes:
        probed: positions of the images, `(k,)`.
        seen: by name, whether each shows the sign, `(k,)`.
        checks: those that need no more than this.
    """

    probed: Ints
    seen: Mapping[str, np.ndarray]
    checks: tuple[Check, ...]


def probe_gradients(case: Case, ledger: Ledger) -> Probes:
    """The probes, on some of the images that are right when clean (there must be one); their passes are booked in the ledger."""
    correct = np.flatnonzero(ledger.correct(case.data.labels))
    probed = correct[np.unique(np.linspace(0, len(correct) - 1, min(PROBED, len(correct))).round().astype(int))]
    seen = {
        key: value.numpy() for key, value in probe(case, ledger, "trust", probed, partial(_probe, case, ledger)).items()
    }
    checks = (
        _share("random_outputs", seen["random"], RANDOM, "two identical calls of the model give different outputs"),
        _share(
            "dead_gradients", seen["dead"], DEAD, "the gradient is zero or not finite: gradient attacks are blind there"
        ),
        _share(
            "flat_outputs",
            seen["flat"],
            FLAT,
            "a tiny change of the input changes no output at all (quantised or thresholded)",
        ),
        _share(
            "gradient_mismatch",
            seen["mismatch"],
            MISMATCH,
            "the output does not move as its gradient says, even close by",
        ),
    )
    return Probes(probed, seen, checks)


def check_trust(
    case: Case,
    ledger: Ledger,
    probes: Probes | None,
    *,
    probabilities: bool,
    gradient_stages: Sequence[str],
    ascents: Sequence[str],
    black_box_stages: Sequence[str],
) -> tuple[Check, ...]:
    """All checks that apply in this norm, after the battery.

    Args:
        case: what is audited.
        ledger: after the battery.
        probes: from `probe_gradients`; None where no image is right when clean.
        probabilities: whether the model hands out probabilities (their logarithm was attacked).
        gradient_stages: names of the stages that go by gradients alone.
        ascents: of those among them that climb in a ball.
        black_box_stages: of those that go by outputs alone.
    """
    correct = np.flatnonzero(ledger.correct(case.data.labels))
    unread = ~np.isfinite(ledger.logits).all(1)
    checks = [
        _constant(ledger),
        _share("not_finite_outputs", unread, 0.0, "the model's outputs are not finite numbers"),
    ]
    if probabilities:
        checks.append(_saturated(ledger))
    if probes is None:
        return tuple(checks)
    probed, seen = probes.probed, probes.seen
    checks += probes.checks
    if "single" in seen:
        stood = _standing_after(ledger, gradient_stages)[probed]
        alone = seen["single"].astype(bool) & stood
        checks.append(
            _share("single_step", alone, SINGLE_STEP, "one step fools images that many steps could not", lucky=True)
        )
    checks += _stage_checks(ledger, correct, ascents, black_box_stages)
    if case.norm in PGD_NORMS:
        checks.append(_huge(case, ledger, probed[:: max(1, len(probed) // HUGE)][:HUGE]))
    return tuple(checks)


def blind_share(ledger: Ledger, labels: Ints) -> float:
    """The share of clean-correct images on which float32 cross-entropy has lost the label's probability (1 - p rounds to 0)."""
    correct = ledger.correct(labels)
    logits = torch.from_numpy(np.asarray(ledger.logits[correct]))
    return float((logits.softmax(1).amax(1) == 1).float().mean()) if len(logits) else 0.0


def gradients_missed(ledger: Ledger, correct: Ints, stages: Sequence[str]) -> bool:
    """Whether these stages, which see outputs, fooled significantly more of the `correct` images than sound networks leave them."""
    count = int(np.isin(ledger.attack.astype(str)[correct], list(stages)).sum())
    return count > BLACK_BOX * len(correct) and _significant(count, len(correct), BLACK_BOX)


def _significant(count: int, n: int, share: float) -> bool:
    from scipy.stats import binom

    return bool(binom.sf(count - 1, n, share) < SIGNIFICANCE)


def _share(code: str, hits: np.ndarray, threshold: float, message: str, lucky: bool = False) -> Check:
    """A check on the share of images with a sign; where luck has a part in it, it must be above the threshold significantly."""
    count, n = int(hits.sum()), len(hits)
    value = count / max(1, n)
    flagged = value > threshold and (not lucky or _significant(count, n, threshold))
    return Check(code, value, threshold, flagged, f"{message}: {count} of {n} images")


def _constant(ledger: Ledger) -> Check:
    """Logits that are the same for every image."""
    constant = len(ledger.logits) > 1 and bool((ledger.logits == ledger.logits[:1]).all())
    return Check("constant_outputs", float(constant), 0.0, constant, "the model gives the same output for every image")


def _saturated(ledger: Ledger) -> Check:
    hits = np.asarray(ledger.logits).max(1) > np.log(CONFIDENT)
    message = (
        f"the model hands out probabilities, not logits, and rounds them: above {CONFIDENT} they carry little gradient"
    )
    return _share("saturated_probabilities", hits, SATURATED, message)


def _standing_after(ledger: Ledger, stages: Sequence[str]) -> np.ndarray:
    """Images that none of these stages fooled."""
    return ~np.isin(ledger.attack.astype(str), list(stages))


def _stage_checks(
    ledger: Ledger, correct: Ints, ascents: Sequence[str], black_box_stages: Sequence[str]
) -> list[Check]:
    checks = []
    if black_box_stages:
        beaten = np.isin(ledger.attack.astype(str)[correct], list(black_box_stages))
        text = "attacks that see no gradient fooled images after the gradient attacks had given up"
        checks.append(_share("black_box", beaten, BLACK_BOX, text, lucky=True))
    climbs = [stage for stage in ledger.stages if stage.name in ascents]
    # One run alone says nothing: its steps shrink, so that most images fall late in it.
    if len(climbs) > 1:
        late, before = (hits[correct] for hits in _doublings(climbs, len(ledger.attack)))
        message = f"the last doubling of steps still fools as many (the one before: {before.sum()})"
        check = _share("last_doubling", late, LAST_DOUBLING, message, lucky=True)
        checks.append(replace(check, flagged=check.flagged and bool(late.sum() >= before.sum())))
    return checks


def _doublings(stages: Sequence[Stage], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images were fooled in the second half of all steps spent, and which in the second quarter."""
    at, budget = np.zeros(n, np.int64), 0
    for stage in stages:
        at[stage.tried[stage.fooled]] = budget + stage.wins[stage.fooled]
        budget += int(stage.budget)
    return at > budget / 2, (at > budget / 4) & (at <= budget / 2)


def _probe(case: Case, ledger: Ledger, part: Ints) -> dict[str, Tensor]:
    """Every probe of one piece of images; booleans `(b,)`."""
    oracle = case.oracle(part, clean=torch.from_numpy(np.asarray(ledger.logits[part])))
    rows, x = oracle.rows_all, oracle.inputs
    first, second = oracle.logits(x, rows), oracle.logits(x, rows)
    spread = (first.amax(1) - first.amin(1)).clamp_min(torch.finfo(first.dtype).tiny)
    random = ((first - second).abs().amax(1) / spread > DIFFERENCE) | (first.argmax(1) != second.argmax(1))
    answer = oracle.gradient(x, rows)
    result = {
        "random": random,
        "flat": _flat(case, oracle),
        "dead": oracle.state.to(x.device) != OK,
        "mismatch": _mismatch(case, oracle, answer.margin, answer.gradient),
    }
    if case.eps is not None and case.norm in SINGLE_STEP_NORMS:
        stepped = bind("fgsm", eps=case.eps, norm=case.norm)(oracle)
        result["single"] = judge(oracle, stepped)["found"]
    return {key: value.cpu() for key, value in result.items()} | {
        "forwards": oracle.forwards,
        "backwards": oracle.backwards,
    }


def _width(case: Case) -> float:
    return case.bounds[1] - case.bounds[0] if case.bounds else 1.0


def _flat(case: Case, oracle: Oracle) -> Tensor:
    """Whether a tiny change of a few components, a little off the image, leaves every output the same to the last bit."""
    rows, x = oracle.rows_all, oracle.inputs
    if torch.finfo(x.dtype).eps > FINE:
        return torch.zeros_like(rows, dtype=torch.bool)
    jitter, order = (rng.uniform(case.seed, oracle.index, draw, x.shape[1:], x.dtype) for draw in (0, 1))
    x = oracle.clip(x + JITTER * _width(case) * (2 * jitter - 1))
    touched = order.flatten(1).topk(min(TOUCHED, order[0].numel()), dim=1).indices
    middle = sum(case.bounds) / 2 if case.bounds else 0.0
    inwards = torch.where(x < middle, 1.0, -1.0).to(x.dtype).flatten(1)
    step = torch.zeros_like(inwards).scatter(1, touched, inwards.gather(1, touched)).view_as(x)
    return (oracle.logits(x + TINY * _width(case) * step, rows) == oracle.logits(x, rows)).all(1)


def _mismatch(case: Case, oracle: Oracle, margin: Tensor, gradient: Tensor) -> Tensor:
    """Whether a short step along the gradient changes the margin by less than half or more than twice what the gradient says.

    The step is in linf whatever the norm, and a share of the way to the boundary: it tells of the network, not of eps.
    """
    rows, norm = oracle.rows_all, NORMS["linf"]
    boundary = -margin / norm.dual(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
    length = (PROBE * boundary).clamp(0, LONGEST * _width(case))
    x = oracle.clip(oracle.inputs + norm.steepest(gradient, length, *oracle.box(rows)))
    expected = (gradient * (x - oracle.inputs)).flatten(1).sum(1)
    change = oracle.value(x, rows)[0] - margin
    # Margins are rescaled to the order of 1: below this, rounding decides.
    resolution = 64 * torch.finfo(change.dtype).eps
    return ((change < expected / 2) | (change > expected * 2)) & (expected > resolution)


def _huge(case: Case, ledger: Ledger, probed: Ints) -> Check:
    eps = NORMS[case.norm].largest(int(np.prod(case.data.shape)), _width(case))
    attack = bind("pgd", eps=eps, norm=case.norm, seed=case.seed)

    standing = ~probe(case, ledger, "trust_huge", probed, partial(_huge_part, case, ledger, attack))["found"].numpy()
    message = f"images still stand at {case.norm} eps {eps:g}, where every image is within reach"
    return _share("huge_eps", standing, HUGE_EPS, message, lucky=True)


def _huge_part(case: Case, ledger: Ledger, attack: Bound, part: Ints) -> dict[str, Tensor]:
    oracle = case.oracle(part, clean=torch.from_numpy(np.asarray(ledger.logits[part])))
    found = judge(oracle, attack(oracle))["found"].cpu()
    return {"found": found, "forwards": oracle.forwards, "backwards": oracle.backwards}
