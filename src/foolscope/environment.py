"""Where a number was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

LIBRARIES = ("torch", "numpy", "scipy", "safetensors", "duckdb", "pillow")


def environment() -> dict[str, object]:
    """Libraries and hardware, for a record."""
    found: dict[str, object] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _processor(),
    }
    found["cores"] = os.cpu_count()
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found | {name: importlib.metadata.version(name) for name in LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
