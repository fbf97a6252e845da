from __future__ import annotations

import pytest
import torch

from foolscope import rng
from foolscope.attacks import hybrid, pgd, square
from foolscope.attacks._flips import flip, window
from foolscope.errors import InputError
from foolscope.losses import margin
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("height", "width", "share", "high", "wide"), [
    (6, 6, 0.25, 3, 3), (5, 9, 0.2, 3, 3), (3, 12, 0.5, 3, 6), (1, 10, 0.3, 1, 3), (4, 4, 1e-6, 1, 1), (4, 4, 1.0, 4, 4),
])  # fmt: skip
def test_windows_are_whole_rectangles_that_reach_every_place(height, width, share, high, wide):
    places = window((2000, 3, height, width), share, rng.uniform(0, torch.arange(2000), 0, (2,)))
    assert places.shape == (2000, 3, high * wide)
    seen = torch.zeros(2000, 3 * height * width, dtype=torch.bool)
    seen = seen.scatter(1, places.flatten(1), True).view(2000, 3, height, width)
    assert bool((seen == seen[:, :1]).all())  # the same in each channel
    assert bool((seen[:, 0].any(2).sum(1) == high).all())
    assert bool((seen[:, 0].any(1).sum(1) == wide).all())
    assert bool((seen[:, 0].sum((1, 2)) == high * wide).all())
    assert len(places[:, 0, 0].unique()) == (height - high + 1) * (width - wide + 1)


def test_a_flip_is_kept_only_if_the_margin_rises_and_stays_at_the_corners():
    model, inputs = Curved().double().requires_grad_(False), random_images(20, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    oracle = Oracle(model, inputs, labels)
    before = margin(model(inputs), labels)
    for shares in ([0.2] * 3, [0.2] * 3 + [0.05] * 20):
        found = flip(oracle, oracle.rows_all, inputs, 0.02, shares, seed=0, first=1)
        now = margin(model(found.x), labels)
        assert bool((now >= before).all())
        assert torch.equal(found.fooled, now > 0)
        assert torch.allclose(now, found.loss / oracle._scale[:, 0], rtol=1e-9)
        moved = found.x - inputs
        corner = torch.where(moved > 0, (inputs + 0.02).clamp(0, 1), (inputs - 0.02).clamp(0, 1))
        assert torch.allclose(found.x[moved != 0], corner[moved != 0])
        before = now
    assert bool((moved.flatten(1) != 0).any(1).all())


def test_aimed_gradients_lead_to_the_class_but_any_wrong_class_counts():
    model, inputs = Curved().double(), random_images(20, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    aims = (labels + 1 + torch.arange(20) % (model(inputs).shape[1] - 1)) % model(inputs).shape[1]
    oracle = Oracle(model.requires_grad_(False), inputs, labels)
    answer = oracle.aimed(aims).gradient(inputs, oracle.rows_all)
    x = inputs.clone().requires_grad_()
    logits = model(x)
    lead = logits.gather(1, aims[:, None]) - logits.gather(1, labels[:, None])
    expected = torch.autograd.grad(lead.sum(), x)[0]
    ratio = answer.gradient.flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert torch.allclose(answer.gradient, expected * ratio.view(-1, 1, 1, 1))
    assert torch.allclose(answer.margin, margin(logits, labels) * ratio)
    towards = oracle.towards(aims)
    wanted, same = (o.gradient(inputs, o.rows_all).gradient for o in (towards, towards.aimed(labels)))
    assert torch.equal(wanted, same)  # a target is not to be aimed away from
    assert int(oracle.backwards.sum()) == 3 * 20  # the counts are shared


def test_pairs_of_image_and_class_share_what_is_known_and_counted():
    model, inputs = Curved().double().requires_grad_(False), random_images(20, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    oracle = Oracle(model, inputs, labels, index=torch.arange(20) + 7)
    rows = torch.tensor([3, 3, 11])
    classes = (labels[rows] + torch.tensor([1, 2, 1])) % model(inputs).shape[1]
    pairs = oracle.paired(rows, classes)
    x = (inputs[rows] + 0.01).clamp(0, 1)
    answer = pairs.gradient(x, pairs.rows_all)
    for k in range(3):
        aims = torch.zeros(20, dtype=torch.int64).index_fill(0, rows[k : k + 1], int(classes[k]))
        alone = oracle.aimed(aims).gradient(x[k : k + 1], rows[k : k + 1])
        assert torch.allclose(answer.gradient[k], alone.gradient[0], rtol=1e-9)
        assert torch.allclose(answer.margin[k], alone.margin[0], rtol=1e-9)
    assert torch.equal(pairs.index, rows + 7)
    assert oracle.backwards[[3, 11]].tolist() == [4, 2]  # in pairs and alone
    assert torch.equal(pairs.backwards, oracle.backwards[rows])
    assert torch.equal(pairs.forwards, oracle.forwards[rows])
    assert torch.equal(pairs.state, oracle.state[rows])
    targeted = oracle.towards(classes[:1].expand(20)).paired(rows, labels[rows])
    assert torch.equal(targeted.targets, classes[:1].expand(3))


def test_all_climbs_of_an_image_end_when_one_has_fooled_it():
    """Only the second rival of three can be reached; climbs to the others leave what it depends on where they began."""
    model = torch.nn.Linear(3, 4).double().requires_grad_(False)
    model.weight.data = torch.diag(torch.tensor([0.1, 2.0, 0.1], dtype=torch.float64))
    model.weight.data = torch.cat([torch.zeros(1, 3, dtype=torch.float64), model.weight.data])
    model.bias.data = -torch.tensor([0.0, 0.1, 0.2, 0.3], dtype=torch.float64) - model.weight.data.sum(1) / 2
    inputs, labels = torch.full((64, 3), 0.5, dtype=torch.float64), torch.zeros(64, dtype=torch.int64)
    oracle = Oracle(model, inputs, labels)
    assert bool((model(hybrid(oracle, inputs, labels, eps=0.2, steps=10, restarts=3, rounds=0)).argmax(1) == 2).all())
    first = oracle.backwards <= 2  # their first climb began at a corner where they are fooled, or went there
    assert 0 < int(first.sum()) < 64
    assert bool((oracle.backwards[~first] >= 10 + 2).all())
    assert bool((oracle.backwards[~first] <= 10 + 2 * 3).all())


@pytest.mark.parametrize("batch", [1, 5, 8, 1000])
def test_how_many_pairs_go_at_once_changes_no_result_and_no_count(batch):
    model, inputs = Curved().double().requires_grad_(False), random_images(30, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    found = {}
    for size in (16, batch):
        oracle = Oracle(model, inputs, labels, batch=size)
        x = hybrid(oracle, inputs, labels, eps=0.02, steps=6, restarts=3, finish=5, rounds=0)
        found[size] = x, oracle.forwards, oracle.backwards
        fooled = model(x).argmax(1) != labels
        assert 0 < int(fooled.sum()) < 30
    assert torch.allclose(found[16][0], found[batch][0], rtol=0, atol=1e-9)
    assert torch.equal(found[16][1], found[batch][1])
    assert torch.equal(found[16][2], found[batch][2])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_it_fools_whom_pgd_and_square_fool_and_more(norm):
    model, inputs = Curved().requires_grad_(False), random_images(200, seed=3)
    labels = model(inputs).argmax(1)
    eps = {"linf": 0.03, "l2": 0.3, "l1": 2.0}[norm]
    ours = model(hybrid(model, inputs, labels, norm=norm, eps=eps)).argmax(1) != labels
    theirs = model(pgd(model, inputs, labels, norm=norm, eps=eps, steps=40)).argmax(1) != labels
    if norm == "linf":
        theirs |= model(square(model, inputs, labels, eps=eps, steps=200)).argmax(1) != labels
    assert 0.2 < float(theirs.float().mean()) < 0.98
    assert not bool((theirs & ~ours).any())


def test_flips_find_what_gradients_cannot_see():
    """A staircase has no gradient at all."""
    smooth = Curved().requires_grad_(False)
    inputs = random_images(60, seed=9)

    def stepped(x: torch.Tensor) -> torch.Tensor:
        return smooth((x * 64).round() / 64)

    model = torch.nn.Module()
    model.forward = stepped  # type: ignore[method-assign]
    labels = model(inputs).argmax(1)
    alone, with_flips = (
        model(hybrid(model, inputs, labels, eps=0.08, rounds=rounds)).argmax(1) != labels for rounds in (0, 6)
    )
    assert int(with_flips.sum()) > int(alone.sum())


@pytest.mark.parametrize("wrong", [{"rounds": -1}, {"flips": 0}, {"restarts": 0}, {"steps": 0}, {"norm": "l0"}])
def test_bad_numbers(wrong):
    with pytest.raises(InputError):
        hybrid(Curved(), random_images(2), torch.zeros(2, dtype=torch.int64), **{"eps": 0.1, **wrong})
