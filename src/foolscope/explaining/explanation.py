"""What an explanation comes to, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Explanation:
    """One answer; `explain.json` holds it as it is, and the report is made from that.

    Attributes:
        finding: what was found, in sentences anyone understands, with its interval.
        estimate: the number that the finding is about; None where there is none, and the finding says why.
        interval: its 95 % interval.
        n: images that it rests on.
        cost: forward-equivalents an image: forwards plus backwards, as the oracle counts them.
        method: how it was measured, and after whom.
        series: what figures and tables are drawn from; plain lists and numbers, None for what is missing.
    """

    finding: str
    estimate: float | None
    interval: tuple[float, float] | None
    n: int
    cost: float
    method: str
    series: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        content = asdict(self)
        return content | {"interval": None if self.interval is None else list(self.interval)}


def unsaid(why: str, method: str = "") -> Explanation:
    """An explanation that could not be had, and why."""
    return Explanation(why, None, None, 0, 0.0, method)
