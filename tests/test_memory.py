from __future__ import annotations

import platform
import subprocess
import sys

import pytest

AGAIN = """
import resource
import torch
from foolscope.memory import keep_freed_memory
{ask}
torch.ones(5 * 10**6)  # 20 MB, given back at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(5 * 10**6)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 4 * 5 * 10**6 // 4096


def faults(ask: str) -> int:
    done = subprocess.run([sys.executable, "-c", AGAIN.format(ask=ask)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_memory_that_is_given_back_is_there_for_the_next_tensor() -> None:
    assert faults("assert keep_freed_memory()") < PAGES / 10 < PAGES * 0.9 < faults("")
