from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PASSES = """
import resource
import torch
from foolscope.bench.speed import bare_loop
from foolscope.memory import keep_freed_memory
from foolscope.models.networks import mnist_cnn_a
{ask}
torch.set_num_threads(1)
network, x = mnist_cnn_a().requires_grad_(False), torch.rand(256, 1, 28, 28)
bare_loop(network, x, 10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bare_loop(network, x, 10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(ask: str) -> int:
    done = subprocess.run([sys.executable, "-c", PASSES.format(ask=ask)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_memory_that_a_pass_gives_back_is_there_for_the_next() -> None:
    assert faults("assert keep_freed_memory()") < faults("") / 5
