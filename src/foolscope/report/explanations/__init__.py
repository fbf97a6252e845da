"""The record of `foolscope explain` as the sections of a page; `SECTIONS` names a function a slug."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from foolscope.report.background import notes_section, settings_section
from foolscope.report.explanations import (
    first_order,
    linear_response,
    linearity,
    logit_gaps,
    loss_geometry,
    loss_race,
    power_law,
)
from foolscope.report.render import render_page
from foolscope.report.section import Cell, Column, Section, Table
from foolscope.report.wording import plural, short

Record = Mapping[str, Any]

SECTIONS: dict[str, Callable[[Record], Section]] = {
    "linear_response": linear_response.section,
    "first_order_distance": first_order.section,
    "logit_gaps": logit_gaps.section,
    "power_law": power_law.section,
    "loss_geometry": loss_geometry.section,
    "loss_race": loss_race.section,
    "linearity": linearity.section,
}


def explanation_sections(record: Record) -> list[Section]:
    """A section an explanation, in the record's order.

    Args:
        record: `explain.json`, parsed.
    """
    return [SECTIONS[slug](entry) if entry["n"] else _unsaid(slug, entry) for slug, entry in record.items()]


def render_explanations(record: Record, facts: Record) -> str:
    """The page of `foolscope explain`, one self-contained HTML file.

    Args:
        record: `explain.json`, parsed.
        facts: of the run: `model, data, n, correct, norm, eps_text, bounds, command, environment, notes` ...
    """
    sections = [_overview(record, facts), *explanation_sections(record), settings_section(facts)]
    notes = notes_section(facts)
    name = f"{facts['model']['name']} on {facts['data']['name']}"
    return render_page(name, "Explanation", [*sections, notes] if notes else sections)


def title_of(slug: str) -> str:
    """A slug as a heading."""
    return slug.replace("_", " ").capitalize()


def _unsaid(slug: str, entry: Record) -> Section:
    return Section(slug, title_of(slug), entry["finding"], method=entry["method"])


def _overview(record: Record, facts: Record) -> Section:
    return Section(
        slug="overview",
        title="Why it is fooled where it is",
        finding=f"Of {plural(facts['n'], 'image')}, the model gets {facts['correct']:,} right; these are explained.",
        table=Table(
            "Explanations",
            (
                Column("Explanation"),
                Column("Estimate", numeric=True),
                Column("95% interval", numeric=True),
                Column("Images", numeric=True),
                Column("Forward-equivalents an image", numeric=True),
            ),
            tuple(_row(slug, entry) for slug, entry in record.items()),
            note="A backward pass to the input counts as one forward. What the estimate is of, each section says.",
        ),
    )


def _row(slug: str, entry: Record) -> tuple[Cell, ...]:
    between = " to ".join(map(short, entry["interval"])) if entry["interval"] else "–"
    return (
        Cell(title_of(slug)),
        Cell(short(entry["estimate"]), entry["estimate"]),
        Cell(between),
        Cell(f"{entry['n']:,}", entry["n"]),
        Cell(short(entry["cost"]), entry["cost"]),
    )
