"""The pictures of an audit: a dozen telling images, attacked within several radii."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from foolscope.attacks import bind
from foolscope.attacks.pgd import NORMS as PGD_NORMS
from foolscope.auditing.tiles import Shot, Tile
from foolscope.ledger import Case, Ints, Ledger, adversarials, judge, probe
from foolscope.norms import NORMS

RADII = (0.25, 0.5, 1.0, 2.0)  # of eps
EACH = 4  # images of each kind
CANDIDATES = 24  # fooled images among which the most confident mistakes are looked for


def choose(case: Case, ledger: Ledger) -> tuple[dict[str, Ints], Ints]:
    """The images that are nearest to being fooled, those that hold out longest, and candidates for the most confident mistakes."""
    own = ledger.distance[:, list(NORMS).index(case.norm)]
    correct = np.flatnonzero(ledger.correct(case.data.labels))
    by_distance = correct[np.argsort(own[correct], kind="stable")]
    nearest = by_distance[:EACH]
    fooled = by_distance[ledger.fooled[by_distance]]
    spread = fooled[np.unique(np.linspace(0, len(fooled) - 1, min(CANDIDATES, len(fooled))).round().astype(int))]
    hardest = by_distance[EACH:][::-1][:EACH]
    return {"smallest distance": nearest, "hardest to fool": hardest}, np.setdiff1d(spread, np.r_[nearest, hardest])


def make_gallery(case: Case, ledger: Ledger) -> tuple[Tile, ...]:
    """Tiles for the report; the passes they cost are booked in the ledger."""
    if case.eps is None:
        return ()
    chosen, candidates = choose(case, ledger)
    everyone = np.unique(np.concatenate([*chosen.values(), candidates]))
    if not len(everyone):
        return ()
    radii = _radii(case, case.eps)
    # At eps first, on all candidates; at the other radii for those alone that are shown.
    at_eps, margin = _shots(case, ledger, case.eps, everyone)
    shots = {case.eps: at_eps}
    # By margin, not by confidence: which images are shown is not to depend on the scale of the logits.
    surest = sorted(candidates.tolist(), key=lambda p: -margin[p])[:EACH]
    chosen = {
        "smallest distance": chosen["smallest distance"],
        "most confident mistake": np.array(surest, np.int64),
        "hardest to fool": chosen["hardest to fool"],
    }
    shown = np.unique(np.concatenate(list(chosen.values())))
    shots |= {eps: _shots(case, ledger, eps, shown)[0] for eps in radii if eps != case.eps}
    return tuple(
        Tile(
            index=position,
            label=int(case.data.labels[position]),
            image=_shown(case, case.data.read(np.array([position]))[0]),
            prediction=int(ledger.prediction[position]),
            confidence=float(ledger.confidence[position]),
            why=why,
            shots=tuple(shots[eps][position] for eps in radii),
        )
        for why, positions in chosen.items()
        for position in positions.tolist()
    )


def _radii(case: Case, eps: float) -> list[float]:
    """The radii of the selector, rising, eps among them; none beyond what the box allows."""
    if case.norm == "l0":
        return sorted({max(1.0, float(round(eps * share))) for share in RADII} | {eps})
    top = NORMS[case.norm].largest(int(np.prod(case.data.shape)), _width(case)) if case.bounds else float("inf")
    return sorted({min(eps * share, top) for share in RADII} | {eps})


def _shots(case: Case, ledger: Ledger, eps: float, positions: Ints) -> tuple[dict[int, Shot], dict[int, float]]:
    """Each of these images attacked within eps, and the margin that the attack reached."""
    tensors = probe(case, ledger, f"gallery_{eps:.4g}", positions, partial(_shoot, case, ledger, eps))
    known = adversarials(case, ledger, positions)
    shots = {
        position: _shot(case, ledger, position, eps, {key: value[row] for key, value in tensors.items()}, known[row])
        for row, position in enumerate(positions.tolist())
    }
    return shots, dict(zip(positions.tolist(), tensors["margin"].tolist(), strict=True))


def _shoot(case: Case, ledger: Ledger, eps: float, part: Ints) -> dict[str, Tensor]:
    """A full-length attack for the most confident mistake within eps; norms without one show what the battery found."""
    oracle = case.oracle(part, clean=torch.from_numpy(np.asarray(ledger.logits[part])))
    x = oracle.inputs
    if case.norm in PGD_NORMS:
        x = bind("pgd:steps=20,early_stop=false", eps=eps, norm=case.norm, seed=case.seed)(oracle.through(case.swift))
    verdict = judge(oracle, x)
    keys = ("found", "prediction", "margin", "confidence", "distance", "adversarial")
    return {key: verdict[key].cpu() for key in keys} | {"forwards": oracle.forwards, "backwards": oracle.backwards}


def _shot(case: Case, ledger: Ledger, position: int, eps: float, seen: dict[str, Tensor], known: Tensor) -> Shot:
    """What the attack within eps found, or where it found nothing, what the battery knows to lie within eps."""
    own = list(NORMS).index(case.norm)
    reach = float(ledger.distance[position, own])
    within = bool(ledger.fooled[position]) if eps == case.eps else reach <= eps
    if not bool(seen["found"]) and within:
        prediction, confidence = ledger.adversarial_prediction[position], ledger.adversarial_confidence[position]
        return Shot(eps, _shown(case, known), int(prediction), float(confidence), True, reach)
    return Shot(
        eps,
        _shown(case, seen["adversarial"]),
        int(seen["prediction"]),
        float(seen["confidence"]),
        bool(seen["found"]),
        float(seen["distance"][own]),
    )


def _width(case: Case) -> float:
    return case.bounds[1] - case.bounds[0] if case.bounds else 1.0


def _shown(case: Case, image: Tensor) -> np.ndarray:
    """An image scaled to [0, 1] for display."""
    low = case.bounds[0] if case.bounds else 0.0
    return np.asarray(((image.float() - low) / _width(case)).clamp(0, 1).numpy())
