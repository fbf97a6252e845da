"""The Python side: objects instead of texts, a model that comes back as it was, and no files unless asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import foolscope
from foolscope.data import from_tensors, open_data
from foolscope.errors import ForeignError, InputError

QUICK: dict[str, Any] = {"eps": 0.1, "effort": "quick", "samples": 40}
Data = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on these small networks wait for each other longer than one computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model(digits_data: Data) -> nn.Module:
    """Nearest mean behind dropout and a batch norm, left in train mode with gradients and hooks."""
    images, labels = digits_data
    means = torch.stack([images[labels == label].mean(0).flatten() for label in range(10)])
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10))
    with torch.no_grad():
        module[3].weight.copy_(2 * means)
        module[3].bias.copy_(-(means**2).sum(1))
    module.train()
    module[0].eval()
    module[3].weight.grad = torch.ones(10, 64)
    module[3].bias.requires_grad_(False)
    return module


def state_of(module: nn.Module) -> tuple[Any, ...]:
    """Everything that must come back."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return (
        {name: part.training for name, part in module.named_modules()},
        {name: (id(t), t.data_ptr(), t.dtype, t.device, t.requires_grad) for name, t in tensors.items()},
        {name: t.detach().clone().numpy().tobytes() for name, t in tensors.items()},
        {name: None if t.grad is None else (id(t.grad), t.grad.numpy().tobytes()) for name, t in tensors.items()},
        {name: list(part._forward_hooks.items()) for name, part in module.named_modules()},
    )


@pytest.mark.parametrize(
    "run",
    [
        lambda model, data: foolscope.audit(model, data, **QUICK),
        lambda model, data: foolscope.evaluate(model, data, "pgd:steps=3", eps=0.1, samples=40),
        lambda model, data: foolscope.attacks.pgd(model, data[0][:40], data[1][:40], eps=0.1),
    ],
    ids=["audit", "evaluate", "attack"],
)
def test_the_model_comes_back_untouched(model: nn.Module, digits_data: Data, run: Callable[..., Any]) -> None:
    calls: list[int] = []
    model[3].register_forward_hook(lambda *_: calls.append(1))
    before = state_of(model)
    random = torch.get_rng_state()
    run(model, digits_data)
    assert state_of(model) == before
    assert calls  # the hook was there all the time
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("late", [False, True])
def test_the_model_comes_back_untouched_after_an_exception(model: nn.Module, digits_data: Data, late: bool) -> None:
    seen: list[int] = []

    def hook(*_: object) -> None:
        seen.append(1)
        if not late or len(seen) > 5:
            raise RuntimeError("enough")

    model[3].register_forward_hook(hook)
    before = state_of(model)
    with pytest.raises(ForeignError, match=r"test_api.py:\d+ in hook: RuntimeError: enough"):
        foolscope.audit(model, digits_data, **QUICK)
    assert state_of(model) == before


def test_the_note_that_the_model_was_in_train_mode(model: nn.Module, digits_data: Data) -> None:
    audit = foolscope.audit(model, digits_data, **QUICK)
    assert any("train mode" in note for note in audit.record["notes"])


def test_without_out_no_files_stay(
    model: nn.Module,
    digits_data: Data,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("torch")))  # torch makes it on first use
    audit = foolscope.audit(model, digits_data, **QUICK)
    evaluation = foolscope.evaluate(model, digits_data, eps=0.1, samples=40)
    assert os.listdir(tmp_path) == []
    assert len(audit.samples["index"]) == len(evaluation.samples["index"]) == 40
    with pytest.raises(InputError):
        foolscope.audit(model, digits_data, **(QUICK | {"samples": 0}))
    assert os.listdir(tmp_path) == []


def test_all_forms_of_data_give_the_same(model: nn.Module, digits_data: Data) -> None:
    images, labels = digits_data
    pairs = list(zip(images.split(33), labels.split(33), strict=True))
    forms: tuple[Any, ...] = (
        (images.numpy(), labels.numpy()),
        (images.double(), labels.tolist()),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=33),
        pairs,
        from_tensors(images, labels),
        open_data("digits:test"),
        "digits:test",
    )
    found = [foolscope.evaluate(model, data, "fgsm", eps=0.1, samples=40) for data in forms]
    assert 0 < found[0].robust_accuracy < found[0].clean_accuracy < 1
    for other in found[1:]:
        assert other.record["n"] == 40
        assert other.record["data"]["sha256"] == found[0].record["data"]["sha256"]
        assert other.robust_accuracy == found[0].robust_accuracy


def test_evaluate_measures_what_the_attack_itself_finds(model: nn.Module, digits_data: Data) -> None:
    images, labels = digits_data[0][:60], digits_data[1][:60]
    evaluation = foolscope.evaluate(model, (images, labels), "pgd:steps=10", eps=0.1, seed=5, batch_size=60)
    adversarial = foolscope.attacks.pgd(model, images, labels, eps=0.1, steps=10, seed=5)
    model.eval()
    with torch.no_grad():
        right, still = (model(x).argmax(1) == labels for x in (images, adversarial))
    assert evaluation.clean_accuracy == pytest.approx(float(right.float().mean()))
    assert evaluation.robust_accuracy == pytest.approx(float((right & still).float().mean()))
    outcome = np.where(~right, "already_wrong", np.where(still, "resisted", "fooled"))
    assert np.array_equal(evaluation.samples["outcome"], outcome)


def test_what_the_attack_text_sets_wins(model: nn.Module, digits_data: Data) -> None:
    evaluation = foolscope.evaluate(model, digits_data, "pgd:eps=1/2,norm=l2,seed=9,steps=2", eps=0.1, samples=10)
    assert [evaluation.record[key] for key in ("norm", "eps", "seed")] == ["l2", 0.5, 9]


def test_a_minimal_norm_attack_needs_no_radius(model: nn.Module, digits_data: Data) -> None:
    evaluation = foolscope.evaluate(model, digits_data, "fmn:steps=20", norm="l2", samples=20)
    assert evaluation.record["eps"] is None
    assert evaluation.robust_accuracy == 0  # any distance counts
    assert evaluation.record["median_distance"] > 0


def test_norms_without_a_default_radius(model: nn.Module, digits_data: Data) -> None:
    audit = foolscope.audit(model, digits_data, norm="l0", eps=3, effort="quick", samples=20)
    assert set(np.array(audit.samples["distance_l0"])[np.array(audit.samples["outcome"]) == "fooled"]) <= {1, 2, 3}
    with pytest.raises(InputError, match="--eps"):
        foolscope.audit(model, digits_data, norm="l2")


@pytest.mark.parametrize(
    ("changed", "argument"),
    [
        ({"model": 3}, "MODEL"),
        ({"data": 3}, "DATA"),
        ({"data": []}, "DATA"),
        ({"data": (torch.rand(4, 8, 8), torch.zeros(4))}, "images"),
        ({"eps": -1.0}, "--eps"),
        ({"eps": float("nan")}, "--eps"),
        ({"norm": "l3"}, "--norm"),
        ({"effort": "some"}, "--effort"),
        ({"batch_size": 0}, "--batch-size"),
        ({"samples": 0}, "--samples"),
        ({"seed": 2**63}, "--seed"),
        ({"resize": 4}, "--resize"),
        ({"crop": 4}, "--crop"),
        ({"mean": [0.5]}, "--std"),
    ],
)
def test_bad_input(model: nn.Module, digits_data: Data, changed: dict[str, Any], argument: str) -> None:
    arguments: dict[str, Any] = {"model": model, "data": digits_data, **QUICK} | changed
    with pytest.raises(InputError, match=f"^({argument})"):
        foolscope.audit(**arguments)


def test_samples_of_a_data_set(model: nn.Module, digits_data: Data) -> None:
    data = from_tensors(*digits_data)
    with pytest.raises(InputError, match="--samples"):
        foolscope.evaluate(model, data, eps=0.1, samples=0)
    assert foolscope.evaluate(model, data, "fgsm", eps=0.1, samples=7).record["n"] == 7


class Wide(nn.Module):
    """A model that hands out logits of another dtype than its parameters have."""

    def __init__(self, body: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.body, self.dtype = body, dtype

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x).to(self.dtype)
        return logits


@pytest.mark.parametrize(
    ("inside", "outside"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)], ids=["bf16", "f32"]
)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5), ("l1", 2.0), ("l0", 3)])
def test_logits_wider_than_the_parameters_are_audited_and_explained(
    model: nn.Module, digits_data: Data, norm: str, eps: float, inside: torch.dtype, outside: torch.dtype
) -> None:
    wide = Wide(model.to(inside), outside)
    found = foolscope.audit(wide, digits_data, norm=norm, eps=eps, effort="standard", samples=12)
    assert found.record["robust_accuracy"] < found.record["clean_accuracy"]


def test_ties_without_a_gradient_leave_an_audit_whole(model: nn.Module, digits_data: Data, tmp_path: Path) -> None:
    """Capped logits tie where nothing moves them: distances there are 0 / 0."""
    capped = nn.Sequential(model, nn.Hardtanh(-100.0, 4.0))
    found = foolscope.audit(capped, digits_data, **QUICK, out=tmp_path)
    tied = (capped.eval()(digits_data[0][:40]) == 4).sum(1) > 1
    assert tied.any()
    assert (tmp_path / "audit.json").exists()
    assert found.record["complete"]


def test_an_unknown_name_of_the_package() -> None:
    with pytest.raises(AttributeError, match="adit"):
        _ = foolscope.adit
