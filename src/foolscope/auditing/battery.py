"""Which attack comes when, and on which images."""

from __future__ import annotations

from dataclasses import dataclass

from foolscope.attacks import ATTACKS
from foolscope.errors import InputError


@dataclass(frozen=True)
class Step:
    """One attack of the battery.

    Attributes:
        name: of the stage.
        attack: as on the command line.
        everyone: run on all images that are right when clean, for their distances; else only on those that still stand at eps.
    """

    name: str
    attack: str
    everyone: bool = False

    @property
    def gradient(self) -> bool:
        """Whether it uses gradients."""
        return ATTACKS[self.attack.partition(":")[0]].gradient


# Cheap before dear; the gradient attacks first, so that the others show what gradients missed.
BATTERY: dict[str, tuple[Step, ...]] = {
    "quick": (
        Step("pgd", "pgd:steps=20"),
        Step("fmn", "fmn:steps=40", everyone=True),
        Step("sigma_zero", "sigma_zero:steps=40", everyone=True),  # in l0
        Step("noise", "noise:steps=4"),
        Step("square", "square:steps=100"),
    ),
    "standard": (
        Step("pgd", "pgd:steps=40"),
        Step("pgd_corners", "pgd:steps=40,start=corner,restarts=4"),
        Step("fmn", "fmn:steps=100", everyone=True),
        Step("sigma_zero", "sigma_zero:steps=100", everyone=True),  # in l0
        Step("noise", "noise:steps=10"),
        Step("square", "square:steps=1000"),
    ),
    "exhaustive": (
        Step("pgd", "pgd:steps=100,restarts=5"),
        Step("pgd_corners", "pgd:steps=100,start=corner,restarts=20"),
        Step("fmn", "fmn:steps=1000", everyone=True),
        Step("sigma_zero", "sigma_zero:steps=1000", everyone=True),  # in l0
        Step("noise", "noise:steps=100"),
        Step("square", "square:steps=5000,restarts=2"),
    ),
}


def battery(effort: str, norm: str) -> tuple[Step, ...]:
    """The attacks of an effort that exist in this norm, in order.

    Raises:
        InputError: an unknown effort.
    """
    if effort not in BATTERY:
        raise InputError("--effort", "an effort", effort, BATTERY)
    return tuple(step for step in BATTERY[effort] if norm in ATTACKS[step.attack.partition(":")[0]].norms)
