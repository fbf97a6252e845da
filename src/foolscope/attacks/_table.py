"""The table of attacks, and how a text such as `pgd:eps=8/255,steps=40` becomes a call.

Over 400 lines: a row an attack, with all that is promised of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from torch import Tensor

from foolscope.attacks import (
    apgd,
    bim,
    cw,
    ddn,
    deepfool,
    equal_footing,
    fgsm,
    fmn,
    hybrid,
    lbfgs,
    mi_fgsm,
    minimal,
    noise,
    pgd,
    sigma_zero,
    square,
    step_ll,
)
from foolscope.binding import bound_options, keyword_only
from foolscope.errors import InputError
from foolscope.oracle import Oracle

Function = Callable[..., Tensor]
FIXED, MINIMAL, CONTROL = "fixed eps", "minimal norm", "control"


@dataclass(frozen=True)
class Attack:
    """One row of `ATTACKS`.

    Attributes:
        name: as on the command line.
        function: the attack itself.
        norms: the norms it attacks in.
        kind: `fixed eps` (as much loss as a ball allows), `minimal norm` (the nearest fooling image) or `control`.
        targeted: whether it takes `targets`.
        gradient: whether it uses gradients.
        cost: passes an image at most, in words; f: forwards, g: forwards with a backward.
        source: authors and year.
        tolerance: by norm, what the conformance suite holds it to on affine models. Fixed eps: the factor f such that it succeeds
            wherever eps > f * the exact distance. Minimal norm: median and 90th percentile of the ratio to the exact distance.
        sphere: by norm, the same where the boundary is a sphere; for a fixed-eps attack a median and a 90th percentile too: it fools half
            of the images where eps is the first times their exact distance, and 90 % where it is the second. inf: nothing is promised.
        relu: the same before small ReLU networks, which are solved exactly.
        when: to use it, in one sentence.
    """

    name: str
    function: Function
    norms: tuple[str, ...]
    kind: str
    targeted: bool
    gradient: bool
    cost: str
    source: str
    tolerance: Mapping[str, float | tuple[float, float]]
    sphere: Mapping[str, float | tuple[float, float]]
    relu: Mapping[str, float | tuple[float, float]]
    when: str


@dataclass(frozen=True)
class Bound:
    """An attack with its options: call it with an oracle."""

    name: str
    function: Function
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, oracle: Oracle) -> Tensor:
        return self.function(oracle, oracle.inputs, oracle.labels, **self.options)

    @property
    def budget(self) -> int:
        """Steps an image may get, all restarts together; 1 for an attack without steps. Of `hybrid`, those of its climbs."""
        parameters = _options(self.function, self.options.get("attack"))
        total = 1
        for key in ("steps", "restarts", "targeted_classes", "radii"):
            if key in parameters:
                total *= max(1, int(self.options.get(key, parameters[key].default)))
        return total + (int(self.options.get("finish", parameters["finish"].default)) if "finish" in parameters else 0)

    @property
    def text(self) -> str:
        """As it would be written on the command line."""
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


def _same(factor: float | tuple[float, float], norms: tuple[str, ...]) -> dict[str, float | tuple[float, float]]:
    return dict.fromkeys(norms, factor)


ATTACKS: dict[str, Attack] = {
    row.name: row
    for row in (
        Attack(
            "fgsm",
            fgsm.fgsm,
            fgsm.NORMS,
            FIXED,
            True,
            True,
            "1 f + 1 g",
            "Goodfellow et al. 2015",
            _same(1.01, fgsm.NORMS),
            {"linf": (1.05, inf), "l2": 1.01, "l1": inf},
            {"linf": (1.25, inf), "l2": (1.4, inf), "l1": (1.25, inf)},
            "The cheapest look: a lower bound on how easily a model is fooled; pgd at the same eps is stronger.",
        ),
        Attack(
            "step_ll",
            step_ll.step_ll,
            step_ll.NORMS,
            FIXED,
            False,
            True,
            "1 f + 1 g",
            "Kurakin et al. 2017",
            _same(1.01, step_ll.NORMS),
            {"linf": (1.05, inf), "l2": 1.01, "l1": inf},
            {"linf": (1.4, inf), "l2": (1.4, inf), "l1": (2.1, inf)},
            "One step that leaks no label: for adversarial training, and for comparison with papers that used it.",
        ),
        Attack(
            "pgd",
            pgd.pgd,
            pgd.NORMS,
            FIXED,
            True,
            True,
            "restarts x (steps g + 1 f)",
            "Madry et al. 2018",
            _same(1.01, pgd.NORMS),
            {"linf": (1.02, 1.15), "l2": 1.02, "l1": inf},
            {"linf": (1.02, 1.8), "l2": (1.02, 1.6), "l1": (1.02, 1.4)},
            "The first choice at a given eps, and cheap: add `start=corner` and restarts where images resist.",
        ),
        Attack(
            "bim",
            bim.bim,
            bim.NORMS,
            FIXED,
            True,
            True,
            "steps g + 2 f",
            "Kurakin et al. 2017",
            _same(1.01, bim.NORMS),
            {"linf": 1.02, "l2": 1.01, "l1": inf},
            {"linf": (1.02, 2.6), "l2": (1.02, 1.8), "l1": (1.02, inf)},
            "To compare with papers that used it; pgd with its falling steps finds more.",
        ),
        Attack(
            "mi_fgsm",
            mi_fgsm.mi_fgsm,
            mi_fgsm.NORMS,
            FIXED,
            True,
            True,
            "steps g + 2 f",
            "Dong et al. 2018",
            _same(1.01, mi_fgsm.NORMS),
            {"linf": 1.05, "l2": 1.01, "l1": inf},
            {"linf": (1.05, 1.8), "l2": (1.05, 1.6), "l1": (1.1, 2.1)},
            "To craft images that are to fool other models too; on the model itself pgd finds more.",
        ),
        Attack(
            "apgd",
            apgd.apgd,
            apgd.NORMS,
            FIXED,
            True,
            True,
            "restarts x targeted_classes x (steps g + 1 f)",
            "Croce & Hein 2020, 2021",
            _same(1.01, apgd.NORMS),
            {"linf": (1.02, 1.15), "l2": 1.01, "l1": 1.02},
            {"linf": (1.02, 1.8), "l2": (1.02, 1.6), "l1": (1.02, 1.8)},
            "AutoAttack's own gradient attack, to compare with published numbers; `hybrid` finds more for less.",
        ),
        Attack(
            "fmn",
            fmn.fmn,
            fmn.NORMS,
            MINIMAL,
            True,
            True,
            "steps g + 2 f",
            "Pintor et al. 2021; runs from afar own",
            _same((1.01, 1.05), fmn.NORMS),
            _same(1.01, ("linf", "l2", "l1")) | {"l0": (5.0, 9.0)},
            {"linf": (1.01, 1.1), "l2": (1.01, 1.2), "l1": (1.01, 1.4), "l0": (1.01, 1.5)},
            "To learn how far the nearest fooling image is without choosing an eps; in l0 see `sigma_zero` too.",
        ),
        Attack(
            "sigma_zero",
            sigma_zero.sigma_zero,
            sigma_zero.NORMS,
            MINIMAL,
            True,
            True,
            "steps g + 2 f",
            "Cinà et al. 2024; exchange own",
            _same((1.01, 1.05), sigma_zero.NORMS),
            {"l0": (1.01, 2.0)},
            {"l0": (1.01, 2.0)},
            "To learn how few components must change; in the other norms `fmn` does that.",
        ),
        Attack(
            "ddn",
            ddn.ddn,
            ddn.NORMS,
            MINIMAL,
            True,
            True,
            "steps g + 2 f",
            "Rony et al. 2019",
            _same((1.01, 1.05), ddn.NORMS),
            _same(1.01, ddn.NORMS),
            _same((1.01, 1.4), ddn.NORMS),
            "A cheap first look at l2 distances; `fmn` and `cw` go further.",
        ),
        Attack(
            "cw",
            cw.cw,
            cw.NORMS,
            MINIMAL,
            True,
            True,
            "(steps + 1) g + 1 f",
            "Carlini & Wagner 2017",
            _same((1.01, 1.01), cw.NORMS),
            _same(1.01, cw.NORMS),
            _same((1.01, 1.35), cw.NORMS),
            "The strong and slow classic for l2 distances, and for examples that fool by a margin (`kappa`).",
        ),
        Attack(
            "deepfool",
            deepfool.deepfool,
            deepfool.NORMS,
            MINIMAL,
            True,
            True,
            "steps x ((candidates - 1) g + 1 f) + 1 f",
            "Moosavi-Dezfooli et al. 2016",
            _same((1.01, 1.01), deepfool.NORMS),
            {"linf": (1.01, 1.02), "l2": 1.01},
            {"linf": (1.1, 3.1), "l2": (1.1, 1.55)},
            "The cheapest distances: a few passes for a rough upper bound on them.",
        ),
        Attack(
            "lbfgs",
            lbfgs.lbfgs,
            lbfgs.NORMS,
            MINIMAL,
            True,
            True,
            "(steps + 1) g + 1 f",
            "Szegedy et al. 2014",
            _same((1.02, 1.05), lbfgs.NORMS),
            _same(1.01, lbfgs.NORMS),
            _same((1.15, 2.3), lbfgs.NORMS),
            "To repeat the papers' first attack; others find nearer images for the same passes.",
        ),
        Attack(
            "equal_footing",
            equal_footing.equal_footing,
            equal_footing.NORMS,
            MINIMAL,
            True,
            True,
            "steps g + 2 f",
            "Ozbulak et al. 2020",
            _same((1.1, 1.3), equal_footing.NORMS),
            _same((1.1, 1.3), equal_footing.NORMS),
            _same((1.06, 1.75), equal_footing.NORMS),
            "To study what a loss does to the perturbation; not to measure robustness.",
        ),
        Attack(
            "minimal",
            minimal.minimal,
            minimal.NORMS,
            MINIMAL,
            True,
            True,
            "1 g + radii x (the inner attack + 1 f)",
            "bisection on eps",
            _same((1.01, 1.02), minimal.NORMS),
            {"linf": (1.02, 1.08), "l2": 1.01, "l1": 1.01},
            {"linf": (1.01, 2.1), "l2": (1.01, 1.5), "l1": (1.01, 2.0)},
            "To turn any attack at a given eps into distances.",
        ),
        Attack(
            "square",
            square.square,
            square.NORMS,
            FIXED,
            True,
            False,
            "restarts x steps f",
            "Andriushchenko et al. 2020",
            {"linf": 1.25, "l2": 2.0},
            {"linf": (1.05, inf), "l2": inf},
            {"linf": (1.02, 1.5), "l2": 2.5},
            "To find out whether gradients lie: it uses none, so that a success where pgd fails points to masking.",
        ),
        Attack(
            "hybrid",
            hybrid.hybrid,
            hybrid.NORMS,
            FIXED,
            True,
            True,
            "restarts x (steps g + 1 f) + finish g + 1 f + rounds x (8 g + (flips + 2) f)",
            "own",
            {"linf": 1.01, "l2": 1.01, "l1": 1.02},
            {"linf": 1.02, "l2": 1.02, "l1": inf},
            {"linf": (1.02, 1.35), "l2": (1.02, 1.2), "l1": (1.02, 1.1)},
            "Where images resist: the strongest of the fixed-eps attacks, and the last of the audit's battery.",
        ),
        Attack(
            "noise",
            noise.noise,
            noise.NORMS,
            CONTROL,
            True,
            False,
            "steps f",
            "control",
            {},
            {},
            {},
            "The control: what random changes of this size do, without any attack.",
        ),
    )
}

# The best minimal-norm attack of each norm, by measurement (docs/peers.md).
NEAREST = dict.fromkeys(fmn.NORMS, "fmn") | dict.fromkeys(sigma_zero.NORMS, "sigma_zero")


def list_attacks() -> list[dict[str, str]]:
    """The rows of `ATTACKS` for people: name, norms, kind, targeted, cost, source, options with their defaults."""
    rows = []
    for row in ATTACKS.values():
        options = [
            f"{key}={parameter.default}"
            for key, parameter in inspect.signature(row.function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
            and key not in ("targets", "norm", "seed")
            and parameter.default is not inspect.Parameter.empty
        ]
        rows.append(
            {
                "name": row.name,
                "norm": " ".join(row.norms),
                "kind": row.kind,
                "targeted": "yes" if row.targeted else "no",
                "cost": row.cost,
                "source": row.source,
                "options": " ".join(options),
            }
        )
    return rows


def _options(function: Function, attack: str | None) -> dict[str, inspect.Parameter]:
    """The options of an attack; a wrapper, which has `attack` and `**options`, has those of the attack in it too."""
    own = keyword_only(function, hidden=("targets",))
    variadic = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    return own | (minimal.inner_options(attack or own["attack"].default) if variadic and "attack" in own else {})


def bind(text: str, function: Function | None = None, **defaults: Any) -> Bound:
    """An attack's text, `NAME[:key=value,...]`, bound to the signature of its function.

    Args:
        text: what the user wrote; what it sets wins over `defaults`.
        function: a stranger's attack with the house signature; None: the name is looked up in `ATTACKS`.
        defaults: options that apply where the function has them (`eps`, `norm`, `seed`, ...).

    Returns:
        A `Bound` attack; call it with an `Oracle`.

    Raises:
        InputError: an unknown attack, an unknown key, a value of the wrong type, a norm it does not attack in, or a missing eps.

    Example:
        >>> bind("pgd:eps=1/4,steps=7", eps=0.1, norm="l2").options
        {'norm': 'l2', 'eps': 0.25, 'steps': 7}
    """
    name, _, rest = text.partition(":") if function is None else (text, "", "")
    if function is None:
        if name not in ATTACKS:
            raise InputError("ATTACK", "an attack (`foolscope attacks` lists them)", name, ATTACKS)
        function = ATTACKS[name].function
    given = (part.partition("=") for part in rest.split(","))
    inner = next((value.strip() for key, _, value in given if key.strip() == "attack"), None)
    options = bound_options(name, _options(function, inner), rest, defaults)
    row = ATTACKS.get(name)
    if row and options.get("norm", row.norms[0]) not in row.norms:
        raise InputError("--norm", f"a norm that {name} attacks in", options["norm"], row.norms)
    return Bound(name, function, options)
