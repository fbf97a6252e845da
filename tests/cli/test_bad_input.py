"""Bad input: one clear line that names the argument, exit 2, nothing half-written.

Over 400 lines: one list, by argument, of all that can be wrong.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

Call = Callable[..., "object"]


def refused(said: object, *words: str) -> str:
    """The one line of a refusal, which must hold these words, the argument's name first."""
    assert said.code == 2, said
    assert len(said.lines) == 1, said.lines
    assert said.out == ""
    line = said.lines[0]
    assert line.startswith(f"foolscope: {words[0]}"), line
    for word in words[1:]:
        assert word in line, line
    return line


@pytest.fixture
def audit(call: Call, tmp_path: Path) -> Call:
    """`foolscope audit net.py:net digits.npz` with these changes; it must leave nothing where it was told to write."""

    def run(*options: object, model: str = "net.py:net", data: object = "digits.npz", command: str = "audit") -> object:
        said = call(command, model, data, "--out", tmp_path / "out", *options)
        assert not (tmp_path / "out").exists()
        return said

    return run


@pytest.fixture
def npz(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Callable[..., Path]:
    """A changed copy of the digits as an `.npz`."""

    def write(**changed: np.ndarray) -> Path:
        np.savez(tmp_path / "bad.npz", **({"images": digits[0], "labels": digits[1]} | changed))
        return tmp_path / "bad.npz"

    return write


# Names.


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": "mnist_cnn_aa"}, ("MODEL", "mnist_cnn_aa", "nearest: mnist_cnn_a")),
        ({"model": "net.py:nett"}, ("MODEL", "nett", "nearest: net")),
        ({"model": "missing.py:net"}, ("MODEL", "missing.py")),
        ({"model": "no_such_package:net"}, ("MODEL", "no_such_package")),
        ({"model": "..:net"}, ("MODEL", "importable module", "'..'")),
        ({"model": " :net"}, ("MODEL", "importable module", "' '")),
        ({"model": "net.py:three"}, ("MODEL", "three")),
        ({"data": "minst"}, ("DATA", "minst", "nearest: mnist")),
        ({"data": "digits:tset"}, ("DATA", "tset", "nearest: test")),
        ({"data": "no/such/file.npz"}, ("DATA", "no/such/file.npz")),
    ],
)
def test_unknown_model_or_data(audit: Call, changed: dict[str, str], words: tuple[str, ...]) -> None:
    refused(audit("--eps", "0.1", **changed), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--norm", "l_inf"), ("--norm", "l_inf", "nearest: linf")),
        (("--effort", "quik"), ("--effort", "quik", "nearest: quick")),
        (("--device", "cuda:99"), ("--device", "cuda:99", "cpu")),
        (("--device", "gpu"), ("--device", "gpu")),
        (("--device", "meta"), ("--device", "meta")),
        (("--sample", "3"), ("OPTION", "--sample", "nearest: --samples")),
        (("--weights", "nowhere.safetensors"), ("--weights", "nowhere.safetensors")),
        (("--mean", "0.5"), ("--std",)),
        (("--mean", "0.5", "--std", "0"), ("--std",)),
        (("--mean", "a,b", "--std", "1,1"), ("--mean", "'a'")),
        (("--bounds", "1,0"), ("--bounds", "1,0")),
        (("--bounds", "0"), ("--bounds",)),
        (("--bounds", "-1e39,1"), ("--bounds", "-1e39,1")),
        (("--device", ""), ("--device", "''")),
        (("--out", ""), ("--out", "a folder", "''")),
        (("--resize", "1" + "0" * 8), ("memory", "--resize")),
        (("--time-limit", "soon"), ("--time-limit", "soon")),
        (("--seed", "1.5"), ("--seed", "1.5")),
        (("--seed", "1e30"), ("--seed", "1e30")),
        (("--seed", str(2**64)), ("--seed", str(2**64))),
        (("--fail-under", "1.5"), ("--fail-under", "between 0 and 1", "1.5")),
        (("--fail-under", "nan"), ("--fail-under",)),
        (("--samples", "0"), ("--samples", "at least 1", "0")),
        (("--samples", "-3"), ("--samples", "-3")),
        (("--samples", "many"), ("--samples", "many")),
        (("--batch-size", "0"), ("--batch-size", "at least 1", "0")),
        (("--crop", "99"), ("--crop", "8", "99")),
        (("--crop", "0"), ("--crop",)),
    ],
)
def test_options(audit: Call, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(audit(*options), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audit",), ("MODEL",)),
        (("audit", "net.py:net"), ("DATA",)),
        (("attack", "net.py:net", "digits.npz"), ("--attack",)),
        (("audti",), ("COMMAND", "audti", "nearest: audit")),
        (("audit", "net.py:net", "digits.npz", "extra"), ("COMMAND", "nothing after MODEL DATA, got 'extra'")),
        (("audit", "net.py:net", "digits.npz", "--eps"), ("--eps", "a value, got nothing")),
        (("audit", "net.py:net", "digits.npz", "--json=3"), ("--json", "no value")),
        (("audit", "net.py:breaks", "digits.npz", "--batch-size", "0"), ("--batch-size", "at least 1")),
    ],
)
def test_commands(call: Call, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(call(*arguments), *words)


# The radius.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--eps", "0"), ("positive", "0")),
        (("--eps", "-0.1"), ("positive", "-0.1")),
        (("--eps", "nan"), ("nan",)),
        (("--eps", "inf"), ("inf",)),
        (("--eps", "1e39", "--bounds", "none"), ("below 1e18", "1e+39")),
        (("--eps", "8/0"), ("8/0",)),
        (("--eps", "8/255/2"), ("8/255/2",)),
        (("--eps", "eight"), ("eight",)),
        (("--eps", ""), ()),
        (("--eps", "1.5"), ("at most 1", "linf", "1.5")),
        (("--eps", "8.1", "--norm", "l2"), ("at most 8", "l2", "8.1")),
        (("--eps", "65", "--norm", "l1"), ("at most 64", "l1", "65")),
        (("--eps", "65", "--norm", "l0"), ("at most 64", "l0", "65")),
        (("--eps", "2.5", "--norm", "l0"), ("whole number", "2.5")),
        (("--norm", "l2"), ("got nothing",)),
        (("--norm", "l0"), ("got nothing",)),
    ],
)
@pytest.mark.parametrize("command", ["audit", "attack"])
def test_radius(audit: Call, command: str, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    attack = ("--attack", "noise") if command == "attack" else ()
    refused(audit(*options, *attack, command=command), "--eps", *words)


def test_a_radius_is_measured_against_the_box_that_was_given(audit: Call) -> None:
    refused(audit("--eps", "2.5", "--bounds", "-1,1"), "--eps", "at most 2")


# Attacks.


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("pdg", ("ATTACK", "pdg", "nearest: pgd")),
        ("pgd:step=3", ("pgd:step", "steps")),
        ("pgd:steps=0", ("steps", "at least 1")),
        ("pgd:steps=1e10", ("steps", "at most 10000000")),
        ("hybrid:finish=1e10", ("finish", "at most 10000000")),
        ("bim:step_size=1e39", ("step_size", "below 1e18")),
        ("pgd:steps=2.5", ("pgd:steps", "whole number")),
        ("pgd:restarts=0", ("restarts", "at least 1")),
        ("pgd:seed=1e300", ("pgd:seed", "64 bits")),
        ("pgd:seed=9223372036854775808", ("pgd:seed", "64 bits")),
        ("pgd:momentum=-5", ("momentum", "not negative")),
        ("fmn:step_size=-1", ("step_size", "positive")),
        ("pgd:step_size=-1", ("step_size", "positive")),
        ("pgd:loss=hinge", ("loss", "hinge", "margin")),
        ("pgd:start=middle", ("start", "middle", "uniform")),
        ("pgd:eps=2", ("--eps", "at most 1")),
        ("pgd:eps=8/0", ("pgd:eps", "8/0")),
        ("pgd:norm=l0,eps=1", ("--norm", "l0", "linf")),
        ("pgd:norm=l3", ("--norm", "l3", "linf")),
        ("pgd:early_stop=maybe", ("pgd:early_stop", "maybe")),
        ("square:steps=0", ("steps", "at least 1")),
        ("fmn:steps=0", ("steps", "at least 1")),
        ("missing.py:jump", ("ATTACK", "missing.py")),
        ("net.py:jumpp", ("ATTACK", "jumpp", "nearest: jump")),
        ("net.py:three", ("ATTACK", "three")),
        ("net.py:swapped", ("ATTACK", "net.py:swapped", "(model, inputs, labels", "too many positional")),
    ],
)
def test_attack(audit: Call, attack: str, words: tuple[str, ...]) -> None:
    refused(audit("--attack", attack, command="attack"), *words)


# Images and labels.


def test_images_out_of_bounds(audit: Call, npz: Callable[..., Path], digits: tuple) -> None:
    refused(audit(data=npz(images=digits[0] * 16)), "images", "[0, 1]")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5])
def test_images_that_turn_bad_late(
    audit: Call, npz: Callable[..., Path], digits: tuple[np.ndarray, np.ndarray], value: float
) -> None:
    images, labels = np.tile(digits[0], (6, 1, 1, 1)), np.tile(digits[1], 6)
    images[500, 0, 3, 3] = value
    refused(audit("--effort", "quick", data=npz(images=images, labels=labels)), "images", "image 500")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((4, 8, 8, 3), np.uint8), ("images of 64 components", "(3, 8, 8)")),
        (np.zeros((4, 1, 9, 9), np.float32), ("images of 64 components", "(1, 9, 9)")),
    ],
)
def test_images_that_the_model_does_not_take(
    audit: Call, npz: Callable[..., Path], images: np.ndarray, words: tuple[str, ...]
) -> None:
    refused(audit(data=npz(images=images, labels=np.arange(4))), "DATA", *words)


def test_colour_images_for_a_grey_network(audit: Call, npz: Callable[..., Path]) -> None:
    data = npz(images=np.zeros((4, 28, 28, 3), np.uint8), labels=np.arange(4))
    refused(audit(model="cnn", data=data), "DATA", "1 channels", "3 channels")


def test_images_too_small_for_a_network(audit: Call) -> None:
    refused(audit(model="cnn"), "DATA", "(1, 8, 8)")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full(100, 10), ("MODEL", "10", "10 classes")),
        (np.full(100, -1), ("labels", "-1")),
        (np.arange(99) % 10, ("labels", "100", "99")),
        (np.zeros((100, 10), int), ("labels", "100")),
        (np.zeros(100), ("labels", "integers", "float64")),
        (np.array(["a"] * 100, object), ("labels", "object array")),
        (np.full(100, 2**40), ("labels", str(2**40))),
    ],
)
def test_labels(audit: Call, npz: Callable[..., Path], labels: np.ndarray, words: tuple[str, ...]) -> None:
    refused(audit(data=npz(labels=labels)), *words)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 1, 8, 8), np.float32), ("DATA", "at least one image")),
        (np.array([object()] * 100), ("images", "object array")),
        (np.zeros((100, 8), np.float32), ("images", "(100, 8)")),
        (np.zeros((100, 1, 8, 8), np.int64), ("images", "int64")),
    ],
)
def test_arrays(audit: Call, npz: Callable[..., Path], images: np.ndarray, words: tuple[str, ...]) -> None:
    refused(audit(data=npz(images=images)), *words)


# Damaged files, and files that would like to run.


@pytest.mark.parametrize("kept", [0, 10, 4000])
def test_a_truncated_npz(audit: Call, place: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.npz").write_bytes((place / "digits.npz").read_bytes()[:kept])
    refused(audit(data=tmp_path / "cut.npz"), "DATA", "cut.npz")


def test_an_npz_with_a_changed_byte(audit: Call, place: Path, tmp_path: Path) -> None:
    content = bytearray((place / "digits.npz").read_bytes())
    content[2000] ^= 255
    (tmp_path / "changed.npz").write_bytes(content)
    refused(audit(data=tmp_path / "changed.npz"), "DATA", "changed.npz")


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really PAR1", os.urandom(500)])
def test_a_damaged_parquet_file(audit: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.parquet").write_bytes(content)
    refused(audit(data=tmp_path / "bad.parquet"), "DATA", "bad.parquet")


def test_a_damaged_image(audit: Call, tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    from PIL import Image

    for label in range(2):
        (tmp_path / "folder" / str(label)).mkdir(parents=True)
        Image.fromarray((digits[0][label, 0] * 255).astype(np.uint8)).save(tmp_path / "folder" / str(label) / "a.png")
    good = (tmp_path / "folder" / "1" / "a.png").read_bytes()
    (tmp_path / "folder" / "1" / "b.png").write_bytes(good[:40])
    refused(audit(data=tmp_path / "folder"), "DATA", "1/b.png")


def test_an_empty_folder(audit: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(audit(data=tmp_path / "empty"), "DATA", "empty")


@pytest.mark.parametrize(
    "content", [b"", b"\x10\0\0\0\0\0\0\0{broken", os.urandom(100)], ids=["empty", "cut off", "noise"]
)
def test_damaged_weights(audit: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    refused(audit("--weights", tmp_path / "w.safetensors"), "--weights", "w.safetensors")


class Runs:
    """A pickle that makes a folder when it is read."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_weights_that_would_run_code(audit: Call, tmp_path: Path, writer: str) -> None:
    proof, file = tmp_path / "proof", tmp_path / "w.pt"
    if writer == "pickle":
        file.write_bytes(pickle.dumps({"1.weight": Runs(proof)}))
    else:
        torch.save({"1.weight": Runs(proof)}, file)
    refused(audit("--weights", file), "--weights", "w.pt", "refused" if writer == "torch" else "")
    assert not proof.exists()
    torch.load(file, weights_only=False) if writer == "torch" else pickle.loads(file.read_bytes())
    assert proof.exists()  # it was a weapon


def test_data_that_would_run_code(audit: Call, tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    proof = tmp_path / "proof"
    np.savez(tmp_path / "trap.npz", images=np.array([Runs(proof)] * 100, object), labels=digits[1])
    refused(audit(data=tmp_path / "trap.npz"), "images", "object array")
    assert not proof.exists()


def test_a_state_dict_that_does_not_fit(audit: Call, tmp_path: Path) -> None:
    torch.save({"2.weight": torch.zeros(10, 64), "1.bias": torch.zeros(10)}, tmp_path / "names.pt")
    refused(audit("--weights", tmp_path / "names.pt"), "--weights", "missing 1.weight", "unexpected 2.weight")
    torch.save({"1.weight": torch.zeros(9, 64), "1.bias": torch.zeros(9)}, tmp_path / "shapes.pt")
    refused(audit("--weights", tmp_path / "shapes.pt"), "--weights", "(10, 64)", "(9, 64)")


# The output folder.


def test_out_that_is_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(call("audit", "net.py:net", "digits.npz", "--out", tmp_path / "file"), "--out", "file")
    refused(call("audit", "net.py:net", "digits.npz", "--out", tmp_path / "file" / "below"), "--out", "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_out_that_cannot_be_written(call: Call) -> None:
    refused(call("audit", "net.py:net", "digits.npz", "--out", "/proc/foolscope"), "--out", "/proc/foolscope")


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_out_with_a_folder_of_yours_that_pieces_would_go_to(
    call: Call, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    refused(call("audit", "net.py:net", "digits.npz", "--out", tmp_path, *options), "--out", "work")
    assert (tmp_path / "work" / "thesis.txt").read_text() == "mine"


def test_out_with_other_files(call: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    command = ("attack", "net.py:net", "digits.npz", "--attack", "noise", "--samples", "20", "--out", tmp_path)
    refused(call(*command), "--out", "other files", "--overwrite")
    assert os.listdir(tmp_path) == ["notes.txt"]
    assert call(*command, "--overwrite").code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_out_with_another_run(call: Call, tmp_path: Path) -> None:
    command = ("attack", "net.py:net", "digits.npz", "--samples", "20", "--out", tmp_path, "--attack")
    assert call(*command, "noise", "--eps", "0.4").code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused(call(*command, "noise", "--eps", "0.5"), "--out", "another run", "0.5", "--overwrite")
    refused(call(*command, "pgd:steps=0", "--overwrite"), "steps")  # bad input does not cost what was there
    refused(call(*command, "pgd", "--overwrite", "--samples", "0"), "--samples")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert call(*command, "fgsm", "--eps", "0.01", "--overwrite").code == 0
    assert not list((tmp_path / "png").iterdir())  # what the replaced run had fooled is gone
    audit = ("audit", "net.py:net", "digits.npz", "--samples", "20", "--effort", "quick", "--out", tmp_path)
    refused(call(*audit), "--out", "another run")
    assert call(*audit, "--overwrite").code == 0
    assert not (tmp_path / "attack.json").exists()


# Before a network trains itself.


@pytest.mark.parametrize("command", [("audit",), ("attack", "--attack", "pgd"), ("explain",)])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--crop", "6"), ("DATA", "(1, 6, 6)")),
        (("--mean", "0.5,0.5", "--std", "1,1"), ("--mean", "1 numbers", "2")),
        (("--device", "cudo"), ("--device", "cudo")),
        (("--out", "net.py"), ("--out", "a folder", "file")),
        (("--out", "net.py/below"), ("--out", "can be written", "below")),
        (("--out", "/proc/foolscope/below"), ("--out", "can be written", "below")),
    ],
)
def test_what_does_not_fit_is_told_before_a_network_trains_itself(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], options: tuple[str, ...], words: tuple
) -> None:
    trained = []
    monkeypatch.setattr("foolscope.models.digits._train", trained.append)
    refused(call(command[0], "digits_cnn", "digits", *command[1:], *options), *words)
    assert not trained


def test_data_and_options_of_an_attack_too(
    call: Call, npz: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    monkeypatch.setattr("foolscope.models.digits._train", trained.append)
    colours = npz(images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4))
    refused(call("audit", "digits_cnn", colours), "DATA", "1 channels", "3 channels")
    refused(call("audit", "digits_cnn", npz(labels=np.arange(100))), "MODEL", "label up to 99", "10 classes")
    refused(call("attack", "digits_cnn", "digits", "--attack", "pgd:steps=0"), "steps", "at least 1")
    assert not trained


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("explain", "--eps", "0.2"), "eps: 0.1, now 0.2"),
        (("explain", "--eps", "0.1", "--only", "linearity"), "only: ['logit_gaps'], now ['linearity']"),
        (("explain", "--eps", "0.1", "--samples", "30"), "data n: 20, now 30"),
        (("audit", "--eps", "0.1"), "run: 'explain', now 'audit'"),
        (("attack", "--eps", "0.1", "--attack", "pgd"), "run: 'explain', now 'attack'"),
    ],
)
def test_another_run_in_out_too(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], words: str
) -> None:
    options = ("--samples", "20", "--out", tmp_path / "out")
    assert call("explain", "digits_cnn", "digits", "--eps", "0.1", "--only", "logit_gaps", *options).code == 0
    trained = []
    monkeypatch.setattr("foolscope.models.digits._train", trained.append)
    only = ("--only", "logit_gaps") if command[0] == "explain" else ()
    refused(call(command[0], "digits_cnn", "digits", *options, *only, *command[1:]), "--out", "another run", words)
    assert not trained


# Verification of what is no audit.


def test_verify_without_an_audit(call: Call, tmp_path: Path) -> None:
    refused(call("verify", tmp_path, "net.py:net", "digits.npz"), "DIR")
    (tmp_path / "audit.json").write_text("{}")
    refused(call("verify", tmp_path, "net.py:net", "digits.npz"), "DIR", "audit.json")
    (tmp_path / "audit.json").write_text("{")
    refused(call("verify", tmp_path, "net.py:net", "digits.npz"), "DIR", "audit.json")
    shutil.rmtree(tmp_path)
    refused(call("verify", tmp_path, "net.py:net", "digits.npz"), "DIR")
