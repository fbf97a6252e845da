"""What training minimises: one function an objective, `(model, inputs, labels) -> (b,)`, whose mean a loop lowers.

They work in any loop: ``objective(model, inputs, labels, eps=0.1).mean().backward()``. The model is in the mode that the loop put it in;
the attack inside runs in eval mode (`foolscope.training.inner`). Common arguments:

- `criterion`: the L of the formulas, logits `(b, c)` and labels `(b,)` to the loss of each image (`foolscope.training.terms`); the
  attack inside raises the same L;
- `norm`, `eps`: the ball, in input units; `bounds`: the box, None for none;
- `index`, `seed`: key the random draws: the images' places in the data set, and a number that changes from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.foreign import foreign_code
from foolscope.norms import get_norm
from foolscope.training.inner import Bounds, attacked, climbed, frozen, moved, noisy, towards_least_likely
from foolscope.training.shared import loss_and_slope, same_in_both_modes
from foolscope.training.terms import Criterion, cross_entropy


def plain(model: nn.Module, inputs: Tensor, labels: Tensor, *, criterion: Criterion = cross_entropy) -> Tensor:
    """The loss of the images as they are: ``L(x, y)``.

    Example:
        >>> plain(torch.nn.Identity(), torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """
    with foreign_code():
        return criterion(model(inputs), labels)


def fgsm_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    alpha: float = 0.5,
    attack: str = "fgsm",
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Clean and attacked images together: ``alpha L(x, y) + (1 - alpha) L(x', y)``, ``x' = x + eps sign grad_x L(x, y)``.

    Where training mode changes nothing (no dropout, no batch-norm) the clean pass also yields the gradient to attack along.

    Args:
        alpha: the share of the clean loss, in [0, 1].
        attack: another ATTACK text in place of FGSM; it leaves images that are wrong already as they are.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(2))
        >>> fgsm_mix(model, torch.tensor([[0.5, 0.5]]), torch.tensor([0]), eps=0.25, alpha=0.0).detach()  # log(1 + e^0.5)
        tensor([0.9741])

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 6, alpha = 0.5.
    """
    if attack == "fgsm" and same_in_both_modes(model):
        clean, slope = loss_and_slope(model, inputs, labels, criterion)
        x = moved(norm, eps, inputs, slope, bounds)
    else:
        x = attacked(
            model,
            inputs,
            labels,
            attack,
            norm=norm,
            eps=eps,
            criterion=criterion,
            bounds=bounds,
            index=index,
            seed=seed,
        )
        clean = plain(model, inputs, labels, criterion=criterion)
    return alpha * clean + (1 - alpha) * plain(model, x, labels, criterion=criterion)


def madry(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 7,
    step_size: float | None = None,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Min-max: ``max {L(x', y) : |x' - x| <= eps}``, the maximum sought by PGD from a uniform start.

    Args:
        steps: of PGD.
        step_size: in input units; 2.5 eps / steps when None.

    References:
        Madry et al. 2018, arXiv:1706.06083, eq. 2.1.
    """
    x = climbed(
        model,
        inputs,
        labels,
        norm=norm,
        eps=eps,
        steps=steps,
        step_size=step_size or 2.5 * eps / steps,
        start="uniform",
        rise=lambda logits: criterion(logits, labels),
        bounds=bounds,
        index=index,
        seed=seed,
    )
    return plain(model, x, labels, criterion=criterion)


def fast(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    step_size: float | None = None,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Min-max with a single step from a uniform start; watch for catastrophic overfitting.

    Args:
        step_size: in input units; 1.25 eps when None.

    References:
        Wong, Rice & Kolter 2020, arXiv:2001.03994, alg. 3.
    """
    return madry(
        model,
        inputs,
        labels,
        eps=eps,
        norm=norm,
        steps=1,
        step_size=step_size or 1.25 * eps,
        criterion=criterion,
        bounds=bounds,
        index=index,
        seed=seed,
    )


def trades(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    beta: float = 6.0,
    steps: int = 10,
    step_size: float | None = None,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """``L(x, y) + beta max {KL(p(x) | p(x')) : |x' - x| <= eps}``, the maximum sought by PGD from beside the image.

    Args:
        beta: weight of the second term (the paper's 1 / lambda).
        steps: of PGD.
        step_size: in input units; 2.5 eps / steps when None.

    References:
        Zhang et al. 2019, arXiv:1901.08573, eq. 5 and alg. 1.
    """
    with frozen(model), torch.no_grad(), foreign_code():
        known = model(inputs).log_softmax(1)
    x = climbed(
        model,
        inputs,
        labels,
        norm=norm,
        eps=eps,
        steps=steps,
        step_size=step_size or 2.5 * eps / steps,
        start="near",
        rise=lambda logits: _divergence(known, logits.log_softmax(1)),
        bounds=bounds,
        index=index,
        seed=seed,
    )
    with foreign_code():
        clean, other = model(inputs), model(x)
    return criterion(clean, labels) + beta * _divergence(clean.log_softmax(1), other.log_softmax(1))


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p | q), `(b,)`."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


def step_ll_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    share: float = 0.5,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Part of the batch one step towards its least likely class, the rest clean: ``L(x', y)`` or ``L(x, y)``; no label leaks.

    ``x' = x - eps sign grad_x L(x, argmin_k p_k(x))``. The first images of the batch are the attacked ones (a loop shuffles).

    Args:
        share: of the batch that is attacked, in [0, 1].

    References:
        Kurakin, Goodfellow & Bengio 2017, arXiv:1611.01236, alg. 1; half of each batch as in Cubuk et al., arXiv:1711.02846.
    """
    count = round(share * len(inputs))
    x = towards_least_likely(model, inputs[:count], labels[:count], norm=norm, eps=eps, bounds=bounds)
    return plain(model, torch.cat([x, inputs[count:]]), labels, criterion=criterion)


def noise_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    kind: str = "sign",
    alpha: float = 0.0,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """The control: ``alpha L(x, y) + (1 - alpha) L(x + noise, y)``, fresh noise of the attack's size each epoch.

    Args:
        kind: `sign` (+-eps a component) or `uniform` (in [-eps, eps]).
        alpha: the share of the clean loss; 0 trains on noisy images alone.

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 7.
    """
    x = noisy(inputs, eps=eps, kind=kind, bounds=bounds, index=index, seed=seed)
    loss = (1 - alpha) * plain(model, x, labels, criterion=criterion)
    return loss + alpha * plain(model, inputs, labels, criterion=criterion) if alpha else loss


def static_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    reference: nn.Module,
    eps: float,
    norm: str = "linf",
    alpha: float = 0.5,
    attack: str = "fgsm",
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
) -> Tensor:
    """A static adversarial set beside the clean one: `fgsm_mix` with examples of a network that does not change.

    Args:
        reference: the network that the examples fool. Its attack draws the same for an image every time, so that the examples
            are the same in every epoch. In `train`: the model as it was when training began.
        alpha: the share of the clean loss; 0.5 is one adversarial copy of each image.
        attack: an ATTACK text.

    References:
        Szegedy et al. 2014, arXiv:1312.6199, sec. 4.3.
    """
    x = attacked(
        reference,
        inputs,
        labels,
        attack,
        norm=norm,
        eps=eps,
        criterion=criterion,
        bounds=bounds,
        index=index,
        seed=0,
    )
    clean = plain(model, inputs, labels, criterion=criterion)
    return alpha * clean + (1 - alpha) * plain(model, x.to(inputs), labels, criterion=criterion)


def linear_worst_case(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    criterion: Criterion = cross_entropy,
) -> Tensor:
    """A linear model's loss under the worst perturbation in closed form, no attack: ``L(z', y)``, ``z'_j = z_j + eps |w_j - w_y|_*``.

    ``|.|_*`` is the dual norm (l1 for linf), and the box is ignored. Two classes: exact, softplus(eps |w|_1 - y (w.x + b)) for labels +-1.
    More: an upper bound, since each rival class gets the perturbation that suits it best. (Goodfellow et al. print
    softplus(y (eps |w|_1 - w.x - b)), which is the worst case for y = +1 alone.)

    Args:
        model: one `nn.Linear` over the flattened image.

    Raises:
        InputError: a model that is not linear.

    Example:
        >>> model = torch.nn.Linear(2, 2)
        >>> x, y = torch.tensor([[0.5, 0.25]]), torch.tensor([1])
        >>> d = (model.weight[0] - model.weight[1]).sign()
        >>> bool(torch.isclose(linear_worst_case(model, x, y, eps=0.1), plain(model, x + 0.1 * d, y)).all())
        True

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 5, with the sign put right.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    with foreign_code():
        logits = model(inputs)
    linear = len(layers) == 1 and layers[0].in_features == inputs[0].numel()
    if not linear or not torch.allclose(logits, layers[0](inputs.flatten(1)), rtol=1e-4, atol=1e-5):
        raise InputError("MODEL", "one linear layer over the image, for linear_worst_case", type(model).__name__)
    weight = layers[0].weight
    gap = get_norm(norm).dual((weight[None] - weight[:, None]).flatten(0, 1)).view(len(weight), -1)
    return criterion(logits + eps * gap[labels], labels)


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def hidden_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    layer: str,
    norm: str = "linf",
    alpha: float = 0.5,
    criterion: Criterion = cross_entropy,
) -> Tensor:
    """`fgsm_mix` with the perturbation in a hidden layer: ``alpha L(h) + (1 - alpha) L(h + eps sign grad_h L(h))``.

    Args:
        eps: in the units of the layer's output; hidden units are not bounded and may grow out of its reach.
        layer: the name of a module as `named_modules` has it, such as `3` or `features.0`.

    Raises:
        InputError: an unknown layer, or one whose output is no tensor.

    References:
        Szegedy et al. 2014, arXiv:1312.6199, sec. 4.3; Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 6.
    """
    modules = dict(model.named_modules())
    if not layer or layer not in modules:
        raise InputError("layer", "a layer of the model", layer, filter(None, modules))
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: object) -> None:
        if not isinstance(output, Tensor):
            raise InputError("layer", f"a tensor from {layer}", f"a {type(output).__name__}")
        seen.append(output)

    with _hooked(modules[layer], keep):
        clean = plain(model, inputs, labels, criterion=criterion)
    hidden = seen[-1]
    (slope,) = torch.autograd.grad(clean.sum(), hidden, retain_graph=True)
    step = moved(norm, eps, torch.zeros_like(hidden), slope, None)
    with _hooked(modules[layer], lambda module, arguments, output: output + step):
        other = plain(model, inputs, labels, criterion=criterion)
    return alpha * clean + (1 - alpha) * other
