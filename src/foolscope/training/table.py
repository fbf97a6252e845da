"""The table of objectives, and how a text such as `madry:eps=0.3,steps=7+entropy:weight=0.5` becomes a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from foolscope.binding import bound_options, keyword_only
from foolscope.errors import InputError
from foolscope.given import is_foreign
from foolscope.training import minmax, mixes, objectives, terms
from foolscope.training.terms import Criterion, cross_entropy

Function = Callable[..., Tensor]
OBJECTIVE, CRITERION, TERM, PENALTY = "objective", "criterion", "term", "penalty"
OFFERED = ("criterion", "bounds", "index", "seed", "reference")  # arguments that the loop hands over, not the user


@dataclass(frozen=True)
class Row:
    """One row of `OBJECTIVES`.

    Attributes:
        name: as on the command line.
        function: `objective`: model, inputs, labels -> (b,). `criterion` and `term`: logits, labels -> (b,). `penalty`: model -> ().
        kind: which of the four.
        what: in a few words.
        source: authors and year.
    """

    name: str
    function: Function
    kind: str
    what: str
    source: str


OBJECTIVES: dict[str, Row] = {
    row.name: row
    for row in (
        Row("plain", objectives.plain, OBJECTIVE, "clean images", ""),
        Row("fgsm_mix", mixes.fgsm_mix, OBJECTIVE, "clean and attacked images", "Goodfellow et al. 2015"),
        Row("madry", minmax.madry, OBJECTIVE, "min-max by PGD", "Madry et al. 2018"),
        Row("fast", minmax.fast, OBJECTIVE, "min-max by one step from a random start", "Wong et al. 2020"),
        Row("trades", minmax.trades, OBJECTIVE, "clean loss and divergence", "Zhang et al. 2019"),
        Row("step_ll_mix", mixes.step_ll_mix, OBJECTIVE, "part of each batch attacked", "Kurakin et al. 2017"),
        Row("noise_mix", mixes.noise_mix, OBJECTIVE, "noise: the control", "Goodfellow et al. 2015"),
        Row("static_mix", mixes.static_mix, OBJECTIVE, "a static adversarial set", "Szegedy et al. 2014"),
        Row("hidden_mix", mixes.hidden_mix, OBJECTIVE, "a hidden layer attacked", "Szegedy et al. 2014"),
        Row("linear_worst_case", objectives.linear_worst_case, OBJECTIVE, "closed form", "Goodfellow et al. 2015"),
        Row("sigmoid", terms.sigmoid, CRITERION, "independent classes in place of cross-entropy", ""),
        Row("entropy", terms.entropy, TERM, "adds weight * H(p)", "Cubuk et al. 2017"),
        Row("l1", terms.l1, PENALTY, "adds weight * |W|_1 of the first layer", "Goodfellow et al. 2015"),
    )
}


@dataclass(frozen=True)
class Objective:
    """An objective with its options, terms and penalties: call it as `objective(model, inputs, labels, **offered) -> (b,)`.

    Attributes:
        text: as it would be written on the command line; in a run, with a hash of a stranger's attack inside it.
        function: the objective itself.
        options: its keyword arguments.
        base: the loss of an image from its logits.
        terms: added to the loss of every image that the model sees in training.
        penalties: added once.
    """

    text: str
    function: Function
    options: Mapping[str, Any] = field(default_factory=dict)
    base: Criterion = cross_entropy
    terms: tuple[Function, ...] = ()
    penalties: tuple[Function, ...] = ()

    @functools.cached_property
    def wanted(self) -> frozenset[str]:
        """Which of the arguments on offer the function takes."""
        parameters = inspect.signature(self.function).parameters
        every = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
        return frozenset(OFFERED if every else set(OFFERED) & set(parameters))

    @property
    def eps(self) -> float | None:
        """The radius it trains for, if it has one."""
        eps = self.options.get("eps")
        return None if eps is None else float(eps)

    @property
    def norm(self) -> str:
        """The norm it trains in."""
        return str(self.options.get("norm", "linf"))

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, **offered: Any) -> Tensor:
        """Losses `(b,)`, or `()` from a stranger's function."""
        offered["criterion"] = self.criterion
        given = {key: value for key, value in offered.items() if key in self.wanted and key not in self.options}
        loss = self.function(model, inputs, labels, **self.options, **given)
        if not isinstance(loss, Tensor) or loss.shape not in ((len(inputs),), ()):
            came = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise InputError("--objective", f"one loss for each of {len(inputs)} images from {self.text}", came)
        for penalty in self.penalties:
            loss = loss + penalty(model)
        return loss

    @property
    def criterion(self) -> Criterion:
        """The base and the terms."""
        if not self.terms:
            return self.base
        base, added = self.base, self.terms

        def total(logits: Tensor, labels: Tensor) -> Tensor:
            loss = base(logits, labels)
            for term in added:
                loss = loss + term(logits, labels)
            return loss

        return total


def bind_objective(text: str | Function, function: Function | None = None, **defaults: Any) -> Objective:
    """An objective's text, `NAME[:key=value,...][+TERM...]`, bound to the signatures of its functions.

    Args:
        text: what the user wrote, or a function. Terms and penalties alone are added to `plain`.
        function: a stranger's objective that `text` names.
        defaults: options that apply where the function has them (`eps`, `norm`, `bounds`, ...).

    Raises:
        InputError: an unknown name or key, two objectives, a value of the wrong type, a missing eps.

    Example:
        >>> bind_objective("madry:eps=0.3,steps=7+entropy:weight=0.5").options
        {'eps': 0.3, 'steps': 7}
        >>> bind_objective("fgsm_mix:eps=0.3,attack=pgd,steps=7,restarts=2").options
        {'eps': 0.3, 'attack': 'pgd:steps=7,restarts=2'}
    """
    if isinstance(text, Objective):
        return text
    if not isinstance(text, str):
        return Objective(getattr(text, "__name__", "objective"), text, _defaults(text, defaults))
    if function is not None:
        return Objective(text, function, bound_options(text, keyword_only(function, OFFERED), "", defaults))
    parts = [part.strip().partition(":") for part in text.split("+")]
    chosen: dict[str, list[tuple[Row, dict[str, Any]]]] = {OBJECTIVE: [], CRITERION: [], TERM: [], PENALTY: []}
    for name, _, rest in parts:
        if name not in OBJECTIVES:
            raise InputError("--objective", "an objective (`foolscope objectives` lists them)", name, OBJECTIVES)
        row = OBJECTIVES[name]
        chosen[row.kind].append((row, _options(row, rest, defaults)))
    for kind in (OBJECTIVE, CRITERION):
        if len(chosen[kind]) > 1:
            names = " and ".join(row.name for row, _ in chosen[kind])
            raise InputError("--objective", f"one {kind}, and terms after +", names)
    base, options = chosen[OBJECTIVE][0] if chosen[OBJECTIVE] else (OBJECTIVES["plain"], {})
    added, penalties = ([functools.partial(row.function, **given) for row, given in chosen[k]] for k in (TERM, PENALTY))
    criterion = chosen[CRITERION][0][0].function if chosen[CRITERION] else cross_entropy
    return Objective(text, base.function, options, criterion, tuple(added), tuple(penalties))


def _options(row: Row, text: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a text sets; beside a built-in `attack`, what the objective does not know is the attack's."""
    own, items = keyword_only(row.function, OFFERED), text.split(",")
    keys = [item.partition("=")[0].strip() for item in items]
    attack = next((i.partition("=")[2].strip() for i, key in zip(items, keys, strict=True) if key == "attack"), "")
    if "attack" not in own or not attack or is_foreign(attack):
        return bound_options(row.name, own, text, defaults)
    known = {*own, *OFFERED}  # the attack's seed, say, is the loop's
    mine = ",".join(item for item, key in zip(items, keys, strict=True) if key in known)
    rest = [item for item, key in zip(items, keys, strict=True) if item and key not in known]
    options = bound_options(row.name, own, mine, defaults)
    if rest:
        options["attack"] = f"{attack}{',' if ':' in attack else ':'}{','.join(rest)}"
    return options


def _defaults(function: Function, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the defaults that a function of the caller's own takes and needs."""
    parameters = inspect.signature(function).parameters
    return {k: v for k, v in defaults.items() if k in parameters and parameters[k].default is inspect.Parameter.empty}


def list_objectives() -> list[dict[str, str]]:
    """The rows of `OBJECTIVES` for people: name, kind, what, options with their defaults, source."""
    rows = []
    for row in OBJECTIVES.values():
        options = [
            key if parameter.default is inspect.Parameter.empty else f"{key}={parameter.default}"
            for key, parameter in inspect.signature(row.function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and key not in OFFERED
        ]
        rows.append(
            {"name": row.name, "kind": row.kind, "what": row.what, "options": " ".join(options), "source": row.source}
        )
    return rows
