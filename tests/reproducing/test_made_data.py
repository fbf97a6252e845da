from __future__ import annotations

import numpy as np
import pytest
import torch

from foolscope.data import DataSet, open_data
from foolscope.reproducing.made_data import made


def opened(text: str) -> DataSet:
    return open_data(text)


@pytest.fixture
def train() -> DataSet:
    return opened("digits:train")


def make(text: str) -> DataSet:
    data = made(text, opened)
    assert data is not None
    return data


def test_a_text_without_a_kind_makes_nothing() -> None:
    assert made("digits:train", opened) is None
    assert made("./folder/digits", opened) is None


def test_both_splits_in_one_have_the_training_images_first(train: DataSet) -> None:
    both, test = make("joined/digits"), opened("digits:test")
    assert len(both) == len(train) + len(test)
    places = np.array([len(train) + 3, 5, len(train), 0])
    expected = torch.cat(
        [test.read(np.array([3])), train.read(np.array([5])), test.read(np.array([0])), train.read(np.array([0]))]
    )
    assert torch.equal(both.read(places), expected)
    assert both.labels[places].tolist() == [test.labels[3], train.labels[5], test.labels[0], train.labels[0]]


def test_shuffled_labels_are_as_many_of_each_class_and_know_nothing_of_their_images(train: DataSet) -> None:
    data = make("shuffled/digits:train")
    assert np.array_equal(np.bincount(data.labels), np.bincount(train.labels))
    assert torch.equal(data.read(np.arange(5)), train.read(np.arange(5)))
    assert abs((data.labels == train.labels).mean() - 0.1) < 4 * (0.09 / len(train)) ** 0.5
    assert np.array_equal(data.labels, make("shuffled/digits:train").labels)


def test_noise_is_uniform_and_the_same_however_it_is_read(train: DataSet) -> None:
    data = make("noise/digits:train")
    every = data.read(np.arange(len(data)))
    assert every.shape == (len(train), *train.shape)
    assert torch.equal(data.read(np.array([7, 2])), every[[7, 2]])
    values = every.double().flatten()
    assert abs(float(values.mean()) - 0.5) < 4 * (1 / 12 / len(values)) ** 0.5
    assert abs(float(values.var()) - 1 / 12) < 0.002
