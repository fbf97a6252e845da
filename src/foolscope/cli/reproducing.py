"""What `foolscope reproduce` does, as rows for the terminal or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from foolscope.errors import InputError
from foolscope.ledger import Progress
from foolscope.models.load import checked_device
from foolscope.reproducing.cache import cache_folder
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.pages import write_pages
from foolscope.reproducing.registry import CLAIMS, claims_named
from foolscope.reproducing.run import read_records, reproduce, write_record
from foolscope.store import writable


def listing(ids: Sequence[str]) -> list[dict[str, Any]]:
    """A row a claim: what it says, its rule, its cost."""
    return [
        {
            "id": c.id,
            "document": c.seed_document,
            "claim": c.title,
            "rule": str(c.rule),
            "small": c.cost["small"],
            "paper": c.cost["paper"],
        }
        for c in claims_named(ids)
    ]


def measured(
    ids: Sequence[str], *, scale: str, out: str, cache: str | None, device: str, progress: Progress
) -> list[dict[str, Any]]:
    """Measures claims one after another and writes each record as it comes."""
    claims, folder = claims_named(ids), Path(out)
    checked_device(device)
    kept = cache_folder(cache)
    for option, place in (("--out", folder), ("--cache", kept)):  # before hours are spent on what could not be written
        writable(option, place)
        place.mkdir(parents=True, exist_ok=True)
    lab = Lab(scale, kept, device, progress)
    records = []
    for claim in claims:
        record = reproduce(claim, lab)
        if write_record(record, folder) is None:
            click.echo(f"foolscope: note: {claim.id} can't be run here; its earlier record stays", err=True)
        records.append(asdict(record))
    return records


def written(pages: str, records: str) -> list[dict[str, Any]]:
    """Writes the pages from a folder of records; a row a file."""
    if not Path(records).is_dir():
        raise InputError("--out", "a folder with records", records)
    found = read_records(Path(records), tuple(CLAIMS))
    return [{"page": str(path)} for path in write_pages(tuple(CLAIMS.values()), found, Path(pages))]
