"""The reports of training and of comparisons, from made-up records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foolscope.report.compare import comparison_sections, render_comparison
from foolscope.report.lines import lines_chart
from foolscope.report.training import render_training, training_sections


@pytest.fixture
def trained() -> dict[str, Any]:
    """`train.json` of three epochs."""
    history = [
        {"epoch": k, "loss": 1 / k, "train_error": 0.1 / k, "validation_error": 0.2 / k, "adversarial_error": 0.5 / k,
         "single_step_error": 0.3 / k, "label_leak": 0.0, "lr": 0.1, "seconds": 2.0}
        for k in (1, 2, 3)
    ]  # fmt: skip
    return {
        "foolscope": "0.1.0", "command": "foolscope train", "environment": {"torch": "2.13.0"}, "objective": "<b>madry",
        "model": {"name": "net.py:net", "sha256": "ab" * 32, "parameters": 12345}, "weights": {"best": "cd" * 32},
        "data": {"name": "digits:train", "sha256": "ef" * 32, "n": 400}, "epochs": 3, "epochs_done": 3, "best_epoch": 2,
        "updates": 30, "seconds": 6.0, "trained_on": 360, "batch_size": 64, "optimiser": "sgd", "lr": 0.1, "momentum": 0.9,
        "weight_decay": 0.0, "schedule": "constant", "augment": "none", "stop": "clean", "patience": 1, "bounds": [0, 1],
        "probe": "pgd:steps=10", "probe_samples": 100, "probe_eps": 0.1, "probe_norm": "linf", "seed": 0, "device": "cpu",
        "threads": 1, "catastrophic_epoch": None, "label_leak_epoch": None, "complete": True, "history": history, "notes": [],
    }  # fmt: skip


def test_the_numbers_are_those_of_the_epoch_that_was_kept(trained: dict[str, Any]) -> None:
    outcome = training_sections(trained)[0]
    assert "epoch 2, where the clean validation error was lowest" in outcome.finding
    assert [number.value for number in outcome.figures[0].numbers][:3] == ["5.0%", "10.0%", "25.0%"]
    assert "&lt;b&gt;madry" in render_training(trained)


def test_what_fools_itself_is_told_first(trained: dict[str, Any]) -> None:
    page = training_sections(trained | {"catastrophic_epoch": 2, "label_leak_epoch": 3, "complete": False, "epochs": 5})
    told = page[0].figures[0].notes
    assert [text.split()[0] for text in told] == ["Stopped", "Catastrophic", "Label"]
    assert "epoch 2" in told[1]


def test_without_a_probe_nothing_is_made_up(trained: dict[str, Any]) -> None:
    for epoch in trained["history"]:
        epoch |= dict.fromkeys(("validation_error", "adversarial_error", "single_step_error", "label_leak"))
    sections = training_sections(trained | {"probe_eps": None, "stop": "none"})
    chart = sections[1].figures[0].spec
    assert {row["series"] for row in next(iter(chart["datasets"].values()))} == {"training images"}
    assert sections[2].table.rows[0][3].text == "–"
    assert len(sections[0].figures[0].numbers) == 2


def test_a_run_without_an_epoch_has_a_page(trained: dict[str, Any]) -> None:
    assert "No epoch is done yet" in render_training(trained | {"history": [], "epochs_done": 0, "best_epoch": 0})


def test_lines_are_told_apart_without_colour() -> None:
    rows = [{"x": k, "y": 0.1 * k, "series": name, "text": ""} for name in "abc" for k in (1, 2)]
    encoding = lines_chart(rows, x="x", y="y", series="abc")["layer"][0]["encoding"]
    for channel in ("color", "strokeDash"):
        assert encoding[channel]["scale"]["domain"] == ["a", "b", "c"]
        assert len({str(value) for value in encoding[channel]["scale"]["range"]}) == 3


def comparison(difference: float) -> tuple[dict[str, Any], np.ndarray, list]:
    rows = []
    for k, name in enumerate(("plain", "hard")):
        rows.append(
            {
                "name": name, "folder": f"{name}/audit", "model": "net", "sha256": "ab" * 32, "objective": None, "effort": "quick",
                "complete": True, "audited_eps": 0.1, "clean_accuracy": 0.9, "robust_accuracy": 0.4 + k * difference,
                "robust_accuracy_interval": [0.3, 0.5], "median_distance": 0.08, "trust": ("sound", "suspicious")[k],
                "curve": {"eps": [0.0, 0.1, 0.2], "robust_accuracy": [0.9, 0.4 + k * difference, 0.1]},
                **dict.fromkeys(("difference", "difference_interval", "p", "only_here", "only_first", "distance_difference",
                                 "distance_difference_interval")),
            }
        )  # fmt: skip
    rows[1] |= {"difference": difference, "difference_interval": [difference - 0.1, difference + 0.1], "p": 0.5}
    rows[1] |= {
        "only_here": 3,
        "only_first": 1,
        "distance_difference": None,
        "distance_difference_interval": [0.01, None],
    }
    record = {
        "foolscope": "0.1.0", "command": "foolscope compare", "data": {"name": "digits:test", "sha256": "ef" * 32},
        "norm": "linf", "bounds": [0, 1], "eps": 0.1, "eps_text": "0.1", "n": 4, "audits": rows,
    }  # fmt: skip
    right = np.array([True, True, True, False])
    first = (right, np.array([True, False, False, False]), np.array([0.3, 0.05, 0.02, 0.0]))
    second = (right, np.array([True, True, False, False]), np.array([np.inf, 0.2, 0.03, 0.0]))
    return record, np.array([3, 1, 4, 1]), [first, second]


def test_a_difference_that_may_be_chance_is_called_so() -> None:
    assert comparison_sections(*comparison(0.05))[0].title == "hard keeps the most images, which may be chance"
    assert comparison_sections(*comparison(0.2))[0].title == "hard keeps the most images"
    assert comparison_sections(*comparison(0.0))[0].title == "None keeps more images than another"
    assert "suspicious" in comparison_sections(*comparison(0.2))[0].figures[0].notes[0]


def test_the_images_on_which_they_part_ways() -> None:
    section = comparison_sections(*comparison(0.2))[2]
    assert (
        section.finding == "1 of 4 images stay correct under every model, 2 under none, and on 1 the models part ways."
    )
    assert [cell.text for cell in section.table.rows[0]] == ["1", "1", "0.0500", "0.200"]
    assert [cell.tone for cell in section.table.rows[0]] == ["", "", "bad", ""]
    assert "Audits compared" in render_comparison(*comparison(0.2))
