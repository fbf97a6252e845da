"""Runs cells of the comparison in a process of its own, ours and the peers' alike: `python -m foolscope.bench.worker JOB.json`.

The job names a file with `images`, `labels` and the network's weights, and the cells to run. Each finished cell is a file, and a line of
JSON on standard output. What a library prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from foolscope.bench.contestants import OURS, PEERS, Contestant, ours
from foolscope.bench.counted import BudgetSpent, Counted
from foolscope.bench.peer_networks import NETWORKS, frozen
from foolscope.memory import keep_freed_memory

UNUSED = (
    "visdom",
    "torchvision",
    "torchvision.models",
)  # what adv-lib imports for its plots and its perceptual distance
LIBRARIES = {
    "adv-lib": "adv_lib.attacks",
    "foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "ART": "art.attacks.evasion",
    OURS: "foolscope.attacks",
}


def run_cell(
    network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, contestant: Contestant, cell: dict[str, Any]
) -> dict[str, Any]:
    """One attack at one budget: arrays and numbers to keep."""
    torch.manual_seed(cell["seed"])
    counted = Counted(network, x, y, budget=cell["budget"], rows=contestant.rows).eval()
    begun = time.perf_counter()
    with contextlib.suppress(BudgetSpent):
        contestant.run(counted, x.clone(), y.clone(), cell["norm"], cell["budget"])
    seconds = time.perf_counter() - begun - counted.overhead
    with torch.no_grad():
        wrong = network(x).argmax(1) != y
    kept = {f"distance_{norm}": torch.where(wrong, 0.0, size).numpy() for norm, size in counted.nearest.items()}
    return kept | {"forwards": counted.forwards.numpy(), "backwards": counted.backwards.numpy(), "seconds": seconds}


def main(path: str) -> None:
    """Runs the job that this file describes."""
    keep_freed_memory()  # as our own commands do
    job = json.loads(Path(path).read_text())
    torch.set_num_threads(job["threads"])
    subject = load_file(job["subject"])
    x, y = subject.pop("images"), subject.pop("labels")
    network = NETWORKS[job["network"]].skeleton()
    network.load_state_dict(subject)
    frozen(network)
    warm = torch.nn.Parameter(x[:1].clone())
    torch.optim.Adam([warm])  # imports a compiler, which is not to be timed
    torch.autograd.grad(network(warm).sum(), warm)
    for name in UNUSED:
        sys.modules[name] = types.ModuleType(name)
    report, sys.stdout = sys.stdout, sys.stderr
    for cell in job["cells"]:
        said: dict[str, Any] = {"key": cell["key"]}
        contestant = (
            ours(cell["name"])
            if cell["library"] == OURS
            else next(row for row in PEERS if (row.library, row.name) == (cell["library"], cell["name"]))
        )
        try:
            importlib.import_module(LIBRARIES[cell["library"]])  # its time is not the attack's
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kept = run_cell(network, x, y, contestant, cell)
            np.savez(Path(job["out"]) / f"{cell['key']}.part.npz", **kept)
            (Path(job["out"]) / f"{cell['key']}.part.npz").replace(Path(job["out"]) / f"{cell['key']}.npz")
        except Exception as error:  # a peer that breaks costs its own cell and no other
            said["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(json.dumps(said), file=report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
