"""Training as a whole: settings in, weights, history and files out."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from foolscope.errors import ForeignError, InputError
from foolscope.files import read_samples
from foolscope.models.weights import fingerprint
from foolscope.training import Epoch, bind_objective, train
from foolscope.training.table import Function

Batch = tuple[Tensor, Tensor]


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10)
    )


OPTIONS = {"epochs": 3, "batch_size": 64, "lr": 0.05, "objective": "fgsm_mix:eps=0.1", "augment": "crop:pad=1+flip"}


def test_it_learns_and_the_users_model_comes_back_untouched(digits: Batch) -> None:
    model = net().train()
    before, state = weights(model), torch.get_rng_state()
    trained = train(model, digits, epochs=20, lr=0.05, eps=0.1)
    assert trained.history[-1].train_error < 0.05
    assert (trained.history[-1].adversarial_error or 0) > (trained.history[-1].validation_error or 1)
    assert [epoch.epoch for epoch in trained.history] == list(range(1, 21))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert type(trained.module) is nn.Sequential
    assert not trained.module.training
    assert trained.folder is None
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(digits: Batch) -> None:
    torch.manual_seed(11)
    first = train(net(), digits, **OPTIONS)
    torch.manual_seed(12)  # torch's own generator plays no part
    again, other = train(net(), digits, **OPTIONS), train(net(), digits, **OPTIONS, seed=1)
    assert same(first.module, again.module)
    assert not same(first.module, other.module)


def test_the_files(digits: Batch, tmp_path: Path) -> None:
    trained = train(net(), digits, **OPTIONS, out=tmp_path / "run", command="foolscope train")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.safetensors", "history.parquet", "last.safetensors", "report.html", "settings.json", "train.json",
    ]  # fmt: skip
    record = json.loads((tmp_path / "run" / "train.json").read_text())
    assert record == trained.record
    assert (record["complete"], record["epochs_done"], record["trained_on"]) == (True, 3, 360)
    assert record["weights"]["best"] == record["weights"]["last"] == fingerprint(trained.module)
    kept = load_file(tmp_path / "run" / "best.safetensors")
    assert kept.keys() == trained.module.state_dict().keys()
    assert all(torch.equal(kept[name], value) for name, value in trained.module.state_dict().items())
    rows = read_samples(tmp_path / "run" / "history.parquet")
    assert rows["loss"] == [epoch.loss for epoch in trained.history]
    assert list(rows) == list(Epoch.__dataclass_fields__)
    assert "What came of it" in (tmp_path / "run" / "report.html").read_text()


def test_a_finished_run_is_read_and_another_is_refused(digits: Batch, tmp_path: Path) -> None:
    first = train(net(), digits, **OPTIONS, out=tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = train(net(), digits, **OPTIONS, out=tmp_path)
    assert same(first.module, again.module)
    assert again.history == first.history
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps
    with pytest.raises(InputError, match="--overwrite.*another run .epochs: 3, now 4"):
        train(net(), digits, **OPTIONS | {"epochs": 4}, out=tmp_path)
    train(net(), digits, **OPTIONS | {"epochs": 1}, out=tmp_path, overwrite=True)
    assert len(read_samples(tmp_path / "history.parquet")["loss"]) == 1


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_time_limit_stops_cleanly_and_the_run_goes_on_to_the_same_weights(
    digits: Batch, tmp_path: Path, optimiser: str
) -> None:
    options = OPTIONS | {"optimiser": optimiser, "lr": 0.01, "schedule": "cosine", "momentum": (0.5, 0.9, 2)}
    whole = train(net(), digits, **options)
    parts = 0
    while True:
        part = train(net(), digits, **options, out=tmp_path, time_limit=0.06)
        parts += 1
        if part.record["complete"]:
            break
        assert part.record["epochs_done"] < 3
        assert (tmp_path / "report.html").is_file()
    assert parts > 1
    assert same(part.module, whole.module)
    timeless = [[vars(epoch) | {"seconds": 0} for epoch in run.history] for run in (part, whole)]
    assert timeless[0] == timeless[1]


def test_early_stopping_keeps_the_best_epoch(digits: Batch, tmp_path: Path) -> None:
    """With a learning rate that grows until it spoils everything, the best epoch is not the last one."""
    trained = train(
        net(),
        digits,
        epochs=40,
        lr=0.3,
        schedule="linear:end=30",
        stop="clean",
        patience=3,
        out=tmp_path,
        validation=0.3,
    )
    errors = [epoch.validation_error for epoch in trained.history]
    best = int(np.argmin(errors)) + 1
    assert trained.record["best_epoch"] == best
    assert len(errors) == best + 3 < 40
    assert trained.record["complete"]
    assert trained.record["weights"]["best"] != trained.record["weights"]["last"]
    images, labels = trained.held_out.read(np.arange(len(trained.held_out))), trained.held_out.labels
    wrong = (trained.module(images).argmax(1).numpy() != labels).mean()
    assert wrong == errors[best - 1]


def test_the_module_keeps_the_constraint_after_every_update(digits: Batch) -> None:
    class Held(nn.Linear):
        def constrain(self) -> None:
            with torch.no_grad():
                self.weight.clamp_(-0.01, 0.01)

    trained = train(nn.Sequential(nn.Flatten(), Held(64, 10)), digits, epochs=1)
    assert float(trained.module[1].weight.detach().abs().max()) == pytest.approx(0.01)


def test_validation_images_are_the_same_for_every_seed_and_never_trained_on(digits: Batch) -> None:
    seen: set[bytes] = set()

    def watching(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        seen.update(image.numpy().tobytes() for image in inputs)
        return nn.functional.cross_entropy(model(inputs), labels, reduction="none")

    held = []
    for seed in (0, 1):
        trained = train(net(), digits, objective=watching, epochs=1, seed=seed, validation=0.25)
        held.append(trained.held_out.read(np.arange(100)))
    assert torch.equal(*held)
    assert len(trained.held_out) == 100
    assert not seen & {image.numpy().tobytes() for image in held[0]}


def test_other_validation_data_and_none(digits: Batch) -> None:
    images, labels = digits
    trained = train(net(), (images[:300], labels[:300]), validation=(images[300:], labels[300:]), epochs=1)
    assert trained.record["trained_on"] == 300
    assert trained.record["validation"]["n"] == 100
    trained = train(net(), digits, validation=None, epochs=1, eps=0.1)
    assert trained.record["trained_on"] == 400
    assert trained.history[0].validation_error is None
    assert trained.history[0].adversarial_error is None
    assert trained.held_out is None


def test_a_builtin_that_trains_itself_starts_untrained() -> None:
    trained = train("digits_cnn", "digits:train", samples=200, epochs=1, lr=1e-6)
    assert trained.history[0].train_error > 0.6


def test_normalisation_and_a_dtype_of_the_models_own(digits: Batch) -> None:
    trained = train(net().double(), digits, mean=[0.3], std=[0.4], epochs=8, lr=0.05)
    assert trained.history[-1].train_error < 0.2
    assert trained.module(digits[0][:2].double()).dtype == torch.float64


def test_probabilities_are_trained_through_their_logarithm(digits: Batch) -> None:
    torch.manual_seed(0)
    soft = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    a, b = (train(model, digits, epochs=2) for model in (soft, plain))
    torch.testing.assert_close(a.module[1].weight, b.module[1].weight, rtol=1e-3, atol=1e-4)


def test_the_objective_of_a_file(digits: Batch, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch.nn.functional as F\n"
        "def smooth(model, inputs, labels, *, eps):\n"
        "    assert eps == 0.25\n"
        "    return F.cross_entropy(model(inputs), labels, label_smoothing=eps)\n"
        "def bad(model, inputs, labels):\n"
        "    raise KeyError('no loss')\n"
    )
    trained = train(net(), digits, objective=f"{tmp_path}/own.py:smooth", eps="1/4", epochs=2)
    assert trained.history[-1].train_error < 0.5
    assert trained.record["probe_eps"] == 0.25
    with pytest.raises(ForeignError, match="own.py:6 in bad: KeyError"):
        train(net(), digits, objective=f"{tmp_path}/own.py:bad", epochs=1)


OWN_ATTACK = """import torch
def signed(model, inputs, labels, *, eps):
    x = inputs.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(x), labels, reduction="sum").backward()
    return (inputs + eps * x.grad.sign()).clamp(0, 1)
def grey(model, inputs, labels, *, eps):
    return inputs.mean(1)
def free(model, inputs, labels):
    return inputs
def far(model, inputs, labels, *, eps):
    return signed(model, inputs, labels, eps=3 * eps)
def nowhere(model, inputs, labels, *, eps):
    return inputs * float("nan")
def in_place(model, inputs, labels, *, eps):
    return inputs.zero_()
"""


@pytest.mark.parametrize("name", ["far", "nowhere"])
def test_a_probe_that_leaves_the_ball_fools_nobody(digits: Batch, tmp_path: Path, name: str) -> None:
    (tmp_path / "own.py").write_text(OWN_ATTACK)
    trained = train(net(), digits, eps=0.05, epochs=1, probe=f"{tmp_path}/own.py:{name}")
    assert trained.history[-1].adversarial_error == trained.history[-1].validation_error


def test_an_attack_that_changes_its_images_changes_nobody_elses(digits: Batch, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_ATTACK)
    before = digits[0].clone()
    settings = {"eps": 0.1, "epochs": 1, "validation": None}
    train(net(), digits, objective=f"fgsm_mix:attack={tmp_path}/own.py:in_place", **settings)
    train(net(), digits, objective=bind_objective("fgsm_mix", eps=0.1, attack=lambda m, x, y: x.zero_()), **settings)
    assert torch.equal(digits[0], before)


def test_another_function_in_an_objective_is_another_run(digits: Batch, tmp_path: Path) -> None:
    def attacks(share: float) -> Function:
        return (lambda m, x, y, *, eps: x + 0.5 * eps) if share == 0.5 else (lambda m, x, y, *, eps: x + eps)

    settings = {"epochs": 1, "out": tmp_path}
    train(net(), digits, objective=bind_objective("fgsm_mix", eps=0.1, attack=attacks(0.5)), **settings)
    train(net(), digits, objective=bind_objective("fgsm_mix", eps=0.1, attack=attacks(0.5)), **settings)
    for other in ({"eps": 0.1, "attack": attacks(1)}, {"eps": 0.2, "attack": attacks(0.5)}):
        with pytest.raises(InputError, match="--out"):
            train(net(), digits, objective=bind_objective("fgsm_mix", **other), **settings)


@pytest.mark.parametrize("mix", ["fgsm_mix", "static_mix"])
def test_an_attack_of_a_file_inside_an_objective_and_as_the_probe(digits: Batch, tmp_path: Path, mix: str) -> None:
    file, probe = tmp_path / "own.py", tmp_path / "probe.py"
    for each in (file, probe):
        each.write_text(OWN_ATTACK)
    settings = {"eps": 0.1, "epochs": 2, "probe": f"{probe}:signed", "out": tmp_path / "run"}
    trained = train(net(), digits, objective=f"{mix}:attack={file}:signed,alpha=0.25", **settings)
    twin = train(net(), digits, objective=f"{mix}:alpha=0.25", eps=0.1, epochs=2, probe="fgsm:loss=ce")
    for own, known in zip(trained.module.parameters(), twin.module.parameters(), strict=True):
        torch.testing.assert_close(own, known, rtol=1e-3, atol=1e-4)
    assert trained.history[-1].adversarial_error == pytest.approx(twin.history[-1].adversarial_error, abs=0.02)
    for changed in (file, probe):  # another file is another run, and the same one the same again
        changed.write_text(OWN_ATTACK + "# changed\n")
        with pytest.raises(InputError, match="--out"):
            train(net(), digits, objective=f"{mix}:attack={file}:signed,alpha=0.25", **settings)
        changed.write_text(OWN_ATTACK)
        train(net(), digits, objective=f"{mix}:attack={file}:signed,alpha=0.25", **settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "fgsm_mix:attack=FILE:grey"}, "--objective: expected images of shape .* from .*own.py:grey"),
        ({"objective": "fgsm_mix:attack=FILE:gray"}, "--objective: expected a name in .*nearest: grey"),
        ({"objective": "fgsm_mix:attack=FILE:signed,steps=3"}, "fgsm_mix:steps: expected one of its options"),
        ({"objective": "fgsm_mix:attack=none.py:signed"}, "--objective: expected an existing Python file"),
        ({"objective": "fgsm_mix:attack=pdg,steps=3"}, "ATTACK: expected an attack .*nearest: pgd"),
        ({"objective": "fgsm_mix:attack=pgd,step=3"}, "pgd:step: expected one of its options"),
        ({"objective": "fgsm_mix:attack=pgd,attack=bim"}, "fgsm_mix:attack: expected one value"),
        ({"objective": "fgsm_mix:attack=pgd,seed=3"}, "fgsm_mix:seed: expected one of its options"),
        ({"probe": "FILE:grey"}, "--probe: expected images of shape"),
        ({"probe": "FILE:signed,steps=3"}, "--probe: expected a name in .*'signed,steps=3'"),
        ({"probe": "FILE:free"}, "--probe: expected an attack at a given eps"),
    ],
)
def test_an_attack_of_a_file_that_cannot_work_is_refused(
    digits: Batch, tmp_path: Path, options: dict, said: str
) -> None:
    (tmp_path / "own.py").write_text(OWN_ATTACK)
    options = {key: value.replace("FILE", f"{tmp_path}/own.py") for key, value in options.items()}
    with pytest.raises(InputError, match=said):
        train(net(), digits, eps=0.1, epochs=1, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "--epochs: expected a whole number"),
        ({"batch_size": 0}, "--batch-size"),
        ({"optimiser": "sdg"}, "--optimiser: expected an optimiser, got 'sdg' .nearest: sgd"),
        ({"schedule": "cosin"}, "--schedule: .*nearest: cosine"),
        ({"augment": "flop"}, "--augment: .*nearest: flip"),
        ({"stop": "adversarial", "norm": "l2"}, "--eps: expected a radius"),
        ({"stop": "clean", "validation": None}, "--validation: expected validation images"),
        ({"validation": 1.0}, "--validation: expected a share"),
        ({"objective": "madry", "norm": "l2"}, "--eps"),
        ({"objective": "madry:norm=l2"}, "--eps"),
        ({"objective": "nope"}, "--objective"),
        ({"lr": 1e30, "epochs": 5}, "--lr: expected a learning rate at which the loss stays finite"),
        ({"probe": "pgb", "eps": 0.1}, "ATTACK"),
        ({"probe": "pgb"}, "ATTACK"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(digits: Batch, tmp_path: Path, options: dict, said: str) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match=said) as caught:
        train(net(), digits, **{"epochs": 1} | options, out=out)
    assert "\n" not in str(caught.value)
    assert "lr" in options or not out.exists()


def test_images_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 10
    with pytest.raises((InputError, ForeignError), match="channels"):
        train(net(), (images, labels), out=tmp_path / "run")
    with pytest.raises(InputError, match="a class for every label"):
        train(net(), (images[:, :1], labels + 5), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Broken(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.inner, self.way = net(), way

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        return logits.detach() if self.way == "detached" else logits * math.nan


@pytest.mark.parametrize(("way", "said"), [("detached", "depends on its parameters"), ("nan", "finite loss before")])
def test_a_network_that_cannot_learn_is_refused(digits: Batch, tmp_path: Path, way: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        train(Broken(way), digits, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_in_linf_an_objective_without_a_radius_gets_the_default(digits: Batch) -> None:
    trained = train(net(), digits, objective="fgsm_mix", epochs=1)
    assert trained.record["probe_eps"] == 8 / 255


def test_a_network_without_parameters_is_refused(digits: Batch) -> None:
    with pytest.raises(InputError, match="parameters to learn"):
        train(nn.Flatten(), digits)


def test_copies_share_nothing(digits: Batch) -> None:
    model = net()
    trained = train(model, digits, epochs=1)
    pointers = {p.data_ptr() for p in model.parameters()}
    assert not pointers & {p.data_ptr() for p in trained.module.parameters()}
    assert same(model, copy.deepcopy(net()))
