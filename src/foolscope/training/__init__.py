"""Training: one loop, objectives as functions that compose."""

from __future__ import annotations

from foolscope.training.minmax import fast, madry, trades
from foolscope.training.mixes import fgsm_mix, hidden_mix, noise_mix, static_mix, step_ll_mix
from foolscope.training.objectives import linear_worst_case, plain
from foolscope.training.result import Trained
from foolscope.training.run import train
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
