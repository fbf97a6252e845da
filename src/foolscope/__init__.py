"""Foolscope looks behind an image classifier's test accuracy."""

from __future__ import annotations

__version__ = "0.1.0"
