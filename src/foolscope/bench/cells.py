"""The cells of the comparison, each kept in a file named by a hash of all that it depends on, and the processes that fill them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

import foolscope
from foolscope.bench.contestants import OURS
from foolscope.bench.peer_networks import Network, built
from foolscope.data import open_data

Floats = npt.NDArray[np.floating]
PACKAGE = Path(foolscope.__file__).parent
ATTACKING = (
    "attacks",
    "oracle.py",
    "norms.py",
    "losses.py",
    "rng.py",
    "stems.py",
    "untouched.py",
)  # what our attacks' results depend on
TRAINING = ("bench/networks.py", "bench/peer_networks.py", "testing/masked.py", "models")


@dataclass(frozen=True)
class Subject:
    """A network with its weights and images, in a file.

    Attributes:
        network: which.
        n: images.
        path: safetensors with `images`, `labels` and the state dict.
        digest: of that file.
    """

    network: Network
    n: int
    path: Path
    digest: str


@dataclass(frozen=True)
class Cell:
    """One attack on one network in one norm at one budget."""

    subject: Subject
    library: str
    name: str
    norm: str
    budget: int
    seed: int
    threads: int
    version: str

    @property
    def key(self) -> str:
        """A hash of all that the result depends on."""
        parts = (
            self.subject.digest,
            self.library,
            self.name,
            self.norm,
            self.budget,
            self.seed,
            self.threads,
            self.version,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Found:
    """What a cell holds: the nearest distance of each image in the cell's norm, passes an image, seconds."""

    distance: Floats
    passes: Floats
    seconds: float


def code_digest(parts: Iterable[str] = ATTACKING) -> str:
    """A hash of these source files of the package: results of ours from another state of the code are not reused."""
    hasher = hashlib.sha256()
    for part in parts:
        path = PACKAGE / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            hasher.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()[:16]


def prepared(network: Network, samples: int, cache: Path) -> Subject:
    """The network with the first images of its data, trained if it has to be, in a file in `cache`."""
    text = json.dumps(
        (network.name, samples, torch.__version__, code_digest(TRAINING), os.environ.get("FOOLSCOPE_WEIGHTS", ""))
    )
    path = cache / "subjects" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        images = open_data(network.data, samples=samples, crop=network.crop)
        state = {key: value.contiguous().clone() for key, value in built(network).state_dict().items()}
        content = state | {
            "images": images.read(np.arange(len(images))).contiguous(),
            "labels": torch.from_numpy(images.labels).long(),
        }
        part = path.with_suffix(f".{os.getpid()}")
        save_file(content, part)
        part.replace(path)
    count = len(load_file(path)["labels"])
    return Subject(network, count, path, hashlib.sha256(path.read_bytes()).hexdigest()[:24])


def read_cell(cell: Cell, cache: Path) -> Found | None:
    """What the cell holds; None if it has not been run."""
    try:
        with np.load(cache / "cells" / f"{cell.key}.npz") as kept:
            passes = kept["forwards"] + kept["backwards"]
            return Found(kept[f"distance_{cell.norm}"], passes, float(kept["seconds"]))
    except (OSError, ValueError, KeyError):
        return None


def fill(
    cells: list[Cell],
    cache: Path,
    pythons: Mapping[str, Path],
    told: Callable[[Cell, str], None] = lambda cell, error: None,
) -> dict[str, str]:
    """Runs the cells that are not in the cache, one process for each network and library kind.

    Args:
        cells: of any networks.
        cache: where they are kept.
        pythons: the interpreter for ours (`foolscope`) and for all others (`peers`).
        told: called after each cell, with its error or "".

    Returns:
        The errors, by key; a cell that failed is tried again next time.
    """
    missing = [cell for cell in cells if read_cell(cell, cache) is None]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in missing:
        groups.setdefault((cell.subject.digest, OURS if cell.library == OURS else "peers"), []).append(cell)
    errors: dict[str, str] = {}
    (cache / "cells").mkdir(parents=True, exist_ok=True)
    for (_, who), group in groups.items():
        waiting = {cell.key: cell for cell in group}
        for said in _worked(group, cache, pythons[who]):
            cell = waiting.pop(said["key"])
            if said.get("error"):
                errors[cell.key] = said["error"]
            told(cell, said.get("error", ""))
        for key, cell in waiting.items():
            errors[key] = "its process ended before this cell was done"
            told(cell, errors[key])
    return errors


def _worked(group: list[Cell], cache: Path, python: Path) -> Iterable[dict[str, Any]]:
    """The lines that a worker says of these cells of one network."""
    first = group[0]
    job = {
        "network": first.subject.network.name,
        "subject": str(first.subject.path),
        "threads": first.threads,
        "out": str(cache / "cells"),
        "cells": [
            {"key": c.key, "library": c.library, "name": c.name, "norm": c.norm, "budget": c.budget, "seed": c.seed}
            for c in group
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        yield from lines(
            [str(python), "-m", "foolscope.bench.worker", str(path)], Path(folder) / "errors", first.threads
        )


def lines(command: list[str], log: Path, threads: int, path: tuple[str, ...] = ()) -> Iterable[dict[str, Any]]:
    """The JSON lines that a process of ours writes; it can import this package and what `path` holds."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(PACKAGE.parent), *path)),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONWARNINGS": "ignore",
    }
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as worker,
    ):
        try:
            assert worker.stdout is not None
            for line in worker.stdout:
                yield json.loads(line)
        finally:
            worker.terminate()
    if worker.returncode not in (0, -15):
        sys.stderr.write("".join(log.read_text().splitlines(keepends=True)[-3:]))
