"""Networks of one shape as one module: their weights lie one behind the other, and a pass goes through all of them at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope import rng
from foolscope.search.architectures import Architecture
from foolscope.training.draws import derived


class Stack(nn.Module):
    """Networks of one architecture, each with its own weights.

    Linear layers are one batched matrix product, convolutions one grouped convolution; where all networks look at the same images, the
    first layer is one matrix product, or one convolution, with all their filters. A network's numbers depend on its own number, the seed
    and the images alone, never on its companions.

    Rows: in `forward`, row ``i * k + j`` is network j's copy of image i, so that an `Oracle` over such rows attacks all of them at once.

    Args:
        architecture: the shape of each.
        shape: of the images, (C, H, W).
        classes: of the logits.
        networks: their numbers, int64 `(k,)`; with `seed` they key the initial weights and the dropout masks.
        seed: of the search.

    Example:
        >>> stack = Stack(Architecture((), (30,)), (1, 8, 8), 10, torch.tensor([0, 1, 2]))
        >>> stack(torch.zeros(2 * 3, 1, 8, 8)).shape, stack.together(torch.zeros(2, 1, 8, 8)).shape
        (torch.Size([6, 10]), torch.Size([3, 2, 10]))
    """

    networks: Tensor

    def __init__(
        self, architecture: Architecture, shape: tuple[int, int, int], classes: int, networks: Tensor, seed: int = 0
    ) -> None:
        super().__init__()
        self.architecture, self.shape, self.classes, self.seed = architecture, shape, classes, seed
        self.register_buffer("networks", networks)
        with torch.device("meta"):  # for its layers' kinds and shapes; the weights are drawn below
            self.layers = list(architecture.network(shape, classes))
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.places: dict[int, int] = {}  # of a layer among the weights
        for place, layer in enumerate(self.layers):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                self.places[place] = len(self.weights)
                inputs = layer.weight[0].numel()
                self.weights.append(self._initial(layer.weight.shape, inputs, 2 * len(self.weights)))
                self.biases.append(self._initial(layer.weight.shape[:1], inputs, 2 * len(self.biases) + 1))

    def __len__(self) -> int:
        return len(self.networks)

    def _initial(self, shape: Sequence[int], inputs: int, draw: int) -> nn.Parameter:
        """PyTorch's own initialisation of these layers, U(-1, 1) / sqrt(inputs of a unit), from keyed draws."""
        u = rng.uniform(derived(self.seed, "weights"), self.networks, draw, shape)
        return nn.Parameter((2 * u - 1) / math.sqrt(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Images of every network, `(b * k, C, H, W)`, to logits `(b * k, classes)`, row for row; no dropout."""
        own = inputs.view(-1, len(self), *inputs.shape[1:])
        return self._through(own).transpose(0, 1).flatten(0, 1)

    def together(self, inputs: Tensor, dropout: Tensor | None = None, update: int = 0) -> Tensor:
        """The same images `(b, C, H, W)` through every network: logits `(k, b, classes)`.

        Args:
            inputs: the images.
            dropout: each network's rate `(k,)`; None for none. Masks depend on the network, the seed and `update` alone.
            update: the number of the draw.
        """
        return self._through(inputs[:, None], dropout, update)

    def member(self, place: int, dropout: float = 0.0) -> nn.Sequential:
        """The network at this place of the stack, as a plain module of its own in eval mode."""
        alone = self.architecture.network(self.shape, self.classes, dropout).to(self.weights[0].dtype)
        with torch.no_grad():
            for number, (weight, bias) in zip(self.places, zip(self.weights, self.biases, strict=True), strict=True):
                layer = alone[number]
                assert isinstance(layer, nn.Linear | nn.Conv2d)
                layer.weight.copy_(weight[place])
                assert layer.bias is not None
                layer.bias.copy_(bias[place])
        return alone.eval()

    def _through(self, h: Tensor, dropout: Tensor | None = None, update: int = 0) -> Tensor:
        """Logits `(k, b, classes)` of images `(b, 1 or k, C, H, W)`.

        On the way features are `(b, k * channels, H, W)`, and `(k, b, units)` after the convolutions; a first dimension of 1 is shared.
        """
        many = h.shape[1]
        h = h.flatten(1, 2)
        for number, layer in enumerate(self.layers):
            if isinstance(layer, nn.Conv2d):
                h, many = self._convolved(h, number, many), len(self)
            elif isinstance(layer, nn.Linear):
                h, many = self._multiplied(h, number, many), len(self)
            elif isinstance(layer, nn.Flatten):
                h = h.reshape(len(h), many, -1).transpose(0, 1)
            elif isinstance(layer, nn.MaxPool2d):
                h = _halved(h)
            elif isinstance(layer, nn.ReLU):
                h = h.relu()
            elif isinstance(layer, nn.Dropout) and dropout is not None:
                u = rng.uniform(derived(self.seed, "mask"), self.networks, update, h.shape[1:], h.dtype)
                rate = dropout.to(h.dtype)[:, None, None]
                h = h * (u >= rate) / (1 - rate)
        return h

    def _convolved(self, h: Tensor, number: int, many: int) -> Tensor:
        weight, bias = self._of(number)
        groups = 1 if many == 1 else len(self)
        return F.conv2d(h, weight.flatten(0, 1), bias.flatten(), padding=weight.shape[-1] // 2, groups=groups)

    def _multiplied(self, h: Tensor, number: int, many: int) -> Tensor:
        weight, bias = self._of(number)
        if many == 1 and len(self) > 1:  # one product with the weights of all
            product: Tensor = F.linear(h[0], weight.flatten(0, 1), bias.flatten())
            return product.view(len(product), len(self), -1).transpose(0, 1)
        return torch.baddbmm(bias[:, None], h, weight.mT)

    def _of(self, number: int) -> tuple[Tensor, Tensor]:
        place = self.places[number]
        return self.weights[place], self.biases[place]


def _halved(h: Tensor) -> Tensor:
    """2x2 max-pooling; where no gradient has to find its way back, by maxima of every second row and column.

    They are the same numbers in a seventh of the time on a processor.
    """
    if torch.is_grad_enabled():
        return F.max_pool2d(h, 2)
    height, width = h.shape[2] // 2 * 2, h.shape[3] // 2 * 2
    rows = torch.maximum(h[:, :, :height:2, :width], h[:, :, 1:height:2, :width])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])
