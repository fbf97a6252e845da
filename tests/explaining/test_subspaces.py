"""Cross-entropy's identity and its blind spots, and what the loss geometry makes of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import foolscope
from foolscope.explaining.loss_geometry import conclude, look
from foolscope.explaining.race import LOSSES, drawn_targets, race
from foolscope.explaining.smoothing import gaussian_blur, total_variation
from foolscope.explaining.subspaces import blind_gaps, decomposed, subspace
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_identity_holds_to_rounding():
    model, x = Curved(classes=7).double(), random_images(30, dtype=torch.float64)
    direct, summed = decomposed(Oracle(model, x, torch.arange(30) % 7))
    size = direct.flatten(1).abs().amax(1)
    assert ((direct - summed).flatten(1).abs().amax(1) / size).max() < 1e-13
    leaf = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(leaf), torch.arange(30) % 7, reduction="sum")
    torch.testing.assert_close(direct, torch.autograd.grad(loss, leaf)[0])


def test_gradients_die_where_the_paper_s_arithmetic_says():
    """Gaps 17 and 104 in float32, 37.5 and 745.5 in float64, measured for design/papers.md C.1; two classes."""
    own, every = blind_gaps(torch.float32)
    assert own == pytest.approx(17, abs=0.5)
    assert every == pytest.approx(104, abs=0.5)
    own, every = blind_gaps(torch.float64)
    assert own == pytest.approx(37, abs=0.6)
    assert every == pytest.approx(745.5, abs=0.5)


def test_subspaces_partition():
    p = torch.rand(200, 5, dtype=torch.float64).pow(20)
    p = p / p.sum(1, keepdim=True)
    t = torch.arange(200) % 5
    where = subspace(p, t)
    assert set(where.tolist()) == {1, 2, 3}
    assert torch.equal(where == 3, p.gather(1, t[:, None]).squeeze(1) > 0.99)
    assert torch.equal(where == 2, p.amax(1) <= 0.99)


class Scaled(nn.Module):
    """Logits (gap, 0, 0) with the gap growing from image to image."""

    def forward(self, x):
        return torch.stack([x[:, 0], 0.1 * x[:, 1], -0.1 * x[:, 1] * x[:, 0].detach() / 50], 1)


def test_blind_and_misled_images_are_counted():
    gaps = torch.tensor([1.0, 5.0, 10.0, 30.0, 60.0, 150.0, 300.0])
    x = torch.stack([gaps, torch.zeros(7)], 1)
    found = conclude(
        {k: v.numpy() for k, v in _counted(Oracle(Scaled(), x, torch.zeros(7, dtype=torch.int64), bounds=None)).items()}
    )
    # Beyond 104 nothing is left; between 17 and 104 the own logit's part, the only one along the first coordinate, is.
    assert found.series["state"] == [0, 0, 0, 1, 1, 2, 2]
    assert found.estimate == pytest.approx(4 / 7)
    assert found.interval[0] < 4 / 7 < found.interval[1]
    assert found.series["confident"] == pytest.approx(5 / 7)


def _counted(oracle):
    return look(oracle) | {"forwards": oracle.forwards, "backwards": oracle.backwards}


def test_a_scaled_network_is_said_to_be_blind(digits_network, digits_data):
    class Loud(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = digits_network

        def forward(self, x):
            return 1000 * self.model(x)

    plain = foolscope.explain(digits_network, digits_data, only="loss_geometry", samples=60)
    loud = foolscope.explain(Loud(), digits_data, only="loss_geometry", samples=60)
    assert plain.record["loss_geometry"]["estimate"] < 0.2
    assert loud.record["loss_geometry"]["estimate"] > 0.9
    assert "exactly zero" in loud.record["loss_geometry"]["finding"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_equal_perturbation_has_its_size(loss):
    model, x = Curved().double(), random_images(20, dtype=torch.float64, walled=0.0) * 0.2 + 0.4
    oracle = Oracle(model, x, model(x).argmax(1))
    aimed = oracle.towards(drawn_targets(oracle, 0))
    trace = race(aimed, loss, footing="perturbation", step_size=0.01, steps=4)
    torch.testing.assert_close(trace.l2[:, 1], torch.full((20,), 0.01, dtype=torch.float64))
    assert (trace.l2[:, 4] <= 0.04 + 1e-12).all()
    assert (trace.target_probability + trace.own_probability <= 1 + 1e-12).all()
    if loss == "ce_sign":  # all components alike: the least linf for its l2
        assert trace.linf[:, 1] == pytest.approx(0.01 / 48**0.5, rel=1e-6)


def test_the_race_follows_the_attack():
    """The first iterate at the target is what `equal_footing` returns."""
    from foolscope.attacks.equal_footing import equal_footing

    model, x = Curved().double(), random_images(30, dtype=torch.float64)
    oracle = Oracle(model, x, model(x).argmax(1))
    targets = drawn_targets(oracle, 1)
    aimed = oracle.towards(targets)
    trace = race(aimed, "m_logit", footing="perturbation", step_size=0.02, steps=30)
    found = equal_footing(model, x, oracle.labels, targets=targets, loss="m_logit", step_size=0.02, steps=30)
    there = trace.reached.any(1)
    assert there.sum() > 10
    at = trace.reached.int().argmax(1)
    torch.testing.assert_close(
        trace.l2[there].gather(1, at[there, None]).squeeze(1), (found - x)[there].flatten(1).norm(dim=1)
    )


def test_targets_are_wrong_and_keyed_by_the_index():
    model, x = Curved(classes=5), random_images(200)
    y = torch.arange(200) % 5
    drawn = drawn_targets(Oracle(model, x, y), 0)
    assert (drawn != y).all()
    assert torch.bincount((drawn - y) % 5, minlength=5)[1:].min() > 25
    later = Oracle(model, x[100:], y[100:], index=torch.arange(100, 200))
    assert torch.equal(drawn_targets(later, 0), drawn[100:])


def test_total_variation_of_an_edge_in_closed_form():
    """A step of height 1 between halves of width L: each moves by weight / L, until they meet."""
    edge = torch.cat([torch.zeros(1, 1, 6, 8), torch.ones(1, 1, 6, 8)], 3).double()
    found = total_variation(edge, 0.8, steps=3000)
    torch.testing.assert_close(found[..., :8], torch.full((1, 1, 6, 8), 0.1).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found[..., 8:], torch.full((1, 1, 6, 8), 0.9).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.mean(), edge.mean())


def test_smoothing_leaves_constants_and_takes_noise():
    flat = torch.full((2, 3, 9, 9), 0.3)
    noisy = flat + 0.1 * torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    for smooth in (lambda x: gaussian_blur(x, 1.0), lambda x: total_variation(x, 0.1)):
        torch.testing.assert_close(smooth(flat), flat)
        assert smooth(noisy).std() < 0.5 * noisy.std()
