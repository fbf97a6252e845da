"""`docs/attacks.md` says what the table says."""

from __future__ import annotations

from pathlib import Path

from foolscope.attacks import ATTACKS
from foolscope.attacks._page import page

COMMITTED = Path(__file__).parents[2] / "docs" / "attacks.md"


def test_the_committed_page_is_that_of_the_table():
    assert COMMITTED.read_text() == page(), "run `make docs`"


def test_every_row_says_when_to_use_it_in_one_sentence():
    for row in ATTACKS.values():
        assert row.when.endswith("."), row.name
        assert 20 < len(row.when) <= 140, row.name
        assert f"\n## {row.name}\n\n{row.when}\n" in page()
