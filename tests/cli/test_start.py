"""The command line answers at once, explains itself, and lists what there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foolscope import __version__
from foolscope.cli import cli

SCRIPT = Path(sys.executable).parent / "foolscope"
HEAVY = {"torch", "numpy", "scipy", "duckdb", "sklearn", "altair", "PIL", "safetensors", "huggingface_hub", "rich"}


def test_help_answers_within_three_tenths_of_a_second() -> None:
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([SCRIPT, "--help"], check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.3


@pytest.mark.parametrize(
    "arguments", [["--help"], ["audit", "--help"], ["--version"], ["audit", "a", "b", "--norm", "l"]]
)
def test_nothing_heavy_is_imported_before_a_command_runs(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", SCRIPT, *arguments], capture_output=True, text=True)
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "click" in lines  # the list is what it is taken for
    assert {line.partition(".")[0] for line in lines} & HEAVY == set()


def test_version(call: Callable) -> None:
    assert call("--version").out.split()[-1] == __version__


def test_alone_it_explains_itself(call: Callable) -> None:
    said = call()
    assert (said.code, said.lines) == (0, [])
    assert said.out == call("--help").out


def test_help_names_what_is_accepted_as_it_is_accepted(call: Callable) -> None:
    said = call("audit", "--help").out
    assert "--norm linf|l2|l1|l0" in said
    assert "--effort quick|standard|exhaustive" in said


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_explains_itself_with_an_example_of_its_own(call: Callable, command: str) -> None:
    said = call(command, "--help")
    assert said.code == 0
    assert "Example:" in said.out
    example = said.out.partition("Example:")[2].partition("\n\n")[0]
    assert f"foolscope {command}" in " ".join(example.split())


@pytest.mark.parametrize(("command", "name"), [("attacks", "pgd"), ("models", "digits_cnn"), ("data", "mnist")])
def test_listings_are_one_json_object_and_nothing_else(foolscope: Callable, command: str, name: str) -> None:
    said = foolscope(command, "--json")
    assert (said.code, said.lines) == (0, [])
    rows = json.loads(said.out)[command]
    assert name in [row["name"] for row in rows]


@pytest.mark.parametrize("command", ["attacks", "models", "data"])
def test_listings_as_a_table(call: Callable, command: str) -> None:
    said, rows = call(command), json.loads(call(command, "--json").out)[command]
    assert said.code == 0
    assert all(row["name"] in said.out for row in rows)


def test_listings_on_a_terminal_that_knows_no_accents() -> None:
    ascii_only = os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run([SCRIPT, "attacks"], capture_output=True, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"\\xe0" in done.stdout  # a name in a source


def test_what_the_interface_promises_of_an_attack_is_listed(call: Callable) -> None:
    for row in json.loads(call("attacks", "--json").out)["attacks"]:
        assert {"name", "norm", "kind", "cost", "source"} <= set(row)
