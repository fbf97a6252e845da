"""Training from settings to files: `foolscope.training.train`."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from foolscope import __version__
from foolscope.attacks import bind
from foolscope.data import fingerprint
from foolscope.environment import environment
from foolscope.errors import InputError
from foolscope.foreign import foreign_code, loaded_object
from foolscope.given import Bounds, Data, checked_seed, data_of, subject_of
from foolscope.ledger import Progress
from foolscope.models.adapters import Adapted
from foolscope.models.weights import fingerprint as weights_fingerprint
from foolscope.models.weights import fit, read_state
from foolscope.numbers import number
from foolscope.store import Store, open_store, replacing, write_json
from foolscope.subject import SCHEMA, Subject, adapted, settings_of
from foolscope.training.checkpoint import Position
from foolscope.training.draws import Ints
from foolscope.training.images import bind_augmentation, held, split, subset
from foolscope.training.loop import Plan, run_loop
from foolscope.training.schedules import RATES, bind_schedule, make_optimiser
from foolscope.training.table import OBJECTIVES, Function, Objective, bind_objective
from foolscope.training.tensorboard import board
from foolscope.training.watching import LEAK, Epoch, overfitted, some

if TYPE_CHECKING:
    from foolscope.data import DataSet

STOPS = ("none", "clean", "adversarial")
WATCHED = 1000  # training images behind the training error


@dataclass(frozen=True)
class Trained:
    """The result of training.

    Attributes:
        module: the network of the best epoch (the last one without early stopping), in eval mode.
        history: a record an epoch.
        record: what `train.json` holds.
        folder: where the files are; None if none were asked for.
        held_out: the validation images, or None.
    """

    module: nn.Module
    history: tuple[Epoch, ...]
    record: Mapping[str, Any]
    folder: Path | None
    held_out: DataSet | None


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
    probe: str = "pgd:steps=10",
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
        probe: the ATTACK text behind the adversarial validation error.
        probe_samples: validation images that are attacked after each epoch, at most.
        norm, eps: the ball, for objectives without one of their own and for the probe; eps a number or a text such as "8/255".
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
    deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    given = {"norm": norm} | ({} if radius is None else {"eps": radius})
    with ExitStack() as stack:
        goal = _objective(objective, stack, given)
        timetable, moves = bind_schedule(schedule), bind_augmentation(augment)
        eps_probed = goal.eps if goal.eps is not None else radius
        bound = None if eps_probed is None else bind(probe, norm=goal.options.get("norm", norm), eps=eps_probed, seed=0)
        if stop == "adversarial" and bound is None:
            raise InputError("--eps", "a radius, which adversarial early stopping needs", "none")
        images = data_of(data, samples, resize, crop, bounds)
        subject = subject_of(model, weights, mean, std, device, seed, untrained=True)
        images = held(images, progress)
        positions, held_out = _split(images, validation, resize, crop, bounds)
        if stop != "none" and held_out is None:
            raise InputError("--validation", f"validation images, which stopping on the {stop} error needs", "none")
        settings = settings_of(
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
            lr=RATES.get(optimiser, 0.0) if lr is None else lr,
            momentum=momentum,
            weight_decay=weight_decay,
            schedule=schedule,
            augment=augment,
            stop=stop,
            patience=patience,
            probe=probe,
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
        own = copy.deepcopy(subject.module)
        finished = _finished(store, own, held_out) if store.resumed else None
        if finished is not None:
            return finished
        plan = Plan(
            model=_fitting(replace(subject, module=own), images, bounds, batch_size),
            weights=_core(own),
            data=images,
            positions=positions,
            watched=some(subset(images, positions), WATCHED),
            validation=held_out,
            probed=None if held_out is None else some(held_out, probe_samples),
            probe=bound,
            objective=goal,
            optimiser=make_optimiser(optimiser, own, settings["lr"], _first(momentum), weight_decay),
            schedule=timetable,
            augment=moves,
            lr=settings["lr"],
            momentum=momentum,
            epochs=epochs,
            batch_size=batch_size,
            stop=stop,
            patience=patience,
            bounds=bounds,
            seed=seed,
        )
        store.begin()
        log = board(store.folder / "tensorboard") if out is not None else _unheard

        def tell(epoch: Epoch) -> None:
            log(epoch)
            told(epoch)

        at = run_loop(plan, store, progress, tell, deadline)
        record = _record(subject, images, settings, plan, at, command)
        return _write(store, own, record, at, held_out, out is not None)


def _checked(epochs: int, batch_size: int, patience: int, probe_samples: int, stop: str) -> None:
    counts = {"--epochs": epochs, "--batch-size": batch_size, "--patience": patience, "--probe-samples": probe_samples}
    for option, value in counts.items():
        if value < 1:
            raise InputError(option, "a whole number of at least 1", value)
    if stop not in STOPS:
        raise InputError("--stop", "what early stopping watches", stop, STOPS)


def _objective(objective: str | Function | Objective, stack: ExitStack, given: dict[str, Any]) -> Objective:
    if not isinstance(objective, str) or objective.partition(":")[0].partition("+")[0] in OBJECTIVES:
        return bind_objective(objective, **given)
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
    """The objective for the record; a function by its name and a hash of its code."""
    function = goal.function
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    if isinstance(objective, str) and objective.partition(":")[0].partition("+")[0] in OBJECTIVES or code is None:
        return goal.text
    return f"{goal.text} ({hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:12]})"


def _split(
    images: DataSet, validation: Data | float | None, resize: int | None, crop: int | None, bounds: Bounds
) -> tuple[Ints, DataSet | None]:
    """The positions to train on, and the validation images."""
    everything = np.arange(len(images))
    if validation is None or (isinstance(validation, int | float) and validation == 0):
        return everything, None
    if isinstance(validation, int | float):
        learning, watching = split(images, float(validation))
        return learning, subset(images, watching)
    sizes = (resize, crop) if isinstance(validation, str) else (None, None)
    return everything, held(data_of(validation, None, *sizes, bounds), _silent)


def _fitting(subject: Subject, images: DataSet, bounds: Bounds, batch_size: int) -> nn.Module:
    """The model as it is trained: over the logarithm of its outputs where they are probabilities."""
    subject.module.eval()
    return adapted(subject, images, bounds, min(batch_size, 64))


def _core(module: nn.Module) -> nn.Module:
    """The user's own module inside an adapter."""
    return module.module if isinstance(module, Adapted) else module


def _first(momentum: float | tuple[float, float, float]) -> float:
    return momentum[0] if isinstance(momentum, tuple | list) else momentum


def _record(
    subject: Subject, images: DataSet, settings: dict[str, Any], plan: Plan, at: Position, command: str
) -> dict[str, Any]:
    leaks = [epoch.label_leak for epoch in at.history if epoch.label_leak is not None]
    complete = at.epoch == plan.epochs or (plan.stop != "none" and at.epoch - at.best_epoch >= plan.patience)
    return {
        "schema": SCHEMA,
        "foolscope": __version__,
        "command": command,
        "environment": environment(),
        **{key: value for key, value in settings.items() if key not in ("schema", "foolscope")},
        "model": settings["model"] | {"parameters": subject.parameters},
        "trained_on": len(plan.positions),
        "probe_norm": None if plan.probe is None else plan.probe.options["norm"],
        "probe_eps": None if plan.probe is None else plan.probe.options["eps"],
        "complete": complete,
        "epochs_done": at.epoch,
        "best_epoch": at.best_epoch,
        "updates": at.update,
        "seconds": sum(epoch.seconds for epoch in at.history) + at.seconds,
        "catastrophic_epoch": overfitted(at.history),
        "label_leak_epoch": next((e.epoch for e in at.history if (e.label_leak or 0) > LEAK), None) if leaks else None,
        "history": [asdict(epoch) for epoch in at.history],
        "notes": list(dict.fromkeys((*subject.notes, *images.notes))),
    }


def _write(
    store: Store, own: nn.Module, record: dict[str, Any], at: Position, held_out: DataSet | None, keep: bool
) -> Trained:
    """The files of the run so far, and its result."""
    last = weights_fingerprint(_core(own))
    if at.best_epoch:
        fit(_core(own), read_state(str(store.folder / "best.safetensors")))
    record |= {"weights": {"best": weights_fingerprint(_core(own)), "last": last}}
    if keep:
        from foolscope.report.training import render_training

        with replacing(store.folder / "report.html") as path:
            path.write_text(render_training(record))
        write_history(store.folder / "history.parquet", at.history)
        write_json(store.folder / "train.json", record)
        if record["complete"]:
            store.finish()
    return Trained(_given_back(own), tuple(at.history), record, store.folder if keep else None, held_out)


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """`history.parquet`, a row an epoch."""
    from foolscope.files import write_samples

    rows = [asdict(epoch) for epoch in history]
    columns = {
        key: np.array([math.nan if row[key] is None else row[key] for row in rows], int if key == "epoch" else float)
        for key in Epoch.__dataclass_fields__
    }
    write_samples(path, columns)


def _finished(store: Store, own: nn.Module, held_out: DataSet | None) -> Trained | None:
    """The run that a folder holds already; None if it is not complete."""
    try:
        record = json.loads((store.folder / "train.json").read_text())
    except (OSError, ValueError):
        return None
    best = store.folder / "best.safetensors"
    if not record["complete"] or not best.is_file():
        return None
    fit(_core(own), read_state(str(best)))
    return Trained(
        _given_back(own), tuple(Epoch(**epoch) for epoch in record["history"]), record, store.folder, held_out
    )


def _given_back(own: nn.Module) -> nn.Module:
    """The user's own module where the adapter does nothing but call it."""
    module = own.module if isinstance(own, Adapted) and own.normalise is None else own
    return module.eval()
