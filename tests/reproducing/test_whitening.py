from __future__ import annotations

import numpy as np
import torch

from foolscope.data import from_tensors
from foolscope.reproducing.whitening import BIAS, fit, normalised, whitened


def test_whitening_shrinks_each_principal_variance_to_its_share_of_itself_and_the_bias() -> None:
    images = torch.rand(500, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images[:, :, :2] *= 0.3
    data = from_tensors(images, torch.arange(500) % 2)
    mean, matrix = fit(data)
    x = normalised(images).flatten(1).double()
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).clamp_min(0)
    y = whitened(data, mean, matrix).read(np.arange(500)).flatten(1).double()
    after = torch.linalg.eigvalsh(torch.cov(y.T, correction=0))
    assert torch.allclose(after.sort().values, (values / (values + BIAS)).sort().values, atol=1e-4)
    assert torch.allclose(y.mean(0), torch.zeros(16, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(matrix, matrix.T)
