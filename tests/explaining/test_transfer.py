from __future__ import annotations

import html
import json

import numpy as np
import pytest
import torch
from torch import nn

import foolscope
from foolscope.attacks import bind
from foolscope.errors import InputError
from foolscope.explaining.transfer import transfer_matrix
from foolscope.intervals import wilson
from foolscope.report.explanations.transfer import section

pytestmark = pytest.mark.usefixtures("one_thread")


def linear(weight) -> nn.Module:
    model = nn.Linear(2, 2, bias=False)
    model.weight.data.copy_(torch.tensor(weight))
    return model


ALONG = linear([[1.0, 0.0], [-1.0, 0.0]])  # class 0 where x_0 > 0, else 1
ACROSS = linear([[0.0, 1.0], [0.0, -1.0]])  # class 0 where x_1 > 0, else 1
X = torch.tensor([[0.1, 0.1], [0.1, 0.4], [0.4, 0.1], [0.4, 0.4]])
Y = torch.zeros(4, dtype=torch.int64)


def test_steps_that_change_one_coordinate_fool_one_model():
    """l2 steps follow each model's own axis: the matrix is diagonal. A step of 0.2 crosses where the coordinate is 0.1."""
    found = transfer_matrix({"a": ALONG, "b": ACROSS}, X, Y, bind("fgsm:norm=l2,eps=0.2"), bounds=None)
    np.testing.assert_array_equal(found.fooled, [[2, 0], [0, 2]])
    np.testing.assert_allclose(found.size, 0.2, rtol=1e-5)
    assert found.interval(0, 0) == wilson(2, 4)
    assert found.record()["interval"][0][1] == list(wilson(0, 4))


def test_the_same_model_twice_agrees_with_itself():
    found = transfer_matrix({"a": ALONG, "b": ALONG}, X, Y, bind("fgsm:norm=l2,eps=0.2"), bounds=None)
    assert (found.fooled == 2).all()
    assert (found.both_wrong == 2).all()
    assert (found.agreeing == 2).all()


def test_images_that_one_model_gets_wrong_are_left_out_for_all():
    x = torch.cat([X, torch.tensor([[-0.1, 0.4]])])
    found = transfer_matrix(
        {"a": ALONG, "b": ACROSS}, x, torch.zeros(5, dtype=torch.int64), bind("fgsm:eps=0.2"), bounds=None
    )
    assert found.n == 4


def test_targeted_counts_the_target_alone(digits_network, digits_data):
    x, y = digits_data[0][:100], digits_data[1][:100]
    attack = bind("pgd:eps=0.2,steps=10,early_stop=False")
    aimed = transfer_matrix({"a": digits_network, "b": digits_network}, x, y, attack, targeted=True)
    free = transfer_matrix({"a": digits_network, "b": digits_network}, x, y, attack)
    assert aimed.targeted
    assert (aimed.fooled < free.fooled).all()
    assert (aimed.fooled <= aimed.both_wrong.diagonal()).all()


def test_the_batch_size_does_not_matter(digits_network, digits_data):
    x, y = digits_data[0][:60], digits_data[1][:60]
    models, attack = {"a": digits_network, "b": digits_network}, bind("pgd:eps=0.1,steps=5,early_stop=False")
    one, other = (transfer_matrix(models, x, y, attack, targeted=True, batch_size=size) for size in (60, 7))
    assert np.abs(one.fooled - other.fooled).max() <= 1
    np.testing.assert_allclose(one.size, other.size, rtol=1e-3)


def test_as_one_call(digits_network, digits_data):
    before = [p.requires_grad for p in digits_network.parameters()]
    found = foolscope.transfer(
        {"own": digits_network, "seeded": "digits_cnn"}, digits_data, eps="0.1", samples=100, seed=3
    )
    assert found.rate[0, 0] > found.rate[0, 1]
    assert before == [p.requires_grad for p in digits_network.parameters()]


def test_the_finding_names_the_pairs_that_examples_cross_least_and_most():
    same, models = linear([[2.0, 0.0], [-2.0, 0.0]]), {"a": ALONG, "b": ACROSS}
    found = transfer_matrix(models | {"c": same}, X, Y, bind("fgsm:norm=l2,eps=0.2"), bounds=None)
    low, high = wilson(2, 4)
    assert f"most often from a to c: 50.0% (95% interval {low:.1%} to {high:.1%})" in found.finding
    assert "least often from a to b: 0.0%" in found.finding
    assert "arXiv" in found.record()["method"]


def test_one_number_off_the_diagonal_is_told_once():
    found = transfer_matrix({"a": ALONG, "b": ALONG}, X, Y, bind("fgsm:norm=l2,eps=0.2"), bounds=None)
    assert "least often" not in found.finding


def test_the_files_hold_the_record_and_a_page_made_from_it(digits_network, digits_data, tmp_path):
    models = {"own": digits_network, "twin": digits_network}
    out = tmp_path / "out"
    found = foolscope.transfer(models, digits_data, "fgsm", eps=0.1, samples=50, targeted=True, out=out)
    record = json.loads((out / "transfer.json").read_text())
    assert record == json.loads(json.dumps(found.record()))
    made = section(record)
    assert len(made.table.rows) == 4
    assert all(len(row) == len(made.table.columns) for row in made.table.rows)
    assert found.finding in html.unescape((out / "report.html").read_text())
    with pytest.raises(InputError, match="another run"):
        foolscope.transfer(models, digits_data, "fgsm", eps=0.2, samples=50, targeted=True, out=out)


def test_bad_input():
    with pytest.raises(InputError, match="two models"):
        transfer_matrix({"a": ALONG}, X, Y, bind("fgsm:eps=0.2"))
    with pytest.raises(InputError, match="every model gets right"):
        transfer_matrix({"a": ALONG, "b": ACROSS}, X, Y + 1, bind("fgsm:eps=0.2"))
