"""What a run leaves behind can be read by others, and says what the ledger knew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from foolscope.attacks import bind
from foolscope.data import from_tensors
from foolscope.errors import InputError
from foolscope.files import read_samples, sample_columns, write_adversarials, write_png, write_samples
from foolscope.ledger import Case, Ledger, clean_pass, run_attack
from foolscope.store import open_store

N = 10


def linear(dtype: torch.dtype) -> nn.Module:
    """Class 1 where the mean exceeds 1/2."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).to(dtype).requires_grad_(False)
    model[1].weight.copy_(torch.tensor([[0.0] * 12, [1.0 / 12] * 12]))
    model[1].bias.copy_(torch.tensor([0.5, 0.0]))
    return model


def attacked(
    folder: Path, *, dtype: torch.dtype = torch.float32, channels: int = 3, eps: float = 0.2
) -> tuple[Case, Ledger]:
    """Ten flat images from dark to bright, two of them wrong; `fgsm` fools the middling ones."""
    grey = torch.linspace(0.05, 0.95, N)
    images = grey.view(-1, 1, 1, 1).expand(N, channels, 12 // channels // 2, 2).clone()
    labels = (grey > 0.5).long()
    labels[0] = labels[9] = 0
    labels[0] = 1
    store = open_store(folder, {"foolscope": "0"})
    case = Case(linear(dtype), from_tensors(images, labels), (0.0, 1.0), "linf", eps, 0, 4, store)
    with store.begin():
        ledger = clean_pass(case)
        run_attack(case, ledger, "fgsm", bind("fgsm", eps=eps), np.flatnonzero(ledger.correct(case.data.labels)))
    return case, ledger


def test_samples_tell_nulls_from_values(tmp_path: Path) -> None:
    case, ledger = attacked(tmp_path)
    write_samples(tmp_path / "samples.parquet", sample_columns(case, ledger))
    samples = read_samples(tmp_path / "samples.parquet")
    # Greys 0.05 to 0.95 in steps of 0.1: within 0.2 of 1/2 lie 0.35, 0.45, 0.55 and 0.65.
    expected = ["already_wrong", *["resisted"] * 2, *["fooled"] * 4, *["resisted"] * 2, "already_wrong"]
    assert samples["outcome"] == expected
    fooled = [outcome == "fooled" for outcome in expected]
    assert samples["attack"] == ["fgsm" if yes else None for yes in fooled]
    for name in ("adversarial_prediction", "confidence", "survives_8bit", "distance_linf", "distance_l0"):
        assert [value is not None for value in samples[name]] == fooled, name
    assert samples["distance_l0"][3:7] == [12.0] * 4
    assert samples["distance_linf"][3:7] == pytest.approx([0.2] * 4)
    assert samples["adversarial_prediction"][3:7] == [1, 1, 0, 0]
    assert samples["survives_8bit"][3:7] == [True] * 4
    assert samples["index"] == list(range(N))


def test_a_path_with_a_quote_and_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "it's [1] *"
    folder.mkdir()
    write_samples(folder / "samples.parquet", {"index": np.arange(3)})
    assert read_samples(folder / "samples.parquet") == {"index": [0, 1, 2]}


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not"])
def test_damaged_samples(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "samples.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"^DIR: .*samples.parquet"):
        read_samples(tmp_path / "samples.parquet")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_adversarial_images_open_with_safetensors_in_the_models_own_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    case, ledger = attacked(tmp_path, dtype=dtype)
    path = tmp_path / "adversarial.safetensors"
    write_adversarials(path, case, ledger)
    tensors = load_file(path)
    assert tensors.keys() == {"index", "label", "adversarial"}
    assert tensors["adversarial"].dtype == dtype
    assert tensors["index"].tolist() == np.flatnonzero(ledger.fooled).tolist()
    assert tensors["label"].tolist() == case.data.labels[ledger.fooled].tolist()
    predicted = case.model(tensors["adversarial"]).argmax(1)
    assert (predicted != tensors["label"]).all()


def test_no_adversarial_images_at_all(tmp_path: Path) -> None:
    case, ledger = attacked(tmp_path, eps=0.01)
    write_adversarials(tmp_path / "adversarial.safetensors", case, ledger)
    tensors = load_file(tmp_path / "adversarial.safetensors")
    assert tensors["adversarial"].shape == (0, *case.data.shape)
    write_samples(tmp_path / "samples.parquet", sample_columns(case, ledger))
    assert set(read_samples(tmp_path / "samples.parquet")["attack"]) == {None}


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_pictures(tmp_path: Path, channels: int, mode: str) -> None:
    case, ledger = attacked(tmp_path, channels=channels)
    folder = tmp_path / "png"
    folder.mkdir()
    (folder / "000000-9-as-8.png").write_bytes(b"of an earlier run")
    (folder / ".000003-0-as-1.png.77").write_bytes(b"half")
    (folder / "holiday.png").write_bytes(b"mine")
    write_png(folder, case, ledger)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000003-0-as-1.png", "000004-0-as-1.png", "000005-1-as-0.png", "000006-1-as-0.png", "holiday.png"]
    with Image.open(folder / names[0]) as image:
        assert image.mode == mode
        assert set(np.asarray(image).flatten().tolist()) == {round(0.55 * 255)}
