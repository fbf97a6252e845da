"""`foolscope reproduce`: lists, measures, writes records and pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_claims_are_listed_with_rules_and_costs(call: Callable) -> None:
    said = call("reproduce", "--list", "--json")
    rows = json.loads(said.out)["claims"]
    assert said.code == 0
    assert {"L1", "P11", "R8", "C16"} <= {row["id"] for row in rows}
    assert all(row["rule"] and row["small"] and row["paper"] for row in rows)
    assert [row["id"] for row in json.loads(call("reproduce", "L3", "P1", "--list", "--json").out)["claims"]] == [
        "L3",
        "P1",
    ]


def test_an_unknown_claim_is_bad_input_with_the_nearest_names(call: Callable, tmp_path: Path) -> None:
    said = call("reproduce", "L1", "L33", "--out", tmp_path / "results")
    assert (said.code, said.out) == (2, "")
    assert len(said.lines) == 1
    assert said.lines[0].startswith("foolscope: ID: expected a claim")
    assert "nearest: L3" in said.lines[0]
    assert not (tmp_path / "results").exists()


def test_a_claim_leaves_its_record_and_the_pages_are_written_from_it(call: Callable, tmp_path: Path) -> None:
    said = call("reproduce", "L1", "--out", tmp_path / "results", "--cache", tmp_path / "cache", "--json")
    assert said.code == 0
    (record,) = json.loads(said.out)["records"]
    assert record["verdict"] == "reproduced"
    assert json.loads((tmp_path / "results" / "L1.json").read_text()) == record
    said = call("reproduce", "--pages", tmp_path / "docs", "--out", tmp_path / "results")
    assert said.code == 0
    assert "| [L1](#l1) | a step of 0.1" in (tmp_path / "docs" / "results.md").read_text()


def test_pages_need_records_and_records_a_folder(call: Callable, tmp_path: Path) -> None:
    said = call("reproduce", "--pages", tmp_path / "docs", "--out", tmp_path / "nothing")
    assert (said.code, said.lines[0].split(":")[1].strip()) == (2, "--out")
    (tmp_path / "file").write_text("")
    assert call("reproduce", "L1", "--out", tmp_path / "file").code == 2
    assert call("reproduce", "L1", "--scale", "large").code == 2


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--device", "nowhere", "--device: expected a device"),
        ("--out", "a file", "--out: expected a folder"),
        ("--out", "a file/below", "--out: expected a folder"),
        ("--cache", "a file", "--cache: expected a folder"),
    ],
)
def test_where_it_runs_and_writes_is_known_before_it_measures(
    call: Callable, tmp_path: Path, option: str, value: str, said: str
) -> None:
    (tmp_path / "a file").touch()
    given = {"--out": tmp_path / "results", "--cache": tmp_path / "cache", "--device": "cpu"}
    given[option] = value if option == "--device" else tmp_path / value
    told = call("reproduce", "L1", *(part for pair in given.items() for part in pair))
    assert (told.code, told.out, len(told.lines)) == (2, "", 1)
    assert told.lines[0].startswith(f"foolscope: {said}")
    assert not list(tmp_path.rglob("L1.json"))
