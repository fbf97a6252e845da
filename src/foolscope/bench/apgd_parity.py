"""Our APGD beside the reference's, image by image and from the same start: `PYTHONPATH=CHECKOUT python -m foolscope.bench.apgd_parity`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np
import torch

from foolscope.attacks import apgd
from foolscope.attacks._step import random_point
from foolscope.bench.peer_networks import NETWORKS, built
from foolscope.data import open_data
from foolscope.losses import get_loss
from foolscope.norms import get_norm
from foolscope.numbers import number
from foolscope.oracle import Oracle

RADII = {  # by network and norm, so that some images stand and some fall
    "mnist_cnn_a plain": {"linf": "0.1", "l2": "1.5"},
    "mnist_cnn_a_adv": {"linf": "0.3", "l2": "1.5"},
    "cifar10_cnn_a_adv": {"linf": "2/255", "l2": "0.25"},
}
THEIRS = {"linf": "Linf", "l2": "L2"}
HEAD = (
    "network",
    "norm",
    "eps",
    "loss",
    "images",
    "alike",
    "ours alone",
    "theirs alone",
    "standing",
    "theirs",
    "loss apart",
)


@dataclass(frozen=True)
class Row:
    """One loss in one norm on one network.

    Attributes:
        network, norm, eps, loss: which.
        images: right when clean.
        alike: share that both fool or both leave standing.
        ours_alone: fooled by us and not by the reference.
        theirs_alone: the reverse.
        standing: left by us.
        theirs: left by the reference.
        apart: median over the images that both leave standing of how far their largest losses are apart, in units of the larger.
    """

    network: str
    norm: str
    eps: str
    loss: str
    images: int
    alike: float
    ours_alone: int
    theirs_alone: int
    standing: int
    theirs: int
    apart: float


def rows(samples: int, steps: int = 100, seed: int = 0) -> Iterator[Row]:
    """Both APGDs from the uniform start that ours draws, on every network, norm and loss.

    Args:
        samples: images a network, the first in file order; those that it gets wrong are left out.
        steps: of each.
        seed: of the start.
    """
    from autoattack.autopgd_base import APGDAttack

    for name, radii in RADII.items():
        network = NETWORKS[name]
        model, data = built(network), open_data(network.data, samples=samples)
        x, y = data.read(np.arange(len(data))), torch.from_numpy(data.labels)
        with torch.no_grad():
            right = model(x).argmax(1) == y
        x, y = x[right].contiguous(), y[right]
        for norm, text in radii.items():
            eps = number("eps", text)
            oracle = Oracle(model, x, y)
            start = random_point(oracle, oracle.rows_all, get_norm(norm), eps, "uniform", seed, 0)
            for loss in ("ce", "dlr"):
                theirs = APGDAttack(model, n_iter=steps, norm=THEIRS[norm], eps=eps, loss=loss, seed=seed, device="cpu")
                theirs.init_hyperparam(x)
                standing, reached = theirs.attack_single_run(x, y, x_init=start)[1:3]
                found = apgd(model, x, y, norm=norm, eps=eps, steps=steps, loss=loss, seed=seed)
                with torch.no_grad():
                    logits = model(found)
                ours, both = logits.argmax(1) == y, (logits.argmax(1) == y) & standing
                value = get_loss(loss).function(logits, y, None, None)
                apart = (value - reached).abs() / value.abs().maximum(reached.abs())
                yield Row(
                    name,
                    norm,
                    text,
                    loss,
                    len(x),
                    float((ours == standing).double().mean()),
                    int((standing & ~ours).sum()),
                    int((ours & ~standing).sum()),
                    int(ours.sum()),
                    int(standing.sum()),
                    float(apart[both].median()) if bool(both.any()) else 0.0,
                )


def line(row: Row) -> str:
    """A row of the Markdown table."""
    cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in astuple(row))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=200)
    print(f"| {' | '.join(HEAD)} |\n{'| --- ' * len(HEAD)}|")
    for each in rows(parser.parse_args().samples):
        print(line(each), flush=True)
