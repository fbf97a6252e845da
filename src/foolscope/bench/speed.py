"""What an attack costs beside the bare loop: the same number of forward + input-gradient passes and nothing else.

Pairs are interleaved, so that whatever else the machine does falls on both alike; the ratio is taken pair by pair.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.attacks import fmn, pgd
from foolscope.bench.networks import Subject, subjects
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.subject import checked_batch_size
from foolscope.untouched import untouched

PAIRS = 9


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        network: which.
        what: was run.
        n: images, all right when clean.
        ratio: median over pairs of ours / bare.
        spread: smallest and largest ratio.
        bound: what it must not exceed.
        seconds: median of ours.
    """

    network: str
    what: str
    n: int
    ratio: float
    spread: tuple[float, float]
    bound: float
    seconds: float


def bare_loop(model: nn.Module, inputs: Tensor, passes: int) -> None:
    """`passes` forward + input-gradient passes over the batch, and nothing else."""
    for _ in range(passes):
        x = inputs.detach().requires_grad_()
        torch.autograd.grad(model(x).sum(), x)


def paired(
    ours: Callable[[], object],
    bare: Callable[[], object],
    pairs: int = PAIRS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, tuple[float, float], float]:
    """Median ratio, its spread and the median seconds of `ours`, over interleaved pairs after one of each to warm up."""
    ours(), bare()
    ratios, seconds = [], []
    for pair in range(pairs):  # who goes first alternates, so that a drift of the machine cancels
        if pair % 2:
            first, second = _timed(bare, clock), _timed(ours, clock)
        else:
            second, first = _timed(ours, clock), _timed(bare, clock)
        ratios.append(second / first)
        seconds.append(second)
    return float(np.median(ratios)), (min(ratios), max(ratios)), float(np.median(seconds))


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    work()
    return clock() - begun


def speed_table(names: tuple[str, ...] | None = None, pairs: int = PAIRS) -> list[Row]:
    """The benchmark on every network it finds.

    Args:
        names: of the networks; None for all.
        pairs: interleaved pairs for each row.
    """
    rows: list[Row] = []
    for subject in subjects(names):
        with untouched(subject.model):
            rows += _rows(subject, pairs)
    return rows


def _rows(subject: Subject, pairs: int) -> list[Row]:
    model, eps = subject.model, subject.eps
    size = checked_batch_size(None, subject.inputs.shape[1:], subject.inputs.device)  # as the audit would choose
    x, y = subject.inputs[:size], subject.labels[:size]
    with torch.no_grad():
        clean = model(x)

    def oracle() -> Oracle:
        return Oracle(model, x, y, clean=clean)  # the audit shares one clean pass between its attacks

    def row(what: str, ours: Callable[[], object], passes: int, bound: float) -> Row:
        ratio, spread, seconds = paired(ours, lambda: bare_loop(model, x, passes), pairs)
        return Row(subject.name, what, len(x), ratio, spread, bound, seconds)

    robust = float((model(pgd(oracle(), x, y, eps=eps)).argmax(1) == y).float().mean())
    near, nearer = (NORMS["linf"].size(fmn(oracle(), x, y, steps=steps) - x).median() for steps in (100, 1000))
    return [
        row("PGD-40, full length", lambda: pgd(oracle(), x, y, eps=eps, early_stop=False), 40, 1.05),
        row(f"PGD-40 as audited (robust {robust:.3f})", lambda: pgd(oracle(), x, y, eps=eps), 40, robust + 0.15),
        row("FMN-100", lambda: fmn(oracle(), x, y, steps=100), 100, 1.1),
        Row(
            subject.name,
            "FMN-100 / FMN-1000, median distance",
            len(x),
            float(near / nearer),
            (float(near), float(nearer)),
            1.02,
            0.0,
        ),
    ]


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table, with how and where they were measured."""
    lines = [
        f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, torch {torch.__version__}; median of {PAIRS} interleaved pairs "
        "(smallest-largest).",
        "",
        "| network | what | n | ratio to the bare loop | bound | kept | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = row.spread
        kept = "yes" if row.ratio <= row.bound else "**no**"
        lines.append(
            f"| {row.network} | {row.what} | {row.n} | {row.ratio:.3f} ({low:.3f}-{high:.3f}) | {row.bound:.3f} | {kept} | "
            f"{row.seconds:.2f} |"
        )
    return "\n".join(lines)
