"""Our batteries beside the reference AutoAttack on the same images: `foolscope bench --autoattack PATH`."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from foolscope.auditing.battery import battery
from foolscope.auditing.run import run_audit
from foolscope.bench.cells import Subject, lines, prepared
from foolscope.bench.peer_networks import Network, frozen
from foolscope.data import open_data
from foolscope.errors import InputError
from foolscope.ledger import RESISTED
from foolscope.numbers import number
from foolscope.subject import Subject as Audited

SEED = 0
WARM = 2  # images of an audit that is not timed: it imports what is imported late
HEAD = (
    *(
        "network",
        "eps",
        "n",
        "clean",
        "AutoAttack standing",
        "seconds",
        "effort",
        "ours standing",
        "missed",
        "extra",
        "seconds",
    ),
    *("ratio", "CPU ratio", "trust", "AutoAttack run"),
)
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reference:
    """What AutoAttack found.

    Attributes:
        standing: `(n,)`, right when clean and not fooled within eps and box, by a fresh forward pass.
        seconds: of its whole evaluation.
        cpu: seconds of computing, which on a shared machine say more.
        cached: when it was run, if that was not in this run, else "".
    """

    standing: Flags
    seconds: float
    cpu: float
    cached: str


@dataclass(frozen=True)
class Row:
    """One battery beside AutoAttack on one network.

    Attributes:
        network, masked, eps, n, clean, threads: where; `clean` images are right when left alone.
        effort: of our battery.
        reference, ours: images left standing.
        missed: AutoAttack fools them, we leave them standing.
        extra: we fool them, AutoAttack leaves them standing.
        reference_seconds, seconds: of AutoAttack's evaluation, and of our battery's stages.
        ratio: our seconds over AutoAttack's.
        cpu_ratio: the processor's time of the whole audit, with trust checks, explanations and report, over that of AutoAttack; other
            programs on the machine disturb it less.
        verdict: of our trust checks.
        cached: when AutoAttack was run, if that was not in this run.
    """

    network: str
    masked: bool
    eps: str
    n: int
    clean: int
    threads: int
    effort: str
    reference: int
    ours: int
    missed: int
    extra: int
    reference_seconds: float
    seconds: float
    ratio: float
    cpu_ratio: float
    verdict: str
    cached: str


def parity_table(
    networks: Sequence[Network],
    cache: Path,
    checkout: Path,
    *,
    samples: int = 200,
    norms: Sequence[str],
    efforts: Sequence[str],
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Runs AutoAttack where the cache has no result of it, and our batteries always.

    Args:
        networks: each at its own eps.
        cache: folder of results.
        checkout: of AutoAttack.
        samples: images a network, the first in file order, misclassified ones included.
        norms: in which networks are attacked.
        efforts: of our battery.
        progress: told (stage, images done, images in all).
        say: told what takes long.

    Returns:
        A row for each network, eps and effort.
    """
    rows = []
    for network in networks:
        subject = prepared(network, samples, cache)
        for eps in (eps for eps in network.eps if ball(eps)[0] in norms):
            stage = f"{network.name} {eps}"
            progress(stage, 0, (1 + len(efforts)) * subject.n)
            reference = _reference(subject, eps, cache, checkout, say)
            for place, effort in enumerate(efforts, 1):
                progress(stage, place * subject.n, (1 + len(efforts)) * subject.n)
                rows.append(_row(subject, eps, effort, reference))
            progress(stage, (1 + len(efforts)) * subject.n, (1 + len(efforts)) * subject.n)
    return rows


def ball(eps: str) -> tuple[str, str]:
    """The norm and the radius of a network's `eps`.

    Example:
        >>> ball("8/255"), ball("l2 0.5")
        (('linf', '8/255'), ('l2', '0.5'))
    """
    norm, _, radius = eps.rpartition(" ")
    return norm or "linf", radius


def _row(subject: Subject, eps: str, effort: str, reference: Reference) -> Row:
    _audit(subject, eps, effort, WARM)
    used = time.process_time()
    clean, standing, seconds, verdict = _audit(subject, eps, effort, subject.n)
    used = time.process_time() - used
    return Row(
        subject.network.name,
        subject.network.masked,
        eps,
        subject.n,
        clean,
        torch.get_num_threads(),
        effort,
        int(reference.standing.sum()),
        int(standing.sum()),
        int((standing & ~reference.standing).sum()),
        int((reference.standing & ~standing).sum()),
        reference.seconds,
        seconds,
        seconds / reference.seconds,
        used / reference.cpu,
        verdict,
        reference.cached,
    )


def _audit(subject: Subject, eps: str, effort: str, n: int) -> tuple[int, Flags, float, str]:
    """Clean-correct images, those left standing, the battery's seconds, and the verdict of an audit of the first n images."""
    network, (norm, radius) = subject.network, ball(eps)
    state = load_file(subject.path)
    del state["images"], state["labels"]
    module = network.skeleton()
    module.load_state_dict(state)
    data = open_data(network.data, samples=n, crop=network.crop)
    with tempfile.TemporaryDirectory() as folder:
        audit = run_audit(
            Audited(frozen(module), network.name, 0, subject.digest),
            data,
            out=Path(folder) / "audit",
            norm=norm,
            eps=number("eps", radius),
            effort=effort,
            seed=SEED,
        )
    standing = np.asarray(audit.samples["outcome"]) == RESISTED
    ours = {"clean", "trust"} | {step.name for step in battery(effort, audit.record["norm"])}
    seconds = sum(stage["seconds"] for stage in audit.record["stages"] if stage["name"] in ours)
    return round(audit.clean_accuracy * n), standing, seconds, audit.verdict


def _reference(subject: Subject, eps: str, cache: Path, checkout: Path, say: Callable[[str], None]) -> Reference:
    threads = torch.get_num_threads()
    parts = (subject.digest, eps, SEED, threads, _digest(checkout), torch.__version__)
    path = cache / "autoattack" / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}.npz"
    fresh = not path.exists()
    if fresh:
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"AutoAttack on {subject.network.name} at {eps}: minutes")
        job = {"network": subject.network.name, "subject": str(subject.path), "threads": threads}
        norm, radius = ball(eps)
        job |= {"norm": norm, "eps": number("eps", radius), "seed": SEED, "out": str(path)}
        with tempfile.TemporaryDirectory() as folder:
            file, log = Path(folder) / "job.json", Path(folder) / "errors"
            file.write_text(json.dumps(job))
            command = [sys.executable, "-m", "foolscope.bench.autoattack_worker", str(file)]
            list(lines(command, log, threads, (str(checkout.resolve()),)))
            if not path.exists():
                said = [
                    line for line in log.read_text().splitlines() if line and not line.startswith(("nanobind", " - "))
                ]
                raise InputError("--autoattack", "a checkout that runs", said[-1] if said else "no word")
    with np.load(path) as kept:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(kept["when"])))
        return Reference(
            kept["clean"] & ~kept["fooled"], float(kept["seconds"]), float(kept["cpu"]), "" if fresh else when
        )


def _digest(checkout: Path) -> str:
    hasher = hashlib.sha256()
    for file in sorted((checkout / "autoattack").glob("*.py")):
        hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()[:16]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as Markdown, masked networks apart."""
    lines = [
        "Missed: AutoAttack fools it and we leave it standing; extra: the reverse. Our seconds and their ratio are those of the battery "
        "and of the probes that it goes by; the CPU ratio is that of the whole audit, with trust checks, explanations and report. "
        "AutoAttack's seconds marked * were measured in an earlier run, with the same threads (the last column says when).",
    ]
    for masked in (False, True):
        some = [row for row in rows if row.masked == masked]
        if some:
            lines += ["", "**Masked networks**" if masked else "**Networks**", ""]
            lines += [
                f"| {' | '.join(HEAD)} |",
                "| --- " * len(HEAD) + "|",
                *map(_line, some),
            ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    theirs = f"{row.reference_seconds:.1f}{'*' if row.cached else ''}"
    where = f"{row.network} | {row.eps} | {row.n} | {row.clean} | {row.reference} | {theirs}"
    ours = f"{row.effort} | {row.ours} | {row.missed} | {row.extra} | {row.seconds:.1f} | {row.ratio:.3f} | {row.cpu_ratio:.3f}"
    return f"| {where} | {ours} | {row.verdict} | {row.cached or 'now'} |"
