"""Two circles in the plane: where each loss's gradient leads from one class to the other, and where it ends."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foolscope.attacks.equal_footing import raw_loss
from foolscope.explaining.race import LOSSES
from foolscope.explaining.subspaces import subspace
from foolscope.models.digits import seeded
from foolscope.oracle import Oracle
from foolscope.untouched import untouched

INNER, OUTER = 1, 0  # the classes as make_circles has them: the inner circle is the target R, the outer one B
EXTENT = 1.6  # of the map, each way
HIDDEN = 64  # units; the paper's number is not known
STEPS = 500


@dataclass(frozen=True)
class Circles:
    """Gradient sizes over the plane, towards the inner class.

    Attributes:
        at: `(k,)`: the map's coordinates, both ways.
        size: loss -> `(k, k)`: l2 size of its gradient with respect to the point; row: the second coordinate.
        probability: `(k, k)`, of the inner class.
        region: `(k, k)`: 1, 2 or 3 for S1, S2 and S3.
        accuracy: of the network on its circles.
    """

    at: npt.NDArray[np.float64]
    size: dict[str, npt.NDArray[np.float64]]
    probability: npt.NDArray[np.float64]
    region: npt.NDArray[np.int64]
    accuracy: float

    def median(self, loss: str, region: int) -> float:
        """The median size of a loss's gradient in a region."""
        return float(np.median(self.size[loss][self.region == region]))


def circles(seed: int = 0, *, points: int = 61, samples: int = 1000, noise: float = 0.05) -> Circles:
    """Trains one hidden ReLU layer on two circles and maps the gradients of four losses towards the inner class.

    Args:
        seed: of data and weights.
        points: of the map, each way.
        samples: points on both circles.
        noise: standard deviation of their distance from them.

    References:
        Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456, sec. IV-B.
    """
    from sklearn.datasets import make_circles

    plane, label = make_circles(samples, noise=noise, factor=0.5, random_state=seed)
    x, y = torch.as_tensor(plane, dtype=torch.float32), torch.as_tensor(label, dtype=torch.int64)
    with seeded(seed):
        model = nn.Sequential(nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    _train(model, x, y)
    at = np.linspace(-EXTENT, EXTENT, points)
    grid = torch.from_numpy(np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)).float()
    with untouched(model):
        accuracy = float((Oracle(model, x, y, bounds=None).clean.argmax(1) == y).float().mean())
        aim = torch.full((len(grid),), INNER)
        oracle = Oracle(model, grid, torch.full_like(aim, OUTER), targets=aim, bounds=None)
        probabilities = oracle.clean.double().softmax(1)
        sizes = {loss: _size(oracle, loss).view(points, points).numpy() for loss in LOSSES}
    return Circles(
        at=at,
        size=sizes,
        probability=probabilities[:, INNER].view(points, points).numpy(),
        region=subspace(probabilities, aim).view(points, points).numpy(),
        accuracy=accuracy,
    )


def _size(oracle: Oracle, loss: str) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loss=")  # that it is zero somewhere is the picture
        gradient = oracle.gradient(oracle.inputs, oracle.rows_all, raw_loss(loss)).gradient.double()
    size: Tensor = (gradient.sign() if loss == "ce_sign" else gradient).norm(dim=1)
    return size


def _train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Adam on cross-entropy with all points in every step."""
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(STEPS):
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x), y))
        optimiser.step()
