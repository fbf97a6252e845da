"""The first attack: box-constrained L-BFGS on squared distance plus loss, the constant between them found by bisection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.attacks._called import attacked
from foolscope.attacks._nearest import Nearest
from foolscope.attacks._step import checked_count, checked_norm
from foolscope.losses import Loss, get_loss
from foolscope.norms import Norm
from foolscope.oracle import Oracle

NORMS = ("l2",)
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary the start aims
PAIRS = 8  # steps remembered, each with the change of the gradient along it
ARMIJO = 1e-4  # share of the decrease promised by the slope that a step must keep
SHORTER = 0.3  # what a step that does not is multiplied by
SHORTEST = 1e-3  # a step that would have to be shorter ends a minimisation
FLAT = 1e-4  # so does a decrease that is smaller, relative to the squared distance
CURVED = 1e-8  # curvature along a step, relative to its largest possible value, below which the step teaches nothing
GROWTH = 8.0  # of the constant while only failures, of its reciprocal while only successes are known
NARROW = 1.02  # a bracket of constants of this ratio is an image's last


def lbfgs(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l2",
    steps: int = 200,
    searches: int = 10,
    loss: str = "margin",
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image in l2: squared distance minus constant times loss, minimised in the box by projected L-BFGS.

    ``minimise |d|^2 - c * loss(inputs + d)``, `c` bisected, down where the minimum fools, up where not. All images advance together,
    one pass a step, and each by itself: it takes a trial or shortens its step, goes on to its next constant from where it is, and
    leaves when its constant is known. Beyond the papers: the linearised problem gives each image its first point and constant, and the
    loss is the margin, which no confidence saturates.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: l2.
        steps: gradient passes, all constants together.
        searches: constants tried at most, each for `steps / searches` passes at most.
        loss: `margin`, `ce` (as in the papers; stalls on confident logits), `logit` or `dlr`.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the nearest fooling iterate, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown norm or loss, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x = torch.tensor([[0.8, 0.4]])  # at distance 0.4 / sqrt(2) from the boundary x_1 = x_2
        >>> near = lbfgs(model, x, torch.tensor([0]))
        >>> [round(v, 2) for v in (near - x)[0].tolist()]
        [-0.2, 0.2]

    References:
        Szegedy et al. 2014, arXiv:1312.6199, sec. 4.1; Ozbulak et al. 2020, arXiv:2006.01456, eq. 1. The solver: Nocedal & Wright,
        Numerical Optimization, alg. 7.4, on the components that are free to move (Bertsekas 1982).
    """
    row, summand = checked_norm("lbfgs", norm, NORMS), get_loss(loss)
    checked_count("steps", steps), checked_count("searches", searches)
    with attacked(model, inputs, labels, targets) as oracle:
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            best[rows] = _bisect(oracle, rows, row, steps, searches, summand)
    return best


def _bisect(oracle: Oracle, rows: Tensor, norm: Norm, steps: int, searches: int, loss: Loss) -> Tensor:
    """Minimises for each row at one constant after the other; every row is at a place of its own in that."""
    shape, (lower, upper) = oracle.inputs[rows].shape, (limit.flatten(1) for limit in oracle.box(rows))
    origin = oracle.inputs[rows].flatten(1)
    nearest = Nearest(origin)

    def look(d: Tensor, live: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The perturbation as the box and rounding leave it, whether it fools, the loss and its gradient there."""
        x = oracle.clip(origin[live] + d)
        margin, value, gradient = oracle.gradient(x.view(-1, *shape[1:]), rows[live], loss)
        d = x - origin[live]
        nearest.take(x, norm.size(d), margin > 0, live)
        return d, margin > 0, value, gradient.flatten(1)

    live = torch.arange(len(rows), device=rows.device)
    margin, _, gradient = oracle.gradient(oracle.inputs[rows], rows)
    jump = norm.cross(gradient.flatten(1), -OVERSHOOT * margin, lower, upper)
    d, fooled, value, gradient = look(jump, live)
    scale = norm.size(gradient)
    constant = torch.where(scale > 0, 2 * norm.size(d) / torch.where(scale > 0, scale, 1), 1.0)
    low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
    memory = d.new_zeros(2, PAIRS, *d.shape)  # steps and changes of the loss's gradient
    length, age, tried = torch.ones_like(constant), torch.zeros_like(live), torch.zeros_like(live)
    heading = _direction(d, gradient, constant, memory, lower, upper)
    for _ in range(steps - 1):
        there, fools, loss_there, gradient_there = look(d + length[:, None] * heading, live)
        step = there - d
        slope = (step * (2 * d - constant[:, None] * gradient)).sum(1)
        fall = (d.square() - there.square()).sum(1) + constant * (loss_there - value)
        taken = fall >= -ARMIJO * slope.clamp_max(0)
        taken &= fall > 0
        pair = torch.stack([step, gradient - gradient_there])[:, None, taken]
        memory[:, :, taken] = torch.cat([memory[:, 1:, taken], pair], 1)
        d, gradient = torch.where(taken[:, None], there, d), torch.where(taken[:, None], gradient_there, gradient)
        value, fooled = torch.where(taken, loss_there, value), torch.where(taken, fools, fooled)
        length, age = torch.where(taken, 1.0, SHORTER * length), age + 1

        stuck = length < SHORTEST
        memory[:, :, stuck] = 0  # what it remembers misleads it
        over = stuck | (taken & (fall <= FLAT * d.square().sum(1))) | (age >= steps // searches)
        high, low = torch.where(over & fooled, constant, high), torch.where(over & ~fooled, constant, low)
        middle = torch.where(torch.isinf(high), GROWTH * constant, (low * high).sqrt())
        constant = torch.where(over, torch.where(low == 0, constant / GROWTH, middle), constant)
        length, age, tried = torch.where(over, 1.0, length), torch.where(over, 0, age), tried + over
        stay = (tried < searches) & (high > NARROW * low)
        if not bool(stay.all()):
            if not bool(stay.any()):
                break
            live, d, gradient, value, fooled, constant = (t[stay] for t in (live, d, gradient, value, fooled, constant))
            low, high, length, age, tried, taken = (t[stay] for t in (low, high, length, age, tried, taken))
            heading, over, lower, upper, memory = (
                heading[stay],
                over[stay],
                lower[stay],
                upper[stay],
                memory[:, :, stay],
            )
        fresh = taken | over
        new = _direction(d[fresh], gradient[fresh], constant[fresh], memory[:, :, fresh], lower[fresh], upper[fresh])
        heading[fresh] = new
    return nearest.x.view(shape)


def _direction(d: Tensor, gradient: Tensor, constant: Tensor, memory: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The two-loop recursion, a row an image, over the components that the box lets move.

    The memory holds the loss's curvature alone, so that it outlives a change of the constant; the distance's is known, twice the step.
    """
    slope = 2 * d - constant[:, None] * gradient
    free = ~(((d <= lower) & (slope > 0)) | ((d >= upper) & (slope < 0)))
    slope = torch.where(free, slope, 0)
    steps = torch.where(free, memory[0], 0)
    changes = torch.where(free, 2 * memory[0] + constant[:, None] * memory[1], 0)
    along, squared = (steps * changes).sum(2), changes.square().sum(2)
    sound = along > CURVED * (steps.square().sum(2) * squared).sqrt()
    weight = torch.where(sound, 1 / torch.where(sound, along, 1), 0)
    inverse = torch.full_like(
        constant, 0.5
    )  # of the distance's curvature; then of the curvature along the latest sound step
    heading, shares = slope, []
    for k in reversed(range(PAIRS)):
        share = weight[k] * (steps[k] * heading).sum(1)
        shares.append(share)
        heading = heading - share[:, None] * changes[k]
    for k in range(PAIRS):
        inverse = torch.where(sound[k], along[k] / torch.where(sound[k], squared[k], 1), inverse)
    heading = inverse[:, None] * heading
    for k, share in zip(range(PAIRS), reversed(shares), strict=True):
        heading = heading + steps[k] * (share - weight[k] * (changes[k] * heading).sum(1))[:, None]
    heading = torch.where(free, heading, 0)
    falls = (heading * slope).sum(1, keepdim=True) > 0
    return -torch.where(falls, heading, slope / 2)
