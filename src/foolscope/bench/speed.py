"""What an attack costs beside the bare loop: the same number of forward + input-gradient passes and nothing else.

Pairs are interleaved, so that whatever else the machine does falls on both alike; the ratio is taken pair by pair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foolscope.attacks import apgd, cw, ddn, fmn, pgd, sigma_zero
from foolscope.bench.networks import NETWORKS, Subject, subjects
from foolscope.environment import environment
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.stems import quick_stems
from foolscope.subject import checked_batch_size

FULL = 1.03  # what a full-length attack of one gradient a step may cost
ROWS = 8  # a network
PAIRS, FEWEST = 25, 9  # pairs a row: as many as SECONDS allow
SECONDS = 20.0
Told = Callable[[str, int, int], None]


class Ratio(NamedTuple):
    """Ours beside the bare loop, over interleaved pairs.

    Attributes:
        median: of ours / bare.
        spread: smallest and largest.
        seconds: median of ours.
    """

    median: float
    spread: tuple[float, float]
    seconds: float


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        network: which.
        what: was run.
        n: images, all right when clean.
        ratio: median over pairs of ours / bare, the network as it is.
        spread: smallest and largest ratio.
        bound: what it must not exceed.
        seconds: median of ours.
        own: median of ours / bare with the network's stems quick for both (see `foolscope.stems`): what the attack does beside its passes.
        step: that in microseconds a step; None where steps get cheaper as images leave.
    """

    network: str
    what: str
    n: int
    ratio: float
    spread: tuple[float, float]
    bound: float
    seconds: float
    own: float | None = None
    step: float | None = None


def bare_loop(model: nn.Module, inputs: Tensor, passes: int) -> None:
    """`passes` forward + input-gradient passes over the batch, and nothing else."""
    for _ in range(passes):
        x = inputs.detach().requires_grad_()
        torch.autograd.grad(model(x).sum(), x)


def paired(ours: Callable[[], object], bare: Callable[[], object], pairs: int | None = None) -> Ratio:
    """Both in turn, after one of each to warm up; `pairs` times, or as often as time allows."""
    return ratio_of(*interleaved((ours, bare), pairs))


def interleaved(works: Sequence[Callable[[], object]], rounds: int | None = None) -> NDArray[np.float64]:
    """Times `(works, rounds)`, after one of each to warm up. The order turns round by round, so that a drift of the machine cancels."""
    once = sum(_timed(work) for work in works)
    times = []
    for turn in range(rounds or int(min(PAIRS, max(FEWEST, SECONDS / once)))):
        order = works[::-1] if turn % 2 else works
        taken = [_timed(work) for work in order]
        times.append(taken[::-1] if turn % 2 else taken)
    return np.array(times).T


def ratio_of(mine: NDArray[np.float64], its: NDArray[np.float64]) -> Ratio:
    """Of two rows of `interleaved`."""
    ratios = mine / its
    return Ratio(float(np.median(ratios)), (float(ratios.min()), float(ratios.max())), float(np.median(mine)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Timings on one thread: what else runs on a shared machine falls on two more unevenly than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def where() -> str:
    """How and where times are taken, in words."""
    found = environment()
    return f"1 thread of {found['cores']} ({found['cpu']}), torch {torch.__version__}, seed 0; processor time"


def _timed(work: Callable[[], object]) -> float:
    begun = (
        time.process_time()
    )  # on one thread of a quiet machine the same as the clock; on a busy one without others' shares
    work()
    return time.process_time() - begun


def speed_table(
    names: tuple[str, ...] | None = None, pairs: int | None = None, told: Told = lambda stage, done, total: None
) -> list[Row]:
    """The benchmark on every network it finds.

    Args:
        names: of the networks; None for all.
        pairs: interleaved pairs for each row; None: as many as time allows.
        told: the stage, and how many of how many rows are done.
    """
    rows: list[Row] = []
    wanted = tuple(names or NETWORKS)
    with one_thread():
        for subject in subjects(wanted):
            subject.model.requires_grad_(False)
            for row in _rows(subject, pairs):
                rows.append(row)
                told("attacks", len(rows), ROWS * len(wanted))
    return rows


def _rows(subject: Subject, pairs: int | None) -> Iterator[Row]:
    model, eps = subject.model, subject.eps
    size = checked_batch_size(None, subject.inputs.shape[1:], subject.inputs.device)  # as the audit would choose
    x, y = subject.inputs[:size], subject.labels[:size]
    with torch.no_grad():
        clean = model(x)

    def run(attack: Callable[[Oracle], Tensor]) -> Tensor:
        with quick_stems(model):  # as on any model that is lent to an attack
            return attack(Oracle(model, x, y, clean=clean))  # the audit shares one clean pass between its attacks

    def lean(passes: int) -> None:
        with quick_stems(model):
            bare_loop(model, x, passes)

    def row(what: str, attack: Callable[[Oracle], Tensor], passes: int, bound: float, leaving: bool = False) -> Row:
        works = (lambda: run(attack), lambda: bare_loop(model, x, passes), lambda: lean(passes))
        mine, bare, leaner = interleaved(works, pairs)
        found, own = ratio_of(mine, bare), ratio_of(mine, leaner).median
        step = None if leaving else 1e6 * found.seconds * (1 - 1 / own) / passes
        return Row(subject.name, what, len(x), found.median, found.spread, bound, found.seconds, own, step)

    robust = float((model(run(lambda o: pgd(o, x, y, eps=eps))).argmax(1) == y).float().mean())
    audited = f"PGD-40 as audited (robust {robust:.3f})"
    yield row("PGD-40, full length", lambda o: pgd(o, x, y, eps=eps, early_stop=False), 40, FULL)
    yield row(audited, lambda o: pgd(o, x, y, eps=eps), 40, robust + 0.15, leaving=True)
    yield row("FMN-100", lambda o: fmn(o, x, y, steps=100), 100, 1.1)
    yield row("APGD-40, full length", lambda o: apgd(o, x, y, eps=eps, steps=40, early_stop=False), 40, FULL)
    yield row("DDN-40 (l2)", lambda o: ddn(o, x, y, steps=40), 40, FULL)
    yield row("C&W-40, one search (l2)", lambda o: cw(o, x, y, steps=40, searches=1), 41, FULL)
    yield row("sigma-zero-40 (l0)", lambda o: sigma_zero(o, x, y, steps=40), 40, FULL)
    near, nearer = (
        float(NORMS["linf"].size(run(partial(fmn, inputs=x, labels=y, steps=steps)) - x).median())
        for steps in (100, 1000)
    )
    what = "FMN-100 / FMN-1000, median distance"
    yield Row(subject.name, what, len(x), near / nearer, (near, nearer), 1.02, 0.0)


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table, with how and where they were measured."""
    lines = [
        f"{where()}; median of {FEWEST} to {PAIRS} interleaved pairs (smallest-largest; the last row of a network: its two medians).",
        "",
        "| network | what | n | ratio to the bare loop | bound | kept | seconds | with quick stems for both | beside a pass, \u00b5s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = row.spread
        kept = "yes" if row.ratio <= row.bound else "**no**"
        own, step = ("" if value is None else f"{value:.{places}f}" for value, places in ((row.own, 3), (row.step, 0)))
        lines.append(
            f"| {row.network} | {row.what} | {row.n} | {row.ratio:.3f} ({low:.3f}-{high:.3f}) | {row.bound:.3f} | {kept} | "
            f"{row.seconds:.2f} | {own} | {step} |"
        )
    return "\n".join(lines)
