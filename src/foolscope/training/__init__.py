"""Training: one loop, objectives as functions that compose."""

from __future__ import annotations

from foolscope.training.objectives import (
    fast,
    fgsm_mix,
    hidden_mix,
    linear_worst_case,
    madry,
    noise_mix,
    plain,
    static_mix,
    step_ll_mix,
    trades,
)
from foolscope.training.run import Trained, train
from foolscope.training.table import OBJECTIVES, Objective, bind_objective, list_objectives
from foolscope.training.terms import entropy, l1
from foolscope.training.watching import Epoch

__all__ = [
    "OBJECTIVES",
    "Epoch",
    "Objective",
    "Trained",
    "bind_objective",
    "entropy",
    "fast",
    "fgsm_mix",
    "hidden_mix",
    "l1",
    "linear_worst_case",
    "list_objectives",
    "madry",
    "noise_mix",
    "plain",
    "static_mix",
    "step_ll_mix",
    "trades",
    "train",
]
