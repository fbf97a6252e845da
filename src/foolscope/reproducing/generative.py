"""A generative classifier that is fitted in closed form: a Gaussian a class, classified by Bayes' rule."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.reproducing.measuring import Images


class Gaussians(nn.Module):
    """Logits ``log N(x; m_k, S_k) + log P(k)``: a quadratic form for each class.

    Args:
        means: `(c, d)`.
        covariances: `(c, d, d)`, positive definite.
        priors: `(c,)`.
    """

    means: Tensor
    root: Tensor
    bias: Tensor

    def __init__(self, means: Tensor, covariances: Tensor, priors: Tensor) -> None:
        super().__init__()
        root = torch.linalg.inv(torch.linalg.cholesky(covariances))  # |root (x - m)|^2 is the Mahalanobis distance
        self.register_buffer("means", means)
        self.register_buffer("root", root)
        half = root.diagonal(dim1=1, dim2=2).log().sum(1)
        self.register_buffer("bias", half + priors.log())

    def forward(self, x: Tensor) -> Tensor:
        """Images `(b, ...)` to logits `(b, c)`."""
        centred = x.flatten(1)[:, None] - self.means
        white = torch.einsum("cij,bcj->bci", self.root, centred)
        logits: Tensor = self.bias - white.square().sum(2) / 2
        return logits


def fit_gaussians(images: Images, noise: float = 0.05) -> Gaussians:
    """Mean and covariance of each class, the covariance raised by `noise` on its diagonal (most pixels at the edge never vary).

    Args:
        images: to fit.
        noise: variance added to each pixel.
    """
    x = images.inputs.flatten(1).double()
    classes = range(int(images.labels.max()) + 1)
    groups = [x[images.labels == k] for k in classes]
    means = torch.stack([group.mean(0) for group in groups])
    eye = noise * torch.eye(x.shape[1], dtype=x.dtype)
    covariances = torch.stack([group.T.cov() + eye for group in groups])
    priors = torch.tensor([len(group) / len(x) for group in groups], dtype=x.dtype)
    return Gaussians(means, covariances, priors).float()
