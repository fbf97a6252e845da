"""L-BFGS, Carlini-Wagner, DeepFool and DDN: what the conformance suite does not ask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from foolscope.attacks import cw, ddn, deepfool, lbfgs
from foolscope.errors import InputError
from foolscope.losses import margin
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.testing.affine import affine_problem
from foolscope.testing.models import Curved, random_images
from foolscope.testing.radial import radial_problem

pytestmark = pytest.mark.usefixtures("one_thread")

L2 = NORMS["l2"].size
ALL = [pytest.param(attack, id=attack.__name__) for attack in (lbfgs, cw, deepfool, ddn)]


@pytest.fixture(scope="module")
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    model, inputs = Curved().double().requires_grad_(False), random_images(24, dtype=torch.float64)
    return model, inputs, model(inputs).argmax(1)


@pytest.mark.parametrize("attack", ALL)
def test_pf4_pixels_at_exactly_0_or_1_move(attack):
    problem = affine_problem(64, box="active", norm="l2", dtype=torch.float64)
    binary = ((problem.inputs == 0) | (problem.inputs == 1)).flatten(1).all(1)
    x, y = problem.inputs[binary], problem.labels[binary]
    assert len(x) > 10
    found = attack(problem.model, x, y)
    assert bool((margin(problem.model(found), y) > 0).all())
    assert bool(((found != 0) & (x == 0)).flatten(1).any(1).all())
    assert bool(((found != 1) & (x == 1)).flatten(1).any(1).all())
    assert float((L2(found - x) / problem.distance[binary]).max()) < 1.1


@pytest.mark.parametrize("attack", ALL)
@pytest.mark.parametrize("targeted", [False, True])
def test_pf6_an_image_alone_gets_what_it_gets_in_a_batch(attack, targeted, problem):
    model, x, y = problem
    t = (y + 1) % 3 if targeted else None
    together = attack(model, x, y, targets=t)
    for i in range(0, len(x), 5):
        one = slice(i, i + 1)
        alone = attack(model, x[one], y[one], targets=None if t is None else t[one])
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", ALL)
def test_targets_are_reached(attack, problem):
    model, x, y = problem
    t = (y + 1) % 3
    found = attack(model, x, y, targets=t)
    assert float((model(found).argmax(1) == t).double().mean()) >= 0.9


@pytest.mark.parametrize("attack", ALL)
def test_passes_are_counted_for_each_image_alone(attack, problem):
    model, x, y = problem
    wrong = y.clone()
    wrong[3] = (y[3] + 1) % 3
    oracle = Oracle(model, x, wrong)
    attack(oracle, x, wrong)
    assert (int(oracle.forwards[3]), int(oracle.backwards[3])) == (1, 0)
    alone = Oracle(model, x[5:6], wrong[5:6])
    attack(alone, x[5:6], wrong[5:6])
    assert (int(oracle.forwards[5]), int(oracle.backwards[5])) == (int(alone.forwards[0]), int(alone.backwards[0]))


@pytest.mark.parametrize("attack", ALL)
def test_logits_times_a_power_of_two_change_no_bit(attack, problem):
    model, x, y = problem

    class Louder(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return model(images) * 2.0**12

    assert torch.equal(attack(model, x, y), attack(Louder(), x, y))


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        (cw, {"kappa": -1.0}),
        (cw, {"searches": 0}),
        (cw, {"step_size": 0.0}),
        (cw, {"norm": "linf"}),
        (ddn, {"gamma": 1.0}),
        (ddn, {"init_norm": 0.0}),
        (ddn, {"loss": "hinge"}),
        (deepfool, {"candidates": 1}),
        (deepfool, {"overshoot": -0.1}),
        (deepfool, {"norm": "l1"}),
        (lbfgs, {"steps": 0}),
        (lbfgs, {"searches": 0}),
    ],
)
def test_bad_numbers_are_refused(attack, options, problem):
    with pytest.raises(InputError, match=next(iter(options))):
        attack(*problem, **options)


# -- L-BFGS -----------------------------------------------------------------------------------------------------------


def by_scipy(model: nn.Module, x: Tensor, y: Tensor, t: Tensor) -> float:
    """The distance of Szegedy's attack by SciPy's L-BFGS-B: 20 bisections of the constant for one image."""
    low, high, constant, best = 0.0, np.inf, 1.0, np.inf
    start = x.flatten().numpy()

    def objective(at: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(at).view_as(x)[None].requires_grad_()
        value = constant * nn.functional.cross_entropy(model(leaf), t[None]) + (leaf - x).square().sum()
        return value.item(), torch.autograd.grad(value, leaf)[0].flatten().numpy()

    for _ in range(20):
        end = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(start)).x
        if int(model(torch.from_numpy(end).view_as(x)[None]).argmax()) == int(t):
            best, high = min(best, float(np.linalg.norm(end - start))), constant
        else:
            low = constant
        constant = constant * 8 if np.isinf(high) else (low + high) / 2
    return best


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_lbfgs_is_as_near_as_with_scipys_solver(loss):
    problem = affine_problem(6, (1, 6, 6), 3, "active", "l2", targeted=True, dtype=torch.float64)
    model = problem.model.requires_grad_(False)
    found = lbfgs(model, problem.inputs, problem.labels, targets=problem.targets, loss=loss, steps=600, searches=20)
    theirs = torch.tensor(
        [by_scipy(model, *one) for one in zip(problem.inputs, problem.labels, problem.targets, strict=True)]
    )
    ratio = L2(found - problem.inputs) / theirs
    assert float(ratio.max()) < 1.02
    assert float(ratio.median()) < 1.005


# -- Carlini-Wagner ---------------------------------------------------------------------------------------------------


def test_cw_leads_by_kappa_in_the_models_own_logits_and_hardly_more():
    problem = affine_problem(32, norm="l2", dtype=torch.float64)
    lead = -margin(problem.model(problem.inputs), problem.labels).detach()
    for kappa in (0.05, 0.2):
        found = cw(problem.model, problem.inputs, problem.labels, kappa=kappa)
        assert bool((margin(problem.model(found), problem.labels) > kappa).all())
        exact = problem.distance * (lead + kappa) / lead  # affine, the box inactive
        assert float((L2(found - problem.inputs) / exact).median()) < 1.01


def test_cw_out_of_reach_gives_the_image_back():
    problem = affine_problem(4, norm="l2")
    assert torch.equal(cw(problem.model, problem.inputs, problem.labels, kappa=1e6), problem.inputs)


# -- DeepFool ---------------------------------------------------------------------------------------------------------


def test_deepfool_overshoots_by_what_it_says_and_is_brought_back():
    problem = affine_problem(32, norm="l2", dtype=torch.float64)
    ratios = {}
    for search in (0, 4):
        found = deepfool(problem.model, problem.inputs, problem.labels, overshoot=0.05, search=search)
        ratios[search] = L2(found - problem.inputs) / problem.distance
    torch.testing.assert_close(ratios[0], torch.full_like(ratios[0], 1.05), rtol=1e-3, atol=0)
    assert float(ratios[4].max()) < 1.001


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_takes_the_nearest_of_many_classes(norm):
    problem = affine_problem(32, classes=4, norm=norm, dtype=torch.float64)
    found = deepfool(problem.model, problem.inputs, problem.labels, norm=norm)
    assert float((NORMS[norm].size(found - problem.inputs) / problem.distance).max()) < 1.001


def test_deepfool_pays_a_pass_for_each_candidate_and_no_more():
    problem = affine_problem(16, classes=4, norm="l2", dtype=torch.float64)
    for candidates in (2, 4, 10):
        oracle = Oracle(problem.model, problem.inputs, problem.labels)
        deepfool(oracle, problem.inputs, problem.labels, candidates=candidates, search=0, steps=1)
        rivals = min(candidates, 4) - 1
        assert set(oracle.backwards.tolist()) == {rivals}
        assert set(oracle.forwards.tolist()) == {1 + rivals + 1}


# -- DDN --------------------------------------------------------------------------------------------------------------


def test_ddn_first_goes_as_far_as_its_first_norm():
    problem = radial_problem(16, dtype=torch.float64)
    seen = []

    class Watched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return problem.model(images)

    ddn(Watched(), problem.inputs, problem.labels, steps=3, init_norm=0.1, gamma=0.5)
    radii = [L2(x - problem.inputs) for x in seen[2:]]
    torch.testing.assert_close(radii[0], torch.full_like(radii[0], 0.1))
    fooled = problem.model(seen[2]).argmax(1) != problem.labels
    assert bool(fooled.any())
    assert not bool(fooled.all())
    torch.testing.assert_close(radii[1], torch.where(fooled, 0.05, 0.15).double())


def test_ddn_comes_as_far_as_its_radius_where_the_box_takes_away():
    """Half of the pixels have no room the way that they should go: the others make up for them, from the first step on."""
    model = nn.Linear(4, 2).double()
    model.weight.data = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]).double()
    model.bias.data = torch.tensor([20.0, 0.0]).double()  # out of reach: the radius grows from step to step
    images, seen = torch.tensor([[0.2, 0.2, 1.0, 1.0]]).double(), []
    model.register_forward_pre_hook(lambda part, args: seen.append(args[0].detach().clone()))
    ddn(model, images, torch.tensor([0]), steps=60, init_norm=0.1, gamma=0.01)
    ratios = [float(L2(x - images)) / (0.1 * 1.01**step) for step, x in enumerate(seen[2:])]
    assert ratios[0] == pytest.approx(1, rel=1e-6)  # settled; with nothing made up for it would be 0.41
    assert ratios[3:] == pytest.approx(
        [1] * 57, rel=0.04
    )  # carried over, it is a step late while the share of the box falls
    assert ratios[-1] == pytest.approx(1, rel=0.02)


def test_ddn_keeps_a_pixel_of_no_slope(problem):
    affine = affine_problem(8, norm="l2", dtype=torch.float64)  # one pixel in sixteen has no weight
    found = ddn(affine.model, affine.inputs, affine.labels)
    assert torch.equal(found.flatten(1)[:, ::16], affine.inputs.flatten(1)[:, ::16])


def test_cw_stays_finite_in_half_precision_where_a_pixel_has_no_gradient():
    """The squares' mean of such a pixel begins at the least that the dtype holds, not at 0, which would make it 0 / 0."""
    model = torch.nn.Linear(3, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    model, finite = model.half(), []
    model.register_forward_pre_hook(lambda part, args: finite.append(bool(torch.isfinite(args[0]).all())))
    cw(model, torch.tensor([[0.7, 0.4, 0.5]], dtype=torch.float16), torch.tensor([0]), steps=30)
    assert len(finite) > 30
    assert all(finite)


def test_cw_with_more_searches_than_steps_still_takes_its_steps():
    """A search without a step says nothing of its constant."""
    model, inputs = Curved(), random_images(12)
    labels = model(inputs).argmax(1)
    oracle = Oracle(model, inputs, labels)
    found = cw(oracle, inputs, labels, steps=40, searches=10**6)
    assert (model(found).argmax(1) != labels).all()
    assert (oracle.backwards > 6).all()
