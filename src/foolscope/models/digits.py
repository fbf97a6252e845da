"""The embedded default: a small network that trains itself on scikit-learn's bundled digits in a few seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.models.networks import digits_cnn

TRAIN = 1297  # the last 500 of the 1,797 images are the test split
EPOCHS, BATCH, RATE, DECAY = 30, 64, 5e-3, 1e-2
# How far each entry of an image's 2x3 affine map strays from the identity; chosen on images 900-1296, trained on 0-899.
JITTER = ((0.09, 0.12, 0.15), (0.12, 0.09, 0.15))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's CPU generator starts from `seed`; outside it goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def train_split() -> tuple[Tensor, Tensor]:
    """The first 1,297 digits: images `(1297, 1, 8, 8)` in [0, 1] and their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.as_tensor(bunch.images[:TRAIN], dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.as_tensor(bunch.target[:TRAIN], dtype=torch.int64)


def train_digits(seed: int = 0) -> nn.Module:
    """Train `digits_cnn` on slightly moved and sheared images: AdamW, one learning-rate cycle, cross-entropy.

    Args:
        seed: fixes the initial weights, the order of the images and how each is moved. The same seed gives the same
            bytes, whatever the number of threads (it trains on one); torch's global generator is left as it was.

    Returns:
        The trained network, in eval mode on the CPU.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return _train(seed)
    finally:
        torch.set_num_threads(threads)


def _train(seed: int) -> nn.Module:
    images, labels = train_split()
    with seeded(seed):
        network = digits_cnn()
    generator = torch.Generator().manual_seed(seed)
    parameters = list(network.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    step, steps = 0, EPOCHS * math.ceil(TRAIN / BATCH)
    identity, jitter = torch.eye(2, 3), torch.tensor(JITTER)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(TRAIN, generator=generator), BATCH):
            maps = identity + jitter * (2 * torch.rand(len(batch), 2, 3, generator=generator) - 1)
            grid = F.affine_grid(maps, [len(batch), 1, 8, 8], align_corners=False)
            moved = F.grid_sample(images[batch], grid, align_corners=False)
            gradients = torch.autograd.grad(F.cross_entropy(network(moved), labels[batch]), parameters)
            step += 1
            rate = RATE * min(step / (0.3 * steps), (steps - step) / (0.7 * steps))
            _adamw(parameters, gradients, moments, rate, step)
    return network.eval()


@torch.no_grad()
def _adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[tuple[Tensor, Tensor]],
    rate: float,
    step: int,
) -> None:
    """One step of AdamW, written out: importing torch.optim takes longer than the whole training."""
    for p, g, (first, second) in zip(parameters, gradients, moments, strict=True):
        first.lerp_(g, 0.1)
        second.lerp_(g.square(), 0.001)
        scale = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
        p.mul_(1 - rate * DECAY).addcdiv_(first, scale, value=-rate / (1 - 0.9**step))
