"""Random architectures from settings to a table: `foolscope.search.random_architectures`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope import __version__
from foolscope.data import DataSet, fingerprint
from foolscope.errors import InputError
from foolscope.files import read_samples, write_samples
from foolscope.given import Bounds, Data, checked_seed, data_of
from foolscope.ledger import Progress
from foolscope.search.architectures import CHANNELS, WIDTHS, Architecture, draw_architectures, draw_dropout
from foolscope.search.exponents import EPS, Distribution, distribution, law_columns
from foolscope.search.stack import Stack
from foolscope.search.stacked import Schedule, attack_stack, train_stack
from foolscope.store import Store, open_store

TABLE = "networks.parquet"
SPENT = ("seconds", "processor_seconds")  # by the clock, and of the processor: what a busy machine does not lengthen
FOUND = ("dropout", "clean_accuracy", "exponent", "low", "high", "flips", "upper", "goodness", "returning")


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        networks: a row a network, as in `networks.parquet`: `network, architecture, shape, kind, parameters, seconds,
            processor_seconds`, `dropout`, `clean_accuracy`, and the law's `exponent, low, high, flips, upper, goodness, returning`; NaN
            where there was nothing to fit.
        folder: where the table lies; None if it was not asked for.
    """

    networks: Mapping[str, npt.NDArray[np.generic]]
    folder: Path | None

    def __len__(self) -> int:
        return len(self.networks["network"])

    @property
    def distribution(self) -> Distribution:
        """Of the exponents."""
        exponent, low, high = (np.asarray(self.networks[name], np.float64) for name in ("exponent", "low", "high"))
        return distribution(exponent, low, high, self.networks["architecture"])


def random_architectures(
    data: Data,
    test: Data,
    *,
    count: int = 1000,
    together: int = 16,
    widest: int = WIDTHS[-1],
    channels: int = CHANNELS[-1],
    epochs: int = 3,
    batch_size: int = 100,
    lr: float = 1e-3,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    device: str = "cpu",
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Search:
    """Trains networks of random architectures, attacks each with FGSM, and fits the exponent of its adversarial error.

    Networks of one architecture differ in their initial weights, dropout rates and dropout masks, and train together as one program. A
    network's numbers depend on the settings and its own number alone; a search that was killed goes on, when it is called again, to the
    same table.

    Args:
        data: the training images: a DATA text, `(images, labels)`, a DataLoader or a `DataSet`; held in memory.
        test: the images that are attacked.
        count: networks.
        together: networks of each architecture.
        widest: units of a hidden layer at most.
        channels: of a first convolution at most.
        epochs: passes over the training images, by Adam.
        batch_size: images an update.
        lr: the first learning rate; it falls to 0 in a straight line.
        bounds: the box.
        seed: of the architectures and every other draw.
        device: as torch names it.
        out: the folder for `networks.parquet`; None keeps no files.
        overwrite: replace another run in `out`.
        progress: told (stage, images that networks have trained on, in all).

    Returns:
        A `Search`.

    Raises:
        InputError: bad input, in one line.

    Example:
        >>> images, labels = torch.rand(40, 1, 4, 4), torch.arange(40) % 2
        >>> found = random_architectures((images, labels), (images, labels), count=4, together=2, widest=50, epochs=1)
        >>> len(found), found.networks["architecture"].tolist()
        (4, [0, 0, 1, 1])

    References:
        Cubuk, Zoph, Schoenholz & Le 2017, arXiv:1711.02846.
    """
    for name, value, least in (
        ("count", count, 1),
        ("together", together, 1),
        ("widest", widest, WIDTHS[0]),
        ("channels", channels, CHANNELS[0]),
        ("epochs", epochs, 1),
    ):
        if value < least:
            raise InputError(name, f"a whole number of at least {least}", value)
    checked_seed(seed)
    images, tested = data_of(data, bounds=bounds), data_of(test, bounds=bounds)
    if tested.shape != images.shape:
        raise InputError("test", f"images of the shape of the training images, {images.shape}", tested.shape)
    schedule = Schedule(epochs, batch_size, lr)
    settings = {
        "foolscope": __version__,
        "data": [fingerprint(images), fingerprint(tested)],
        "count": count,
        "together": together,
        "widest": widest,
        "channels": channels,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "bounds": None if bounds is None else list(bounds),
        "eps": EPS.tolist(),
        "seed": seed,
        "device": device,
    }
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(out or Path(scratch) / "search", settings, overwrite=overwrite)
        if not (store.resumed and (store.folder / TABLE).is_file()):
            with store.begin():
                members = torch.arange(count).split(together)  # type: ignore[no-untyped-call]
                drawn = draw_architectures(len(members), seed, widest=widest, channels=channels)
                stacks = list(zip(drawn, members, strict=True))
                rows = _stacks(store, images, tested, stacks, schedule, bounds, seed, device, progress)
                write_samples(store.folder / TABLE, rows)
                store.finish()
        return Search(_table(store.folder / TABLE), store.folder if out else None)


def _stacks(
    store: Store,
    images: DataSet,
    tested: DataSet,
    stacks: Sequence[tuple[Architecture, Tensor]],
    schedule: Schedule,
    bounds: Bounds,
    seed: int,
    device: str,
    progress: Progress,
) -> dict[str, npt.NDArray[np.generic]]:
    """The table's columns, stack by stack; those that were finished before are read."""
    inputs, labels = _held(images, device)
    attacked, wanted = _held(tested, device)
    classes = 1 + int(max(images.labels.max(), tested.labels.max()))
    count = sum(len(networks) for _, networks in stacks)
    each, pieces, facts = schedule.epochs * len(images), [], []
    for number, (architecture, networks) in enumerate(stacks):
        name, before = f"stack-{number:05d}", int(networks[0]) * each

        def told(done: int, before: int = before, many: int = len(networks)) -> None:
            progress("search", before + many * done, count * each)

        found = store.load(name)
        if found is None:
            begun, busy = time.perf_counter(), time.process_time()
            stack = Stack(architecture, images.shape, classes, networks.to(device), seed).to(device)
            dropout = draw_dropout(architecture, networks, seed).to(device)
            train_stack(stack, inputs, labels, dropout, schedule, told)
            right, flipped = attack_stack(stack, attacked, wanted, EPS, bounds)
            columns = {
                key: torch.from_numpy(column)
                for key, column in law_columns(right.numpy(), flipped.numpy(), seed).items()
            }
            columns["dropout"] = dropout.cpu()
            spent = time.perf_counter() - begun, time.process_time() - busy
            found = columns, dict(zip(SPENT, map(repr, spent), strict=True))
            store.save(name, *found)
        told(each)
        pieces.append(found[0])
        facts.append((number, architecture, len(networks), [float(found[1][key]) for key in SPENT]))
    known = {key: torch.cat([piece[key] for piece in pieces]).numpy() for key in FOUND}
    repeated = [
        (number, str(a), a.kind, _parameters(a, images.shape, classes), *(seconds / many for seconds in spent))
        for number, a, many, spent in facts
        for _ in range(many)
    ]
    kinds = {"architecture": int, "shape": object, "kind": object, "parameters": int} | dict.fromkeys(SPENT, float)
    of_each: dict[str, npt.NDArray[np.generic]] = {
        key: np.array([row[place] for row in repeated], kinds[key]) for place, key in enumerate(kinds)
    }
    return {"network": np.arange(count)} | of_each | known


def _parameters(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in architecture.network(shape, classes).parameters())


def _held(data: DataSet, device: str) -> tuple[Tensor, Tensor]:
    return data.read(np.arange(len(data))).to(device), torch.from_numpy(data.labels).to(device)


def _table(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    return {
        name: np.array([np.nan if value is None else value for value in column])
        for name, column in read_samples(path).items()
    }
