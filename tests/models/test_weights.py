from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.models import load_model
from foolscope.models.weights import fingerprint, fit, read_state


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def refused(text: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        read_state(str(text))
    line = str(caught.value)
    assert line.startswith("--weights: expected ")
    assert "\n" not in line
    return line


class Creates:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "safetensors named otherwise"])
def test_each_format_loads(tmp_path: Path, kind: str) -> None:
    source = network()
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind.startswith("safetensors"):
        save_file(source.state_dict(), path)
    else:
        torch.save(source.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    target = network()
    for p in target.parameters():
        nn.init.zeros_(p)
    assert fit(target, read_state(str(path))) == ()
    assert fingerprint(target) == fingerprint(source)


@pytest.mark.parametrize(
    "nest",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model_state_dict": s, "best": 0.5},
        lambda s: {"net": {f"module.{k}": v for k, v in s.items()}, "acc": 1},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
    ],
    ids=["state_dict", "model_state_dict", "net+module", "module", "compiled", "lightning"],
)
def test_common_wrappings_are_undone(tmp_path: Path, nest: object) -> None:
    source = network()
    torch.save(nest(source.state_dict()), tmp_path / "w.pt")
    target = network()
    nn.init.zeros_(target[0].weight)
    fit(target, read_state(str(tmp_path / "w.pt")))
    assert fingerprint(target) == fingerprint(source)


def test_a_prefix_that_the_model_has_itself_is_kept() -> None:
    module = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert fit(module, {f"module.module.{k}": v for k, v in module["module"].state_dict().items()}) == ()


def test_half_precision_loads_into_full_and_is_said() -> None:
    target = network()
    state = {name: value.half() if value.is_floating_point() else value for name, value in target.state_dict().items()}
    assert fit(target, state) == ("weights of float16 loaded into float32",)
    assert {p.dtype for p in target.parameters()} == {torch.float32}
    assert torch.equal(target[0].weight, state["0.weight"].float())


def test_old_files_without_a_step_counter_load() -> None:
    state = {name: value for name, value in network().state_dict().items() if "num_batches" not in name}
    assert fit(network(), state) == ()


def test_bare_names_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name with a dot in it, as the provable network's: what follows the dot is no ending.
    save_file({"x": torch.ones(1)}, tmp_path / "net_linf0.1.safetensors")
    monkeypatch.setenv("FOOLSCOPE_WEIGHTS", str(tmp_path))
    assert read_state("net_linf0.1")["x"] == 1
    assert read_state("net_linf0.1.safetensors")["x"] == 1
    assert "got 'net_linf' (nearest: net_linf0.1; accepted: net_linf0.1)" in refused("net_linf")
    monkeypatch.delenv("FOOLSCOPE_WEIGHTS")
    assert "$FOOLSCOPE_WEIGHTS, where bare names are looked up, is not set" in refused("net_linf0.1")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, legacy: bool) -> None:
    evidence = tmp_path / "executed"
    path = tmp_path / "w.pt"
    torch.save({"x": torch.ones(1), "y": Creates(evidence)}, path, _use_new_zipfile_serialization=not legacy)
    line = refused(path)
    assert not evidence.exists()
    assert "w.pt, a pickle that would run code (" in line
    assert "mkdir" in line
    # The file is a real attack: a loader that trusts it does run it.
    torch.load(path, weights_only=False)
    assert evidence.exists()


def test_a_plain_malicious_pickle_under_any_name_is_refused(tmp_path: Path) -> None:
    evidence = tmp_path / "executed"
    for name in ("w.pkl", "w.safetensors", "w.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(Creates(evidence)))
        refused(tmp_path / name)
    assert not evidence.exists()


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pt")
    assert "a pickle that would run code (torch.nn.modules.container.Sequential); refused" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("cut", [0, 4, 60, -1])
def test_damaged_safetensors_are_one_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:cut])
    assert "a readable safetensors file, got 'w.safetensors" in refused(path)


def test_damaged_checkpoints_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(network().state_dict(), path)
    whole = path.read_bytes()
    for bad in (b"", b"hello", whole[: len(whole) // 2], whole[:100] + b"\xff" * 200 + whole[300:]):
        path.write_bytes(bad)
        assert "torch.load(weights_only=True)" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    assert "torch.load(weights_only=True)" in refused(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "with nothing in it"),
        (torch.ones(3), "with a Tensor"),
        ({"epoch": 3}, "with keys epoch"),
        ({"x": torch.ones(1), "epoch": 3}, "where epoch is no tensor"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: object, told: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert told in refused(tmp_path / "w.pt")


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state = dict(network().state_dict())
    for name, value in changes.items():
        if value is None:
            del state[name.replace("_", ".", 1)]
        else:
            state[name.replace("_", ".", 1)] = value
    return state


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (changed(**{"3_bias": None}), "fit the model's 9 entries, got 'missing 3.bias'"),
        (changed(**{"4_weight": torch.ones(1)}), "got 'unexpected 4.weight'"),
        (changed(**{"3_bias": torch.ones(5)}), "weights that fit: 3.bias of shape (3,), got '(5,)'"),
        ({f"{k}x": v for k, v in network().state_dict().items()}, "missing 0.weight, 0.bias, 1.weight and 5 more"),
        # Both wrong: the names tell more than the shapes.
        (changed(**{"3_bias": None, "3_weight": torch.ones(1, 1)}), "got 'missing 3.bias'"),
    ],
)
def test_what_does_not_fit_is_named(state: dict[str, Tensor], told: str) -> None:
    with pytest.raises(InputError) as caught:
        fit(network(), state)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_weights_are_told_before_the_users_code_runs(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("raise SystemExit\n", encoding="utf-8")
    with pytest.raises(InputError, match="--weights"):
        load_model(f"{tmp_path}/m.py:build", weights=str(tmp_path / "gone.pt"))


def test_the_fingerprint_sees_names_shapes_dtypes_order_and_every_bit() -> None:
    def of(**tensors: Tensor) -> str:
        module = nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return fingerprint(module)

    a, b = torch.zeros(4), torch.ones(2)
    base = of(a=a, b=b)
    assert base == of(a=a.clone(), b=b.clone())
    assert of(a=torch.zeros(2, 4).t()[:, 0], b=b) == base  # memory layout is no content
    flipped = a.clone()
    flipped[3] = -0.0
    others = [of(c=a, b=b), of(a=a.view(2, 2), b=b), of(a=a.int(), b=b), of(b=b, a=a), of(a=flipped, b=b), of(a=a)]
    assert len({base, *others}) == 7
    assert of(a=torch.tensor(1.0), b=torch.zeros(0), c=torch.ones(1, dtype=torch.bfloat16)) != base
    with pytest.raises(InputError, match="^MODEL: .*a on the device meta"):
        of(a=torch.zeros(1, device="meta"))
