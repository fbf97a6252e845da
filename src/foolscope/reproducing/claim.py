"""What a claim is, the rule by which it counts as reproduced, and the record that measuring it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foolscope.reproducing.lab import Lab

REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run"
SCALES = ("small", "paper")


class NotRun(Exception):
    """Why a claim cannot be measured here or at this scale; it becomes a record without numbers."""


@dataclass(frozen=True)
class Check:
    """One threshold that a measured value must keep.

    Attributes:
        value: name of the measured value.
        sense: ``>=`` or ``<=``.
        limit: the threshold; a factor where `of` is given.
        of: name of another measured value, which `limit` multiplies; "" for a plain number.

    Example:
        >>> check = Check("fgsm_error", ">=", 2, of="clean_error")
        >>> str(check), check.holds({"fgsm_error": 0.5, "clean_error": 0.2}), check.holds({"fgsm_error": 0.3, "clean_error": 0.2})
        ('fgsm_error >= 2 x clean_error', True, False)
    """

    value: str
    sense: str
    limit: float
    of: str = ""

    def holds(self, measured: Mapping[str, Any]) -> bool:
        """Whether the measured values keep the threshold; NaN keeps none."""
        limit = self.limit * (measured[self.of] if self.of else 1)
        value = measured[self.value]
        return bool(value >= limit if self.sense == ">=" else value <= limit)

    def __str__(self) -> str:
        limit = f"{self.limit:g}" if not self.of else self.of if self.limit == 1 else f"{self.limit:g} x {self.of}"
        return f"{self.value} {self.sense} {limit}"


def at_least(value: str, limit: float, of: str = "") -> Check:
    """`value` >= `limit`, or >= `limit` x `of`."""
    return Check(value, ">=", limit, of)


def at_most(value: str, limit: float, of: str = "") -> Check:
    """`value` <= `limit`, or <= `limit` x `of`."""
    return Check(value, "<=", limit, of)


def between(value: str, low: float, high: float) -> tuple[Check, Check]:
    """`low` <= `value` <= `high`."""
    return at_least(value, low), at_most(value, high)


@dataclass(frozen=True)
class Rule:
    """When a claim counts as reproduced: stated before anything is measured, and all that the verdict looks at.

    Attributes:
        checks: which must all hold.
        n: fewest images (or draws) that it may be judged on.
        seeds: fewest seeds.

    Example:
        >>> rule = Rule((at_least("error", 0.99),), n=1000)
        >>> print(rule)
        error >= 0.99; n >= 1,000; seeds >= 1
        >>> rule.verdict({"error": 0.995}, 1000, [0]), rule.verdict({"error": 0.5}, 1000, [0]), rule.verdict({"error": 0.995}, 10, [0])
        ('reproduced', 'not reproduced', 'not run')
    """

    checks: tuple[Check, ...]
    n: int
    seeds: int = 1

    def verdict(self, measured: Mapping[str, Any], n: int, seeds: Sequence[int]) -> str:
        """The verdict; too few images or seeds are no test of the claim, so it counts as not run."""
        if n < self.n or len(seeds) < self.seeds:
            return NOT_RUN
        return REPRODUCED if all(check.holds(measured) for check in self.checks) else NOT_REPRODUCED

    def __str__(self) -> str:
        return "; ".join([*map(str, self.checks), f"n >= {self.n:,}", f"seeds >= {self.seeds}"])


@dataclass(frozen=True)
class Outcome:
    """What a claim's function found.

    Attributes:
        measured: values by name, the names of `Claim.claimed` among them.
        n: images (or draws) behind them.
        interval: 95 % intervals of those values that are shares or means.
        seeds: of the trainings.
        substituted: what differs from the claim's own setting: data, network, scale.
        notes: what the numbers say beyond the rule, above all why a claim does not reproduce.
        series: numbers for a figure, one row a point.
        pictures: small images, as `reproducing/pictures.py` makes them.
    """

    measured: Mapping[str, float]
    n: int
    interval: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    substituted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    series: tuple[Mapping[str, Any], ...] = ()
    pictures: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Claim:
    """One claim of a seed document or of the paper behind it.

    Attributes:
        id: as `foolscope reproduce ID` takes it.
        title: what is claimed, in a line.
        seed_document: which document makes it.
        claimed: its numbers by name; None where the document gives none.
        source: where the numbers stand.
        rule: when it counts as reproduced.
        cost: roughly what it takes, for each scale, with networks not yet trained.
        measure: the claim's function.
    """

    id: str
    title: str
    seed_document: str
    claimed: Mapping[str, float | str | None]
    source: str
    rule: Rule
    cost: Mapping[str, str]
    measure: Callable[[Lab], Outcome]


@dataclass(frozen=True)
class Record:
    """`results/ID.json`: measured beside claimed. Notes, figures' numbers and images lie in `measured` as `notes`, `series`, `pictures`."""

    id: str
    seed_document: str
    claimed: Mapping[str, Any]
    source: str
    rule: str
    measured: Mapping[str, Any]
    interval: Mapping[str, Any]
    n: int
    seeds: tuple[int, ...]
    substituted: tuple[str, ...]
    scale: str
    verdict: str
    seconds: float
    hardware: Mapping[str, Any]
    command: str
