"""One pass that serves twice: the clean images' loss to learn from, and their input gradient to attack along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.foreign import foreign_code
from foolscope.stems import quick_stems

NORMALISING = nn.modules.batchnorm._NormBase
DROPPING = nn.modules.dropout._DropoutNd


def same_in_both_modes(model: nn.Module) -> bool:
    """Whether training mode changes nothing: no dropout and no batch statistics; a model in eval mode, always."""
    return not any(module.training and isinstance(module, (NORMALISING, DROPPING)) for module in model.modules())


def loss_and_slope(
    model: nn.Module, inputs: Tensor, labels: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Losses `(b,)` and their input gradients `(b, ...)`; the parameters' gradients come of the same backward pass.

    They are kept and handed out when the losses' own backward pass comes, so that it costs nothing. That works for a sum or a mean
    of the losses alone: a mean weighted by image raises there.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    x = inputs.detach().requires_grad_()
    with foreign_code(), quick_stems(model):
        losses = criterion(model(x), labels)
        slope, *gradients = torch.autograd.grad(losses.sum(), [x, *parameters], allow_unused=True)
    known: Tensor = _Known.apply(losses.detach(), gradients, *parameters)  # type: ignore[no-untyped-call]
    return known, torch.zeros_like(x) if slope is None else slope


class _Known(torch.autograd.Function):
    """Losses whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        weight = upstream[0]
        if not bool((weight == weight[0]).all()):
            raise RuntimeError("these losses can be summed or averaged, not weighted image by image")
        return None, None, *(None if g is None else g * weight[0] for g in ctx.gradients)
