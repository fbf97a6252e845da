"""The environment that the peers live in: made when it is first needed, never the project's own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from foolscope.errors import InputError

LIBRARIES = {
    "foolbox": "3.3.4",
    "torchattacks": "3.5.1",
    "adversarial-robustness-toolbox": "1.20.1",
    "adv-lib": "0.2.8",
}
BARE = ("torchattacks", "adv-lib")  # installed without what they ask for: torchvision, plots
NEEDED = (
    "packaging",
    "requests",
    "tqdm",
    "pillow",
    "safetensors",
    "scikit-learn",
)  # what the peers and our own modules import besides
DONE = ".foolscope"


def peer_python(folder: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """The interpreter of the environment in `folder`, which is made if it is not there.

    Args:
        folder: of the environment.
        say: told what takes long.

    Raises:
        InputError: the registry could not be reached, or had not what is wanted.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if wanted() == (folder / DONE).read_text() if (folder / DONE).exists() else False:
        return python
    say(f"making the peers' environment in {folder}")
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = [f"{name}=={number}" for name, number in LIBRARIES.items()]
    bare = [pin for pin in pinned if pin.partition("==")[0] in BARE]
    torch = f"torch=={version('torch').partition('+')[0]}"
    _run([*install, torch, f"numpy=={version('numpy')}", *NEEDED, *(pin for pin in pinned if pin not in bare)], folder)
    _run([*install, "--no-deps", *bare], folder)
    (folder / DONE).write_text(wanted())
    return python


def wanted() -> str:
    """What the environment holds, in a line; another line means another environment."""
    return " ".join(
        [
            *(f"{name}=={number}" for name, number in LIBRARIES.items()),
            f"torch=={version('torch')}",
            f"numpy=={version('numpy')}",
            f"python{sys.version_info.major}.{sys.version_info.minor}",
        ]
    )


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        last = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "no word")
        raise InputError("--peers", f"a registry from which pip can fill {folder}", last[:300])
