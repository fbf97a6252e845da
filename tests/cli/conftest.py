"""The console script as a process, the command line in this process, and a small fixed classifier of real digits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from foolscope import cli

SCRIPT = Path(sys.executable).parent / "foolscope"
NET = '''import os
import numpy as np
import torch
from torch import nn


def net():
    """Nearest mean: its weights are in the file beside it."""
    means = torch.from_numpy(np.load(__file__.replace("net.py", "means.npy")))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.copy_(2 * means)
        model[1].bias.copy_(-(means**2).sum(1))
    return model.eval()


def other():
    model = net()
    with torch.no_grad():
        model[1].bias[3] += 0.5
    return model


class Raises(nn.Module):
    def forward(self, x):
        raise KeyError("no such layer")  # line 26


class Late(nn.Module):
    """Raises once the clean pass over 60 images is done."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = net(), 0

    def forward(self, x):
        self.seen += len(x)
        if self.seen > 80:
            raise RuntimeError("out of\\npatience")
        return self.inner(x)


class Chatty(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        print("hello from forward")
        os.write(1, b"hello from below\\n")
        return self.inner(x)


def training():
    return net().train()


def breaks():
    raise OSError("no licence")


def jump(model, inputs, labels, *, targets=None, norm="linf", eps, seed=0):
    """Every component to the other side, as far as eps allows."""
    return (inputs + eps * (0.5 - inputs).sign()).clamp(0, 1)


def swapped(inputs, labels):
    return inputs


def slope(model, inputs, labels, *, targets=None, norm="linf", eps, seed=0):
    x = inputs.clone().requires_grad_()
    logits = model(x)
    rivals = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (logits.gather(1, labels[:, None]).squeeze(1) - rivals).sum().backward()
    return (inputs - eps * x.grad.sign()).clamp(0, 1)


def sulks(model, inputs, labels, *, targets=None, norm="linf", eps, seed=0):
    raise ArithmeticError("not today")


def shrinks(model, inputs, labels, *, targets=None, norm="linf", eps, seed=0):
    return inputs[:, :, 1:]


three = 3
'''


@dataclass(frozen=True)
class Said:
    """What a command said: exit code, standard output, the lines on standard error that are not empty."""

    code: int
    out: str
    lines: list[str]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on these small networks wait for each other longer than one computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The last 100 bundled digits: float32 (100, 1, 8, 8) in [0, 1], int64 (100,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images[-100:, None] / 16).astype(np.float32), bunch.target[-100:].astype(np.int64)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """A folder with `net.py`, its weights and `digits.npz`; commands run in it."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("cli")
    bunch = load_digits()
    x, y = bunch.images[:1297].reshape(-1, 64) / 16, bunch.target[:1297]
    np.save(folder / "means.npy", np.stack([x[y == label].mean(0) for label in range(10)]).astype(np.float32))
    (folder / "net.py").write_text(NET)
    np.savez(folder / "digits.npz", images=digits[0], labels=digits[1])
    return folder


def environment() -> dict[str, str]:
    """Ours, one thread, and with compiled modules kept, as everybody has it: to compile them takes longer than a run."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}


@pytest.fixture(scope="session")
def foolscope(place: Path) -> Callable[..., Said]:
    """Runs the real console script."""

    def run(*arguments: object, stdout: object = subprocess.PIPE) -> Said:
        done = subprocess.run(
            [SCRIPT, *map(str, arguments)],
            cwd=place,
            env=environment(),
            stdout=stdout,  # type: ignore[arg-type]
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        return Said(done.returncode, done.stdout or "", [line for line in done.stderr.splitlines() if line.strip()])

    return run


@pytest.fixture
def start(place: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the real console script and does not wait for it; one that a failed test leaves running is ended."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [SCRIPT, *map(str, arguments)],
                cwd=place,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            process.communicate()


@pytest.fixture
def call(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Sequence[object]], Said]:
    """The console script's function in this process, which spares importing torch again."""
    monkeypatch.chdir(place)

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["foolscope", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return Said(int(left.value.code or 0), out, [line for line in err.splitlines() if line.strip()])

    return run
