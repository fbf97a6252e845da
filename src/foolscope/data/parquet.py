"""Parquet in the Hugging Face layout, read by row on demand with DuckDB."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.data.dataset import Source
from foolscope.data.pixels import Array, decode, inspect
from foolscope.errors import InputError

SHARD = re.compile(r"(?P<split>.+?)-(?P<shard>\d{5})-of-(?P<shards>\d{5})(-[0-9a-f]+)?")
IMAGE_COLUMNS = ("image", "img")
INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}


def parquet_splits(folder: Path) -> dict[str, list[Path]]:
    """The splits of a folder of Parquet files and their shards in order.

    ``test-00000-of-00002.parquet`` and its sibling make the split ``test``, as does ``test.parquet`` alone.

    Raises:
        InputError: a shard is missing.
    """
    splits: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.parquet")):
        matched = SHARD.fullmatch(file.stem)
        splits.setdefault(matched["split"] if matched else file.stem, []).append(file)
    for split, files in splits.items():
        matched = SHARD.fullmatch(files[0].stem)
        wanted = int(matched["shards"]) if matched else 1
        if len(files) != wanted:
            raise InputError("DATA", f"{wanted} Parquet files of the split {split} in {folder.name}", len(files))
    return splits


def choose_split(splits: list[str], asked: str | None, name: str) -> str:
    """The split asked for, or test, else validation, else the only one.

    Raises:
        InputError: no such split, or several and none of the usual ones.

    Example:
        >>> choose_split(["train", "test"], None, "mnist")
        'test'
    """
    if asked is not None:
        if asked not in splits:
            raise InputError("DATA", f"a split of {name}", asked, accepted=splits)
        return asked
    for split in ("test", "validation"):
        if split in splits:
            return split
    if len(splits) > 1:
        raise InputError("DATA", f"a split, {name}:SPLIT", name, accepted=splits)
    return splits[0]


def open_parquet(files: list[Path]) -> Source:
    """Open the shards of one split: a column ``image`` or ``img`` (a struct with ``bytes``, or bytes) and ``label``.

    Only labels are loaded; images are fetched by row and decoded by Pillow. Class names come from the features that
    Hugging Face's library stores in the file.

    Raises:
        InputError: a damaged file, missing columns, labels that are not integers, no rows, a bad first image.
    """
    import duckdb

    # One thread: a batch takes milliseconds, and the cores belong to the network. No extension is ever downloaded.
    connection = duckdb.connect(
        config={"threads": 1, "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )

    def ask(file: Path, what: str, rest: str = "") -> Any:
        query = f"select {what} from read_parquet(?, file_row_number = true) {rest}"
        # A cursor of its own makes reads from several threads safe; the path is no pattern, whatever it looks like.
        return connection.cursor().execute(query, [glob.escape(str(file))])

    columns: list[str] = []
    parts: list[Any] = []
    for file in files:
        with _undamaged(file):
            columns.append(_columns(ask(file, "*", "limit 0").description, file))
            parts.append(ask(file, "label", "order by file_row_number").fetchnumpy()["label"])
    if len(set(columns)) > 1:
        raise InputError("DATA", f"the columns of {files[0].name} in all of its shards", "others")
    starts = np.cumsum([0, *(len(part) for part in parts)])
    if not starts[-1]:
        raise InputError("DATA", "at least one image", f"{files[0].name} without rows")

    def stored(positions: npt.NDArray[np.int64]) -> dict[int, bytes | None]:
        shards = np.searchsorted(starts, positions, side="right") - 1
        found: dict[int, bytes | None] = {}
        for shard in np.unique(shards):
            rows = np.unique(positions[shards == shard] - starts[shard])
            listed = ", ".join(map(str, rows))
            asked = f"where file_row_number between {rows[0]} and {rows[-1]} and file_row_number in ({listed})"
            with _undamaged(files[shard], f" in rows {rows[0]} to {rows[-1]}"):
                answer = ask(files[shard], f"file_row_number, {columns[0]}", asked).fetchall()
            found.update((int(starts[shard]) + row, content) for row, content in answer)
        return found

    def where(position: int) -> str:
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return f"row {position - starts[shard]} of {files[shard].name}"

    def content(found: dict[int, bytes | None], position: int) -> bytes:
        held = found.get(position)
        if not held:
            raise InputError("DATA", f"an image's bytes at {where(position)}", None)
        return held

    mode, encoding = inspect(content(stored(np.zeros(1, np.int64)), 0), where(0))

    def fetch(positions: npt.NDArray[np.int64]) -> list[Array]:
        found = stored(positions)
        return [decode(content(found, int(at)), mode, where(int(at))) for at in positions]

    for start, part in zip(starts, parts, strict=False):
        if np.ma.is_masked(part):
            raise InputError("labels", "a class number in every row", f"none at {where(start + part.mask.argmax())}")
    labels = np.concatenate([np.ma.getdata(part) for part in parts])
    return Source(labels, int(starts[-1]), _class_names(connection, files[0]), fetch, encoding=encoding)


def _columns(description: list[Any], file: Path) -> str:
    """The SQL expression of the image bytes, after a look at both columns' types."""
    types = {str(column[0]): str(column[1]) for column in description if column[0] != "file_row_number"}
    image = next((name for name in IMAGE_COLUMNS if name in types), None)
    if image is None or "label" not in types:
        missing = "label" if image else "image or img"
        raise InputError("DATA", f"a column {missing} in {file.name}", f"columns {', '.join(types)}")
    if types["label"] not in INTEGERS:
        raise InputError("labels", f"integers in {file.name}", types["label"])
    if types[image] == "BLOB":
        return f'"{image}"'
    if re.search(r'[(\s"]bytes"? BLOB', types[image]):
        return f'"{image}"."bytes"'
    raise InputError("DATA", f"images as bytes in the column {image} of {file.name}", types[image])


def _class_names(connection: Any, file: Path) -> tuple[str, ...] | None:
    """The label's names from the features that Hugging Face's library wrote, None where there are none."""
    query = "select value from parquet_kv_metadata(?) where key = 'huggingface'::blob"
    with _undamaged(file):
        stored = connection.execute(query, [glob.escape(str(file))]).fetchone()
    try:
        names = json.loads(stored[0])["info"]["features"]["label"]["names"] if stored else None
    except (ValueError, KeyError, TypeError):  # written by another tool in another form: no names, no harm
        return None
    if not isinstance(names, list) or not names:
        return None
    return tuple(str(name) for name in names)


@contextmanager
def _undamaged(file: Path, rows: str = "") -> Iterator[None]:
    """Turn what a damaged file makes DuckDB raise into one line, names that are no UTF-8 included."""
    import duckdb

    try:
        yield
    except InputError:
        raise
    except (duckdb.Error, ValueError, RuntimeError) as error:
        if "interrupted" in str(error).lower():  # DuckDB swallows the KeyboardInterrupt of a Ctrl-C during a query
            raise KeyboardInterrupt from error
        said = str(error).splitlines()[0].replace(str(file), file.name)
        raise InputError("DATA", f"undamaged Parquet{rows} at {file.name}", said) from error
