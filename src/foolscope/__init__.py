"""Foolscope looks behind an image classifier's test accuracy: how easily is it fooled, and can the number be trusted?

>>> import foolscope
>>> foolscope.__version__
'0.1.0'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foolscope import attacks, search
    from foolscope.api import audit, evaluate, explain, transfer

__version__ = "0.1.0"
__all__ = ["__version__", "attacks", "audit", "evaluate", "explain", "search", "transfer"]


def __getattr__(name: str) -> Any:
    # PEP 562: nothing heavy is imported before it is used, so that the command line answers at once.
    if name in ("audit", "evaluate", "explain", "transfer"):
        from foolscope import api

        return getattr(api, name)
    if name in ("attacks", "search"):
        import importlib

        return importlib.import_module(f"foolscope.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
