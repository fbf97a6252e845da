"""Which attack comes when, and on which images."""

from __future__ import annotations

from dataclasses import dataclass

from foolscope.attacks import ATTACKS, Attack
from foolscope.errors import InputError
from foolscope.norms import NORMS


@dataclass(frozen=True)
class Step:
    """One attack of the battery.

    Attributes:
        name: of the stage.
        attack: as on the command line.
        everyone: run on all images that are right when clean, for their distances; else only on those that still stand at eps.
        sees: `gradients`, `outputs` alone, or `both`: what it goes by. The trust checks compare the first two.
        if_masked: run only where attacks that see outputs have fooled more than gradients can have missed by bad luck.
        norms: run in these alone; in all that the attack has when empty.
        within: run only on images whose nearest fooling image known lies at most so many radii away, and those of which none is known; on
            all that stand where there is a sign that gradients mislead.
    """

    name: str
    attack: str
    everyone: bool = False
    sees: str = "gradients"
    if_masked: bool = False
    norms: tuple[str, ...] = ()
    within: float | None = None

    @property
    def row(self) -> Attack:
        """The attack's row in the table."""
        return ATTACKS[self.attack.partition(":")[0]]


# Cheap before dear, and few passes towards many classes before many towards one: what a climb misses it misses for its start and class
# more often than for its length. Gradients come before random search, so that this shows what they missed; last, both together.
BATTERY: dict[str, tuple[Step, ...]] = {
    "quick": (
        Step("pgd", "pgd:steps=20"),
        Step("climbs", "hybrid:steps=8,restarts=3,finish=20,rounds=0"),
        Step("fmn", "fmn:steps=40", everyone=True),
        Step("sigma_zero", "sigma_zero:steps=40", everyone=True),  # in l0
        Step("noise", "noise:steps=4", sees="outputs"),
        Step("square", "square:steps=50", sees="outputs"),
    ),
    "standard": (
        # Everyone's distance comes first: what it fools needs no other attack, and it tells for which images flips are worth their cost.
        Step("fmn", "fmn:steps=60,agreement=0.1", everyone=True),
        Step("sigma_zero", "sigma_zero:steps=60", everyone=True),  # in l0
        Step("pgd", "pgd:steps=20"),
        Step("climbs", "hybrid:finish=20,rounds=0", norms=("linf", "l2")),
        # In l1 climbs in a ball get stuck, APGD's least, and the way from afar is long (docs/decisions/0064, 0072).
        Step("apgd", "apgd", norms=("l1",)),
        Step("fmn_long", "fmn:steps=300", norms=("l1",)),
        Step("noise", "noise:steps=10", sees="outputs"),
        Step("square", "square:steps=150", sees="outputs"),
        Step("hybrid", "hybrid:restarts=3,finish=20", sees="both", within=1.1),
        Step("square_long", "square:steps=5000", sees="outputs", if_masked=True),
    ),
    "exhaustive": (
        Step("pgd", "pgd:steps=40,restarts=3"),
        Step("climbs", "hybrid:steps=60,finish=200,rounds=0"),
        Step("fmn", "fmn:steps=1000", everyone=True),
        Step("sigma_zero", "sigma_zero:steps=1000", everyone=True),  # in l0
        Step("apgd", "apgd:restarts=3", norms=("l1",)),
        Step("noise", "noise:steps=100", sees="outputs"),
        Step("square", "square:steps=1000", sees="outputs"),
        Step("hybrid", "hybrid:steps=40,restarts=18,finish=100,rounds=20,flips=300", sees="both"),
        # Where gradients mislead, one search in two to four fools an image that can be fooled (docs/decisions/0075).
        Step("square_long", "square:steps=5000,restarts=10", sees="outputs", if_masked=True),
    ),
}

# Measured by `foolscope bench --autoattack` (docs/peers.md): the largest difference, over networks, of the images left standing.
REMARKS: dict[str, tuple[str, ...]] = {
    "quick": (
        "effort quick: on the networks of docs/peers.md it left up to 1.5 points more images standing than standard in linf, 9 points "
        "more where gradients mislead, and on a hardened network 2 points more in l2 and 26.5 more in l1",
    )
}


def battery(effort: str, norm: str) -> tuple[Step, ...]:
    """The attacks of an effort that exist in this norm, in order.

    Raises:
        InputError: an unknown effort.
    """
    if effort not in BATTERY:
        raise InputError("--effort", "an effort", effort, BATTERY)
    return tuple(step for step in BATTERY[effort] if norm in (step.norms or NORMS) and norm in step.row.norms)
