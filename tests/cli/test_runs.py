"""What a run says, where it says it, and with which code it leaves."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from foolscope.files import read_samples

SCRIPT = Path(sys.executable).parent / "foolscope"
QUICK = ("audit", "net.py:net", "digits.npz", "--effort", "quick", "--eps", "0.1", "--samples", "40")


# Standard output and standard error.


def test_json_is_the_record_and_nothing_else_whatever_the_model_prints(foolscope: Callable, tmp_path: Path) -> None:
    said = foolscope(*QUICK[:1], "net.py:Chatty", *QUICK[2:], "--out", tmp_path / "out", "--json")
    assert said.code == 0
    assert json.loads(said.out) == json.loads((tmp_path / "out" / "audit.json").read_text())
    assert "hello from forward" not in said.out
    for hello in ("hello from forward", "hello from below"):
        assert any(hello in line for line in said.lines)


def test_the_verdict_and_the_exit_code_of_fail_under(call: Callable, tmp_path: Path) -> None:
    said = call(*QUICK, "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    robust = record["robust_accuracy"]
    assert said.code == 0
    assert 0 < robust < record["clean_accuracy"]
    for line in ("clean accuracy", "robust accuracy", "trust", f"{robust:.1%}"):
        assert line in said.out
    # The same command again, and with a bar: below it 1, at it and above it 0.
    assert call(*QUICK, "--out", tmp_path / "out").out == said.out
    for bar, code in ((robust + 0.001, 1), (robust, 0), (robust - 0.001, 0), (0, 0), (1, 1)):
        assert call(*QUICK, "--out", tmp_path / "out", "--fail-under", bar).code == code


def test_standard_output_on_a_full_device(foolscope: Callable) -> None:
    with open("/dev/full", "w") as full:
        for command in ("attacks", "data"):
            said = foolscope(command, "--json", stdout=full)
            assert said.code == 2
            assert len(said.lines) == 1
            assert "No space left on device" in said.lines[0]


def test_standard_output_that_is_closed(place: Path) -> None:
    done = subprocess.run(f"{SCRIPT} data >&-", shell=True, stderr=subprocess.PIPE, text=True, cwd=place)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def nobody() -> Iterator[int]:
    """A pipe that is not read."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("arguments", [("data",), ("data", "--json"), ("--help",)])
def test_a_reader_that_has_gone(foolscope: Callable, nobody: int, arguments: tuple[str, ...]) -> None:
    said = foolscope(*arguments, stdout=nobody)
    assert (said.code, said.lines) == (0, [])


def test_a_reader_that_has_gone_changes_no_exit_code(foolscope: Callable, nobody: int, tmp_path: Path) -> None:
    for share, code in (("1", 1), ("0", 0)):
        assert foolscope(*QUICK, "--out", tmp_path, "--fail-under", share, stdout=nobody).code == code
    assert foolscope("verify", tmp_path, *QUICK[1:3], stdout=nobody).code == 0
    assert foolscope("verify", tmp_path, "net.py:other", QUICK[2], stdout=nobody).code == 1


def test_files_that_cannot_be_written(place: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full device: the first piece is too large for it."""
    done = subprocess.run(
        [SCRIPT, *QUICK, "--out", tmp_path / "out"],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)),
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("foolscope:")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1
    assert lines[0].startswith("foolscope: --out:")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").rglob(".*"))  # no piece is there by half
    assert not (tmp_path / "out" / "audit.json").exists()


# Code of the user's that raises.


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("net.py:Raises", ("net.py:26", "forward", "KeyError", "no such layer")),
        ("net.py:breaks", ("net.py:", "breaks", "OSError", "no licence")),
    ],
)
def test_a_model_that_raises(call: Callable, tmp_path: Path, model: str, words: tuple[str, ...]) -> None:
    said = call(*QUICK[:1], model, *QUICK[2:], "--out", tmp_path / "out")
    assert said.code == 3
    assert len(said.lines) == 1
    assert said.lines[0].startswith("foolscope: net.py:")
    assert all(word in said.lines[0] for word in words)
    assert not (tmp_path / "out").exists()


def test_a_model_that_raises_late(call: Callable, tmp_path: Path) -> None:
    said = call(*QUICK[:1], "net.py:Late", *QUICK[2:], "--out", tmp_path / "out", "--batch-size", "8")
    assert said.code == 3
    told = [line for line in said.lines if line.startswith("foolscope:")]
    assert len(told) == 1
    assert "RuntimeError: out of patience" in told[0]  # in one line, as all of them
    assert not (tmp_path / "out" / "audit.json").exists()


@pytest.mark.parametrize("place_of_option", ["before", "after"])
def test_debug_shows_the_traceback_and_leaves_with_the_same_code(call: Callable, place_of_option: str) -> None:
    command = (*QUICK[:1], "net.py:Raises", *QUICK[2:])
    said = call("--debug", *command) if place_of_option == "before" else call(*command, "--debug")
    assert said.code == 3
    assert any(line.startswith("Traceback") for line in said.lines)
    assert "KeyError" in said.lines[-1]
    refused = call("audit", "nothing", "digits.npz", "--debug")
    assert refused.code == 2
    assert any(line.startswith("Traceback") for line in refused.lines)


# The user's own attacks.


@pytest.mark.parametrize(("attack", "passes"), [("net.py:jump", (0, 0)), ("net.py:slope", (1, 1))])
def test_an_attack_of_the_users_is_checked_and_counted(
    call: Callable, place: Path, tmp_path: Path, attack: str, passes: tuple[int, int]
) -> None:
    options = ("--attack", attack, "--eps", "0.3", "--batch-size", "16", "--out", tmp_path / "out")
    assert call("attack", "net.py:net", "digits.npz", *options).code == 0
    record = json.loads((tmp_path / "out" / "attack.json").read_text())
    samples = read_samples(tmp_path / "out" / "samples.parquet")
    adversarial = load_file(tmp_path / "out" / "adversarial.safetensors")
    assert record["attack"].startswith(attack)
    assert record["eps"] == 0.3
    fooled = np.array(samples["outcome"]) == "fooled"
    assert 0 < fooled.sum() == record["fooled"]
    assert np.array_equal(np.flatnonzero(fooled), adversarial["index"])
    with np.load(place / "digits.npz") as data:
        moved = np.abs(adversarial["adversarial"] - data["images"][adversarial["index"]])
    assert moved.max() <= 0.3 * (1 + 1e-6) + 1e-7
    # Counted are the attack's own passes; on top come the clean pass, the check, and the look at 8 bits of what fools.
    right = np.array(samples["outcome"]) != "already_wrong"
    own = np.array(samples["forwards"])[16:] - 1 - right[16:] - fooled[16:]
    assert np.array_equal(own[right[16:]], np.full(right[16:].sum(), passes[0]))
    assert np.array_equal(np.array(samples["backwards"])[right], np.full(right.sum(), passes[1]))
    names = sorted(path.name for path in (tmp_path / "out" / "png").iterdir())
    assert len(names) == fooled.sum()
    assert names[0].startswith(f"{adversarial['index'][0]:06d}-{adversarial['label'][0]}-as-")


@pytest.mark.parametrize(("beyond", "told"), [("10", True), ("0 * float('nan')", True), ("5e-7", False)])
def test_answers_outside_the_box_are_told_and_rounding_is_not(
    call: Callable, tmp_path: Path, beyond: str, told: bool
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from foolscope.attacks import pgd\n\n\ndef a(model, inputs, labels, *, eps):\n"
        f"    return (pgd(model, inputs, labels, eps=eps) - 0.5).mul(2).sign() / 2 + 0.5 + {beyond}\n"
    )
    options = ("--attack", f"{own}:a", "--eps", "1", "--out", tmp_path / "out")
    assert call("attack", "net.py:net", "digits.npz", *options).code == 0
    record = json.loads((tmp_path / "out" / "attack.json").read_text())
    right = round(record["clean_accuracy"] * record["n"])
    notes = [note for note in record["notes"] if "outside the box" in note]
    assert notes == ([f"on {right} of {right} images " + notes[0].split(" images ")[1]] if told else [])
    assert (record["fooled"] > 0) == (not told)


def test_an_attack_of_the_users_that_changes_its_labels_fools_nobody(call: Callable, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def a(model, inputs, labels):\n    labels += 1\n    labels %= 10\n    return inputs\n")
    said = call(
        "attack",
        "net.py:net",
        "digits.npz",
        "--attack",
        f"{own}:a",
        "--samples",
        4,
        "--json",
        "--out",
        tmp_path / "out",
    )
    record = json.loads(said.out)
    assert (record["fooled"], record["robust_accuracy"]) == (0, record["clean_accuracy"])


def test_an_attack_of_the_users_that_has_changed_is_another_run(call: Callable, place: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def a(model, inputs, labels):\n    return inputs\n")
    command = ("attack", "net.py:net", "digits.npz", "--attack", f"{own}:a", "--samples", 4, "--out", tmp_path / "out")
    assert call(*command).code == 0
    assert call(*command).code == 0
    own.write_text("def a(model, inputs, labels):\n    return 1 - inputs\n")
    said = call(*command)
    assert (said.code, "attack_sha256" in said.lines[-1]) == (2, True)


def test_a_norm_that_the_attack_sets_has_no_default_radius(call: Callable, tmp_path: Path) -> None:
    said = call("attack", "net.py:net", "digits.npz", "--attack", "pgd:norm=l2", "--out", tmp_path / "out")
    assert (said.code, len(said.lines), "--eps" in said.lines[0]) == (2, 1, True)


def test_an_attack_of_the_users_that_raises(call: Callable, tmp_path: Path) -> None:
    said = call("attack", "net.py:net", "digits.npz", "--attack", "net.py:sulks", "--out", tmp_path / "out")
    told = [line for line in said.lines if line.startswith("foolscope:")]
    assert said.code == 3
    assert len(told) == 1
    assert told[0].startswith("foolscope: net.py:")
    assert "in sulks: ArithmeticError: not today" in told[0]
    assert not (tmp_path / "out").exists()


def test_a_model_that_raises_below_an_attack_of_the_users(call: Callable, tmp_path: Path) -> None:
    options = ("--attack", "net.py:slope", "--batch-size", "40", "--out", tmp_path / "out")
    said = call("attack", "net.py:Late", "digits.npz", "--samples", "40", *options)
    assert said.code == 3
    assert said.lines[-1].count("net.py:") == 1  # told once, where it happened
    assert "in forward: RuntimeError: out of patience" in said.lines[-1]


def test_an_attack_of_the_users_with_another_shape(call: Callable, tmp_path: Path) -> None:
    said = call("attack", "net.py:net", "digits.npz", "--attack", "net.py:shrinks", "--out", tmp_path / "out")
    assert said.code == 2
    assert said.lines == [
        "foolscope: ATTACK: expected images of shape (2, 1, 8, 8) from net.py:shrinks, got 'shape (2, 1, 7, 8)'"
    ]
    assert not (tmp_path / "out").exists()


def test_an_attack_of_the_users_that_fails_leaves_the_run_before_it_as_it_was(call: Callable, tmp_path: Path) -> None:
    target = ("net.py:net", "digits.npz", "--out", tmp_path / "out")
    assert call("attack", *target, "--attack", "fgsm:eps=0.1").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert call("attack", *target, "--attack", "net.py:shrinks", "--overwrite").code == 2
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_an_attack_of_the_users_is_rehearsed_where_it_has_an_image_to_attack(
    call: Callable, place: Path, tmp_path: Path
) -> None:
    with np.load(place / "digits.npz") as digits:
        np.savez(tmp_path / "wrong.npz", images=digits["images"], labels=(digits["labels"] + 5) % 10)
    options = ("--attack", "net.py:shrinks", "--samples", "20", "--out", tmp_path / "out")
    said = call("attack", "net.py:net", tmp_path / "wrong.npz", *options)
    assert (said.code, json.loads((tmp_path / "out" / "attack.json").read_text())["clean_accuracy"]) == (0, 0)
    assert [line for line in said.lines if "guessing" in line] == [
        "foolscope: note: clean accuracy is 0.0%, not clearly better than guessing among 10 classes: check the order of the "
        "labels, the size of the images, and whether the model itself does the normalisation that it was trained with"
    ]


# Interruption.


def test_control_c_leaves_with_130_in_one_line_and_keeps_the_pieces(start: Callable, tmp_path: Path) -> None:
    options = ("--effort", "standard", "--eps", "0.1", "--batch-size", "2", "--out", tmp_path / "out")
    process = start("audit", "net.py:net", "digits.npz", *options)
    work = tmp_path / "out" / "work"
    # Not pathlib's: that trips over a folder that goes while it is read.
    while process.poll() is None and len(glob(f"{work}/*.safetensors")) < 60:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    told = [line for line in err.splitlines() if line.startswith("foolscope:")]
    assert len(told) == 1
    assert "interrupted" in told[0]
    assert "Traceback" not in err
    pieces = list(work.glob("*.safetensors"))
    assert len(pieces) >= 60
    assert all(load_file(piece) for piece in pieces)
    assert not list(work.glob(".*"))
