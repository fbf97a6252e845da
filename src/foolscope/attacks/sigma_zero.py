"""sigma-zero: the fewest changed components, by gradient steps on a smooth count of them, then by exchange."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foolscope.attacks._best import room, take_rows
from foolscope.attacks._called import attacked
from foolscope.attacks._nearest import Nearest
from foolscope.attacks._step import checked_box, checked_count, checked_norm, checked_positive
from foolscope.norms import Norm
from foolscope.oracle import Oracle

NORMS = ("l0",)
FADE = 0.9, 0.999  # of the running means of the gradient and of its square (Adam's)
LAST_STEP = 0.1  # what the step falls to, relative to the first
SOFT = 1e-3  # a component d counts as d^2 / (d^2 + SOFT), in units of the box's width, as all here
SPARSE = 0.3  # the first threshold below which a component is put back
TRIM = 0.01  # by how much of a step the threshold moves
SHARE = 0.3  # of the margin that is spent on putting back many components at once
EXCHANGE, LEAST = 0.15, 8  # share of the steps that try exchanges, and steps below which none does
STILL = 1e-8  # added to the root of the squares' mean (Adam's)
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary the first iterate aims


def sigma_zero(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l0",
    steps: int = 100,
    step_size: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """The fooling image with the fewest changed components: steps up the margin and down a smooth count, small changes put back.

    While the image is not fooled ``g`` is the gradient of ``margin - mean(d^2 / (d^2 + SOFT))``, once it is that of the count alone;
    ``d <- d + step_size * adam(g / max|g|)`` in the box, then ``d[|d| < tau] <- 0``, where ``tau`` rises after a success and falls after
    a failure. Beyond the paper: the first step solves the linearised problem exactly, box included, so that affine problems are solved
    at once; the last seventh of the steps puts back what is worth least to the margin, many at once until that fails, or changes one more
    component fully for two that are put back, with the others where the margin's slopes end or the box does.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: l0.
        steps: gradient steps.
        step_size: the first step of a component with a steady gradient, as a share of the box's width.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the sparsest fooling iterate, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: another norm, a number out of its range, or no box.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> x = torch.tensor([[0.9, 0.1]])  # either component alone can do it
        >>> near = sigma_zero(model, x, torch.tensor([0]))
        >>> int(((near - x) != 0).sum())
        1

    References:
        Cinà et al. 2024, arXiv:2402.01879, alg. 1 and eq. 3-4.
    """
    row = checked_norm("sigma_zero", norm, NORMS)
    checked_count("steps", steps)
    checked_positive("step_size", step_size)
    with attacked(model, inputs, labels, targets) as oracle:
        checked_box(oracle, row)
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            exchanges = int(EXCHANGE * steps) if steps >= LEAST else 0
            found, x, first = _sparsify(oracle, rows, row, steps - exchanges, step_size)
            if exchanges:
                x = _exchange(oracle, rows, row, found, first, exchanges)
            found.take(x, row.size(x - oracle.inputs[rows]), oracle.value(x, rows)[0] > 0)
            best[rows] = found.x
    return best


def _sparsify(oracle: Oracle, rows: Tensor, norm: Norm, steps: int, step_size: float) -> tuple[Nearest, Tensor, Tensor]:
    """What gradient steps find; the last iterate, which was not looked at yet; and the margin's gradient at the image, `(r, d)`."""
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    view = (-1, *[1] * (origin.ndim - 1))
    found = Nearest(origin, room(origin))
    smooth, step_size = SOFT * oracle.width**2, step_size * oracle.width
    least = max(STILL, torch.finfo(origin.dtype).tiny)  # float16 has no 1e-8: 0 / 0
    x, d, tau = origin, torch.zeros_like(origin), origin.new_full((len(rows),), SPARSE * oracle.width)
    mean, square = torch.zeros_like(origin), torch.zeros_like(origin)
    length = step_size
    for step in range(steps):
        margin, _, gradient = oracle.gradient(x, rows)
        fooled = margin > 0
        found.take(x, norm.size(d), fooled)
        if step == 0:
            first, jump = gradient.flatten(1).clone(), norm.cross(gradient, -OVERSHOOT * margin, lower, upper)
        soft = d.square().add_(smooth)
        count = torch.mul(d, 2 * smooth / d[0].numel()).div_(soft.square_())
        ascent = gradient.mul_((~fooled).to(d.dtype).view(view)).sub_(count)
        largest = norm.dual(ascent)
        ascent /= torch.where(largest > 0, largest, 1).view(view)
        mean.lerp_(ascent, 1 - FADE[0])
        square.mul_(FADE[1]).addcmul_(ascent, ascent, value=1 - FADE[1])
        if step == 0:
            d = jump
        else:
            rate = length / (1 - FADE[0] ** (step + 1))
            spread = torch.div(square, 1 - FADE[1] ** (step + 1), out=soft).sqrt_().add_(least)
            d.addcdiv_(mean, spread, value=rate)
        length = step_size * (LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * step / steps)) / 2)
        torch.clamp(d, lower, upper, out=d)
        if step:
            tau = (tau + torch.where(fooled, TRIM, -TRIM) * length).clamp_(0, oracle.width)
            size = torch.abs(d, out=soft)
            d.mul_(torch.ge(size, tau.view(view), out=size))  # by a mask that is a float: quicker than to fill in
        x = oracle.clip(torch.add(origin, d, out=ascent))
        torch.sub(x, origin, out=d)
    return found, x, first


def _exchange(oracle: Oracle, rows: Tensor, norm: Norm, found: Nearest, first: Tensor, steps: int) -> Tensor:
    """Tries to do with fewer components, in place; the last attempt, which was not looked at yet.

    Along each component the margin's slope is taken to be linear between the image, where it is `first`, and the point found.
    """
    origin, (lower, upper) = oracle.inputs[rows], (side.flatten(1) for side in oracle.box(rows))
    x, slope, tried = found.x.clone(), torch.zeros_like(lower), torch.zeros_like(lower)
    lead, eager = torch.zeros_like(found.size), torch.ones_like(found.size)  # 1 while putting back many has not failed
    # Masks are floats: `where` and `masked_fill` with irregular ones take ten times as long (torch 2.13, CPU).
    for step in range(steps):
        margin, _, gradient = oracle.gradient(x, rows)
        better = found.take(x, norm.size(x - origin), margin > 0)
        take_rows(slope, gradient.flatten(1), better | (step == 0))  # at `found.x`, as `lead`
        take_rows(lead, margin, better | (step == 0))
        if step % 2:
            eager.mul_(better)
        d = (found.x - origin).flatten(1)
        moved = torch.ne(d, 0, out=torch.empty_like(d))
        room = lower.lerp(upper, torch.gt(slope, 0, out=torch.empty_like(d)))
        left = norm.size(moved - moved * tried)[:, None] > 0
        tried.mul_(moved).mul_(left & ~better[:, None])
        least = ((slope + first) / 2 * d).maximum(_fence(moved - tried)).topk(min(2, d.shape[1]), largest=False).indices
        # Every other pair of attempts moves what is left as far as the margin rises within the box, which costs nothing in l0.
        far = step % 4 >= 2
        goal, ends = _farthest(d, room, slope, first, lower, upper) if far else (d, slope)
        attempt = d.lerp(goal, moved * torch.ne(slope, 0, out=torch.empty_like(d)))
        if step % 2:
            most = (slope * room).minimum(_fence(moved)).argmax(1, keepdim=True)
            attempt = attempt.scatter(1, most, room.gather(1, most)).scatter(1, least, 0)
        else:
            worth = (first + ends) / 2 * attempt * moved
            hope = lead + worth.sum(1) - ((first + slope) / 2 * d).sum(1)
            many = attempt * (1 - _least_worth(worth, moved, SHARE * hope))
            attempt = many.lerp(attempt.scatter(1, least[:, :1], 0), 1 - eager[:, None])
            tried.scatter_(1, least[:, :1], 1 - eager[:, None])
        x = oracle.clip(origin + attempt.view_as(origin))
    return x


def _farthest(
    d: Tensor, room: Tensor, slope: Tensor, first: Tensor, lower: Tensor, upper: Tensor
) -> tuple[Tensor, Tensor]:
    """How far components go, and the slope there: to its end where they went uphill and it gets flatter, else to the box's, `room`."""
    bend = first - slope
    peak = (d * first / torch.where(bend == 0, 1, bend)).maximum(lower).minimum(upper)
    ends = (bend * first > 0) & (d * first > 0)
    return torch.where(ends, peak, room), torch.where(ends, 0, slope)


def _least_worth(worth: Tensor, moved: Tensor, spend: Tensor) -> Tensor:
    """1 at the moved components whose worth, the least first, is together at most `spend` `(r,)`, and at the first; 0 elsewhere."""
    order = worth.maximum(_fence(moved)).argsort(1)
    many = worth.gather(1, order).clamp_min(0).cumsum(1) <= spend[:, None]
    many[:, 0] = True
    return torch.zeros_like(worth).scatter_(1, order, many.to(worth.dtype)) * moved


def _fence(mask: Tensor) -> Tensor:
    """-inf where the mask, of floats, is 1 and inf where it is 0."""
    return (0.5 - mask).mul_(torch.inf)
