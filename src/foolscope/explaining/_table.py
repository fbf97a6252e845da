"""The table of explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foolscope.errors import InputError
from foolscope.explaining import (
    first_order,
    linear_response,
    linearity,
    logit_gaps,
    loss_geometry,
    loss_race,
    power_law,
)
from foolscope.explaining.explanation import Explanation
from foolscope.explaining.scene import Scene

EVERYONE = 2**62  # no passes, so that an audit spares none
FEW = 100  # as many as an audit can afford at some dozens of passes an image


@dataclass(frozen=True)
class Row:
    """One row of `EXPLANATIONS`.

    Attributes:
        slug: as on the command line and in `explain.json`.
        explain: the explanation itself.
        audited: images at most that an audit explains so, for its report has it too; 0: none.
        source: authors and year.
    """

    slug: str
    explain: Callable[[Scene], Explanation]
    audited: int
    source: str


EXPLANATIONS: dict[str, Row] = {
    row.slug: row
    for row in (
        Row("linear_response", linear_response.explain, FEW, "Cubuk et al. 2017"),
        Row(
            "first_order_distance",
            first_order.explain,
            FEW,
            "own, after Cubuk et al. 2017 and Moosavi-Dezfooli et al. 2016",
        ),
        Row("logit_gaps", logit_gaps.explain, EVERYONE, "Cubuk et al. 2017"),
        Row("power_law", power_law.explain, 0, "Cubuk et al. 2017"),
        Row("loss_geometry", loss_geometry.explain, FEW, "Ozbulak et al. 2020"),
        Row("loss_race", loss_race.explain, 0, "Ozbulak et al. 2020"),
        Row("linearity", linearity.explain, 0, "Goodfellow et al. 2015"),
    )
}


def chosen(only: str | Sequence[str] | None) -> tuple[str, ...]:
    """The slugs asked for, in the table's order; all where None.

    Raises:
        InputError: for an unknown one; the nearest are offered.

    Example:
        >>> chosen("logit_gaps")
        ('logit_gaps',)
    """
    if only is None:
        return tuple(EXPLANATIONS)
    asked = [slug.strip() for slug in only.split(",")] if isinstance(only, str) else list(only)
    for slug in asked:
        if slug not in EXPLANATIONS:
            raise InputError("--only", "an explanation", slug, EXPLANATIONS)
    return tuple(slug for slug in EXPLANATIONS if slug in asked)
