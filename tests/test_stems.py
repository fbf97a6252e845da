"""A stem's input gradient by blocks is the library's; its logits are the library's bit for bit; and the model comes back as it was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad

from foolscope import stems
from foolscope.attacks import pgd
from foolscope.models import load_model
from foolscope.oracle import Oracle
from foolscope.stems import input_gradient, is_quick, quick_stems
from foolscope.swift import swift_copy
from foolscope.untouched import untouched

pytestmark = pytest.mark.usefixtures("one_thread")
sizes = st.integers(1, 12)


@settings(deadline=None)
@given(
    channels=st.integers(1, 4), kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)), stride=st.integers(1, 5),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)), size=st.tuples(sizes, sizes),
)  # fmt: skip
def test_it_is_the_gradient(channels, kernel, stride, padding, size):
    """In float64, beside the transposed convolution of the library, whatever the shape of kernel and image."""
    assume(all(s + 2 * p >= k for s, p, k in zip(size, padding, kernel, strict=True)))
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(3, channels, *kernel, generator=source, dtype=torch.float64)
    x = torch.randn(2, channels, *size, generator=source, dtype=torch.float64, requires_grad=True)
    out = F.conv2d(x, weight, stride=stride, padding=padding)
    gradient = torch.randn(out.shape, generator=source, dtype=torch.float64)
    (expected,) = torch.autograd.grad(out, x, gradient)
    torch.testing.assert_close(
        input_gradient(gradient, weight, size, stride, padding), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ["mnist_cnn_a", "cifar10_cnn_a", "cifar10_resnet20", "squeezenet1_0", "digits_cnn"])
def test_built_in_networks_have_one(name, monkeypatch):
    """Logits bit for bit; gradients to rounding; and the new path was taken."""
    model = load_model(name).module.eval().requires_grad_(False)
    shape = {"mnist_cnn_a": (1, 28, 28), "digits_cnn": (1, 8, 8), "squeezenet1_0": (3, 96, 96)}.get(name, (3, 32, 32))
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    calls = []
    monkeypatch.setattr(stems, "input_gradient", lambda *given: calls.append(1) or input_gradient(*given))
    found = []
    for quick in (False, True):
        with quick_stems(model) if quick else torch.enable_grad():
            leaf = x.clone().requires_grad_()
            logits = model(leaf)
            found.append((logits.detach(), *torch.autograd.grad(logits[:, 3].sum(), leaf)))
    (logits, gradient), (other, quicker) = found
    assert torch.equal(logits, other)
    assert float((gradient - quicker).abs().max()) <= 1e-5 * float(gradient.abs().max())
    assert len(calls) == 1


def test_every_gradient_of_a_layer_that_learns():
    """Weights and biases too, in one backward pass, as a mix of clean and attacked images needs them."""
    layer, x = nn.Conv2d(3, 5, 3, stride=2, padding=1), torch.rand(4, 3, 9, 9, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight, layer.bias])
    with quick_stems(layer):
        found = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight, layer.bias])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_gradient_can_be_differentiated_again():
    layer, x = nn.Conv2d(1, 4, 3, bias=False), torch.rand(2, 1, 8, 8, requires_grad=True)
    found = []
    for quick in (False, True):
        with quick_stems(layer) if quick else torch.enable_grad():
            (gradient,) = torch.autograd.grad(layer(x).tanh().sum(), x, create_graph=True)
            found.append(torch.autograd.grad(gradient.square().sum(), [x, layer.weight]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_forward_mode_is_left_to_the_library():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).eval().requires_grad_(False)
    x, direction = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    oracle = Oracle(model, x, torch.tensor([0, 1]))
    with quick_stems(model):
        _, slope = oracle.slope(x, oracle.rows_all, direction)
    torch.testing.assert_close(slope, F.conv2d(direction, model[0].weight).flatten(1))


class Odd(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(5, 2, 3), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3, dilation=2), Odd(2, 2, 3),
        nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 2, 3, stride=(1, 2)),
        nn.Conv2d(1, 2, (1, 7)), nn.Conv2d(3, 2, 64, stride=64),
    ],
)  # fmt: skip
def test_other_layers_stay_as_they_are(layer):
    with quick_stems(layer):
        assert not is_quick(layer)


@pytest.mark.parametrize("change", [lambda x: x.double(), lambda x: x[0]])
def test_other_inputs_take_the_library_s_way(change, monkeypatch):
    monkeypatch.setattr(stems, "_convolution", None)  # a call would fail
    x = change(torch.rand(2, 1, 8, 8)).requires_grad_()
    layer = nn.Conv2d(1, 2, 3).to(x.dtype)
    with quick_stems(layer):
        assert layer(x).requires_grad


def test_autocast_takes_the_library_s_way(monkeypatch):
    monkeypatch.setattr(stems, "_convolution", None)
    layer = nn.Conv2d(1, 2, 3)
    with quick_stems(layer), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.rand(2, 1, 8, 8, requires_grad=True)).dtype == torch.bfloat16


def test_layers_come_back_after_an_exception():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(3, 2, 3))
    seen = []

    def look(*_):
        seen.append([is_quick(part) for part in model])
        raise RuntimeError("sabotage")

    model.register_forward_pre_hook(look)
    with untouched(model):
        with pytest.raises(RuntimeError, match="sabotage"), quick_stems(model):
            model(torch.rand(1, 1, 8, 8))
        assert [is_quick(part) for part in model] == [True, True]  # an inner loan does not end an outer one
    with pytest.raises(RuntimeError, match="sabotage"), quick_stems(model):
        model(torch.rand(1, 1, 8, 8))
    assert seen == [[True, True]] * 2
    assert [is_quick(part) for part in model] == [False, False]


def test_attacks_take_it(monkeypatch):
    """On a model that they are handed directly, too."""
    calls = []
    monkeypatch.setattr(stems, "input_gradient", lambda *given: calls.append(1) or input_gradient(*given))
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3)), torch.rand(4, 1, 8, 8)
    pgd(model, x, model(x).argmax(1), eps=0.1, steps=3, early_stop=False)
    assert len(calls) == 3
    assert not is_quick(model[0])


def test_a_batch_norm_behind_it_is_folded():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval().requires_grad_(False)
    with untouched(model):
        other, done = swift_copy(model, torch.rand(2, 1, 4, 4))
    assert done == "batch norms folded away: 1"
    assert is_quick(other[0])  # the copy is ours: it stays quick


def test_a_quick_model_can_be_copied():
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    with quick_stems(model):
        other = copy.deepcopy(model)
    x = torch.rand(1, 1, 5, 5)
    assert torch.equal(other(x), model(x))


class ByType(nn.Module):
    """Asks for the classes of its layers, as hand-written networks do."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 2, 3), nn.Linear(72, 3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x.flatten(1) if type(layer) is nn.Linear else x)
            x = x.relu() if type(layer) is nn.Conv2d else x
        return x


def test_a_model_may_ask_for_a_layer_s_class():
    model, x = ByType(), torch.rand(2, 1, 8, 8) - 0.5
    expected = model(x)
    with quick_stems(model):
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize("learns", ["weight", "bias"])
def test_every_gradient_of_a_layer_that_learns_in_part(learns):
    layer, x = nn.Conv2d(1, 4, 3).requires_grad_(False), torch.rand(2, 1, 8, 8, requires_grad=True)
    wanted = [x, getattr(layer, learns).requires_grad_()]
    expected = torch.autograd.grad(layer(x).square().sum(), wanted)
    with quick_stems(layer):
        found = torch.autograd.grad(layer(x).square().sum(), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def _dual(function, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(x.clone().requires_grad_(), x))).tangent.detach()


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: torch.func.grad(f)(x), lambda f, x: torch.func.jacrev(f)(x), lambda f, x: torch.func.hessian(f)(x), _dual,
        lambda f, x: torch.vmap(torch.func.grad(lambda one: f(one[None])))(x),
    ],
    ids=["grad", "jacrev", "hessian", "forward mode", "vmap"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")  # torch's own, when it loads its rules
def test_transforms_of_a_lent_model(transform):
    """An attack of the user's own may take its gradients by `torch.func`."""
    layer, x = nn.Conv2d(1, 2, 2).requires_grad_(False), torch.rand(1, 1, 5, 5)
    expected = transform(lambda x: layer(x).tanh().sum(), x)
    with quick_stems(layer):
        torch.testing.assert_close(transform(lambda x: layer(x).tanh().sum(), x), expected)


def test_a_lent_model_compiles_without_warnings():
    layer, x = nn.Conv2d(1, 2, 3), torch.rand(2, 1, 8, 8, requires_grad=True)
    with quick_stems(layer):
        compiled = torch.compile(layer, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x))


def test_autocast_around_the_pass_back_rounds_nothing():
    layer, x = nn.Conv2d(1, 4, 3).requires_grad_(False), torch.rand(2, 1, 8, 8, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    with quick_stems(layer):
        out = layer(x).square().sum()
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(out, x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("layer", "side", "quick"),
    [
        (nn.Conv2d(1, 2, 8), 8, False), (nn.Conv2d(1, 2, 7), 14, False), (nn.Conv2d(1, 2, 3), 3, False),
        (nn.Conv2d(1, 2, 3, padding=1), 8, True), (nn.Conv2d(1, 2, 7, padding=3), 14, True), (nn.Conv2d(3, 2, 4, stride=4), 8, True),
    ],
)  # fmt: skip
def test_kernels_large_beside_the_image_are_left_to_the_library(layer, side, quick, monkeypatch):
    """A kernel of the image's size took 60 to 190 times as long by blocks."""
    calls = []
    monkeypatch.setattr(stems, "input_gradient", lambda *given: calls.append(1) or input_gradient(*given))
    x = torch.rand(2, layer.in_channels, side, side, requires_grad=True)
    with quick_stems(layer):
        layer(x).sum().backward()
    assert bool(calls) == quick
