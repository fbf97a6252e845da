"""The model as attacks see it: logits and input gradients for a batch of images, every pass counted, per image.

Gradients are asked for here and nowhere else, and for the input alone.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foolscope.errors import ForeignError, InputError
from foolscope.foreign import foreign_code
from foolscope.losses import LOSSES, Loss, get_loss, margin, margin_base, margin_slope
from foolscope.tally import NOT_FINITE, OK, ZERO, SharedTally, Tally

__all__ = ["NOT_FINITE", "OK", "ZERO", "Answer", "Oracle"]
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class _Known(NamedTuple):
    """What a pass over the same rows needs every time.

    Attributes:
        rows: `(r,)`, as the attack handed them over.
        labels, targets: `(r,)`; `targets` may be None.
        own: `(r, 1)`: the targets, or the labels.
        scale: `(r, 1)`, of the logits.
        size: `(r, 1)`: scale, negative when targeted.
        base: `(r, c)`, from `margin_base`.
        aim: `(r,)`, from `Oracle.aimed`, or None.
    """

    rows: Tensor
    labels: Tensor
    targets: Tensor | None
    own: Tensor
    scale: Tensor
    size: Tensor
    base: Tensor
    aim: Tensor | None


class Answer(NamedTuple):
    """What one forward and backward pass tells, a row an image.

    Attributes:
        margin: `(r,)`, positive exactly where the image is fooled; in the units of the rescaled logits.
        loss: `(r,)`, in the same units for homogeneous losses.
        gradient: `(r, ...)`, of the loss with respect to the input; non-finite entries are set to 0.
    """

    margin: Tensor
    loss: Tensor
    gradient: Tensor


class Oracle:
    """A model, a batch of images and what is known of them.

    Rows: wherever a method takes `x` and `rows`, `x` holds candidates for the images `rows` (positions in this batch), so that only
    undecided images cost anything. What a pass needs of them is looked up once for as long as the attack hands over the same tensor
    `rows`, which must not change in place.

    Homogeneous losses see the logits multiplied by a power of two per image, chosen so that the clean logits' spread lies in [1/2, 1):
    an attack then takes the same steps, bit for bit, whatever power of two the logits are multiplied by.

    Args:
        model: images `(b, ...)` to logits `(b, c)`.
        inputs: `(b, ...)`, within `bounds`; moved to the model's device, cast to its dtype and laid out row by row.
        labels: int64 `(b,)`.
        targets: int64 `(b,)`: fooled then means classified as the target. None: classified as anything but the label.
        bounds: the box, in input units; None for an unbounded input space.
        index: the images' indices in the data set, int64 `(b,)`; they key the random draws. Default 0, 1, ...
        clean: the clean logits `(b, c)`, where they are known already; else they cost one forward pass when first needed.
        batch: rows that a pass should hold at most, for attacks that try several candidates of an image at once (one image's always go
            together); b when None.

    Raises:
        InputError: shapes or dtypes that do not fit each other.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        targets: Tensor | None = None,
        bounds: tuple[float, float] | None = (0.0, 1.0),
        index: Tensor | None = None,
        clean: Tensor | None = None,
        batch: int | None = None,
    ) -> None:
        like = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), inputs)
        self.model = model
        # Images read from files are often channels-last: beside gradients that are not, every operation of an attack's would be slower.
        self.inputs = inputs.to(like.device, like.dtype).detach().contiguous()
        self.bounds = bounds
        count = len(self.inputs)
        self.batch = count if batch is None else batch
        self.labels = _integers("labels", labels, count).to(like.device)
        self.targets = None if targets is None else _integers("targets", targets, count).to(like.device)
        self.index = (torch.arange(count) if index is None else _integers("index", index, count)).to(like.device)
        self._tally: Tally = Tally(count)
        self._seen: _Known | None = None
        self._aim: Tensor | None = None
        self._warned = False
        self._clean = None if clean is None else clean.to(like.device, like.dtype)

    def __len__(self) -> int:
        return len(self.inputs)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits with a graph, for attacks that use `autograd` themselves; a backward pass through them is counted too.

        `x` holds k candidates an image (k >= 1, the batch repeated k times); any other number of rows is charged to every image.
        """
        per_image = -(-len(x) // max(1, len(self)))
        self._tally.add(self.rows_all, forwards=per_image)
        logits = self.run(x)
        if logits.requires_grad:

            def count(gradient: Tensor) -> None:
                self._tally.add(self.rows_all, backwards=per_image)

            logits.register_hook(count)  # type: ignore[no-untyped-call]
        return logits

    @property
    def forwards(self) -> Tensor:
        """Forward passes so far, int64 `(b,)` on the CPU."""
        return self._tally.forwards

    @property
    def backwards(self) -> Tensor:
        """Backward passes so far, int64 `(b,)` on the CPU."""
        return self._tally.backwards

    @property
    def state(self) -> Tensor:
        """How each image's latest gradient was, int8 `(b,)` on the CPU: `OK`, `ZERO` or `NOT_FINITE`."""
        return self._tally.state

    @cached_property
    def clean(self) -> Tensor:
        """The clean images' logits, `(b, c)`."""
        return self.logits(self.inputs, self.rows_all) if self._clean is None else self._clean

    @cached_property
    def rows_all(self) -> Tensor:
        """Every row, `(b,)`."""
        return torch.arange(len(self), device=self.inputs.device)

    @cached_property
    def _scale(self) -> Tensor:
        """The power of two per image that brings the clean logits' spread into [1/2, 1), `(b, 1)`."""
        spread = (self.clean.amax(1, keepdim=True) - self.clean.amin(1, keepdim=True)).nan_to_num(1.0, 1.0, 1.0)
        most = min(100, int(math.log2(torch.finfo(spread.dtype).max)) - 1)
        exponent = torch.frexp(torch.where(spread > 0, spread, 1.0)).exponent.clamp(-most, most)
        return torch.ldexp(torch.ones_like(spread), -exponent)

    def rivals(self, count: int) -> Tensor:
        """The likeliest wrong classes of the clean images, the likeliest first, `(b, count)` or as many as there are."""
        # A class that the model rules out, at -inf, still comes before the label itself.
        finite = self.clean.clamp_min(torch.finfo(self.clean.dtype).min)
        wrong = finite.scatter(1, self.labels[:, None], -torch.inf)
        return wrong.topk(min(count, wrong.shape[1] - 1), dim=1).indices

    def undecided(self) -> Tensor:
        """The rows that the model gets right on the clean image (targeted: that are not the target already)."""
        return self.rows_all[self.margin(self.clean, self.rows_all) <= 0]

    @property
    def width(self) -> float:
        """Of the box, in input units: what a change of a single component is measured by; 1 where there is no box."""
        return 1.0 if self.bounds is None else self.bounds[1] - self.bounds[0]

    def box(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The box relative to each image, `(r, ...)` twice: how far down (<= 0) and up (>= 0) each component may move."""
        x = self.inputs[rows]
        if self.bounds is None:
            return torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
        return self.bounds[0] - x, self.bounds[1] - x

    def clip(self, x: Tensor) -> Tensor:
        """`x` moved into the box, in place."""
        return x if self.bounds is None else x.clamp_(*self.bounds)

    def logits(self, x: Tensor, rows: Tensor) -> Tensor:
        """Logits `(r, c)` without a graph; one forward an image."""
        self._tally.add(rows, forwards=1)
        with torch.no_grad():
            return self.run(x)

    def margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The margin `(r,)` of rescaled logits: positive exactly where the image is fooled."""
        targets = None if self.targets is None else self.targets[rows]
        return margin(logits * self._scale[rows], self.labels[rows], targets).to(self.inputs.dtype)

    def gradient(self, x: Tensor, rows: Tensor, loss: str | Loss = "margin") -> Answer:
        """Loss and input gradient; one forward and one backward an image (none where the model cuts the graph)."""
        loss = get_loss(loss) if isinstance(loss, str) else loss
        x, logits = self._trace(x, rows)
        reached, value, slope = self._steer(logits.detach(), rows, loss)
        gradient = self._pull_back(x, logits, slope, rows, loss)
        return Answer(reached.to(gradient.dtype), value.to(gradient.dtype), gradient)

    def lead(self, x: Tensor, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """A class's lead over the label, `(p,)` in rescaled logits, and its input gradient `(p, ...)`, for pairs of image and class.

        Here `rows` `(p,)` may repeat, once for each of an image's `classes` `(p,)`; one forward and one backward a pair.
        """
        x, logits = self._trace(x, rows)
        own, other, scale = self.labels[rows, None], classes[:, None], self._scale[rows].to(logits.dtype)
        seen = logits.detach() * scale
        slope = torch.zeros_like(seen).scatter_(1, own, -scale).scatter_(1, other, scale)
        lead = (seen.gather(1, other) - seen.gather(1, own)).squeeze(1)
        return lead.to(x.dtype), self._pull_back(x, logits, slope, rows, LOSSES["margin"])

    def value(self, x: Tensor, rows: Tensor, loss: str | Loss = "margin") -> tuple[Tensor, Tensor]:
        """Margin and loss, each `(r,)`, by a forward pass alone."""
        loss = get_loss(loss) if isinstance(loss, str) else loss
        reached, value, _ = self._steer(self.logits(x, rows), rows, loss)
        return reached.to(x.dtype), value.to(x.dtype)

    def towards(self, targets: Tensor) -> Oracle:
        """The same images and counts with the gradients and margins of a targeted attack."""
        other = copy.copy(self)
        other.targets, other._seen = targets, None
        return other

    def aimed(self, classes: Tensor) -> Oracle:
        """The same images, counts and margins with gradients that lead to these classes `(b,)`: any wrong class is still a success.

        With targets, every gradient leads to them already.
        """
        if self.targets is not None:
            return self
        other = copy.copy(self)
        other._aim, other._seen = classes, None
        return other

    def paired(self, rows: Tensor, classes: Tensor) -> Oracle:
        """An oracle over pairs of image and class, `(p,)` each: gradients lead to the pair's class, and its passes count for its image.

        What fools is as for these images; with targets, every gradient leads to them already.
        """
        images, labels, index, clean = (t[rows] for t in (self.inputs, self.labels, self.index, self.clean))
        targets = None if self.targets is None else self.targets[rows]
        other = Oracle(self.model, images, labels, targets=targets, bounds=self.bounds, index=index, clean=clean)
        other._tally = SharedTally(self._tally, rows)
        return other.aimed(classes)

    def through(self, model: nn.Module | None) -> Oracle:
        """The same images, counts and clean logits with passes through a copy that computes the same faster; None: as it is."""
        if model is None:
            return self
        other = copy.copy(self)
        other.model, other._clean = model, self.clean
        return other

    def slope(self, x: Tensor, rows: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and their directional derivative, both `(r, c)`, whatever the number of classes.

        By forward-mode differentiation, counted as two forwards. Where an operation of the model has none (a function with a backward of
        its own, say), by differentiating the backward pass: one forward and two backwards.
        """
        try:
            with _forward_mode():
                answer: tuple[Tensor, Tensor] = torch.func.jvp(self.run, (x,), (direction,), has_aux=False)[:2]
        except ForeignError as error:
            if not isinstance(error.__cause__, RuntimeError):  # NotImplementedError is one
                raise
            return self._slope_twice_back(x, rows, direction)
        self._tally.add(rows, forwards=2)
        return answer

    def _slope_twice_back(self, x: Tensor, rows: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """J d as the derivative of J^T v, which is linear in v, along d."""
        x, logits = self._trace(x, rows)
        if not logits.requires_grad:
            return logits, torch.zeros_like(logits)
        self._tally.add(rows, backwards=2)
        with foreign_code(), torch.enable_grad():
            v = torch.zeros_like(logits, requires_grad=True)
            (back,) = torch.autograd.grad(logits, x, v, create_graph=True, materialize_grads=True)
            (slope,) = torch.autograd.grad(back, v, direction, materialize_grads=True)
        return logits.detach(), slope

    def _trace(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The input as a leaf, and its logits with their graph."""
        self._tally.add(rows, forwards=1)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return x, self.run(x)

    def _pull_back(self, x: Tensor, logits: Tensor, slope: Tensor, rows: Tensor, loss: Loss) -> Tensor:
        """The input gradient for this gradient with respect to the logits; finite, and noted if it was not or is zero."""
        gradient = None
        if logits.requires_grad:  # a model that cuts the graph (no_grad, detach, rounding to integers) counts as flat
            self._tally.add(rows, backwards=1)
            with foreign_code():
                (gradient,) = torch.autograd.grad(logits, x, slope, allow_unused=True)
        # Attacks work in place on it, which an expanded gradient (of a sum, say) would not stand.
        gradient = torch.zeros_like(x) if gradient is None else gradient.contiguous()
        if gradient.device.type == "cpu" and _healthy(gradient):  # on an accelerator a look would wait for the device
            self._tally.note(rows, OK)
            return gradient
        return self._mend(gradient, rows, loss)

    def _steer(self, logits: Tensor, rows: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Margin and loss `(r,)`, and the loss's gradient with respect to the logits `(r, c)`."""
        known = self._known(rows)
        aim = None if known.aim is None else known.aim[:, None]
        reached, slope = margin_slope(logits, known.own, known.size, known.base, aim)
        if loss.name == "margin":
            return reached, reached, slope
        leaf, clean = logits.clone().requires_grad_(), self.clean[rows]
        with torch.enable_grad():
            seen, clean = (leaf * known.scale, clean * known.scale) if loss.homogeneous else (leaf, clean)
            value = loss.function(seen, known.labels, known.targets if known.aim is None else known.aim, clean)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return reached, value.detach(), slope

    def _known(self, rows: Tensor) -> _Known:
        if self._seen is None or self._seen.rows is not rows:
            labels, targets = self.labels[rows], None if self.targets is None else self.targets[rows]
            own, scale = (labels if targets is None else targets)[:, None], self._scale[rows]
            size = scale if targets is None else -scale
            base = margin_base(own, size, self.clean.shape[1])
            aim = None if self._aim is None else self._aim[rows]
            self._seen = _Known(rows, labels, targets, own, scale, size, base, aim)
        return self._seen

    def _mend(self, gradient: Tensor, rows: Tensor, loss: Loss) -> Tensor:
        """Notes which gradients are zero or not finite; their non-finite entries become 0."""
        flat = gradient.flatten(1)
        finite, dead = torch.isfinite(flat).all(1), (flat == 0).all(1)
        self._tally.note(rows, torch.where(finite, dead.to(torch.int8), NOT_FINITE))
        if loss.name in ("ce", "ce_sign") and not self._warned and bool(dead.any()):
            self._warned = True
            warnings.warn(
                f"loss={loss.name}: its gradient is exactly zero for {int(dead.sum())} of {len(dead)} images (it underflows on confident "
                "logits); loss=margin does not depend on the scale of the logits",
                stacklevel=4,
            )
        return gradient.nan_to_num(0.0, 0.0, 0.0)

    def run(self, x: Tensor) -> Tensor:
        """Logits with a graph, not counted: for training, where nobody asks what an image cost."""
        with foreign_code():
            logits = self.model(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
            came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError("MODEL", f"logits of shape ({len(x)}, classes)", str(came))
        return logits


@contextmanager
def _forward_mode() -> Iterator[None]:
    """Kernels that have a forward-mode derivative: attention by its formula, without PyTorch's fast paths."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # torch's own, once, when it loads its forward-mode rules
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is (deprecated|not supported)", DeprecationWarning)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _healthy(gradient: Tensor) -> bool:
    """Whether every row is surely finite and not zero throughout: by the rows' sums, the cheapest look at all of them.

    A sum that is 0 or not finite (by cancellation or overflow, perhaps) turns into NaN and asks for a closer look.
    """
    total = gradient.flatten(1).sum(1)
    return not math.isnan(float((total / total).sum()))


def _integers(name: str, value: Tensor, count: int) -> Tensor:
    if value.dtype not in INTEGERS or value.shape != (count,):
        raise InputError(name, f"{count} integers, one an image", f"{value.dtype} of shape {tuple(value.shape)}")
    return value.to(torch.int64)
