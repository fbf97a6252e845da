from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope.reproducing.measuring import (
    Images,
    confidence,
    error,
    fgsm,
    fooled,
    gaussian,
    linear_distance,
    mean_interval,
    mean_where,
    outputs,
    perturb,
    rounding,
    rounding_notes,
    wrong,
)


@pytest.fixture
def line() -> nn.Module:
    """Logits (x_1, x_2)."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
    return model


IMAGES = Images(
    torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0, 0])
)  # the last one is wrong already


def test_fgsm_moves_every_image_that_is_right_and_knows_no_box(line: nn.Module) -> None:
    moved = perturb(line, IMAGES, fgsm(0.45))
    assert torch.allclose(moved, torch.tensor([[0.15, 0.85], [0.45, 0.55], [0.2, 0.8]]))
    assert float(perturb(line, IMAGES, fgsm(0.95)).min()) < 0
    boxed = perturb(line, IMAGES, fgsm(0.95), bounds=(0.0, 1.0))
    assert (float(boxed.min()), float(boxed.max())) == (0.0, 1.0)


def test_errors_count_all_images_and_confidences_only_those_that_the_attack_turned(line: nn.Module) -> None:
    found = fooled(line, IMAGES, fgsm(0.3))
    assert found.clean_error == pytest.approx(1 / 3)
    assert found.fgsm_error == pytest.approx(2 / 3)
    assert found.confidence_on_mistakes == pytest.approx(float(torch.sigmoid(torch.tensor(0.4))))  # (0.3, 0.7)
    clean = torch.sigmoid(torch.tensor([0.2, 0.8])).mean()
    assert found.confidence_on_clean == pytest.approx(float(clean))


def test_the_linear_distance_is_the_margin_over_the_l1_norm_of_its_gradient(line: nn.Module) -> None:
    assert linear_distance(line, IMAGES, batch=2).tolist() == pytest.approx([0.1, 0.4, -0.3])


def test_batches_change_nothing(line: nn.Module) -> None:
    assert torch.equal(perturb(line, IMAGES, fgsm(0.3), batch=1), perturb(line, IMAGES, fgsm(0.3)))
    assert torch.equal(outputs(line, IMAGES.inputs, batch=2), outputs(line, IMAGES.inputs))


def test_targets_are_reached(line: nn.Module) -> None:
    moved = perturb(line, IMAGES, fgsm(0.45), targets=torch.tensor([1, 1, 1]))
    assert outputs(line, moved).argmax(1).tolist() == [1, 1, 1]


def test_logits_that_are_not_numbers_are_wrong() -> None:
    logits = torch.tensor([[torch.nan, 0.0], [1.0, 0.0]])
    assert wrong(logits, torch.tensor([0, 0])).tolist() == [True, False]
    assert error(logits, torch.tensor([0, 0])) == 0.5


def test_means_over_nothing_are_not_numbers() -> None:
    assert mean_where(torch.ones(2), torch.tensor([False, True])) == 1.0
    assert mean_where(torch.ones(2), torch.tensor([False, False])) != mean_where(
        torch.ones(2), torch.tensor([False, False])
    )


def test_the_models_mode_and_gradients_are_given_back(line: nn.Module) -> None:
    line.train()
    outputs(line, IMAGES.inputs)
    assert line.training
    assert all(p.requires_grad and p.grad is None for p in line.parameters())


def test_rubbish_is_standard_normal_and_keyed_by_its_number() -> None:
    noise = gaussian((5, 4), 5000)
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    assert torch.equal(noise[:3], gaussian((5, 4), 3))


def test_an_interval_of_a_mean_covers_it() -> None:
    draws: Tensor = gaussian((), 10_000)
    low, high = mean_interval(draws)
    assert low < 0.0 < high
    assert high - low == pytest.approx(2 * 1.96 / 100, rel=0.05)


def test_confidence_is_the_predicted_classs_probability() -> None:
    assert float(confidence(torch.tensor([[0.0, 0.0]]))) == 0.5


def test_rounding_is_told_apart_from_resistance() -> None:
    confident = nn.Linear(
        2, 3, bias=False
    )  # in float32 the label's probability is 1, and what is left of the gradient is that of the rest
    with torch.no_grad():
        confident.weight.copy_(torch.tensor([[40.0, 0.0], [-20.0, 20.0], [-40.0, -40.0]]))
    images = Images(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    found = fooled(confident, images, fgsm())
    values = rounding(confident, images, found)
    assert values["certain_in_float32"] == values["certain_among_resisting"] == 1.0
    told = {"fgsm_error": 0.5, **values, "fgsm_error_margin_loss": 0.9}
    assert "100.0% of the images that resist" in rounding_notes(told)[0]
    assert rounding_notes({**told, "fgsm_error_margin_loss": 0.51}) == ()
