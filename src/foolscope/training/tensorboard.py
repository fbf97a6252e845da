"""TensorBoard logs of a training run, where TensorBoard is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from foolscope.training.watching import Epoch


def board(folder: Path) -> Callable[[Epoch], None]:
    """What writes each epoch's record under `folder`; nothing where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return lambda epoch: None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(epoch: Epoch) -> None:
        for key, value in asdict(epoch).items():
            if key != "epoch" and value is not None:
                writer.add_scalar(key, value, epoch.epoch)
        writer.flush()

    return write
