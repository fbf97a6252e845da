"""Results on disk while a run is under way: whole pieces or none, so that a run killed at any moment goes on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foolscope.errors import InputError

SETTINGS = "settings.json"
WORK = "work"


@dataclass(frozen=True)
class Store:
    """A folder that holds one run: `settings.json`, pieces under `work/`, and finished files beside it."""

    folder: Path

    @property
    def work(self) -> Path:
        """Where the pieces lie."""
        return self.folder / WORK

    def has(self, name: str) -> bool:
        """Whether a piece was finished."""
        return (self.work / f"{name}.safetensors").exists()

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """A piece's tensors and facts; None if it was never finished."""
        path = self.work / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as piece:
                return {key: piece.get_tensor(key) for key in piece.keys()}, piece.metadata() or {}  # noqa: SIM118
        except SafetensorError:
            return None  # damaged from outside; the piece is made again

    def save(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        """Writes a piece, whole or not at all."""
        with replacing(self.work / f"{name}.safetensors") as path:
            save_file({key: value.contiguous() for key, value in tensors.items()}, path, dict(facts))

    def seconds(self) -> float:
        """Wall time of all pieces so far, summed over resumes."""
        total = 0.0
        for path in self.work.glob("*.safetensors"):
            with safe_open(path, "pt") as piece:
                total += float((piece.metadata() or {}).get("seconds", 0))
        return total

    def finish(self) -> None:
        """Drops the pieces."""
        shutil.rmtree(self.work, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to, which takes its place once it is written and on the disk.

    Raises:
        InputError: if the device is full or the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError("--out", f"a place where {path.name} can be written", error.strerror or str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def open_store(
    out: str | Path, settings: Mapping[str, Any], *, ours: tuple[str, ...], overwrite: bool = False
) -> Store:
    """The folder `out` for a run with these settings: new, or one that holds the same run already.

    Args:
        out: the folder; made if it is missing.
        settings: what makes this run this run; anything that JSON can hold.
        ours: the names of the files that such a run leaves, which `overwrite` may remove.
        overwrite: replace another run.

    Raises:
        InputError: `out` is a file, can't be written, or holds another run or somebody else's files.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError("--out", "a folder", f"{folder}, which is a file")
    settings = json.loads(json.dumps(settings))
    before = _settings(folder / SETTINGS)
    if before is not None and before != settings and not overwrite:
        changed = next(key for key in {**settings, **before} if settings.get(key) != before.get(key))
        came = f"{folder} with another run ({changed}: {before.get(changed)!r}, now {settings.get(changed)!r})"
        raise InputError("--out", "an empty folder, the same run, or --overwrite", came)
    if before is None and not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise InputError("--out", "an empty folder, the same run, or --overwrite", f"{folder}, which holds other files")
    store = Store(folder)
    if overwrite and before != settings:
        for name in (*ours, SETTINGS):
            (folder / name).unlink(missing_ok=True)
        store.finish()
    try:
        store.work.mkdir(parents=True, exist_ok=True)
        for stale in (*folder.glob(".*.*"), *store.work.glob(".*.*")):
            if stale.suffix[1:].isdigit():  # left behind by a killed run
                stale.unlink()
    except OSError as error:
        raise InputError("--out", "a folder that can be written", f"{folder}: {error.strerror}") from error
    if before != settings:
        write_json(folder / SETTINGS, settings)
    return store


def _settings(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
