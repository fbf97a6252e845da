"""Counts, gradients, slopes and scales against independent hooks and autograd by hand.

Over 400 lines: one file a module, and all go through it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

import foolscope
from foolscope.attacks import ATTACKS, bind
from foolscope.errors import ForeignError, InputError
from foolscope.losses import margin
from foolscope.oracle import NOT_FINITE, OK, ZERO, Oracle
from foolscope.testing.models import BrokenGradient, Curved, Flat, Steps, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.5, "l0": 3.0}


class Rows:
    """Rows that really went through a model, forwards and backwards: hooks of PyTorch's own, apart from any counter of ours."""

    def __init__(self) -> None:
        self.forwards = self.backwards = 0


@contextmanager
def watched(model: nn.Module) -> Iterator[Rows]:
    """Counts rows by a forward hook on the model and a backward hook on its first layer with parameters."""
    rows = Rows()
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))

    def forwards(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        forward_mode = (
            unpack_dual(args[0]).tangent is not None
        )  # carries a derivative along, which counts as a second forward
        rows.forwards += len(args[0]) * (2 if forward_mode else 1)

    def backwards(module: nn.Module, grad_input: object, grad_output: tuple[Tensor]) -> None:
        rows.backwards += len(grad_output[0])

    handles = model.register_forward_hook(forwards), first.register_full_backward_hook(backwards)
    yield rows
    for handle in handles:
        handle.remove()


def problem(n: int = 12, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor]:
    """A curved network and images of which every fourth is wrong from the start."""
    model, inputs = Curved().to(dtype).requires_grad_(False), random_images(n, dtype=dtype)
    labels = model(inputs).argmax(1)
    labels[::4] = (labels[::4] + 1) % 3
    return model, inputs, labels


# -- counts -----------------------------------------------------------------------------------------------------------

CASES = [(name, norm) for name, row in ATTACKS.items() for norm in row.norms]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_counts_are_those_of_independent_hooks(name, norm):
    """Hard and easy radii: some images leave early, some never."""
    for factor in (0.1, 1.0, 10.0):
        model, inputs, labels = problem()
        with watched(model) as rows:
            oracle = Oracle(model, inputs, labels)
            eps = max(1.0, round(factor * EPS[norm])) if norm == "l0" else factor * EPS[norm]
            bind(name, eps=eps, norm=norm)(oracle)
        assert int(oracle.forwards.sum()) == rows.forwards > 0
        assert int(oracle.backwards.sum()) == rows.backwards
        assert (rows.backwards > 0) == ATTACKS[name].gradient


@pytest.mark.parametrize(
    "text",
    ["pgd:steps=7,restarts=3", "pgd:steps=7,early_stop=false", "pgd:loss=dlr,momentum=1", "square:restarts=2,steps=30"],
)
def test_counts_of_settings(text):
    model, inputs, labels = problem()
    with watched(model) as rows:
        oracle = Oracle(model, inputs, labels)
        bind(text, eps=0.02)(oracle)
    assert (int(oracle.forwards.sum()), int(oracle.backwards.sum())) == (rows.forwards, rows.backwards)


def test_counts_belong_to_the_image_that_cost_them():
    """One at a time, every image costs what it cost among the others; images that leave early cost less."""
    model, inputs, labels = problem(dtype=torch.float64)
    for text in ("pgd:steps=9", "square:steps=20", "fmn:steps=5", "step_ll"):
        together = Oracle(model, inputs, labels)
        bind(text, eps=0.1)(together)
        for i in range(len(inputs)):
            alone = Oracle(model, inputs[i : i + 1], labels[i : i + 1], index=torch.tensor([i]))
            bind(text, eps=0.1)(alone)
            assert alone.forwards.tolist() == together.forwards[i : i + 1].tolist(), text
            assert alone.backwards.tolist() == together.backwards[i : i + 1].tolist(), text
    pgd = Oracle(model, inputs, labels)
    bind("pgd:steps=9", eps=0.1)(pgd)
    assert len(set(pgd.backwards.tolist())) > 2  # early exits are told apart
    assert set(pgd.backwards[::4].tolist()) == {0}  # wrong already


def test_a_model_that_cuts_the_graph_has_no_backward_pass():
    inputs = random_images(4)
    oracle = Oracle(Steps(), inputs, Steps()(inputs).argmax(1))
    oracle.gradient(inputs, oracle.rows_all)
    assert oracle.forwards.tolist() == [2] * 4  # the clean pass and this one
    assert oracle.backwards.tolist() == [0] * 4


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_a_whole_audit_counts_every_row(norm, digits_network, digits_data):
    images, labels = (t[:60] for t in digits_data)
    eps = {"linf": 0.08, "l2": 0.5, "l1": 2.0, "l0": 2}[norm]
    with watched(digits_network) as rows:
        audit = foolscope.audit(digits_network, (images, labels), norm=norm, eps=eps, effort="quick", batch_size=25)
    assert audit.record["forwards"] == rows.forwards == int(audit.samples["forwards"].sum())
    assert audit.record["backwards"] == rows.backwards == int(audit.samples["backwards"].sum())


def test_a_foreign_call_with_autograd_is_counted():
    model, inputs, labels = problem()
    oracle = Oracle(model, inputs, labels)
    with watched(model) as rows:
        x = inputs.clone().requires_grad_()
        logits = oracle(x)
        torch.autograd.grad(logits.logsumexp(1).sum(), x, retain_graph=True)
        torch.autograd.grad(logits[:, 0].sum(), x)
        oracle(inputs)  # nothing to differentiate
        oracle(torch.cat([x, x]))  # two candidates an image, no backward
    assert (int(oracle.forwards.sum()), rows.forwards) == (48, 48)
    assert (int(oracle.backwards.sum()), rows.backwards) == (24, 24)


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", ["margin", "ce", "logit", "dlr"])
def test_gradients_are_those_of_autograd_by_hand(loss, targeted):
    model, inputs, labels = problem(dtype=torch.float64)
    targets = (labels + 1) % 3 if targeted else None
    oracle = Oracle(model, inputs, labels, targets=targets)
    rows = torch.tensor([1, 2, 3, 7, 10])
    moved = (inputs + 0.01).clamp(0, 1)[rows]
    answer = oracle.gradient(moved, rows, loss)
    # By hand: the losses' textbook formulas for three classes on the raw logits, one image at a time.
    for place, row in enumerate(rows.tolist()):
        x = moved[place : place + 1].clone().requires_grad_()
        z, y = model(x)[0], int(labels[row])
        others = [k for k in range(3) if k != y]
        if targets is None:
            ahead = z[others].max() - z[y]
            values = {"margin": ahead, "ce": z.logsumexp(0) - z[y], "logit": -z[y]}
        else:
            t = int(targets[row])
            rivals = [k for k in range(3) if k != t]
            values = {"margin": z[t] - z[rivals].max(), "ce": z[t] - z.logsumexp(0), "logit": z[t]}
            ahead = z[t] - z[y]
        values["dlr"] = ahead / (z.max() - z.min())
        (by_hand,) = torch.autograd.grad(values[loss], x)
        # Homogeneous losses are rescaled by a power of two an image; DLR does not notice.
        unit = (
            2.0 ** torch.log2(answer.loss[place] / values[loss].detach()).round()
            if loss in ("margin", "logit")
            else 1.0
        )
        torch.testing.assert_close(answer.gradient[place], by_hand[0] * unit)
        torch.testing.assert_close(answer.loss[place], values[loss].detach() * unit)
        spread = float((oracle.clean[row].max() - oracle.clean[row].min()) * unit)
        assert loss in ("ce", "dlr") or 0.5 <= spread < 1
    expected = margin(model(moved), labels[rows], None if targets is None else targets[rows])
    assert torch.equal(answer.margin > 0, expected > 0)


def test_two_class_dlr_is_over_the_clean_margin_at_any_scale():
    class Two(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.body, self.factor = Curved(classes=2).double(), factor

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) * self.factor

    inputs = random_images(6, dtype=torch.float64)
    labels = Two(1.0)(inputs).argmax(1)
    moved = (inputs + 0.02).clamp(0, 1)
    expected = margin(Two(1.0)(moved), labels) / margin(Two(1.0)(inputs), labels).abs()
    for factor in (1.0, 2.0**-20, 1e4):
        oracle = Oracle(Two(factor), inputs, labels)
        answer = oracle.gradient(moved, oracle.rows_all, "dlr")
        torch.testing.assert_close(answer.loss, expected.detach())
        torch.testing.assert_close(oracle.value(moved, oracle.rows_all, "dlr")[1], expected.detach())


def test_value_agrees_with_gradient_and_costs_no_backward():
    model, inputs, labels = problem()
    oracle = Oracle(model, inputs, labels)
    rows = torch.tensor([0, 5, 6])
    for loss in ("margin", "ce", "logit", "dlr"):
        answer = oracle.gradient(inputs[rows], rows, loss)
        before = oracle.backwards.clone()
        reached, value = oracle.value(inputs[rows], rows, loss)
        torch.testing.assert_close(reached, answer.margin)
        torch.testing.assert_close(value, answer.loss)
        assert torch.equal(before, oracle.backwards)


def test_a_gradient_in_two_halves_is_that_of_the_whole():
    """Rows, scales and labels stay together when only some of the images are asked for."""
    model, inputs, labels = problem(dtype=torch.float64)
    oracle = Oracle(model, inputs, labels)
    whole = oracle.gradient(inputs, oracle.rows_all)
    for rows in (torch.arange(0, 12, 2), torch.arange(1, 12, 2), torch.tensor([11])):
        part = oracle.gradient(inputs[rows], rows)
        for one, other in zip(part, whole, strict=True):
            torch.testing.assert_close(one, other[rows])


def test_parameters_keep_no_gradient():
    model, inputs, labels = problem()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for name in ("pgd", "fmn", "fgsm"):
        bind(name, eps=0.1)(Oracle(model, inputs, labels))
    assert [parameter.grad for parameter in model.parameters()] == [None] * len(list(model.parameters()))
    assert inputs.grad is None
    assert not inputs.requires_grad


@pytest.mark.parametrize(
    ("model", "state"), [(Flat(), ZERO), (Steps(), ZERO), (BrokenGradient(), NOT_FINITE), (Curved(), OK)]
)
def test_zero_and_broken_gradients_are_noticed(model, state):
    inputs = random_images(4)
    oracle = Oracle(model, inputs, model(inputs).argmax(1))
    answer = oracle.gradient(inputs, oracle.rows_all)
    assert oracle.state.tolist() == [state] * 4
    assert torch.isfinite(answer.gradient).all()


def test_a_broken_gradient_is_that_of_its_image_alone():
    """One NaN image among four: the others' gradients and states are untouched, and an image can recover."""

    class OneNaN(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, :3]
            return torch.where(x.flatten(1)[:, :1] == 0, z / x.flatten(1)[:, :1], z)

    inputs = 0.1 + 0.8 * random_images(4)
    inputs[2, 0, 0, 0] = 0.0
    oracle = Oracle(OneNaN(), inputs, torch.zeros(4, dtype=torch.int64))
    answer = oracle.gradient(inputs, oracle.rows_all)
    assert oracle.state.tolist() == [OK, OK, NOT_FINITE, OK]
    assert torch.isfinite(answer.gradient).all()
    assert (answer.gradient.flatten(1).abs().amax(1) > 0).tolist() == [True, True, False, True]
    oracle.gradient(inputs[2:3] + 0.5, torch.tensor([2]))
    assert oracle.state.tolist() == [OK] * 4


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_gradients_where_the_caller_has_switched_them_off(loss):
    model, inputs, labels = problem()
    with torch.no_grad():
        quiet = Oracle(model, inputs, labels).gradient(inputs, torch.arange(len(inputs)), loss)
    loud = Oracle(model, inputs, labels).gradient(inputs, torch.arange(len(inputs)), loss)
    assert torch.equal(quiet.gradient, loud.gradient)
    assert bool((quiet.gradient != 0).any())


def test_slope_is_the_finite_difference():
    model, inputs, labels = problem(dtype=torch.float64)
    oracle = Oracle(model, inputs, labels)
    rows = torch.tensor([1, 4, 9])
    direction = random_images(3, dtype=torch.float64, seed=3) - 0.5
    before = oracle.forwards.clone()
    logits, slope = oracle.slope(inputs[rows], rows, direction)
    h = 1e-6
    numeric = (model(inputs[rows] + h * direction) - model(inputs[rows] - h * direction)) / (2 * h)
    torch.testing.assert_close(logits, model(inputs[rows]))
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-7)
    assert (oracle.forwards - before)[rows].tolist() == [2, 2, 2]
    assert int((oracle.forwards - before).sum()) == 6


class Attentive(nn.Module):
    """A tiny transformer layer, whose fast path has no forward-mode derivative, and attention by itself."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embed, self.head, self.kind = nn.Linear(4, 8), nn.Linear(8, 5), kind
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(1).unflatten(1, (-1, 4)))
        if self.kind == "multihead":
            tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        elif self.kind == "layer":
            tokens = self.layer(tokens)
        else:
            tokens = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.head(tokens).mean(1)


class OwnBackward(torch.autograd.Function):
    """tanh with a backward of its own, which forward mode knows nothing of."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return g * (1 - ctx.saved_tensors[0].tanh() ** 2)


class NoForwardMode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Curved()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(OwnBackward.apply(x))


@pytest.mark.parametrize("kind", ["multihead", "layer", "plain"])
def test_slope_of_attention(kind: str):
    torch.manual_seed(0)
    model = Attentive(kind).eval().requires_grad_(False)
    inputs, direction = random_images(3), random_images(3, seed=5) - 0.5
    _, slope = Oracle(model, inputs, torch.zeros(3, dtype=torch.int64)).slope(inputs, torch.arange(3), direction)
    exact, x, d, h = model.double(), inputs.double(), direction.double(), 1e-6
    numeric = (exact(x + h * d) - exact(x - h * d)) / (2 * h)
    torch.testing.assert_close(slope.double(), numeric, rtol=1e-4, atol=1e-6)
    assert torch.backends.mha.get_fastpath_enabled()


def test_slope_without_forward_mode():
    model = NoForwardMode().double().requires_grad_(False)
    inputs, direction = random_images(4, dtype=torch.float64), random_images(4, dtype=torch.float64, seed=5) - 0.5
    oracle = Oracle(model, inputs, torch.zeros(4, dtype=torch.int64))
    rows, h = torch.tensor([0, 2]), 1e-6
    x, d = inputs[rows], direction[rows]
    logits, slope = oracle.slope(x, rows, d)
    torch.testing.assert_close(logits, model(x))
    torch.testing.assert_close(slope, (model(x + h * d) - model(x - h * d)) / (2 * h), rtol=1e-6, atol=1e-8)
    assert (oracle.forwards.tolist(), oracle.backwards.tolist()) == ([1, 0, 1, 0], [2, 0, 2, 0])
    assert not slope.requires_grad


def test_slope_of_a_model_that_raises_is_the_models_error():
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of order")

    inputs = random_images(2)
    oracle = Oracle(Raises(), inputs, torch.zeros(2, dtype=torch.int64), clean=torch.zeros(2, 3))
    with pytest.raises(ForeignError, match="out of order"):
        oracle.slope(inputs, torch.arange(2), inputs)


# -- scale of the logits ----------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.body, self.factor = Curved().requires_grad_(False), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.factor


@pytest.mark.parametrize("loss", ["margin", "dlr", "logit"])
@pytest.mark.parametrize("exponent", [-30, -1, 30])
def test_powers_of_two_on_the_logits_change_no_bit(loss, exponent):
    inputs = random_images(8)
    labels = Curved()(inputs).argmax(1)
    plain, scaled = (Oracle(Scaled(factor), inputs, labels) for factor in (1.0, 2.0**exponent))
    for one, other in zip(
        plain.gradient(inputs, plain.rows_all, loss), scaled.gradient(inputs, scaled.rows_all, loss), strict=True
    ):
        assert torch.equal(one, other)


def test_cross_entropy_on_saturated_logits_stays_raw_and_warns_once():
    inputs = random_images(8)
    labels = Curved()(inputs).argmax(1)
    oracle = Oracle(Scaled(1e6), inputs, labels)
    with pytest.warns(UserWarning, match=r"loss=ce: .* exactly zero for \d of 8 images") as caught:
        answer = [oracle.gradient(inputs, oracle.rows_all, "ce") for _ in range(5)][-1]
    assert len(caught) == 1
    expected = torch.nn.functional.cross_entropy(Scaled(1e6)(inputs), labels, reduction="none")
    torch.testing.assert_close(answer.loss, expected)
    assert ZERO in oracle.state.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the default loss has nothing to warn about
        oracle.gradient(inputs, oracle.rows_all)
    assert oracle.state.tolist() == [OK] * 8


# -- what it takes and refuses ----------------------------------------------------------------------------------------


def test_it_knows_who_is_undecided_and_how_far_the_box_is():
    model, inputs, labels = problem()
    oracle = Oracle(model, inputs, labels, bounds=(0.0, 1.0))
    assert oracle.undecided().tolist() == [i for i in range(12) if i % 4]
    lower, upper = oracle.box(torch.tensor([3]))
    assert torch.equal(lower, -inputs[3:4])
    assert torch.equal(upper, 1 - inputs[3:4])
    free = Oracle(model, inputs, labels, bounds=None).box(torch.tensor([3]))
    assert bool((free[0] == -torch.inf).all() and (free[1] == torch.inf).all())
    predicted = model(inputs).argmax(1)
    assert Oracle(model, inputs, labels, targets=predicted).undecided().tolist() == []
    assert Oracle(model, inputs, labels, targets=(predicted + 1) % 3).undecided().tolist() == list(range(12))


def test_known_clean_logits_cost_nothing():
    model, inputs, labels = problem()
    with watched(model) as rows:
        oracle = Oracle(model, inputs, labels, clean=model(inputs))
        oracle.undecided()
    assert rows.forwards == 12  # the caller's own
    assert int(oracle.forwards.sum()) == 0


@pytest.mark.parametrize("text", ["pgd", "fmn", "ddn"])
def test_how_images_lie_in_memory_changes_no_bit(text):
    model, inputs, labels = problem()
    turned = inputs.contiguous(memory_format=torch.channels_last)
    assert not turned.is_contiguous()
    attack = bind(text, eps=0.02 if text == "pgd" else None, norm="l2")
    found = [attack(Oracle(model, x, labels)) for x in (inputs, turned)]
    assert found[1].is_contiguous()
    assert torch.equal(*found)


def test_bad_input_is_one_line():
    model, inputs, labels = problem()
    for bad in (labels.float(), labels[:-1], labels[:, None]):
        with pytest.raises(InputError, match=r"^labels: expected 12 integers, one an image, got 'torch\."):
            Oracle(model, inputs, bad)
    for outputs in (lambda x: x, lambda x: x.flatten(1)[1:], lambda x: "logits"):
        module = nn.Module()
        module.forward = outputs  # type: ignore[method-assign]
        with pytest.raises(InputError, match=r"^MODEL: expected logits of shape \(12, classes\)"):
            _ = Oracle(module, inputs, labels).clean


def test_what_the_model_raises_is_told_as_its_own():
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("mine")

    _, inputs, labels = problem()
    with pytest.raises(ForeignError, match=r"test_oracle.py:\d+ in forward: KeyError: 'mine'"):
        _ = Oracle(Raises(), inputs, labels).clean
