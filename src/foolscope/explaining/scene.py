"""What every explanation is given: the model over the data, clean pass done, and the images to look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope.attacks import NEAREST, bind
from foolscope.ledger import Case, Ints, Ledger, probe, run_attack
from foolscope.norms import NORMS
from foolscope.oracle import Oracle

Arrays = Mapping[str, npt.NDArray[Any]]
Look = Callable[[Oracle], Mapping[str, Tensor]]
YARDSTICK = {"quick": 40, "standard": 100, "exhaustive": 1000}  # steps of FMN: no fewer than the battery spends


class OutOfTime(Exception):
    """The deadline came between two pieces; what is finished is on disk."""


@dataclass(frozen=True)
class Scene:
    """What is explained.

    Attributes:
        case: model, data, norm, eps, seed.
        ledger: after the clean pass; passes are booked in it.
        positions: the images to look at, all right on the clean image; never empty.
        effort: how hard the attack tries that predictions are held against.
    """

    case: Case
    ledger: Ledger
    positions: Ints
    effort: str = "standard"

    @property
    def labels(self) -> Ints:
        """Of these images."""
        return np.asarray(self.case.data.labels[self.positions])

    @property
    def logits(self) -> npt.NDArray[np.floating[Any]]:
        """Clean logits of these images, `(n, c)`; they cost nothing more."""
        return np.asarray(self.ledger.logits[self.positions])

    def look(self, name: str, function: Look) -> Arrays:
        """Runs `function` batch by batch and keeps each batch's answer on disk, so that a killed run goes on from there.

        Args:
            name: of the stage, unique in a run.
            function: an oracle over one batch -> tensors with a row an image; everything it asks of the oracle is counted.

        Returns:
            The tensors over all positions as arrays, with `forwards` and `backwards` `(n,)` of this stage among them.

        Raises:
            OutOfTime: the deadline came first.
        """
        tensors = probe(self.case, self.ledger, f"explain_{name}", self.positions, partial(self._piece, function))
        return {key: value.numpy() for key, value in tensors.items()}

    def distances(self) -> npt.NDArray[np.float64]:
        """The distance in the case's norm of the nearest fooling image known of each image, `(n,)`; infinite where none is.

        From the battery where one was run, else from the norm's best minimal-norm attack, run once whoever asks first.
        """
        done = {stage.name for stage in self.ledger.stages}
        case, name = self.case, NEAREST[self.case.norm]
        if not {name, f"explain_{name}"} & done:
            attack = bind(f"{name}:steps={YARDSTICK[self.effort]}", norm=case.norm, seed=case.seed)
            if not run_attack(case, self.ledger, f"explain_{name}", attack, self.positions).finished:
                raise OutOfTime
        return np.asarray(self.ledger.distance[self.positions, list(NORMS).index(self.case.norm)])

    def _piece(self, function: Look, part: Ints) -> dict[str, Tensor]:
        if time.monotonic() > self.case.deadline:
            raise OutOfTime
        oracle = self.case.oracle(part, clean=torch.from_numpy(np.asarray(self.ledger.logits[part])))
        answer = {key: _plain(value.detach().cpu()) for key, value in function(oracle).items()}
        return answer | {"forwards": oracle.forwards, "backwards": oracle.backwards}


def _plain(value: Tensor) -> Tensor:
    """In a dtype that arrays have too: bfloat16 as float32."""
    return value.float() if value.is_floating_point() and value.itemsize < 4 else value


def cost_of(*stages: Arrays) -> float:
    """Forward-equivalents an image of these stages: a forward is 1, and so is a backward to the input, which takes about as long."""
    return float(sum((stage["forwards"] + stage["backwards"]).mean() for stage in stages))
