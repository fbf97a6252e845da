"""The histogram of a search, as a section and on the results' page, holds every network once."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from foolscope.report.explanations.exponents import section
from foolscope.report.render import render_page
from foolscope.reproducing.figures import FIGURES, as_svg, specification
from foolscope.search.exponents import BIN, distribution, histogram

EXPONENTS = np.array([0.91, 0.93, 0.97, 1.02, 1.24, np.nan])
KIND = ["convolutional", "fully connected", "fully connected", "convolutional", "fully connected", "convolutional"]
ROWS = histogram(EXPONENTS, KIND)


def test_every_fitted_network_stands_in_the_bin_of_its_exponent() -> None:
    assert sum(row["networks"] for row in ROWS) == 5
    for exponent, kind in zip(EXPONENTS[:5], KIND, strict=False):
        assert any(abs(row["exponent"] - exponent) <= BIN / 2 + 1e-9 and row["kind"] == kind for row in ROWS)


def test_the_section_states_the_finding_and_stacks_the_bars() -> None:
    found = distribution(EXPONENTS, EXPONENTS - 0.1, EXPONENTS + 0.1, np.arange(6) // 2)
    made = section(asdict(found) | {"bins": ROWS, "width": BIN})
    assert "Of 5 networks, half have an exponent below 0.97" in made.finding
    assert "80.0% lie between 0.9 and 1.1" in made.finding
    spec = made.figures[0].spec
    bars = spec["datasets"][spec["layer"][0]["data"]["name"]]
    assert sum(bar["top"] - bar["bottom"] for bar in bars) == 5
    shared = [(bar["bottom"], bar["top"]) for bar in bars if abs(bar["from"] - 0.9) < 1e-9]
    assert shared == [(0, 1), (1, 2)]
    assert "exponent of the adversarial error" in render_page("random", "Search", [made])


def test_the_picture_on_the_results_page_has_its_axes_and_both_kinds() -> None:
    svg = as_svg(specification(FIGURES["C4"], ROWS))
    for text in ("exponent of the adversarial error (FGSM)", "networks", "fully connected", "convolutional"):
        assert text in svg
