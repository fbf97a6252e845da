"""Where a training run stands, in one file that is written whole and holds tensors and JSON alone: nothing in it is executed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.store import Store, write_tensors
from foolscope.training.watching import Epoch

NAME = "checkpoint"


@dataclass
class Position:
    """How far a run has come; all that it needs beside weights and optimiser, because draws are keyed by place.

    Attributes:
        epoch: epochs done.
        batch: batches done of the next.
        update: updates of the parameters.
        loss: sum over the images of the epoch under way.
        seconds: spent on the epoch under way.
        history: of the epochs done.
        best, best_epoch: what early stopping watches, and when it was lowest.
    """

    epoch: int = 0
    batch: int = 0
    update: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    best: float = float("inf")
    best_epoch: int = 0


def save_checkpoint(store: Store, model: nn.Module, optimiser: torch.optim.Optimizer, position: Position) -> None:
    """Writes the checkpoint, whole or not at all."""
    tensors = {f"model/{name}": value for name, value in weights_of(model).items()}
    for place, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{place}/{key}"] = value.detach().cpu().clone()
    content = asdict(position) | {"best": None if position.best == float("inf") else position.best}
    store.save(NAME, tensors, {"position": json.dumps(content)})


def load_checkpoint(store: Store, model: nn.Module, optimiser: torch.optim.Optimizer) -> Position:
    """Puts the model and the optimiser where the checkpoint left them; a fresh position if there is none."""
    piece = store.load(NAME)
    if piece is None:
        return Position()
    tensors, facts = piece
    model.load_state_dict({name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")})
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser/"):
            _, place, key = name.split("/", 2)
            state.setdefault(int(place), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    content = json.loads(facts["position"])
    content["history"] = [Epoch(**epoch) for epoch in content["history"]]
    content["best"] = float("inf") if content["best"] is None else content["best"]
    return Position(**content)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dict on the CPU, each tensor with memory of its own."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }


def save_weights(path: Path, model: nn.Module) -> None:
    """The state dict as a safetensors file for `--weights`."""
    write_tensors(path, weights_of(model))
