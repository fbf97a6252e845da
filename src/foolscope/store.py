"""Results on disk while a run is under way: whole pieces or none, so that a run killed at any moment goes on where it stopped."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from foolscope.errors import InputError

SETTINGS = "settings.json"
WORK = "work"
FILES = (  # what runs leave
    "audit.json",
    "attack.json",
    "explain.json",
    "samples.parquet",
    "adversarial.safetensors",
    "report.html",
    "compare.json",
    "transfer.json",
    "train.json",
    "history.parquet",
    "best.safetensors",
    "last.safetensors",
    "networks.parquet",
)
FOLDERS = ("audit", "tensorboard")  # what trainings leave beside them


@dataclass(frozen=True)
class Store:
    """A folder that holds one run: `settings.json`, pieces under `work/`, and finished files beside it.

    Attributes:
        folder: where.
        settings: what makes this run this run.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def resumed(self) -> bool:
        """Whether the folder holds this very run already, finished or not."""
        return _settings(self.folder) == self.settings

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Makes the folder this run's, once its input is known to be good: another run's files go, its own pieces stay.

        Nobody else can begin there before the context ends.

        Raises:
            InputError: the folder can't be written, or another run is being written there now.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_alone(self.folder))
                self._clear()
            except OSError as error:
                raise _unwritable("--out", self.folder, error) from error
            yield

    def _clear(self) -> None:
        if not self.resumed:
            if self.work.is_dir():
                shutil.rmtree(self.work)
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)
            if (_settings(self.folder) or {}).get("run") == "train":  # else the folders are somebody's own
                for name in FOLDERS:
                    shutil.rmtree(self.folder / name, ignore_errors=True)
            write_json(self.folder / SETTINGS, self.settings)
        self.work.mkdir(exist_ok=True)
        for stale in (*_stale(self.folder), *_stale(self.work)):
            stale.unlink()

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
        write_tensors(self.work / f"{name}.safetensors", tensors, facts)

    def mapped(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array on the disk, `work/NAME.npy`, to read and write.

        Raises:
            InputError: the device has no room for it; told now, because a write to a mapping that the device can't hold kills the process.
        """
        path = self.work / f"{name}.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
            if hasattr(os, "posix_fallocate"):
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise InputError(
                "--out", f"a place where {path.name} can be written", error.strerror or str(error)
            ) from error
        return array

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
def replacing(path: Path, *, safe: bool = True) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to, which takes its place once it is written and on the disk.

    With `safe` False, once it is written: for pictures, thousands perhaps, as waiting for the disk takes longer than making one.

    Raises:
        InputError: if the device is full or the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        if safe:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InputError("--out", f"a place where {path.name} can be written", said) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file to `path`, whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    content = save(tensors, None if facts is None else dict(facts))
    with replacing(path) as temporary:
        # Not its `save_file`: that writes to a temporary of its own, which a kill leaves behind and only its owner may read.
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` to `path`, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole or not at all: as UTF-8 in any locale, what is none (bytes of a file's name, say) escaped."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def open_store(out: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Store:
    """The folder `out` for a run with these settings: new, or one that holds the same run already. Nothing is written yet.

    Args:
        out: the folder; it need not exist.
        settings: what makes this run this run; anything that JSON can hold.
        overwrite: replace another run; somebody else's files stay.

    Raises:
        InputError: `out` is a file, can't be written, or holds another run or somebody else's files.
    """
    settings = json.loads(json.dumps(settings))
    gone = dict.fromkeys(_settings(Path(out)) or ())  # settings that this run lacks differ too
    return Store(checked_folder(out, {**gone, **settings}, overwrite=overwrite), settings)


def checked_folder(out: str | Path, known: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """The folder `out`, if a run could be written there; asked before time is spent on one.

    Args:
        out: the folder.
        known: as many of the run's settings as are known by now.
        overwrite: as for `open_store`.

    Raises:
        InputError: `out` is a file, can't be written, or holds another run or somebody else's files.
    """
    if not str(out):  # Path would take it for the working folder
        raise InputError("--out", "a folder", "")
    folder = Path(out)
    before = _settings(folder)
    if before is not None:  # a finished run may be read where nothing can be written
        changed = None if overwrite else next(_changes(before, json.loads(json.dumps(known))), None)
        if changed is not None:
            came = f"{folder} with another run ({changed})"
            raise InputError("--out", "an empty folder, the same run, or --overwrite", came)
        return folder
    writable("--out", folder)
    if (folder / WORK).exists():  # pieces go there, and what lies there goes when a run is done
        raise InputError("--out", f"an empty folder or a run of ours, without a {WORK} of yours", str(folder))
    if folder.is_dir() and not overwrite and set(folder.iterdir()) - set(_stale(folder)):
        raise InputError("--out", "an empty folder, the same run, or --overwrite", f"{folder}, which holds other files")
    return folder


def _changes(before: Mapping[str, Any], known: Mapping[str, Any], of: str = "") -> Iterator[str]:
    """Which of these settings are not as they were, in words."""
    for key, now in known.items():
        was = before.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _changes(was, now, f"{of}{key} ")
        elif was != now:
            yield f"{of}{key}: {was!r}, now {now!r}"


def writable(option: str, folder: Path) -> None:
    """Refuses a folder that can't be written; what was made to find out is gone again."""
    if folder.exists() and not folder.is_dir():
        raise InputError(option, "a folder", f"{folder}, which is a file")
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:  # the libraries that write our files take no other name
        raise InputError(option, "a folder whose name is UTF-8, and a locale that can say it", str(folder)) from error
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(option, folder, error) from error
    finally:
        for place in missing:
            with suppress(OSError):
                place.rmdir()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder, for as long as this process lives at most; where folders can't be locked, nobody is kept out."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError, OSError):
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError("--out", "a folder that no other run is writing to now", str(folder)) from None
        yield
    finally:
        os.close(descriptor)


def _unwritable(option: str, folder: Path, error: OSError) -> InputError:
    return InputError(option, "a folder that can be written", f"{folder}: {error.strerror or error}")


def _stale(folder: Path) -> list[Path]:
    """What a killed run left behind of the files that it was writing."""
    return [path for path in folder.glob(".*.*") if path.suffix[1:].isdigit()]


def _settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run that a folder holds; None if it holds none of ours."""
    try:
        content = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "foolscope" in content else None
