"""FMN's runs: how they share the steps, that they help, and that an image's answer is its own."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from foolscope.attacks import ATTACKS, NEAREST, bind, fmn
from foolscope.attacks.fmn import CYCLES, NORMS, run_plan
from foolscope.errors import InputError
from foolscope.norms import NORMS as ROWS
from foolscope.oracle import Oracle


def images(n=12):
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, 5)).double().eval()
    for parameter in model.parameters():
        parameter.data *= 3
    x = torch.rand(n, 1, 6, 6, generator=generator, dtype=torch.float64)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("steps", [1, 19, 20, 100, 187, 188, 500, 2000])
@pytest.mark.parametrize("rivals", [1, 3, 9])
@pytest.mark.parametrize("norm", NORMS)
def test_the_runs_use_all_steps_and_begin_at_the_image(steps, rivals, norm):
    plan = run_plan(steps, rivals, CYCLES[norm])
    assert sum(run.steps for run in plan) == steps
    assert plan[0].rival == 0
    from_the_image = [run.rival for run in plan if run.rival is not None]
    assert from_the_image == list(range(len(from_the_image)))
    assert len(from_the_image) <= rivals
    assert min(run.steps for run in plan) > 0


@pytest.mark.parametrize("norm", NORMS)
def test_images_that_are_wrong_already_change_nothing_for_the_others(norm):
    model, x, y = images()
    alone = fmn(model, x, y, norm=norm, steps=150)
    wrong = y.clone()
    wrong[::3] = (wrong[::3] + 1) % 5
    mixed = fmn(model, x, wrong, norm=norm, steps=150)
    right = wrong == y
    assert torch.equal(mixed[~right], x[~right])
    torch.testing.assert_close(mixed[right], alone[right], rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_more_runs_find_nearer_images_never_farther_ones_by_much(norm):
    model, x, y = images(40)
    few, many = (ROWS[norm].size(fmn(model, x, y, norm=norm, steps=steps) - x) for steps in (19, 600))
    assert bool((many <= few * 1.02).all())
    assert float((many < few * 0.99).double().mean()) > 0.1


@pytest.mark.parametrize("norm", NORMS)
def test_images_whose_runs_agree_leave_and_keep_what_was_found(norm):
    model, x, y = images(40)
    steps, sizes, passes = 300, {}, {}
    for agreement in (0.0, 0.3, 0.999):
        oracle = Oracle(model, x, y)
        sizes[agreement] = ROWS[norm].size(fmn(oracle, x, y, norm=norm, steps=steps, agreement=agreement) - x)
        passes[agreement] = oracle.backwards
    assert bool((passes[0.0] == steps).all())
    assert int(passes[0.3].min()) < steps  # somebody left ...
    # ... and leaving changes nothing for those that stay, nor takes away what was found until then.
    stayed = passes[0.3] == steps
    torch.testing.assert_close(sizes[0.3][stayed], sizes[0.0][stayed], rtol=0, atol=1e-9)
    assert bool((sizes[0.3] >= sizes[0.0] - 1e-9).all())
    assert bool((passes[0.999] <= passes[0.3]).all())
    assert bool(torch.isfinite(sizes[0.999]).all())
    assert bool((sizes[0.999] > 0).all())


def test_nobody_leaves_on_a_first_find(monkeypatch):
    """Two runs from the image that find nothing, then two from afar: the first of these has nothing to agree with."""
    model, x, y = images(20)
    module, seen = importlib.import_module("foolscope.attacks.fmn"), []
    shrink = module._shrink

    def blind(oracle, rows, norm, way, start, eps, nearest, *rest):
        seen.append(len(rows))
        if not way.reach:
            return start, torch.ones_like(nearest.size), torch.full_like(nearest.size, torch.inf)
        return shrink(oracle, rows, norm, way, start, eps, nearest, *rest)

    monkeypatch.setattr(module, "_shrink", blind)
    fmn(model, x, y, steps=60, agreement=0.9)
    assert seen == [20] * 4


@pytest.mark.parametrize("norm", ["l2", "l1", "l0"])
def test_nobody_leaves_after_the_last_run(norm):
    model, x, y = images(20)
    oracles = [Oracle(model, x, y) for _ in range(2)]
    found = [fmn(o, x, y, norm=norm, steps=60, agreement=a) for o, a in zip(oracles, (0.0, 0.9), strict=True)]
    assert torch.equal(*found)
    assert torch.equal(*(o.forwards for o in oracles))


@pytest.mark.parametrize("agreement", [-0.1, 1.0])
def test_an_agreement_is_a_share(agreement):
    model, x, y = images()
    with pytest.raises(InputError, match="agreement: expected"):
        fmn(model, x, y, agreement=agreement)


def test_targets_are_kept_through_all_runs():
    model, x, y = images()
    targets = (y + 2) % 5
    oracle = Oracle(model, x, y, targets=targets)
    found = fmn(oracle, oracle.inputs, oracle.labels, norm="l2", steps=300)
    moved = (found != x).flatten(1).any(1)
    assert bool(moved.any())
    assert torch.equal(model(found).argmax(1)[moved], targets[moved])


def test_the_best_of_each_norm_is_one_of_its_rows_and_binds_without_a_norm():
    assert set(NEAREST) == set(ROWS)
    for norm, name in NEAREST.items():
        assert norm in ATTACKS[name].norms
        bind(name)
