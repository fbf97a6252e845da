"""The pictures of an audit: a dozen telling images, attacked within several radii."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from foolscope.attacks import bind
from foolscope.attacks.pgd import NORMS as PGD_NORMS
from foolscope.ledger import Case, Floats, Ints, Ledger, adversarials, judge, piece_of
from foolscope.norms import NORMS
from foolscope.report.gallery import Shot, Tile

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
    hardest = np.setdiff1d(by_distance[::-1][:EACH], nearest, assume_unique=True)
    return {"smallest distance": nearest, "hardest to fool": hardest}, np.setdiff1d(spread, np.r_[nearest, hardest])


def make_gallery(case: Case, ledger: Ledger) -> tuple[Tile, ...]:
    """Tiles for the report; the passes they cost are booked in the ledger."""
    if case.eps is None:
        return ()
    chosen, candidates = choose(case, ledger)
    everyone = np.unique(np.concatenate([*chosen.values(), candidates])).astype(np.int64)
    if not len(everyone):
        return ()
    known = dict(zip(everyone.tolist(), adversarials(case, ledger, everyone), strict=True))
    top = NORMS[case.norm].largest(int(np.prod(case.data.shape)), _width(case))
    radii = sorted(
        {min(case.eps * share, top) if case.norm != "l0" else max(1.0, round(case.eps * share)) for share in RADII}
    )
    shots: dict[int, list[Shot]] = {int(position): [] for position in everyone}
    for which, eps in enumerate(radii):
        for number, part in enumerate(case.parts(everyone)):
            tensors, _ = piece_of(case, f"gallery-{which}-{number:05d}", partial(_shoot, case, ledger, eps, part))
            ledger.spend(part, tensors["forwards"], tensors["backwards"])
            for row, position in enumerate(part):
                shots[int(position)].append(_shot(case, ledger, int(position), eps, tensors, row, known))
    at = radii.index(min(radii, key=lambda eps: abs(eps - float(case.eps or 0))))
    surest = sorted(candidates, key=lambda p: (-shots[int(p)][at].fooled, -shots[int(p)][at].confidence))[:EACH]
    chosen = {
        "smallest distance": chosen["smallest distance"],
        "most confident mistake": np.array(surest, np.int64),
    } | chosen
    return tuple(
        Tile(
            index=int(position),
            label=int(case.data.labels[position]),
            image=_shown(case, case.data.read(np.array([position]))[0]),
            prediction=int(ledger.prediction[position]),
            confidence=float(ledger.confidence[position]),
            why=why,
            shots=tuple(shots[int(position)]),
        )
        for why, positions in chosen.items()
        for position in positions
    )


def _shoot(case: Case, ledger: Ledger, eps: float, part: Ints) -> dict[str, Tensor]:
    """A full-length attack for the most confident mistake within eps; norms without one show what the battery found."""
    oracle = case.oracle(part, clean=torch.from_numpy(np.asarray(ledger.logits[part])))
    x = oracle.inputs
    if case.norm in PGD_NORMS:
        x = bind("pgd:early_stop=false", eps=eps, norm=case.norm, seed=case.seed)(oracle)
    verdict = judge(oracle, x)
    keys = ("found", "prediction", "confidence", "distance", "adversarial")
    return {key: verdict[key].cpu() for key in keys} | {"forwards": oracle.forwards, "backwards": oracle.backwards}


def _shot(
    case: Case,
    ledger: Ledger,
    position: int,
    eps: float,
    tensors: dict[str, Tensor],
    row: int,
    known: dict[int, Tensor],
) -> Shot:
    own = list(NORMS).index(case.norm)
    reach: Floats = ledger.distance[position]
    if not bool(tensors["found"][row]) and reach[own] <= eps:
        return Shot(
            eps,
            _shown(case, known[position]),
            int(ledger.adversarial_prediction[position]),
            float(ledger.adversarial_confidence[position]),
            True,
            float(reach[own]),
        )
    return Shot(
        eps,
        _shown(case, tensors["adversarial"][row]),
        int(tensors["prediction"][row]),
        float(tensors["confidence"][row]),
        bool(tensors["found"][row]),
        float(tensors["distance"][row, own]),
    )


def _width(case: Case) -> float:
    return case.bounds[1] - case.bounds[0] if case.bounds else 1.0


def _shown(case: Case, image: Tensor) -> np.ndarray:
    """An image scaled to [0, 1] for display."""
    low = case.bounds[0] if case.bounds else 0.0
    return np.asarray(((image.float() - low) / _width(case)).clamp(0, 1).numpy())
