"""Models that hand out probabilities instead of logits: noticed, and undone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOLERANCE = 1e-3  # of the sum of a row from 1, for low precisions


def are_probabilities(outputs: Tensor) -> bool:
    """Whether every row is non-negative and sums to 1.

    Example:
        >>> are_probabilities(torch.tensor([[0.25, 0.75]])), are_probabilities(torch.tensor([[0.25, 0.5]]))
        (True, False)
    """
    return bool((outputs >= 0).all() & ((outputs.sum(1) - 1).abs() <= TOLERANCE).all())


class LogProbabilities(nn.Module):
    """The logarithm of a model's probabilities: its logits up to a constant, as far as rounding left any of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Images to log-probabilities `(b, c)`."""
        p: Tensor = self.model(x)
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()
