"""A swift copy rounds differently and nothing else; where that can't be shown there is none; and no answer is the copy's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import foolscope
from foolscope import ledger, subject
from foolscope.models import load_model, wrap
from foolscope.swift import CHANNELS_LAST, FOLDED, swift_copy

pytestmark = pytest.mark.usefixtures("one_thread")


def settled(model, seed=0):
    """Batch norms as after training, in eval mode and frozen."""
    source = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.uniform_(-0.5, 0.5, generator=source) if part.track_running_stats else None
            part.running_var.uniform_(0.3, 1.5, generator=source) if part.track_running_stats else None
            for parameter in part.parameters():
                parameter.data.uniform_(-0.5, 1.5, generator=source)
    return model.eval().requires_grad_(False)


class Block(nn.Module):
    """A convolution that is used twice, one whose output goes two ways, and one that is followed properly."""

    def __init__(self):
        super().__init__()
        self.twice, self.forked, self.plain = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.a, self.b, self.c = (nn.BatchNorm2d(3) for _ in range(3))
        self.fork = False

    def forward(self, x):
        x = F.relu(self.a(self.twice(self.twice(x))))
        y = self.forked(x)
        x = F.relu(self.b(y) + (y if self.fork else 0))
        return self.c(self.plain(x)).mean((2, 3))


def test_a_resnet_is_the_same_function():
    model = settled(load_model("cifar10_resnet20").module)
    x = torch.rand(4, 3, 32, 32)
    before = copy.deepcopy(model.state_dict())
    other, done = swift_copy(model, x[:2])
    assert sum(isinstance(part, nn.BatchNorm2d) for part in model.modules()) == 19
    assert done == "batch norms folded away: 19, convolutions channels-last"
    assert not any(isinstance(part, nn.BatchNorm2d) for part in other.modules())
    assert not any(p.requires_grad for p in other.parameters())
    torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    exact, _ = swift_copy(copy.deepcopy(model).double(), x[:2])
    torch.testing.assert_close(exact(x.double()), copy.deepcopy(model).double()(x.double()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU(inplace=True), nn.Flatten()
        ),
        wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), mean=[0.5] * 3, std=[0.2] * 3),
        Block(),
    ],
    ids=["linear", "no affine", "wrapped", "used twice"],
)
def test_one_is_folded(model):
    model, x = settled(model).double(), torch.rand(5, 3, 4, 4, dtype=torch.float64)
    if isinstance(model, Block):
        model.b.running_var.fill_(1.0)
    other, done = swift_copy(model, x[:2])
    assert done == f"batch norms folded away: {2 if isinstance(model, Block) else 1}"
    torch.testing.assert_close(other(x), model(x), rtol=1e-12, atol=1e-12)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x + 0.1 * torch.rand_like(x))).mean((2, 3))


def forked():
    model = Block()
    model.fork = True
    return model


def changed_in_place():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Flatten())


def hooked():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    model[0].register_forward_hook(lambda part, args, output: output.round())
    return model


def by_the_batch():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())


def single_only():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.norm(self.conv(x.float())).mean((2, 3))

    return Single()


def without():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())


@pytest.mark.parametrize("make", [Noisy, forked, changed_in_place, hooked, by_the_batch, single_only, without])
def test_what_cannot_be_shown_to_be_exact_is_left_alone(make):
    model = settled(make())
    assert swift_copy(model, torch.rand(2, 3, 8, 8)) == (None, "")


class Viewed(nn.Module):
    """Deep, and of a kind that channels-last weights break: `view` wants the usual order."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(8)), nn.BatchNorm2d(3))

    def forward(self, x):
        hidden = self.body(x)
        return hidden.view(len(x), -1)


def test_where_channels_last_breaks_a_network_it_is_folded_alone():
    model = settled(Viewed())
    assert swift_copy(model, torch.rand(2, 3, 8, 8), (CHANNELS_LAST,)) == (None, "")
    assert swift_copy(model, torch.rand(2, 3, 8, 8))[1] == "batch norms folded away: 1"
    assert swift_copy(model, torch.rand(2, 3, 8, 8), (FOLDED,))[1] == "batch norms folded away: 1"


@pytest.fixture
def digits(digits_data):
    """A random network with batch norms, digits, and what it says of them."""
    images = digits_data[0][:100]
    torch.manual_seed(0)
    body = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )
    model = settled(body)
    model[-1].bias -= model(images).mean(0)  # or it would call all of them the same
    return model, images, model(images).argmax(1)


def without_a_copy(monkeypatch):
    monkeypatch.setattr(subject, "swift_copy", lambda model, inputs: (None, ""))


@pytest.mark.parametrize("attack", ["pgd:steps=20", "fmn:steps=30"])
def test_on_or_off_outcomes_are_the_same(attack, digits, monkeypatch, tmp_path):
    model, images, labels = digits
    results = []
    for dtype in (torch.float32, torch.float64):
        for copying in (True, False):
            with monkeypatch.context() as patch:
                if not copying:
                    without_a_copy(patch)
                out = tmp_path / f"{dtype}-{copying}"
                net, x = copy.deepcopy(model).to(dtype), images.to(dtype)
                done = foolscope.evaluate(
                    net, (x, labels), attack, eps=None if attack.startswith("fmn") else 0.05, norm="linf", out=out
                )
                results.append(done)
                assert any("faster copy" in note for note in done.record["notes"]) == copying
    on, off, on64, off64 = results
    assert np.mean(np.array(on.samples["outcome"]) == np.array(off.samples["outcome"])) >= 0.995
    assert np.array_equal(on64.samples["outcome"], off64.samples["outcome"])
    if attack.startswith("fmn"):
        np.testing.assert_allclose(on64.samples["distance_linf"], off64.samples["distance_linf"], atol=1e-6)
        assert on.record["fooled"] == off.record["fooled"]


def test_a_run_through_a_copy_gives_the_same_bits_again(digits):
    model, images, labels = digits
    one, two = (foolscope.evaluate(model, (images, labels), "fmn:steps=10") for _ in range(2))
    np.testing.assert_array_equal(one.samples["distance_linf"], two.samples["distance_linf"])
    assert any(isinstance(part, nn.BatchNorm2d) for part in model.modules())


def test_what_fools_the_copy_alone_is_no_success(digits, monkeypatch):
    """A copy that is always fooled, by a hair: every image is attacked once more, on the model itself."""
    model, images, labels = digits

    class Fooled(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            return -self.body(x)

    monkeypatch.setattr(subject, "swift_copy", lambda model, inputs: (Fooled(model), "turned round"))
    done = foolscope.evaluate(model, (images[:20], labels[:20]), "pgd:steps=1", eps=1e-6)
    assert done.record["fooled"] == 0
    assert done.robust_accuracy == done.clean_accuracy
    monkeypatch.setattr(ledger, "TIE", float("inf"))
    again = foolscope.evaluate(model, (images[:20], labels[:20]), "pgd", eps=0.3)
    without_a_copy(monkeypatch)
    alone = foolscope.evaluate(model, (images[:20], labels[:20]), "pgd", eps=0.3)
    assert again.record["fooled"] == alone.record["fooled"] > 10
    assert again.record["backwards"] > alone.record["backwards"]
