"""Classifiers by the names people know: built-in, from the user's own file or package, or from the model libraries."""

from __future__ import annotations

from foolscope.models.adapters import wrap
from foolscope.models.builtin import MODELS, BuiltIn, list_models
from foolscope.models.load import LoadedModel, load_model
from foolscope.models.weights import fingerprint

__all__ = [
    "MODELS",
    "BuiltIn",
    "LoadedModel",
    "fingerprint",
    "list_models",
    "load_model",
    "wrap",
]
