"""Predicted beside measured: equal on affine networks, told in words, independent of the batch, on networks with attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import foolscope
from foolscope.explaining.linear_response import conclude, look
from foolscope.explaining.ray import RESOLUTION
from foolscope.oracle import Oracle
from foolscope.testing.affine import affine_problem
from foolscope.testing.models import Curved, random_images


def of(model: nn.Module, inputs: Tensor, labels: Tensor) -> Oracle:
    return Oracle(model.requires_grad_(False), inputs, labels, bounds=None)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 5])
def test_on_an_affine_network_the_prediction_is_the_measurement(norm: str, classes: int) -> None:
    problem = affine_problem(24, classes=classes, dtype=torch.float64)
    seen = look(of(problem.model, problem.inputs, problem.labels), norm)
    predicted, measured = seen["predicted"].numpy(), seen["measured"].numpy()
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(measured, predicted, rtol=1.01 * RESOLUTION)
    assert (seen["label"] == seen["predicted_label"]).all()
    assert not seen["back"].any()
    np.testing.assert_allclose(seen["reach"], 8 * predicted, rtol=1e-6)  # to the end of the grid
    if classes == 2 and norm != "l1":  # one rival: the ray is the shortest way
        exact = affine_problem(24, classes=2, norm=norm, dtype=torch.float64)
        np.testing.assert_allclose(
            look(of(exact.model, exact.inputs, exact.labels), norm)["predicted"], exact.distance, rtol=1e-6
        )


def test_an_image_does_not_notice_its_batch() -> None:
    model = Curved(4).double()
    inputs = random_images(9, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    whole = look(of(model, inputs, labels), "l2")
    alone = look(of(model, inputs[4:5], labels[4:5]), "l2")
    for key, value in alone.items():
        torch.testing.assert_close(value, whole[key][4:5], rtol=1e-6, atol=1e-9)


def test_flat_images_have_no_prediction() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            t = x.flatten(1)[:, :1]
            lit = torch.relu(t - 0.5)
            return torch.cat([torch.ones_like(t), 2 * lit], 1)

    inputs = torch.tensor([[0.2], [0.6]])
    seen = look(of(Half(), inputs, torch.zeros(2, dtype=torch.int64)), "l2")
    assert torch.isinf(seen["predicted"][0])
    assert seen["rank"].tolist() == [0, 2]
    assert float(seen["predicted"][1]) == pytest.approx(0.4, rel=1e-5)
    assert float(seen["measured"][1]) == pytest.approx(0.4, rel=2 * RESOLUTION)


def planted(n: int = 200, ratio: float = 0.8) -> dict[str, np.ndarray]:
    predicted = np.random.default_rng(0).lognormal(size=n)
    return {
        "predicted": predicted,
        "rank": np.where(np.arange(n) % 10, 2, 3),
        "predicted_label": np.ones(n, int),
        "gap": predicted,
        "gain": np.ones(n),
        "measured": ratio * predicted,
        "label": np.where(np.arange(n) % 4, 1, 2),
        "back": np.arange(n) % 5 == 0,
        "reach": predicted / 2,
        "forwards": np.full(n, 37),
        "backwards": np.ones(n, int),
    }


def test_the_finding_says_what_was_planted() -> None:
    found = conclude(planted(), "l2")
    assert found.estimate == pytest.approx(0.8)
    assert found.interval == pytest.approx((0.8, 0.8))
    assert found.cost == 38
    assert found.series["correlation"] == 1.0
    assert found.series["first_rank"]["2"] == pytest.approx(0.9)
    for words in (
        "L2 gradient",
        "0.80 (95% interval 0.80 to 0.80)",
        "90% of the images",
        "on 75%",
        "20.0% of",
        "0.50 of",
    ):
        assert words in found.finding


def test_images_that_never_cross_are_counted_and_not_made_up() -> None:
    seen = planted()
    seen["measured"] = np.where(np.arange(200) < 150, np.inf, seen["measured"])
    found = conclude(seen, "linf")
    assert found.estimate is None
    assert "not known" in found.finding
    assert found.series["not_crossed"] == 0.75
    assert found.series["measured"][:150] == [None] * 150
    none = conclude(planted() | {"predicted": np.full(200, np.inf)}, "linf")
    assert none.n == 0
    assert "no image" in none.finding


class Attentive(nn.Module):
    """Attention over the rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 16), nn.Linear(128, 10)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.embed(x[:, 0])
        return self.head((rows + self.attention(rows, rows, rows, need_weights=False)[0]).flatten(1))


def test_a_network_with_attention(digits_data: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model = Attentive().eval()
    images = digits_data[0][:60]
    labels = model(images).argmax(1)
    entry = foolscope.explain(model, (images, labels), only="linear_response", norm="l2", eps=0.5).record[
        "linear_response"
    ]
    assert entry["n"] == 60
    assert entry["series"]["correlation"] > 0.9
    assert entry["estimate"] == pytest.approx(1, abs=0.1)


def test_l0_is_said_to_have_no_ray(digits_network: nn.Module, digits_data: tuple[Tensor, Tensor]) -> None:
    record = foolscope.explain(digits_network, digits_data, only="linear_response", norm="l0", eps=3, samples=20).record
    assert "no direction to follow in l0" in record["linear_response"]["finding"]
