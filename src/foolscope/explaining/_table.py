"""The table of explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foolscope.errors import InputError
from foolscope.explaining import linear_response, logit_gaps, power_law
from foolscope.explaining.explanation import Explanation
from foolscope.explaining.scene import Scene


@dataclass(frozen=True)
class Row:
    """One row of `EXPLANATIONS`.

    Attributes:
        slug: as on the command line and in `explain.json`.
        explain: the explanation itself.
        audited: whether an audit's report has it too: a few passes an image.
        source: authors and year.
    """

    slug: str
    explain: Callable[[Scene], Explanation]
    audited: bool
    source: str


EXPLANATIONS: dict[str, Row] = {
    row.slug: row
    for row in (
        Row("linear_response", linear_response.explain, True, "Cubuk et al. 2017"),
        Row("logit_gaps", logit_gaps.explain, True, "Cubuk et al. 2017"),
        Row("power_law", power_law.explain, False, "Cubuk et al. 2017"),
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
