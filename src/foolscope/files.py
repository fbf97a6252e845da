"""What an audit leaves behind: `samples.parquet` and `adversarial.safetensors`, streamed from the finished pieces."""

from __future__ import annotations

import glob
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foolscope.errors import InputError
from foolscope.ledger import ALREADY_WRONG, FOOLED, REASONS, RESISTED, Case, Ledger, adversarials
from foolscope.norms import NORMS
from foolscope.store import replacing

Columns = dict[str, np.ndarray]


def sample_columns(case: Case, ledger: Ledger) -> Columns:
    """The columns of `samples.parquet`; NaN, -1 and "" stand for null."""
    labels = case.data.labels
    correct = ledger.correct(labels)
    known = np.isfinite(ledger.distance[:, 0])
    distance = np.where(known[:, None], ledger.distance, np.nan)
    return {
        "index": np.arange(len(labels)),
        "label": labels,
        "clean_prediction": ledger.prediction,
        "outcome": np.where(correct, np.where(ledger.fooled, FOOLED, RESISTED), ALREADY_WRONG).astype(object),
        "reason": np.array(REASONS, dtype=object)[ledger.reason],
        "attack": ledger.attack,
        "adversarial_prediction": ledger.adversarial_prediction,
        "confidence": np.where(known, ledger.adversarial_confidence, np.nan),
        **{f"distance_{name}": distance[:, place] for place, name in enumerate(NORMS)},
        "survives_8bit": np.where(known, ledger.survives_8bit.astype(int), -1),
        "forwards": ledger.forwards,
        "backwards": ledger.backwards,
    }


def write_samples(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """`samples.parquet`, a row an image."""
    import duckdb

    nulls = {"clean_prediction": "-1", "adversarial_prediction": "-1", "attack": "''"}
    chosen = []
    for name, values in columns.items():
        if values.dtype.kind == "f":
            chosen.append(f'CASE WHEN isnan("{name}") THEN NULL ELSE "{name}" END AS "{name}"')
        elif name == "survives_8bit":
            chosen.append(f'CASE WHEN "{name}" < 0 THEN NULL ELSE "{name}" = 1 END AS "{name}"')
        elif name in nulls:
            chosen.append(f'nullif("{name}", {nulls[name]}) AS "{name}"')
        else:
            chosen.append(f'"{name}"')
    with replacing(path) as temporary, duckdb.connect() as connection:
        connection.register("samples", dict(columns))
        target = str(temporary).replace("'", "''")
        query = f"COPY (SELECT {', '.join(chosen)} FROM samples) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        try:
            connection.execute(query)
        except duckdb.IOException as error:
            raise OSError(0, " ".join(str(error).split())) from error


def write_png(folder: Path, case: Case, ledger: Ledger) -> None:
    """The fooling images as 8-bit PNG files, `INDEX-LABEL-as-PREDICTION.png`; the exact ones are in `adversarial.safetensors`."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("??????-*-as-*.png"), *folder.glob(".*.png.*")):
        old.unlink()  # of a run that was replaced, or killed
    low, high = case.bounds or (0.0, 1.0)
    for part in case.parts(np.flatnonzero(ledger.place[:, 0] >= 0)):
        levels = (
            ((adversarials(case, ledger, part).float() - low) / (high - low) * 255).clamp(0, 255).round().byte().numpy()
        )
        for position, image in zip(part, levels, strict=True):
            name = f"{position:06d}-{case.data.labels[position]}-as-{ledger.adversarial_prediction[position]}.png"
            pixels = image[0] if len(image) == 1 else image[:3].transpose(1, 2, 0)
            with replacing(folder / name, safe=False) as temporary:
                Image.fromarray(pixels).save(temporary, format="PNG")


def read_samples(path: Path) -> dict[str, list[Any]]:
    """The columns of a `samples.parquet`.

    Raises:
        InputError: it is missing or damaged.
    """
    import duckdb

    try:
        with duckdb.connect() as connection:
            table = connection.execute("SELECT * FROM read_parquet(?)", [glob.escape(str(path))])
            names = [column[0] for column in table.description or []]
            rows = table.fetchall()
    except (duckdb.Error, RuntimeError) as error:  # std::bad_cast for a name that is no UTF-8
        raise InputError("DIR", f"an undamaged {path.name}", " ".join(str(error).split())[:200]) from error
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def write_adversarials(path: Path, case: Case, ledger: Ledger) -> None:
    """`adversarial.safetensors`: `index`, `label` and the nearest fooling image of each image that has one, piece by piece."""
    positions = np.flatnonzero(ledger.place[:, 0] >= 0)
    dtype = adversarials(case, ledger, positions[:1]).dtype
    names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    count, shape = len(positions), list(case.data.shape)
    sizes = {"index": 8 * count, "label": 8 * count, "adversarial": count * int(np.prod(shape)) * dtype.itemsize}
    header, offset = {}, 0
    for name, size in sizes.items():
        kind = names[dtype] if name == "adversarial" else "I64"
        header[name] = {
            "dtype": kind,
            "shape": [count, *shape] if name == "adversarial" else [count],
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(positions.astype("<i8").tobytes() + case.data.labels[positions].astype("<i8").tobytes())
        for part in case.parts(positions):
            file.write(adversarials(case, ledger, part).view(torch.uint8).numpy().tobytes())
