"""Each objective against its formula, written out."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foolscope.attacks import bim
from foolscope.errors import InputError
from foolscope.training import (
    OBJECTIVES,
    bind_objective,
    fast,
    fgsm_mix,
    hidden_mix,
    linear_worst_case,
    madry,
    noise_mix,
    plain,
    static_mix,
    step_ll_mix,
    trades,
)

Batch = tuple[Tensor, Tensor]
EPS = 0.1


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y, reduction="none")


def sign_step(model: nn.Module, x: Tensor, y: Tensor, eps: float, bounds: tuple[float, float] | None) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss_of(model, x, y).sum(), x)
    moved = x.detach() + eps * g.sign()
    return moved if bounds is None else moved.clamp(*bounds)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss.mean(), list(model.parameters())))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None])
@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_fgsm_mix_is_goodfellows_formula_in_value_and_gradient(smooth: nn.Module, batch: Batch, bounds, alpha) -> None:
    x, y = batch
    ours = fgsm_mix(smooth, x, y, eps=EPS, alpha=alpha, bounds=bounds)
    moved = sign_step(smooth, x, y, EPS, bounds)
    theirs = alpha * loss_of(smooth, x, y) + (1 - alpha) * loss_of(smooth, moved, y)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(gradients(smooth, ours), gradients(smooth, theirs), strict=True):
        torch.testing.assert_close(mine, other)


def test_the_shared_pass_can_be_summed_but_not_weighted_image_by_image(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    parameters = list(smooth.parameters())
    total = torch.autograd.grad(fgsm_mix(smooth, x, y, eps=EPS).sum(), parameters)
    mean = torch.autograd.grad(fgsm_mix(smooth, x, y, eps=EPS).mean(), parameters)
    for a, b in zip(total, mean, strict=True):
        torch.testing.assert_close(a, len(x) * b)
    weights = torch.arange(len(x), dtype=x.dtype)
    with pytest.raises(RuntimeError, match="not weighted image by image"):
        torch.autograd.grad((weights * fgsm_mix(smooth, x, y, eps=EPS)).sum(), parameters)


def test_with_dropout_or_batch_norm_the_attack_sees_the_network_in_eval_mode(network: nn.Module, batch: Batch) -> None:
    x, y = batch
    network.train()
    expected = sign_step(copy.deepcopy(network).eval(), x, y, EPS, (0.0, 1.0))
    seen: list[tuple[bool, Tensor]] = []
    network.register_forward_hook(lambda module, args, out: seen.append((module[1].training, args[0].detach().clone())))
    before = network[1].running_mean.clone()
    fgsm_mix(network, x, y, eps=EPS)
    modes = [mode for mode, _ in seen]
    assert modes == [False, True, True]  # the attack, the clean pass, the attacked pass
    torch.testing.assert_close(seen[2][1], expected)
    assert not torch.equal(
        network[1].running_mean, before
    )  # the training passes have moved it, and nothing is left in eval mode
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_no_gradient_of_a_parameter_is_computed_inside_the_attack(network: nn.Module, batch: Batch) -> None:
    x, y = batch
    asked: list[bool] = []
    network.register_forward_pre_hook(lambda module, args: asked.append(module[0].weight.requires_grad))
    madry(network.train(), x, y, eps=EPS, steps=3)
    assert asked == [False, False, False, True]


def test_madry_by_hand(smooth: nn.Module, batch: Batch) -> None:
    """From the uniform start that the seed gives, signed steps, back into ball and box; the last iterate counts."""
    x, y = batch
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    madry(smooth, x, y, eps=EPS, steps=4, step_size=0.04, seed=7, index=torch.arange(100, 124))
    assert bool(((seen[0] - x).abs() <= EPS + 1e-9).all())
    assert len(torch.unique(seen[0] - x)) > 500
    for before, after in zip(seen, seen[1:], strict=False):
        expected = sign_step(smooth, before, y, 0.04, None)
        seen.pop()  # the hook has recorded the check's own pass
        expected = torch.minimum(torch.maximum(expected, x - EPS), x + EPS).clamp(0, 1)
        torch.testing.assert_close(after, expected)


def test_the_start_is_keyed_by_index_and_seed(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    index = torch.arange(50, 74)
    whole = madry(smooth, x, y, eps=EPS, steps=2, seed=3, index=index)
    part = madry(smooth, x[5:9], y[5:9], eps=EPS, steps=2, seed=3, index=index[5:9])
    torch.testing.assert_close(whole[5:9], part)
    assert not torch.allclose(whole, madry(smooth, x, y, eps=EPS, steps=2, seed=4, index=index))


def test_fast_is_one_long_step_of_madry(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    torch.testing.assert_close(
        fast(smooth, x, y, eps=EPS, seed=5), madry(smooth, x, y, eps=EPS, steps=1, step_size=1.25 * EPS, seed=5)
    )


def test_trades_by_hand(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    seen: list[Tensor] = []
    handle = smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    ours = trades(smooth, x, y, eps=EPS, beta=3.0, steps=2, step_size=0.05)
    handle.remove()
    start = (seen[1] - x)[(x > 0.01) & (x < 0.99)]
    assert 0.0008 < float(start.std()) < 0.0012
    p, q = smooth(x).log_softmax(1), smooth(seen[-1]).log_softmax(1)
    expected = loss_of(smooth, x, y) + 3.0 * F.kl_div(q, p, log_target=True, reduction="none").sum(1)
    torch.testing.assert_close(ours, expected)
    still = seen[1].clone().requires_grad_()
    divergence = F.kl_div(smooth(still).log_softmax(1), p.detach(), log_target=True, reduction="sum")
    (g,) = torch.autograd.grad(divergence, still)
    step = torch.minimum(torch.maximum(seen[1] + 0.05 * g.sign(), x - EPS), x + EPS).clamp(0, 1)
    torch.testing.assert_close(seen[2], step)


def test_step_ll_mix_moves_the_first_half_away_from_nothing_but_the_least_likely(
    smooth: nn.Module, batch: Batch
) -> None:
    x, y = batch
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    step_ll_mix(smooth, x, y, eps=EPS)
    least = smooth(x[:12]).argmin(1)
    g = sign_step(smooth, x[:12], least, 1.0, None) - x[:12]
    torch.testing.assert_close(seen[1][:12], (x[:12] - EPS * g).clamp(0, 1))
    assert torch.equal(seen[1][12:], x[12:])


def test_step_ll_leaks_no_label(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    a = plain(smooth, x, y)
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    step_ll_mix(smooth, x, y, eps=EPS, share=1.0)
    step_ll_mix(smooth, x, (y + 1) % 10, eps=EPS, share=1.0)
    assert torch.equal(seen[1], seen[3])
    assert len(a) == len(x)


@pytest.mark.parametrize("kind", ["sign", "uniform"])
def test_noise(smooth: nn.Module, batch: Batch, kind: str) -> None:
    x, y = batch
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    noise_mix(smooth, x, y, eps=EPS, kind=kind, bounds=None, seed=1)
    d = (seen[0] - x).flatten()
    assert abs(float(d.mean())) < 0.01
    if kind == "sign":
        torch.testing.assert_close(d.abs(), torch.full_like(d, EPS))
    else:
        assert float(d.abs().max()) <= EPS
        assert float(d.abs().mean()) == pytest.approx(EPS / 2, rel=0.1)


def test_a_static_set_does_not_depend_on_the_network_nor_on_the_epoch(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    reference, seen = copy.deepcopy(smooth), []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    for _ in range(2):
        loss = static_mix(smooth, x, y, reference=reference, eps=EPS)
        with torch.no_grad():
            smooth[1].weight.add_(0.1)
    assert loss.shape == y.shape
    torch.testing.assert_close(seen[1], sign_step(reference, x, y, EPS, (0.0, 1.0)))
    assert torch.equal(seen[1], seen[3])


def test_hidden_mix_by_hand(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    ours = hidden_mix(smooth, x, y, eps=0.3, layer="2", alpha=0.25)
    hidden = smooth[:3](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(smooth[3](hidden), y, reduction="sum"), hidden)
    moved = F.cross_entropy(smooth[3](smooth[:3](x) + 0.3 * g.sign()), y, reduction="none")
    expected = 0.25 * loss_of(smooth, x, y) + 0.75 * moved
    torch.testing.assert_close(ours, expected)
    for mine, other in zip(gradients(smooth, ours), gradients(smooth, expected), strict=True):
        torch.testing.assert_close(mine, other)
    assert not smooth[2]._forward_hooks
    with pytest.raises(InputError, match="layer: expected a layer of the model, got 'top'"):
        hidden_mix(smooth, x, y, eps=0.3, layer="top")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(["linf", "l2", "l1"]), st.floats(0.01, 2.0))
def test_the_linear_worst_case_of_two_classes_is_exact(seed: int, norm: str, eps: float) -> None:
    """No perturbation of that size does better than the closed form, and the dual direction does as well."""
    g = torch.Generator().manual_seed(seed)
    model = nn.Linear(5, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 5, generator=g, dtype=torch.float64))
    x, y = torch.rand(6, 5, generator=g, dtype=torch.float64), torch.tensor([0, 1] * 3)
    worst = linear_worst_case(model, x, y, eps=eps, norm=norm)
    w = (model.weight[1] - model.weight[0]).detach()
    towards = {"linf": w.sign(), "l2": w / w.norm(), "l1": w.sign() * (w.abs() == w.abs().max())}[norm]
    sign = 1.0 - 2.0 * y[:, None].double()  # class 0 is fooled along w, class 1 against it
    torch.testing.assert_close(worst, loss_of(model, x + eps * sign * towards, y))
    if norm == "linf":
        margin = (2 * y - 1) * (x @ w + model.bias[1] - model.bias[0])
        torch.testing.assert_close(worst, F.softplus(eps * w.abs().sum() - margin))
    for _ in range(20):
        d = torch.randn(6, 5, generator=g, dtype=torch.float64)
        size = {"linf": d.abs().amax(1), "l2": d.norm(dim=1), "l1": d.abs().sum(1)}[norm]
        assert bool((loss_of(model, x + eps * d / size[:, None], y) <= worst + 1e-9).all())


def test_the_linear_worst_case_of_many_classes_is_a_bound(batch: Batch) -> None:
    x, y = batch
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    bound = linear_worst_case(model, x, y, eps=EPS)
    found = sign_step(model, x, y, EPS, None)
    for _ in range(5):
        found = torch.minimum(torch.maximum(sign_step(model, found, y, EPS, None), x - EPS), x + EPS)
    assert bool((bound >= loss_of(model, found, y) - 1e-9).all())
    with pytest.raises(InputError, match="one linear layer"):
        linear_worst_case(nn.Sequential(model, nn.ReLU()), x, y, eps=EPS)


def test_every_objective_lowers_its_own_loss_in_a_loop_of_anybodys(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    for name, row in OBJECTIVES.items():
        if row.kind != "objective" or name == "linear_worst_case":
            continue
        model = copy.deepcopy(smooth)
        options = {"eps": EPS} if "eps" in str(row.function.__annotations__) else {}
        options |= {"layer": "2"} if name == "hidden_mix" else {}
        options |= {"reference": copy.deepcopy(smooth)} if name == "static_mix" else {}
        optimiser = torch.optim.SGD(model.parameters(), 0.5)
        losses = []
        for _ in range(30):
            loss = row.function(model, x, y, **options).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.5 * losses[0], name


def test_terms_and_penalties_add_up(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    logits = smooth(x)
    p = logits.softmax(1)
    entropy = -(p * p.log()).sum(1)
    expected = loss_of(smooth, x, y) + 0.5 * entropy + 0.01 * smooth[1].weight.abs().sum()
    torch.testing.assert_close(bind_objective("entropy:weight=0.5+l1:weight=0.01")(smooth, x, y), expected)
    both = F.binary_cross_entropy_with_logits(logits, F.one_hot(y, 10).double(), reduction="none").sum(1)
    torch.testing.assert_close(bind_objective("plain+sigmoid")(smooth, x, y), both)


def test_the_attack_inside_raises_the_same_loss(smooth: nn.Module, batch: Batch) -> None:
    """With independent classes the sign of the gradient is another one than that of cross-entropy."""
    x, y = batch
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    objective = bind_objective("madry:eps=0.1,steps=1,step_size=0.2+sigmoid")
    objective(smooth, x, y, bounds=None)
    start = seen[0].clone().requires_grad_()
    (g,) = torch.autograd.grad(objective.criterion(smooth(start), y).sum(), start)
    moved = torch.minimum(torch.maximum(start.detach() + 0.2 * g.sign(), x - EPS), x + EPS)
    torch.testing.assert_close(seen[1], moved)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("madri:eps=0.1", "--objective: expected an objective .* 'madri' .nearest: madry"),
        ("madry", "--eps: expected a value, which madry needs"),
        ("madry:eps=0.1,step=3", "madry:step: expected one of its options"),
        ("madry:eps=0.1,seed=3", "madry:seed: expected one of its options"),
        ("fgsm_mix:eps=0.1,steps=3", "fgsm_mix:steps: expected one of its options"),
        ("fgsm_mix:eps=0.1,attack=own.py:attack,steps=3", "fgsm_mix:steps: expected one of its options"),
        ("madry:eps=0.1,steps=2.5", "madry:steps: expected a whole number"),
        ("madry:eps=0.1+plain", "--objective: expected one objective"),
        ("l1", "--weight: expected a value, which l1 needs"),
    ],
)
def test_bad_texts_are_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        bind_objective(text)


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgsm_mix:attack=pgd,steps=5,restarts=2,alpha=0.3", "pgd:steps=5,restarts=2"),
        ("fgsm_mix:attack=pgd:steps=5,alpha=0.3,restarts=2", "pgd:steps=5,restarts=2"),
        ("static_mix:steps=5,attack=apgd,loss=dlr", "apgd:steps=5,loss=dlr"),
        ("fgsm_mix:attack=own.py:attack", "own.py:attack"),
    ],
)
def test_what_an_objective_does_not_know_is_its_attacks(text: str, attack: str) -> None:
    options = bind_objective(text, eps=0.1).options
    assert options == {"eps": 0.1, "attack": attack} | ({"alpha": 0.3} if "alpha" in text else {})


def test_the_attack_inside_may_be_a_function_and_gets_ball_and_seed(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))

    def towards_grey(
        model: nn.Module, inputs: Tensor, labels: Tensor, *, eps: float, norm: str, seed: int = 0
    ) -> Tensor:
        assert norm == "linf"
        return inputs + (0.5 - inputs).clamp(-eps * seed, eps * seed)

    fgsm_mix(smooth, x, y, eps=0.01, attack=towards_grey, seed=3)
    assert torch.equal(seen[-1], x + (0.5 - x).clamp(-0.03, 0.03))


def test_an_attack_of_the_table_in_place_of_fgsm(smooth: nn.Module, batch: Batch) -> None:
    x, y = batch
    seen: list[Tensor] = []
    smooth.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    fgsm_mix(smooth, x, y, eps=EPS, attack="bim:steps=3")
    trained_on = seen[-1]
    assert torch.equal(trained_on, bim(smooth, x, y, eps=EPS, steps=3))
    with pytest.raises(InputError, match="ATTACK"):
        fgsm_mix(smooth, x, y, eps=EPS, attack="bom")
