"""How often the trust verdict is wrong, on networks that its thresholds were not set on: `python -m foolscope.bench.trust`.

Needs `$FOOLSCOPE_DATA` and `$FOOLSCOPE_WEIGHTS`. Prints Markdown: a row a network, then both error rates with Wilson intervals.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foolscope.auditing.run import Audit, run_audit
from foolscope.bench.trust_variants import MASKED, SCALED, SOUND, Variant
from foolscope.data import open_data
from foolscope.intervals import wilson
from foolscope.models.digits import seeded
from foolscope.subject import Subject

SAME = 0.005  # share of images whose outcome may differ once logits are scaled
GROUPS = {"masked": MASKED, "scaled": SCALED, "sound": SOUND}


@dataclass(frozen=True)
class Outcome:
    """What the audit said of one variant.

    Attributes:
        variant: the network.
        clean: accuracy on clean images.
        robust: accuracy at eps.
        suspicious: the verdict.
        codes: of the checks that were flagged, with their values.
        differing: share of images whose outcome is another than that of the plain network; NaN where there is none.
        said: whether the notes speak of what cross-entropy cannot see.
        seconds: of the audit, without training.
    """

    variant: Variant
    clean: float
    robust: float
    suspicious: bool
    codes: tuple[tuple[str, float], ...]
    differing: float
    said: bool
    seconds: float


def trust_table(variants: Sequence[Variant], *, seed: int = 0) -> list[Outcome]:
    """Audits each variant.

    Args:
        variants: what to audit.
        seed: of the audits, and of torch's own generator during them (for networks that add noise).

    Returns:
        An outcome a variant, in order.
    """
    return [_outcome(variant, seed) for variant in variants]


def _outcome(variant: Variant, seed: int) -> Outcome:
    network = variant.build()
    begun = time.perf_counter()
    audit = _audit(variant, network, seed)
    seconds = time.perf_counter() - begun
    differing = float("nan")
    if variant.plain is not None:
        plain = _audit(variant, variant.plain(), seed)
        differing = float(np.mean(np.asarray(audit.samples["outcome"]) != np.asarray(plain.samples["outcome"])))
    trust = audit.record["trust"]
    outcome = Outcome(
        variant,
        audit.clean_accuracy,
        audit.robust_accuracy,
        audit.verdict == "suspicious",
        tuple((reason["code"], reason["value"]) for reason in trust["reasons"]),
        differing,
        any("cross-entropy" in note for note in trust["notes"]),
        seconds,
    )
    print(_row(outcome), file=sys.stderr, flush=True)
    return outcome


def _audit(variant: Variant, network: nn.Module, seed: int) -> Audit:
    data = open_data(variant.data, samples=variant.n, crop=variant.crop)
    with tempfile.TemporaryDirectory() as folder, seeded(seed):
        return run_audit(
            Subject(network, variant.name, 0, ""),
            data,
            out=Path(folder) / "audit",
            norm=variant.norm,
            eps=variant.eps,
            effort=variant.effort,
            seed=seed,
        )


def _row(outcome: Outcome) -> str:
    v = outcome.variant
    codes = ", ".join(f"{code} {value:.2f}" for code, value in outcome.codes) or "–"
    same = (
        "" if v.plain is None else f"; {outcome.differing:.1%} of outcomes differ, {'' if outcome.said else 'not '}said"
    )
    verdict = "suspicious" if outcome.suspicious else "sound"
    numbers = f"{outcome.clean:.1%} | {outcome.robust:.1%}"
    return f"| {v.kind} | {v.name} | {v.data} | {v.norm} {v.eps:.4g} | {v.n} | {numbers} | {verdict} | {codes}{same} |"


def _rate(name: str, wrong: int, n: int) -> str:
    low, high = wilson(wrong, n)
    return f"- {name}: **{wrong} of {n}** ({wrong / n:.1%}, 95 % interval {low:.1%} to {high:.1%})"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table, and the error rates of the groups that are in it."""
    head = "| kind | network | data | eps | n | clean | robust | verdict | flagged |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|", *map(_row, outcomes), ""]
    masked = [o for o in outcomes if o.variant in MASKED]
    scaled = [o for o in outcomes if o.variant in SCALED]
    sound = [o for o in outcomes if o.variant in SOUND]
    if masked:
        lines.append(_rate("masked networks not flagged", sum(not o.suspicious for o in masked), len(masked)))
    if sound:
        lines.append(_rate("sound networks flagged", sum(o.suspicious for o in sound), len(sound)))
    if scaled:
        wrong = sum(o.suspicious or o.differing > SAME for o in scaled)
        lines.append(_rate(f"scaled logits flagged, or more than {SAME:.1%} of outcomes changed", wrong, len(scaled)))
    return "\n".join(lines)


def main(groups: Sequence[str]) -> None:
    """Prints the table of these groups, all of them if none is named."""
    torch.set_num_threads(1)  # the trained networks are the same bytes only at the same number of threads
    begun = time.perf_counter()
    variants = [variant for group in groups or GROUPS for variant in GROUPS[group]]
    print(markdown(trust_table(variants)))
    print(f"\n{len(variants)} audits, {time.perf_counter() - begun:.0f} s with training, torch {torch.__version__}")


if __name__ == "__main__":
    main(sys.argv[1:])
