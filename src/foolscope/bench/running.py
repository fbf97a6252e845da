"""What `foolscope bench` does with its options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from foolscope.attacks import ATTACKS, bind
from foolscope.auditing.battery import BATTERY
from foolscope.errors import InputError
from foolscope.norms import NORMS
from foolscope.store import writable

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


def run_benchmarks(
    *,
    network: tuple[str, ...] = (),
    copies: bool = False,
    peers: bool = False,
    autoattack: str | None = None,
    samples: int | None = None,
    norm: tuple[str, ...] = (),
    budget: tuple[int, ...] = (),
    attack: tuple[str, ...] = (),
    against: tuple[str, ...] = (),
    effort: tuple[str, ...] = (),
    cache: str | None = None,
    progress: Progress = lambda stage, done, total: None,
    say: Say = lambda line: None,
) -> tuple[dict[str, Any], str]:
    """The speed benchmark, or the comparisons that are asked for.

    Args:
        network: names; all where there are none.
        copies: instead of attacks, time passes through copies of the networks that compute the same.
        peers: compare minimal distances with the peers'.
        autoattack: a checkout; compare fixed-eps batteries with it.
        samples: images a network.
        norm: of the comparisons.
        budget, attack, against: of the comparison of distances.
        effort: of the comparison of batteries.
        cache: folder of results.
        progress: told (stage, images done, images in all).
        say: told what else should be known.

    Returns:
        What `--json` prints, and the same as Markdown.

    Raises:
        InputError: bad input, in one line.
    """
    content: dict[str, Any]
    _check(peers, autoattack, samples, norm, budget, attack, against, effort)
    if copies:
        from foolscope.bench import copies as copied

        timed = copied.copies_table(network or None)
        return {"copies": [asdict(row) for row in timed]}, copied.markdown(timed)
    if not peers and autoattack is None:
        from foolscope.bench import speed, stacks, training

        measured = speed.speed_table(network or None, told=progress)
        learned = [] if network else training.training_table(told=progress)
        stacked = [] if network else stacks.stack_table(told=progress)
        content = {
            name: [asdict(row) for row in rows]
            for name, rows in (("rows", measured), ("training", learned), ("stacks", stacked))
        }
        tables = [speed.markdown(measured)]
        tables += [] if network else [training.markdown(learned), stacks.markdown(stacked)]
        return content, "\n\n".join(tables)
    folder = Path(cache) if cache else Path.home() / ".cache" / "foolscope" / "bench"
    writable("--cache", folder)
    content = {"environment": _where()}
    texts = [_line(content["environment"])]
    if autoattack is not None:
        checked_checkout(Path(autoattack))
    if peers:
        from foolscope.bench import contestants, peer_environment, peer_networks, quality

        wanted = [row for row in peer_networks.named(network) if row.budgets]
        ours = [contestants.ours(text) for text in attack] or None
        theirs = [contestants.named_peer(text) for text in against] or None
        python = peer_environment.peer_python(folder / "peers", say)
        compared = quality.quality_table(
            wanted,
            folder,
            python,
            samples=samples,
            norms=norm or tuple(NORMS),
            budgets=budget or None,
            attacks=ours,
            against=theirs,
            progress=progress,
            say=say,
        )
        content["quality"] = [_plain(asdict(row)) for row in compared]
        content["best"] = quality.verdict(compared)
        texts.append(quality.markdown(compared))
    if autoattack is not None:
        from foolscope.bench import parity, peer_networks

        rows = parity.parity_table(
            [row for row in peer_networks.named(network) if row.eps],
            folder,
            Path(autoattack),
            samples=samples or 200,
            norms=norm or tuple(NORMS),
            efforts=effort or tuple(BATTERY),
            progress=progress,
            say=say,
        )
        content["parity"] = [asdict(row) for row in rows]
        texts.append(parity.markdown(rows))
    return content, "\n\n".join(texts)


def _check(
    peers: bool,
    autoattack: str | None,
    samples: int | None,
    norm: Sequence[str],
    budget: Sequence[int],
    attack: Sequence[str],
    against: Sequence[str],
    effort: Sequence[str],
) -> None:
    if samples is not None and samples < 1:
        raise InputError("--samples", "a whole number of at least 1", samples)
    if any(value < 2 for value in budget):
        raise InputError("--budget", "at least 2 passes an image", min(budget))
    minimal = [row.name for row in ATTACKS.values() if row.kind == "minimal norm"]
    for text in attack:
        name = text.partition(":")[0]
        if name not in minimal:
            raise InputError("--attack", "a minimal-norm attack", name, minimal)
        bind(text)  # refuses options that it does not have
    for option, given in (("--budget", budget), ("--attack", attack), ("--against", against)):
        if given and not peers:
            raise InputError(option, "--peers beside it", None)
    if effort and autoattack is None:
        raise InputError("--effort", "--autoattack PATH beside it", None)
    for option, chosen in (("--samples", samples), ("--norm", norm)):
        if chosen and not peers and autoattack is None:
            raise InputError(option, "--peers or --autoattack PATH beside it", None)


def checked_checkout(path: Path) -> None:
    """A folder from which AutoAttack can be imported.

    Raises:
        InputError: it is not.
    """
    if not (path / "autoattack" / "autoattack.py").is_file():
        raise InputError("--autoattack", "a checkout of AutoAttack, with autoattack/autoattack.py in it", str(path))


def _where() -> dict[str, Any]:
    from foolscope.environment import environment

    return environment() | {"threads": torch.get_num_threads()}


def _line(where: dict[str, Any]) -> str:
    return f"{where['threads']} threads, {where['cores']} cores ({where['cpu']}), torch {where['torch']}, seed 0."


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers that JSON has; null for those it has not."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
