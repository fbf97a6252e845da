from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from foolscope.report import audit_sections, render_audit
from foolscope.report.section import Facts, Gallery, Notes, Numbers, Section, Shares
from foolscope.report.trust import all_checks


def by_slug(made) -> dict[str, Section]:
    return {section.slug: section for section in audit_sections(*made)}


def figure(section: Section, kind: type):
    return next(figure for figure in section.figures if isinstance(figure, kind))


def text_of(html: str) -> str:
    """What a reader sees: no script, no style, no tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_verdict_comes_first_with_the_records_numbers(audit):
    record, *rest = made = audit()
    sections = audit_sections(*made)
    verdict = sections[0]
    assert [section.slug for section in sections] == [
        "verdict", "curve", "gallery", "classes", "images", "trust", "cost", "settings", "reading", "notes",
    ]  # fmt: skip
    numbers = {number.label: number for number in figure(verdict, Numbers).numbers}
    assert numbers["Clean accuracy"].value == f"{record['clean_accuracy']:.1%}"
    assert numbers["Robust accuracy at eps 8/255, at most"].value == f"{record['robust_accuracy']:.1%}"
    assert numbers["Can the numbers be trusted?"].value == "Sound"
    low, high = record["robust_accuracy_interval"]
    assert f"95% interval {low:.1%} to {high:.1%}" in verdict.finding
    assert "at most 8/255 (8 of 255 grey levels)" in verdict.finding
    assert "at most" in verdict.title.lower()


def test_shares_add_up_to_all_images(audit):
    record, *_ = made = audit()
    shares = figure(by_slug(made)["verdict"], Shares).shares
    assert sum(share.fraction for share in shares) == pytest.approx(1)
    assert shares[0].fraction == pytest.approx(record["robust_accuracy"])
    assert shares[0].fraction + shares[1].fraction == pytest.approx(record["clean_accuracy"])


def test_a_suspicious_verdict_says_so_and_puts_its_reasons_second(audit):
    made = audit(suspicious=True)
    sections = audit_sections(*made)
    assert sections[1].slug == "trust"
    assert "suspicious" in sections[0].title
    assert "Do not rely on this number: 2 checks" in sections[0].finding
    results = [row[0].text for row in sections[1].table.rows]
    assert results == ["Flagged", "Flagged", "Passed", "Passed", "Passed", "Passed"]
    assert sections[1].table.rows[0][1].text[0].isupper()


def test_a_reason_that_is_no_check_is_flagged(audit):
    record, *_ = audit()
    reason = {"code": "other", "value": 1.0, "threshold": 0.0, "message": "something else"}
    record["trust"] = record["trust"] | {"verdict": "suspicious", "reasons": [reason]}
    assert all_checks(record)[0] == {**reason, "flagged": True}
    assert len(all_checks(record)) == 7


def test_an_unfinished_audit_warns_above_its_numbers(audit):
    done, stopped = by_slug(audit())["verdict"], by_slug(audit(complete=False))["verdict"]
    assert isinstance(stopped.figures[0], Notes)
    assert "time limit" in stopped.figures[0].notes[0]
    assert not any(isinstance(figure, Notes) for figure in done.figures)


def test_classes_agree_with_a_count_by_hand(audit):
    record, samples, classes, _ = made = audit()
    rows = {row[0].text: row for row in by_slug(made)["classes"].table.rows}
    for label, name in enumerate(classes):
        own = samples["label"] == label
        outcome = samples["outcome"][own]
        _, n, clean, robust, median, confusion = rows[name]
        assert n.key == own.sum()
        assert clean.key == pytest.approx(np.mean(outcome != "already_wrong"))
        assert robust.key == pytest.approx(np.mean(outcome == "resisted"))
        reach = [
            np.inf if d is None else d
            for d, o in zip(np.array(samples["distance_linf"], object)[own], outcome, strict=True)
            if o != "already_wrong"
        ]
        assert median.key == pytest.approx(np.median(reach))
        wrong = [
            samples["adversarial_prediction"][i]
            if samples["outcome"][i] == "fooled"
            else samples["clean_prediction"][i]
            for i in np.flatnonzero(own)
            if samples["outcome"][i] != "resisted"
        ]
        most = max(wrong.count(k) for k in set(wrong))
        assert confusion.text.endswith(f"({most} of {len(wrong)})")
    shares = [row[3].key for row in by_slug(made)["classes"].table.rows]
    assert shares == sorted(shares)


def test_a_thousand_classes_show_the_worst_twenty_and_say_so(audit):
    table = by_slug(audit(n=3000, classes=[f"class {k}" for k in range(1000)]))["classes"].table
    assert len(table.rows) == 20
    assert re.search(r"20 weakest of \d{3} classes", table.note)


def test_the_images_listed_are_the_nearest_and_the_surest(audit):
    record, samples, *_ = made = audit()
    rows = by_slug(made)["images"].table.rows
    known = sorted(
        d
        for d, o in zip(samples["distance_linf"], samples["outcome"], strict=True)
        if d is not None and o != "already_wrong"
    )
    assert [row[5].key for row in rows if row[1].text == "nearest"] == known[:8]
    sure = sorted(
        (c for c, o in zip(samples["confidence"], samples["outcome"], strict=True) if o == "fooled"), reverse=True
    )
    assert [row[4].key for row in rows if row[1].text == "most confident"] == sure[:8]


def test_arrays_and_the_file_give_the_same_sections(audit):
    record, samples, classes, tiles = audit()
    arrays = {
        **samples,
        "adversarial_prediction": np.array([-1 if v is None else v for v in samples["adversarial_prediction"]]),
        "survives_8bit": np.array([-1 if v is None else int(v) for v in samples["survives_8bit"]]),
        "attack": np.array([v or "" for v in samples["attack"]], dtype=object),
        **{
            k: np.array([np.nan if v is None else v for v in samples[k]])
            for k in samples
            if k.startswith(("dist", "conf"))
        },
    }
    assert audit_sections(record, arrays, classes, tiles) == audit_sections(record, samples, classes, tiles)


def test_the_gallery_starts_at_the_audited_eps(audit):
    gallery = figure(by_slug(audit())["gallery"], Gallery)
    assert gallery.choices == ("2/255", "4/255", "8/255 (audited)", "16/255")
    assert gallery.selected == 2
    assert all(len(card.views) == 4 and card.small for card in gallery.cards)


def test_a_shot_that_is_missing_leaves_a_gap(audit):
    record, samples, classes, tiles = audit()
    tiles[0] = replace(tiles[0], shots=tiles[0].shots[1:])
    view = figure(by_slug((record, samples, classes, tiles))["gallery"], Gallery).cards[0].views[0]
    assert (view.adversarial, view.verdict) == ("", "not attacked at this eps")
    assert "not attacked at this eps" in render_audit(record, samples, classes, tiles)


def test_settings_hold_hashes_seed_and_environment(audit):
    record, *_ = made = audit()
    facts = {
        fact.name: fact.value
        for group in by_slug(made)["settings"].figures
        if isinstance(group, Facts)
        for fact in group.facts
    }
    assert facts["SHA-256 of the weights"] == record["model"]["sha256"]
    assert facts["SHA-256 of the images"] == record["data"]["sha256"]
    assert (facts["seed"], facts["torch"], facts["command"]) == ("12345", "2.13.0+cpu", record["command"])


def test_notes_appear_only_where_there_are_any(audit):
    assert "notes" not in by_slug(audit(notes=[]))
    notes = figure(by_slug(audit(weaker={"steps": 10}))["notes"], Notes).notes
    assert notes == (
        "The data are sorted by label; --samples took the first 400.",
        "Weaker than the default: steps: 10",
    )


HARD = {
    "one image": {"n": 1, "clean": 1.0, "found": 0.0, "tiles": 1},
    "one image, fooled": {"n": 1, "clean": 1.0, "found": 1.0, "typical": 0.001, "tiles": 1},
    "all wrong": {"n": 30, "clean": 0.0, "tiles": 3},
    "none fooled": {"found": 0.0, "tiles": 3},
    "none fooled, no gallery": {"found": 0.0, "tiles": 0},
    "all fooled": {"found": 1.0, "typical": 1e-4, "clean": 1.0},
    "all fooled, suspicious": {"found": 1.0, "typical": 1e-4, "clean": 1.0, "suspicious": True},
    "none fooled, suspicious": {"found": 0.0, "suspicious": True},
    "l2": {"norm": "l2", "eps": 0.5, "eps_text": "0.5"},
    "l1": {"norm": "l1", "eps": 10.0, "eps_text": "10"},
    "l0": {"norm": "l0", "eps": 12, "eps_text": "12"},
    "linf decimal": {"eps": 0.3, "eps_text": "0.3"},
    "unbounded": {"bounds": None},
    "wide box": {"bounds": [-1, 1]},
    "one class": {"classes": ["cat"]},
    "no names": {"classes": [str(k) for k in range(10)]},
    "colour": {"channels": 3, "side": 227, "tiles": 1, "n": 50},
    "many channels": {"channels": 5, "side": 8, "tiles": 2},
}  # fmt: skip

HEADLINES = {
    "one image": "Not one image was fooled",
    "one image, fooled": "Every image can be fooled",
    "all wrong": "It is wrong on every image, attacked or not",
    "none fooled": "Not one image was fooled",
    "all fooled": "Every image can be fooled",
    "none fooled, suspicious": "Not one image was fooled, but the number is suspicious",
}


@pytest.mark.parametrize("case", HARD)
def test_hard_cases_render_without_nonsense(audit, case):
    made = audit(**HARD[case])
    sections = audit_sections(*made)
    assert sections[0].title == HEADLINES.get(case, sections[0].title)
    seen = text_of(render_audit(*made))
    assert not re.search(r"\b(nan|NaN|None(?! of)|inf|undefined)\b", seen), re.search(
        r".{30}\b(nan|NaN|None(?! of)|inf|undefined)\b.{30}", seen
    )
    assert sections[0].title in seen


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("l2", "change the image by at most 0.5 in total (Euclidean length over all pixel values)"),
        ("l1", "change pixel values by at most 10 when all changes are added up"),
        ("l0", "set at most 12 pixel values freely"),
        ("linf decimal", "change every pixel value by at most 0.3 (76.5 of 255 grey levels)"),
        ("unbounded", "change every pixel value by at most 8/255,"),
    ],
)
def test_the_attacker_is_described_in_words(audit, case, words):
    made = audit(**HARD[case])
    assert words in audit_sections(*made)[0].finding + ","


def test_no_doubt_is_cast_on_zero(audit):
    finding = audit_sections(*audit(**HARD["all fooled, suspicious"]))[0].finding
    assert "no doubt can raise that number" in finding
    assert "below it" not in finding
