"""What a report is made of, as data: sections, and the figures and tables in them. How they look is the templates' business.

Tones are `""`, `"good"`, `"bad"` and `"quiet"`; every text is plain text and is escaped when it is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """One big number: `value` as text, what it is, and a line beneath it."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Numbers:
    """A row of big numbers."""

    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Share:
    """One part of a whole: its fraction in [0, 1], a text with percent and count, a key that picks its colour."""

    key: str
    label: str
    fraction: float
    text: str


@dataclass(frozen=True)
class Shares:
    """A bar cut into parts that sum to 1."""

    description: str
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Chart:
    """An interactive chart: a Vega-Lite specification, and what it shows in words for those who cannot see it."""

    spec: dict[str, Any]
    description: str


@dataclass(frozen=True)
class View:
    """One attacked version of a card's image: two pictures (data URIs) with their texts. Empty URIs: there is none."""

    perturbation: str
    perturbation_text: str
    adversarial: str
    adversarial_text: str
    verdict: str
    tone: str


@dataclass(frozen=True)
class Card:
    """One image of a gallery, with a view for each choice of the selector."""

    title: str
    why: str
    original: str
    label: str
    original_text: str
    tone: str
    small: bool
    views: tuple[View, ...]


@dataclass(frozen=True)
class Gallery:
    """Cards, and one selector that switches the view of all of them."""

    legend: str
    choices: tuple[str, ...]
    selected: int
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Notes:
    """A list of remarks; `tone="bad"` makes it a warning."""

    notes: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True)
class Fact:
    """One setting: its name and value; `code` values (hashes, commands) are set in a fixed-width face."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True)
class Facts:
    """A group of settings under a heading."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the key it sorts by (else its text), the length of a bar in [0, 1], a tone."""

    text: str
    key: float | None = None
    bar: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """One column: its heading; numeric ones are set flush right, wide ones hold sentences."""

    title: str
    numeric: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table that readers can sort by its headings; the first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


Figure = Numbers | Shares | Chart | Gallery | Notes | Facts


@dataclass(frozen=True)
class Section:
    """One section of a report.

    Attributes:
        slug: its anchor, lower case.
        title: its heading.
        finding: what was found, in sentences anyone understands.
        figures: what shows it, in order.
        table: the numbers behind it.
        method: how it was measured and how far it goes.
    """

    slug: str
    title: str
    finding: str
    figures: tuple[Figure, ...] = ()
    table: Table | None = None
    method: str = ""
