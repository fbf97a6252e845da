"""Runs the reference AutoAttack in a process of its own, its checkout on the path: `python -m foolscope.bench.autoattack_worker JOB`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from foolscope.bench.peer_networks import NETWORKS, frozen
from foolscope.memory import keep_freed_memory
from foolscope.norms import get_norm


def main(path: str) -> None:
    """Runs the job that this file describes."""
    from autoattack import AutoAttack

    keep_freed_memory()  # as our own commands do
    job = json.loads(Path(path).read_text())
    torch.set_num_threads(job["threads"])
    subject = load_file(job["subject"])
    x, y = subject.pop("images").contiguous(), subject.pop("labels")  # it calls .view on what has the images' strides
    network = NETWORKS[job["network"]].skeleton()
    network.load_state_dict(subject)
    frozen(network)
    with torch.no_grad():
        clean = network(x).argmax(1) == y
    with contextlib.redirect_stdout(sys.stderr):
        reference = AutoAttack(
            network, norm=job["norm"].capitalize(), eps=job["eps"], seed=job["seed"], version="standard", device="cpu"
        )
        begun, used = time.perf_counter(), time.process_time()
        found = reference.run_standard_evaluation(x, y, bs=250)
        seconds, used = time.perf_counter() - begun, time.process_time() - used
    with torch.no_grad():
        fooled = network(found).argmax(1) != y
    size = get_norm(job["norm"]).size(found - x)
    fooled &= (size <= job["eps"] * (1 + 1e-5)) & (found == found.clamp(0, 1)).flatten(1).all(1)
    part = Path(job["out"]).with_suffix(".part.npz")
    np.savez(part, clean=clean.numpy(), fooled=fooled.numpy(), seconds=seconds, cpu=used, when=time.time())
    part.replace(job["out"])
    print("{}")


if __name__ == "__main__":
    main(sys.argv[1])
