"""The attacks: one algorithm, one file, one public function; `ATTACKS` names them."""

from __future__ import annotations

from foolscope.attacks._table import ATTACKS, NEAREST, Attack, Bound, bind, list_attacks
from foolscope.attacks.apgd import apgd
from foolscope.attacks.bim import bim
from foolscope.attacks.cw import cw
from foolscope.attacks.ddn import ddn
from foolscope.attacks.deepfool import deepfool
from foolscope.attacks.equal_footing import equal_footing
from foolscope.attacks.fgsm import fgsm
from foolscope.attacks.fmn import fmn
from foolscope.attacks.hybrid import hybrid
from foolscope.attacks.lbfgs import lbfgs
from foolscope.attacks.mi_fgsm import mi_fgsm
from foolscope.attacks.minimal import minimal
from foolscope.attacks.noise import noise
from foolscope.attacks.pgd import pgd
from foolscope.attacks.sigma_zero import sigma_zero
from foolscope.attacks.square import square
from foolscope.attacks.step_ll import step_ll

__all__ = [
    "ATTACKS",
    "NEAREST",
    "Attack",
    "Bound",
    "apgd",
    "bim",
    "bind",
    "cw",
    "ddn",
    "deepfool",
    "equal_footing",
    "fgsm",
    "fmn",
    "hybrid",
    "lbfgs",
    "list_attacks",
    "mi_fgsm",
    "minimal",
    "noise",
    "pgd",
    "sigma_zero",
    "square",
    "step_ll",
]
