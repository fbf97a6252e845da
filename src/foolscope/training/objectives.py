"""What training minimises: one function an objective, `(model, inputs, labels) -> (b,)`, whose mean a loop lowers.

They work in any loop: ``objective(model, inputs, labels, eps=0.1).mean().backward()``. The model is in the mode that the loop put it in;
the attack inside runs in eval mode (`foolscope.training.inner`). Common arguments:

- `criterion`: the L of the formulas, logits `(b, c)` and labels `(b,)` to the loss of each image (`foolscope.training.terms`); the
  attack inside raises the same L;
- `norm`, `eps`: the ball, in input units; `bounds`: the box, None for none;
- `index`, `seed`: key the random draws: the images' places in the data set, and a number that changes from epoch to epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.attacks._step import checked_eps
from foolscope.errors import InputError
from foolscope.foreign import foreign_code
from foolscope.norms import get_norm
from foolscope.training.terms import Criterion, cross_entropy


def plain(model: nn.Module, inputs: Tensor, labels: Tensor, *, criterion: Criterion = cross_entropy) -> Tensor:
    """The loss of the images as they are: ``L(x, y)``.

    Example:
        >>> plain(torch.nn.Identity(), torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """
    with foreign_code():
        return criterion(model(inputs), labels)


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
    radius = checked_eps(eps, len(inputs))
    gap = get_norm(norm).dual((weight[None] - weight[:, None]).flatten(0, 1)).view(len(weight), -1)
    return criterion(logits + radius * gap[labels], labels)
