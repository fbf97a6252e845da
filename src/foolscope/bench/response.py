"""What the linear response costs beside one bare gradient and one bare forward-mode pass, from 10 to 1,000 classes.

In CPU time, which others on the machine lengthen less than the wall's. Run as `python -m foolscope.bench.response`; SqueezeNet needs
$FOOLSCOPE_DATA and $FOOLSCOPE_WEIGHTS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.bench.speed import PAIRS, bare_loop, paired
from foolscope.data import open_data
from foolscope.explaining.response import respond
from foolscope.models import load_model
from foolscope.oracle import Oracle
from foolscope.untouched import untouched

CLASSES = (10, 100, 1000)
IMAGES = 32, 8  # of the synthetic network, of SqueezeNet
BOUND = 1.1


def cases() -> Iterator[tuple[str, nn.Module, Tensor]]:
    """A convolutional body with heads of several sizes on noise, then SqueezeNet on photographs."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )  # fmt: skip
    noise = torch.rand(IMAGES[0], 3, 32, 32)
    for classes in CLASSES:
        yield f"synthetic, {classes} classes", nn.Sequential(body, nn.Linear(256, classes)).eval(), noise
    photographs = open_data("imagenet_sample", crop=227, samples=IMAGES[1])
    squeezenet = load_model("squeezenet1_0", weights="imagenet_squeezenet1_0").module
    yield "SqueezeNet, 1000 classes", squeezenet.eval(), photographs.read(np.arange(IMAGES[1]))


def main() -> None:
    """Prints a Markdown table: each row's ratio is the median over interleaved pairs."""
    print(
        f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, torch {torch.__version__}; {PAIRS} pairs, CPU time\n"
    )
    print("| network | images | response / (gradient + jvp) | kept | milliseconds an image | forwards in time |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, model, x in cases():
        with untouched(model), torch.no_grad():
            clean = model(x)
            labels, direction = clean.argmax(1), torch.rand_like(x) - 0.5

            def ours(model: nn.Module = model, x: Tensor = x, labels: Tensor = labels, clean: Tensor = clean) -> None:
                oracle = Oracle(model, x, labels, clean=clean)
                respond(oracle, oracle.rows_all)

            def bare(model: nn.Module = model, x: Tensor = x, direction: Tensor = direction) -> None:
                with torch.enable_grad():
                    bare_loop(model, x, 1)
                torch.func.jvp(model, (x,), (direction,), has_aux=False)

            def forward(model: nn.Module = model, x: Tensor = x) -> None:
                model(x)

            ratio, (low, high), seconds = paired(ours, bare, PAIRS)
            passes, _, _ = paired(ours, forward, PAIRS)
        kept = "yes" if ratio <= BOUND else "**no**"
        each = 1e3 * seconds / len(x)
        print(f"| {name} | {len(x)} | {ratio:.3f} ({low:.3f}-{high:.3f}) | {kept} | {each:.2f} | {passes:.2f} |")


if __name__ == "__main__":
    main()
