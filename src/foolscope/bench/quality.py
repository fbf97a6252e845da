"""Quality of minimal distances, ours beside the peers': `foolscope bench --peers`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foolscope.bench.cells import Cell, Found, code_digest, fill, prepared, read_cell
from foolscope.bench.contestants import OURS, PEERS, Contestant, our_minimal, taking_part
from foolscope.bench.optimality import Floats, local_optimality, median, reference, success
from foolscope.bench.peer_environment import wanted
from foolscope.bench.peer_networks import Network
from foolscope.norms import NORMS

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """One attack on one network in one norm at one budget.

    Attributes:
        network, norm, budget, library, attack: what was run.
        masked: whether the network's gradients mislead.
        n: images.
        optimality: local, against the best of everyone at any budget.
        against_peers: local, against the best of the peers at any budget.
        success: share of the right images that were fooled at whatever distance.
        median: distance, over images that are right when clean; inf if more than half were never fooled.
        passes: forwards and backwards an image, on average.
        seconds: of the attack, without the counting.
        error: why there are no numbers, or "".
    """

    network: str
    masked: bool
    norm: str
    budget: int
    library: str
    attack: str
    n: int
    optimality: float = float("nan")
    against_peers: float = float("nan")
    success: float = float("nan")
    median: float = float("nan")
    passes: float = float("nan")
    seconds: float = float("nan")
    error: str = ""


def quality_table(
    networks: Sequence[Network],
    cache: Path,
    peers: Path | None,
    *,
    samples: int | None = None,
    norms: Sequence[str] = tuple(NORMS),
    budgets: Sequence[int] | None = None,
    attacks: Sequence[Contestant] | None = None,
    against: Sequence[Contestant] | None = None,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Runs what is missing in the cache and compares.

    Args:
        networks: on which.
        cache: folder of results; what is in it is not run again.
        peers: the interpreter of the peers' environment; None leaves the peers out.
        samples: images a network, the first in file order, misclassified ones included (their distance is 0); None for each network's own.
        norms: in which.
        budgets: forwards and backwards an image; None for those of each network.
        attacks: ours; None for all minimal-norm attacks.
        against: the peers'; None for all that there are.
        seed: of torch's generator, for the peers; our attacks' own default otherwise.
        progress: told (network, images attacked, images in all).
        say: told of attacks that failed.

    Returns:
        A row a cell, in order of network, norm and budget.
    """
    contestants = [*(our_minimal() if attacks is None else attacks), *((against or PEERS) if peers else [])]
    pythons = {OURS: Path(sys.executable)} | ({"peers": peers} if peers else {})
    threads = torch.get_num_threads()
    versions = {OURS: code_digest()}
    rows: list[Row] = []
    for network in networks:
        subject = prepared(network, samples or network.samples, cache)
        cells = [
            Cell(subject, row.library, row.name, norm, budget, seed, threads, versions.get(row.library, wanted()))
            for norm in norms
            for budget in budgets or network.budgets
            for row in taking_part(contestants, norm, budget, network.classes)
        ]
        ready = sum(read_cell(cell, cache) is not None for cell in cells)
        done = ready * subject.n

        def told(cell: Cell, error: str, name: str = network.name, total: int = len(cells) * subject.n) -> None:
            nonlocal done
            done += cell.subject.n
            progress(name, done, total)
            if error:
                say(f"{cell.library} {cell.name} in {cell.norm} at {cell.budget} on {name} failed: {error}")

        progress(network.name, done, len(cells) * subject.n)
        errors = fill(cells, cache, pythons, told)
        rows += _rows(network, cells, {cell.key: read_cell(cell, cache) for cell in cells}, errors)
    return rows


def _rows(network: Network, cells: list[Cell], found: dict[str, Found | None], errors: dict[str, str]) -> list[Row]:
    best: dict[tuple[str, bool], Floats] = {}
    for norm in {cell.norm for cell in cells}:
        for peers in (False, True):
            pool = [
                kept.distance
                for cell in cells
                if cell.norm == norm and (kept := found[cell.key]) and not (peers and cell.library == OURS)
            ]
            if pool:
                best[norm, peers] = reference(pool)
    rows = []
    for cell in cells:
        kept = found[cell.key]
        what = (network.name, network.masked, cell.norm, cell.budget, cell.library, cell.name, cell.subject.n)
        if kept is None:
            rows.append(Row(*what, error=errors.get(cell.key, "not run")))
            continue
        d = kept.distance
        against = local_optimality(d, best[cell.norm, True]) if (cell.norm, True) in best else float("nan")
        rows.append(
            Row(
                *what,
                local_optimality(d, best[cell.norm, False]),
                against,
                success(d),
                median(d),
                float(kept.passes.mean()),
                kept.seconds,
            )
        )
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """For each norm and budget a table: attacks by global optimality, the mean of the local ones; masked networks apart."""
    lines = [
        "LO: local optimality against the best of everyone, image by image, at any budget (1 = as good as that). GO: its mean over the "
        "networks. Peers: GO against the best of the peers alone (may exceed 1). ASR: share fooled at whatever distance. "
        "Seconds: sum over the networks.",
        "",
    ]
    for masked in (False, True):
        some = [row for row in rows if row.masked == masked]
        for norm in NORMS:
            for budget in sorted({row.budget for row in some if row.norm == norm}):
                lines += _table([row for row in some if (row.norm, row.budget) == (norm, budget)], masked)
    return "\n".join(lines).rstrip()


def _table(rows: Sequence[Row], masked: bool) -> list[str]:
    networks = list(dict.fromkeys(row.network for row in rows))
    head = " | ".join(f"{name}: LO (median)" for name in networks)
    title = f"**{rows[0].norm}, Q = {rows[0].budget}{', masked networks' if masked else ''}**"
    sizes = ", ".join(dict.fromkeys(str(row.n) for row in rows))
    lines = [
        f"{title} (n = {sizes} a network)",
        "",
        f"| attack | GO | peers | ASR | seconds | {head} |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(networks),
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.library, row.attack), []).append(row)
    for (library, attack), group in sorted(groups.items(), key=lambda item: -_mean(item[1], "optimality")):
        name = f"**{library} {attack}**" if library == OURS else f"{library} {attack}"
        by = {row.network: row for row in group}
        cells = [_cell(by.get(network)) for network in networks]
        numbers = [_mean(group, key) for key in ("optimality", "against_peers", "success")]
        seconds = sum(row.seconds for row in group if not row.error)
        lines.append(f"| {name} | {' | '.join(_three(v) for v in numbers)} | {seconds:.1f} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"failed: {row.error[:60]}" if row.error else f"{row.optimality:.3f} ({row.median:.4g})"


def _mean(rows: Sequence[Row], key: str) -> float:
    """Over the networks that an attack was run on; one that it failed on counts 0."""
    values = [0.0 if row.error else float(getattr(row, key)) for row in rows]
    values = [value for value in values if not np.isnan(value)]
    return float(np.mean(values)) if values else float("nan")


def _three(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def verdict(rows: Sequence[Row]) -> list[dict[str, object]]:
    """For each norm and budget our best attack beside each library's best, by global optimality over the networks that are not masked."""
    said: list[dict[str, object]] = []
    open_rows = [row for row in rows if not row.masked]
    for norm in NORMS:
        for budget in sorted({row.budget for row in open_rows if row.norm == norm}):
            here = [row for row in open_rows if (row.norm, row.budget) == (norm, budget)]
            best: dict[str, tuple[float, str]] = {}
            for library, attack in dict.fromkeys((row.library, row.attack) for row in here):
                score = _mean([r for r in here if (r.library, r.attack) == (library, attack)], "optimality")
                best[library] = max(best.get(library, (-1.0, "")), (score, attack))
            said.append(
                {"norm": norm, "budget": budget} | {name: f"{go:.3f} {attack}" for name, (go, attack) in best.items()}
            )
    return said
