"""Writers of small real files: PNG bytes, Parquet as Hugging Face's library lays it out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image


def encode(array: np.ndarray, encoding: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, encoding)
    return stream.getvalue()


def write(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[object],
    *,
    names: Sequence[str] | None = None,
    column: str = "image",
    image_type: str = "STRUCT(bytes BLOB, path VARCHAR)",
    label_type: str = "BIGINT",
    metadata: str | None = None,
) -> Path:
    with duckdb.connect() as connection:
        connection.execute(f"create table t ({column} {image_type}, label {label_type})")
        nested = image_type.startswith("STRUCT")
        rows = [
            [{"bytes": image, "path": "/etc/passwd"} if nested else image, label]
            for image, label in zip(images, labels, strict=True)
        ]
        if rows:
            connection.executemany("insert into t values (?, ?)", rows)
        if names is not None:
            metadata = json.dumps({"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}})
        stored = "" if metadata is None else f", kv_metadata {{huggingface: '{metadata}'}}"
        connection.execute(f"copy t to '{path}' (format parquet, row_group_size 2048{stored})")
    return path


@pytest.fixture
def png() -> Callable[..., bytes]:
    return encode


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    return write


@pytest.fixture
def grey() -> np.ndarray:
    """Twelve different grey images, uint8 (12, 6, 5)."""
    return np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)
