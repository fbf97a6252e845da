"""The input gradient of a network's stem, a convolution over one to four channels, several times as fast as the library's.

A processor's kernels work on 8 or 16 channels at a time: a gradient of one or three channels leaves most of each vector empty, and on
small networks that one layer takes up to half of a pass. Its gradient is therefore computed for whole blocks of pixels, which are the
channels of a smaller image: a plain convolution, whose outputs are then put in their places. Logits are not touched, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

FEW = 4  # input channels up to which blocks pay: at 6 they cost as much as the library's gradient (docs/benchmarks.md)
FULL = 12  # channels that fill the kernels' vectors well enough
# Outputs along each side for a tap: with fewer, windows lie outside of them; a kernel of the image's size took 60 to 190 times as long.
ROOMY = 2
FAR = 16  # the largest stride: beyond, arranging the weights costs as much as the library's gradient
METHOD = "_conv_forward"  # of a layer: what its forward, between its hooks, calls


@contextmanager
def quick_stems(model: nn.Module) -> Iterator[None]:
    """Inside: the model's stems compute their input gradient by blocks. Afterwards each layer is as it was.

    The same sums in another order: gradients differ from the library's by rounding (and one that is not finite, by how far it spreads).
    Nothing changes on accelerators, in other dtypes than float32, for layers that are not exactly `nn.Conv2d`, for kernels large beside
    the image, where no gradient reaches the input, in what is compiled, under `torch.func` and in forward mode.

    A layer keeps its class, as a model's own code may ask for it: only the method that computes is put before the class's own.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3))
        >>> with quick_stems(model):
        ...     type(model[0]).__name__, is_quick(model[0])
        ('Conv2d', True)
        >>> is_quick(model[0])
        False
    """
    stems = quicken(model)
    try:
        yield
    finally:
        for part in stems:
            vars(part).pop(METHOD, None)


def quicken(model: nn.Module) -> list[nn.Conv2d]:
    """The model's stems, which compute their input gradient by blocks from now on."""
    stems = [part for part in model.modules() if type(part) is nn.Conv2d and METHOD not in vars(part) and _pays(part)]
    for part in stems:
        vars(part)[METHOD] = MethodType(_conv_forward, part)
    return stems


def is_quick(part: nn.Module) -> bool:
    """Whether this layer computes its input gradient by blocks now."""
    return METHOD in vars(part)


def _pays(part: nn.Conv2d) -> bool:
    few = part.in_channels <= FEW and part.groups == 1 and 1 not in part.kernel_size
    plain = part.padding_mode == "zeros" and not isinstance(part.padding, str) and part.dilation == (1, 1)
    return few and plain and part.stride[0] == part.stride[1] <= FAR


def _conv_forward(self: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """In the place of `nn.Conv2d._conv_forward`."""
    usual = input.requires_grad and input.ndim == 4 and input.dtype == torch.float32 and input.device.type == "cpu"
    if not usual or torch.is_autocast_enabled("cpu") or _transformed() or not _roomy(self, input.shape[2:]):
        found: Tensor = nn.Conv2d._conv_forward(self, input, weight, bias)
        return found
    return _convolution(input, weight, bias, self.stride[0], self.padding)


def _transformed() -> bool:
    """Whether something looks through the operations that a function with a backward of its own would hide."""
    functional = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return functional or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _roomy(part: nn.Conv2d, size: tuple[int, ...]) -> bool:
    """Whether most of the blocks' windows over an image of this size lie inside of what the convolution hands out."""
    assert not isinstance(part.padding, str)  # see `_pays`
    sides = zip(size, part.kernel_size, part.padding, strict=True)
    step = part.stride[0]
    return all((length + 2 * edge - taps) // step + 1 >= ROOMY * -(-taps // step) for length, taps, edge in sides)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(input if any(ctx.needs_input_grad[1:3]) else None, weight)
        ctx.size, ctx.stride, ctx.padding, ctx.bias = input.shape[2:], stride, padding, bias is not None
        return F.conv2d(input, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        input, weight = ctx.saved_tensors
        first, second, third = None, None, None
        if ctx.needs_input_grad[0]:
            with torch.autocast("cpu", enabled=False):  # around a pass back it would round what went forward in float32
                first = input_gradient(gradient, weight, ctx.size, ctx.stride, ctx.padding)
        if any(ctx.needs_input_grad[1:3]):
            of = [False, *ctx.needs_input_grad[1:3]]
            shape = [len(weight)] if ctx.bias else None
            _, second, third = torch.ops.aten.convolution_backward(
                gradient, input, weight, shape, [ctx.stride] * 2, list(ctx.padding), [1, 1], False, [0, 0], 1, of
            )
        return first, second, third, None, None


_convolution: Callable[..., Tensor] = _Convolution.apply


def input_gradient(
    gradient: Tensor, weight: Tensor, size: tuple[int, int], stride: int, padding: tuple[int, int]
) -> Tensor:
    """The gradient of a convolution with respect to its input.

    ``dx[c, i] = sum_{o,u} w[o, c, u] g[o, (i + p - u) / s]`` over the u for which s divides. With ``i = B q + a``, B a multiple of s, it
    is for each place a in a block a convolution of g with stride B / s over the blocks q, so all of them together are one convolution
    whose weight holds w at the places that `_places` tells.

    Args:
        gradient: of what the convolution hands out, `(n, out, h', w')`.
        weight: `(out, channels, kh, kw)`.
        size: of its input, `(h, w)`.
        stride, padding: of the convolution.

    Returns:
        `(n, channels, h, w)`.

    References:
        For B = s: Shi et al. 2016, arXiv:1609.07009 (a transposed convolution is a convolution and a shuffle of pixels).
    """
    channels, block = weight.shape[1], stride
    while channels * block**2 < FULL:
        block *= 2
    (high, top), (wide, left), places = _places(tuple(weight.shape[2:]), stride, padding, block)
    placed = (weight.flatten(0, 1).flatten(1) @ places.to(weight)).view(-1, channels, block, block, high, wide)
    edges = []  # how far the blocks' windows reach beyond the gradient, on each side
    for first, window, axis in ((left, wide, 1), (top, high, 0)):
        reach = (-(-size[axis] // block) - 1) * (block // stride) + window
        edges += [-first, reach + first - gradient.shape[2 + axis]]
    around = edges[0]
    if around < 0 or edges != [around] * 4:
        gradient, around = F.pad(gradient, edges), 0
    blocks = placed.permute(1, 2, 3, 0, 4, 5).reshape(-1, len(weight), high, wide)
    found = F.conv2d(gradient, blocks, stride=block // stride, padding=around)
    return _shuffled(found, channels, block)[..., : size[0], : size[1]]


def _shuffled(blocks: Tensor, channels: int, block: int) -> Tensor:
    """`F.pixel_shuffle`, in two fifths to four fifths of its time (torch 2.13, CPU)."""
    count, _, height, width = blocks.shape
    places = blocks.view(count, channels, block, block, height, width)
    if block > 2:
        return places.permute(0, 1, 4, 2, 5, 3).reshape(count, channels, height * block, width * block)
    found = blocks.new_empty(count, channels, height * block, width * block)
    # Neighbours in a row, put side by side as a complex number's two parts: one pass over memory instead of two.
    pairs = torch.view_as_complex(found.view(count, channels, height, block, width, 2))
    for down in range(block):
        torch.complex(places[:, :, down, 0], places[:, :, down, 1], out=pairs[:, :, :, down])
    return found


@lru_cache(maxsize=64)
def _places(
    kernel: tuple[int, ...], stride: int, padding: tuple[int, int], block: int
) -> tuple[tuple[int, int], tuple[int, int], Tensor]:
    """The size of a block's window and the first block's position, down and across; and 1 where a tap meets a place of a block.

    That is `(taps, places * offsets in the window)`: one product with it puts a layer's weights in their places.
    """
    (down, top), (across, left) = (_axis(k, stride, p, block) for k, p in zip(kernel, padding, strict=True))
    places = torch.einsum("uam,vbn->uvabmn", down, across).reshape(kernel[0] * kernel[1], -1)
    return (down.shape[2], top), (across.shape[2], left), places


def _axis(kernel: int, stride: int, padding: int, block: int) -> tuple[Tensor, int]:
    """Along one axis: 1 where tap u meets place a of a block at offset m of its window; and where the first block's window begins."""
    pairs = ((u, a) for u in range(kernel) for a in range(block) if (a + padding - u) % stride == 0)
    met = [(u, a, (a + padding - u) // stride) for u, a in pairs]
    first, last = (end(m for *_, m in met) for end in (min, max))
    places = torch.zeros(kernel, block, last - first + 1)
    for u, a, m in met:
        places[u, a, m - first] = 1.0
    return places, first
