"""Why a network is fooled where it is: a few cheap passes, then a fit or a closed form, then a finding. `EXPLANATIONS` names them."""

from __future__ import annotations

from foolscope.explaining._table import EXPLANATIONS, Row, chosen
from foolscope.explaining.explanation import Explanation
from foolscope.explaining.scene import Scene

__all__ = ["EXPLANATIONS", "Explanation", "Row", "Scene", "chosen"]
