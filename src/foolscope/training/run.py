"""Training from settings to files: `foolscope.training.train`."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.attacks import ATTACKS
from foolscope.binding import norm_meant
from foolscope.data import fingerprint
from foolscope.errors import InputError
from foolscope.foreign import foreign_code, loaded_object
from foolscope.given import (
    Bounds,
    Data,
    attack_function,
    attack_of,
    checked_seed,
    data_of,
    is_foreign,
    source_of,
    subject_of,
)
from foolscope.ledger import Progress
from foolscope.models.adapters import core
from foolscope.numbers import number
from foolscope.store import open_store
from foolscope.subject import DEFAULT_EPS, Subject, adapted, settings_of
from foolscope.training.images import bind_augmentation, held, split, subset, to_learn_from
from foolscope.training.loop import Plan, rehearse, run_loop
from foolscope.training.result import Trained, finished_run, record_of, write_run
from foolscope.training.schedules import RATES, bind_schedule, make_optimiser
from foolscope.training.table import OBJECTIVES, Function, Objective, bind_objective
from foolscope.training.tensorboard import board
from foolscope.training.watching import Epoch, adversarial_error, some

if TYPE_CHECKING:
    from foolscope.data import DataSet

STOPS = ("none", "clean", "adversarial")
WATCHED = 1000  # training images behind the training error
PROBE = "pgd:steps=10"


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _unheard(epoch: Epoch) -> None:
    pass


def train(
    model: str | nn.Module,
    data: Data,
    *,
    objective: str | Function | Objective = "plain",
    epochs: int = 10,
    batch_size: int = 128,
    optimiser: str = "sgd",
    lr: float | None = None,
    momentum: float | tuple[float, float, float] = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    augment: str = "none",
    validation: Data | float | None = 0.1,
    stop: str = "none",
    patience: int = 10,
    probe: str = PROBE,
    probe_samples: int = 500,
    norm: str = "linf",
    eps: float | str | None = None,
    bounds: Bounds = (0.0, 1.0),
    samples: int | None = None,
    seed: int = 0,
    device: str | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int | None = None,
    crop: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    time_limit: float | None = None,
    command: str = "",
    progress: Progress = _silent,
    told: Callable[[Epoch], None] = _unheard,
) -> Trained:
    """Trains a copy of this classifier: plainly, or hardened against attacks.

    Args:
        model: a MODEL text as on the command line, or a module from images in `bounds` to logits; it comes back untouched.
        data: a DATA text, `(images, labels)`, a DataLoader or another iterable of such batches, or a `DataSet`.
        objective: `NAME[:key=value,...][+TERM...]` from `OBJECTIVES`, `file.py:FUNCTION`, or a function
            `(model, inputs, labels) -> (b,)`; what the text sets wins over `norm` and `eps`.
        epochs: passes over the training images.
        batch_size: images an update.
        optimiser: sgd, adam or adamw.
        lr: learning rate; 0.1 for sgd, 0.001 for the others when None.
        momentum: of sgd; (first, last, epochs) rises in a straight line over so many epochs.
        weight_decay: as torch's optimisers have it.
        schedule: constant, linear, cosine, steps, cycle or exponential, with options after a colon.
        augment: none, or flip and crop joined by +, as in `crop:pad=4+flip`.
        validation: a share of `data` that is not trained on (the same images for every seed), other data, or None.
        stop: none, or the validation error that must fall: clean or adversarial.
        patience: epochs without a fall after which training stops.
        probe: the ATTACK text behind the adversarial validation error, of a fixed-eps attack or `file.py:FUNCTION`.
        probe_samples: validation images that are attacked after each epoch, at most.
        norm, eps: the ball, for objectives without one of their own and for the probe; eps a number or a text such as "8/255", which is
            also what an objective that needs one gets in linf when None.
        bounds: the box; None for none.
        samples: only the first N images of `data`.
        seed: of the initial weights of a MODEL text and every random draw.
        device: for a MODEL text, cuda if present when None; a module stays where it is.
        weights: a file for a MODEL text.
        mean, std: normalisation put inside the model.
        resize, crop: for images larger than the network's input.
        out: the folder for weights, `train.json`, `history.parquet` and `report.html`; None keeps no files.
        overwrite: replace another run in `out`.
        time_limit: seconds after which no further update is begun; the same call goes on from there.
        command: as typed, for the record.
        progress: told (stage, images done, images in all).
        told: each epoch's record.

    Returns:
        A `Trained`.

    Raises:
        InputError: bad input in one line, or a loss that is no longer finite.
        ForeignError: the model or the objective raised.

    Example:
        >>> images, labels = torch.rand(64, 1, 2, 2), torch.arange(64) % 2
        >>> images[labels == 1] = 1 - images[labels == 1].clamp(max=0.4)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> trained = train(model, (images, labels), epochs=2, batch_size=16, objective="fgsm_mix:eps=0.1")
        >>> len(trained.history), type(trained.module).__name__
        (2, 'Sequential')
    """
    checked_seed(seed)
    radius = number("--eps", eps) if isinstance(eps, str) else eps
    _checked(epochs, batch_size, patience, probe_samples, stop)
    _checked_rates(lr, momentum, weight_decay)
    deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    given = {"norm": norm} | ({} if radius is None else {"eps": radius})
    with ExitStack() as stack:
        meant = norm_meant(objective, norm) if isinstance(objective, str) else norm
        fallback = {"eps": DEFAULT_EPS} if meant == "linf" else {}  # where a radius is needed
        goal = _objective(objective, stack, fallback | given)
        timetable, moves = bind_schedule(schedule), bind_augmentation(augment)
        eps_probed = goal.eps if goal.eps is not None else radius
        if eps_probed is None and stop == "adversarial":
            eps_probed = fallback.get("eps")
        ball = {"norm": goal.options.get("norm", norm), "eps": eps_probed, "seed": 0}
        bound = None
        # A probe that is named is looked at, though without a radius it does not run.
        if eps_probed is not None or probe != PROBE:
            radius_probed = DEFAULT_EPS if eps_probed is None else eps_probed
            bound = attack_of("--probe", probe, stack, **ball | {"eps": radius_probed})
            if "eps" not in bound.options:
                fixed = [row.name for row in ATTACKS.values() if row.kind == "fixed eps"]
                raise InputError("--probe", "an attack at a given eps", bound.name, fixed)
            bound = None if eps_probed is None else bound
        probe_norm = ball["norm"] if bound is None else bound.options.get("norm", ball["norm"])
        if stop == "adversarial" and bound is None:
            raise InputError("--eps", "a radius, which adversarial early stopping needs", None)
        images = data_of(to_learn_from(data), samples, resize, crop, bounds)
        apart = _apart(validation, resize, crop, bounds)
        if stop != "none" and (validation is None or validation == 0):
            raise InputError("--validation", f"validation images, which stopping on the {stop} error needs", None)
        subject = subject_of(model, weights, mean, std, device, seed, untrained=True)
        positions = watching = np.arange(len(images))
        if isinstance(validation, int | float) and validation != 0:
            positions, watching = split(images, float(validation))
        own = copy.deepcopy(subject.module)
        trainee = _fitting(replace(subject, module=own), images, bounds, batch_size)
        rate = RATES.get(optimiser, 0.0) if lr is None else lr
        learner = make_optimiser(optimiser, own, rate, _first(momentum), weight_decay)
        few = subset(images, positions[:2])
        rehearse(goal, trainee, few, moves, bounds)
        if bound is not None:
            adversarial_error(trainee, few, next(own.parameters()).device, bound, probe_norm, bounds)
        images = held(images, progress)
        held_out = None if apart is None else held(apart, _silent)
        if watching is not positions:
            held_out = subset(images, watching)
        settings = settings_of(
            "train",
            subject,
            images,
            fingerprint(images),
            objective=_named(objective, goal),
            training=positions.tolist()
            if len(positions) < 2
            else [len(positions), int(positions[0]), int(positions[-1])],
            validation=None if held_out is None else {"n": len(held_out), "sha256": fingerprint(held_out)},
            **given,
            epochs=epochs,
            batch_size=batch_size,
            optimiser=optimiser,
            lr=rate,
            momentum=momentum,
            weight_decay=weight_decay,
            schedule=schedule,
            augment=augment,
            stop=stop,
            patience=patience,
            probe=_sourced(probe, probe),
            probe_samples=probe_samples,
            bounds=None if bounds is None else list(bounds),
            seed=seed,
            threads=torch.get_num_threads(),
        )
        folder = (
            Path(out)
            if out is not None
            else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foolscope-")))
        )
        store = open_store(folder, settings, overwrite=overwrite)
        finished = finished_run(store, own, held_out) if store.resumed else None
        if finished is not None:
            return finished
        plan = Plan(
            model=trainee,
            weights=core(own),
            data=images,
            positions=positions,
            watched=some(subset(images, positions), WATCHED),
            validation=held_out,
            probed=None if held_out is None else some(held_out, probe_samples),
            probe=bound,
            probe_norm=probe_norm,
            objective=goal,
            optimiser=learner,
            schedule=timetable,
            augment=moves,
            lr=rate,
            momentum=momentum,
            epochs=epochs,
            batch_size=batch_size,
            stop=stop,
            patience=patience,
            bounds=bounds,
            seed=seed,
        )
        stack.enter_context(store.begin())
        log = board(store.folder / "tensorboard") if out is not None else _unheard

        def tell(epoch: Epoch) -> None:
            log(epoch)
            told(epoch)

        at = run_loop(plan, store, progress, tell, deadline)
        record = record_of(subject, images, settings, plan, at, command)
        return write_run(store, own, record, at, held_out, out is not None)


def _checked(epochs: int, batch_size: int, patience: int, probe_samples: int, stop: str) -> None:
    counts = {"--epochs": epochs, "--batch-size": batch_size, "--patience": patience, "--probe-samples": probe_samples}
    for option, value in counts.items():
        if value < 1:
            raise InputError(option, "a whole number of at least 1", value)
    if stop not in STOPS:
        raise InputError("--stop", "what early stopping watches", stop, STOPS)


def _checked_rates(lr: float | None, momentum: float | tuple[float, float, float], weight_decay: float) -> None:
    for option, value in (("--lr", lr or 0.0), ("--weight-decay", weight_decay)):
        if not 0 <= value < math.inf:
            raise InputError(option, "a finite number of at least 0", value)
    first, last, epochs = momentum if isinstance(momentum, tuple | list) else (momentum, momentum, 1)
    if not (0 <= first < 1 and 0 <= last < 1 and epochs > 0):
        raise InputError("--momentum", "a number in [0, 1), or two of them and a number of epochs", momentum)


def _objective(objective: str | Function | Objective, stack: ExitStack, given: dict[str, Any]) -> Objective:
    if not isinstance(objective, str) or objective.partition(":")[0].partition("+")[0] in OBJECTIVES:
        goal = bind_objective(objective, **given)
        attack = goal.options.get("attack")
        if not isinstance(attack, str) or not is_foreign(attack):
            return goal
        inner = attack_function("--objective", attack, stack)
        return replace(goal, text=_sourced(goal.text, attack), options={**goal.options, "attack": inner})
    if ":" not in objective:
        return bind_objective(objective)  # which tells the names
    function = stack.enter_context(loaded_object("--objective", objective))
    if not callable(function):
        raise InputError("--objective", f"{objective} to be a function", f"a {type(function).__name__}")

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> Tensor:
        with foreign_code():
            loss: Tensor = function(*arguments, **options)
        return loss

    return bind_objective(objective, guarded, **given)


def _named(objective: str | Function | Objective, goal: Objective) -> str:
    """The objective for the record; a stranger's with a hash of its file, or of its own code where there is none."""
    if isinstance(objective, str) and source_of(objective):
        return _sourced(goal.text, objective)
    if isinstance(objective, str) and objective.partition(":")[0].partition("+")[0] in OBJECTIVES:
        return goal.text
    told = [_code(goal.function), *((key, _code(value)) for key, value in goal.options.items())]
    return f"{goal.text} ({hashlib.sha256(repr(told).encode()).hexdigest()[:12]})"


def _code(value: Any) -> str:
    """What tells one option from another: a function's own code, the type of another thing that can be called, else its text."""
    code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
    if code is not None:
        return f"{code.co_code!r} {[c for c in code.co_consts if not hasattr(c, 'co_code')]}"
    return type(value).__qualname__ if callable(value) else repr(value)


def _sourced(text: str, file: str) -> str:
    """A text for the record, with a hash of the user's file that `file` names, if it names one."""
    source = source_of(file)
    return f"{text} ({source[:12]})" if source else text


def _apart(validation: Data | float | None, resize: int | None, crop: int | None, bounds: Bounds) -> DataSet | None:
    """Validation images of their own; None for a share of the others."""
    if validation is None or isinstance(validation, int | float):
        return None
    sizes = (resize, crop) if isinstance(validation, str) else (None, None)
    return data_of(validation, None, *sizes, bounds)


def _fitting(subject: Subject, images: DataSet, bounds: Bounds, batch_size: int) -> nn.Module:
    """The model as it is trained: over the logarithm of its outputs where they are probabilities."""
    subject.module.eval()
    return adapted(subject, images, bounds, min(batch_size, 64))


def _first(momentum: float | tuple[float, float, float]) -> float:
    return momentum[0] if isinstance(momentum, tuple | list) else momentum
