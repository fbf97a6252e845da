"""Measures a claim and judges it by its own rule."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foolscope.environment import environment
from foolscope.errors import InputError
from foolscope.reproducing.claim import NOT_RUN, Claim, NotRun, Outcome, Record
from foolscope.reproducing.lab import Lab
from foolscope.store import write_json


def reproduce(claim: Claim, lab: Lab) -> Record:
    """The record of one claim, measured now.

    Args:
        claim: what is measured.
        lab: the scale, and where trained networks lie.

    Returns:
        A `Record`; its seconds are those of this measurement and of the trainings behind it, whenever they took place.

    Raises:
        InputError: data or weights that are not there.
    """
    lab, begun = lab.fresh(), time.perf_counter()
    try:
        outcome = claim.measure(lab)
    except NotRun as reason:
        outcome = Outcome({}, n=0, seeds=(), notes=(str(reason),))
    seconds = time.perf_counter() - begun - sum(lab.waited) + sum(lab.seconds.values())
    verdict = claim.rule.verdict(outcome.measured, outcome.n, outcome.seeds) if outcome.measured else NOT_RUN
    notes: dict[str, Any] = {"notes": list(outcome.notes)} if outcome.notes else {}
    series: dict[str, Any] = {"series": [_plain(row) for row in outcome.series]} if outcome.series else {}
    pictures: dict[str, Any] = {"pictures": [dict(tile) for tile in outcome.pictures]} if outcome.pictures else {}
    return Record(
        id=claim.id,
        seed_document=claim.seed_document,
        claimed=claim.claimed,
        source=claim.source,
        rule=str(claim.rule),
        measured={**_plain(outcome.measured), **notes, **series, **pictures},
        interval={key: list(ends) for key, ends in outcome.interval.items() if all(map(math.isfinite, ends))},
        n=outcome.n,
        seeds=outcome.seeds,
        substituted=outcome.substituted,
        scale=lab.scale,
        verdict=verdict,
        seconds=round(seconds, 4),
        hardware=environment(),
        command=f"foolscope reproduce {claim.id} --scale {lab.scale}",
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values as JSON has them: NaN is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }


def write_record(record: Record, folder: Path) -> Path | None:
    """Writes `folder/ID.json`; None if the claim could not be run and the folder holds an earlier measurement of it."""
    path = folder / f"{record.id}.json"
    if record.verdict == NOT_RUN and path.exists() and json.loads(path.read_text())["verdict"] != NOT_RUN:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, dataclasses.asdict(record))
    return path


def read_records(folder: Path, order: Sequence[str]) -> tuple[Record, ...]:
    """The records in a folder, those of `order` in that order."""
    fields = [field.name for field in dataclasses.fields(Record)]
    found = []
    for name in order:
        path = folder / f"{name}.json"
        if path.is_file():
            try:
                content = json.loads(path.read_text())
                found.append(Record(**{key: content[key] for key in fields}))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError("--out", "a folder with whole records", str(path)) from error
    return tuple(found)
