"""What the linear response costs beside one bare gradient and one bare forward-mode pass, from 10 to 1,000 classes.

Beside those of the network as it is, and, as `foolscope bench` has it, of the network with quick stems for both (`foolscope.stems`): what
the response itself does beside its passes. Run as `python -m foolscope.bench.response`; SqueezeNet needs $FOOLSCOPE_DATA and
$FOOLSCOPE_WEIGHTS.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.bench.speed import bare_loop, interleaved, one_thread, ratio_of, where
from foolscope.data import open_data
from foolscope.explaining.response import respond
from foolscope.memory import keep_freed_memory
from foolscope.models import load_model
from foolscope.oracle import Oracle
from foolscope.stems import quick_stems

CLASSES = (10, 100, 1000)
IMAGES = 32, 8  # of the synthetic network, of SqueezeNet
ROUNDS = 31
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
    """Prints a Markdown table: each row's ratios are medians over interleaved rounds."""
    keep_freed_memory()  # as our own commands do
    with one_thread():
        print(f"{where()}; median of {ROUNDS} interleaved rounds (smallest-largest)\n")
        print(
            "| network | images | response / (gradient + jvp) | kept | with quick stems for both | milliseconds an image | "
            "forwards in time |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name, model, x in cases():
            print(_row(name, model.requires_grad_(False), x), flush=True)


def _row(name: str, model: nn.Module, x: Tensor) -> str:
    with torch.no_grad():
        clean = model(x)
    labels, direction = clean.argmax(1), torch.rand_like(x) - 0.5

    def ours() -> None:
        with quick_stems(model), torch.no_grad():  # as on any model that is lent to an analysis
            oracle = Oracle(model, x, labels, clean=clean)
            respond(oracle, oracle.rows_all)

    def bare() -> None:
        bare_loop(model, x, 1)
        with torch.no_grad():
            torch.func.jvp(model, (x,), (direction,), has_aux=False)

    def lean() -> None:
        with quick_stems(model):
            bare()

    def forward() -> None:
        with torch.no_grad():
            model(x)

    mine, *others = interleaved((ours, bare, lean, forward), ROUNDS)
    ratio, own, passes = (ratio_of(mine, other) for other in others)
    kept = "yes" if ratio.median <= BOUND else "**no**"
    low, high = ratio.spread
    return (
        f"| {name} | {len(x)} | {ratio.median:.3f} ({low:.3f}-{high:.3f}) | {kept} | {own.median:.3f} | "
        f"{1e3 * ratio.seconds / len(x):.2f} | {passes.median:.2f} |"
    )


if __name__ == "__main__":
    main()
