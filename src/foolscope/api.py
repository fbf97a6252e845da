"""The Python side of the command line: the same names and defaults, with objects where the command line has texts.

Over 400 lines: each command is one function here, and half of it is what its arguments mean.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foolscope import __version__
from foolscope.attacks import ATTACKS, bind
from foolscope.auditing.battery import BATTERY
from foolscope.auditing.run import Audit, run_audit
from foolscope.binding import norm_meant
from foolscope.data import DataSet, fingerprint
from foolscope.data.builtin import BUILTIN
from foolscope.errors import InputError
from foolscope.evaluation import Evaluation, rehearse, run_evaluation
from foolscope.explaining import chosen
from foolscope.explaining.run import Explained, run_explanations
from foolscope.explaining.scene import YARDSTICK
from foolscope.explaining.transfer import TransferMatrix, transfer_matrix, write_transfer
from foolscope.given import (
    Bounds,
    Data,
    attack_of,
    checked_seed,
    data_of,
    fitting_subject,
    foreseen,
    name_of,
    source_of,
)
from foolscope.ledger import Progress
from foolscope.norms import get_norm
from foolscope.numbers import number
from foolscope.store import checked_folder, open_store
from foolscope.subject import Subject, checked_batch_size, checked_eps
from foolscope.training import Trained
from foolscope.training import train as run_training
from foolscope.training.images import to_learn_from
from foolscope.verification import Claim, check_recorded, read_record, run_verification


def _silent(stage: str, done: int, total: int) -> None:
    pass


def audit(
    model: str | nn.Module,
    data: Data,
    *,
    norm: str = "linf",
    eps: float | str | None = None,
    effort: str = "standard",
    samples: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bounds: Bounds = (0.0, 1.0),
    resize: int | None = None,
    crop: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    time_limit: float | None = None,
    command: str = "",
    progress: Progress = _silent,
) -> Audit:
    """How easily is this classifier fooled, and can the number be trusted?

    Args:
        model: a MODEL text as on the command line, or a module from images in `bounds` to logits; it comes back untouched.
        data: a DATA text, `(images, labels)`, a DataLoader or another iterable of such batches, or a `DataSet`.
        norm: linf, l2, l1 or l0.
        eps: the radius that decides, a number or a text such as "8/255", in input units; 8/255 in linf when None.
        effort: quick, standard or exhaustive.
        samples: only the first N images.
        seed: of every random draw.
        batch_size: images a batch; automatic when None.
        device: for a MODEL text, cuda if present when None; a module stays where it is.
        weights: a file for a MODEL text.
        mean, std: normalisation put inside the model.
        bounds: the box; None for none.
        resize, crop: for images larger than the network's input.
        out: the folder for `audit.json`, `samples.parquet`, `adversarial.safetensors` and `report.html`; None keeps no files.
        overwrite: replace another run in `out`.
        time_limit: seconds after which no further piece is begun.
        command: as typed, for the record.
        progress: told (stage, images done, images in all).

    Returns:
        An `Audit`.

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model raised.
    """
    radius = _checked(norm, eps, seed, batch_size)
    with ExitStack() as stack:
        images = data_of(data, samples, resize, crop, bounds)
        common = {"norm": norm, "eps": checked_eps(norm, radius, images.shape, bounds), "effort": effort, "seed": seed}
        # Before a model is loaded or trained.
        folder = _folder(out, overwrite, stack, foreseen("audit", model, weights, images, bounds, **common))
        subject = fitting_subject(images, bounds, model, weights, mean, std, device, seed)
        return run_audit(
            subject,
            images,
            out=folder,
            norm=norm,
            eps=radius,
            eps_text=eps if isinstance(eps, str) else None,
            effort=effort,
            seed=seed,
            batch_size=batch_size,
            bounds=bounds,
            overwrite=overwrite,
            time_limit=time_limit,
            data_sha256=fingerprint(images),
            command=command,
            progress=progress,
        )


def evaluate(
    model: str | nn.Module,
    data: Data,
    attack: str = "pgd",
    *,
    norm: str = "linf",
    eps: float | str | None = None,
    samples: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bounds: Bounds = (0.0, 1.0),
    resize: int | None = None,
    crop: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    time_limit: float | None = None,
    command: str = "",
    progress: Progress = _silent,
) -> Evaluation:
    """What does this one attack do to this classifier? The arguments that `audit` has too mean the same.

    Args:
        model: a MODEL text or a module.
        data: as for `audit`.
        attack: an ATTACK text; what it sets wins over the arguments.
        norm, eps, samples, seed, batch_size, device, weights, mean, std, bounds, resize, crop: as for `audit`.
        out, overwrite, time_limit, command, progress: as for `audit`.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model or the attack raised.
    """
    radius = _checked(norm, eps, seed, batch_size)
    with ExitStack() as stack:
        row = ATTACKS.get(attack.partition(":")[0])
        minimal = row is not None and row.kind == "minimal norm"
        images = data_of(data, samples, resize, crop, bounds)
        meant = norm_meant(attack, norm)
        get_norm(meant)
        given: dict[str, Any] = {"norm": norm, "seed": seed}
        if radius is not None or (meant == "linf" and not minimal):
            given["eps"] = checked_eps(meant, radius, images.shape, bounds)
        bound = attack_of("ATTACK", attack, stack, **given)
        rehearse(bound, images, bounds)
        settled: dict[str, Any] = {"norm": norm, "eps": radius, "seed": seed}
        settled = {key: bound.options.get(key, value) for key, value in settled.items()}
        common = {"attack": bound.text, **settled}
        folder = _folder(out, overwrite, stack, foreseen("attack", model, weights, images, bounds, **common))
        subject = fitting_subject(images, bounds, model, weights, mean, std, device, seed)
        return run_evaluation(
            subject,
            images,
            bound,
            out=folder,
            **settled,
            batch_size=batch_size,
            bounds=bounds,
            overwrite=overwrite,
            time_limit=time_limit,
            data_sha256=fingerprint(images),
            attack_sha256=source_of(attack),
            command=command,
            progress=progress,
        )


def explain(
    model: str | nn.Module,
    data: Data,
    *,
    only: str | Sequence[str] | None = None,
    norm: str = "linf",
    eps: float | str | None = None,
    effort: str = "standard",
    samples: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bounds: Bounds = (0.0, 1.0),
    resize: int | None = None,
    crop: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    time_limit: float | None = None,
    command: str = "",
    progress: Progress = _silent,
) -> Explained:
    """Why is this classifier fooled where it is? The arguments that `audit` has too mean the same.

    Args:
        model: a MODEL text or a module.
        data: as for `audit`.
        only: slugs of the explanations wanted, as a sequence or with commas between; all when None.
        effort: how hard the attack tries that predictions are held against.
        norm, eps, samples, seed, batch_size, device, weights, mean, std, bounds, resize, crop: as for `audit`.
        out, overwrite, time_limit, command, progress: as for `audit`; the files are `explain.json` and `report.html`.

    Returns:
        An `Explained`; its `record` has an entry a slug.

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model raised.
    """
    slugs = chosen(only)
    if effort not in YARDSTICK:
        raise InputError("--effort", "an effort", effort, YARDSTICK)
    radius = _checked(norm, eps, seed, batch_size)
    with ExitStack() as stack:
        images = data_of(data, samples, resize, crop, bounds)
        common = {"norm": norm, "eps": checked_eps(norm, radius, images.shape, bounds), "effort": effort, "seed": seed}
        known = foreseen("explain", model, weights, images, bounds, **common, only=slugs)
        folder = _folder(out, overwrite, stack, known)
        subject = fitting_subject(images, bounds, model, weights, mean, std, device, seed)
        return run_explanations(
            subject,
            images,
            slugs,
            out=folder,
            norm=norm,
            eps=radius,
            eps_text=eps if isinstance(eps, str) else None,
            effort=effort,
            seed=seed,
            batch_size=batch_size,
            bounds=bounds,
            overwrite=overwrite,
            time_limit=time_limit,
            data_sha256=fingerprint(images),
            command=command,
            progress=progress,
        )


def transfer(
    models: Mapping[str, str | nn.Module],
    data: Data,
    attack: str = "pgd:early_stop=False",
    *,
    targeted: bool = False,
    norm: str = "linf",
    eps: float | str | None = None,
    samples: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    bounds: Bounds = (0.0, 1.0),
    resize: int | None = None,
    crop: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = _silent,
) -> TransferMatrix:
    """Do examples made on one of these classifiers fool the others? The arguments that `audit` has too mean the same.

    Args:
        models: name -> a MODEL text or a module; two or more, with the same classes.
        data: as for `audit`; all its images are held in memory.
        attack: an ATTACK text from the table; what it sets wins over the arguments. By default PGD that spends all of eps: an example
            that stops where its own model is just fooled transfers badly.
        targeted: aim at a wrong class drawn for each image, and count only that.
        norm, eps, samples, seed, batch_size, device, bounds, resize, crop, progress: as for `audit`.
        out, overwrite: as for `audit`, but None writes nothing; the files are `transfer.json` and `report.html`.

    Returns:
        A `TransferMatrix`, over the images that every model gets right.

    Raises:
        InputError: bad input, in one line.
        ForeignError: a model raised.
    """
    radius = _checked(norm, eps, seed, batch_size)
    images = data_of(data, samples, resize, crop, bounds)
    bound = bind(attack, norm=norm, seed=seed, eps=checked_eps(norm, radius, images.shape, bounds))
    loaded = {name: fitting_subject(images, bounds, model, device=device, seed=seed) for name, model in models.items()}
    hashes = {name: subject.sha256 for name, subject in loaded.items()}
    known: dict[str, Any] = {"foolscope": __version__, "run": "transfer", "models": hashes, "data": fingerprint(images)}
    known |= {"attack": bound.text, "targeted": targeted, "bounds": bounds, "seed": seed}
    store = None if out is None else open_store(out, known, overwrite=overwrite)
    found = transfer_matrix(
        {name: subject.module for name, subject in loaded.items()},
        images.read(np.arange(len(images))),
        torch.from_numpy(images.labels),
        bound,
        targeted=targeted,
        bounds=bounds,
        seed=seed,
        batch_size=checked_batch_size(batch_size, images.shape, torch.device("cpu")),
        progress=progress,
    )
    if store is not None:
        write_transfer(found, store)
    return found


def verify(
    folder: str | Path,
    model: str | nn.Module,
    data: Data,
    *,
    norm: str | None = None,
    eps: float | str | None = None,
    effort: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bounds: Bounds | str = "recorded",
    resize: int | None = None,
    crop: int | None = None,
    progress: Progress = _silent,
) -> tuple[Claim, ...]:
    """Do the claims of the audit in `folder` hold for this model and data? Fresh passes.

    Args:
        folder: that `audit` wrote.
        model, data, device, weights, mean, std, resize, crop, progress: as for `audit`.
        norm, eps, effort, samples, seed, batch_size, bounds: the audit's own, as recorded; one that is given has to be the same.

    Returns:
        A `Claim` each, with how many images it was checked on and on how many it failed.

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model raised.
    """
    record = read_record(Path(folder))
    box = None if record["bounds"] is None else (record["bounds"][0], record["bounds"][1])
    radius = number("--eps", eps) if isinstance(eps, str) else eps
    given = {"norm": norm, "eps": radius, "effort": effort, "seed": seed, "batch_size": batch_size}
    check_recorded(record, {key: value for key, value in given.items() if value is not None})
    if bounds != "recorded":
        check_recorded(record, {"bounds": None if bounds is None else list(bounds)})
    images = data_of(data, record["n"] if samples is None else samples, resize, crop, box)
    if samples is not None:
        check_recorded(record, {"n": len(images)})
    subject = fitting_subject(images, box, model, weights, mean, std, device, record["seed"])
    return run_verification(Path(folder), record, subject, images, fingerprint(images), progress)


def train(
    model: str | nn.Module,
    data: Data,
    *,
    audit: str = "quick",
    audit_samples: int = 500,
    test: Data | None = None,
    norm: str = "linf",
    eps: float | str | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    resize: int | None = None,
    crop: int | None = None,
    out: str | Path | None = None,
    progress: Progress = _silent,
    **options: Any,
) -> tuple[Trained, Audit | None]:
    """`foolscope.training.train`, and then an audit of the network in the folder `out`/audit.

    Args:
        model, data, norm, eps, bounds, seed, resize, crop, out, progress: as for `foolscope.training.train`.
        audit: its effort: quick, standard or exhaustive; none for no audit.
        audit_samples: only the first N images of `test`.
        test: the images to audit on. None: the split `test` of a built-in data set whose split `train` was trained on, else
            images that were held out for validation; without any, there is no audit.
        options: the other arguments of `foolscope.training.train`.

    Returns:
        What was trained, and its audit; None for a run that is not complete, and where there is none.

    Raises:
        InputError: bad input, in one line.
        ForeignError: the model or the objective raised.
    """
    if audit not in (*BATTERY, "none"):
        raise InputError("--audit", "an effort, or none", audit, (*BATTERY, "none"))
    sizes: dict[str, Any] = {"resize": resize, "crop": crop, "bounds": bounds}
    if audit_samples < 1:
        raise InputError("--audit-samples", "a whole number of at least 1", audit_samples)
    apart = None
    if audit != "none":  # what it needs is asked for before hours are spent on training
        objective = options.get("objective", "plain")
        radius_known = "eps=" in objective if isinstance(objective, str) else getattr(objective, "eps", None)
        if eps is None and norm != "linf" and not radius_known:
            raise InputError("--eps", f"a radius for the audit, which {norm} has no default for", None)
        apart = _test_images(data, test, sizes)
    trained = run_training(model, data, norm=norm, eps=eps, seed=seed, out=out, progress=progress, **sizes, **options)
    images = apart or trained.held_out
    if audit == "none" or not trained.record["complete"] or images is None:
        return trained, None
    radius = trained.record["probe_eps"]
    name = name_of(model)
    if trained.folder is not None:
        name = f"{name} --weights best.safetensors"
    parameters, sha256 = trained.record["model"]["parameters"], trained.record["weights"]["best"]
    images = replace(images, labels=images.labels[:audit_samples])
    with ExitStack() as stack:
        result = run_audit(
            Subject(trained.module, name, parameters, sha256),
            images,
            out=_folder(None if out is None else Path(out) / "audit", True, stack, {}),
            norm=trained.record["probe_norm"] or norm,
            eps=radius,
            eps_text=eps if isinstance(eps, str) and number("--eps", eps) == radius else None,
            effort=audit,
            seed=seed,
            bounds=bounds,
            overwrite=True,
            data_sha256=fingerprint(images),
            command=options.get("command", ""),
            progress=progress,
        )
    return trained, result


def _test_images(data: Data, test: Data | None, sizes: dict[str, Any]) -> DataSet | None:
    """The images to audit a trained network on, opened before it is trained; None for those that training holds out."""
    if test is not None:
        own = sizes if isinstance(test, str) else {"bounds": sizes["bounds"]}
        return data_of(test, **own)
    data = to_learn_from(data)
    name, _, split = data.partition(":") if isinstance(data, str) else ("", "", "")
    if name in BUILTIN and split == "train":
        return data_of(f"{name}:test", **sizes)
    return None


def _checked(norm: str, eps: float | str | None, seed: int, batch_size: int | None) -> float | None:
    """The radius as a number; what is wrong with these is said before data are opened and a model is built or trained."""
    get_norm(norm)
    checked_seed(seed)
    if batch_size is not None and batch_size < 1:
        raise InputError("--batch-size", "a whole number of at least 1", batch_size)
    return number("--eps", eps) if isinstance(eps, str) else eps


def _folder(out: str | Path | None, overwrite: bool, stack: ExitStack, known: Mapping[str, Any]) -> Path:
    if out is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foolscope-")))
    return checked_folder(out, known, overwrite=overwrite)
