from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foolscope.attacks import NEAREST, bind
from foolscope.auditing.gallery import EACH, make_gallery
from foolscope.data import from_tensors
from foolscope.ledger import Case, Ledger, clean_pass, run_attack
from foolscope.norms import NORMS
from foolscope.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = {"linf": 0.08, "l2": 0.5, "l1": 2.0, "l0": 4.0}


@pytest.fixture(params=list(EPS))
def attacked(request, digits_network, digits_data, tmp_path: Path) -> tuple[Case, Ledger]:
    images, labels = (t[:50] for t in digits_data)
    store, norm = Store(tmp_path), request.param
    store.work.mkdir()
    model = digits_network.requires_grad_(False)
    case = Case(model, from_tensors(images, labels), (0.0, 1.0), norm, EPS[norm], 0, 16, store)
    ledger = clean_pass(case)
    correct = np.flatnonzero(ledger.correct(case.data.labels))
    name = NEAREST[norm]
    run_attack(case, ledger, name, bind(f"{name}:steps=30", norm=norm), correct)
    return case, ledger


def test_tiles_show_what_is_true(attacked, digits_network):
    case, ledger = attacked
    before = ledger.forwards.sum(), ledger.backwards.sum()
    tiles = make_gallery(case, ledger)
    own = list(NORMS).index(case.norm)
    correct = np.flatnonzero(ledger.correct(case.data.labels))
    distance = ledger.distance[:, own]
    kinds: dict[str, list[int]] = {}
    for tile in tiles:
        kinds.setdefault(tile.why, []).append(tile.index)
        assert tile.label == case.data.labels[tile.index] == tile.prediction
        original = case.data.read(np.array([tile.index]))[0].numpy()
        assert np.array_equal(tile.image, original)
        assert [shot.eps for shot in tile.shots] == sorted({shot.eps for shot in tile.shots})
        assert case.eps in [shot.eps for shot in tile.shots]
        for shot in tile.shots:
            # Everything said of an adversarial image is checked on the pixels shown.
            logits = digits_network(torch.from_numpy(np.asarray(shot.adversarial, np.float32))[None])[0]
            assert shot.prediction == int(logits.argmax())
            assert shot.confidence == pytest.approx(float(logits.softmax(0).max()), abs=1e-4)
            assert shot.fooled == (shot.prediction != tile.label)
            d = torch.from_numpy(shot.adversarial - original)[None].double()
            assert shot.distance == pytest.approx(float(NORMS[case.norm].size(d)), abs=1e-5)
            assert shot.distance <= shot.eps * (1 + 1e-5) + 1e-6
            if distance[tile.index] <= shot.eps:
                assert shot.fooled  # what the battery found within eps is never denied
    assert set(kinds) == {"smallest distance", "most confident mistake", "hardest to fool"}
    nearest = correct[np.argsort(distance[correct], kind="stable")]
    assert kinds["smallest distance"] == nearest[:EACH].tolist()
    assert set(kinds["hardest to fool"]) == set(nearest[-EACH:].tolist())
    assert all(ledger.fooled[kinds["most confident mistake"]])
    assert len({tile.index for tile in tiles}) == len(tiles)
    assert ledger.forwards.sum() > before[0]
    assert (ledger.backwards.sum() > before[1]) == (case.norm != "l0")


def test_no_eps_no_gallery(attacked):
    case, ledger = attacked
    without = Case(case.model, case.data, case.bounds, case.norm, None, 0, 16, case.store)
    assert make_gallery(without, ledger) == ()


def test_nothing_right_nothing_shown(digits_network, digits_data, tmp_path):
    images, labels = (t[:10] for t in digits_data)
    store = Store(tmp_path)
    store.work.mkdir()
    model = digits_network.requires_grad_(False)
    wrong = (model(images).argmax(1) + 1) % 10
    case = Case(model, from_tensors(images, wrong), (0.0, 1.0), "linf", 0.1, 0, 16, store)
    assert make_gallery(case, clean_pass(case)) == ()
