from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path

import pytest

from foolscope.errors import InputError
from foolscope.reproducing.cache import Recipe
from foolscope.reproducing.claim import Claim, NotRun, Outcome, Record, Rule, at_least
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.run import read_records, reproduce, write_record

KEYS = [
    "id",
    "seed_document",
    "claimed",
    "source",
    "rule",
    "measured",
    "interval",
    "n",
    "seeds",
    "substituted",
    "scale",
    "verdict",
    "seconds",
    "hardware",
    "command",
]


def _claim(outcome: Outcome | None, id: str = "L1") -> Claim:
    def measure(lab: Lab) -> Outcome:
        if outcome is None:
            raise NotRun("no such machine")
        return outcome

    cost = {"small": "seconds", "paper": "seconds"}
    return Claim(
        id,
        "a title",
        "001",
        {"error": 0.9, "other": None},
        "somewhere",
        Rule((at_least("error", 0.8),), 10),
        cost,
        measure,
    )


def _written(record: Record, folder: Path) -> dict:
    write_record(record, folder)
    return json.loads((folder / f"{record.id}.json").read_text())


def test_a_record_has_the_keys_that_the_interface_promises(lab: Lab, tmp_path: Path) -> None:
    outcome = Outcome({"error": 0.85}, 10, {"error": (0.8, 0.9)}, (0, 1), ("a net",), ("why",), ({"eps": 0.1},))
    content = _written(reproduce(_claim(outcome), lab), tmp_path)
    assert list(content) == KEYS
    assert content["measured"] == {"error": 0.85, "notes": ["why"], "series": [{"eps": 0.1}]}
    assert (content["verdict"], content["n"], content["seeds"]) == ("reproduced", 10, [0, 1])
    assert content["claimed"] == {"error": 0.9, "other": None}
    assert content["interval"] == {"error": [0.8, 0.9]}
    assert content["hardware"]["cpu"]
    assert content["command"] == "foolscope reproduce L1 --scale tiny"


@pytest.mark.parametrize(
    ("error", "n", "verdict"),
    [(0.8, 10, "reproduced"), (0.79, 10, "not reproduced"), (math.nan, 10, "not reproduced"), (0.8, 9, "not run")],
)
def test_the_verdict_is_the_rules(lab: Lab, tmp_path: Path, error: float, n: int, verdict: str) -> None:
    content = _written(reproduce(_claim(Outcome({"error": error}, n)), lab), tmp_path)
    assert content["verdict"] == verdict
    assert content["measured"]["error"] == (None if math.isnan(error) else error)


def test_what_cannot_be_run_says_why_and_leaves_an_earlier_record(lab: Lab, tmp_path: Path) -> None:
    content = _written(reproduce(_claim(None), lab), tmp_path)
    assert (content["verdict"], content["measured"], content["n"]) == ("not run", {"notes": ["no such machine"]}, 0)
    write_record(reproduce(_claim(Outcome({"error": 0.85}, 10)), lab), tmp_path)
    assert write_record(reproduce(_claim(None), lab), tmp_path) is None
    assert json.loads((tmp_path / "L1.json").read_text())["verdict"] == "reproduced"


def test_records_come_back_in_the_order_asked_for(lab: Lab, tmp_path: Path) -> None:
    for name in ("P1", "L1"):
        write_record(reproduce(_claim(Outcome({"error": 0.85}, 10), name), lab), tmp_path)
    records = read_records(tmp_path, ("L1", "L2", "P1"))
    assert [record.id for record in records] == ["L1", "P1"]
    assert dataclasses.asdict(records[0]).keys() == set(KEYS)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "L1.json").write_text(text)
    with pytest.raises(InputError, match=r"whole records, got .*L1\.json"):
        read_records(tmp_path, ("L1",))


def test_seconds_count_the_training_of_cached_networks(lab: Lab) -> None:
    recipe = Recipe("linear", data="digits:train", options={"epochs": 3, "validation": None})

    def measure(lab: Lab) -> Outcome:
        lab.network(recipe)
        lab.network(recipe)
        time.sleep(0.2)
        return Outcome({"error": 0.85}, 10)

    claim = dataclasses.replace(_claim(None), measure=measure)
    first, again = reproduce(claim, lab), reproduce(claim, lab)
    assert first.seconds >= 0.2
    assert abs(first.seconds - again.seconds) <= 0.3
