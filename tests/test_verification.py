"""Anyone can check an audit: what is true holds, and whatever is tampered with is found and named."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

import foolscope
from foolscope import api, cli
from foolscope.errors import InputError

Data = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def nearest_mean() -> nn.Module:
    """Fitted to the first 1,297 of the bundled digits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = torch.as_tensor(bunch.images[:1297], dtype=torch.float32) / 16, bunch.target[:1297]
    means = torch.stack([images[labels == label].mean(0).flatten() for label in range(10)])
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    module[1].weight.copy_(2 * means)
    module[1].bias.copy_(-(means**2).sum(1))
    return module.eval()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Data, Path]:
    """An audit of 60 digits, some of them wrong, some fooled, some not."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    data = torch.as_tensor(bunch.images[-60:], dtype=torch.float32)[:, None] / 16, torch.as_tensor(bunch.target[-60:])
    model = nearest_mean()
    folder = tmp_path_factory.mktemp("verification") / "audit"
    audit = foolscope.audit(model, data, eps=0.15, effort="quick", batch_size=16, out=folder)
    assert 0 < audit.robust_accuracy < audit.clean_accuracy < 1
    return model, data, folder


@pytest.fixture
def folder(finished: tuple[nn.Module, Data, Path], tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(finished[2], tmp_path / "audit"))


@pytest.fixture
def failing(finished: tuple[nn.Module, Data, Path], folder: Path) -> Callable[..., set[str]]:
    """The claims that do not hold in the folder."""

    def run(model: nn.Module | None = None, data: Data | None = None) -> set[str]:
        claims = api.verify(folder, model or finished[0], data or finished[1])
        return {claim.claim for claim in claims if claim.failed}

    return run


def tamper_with_samples(folder: Path, change: str) -> None:
    path = folder / "samples.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE samples AS SELECT * FROM '{path}'")
        connection.execute(f"UPDATE samples SET {change}")
        connection.execute(f"COPY (SELECT * FROM samples ORDER BY index) TO '{path}' (FORMAT parquet)")


def tamper_with_record(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps(record | changes))


def tamper_with_images(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = {key: value.copy() for key, value in load_file(folder / "adversarial.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "adversarial.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_an_honest_audit_holds_in_any_precision(finished: tuple, dtype: torch.dtype, tmp_path: Path) -> None:
    few = finished[1][0][:16], finished[1][1][:16]
    model = nearest_mean().to(dtype)
    foolscope.audit(model, few, eps=0.15, effort="quick", out=tmp_path / "audit")
    claims = api.verify(tmp_path / "audit", model, few)
    assert {claim.claim: claim.failed for claim in claims if claim.failed} == {}


def test_a_true_audit_holds(failing: Callable[..., set[str]], finished: tuple[nn.Module, Data, Path]) -> None:
    assert failing() == set()
    claims = {claim.claim: claim.checked for claim in api.verify(finished[2], finished[0], finished[1])}
    record = json.loads((finished[2] / "audit.json").read_text())
    assert claims["clean prediction"] == 60
    assert claims["every fooled image is there"] == sum(stage["fooled"] for stage in record["stages"])
    assert claims["in the box, finite and fooling"] > claims["every fooled image is there"]  # distances beyond eps too


def test_a_pixel(failing: Callable[..., set[str]], folder: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["adversarial"][3, 0, 4, 4] = 1 - tensors["adversarial"][3, 0, 4, 4]

    tamper_with_images(folder, change)
    assert "distance" in failing()


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.1])
def test_a_pixel_out_of_the_box(failing: Callable[..., set[str]], folder: Path, value: float) -> None:
    tamper_with_images(folder, lambda tensors: tensors["adversarial"].__setitem__((0, 0, 0, 0), value))
    assert "in the box, finite and fooling" in failing()


def test_an_image_that_fools_nobody(
    failing: Callable[..., set[str]], folder: Path, finished: tuple[nn.Module, Data, Path]
) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["adversarial"][0] = finished[1][0][tensors["index"][0]].numpy()

    tamper_with_images(folder, change)
    assert {"in the box, finite and fooling", "distance"} <= failing()


def test_a_fooled_image_that_is_missing(failing: Callable[..., set[str]], folder: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors.update({key: value[len(value) // 2 :].copy() for key, value in tensors.items()})

    tamper_with_images(folder, change)
    assert failing() == {"every fooled image is there"}


def test_a_label(failing: Callable[..., set[str]], folder: Path) -> None:
    tamper_with_images(folder, lambda tensors: tensors["label"].__setitem__(0, (tensors["label"][0] + 1) % 10))
    assert failing() == {"labels are those of the data"}


@pytest.mark.parametrize(
    ("change", "claims"),
    [
        ("distance_linf = distance_linf / 2", {"distance", "median_distance: as samples.parquet has it"}),
        ("distance_l2 = distance_l2 * 1.001", {"distance"}),
        ("clean_prediction = (clean_prediction + 1) % 10 WHERE index = 7", {"clean prediction"}),
        ("label = (label + 1) % 10 WHERE index = 7", {"labels are those of the data"}),
        ("backwards = backwards - 1 WHERE index = 7", {"passes: as samples.parquet has it"}),
        (
            "outcome = 'resisted' WHERE outcome = 'fooled'",
            {"robust_accuracy: as samples.parquet has it", "within eps exactly where fooled"},
        ),
        ("outcome = 'fooled' WHERE outcome = 'resisted'", {"within eps exactly where fooled"}),
        (
            "outcome = 'resisted' WHERE outcome = 'already_wrong'",
            {"already_wrong is what the clean pass says", "clean_accuracy: as samples.parquet has it"},
        ),
    ],
)
def test_samples(failing: Callable[..., set[str]], folder: Path, change: str, claims: set[str]) -> None:
    tamper_with_samples(folder, change)
    assert claims <= failing()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("robust_accuracy", 0.99),
        ("clean_accuracy", 1.0),
        ("median_distance", 0.4),
        ("median_distance", None),
        ("curve", {"eps": [0.0, 0.15], "robust_accuracy": [1.0, 1.0]}),
    ],
)
def test_the_record(failing: Callable[..., set[str]], folder: Path, key: str, value: object) -> None:
    tamper_with_record(folder, **{key: value})
    assert failing() == {f"{key}: as samples.parquet has it"}


def test_passes_of_the_record(failing: Callable[..., set[str]], folder: Path) -> None:
    tamper_with_record(folder, forwards=1)
    assert failing() == {"passes: as samples.parquet has it"}


def test_a_smaller_radius_in_the_record(failing: Callable[..., set[str]], folder: Path) -> None:
    tamper_with_record(folder, eps=0.05)
    assert "within eps exactly where fooled" in failing()


def test_another_model(failing: Callable[..., set[str]]) -> None:
    other = nearest_mean()
    other[1].bias[3] += 2
    assert {"weights have the recorded SHA-256", "clean prediction"} <= failing(model=other)


def test_other_images(failing: Callable[..., set[str]], finished: tuple[nn.Module, Data, Path]) -> None:
    images, labels = finished[1]
    assert "images have the recorded SHA-256" in failing(data=(images * 0.99, labels))


def test_files_that_do_not_belong_together(
    failing: Callable[..., set[str]], folder: Path, finished: tuple[nn.Module, Data, Path]
) -> None:
    images, labels = finished[1]
    with pytest.raises(InputError, match="^DIR: expected a row"):
        failing(data=(images[:30], labels[:30]))
    tamper_with_images(folder, lambda tensors: tensors.update(adversarial=tensors["adversarial"][:, :, 1:].copy()))
    with pytest.raises(InputError, match="^DIR: .*adversarial.safetensors"):
        failing()
    (folder / "adversarial.safetensors").unlink()
    with pytest.raises(InputError, match="^DIR: .*adversarial.safetensors"):
        failing()
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS index) TO '{folder / 'samples.parquet'}' (FORMAT parquet)")
    with pytest.raises(InputError, match="^DIR: .*samples.parquet"):
        failing()


RECORDED: dict[str, Any] = {  # other spellings of the same among them
    **{"norm": "linf", "eps": "0.15", "effort": "quick", "seed": 0, "batch_size": 16, "bounds": (0, 1), "samples": 60},
}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"norm": "l2"}, "--norm: expected linf, which the audit was run with, got 'l2'"),
        ({"eps": "16/255"}, "--eps: expected 0.15, which the audit was run with, got 0.062745"),
        ({"effort": "standard"}, "--effort: expected quick, which"),
        ({"seed": 1}, "--seed: expected 0, which the audit was run with, got 1"),
        ({"batch_size": 32}, "--batch-size: expected 16, which the audit was run with, got 32"),
        ({"bounds": (-1.0, 1.0)}, "--bounds: expected 0,1, which the audit was run with, got '-1,1'"),
        ({"bounds": None}, "--bounds: expected 0,1, which the audit was run with, got 'none'"),
        ({"samples": 59}, "--samples: expected 60, which the audit was run with, got 59"),
    ],
)
def test_settings_given_again_have_to_be_the_recorded_ones(
    finished: tuple[nn.Module, Data, Path], given: dict[str, Any], line: str
) -> None:
    model, data, folder = finished
    assert not any(claim.failed for claim in api.verify(folder, model, data, **RECORDED))
    with pytest.raises(InputError, match=f"^{line}"):
        api.verify(folder, model, data, **(RECORDED | given))


def test_the_exit_code_and_the_claim_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def foolscope_says(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["foolscope", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    target = ("mlp", "digits.npz")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "digits.npz", images=rng.random((20, 1, 28, 28), np.float32), labels=np.arange(20) % 10)
    assert foolscope_says("audit", *target, "--effort", "quick", "--out", "out")[0] == 0
    code, out = foolscope_says("verify", "out", *target, "--json")
    assert code == 0
    assert json.loads(out)["holds"] is True
    options = [
        "--eps",
        "8/255",
        "--samples",
        "20",
        "--norm",
        "linf",
        "--effort",
        "quick",
        "--seed",
        "0",
        "--bounds",
        "0,1",
    ]
    assert foolscope_says("verify", "out", *target, *options)[0] == 0
    for option, other in (("--bounds", "none"), ("--samples", "19"), ("--eps", "0.1")):
        assert foolscope_says("verify", "out", *target, option, other)[0] == 2
    tamper_with_record(tmp_path / "out", robust_accuracy=0.99)
    code, out = foolscope_says("verify", "out", *target, "--json")
    assert code == 1
    assert [row["claim"] for row in json.loads(out)["claims"] if row["failed"]] == [
        "robust_accuracy: as samples.parquet has it"
    ]
    code, out = foolscope_says("verify", "out", *target)
    assert code == 1
    assert "robust_accuracy" in out
