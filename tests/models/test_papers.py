"""The papers' networks: their initialisation, constraints and formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from foolscope.errors import InputError
from foolscope.models.maxout import Bounded, Keep, Maxout, maxout_conv, maxout_mlp
from foolscope.models.papers import Ensemble, convolutional, fully_connected, softmax_regression
from foolscope.models.rbf import Rbf
from foolscope.models.wide import WideResNet


def test_maxout_takes_the_largest_of_neighbouring_pieces() -> None:
    x = torch.tensor([[1.0, 5.0, 2.0, -1.0, -3.0, -2.0]])
    assert Maxout(3)(x).tolist() == [[5.0, -1.0]]
    x = torch.rand(2, 6, 4, 4)
    assert torch.equal(Maxout(2)(x)[:, 1], x[:, 2:4].amax(1))


def test_the_maxout_recipe() -> None:
    torch.manual_seed(0)
    model = maxout_mlp()
    layers = [module for module in model.modules() if isinstance(module, Bounded)]
    assert [tuple(layer.layer.weight.shape) for layer in layers] == [(1200, 784), (1200, 240), (10, 240)]
    for layer in layers:
        assert float(layer.layer.weight.detach().abs().max()) <= 0.005
        assert not layer.layer.bias.detach().any()
    drops = [(module.p, module.factor) for module in model.modules() if isinstance(module, Keep)]
    assert drops == [(pytest.approx(0.2), pytest.approx(0.8)), (0.5, 1.0), (0.5, 1.0)]
    conv = [module for module in maxout_conv().modules() if isinstance(module, Bounded)]
    assert [(module.most, module.lr_scale) for module in conv] == [
        (0.9, 0.05), (1.9365, 0.05), (1.9365, 0.05), (1.9, 1.0), (1.9365, 1.0),
    ]  # fmt: skip
    assert [tuple(module.layer.weight.shape[:2]) for module in conv[:3]] == [(192, 3), (384, 96), (384, 192)]
    for module in conv:  # cifar10.yaml: irange .005 in each of its layers
        assert 0.0049 < float(module.layer.weight.detach().abs().max()) <= 0.005
        assert not module.layer.bias.detach().any()


def test_a_narrower_convolutional_maxout_may_start_where_its_signal_does_not_fade() -> None:
    torch.manual_seed(0)
    x, spread = 0.5 * torch.randn(4, 3, 32, 32), {}
    for start in (None, 0.5):
        model = maxout_conv(width=16, start=start).eval()
        layers = [module for module in model.modules() if isinstance(module, Bounded)]
        spread[start] = float(model[:-1](x).detach().std(0).mean())
    assert [tuple(layer.layer.weight.shape[:2]) for layer in layers[:3]] == [(32, 3), (64, 16), (64, 32)]
    norms = [float(layer.layer.weight.detach().flatten(1).norm(dim=1).mean()) for layer in layers]
    assert norms[:4] == pytest.approx([0.5] * 4, rel=0.02)
    assert norms[4] == pytest.approx(0.005 * (500 / 3) ** 0.5, rel=0.02)  # of the softmax layer, the recipe's
    assert spread[0.5] > 100 * spread[None]


def test_the_input_is_dropped_but_not_rescaled() -> None:
    torch.manual_seed(0)
    x = torch.ones(1, 100_000)
    first, second = Keep(0.8, 1.0).train(), Keep(0.5, 2.0).train()
    assert set(first(x).unique().tolist()) == {0.0, 1.0}
    assert float(first(x).mean()) == pytest.approx(0.8, abs=0.01)
    assert set(second(x).unique().tolist()) == {0.0, 2.0}
    assert torch.equal(first.eval()(x), x)


@pytest.mark.parametrize("layer", [nn.Linear(20, 5), nn.Conv2d(3, 5, 3)])
def test_a_constraint_shortens_what_is_too_long_and_leaves_the_rest(layer: nn.Module) -> None:
    bounded = Bounded(layer, 1.5)
    with torch.no_grad():
        layer.weight.normal_()
        layer.weight[0] *= 0.01
        before = layer.weight.clone()
    bounded.constrain()
    norms = layer.weight.detach().flatten(1).norm(dim=1)
    assert float(norms.max()) <= 1.5 + 1e-5
    torch.testing.assert_close(layer.weight.detach()[0], before[0])
    cosine = nn.functional.cosine_similarity(layer.weight.detach().flatten(1), before.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(5))


def test_rbf_is_the_formula() -> None:
    torch.manual_seed(0)
    model = Rbf(6, 3, width=0.5).double()
    with torch.no_grad():
        model.roughness.normal_()
    x = torch.rand(4, 6, dtype=torch.float64)
    form = ((x[:, None] - model.centres) ** 2 * model.roughness.exp()).sum(2)
    torch.testing.assert_close(model(x).sigmoid(), (-form).exp())
    fresh = Rbf(784, 2, width=0.1)
    far = fresh.centres.detach()[:1] + math.sqrt(0.1)
    assert float(fresh(far).detach().sigmoid()[0, 0]) == pytest.approx(1 / math.e, rel=1e-3)


def test_rbf_at_its_centre_stays_finite() -> None:
    model = Rbf(6, 3)
    x = model.centres.detach().clone().requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(gradient).all()


def test_ensembles() -> None:
    torch.manual_seed(0)
    members = [softmax_regression(4, 3) for _ in range(3)]
    x = torch.rand(5, 4)
    probabilities = torch.stack([member(x).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(Ensemble(members)(x).softmax(1), probabilities)
    logits = torch.stack([member(x) for member in members]).mean(0)
    torch.testing.assert_close(Ensemble(members, "logits")(x), logits)
    with pytest.raises(InputError, match="at least one"):
        Ensemble([])
    with pytest.raises(InputError, match="nearest: logits"):
        Ensemble(members, "logit")


def test_the_families_of_random_architectures() -> None:
    assert [m.out_features for m in fully_connected([30, 2000, 7]).modules() if isinstance(m, nn.Linear)] == [
        30,
        2000,
        7,
        10,
    ]
    assert [m.out_features for m in fully_connected([]).modules() if isinstance(m, nn.Linear)] == [10]
    net = convolutional([8, 16, 32], hidden=40, dropout=0.3, shape=(3, 32, 32), classes=7)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.3]


def test_a_wide_resnet_has_the_papers_size() -> None:
    """36.5 million parameters for WRN-28-10, 2.7 million for WRN-16-4 (Zagoruyko & Komodakis, tables 4 and 5)."""
    with torch.device("meta"):
        large, small = (sum(p.numel() for p in WideResNet(d, w).parameters()) for d, w in ((28, 10), (16, 4)))
    assert round(large / 1e6, 1) == 36.5
    assert round(small / 1e6, 1) == 2.7
