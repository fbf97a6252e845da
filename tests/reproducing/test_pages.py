from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foolscope.reproducing.claim import Record
from foolscope.reproducing.figures import FIGURES, as_svg, specification
from foolscope.reproducing.pages import hardened_page, results_page, write_pages
from foolscope.reproducing.pictures import BLUE, CAPTIONS, ORANGE, sheet, tile, weights_tile
from foolscope.reproducing.registry import CLAIMS
from foolscope.reproducing.run import read_records

ROOT = Path(__file__).parents[2]
RECORD = Record(
    id="L3",
    seed_document="001",
    claimed={"fgsm_error": 0.999, "unknown": None},
    source="somewhere",
    rule="fgsm_error >= 0.99; n >= 10,000; seeds >= 1",
    measured={"fgsm_error": 0.98765, "clean_error": 0.07, "notes": ["a remark"]},
    interval={"fgsm_error": [0.98, 0.99]},
    n=10_000,
    seeds=(0,),
    substituted=("our own training",),
    scale="small",
    verdict="not reproduced",
    seconds=61.2,
    hardware={"cpu": "a processor", "gpu": None},
    command="foolscope reproduce L3 --scale small",
)
CLAIM = CLAIMS["L3"]


def test_a_page_says_what_was_claimed_and_measured_and_leaves_unknown_cells_empty() -> None:
    page = results_page((CLAIM, CLAIMS["P3"]), (RECORD,))
    assert "2 claims: 0 reproduced, 1 not reproduced, 1 not run." in page
    assert "| fgsm_error | 0.999 | 0.9877 | 0.98 to 0.99 |" in page
    assert "| unknown |  |  |  |" in page
    assert "| clean_error |  | 0.07 |  |" in page
    assert "- our own training" in page
    assert "A remark." in page
    assert "n = 10,000; seeds 0; 61 s with training, a processor; `foolscope reproduce L3 --scale small`." in page
    assert f"Not run. Rule: {CLAIMS['P3'].rule}" in page
    assert "| **not reproduced** | 10,000 | small | 1 min | 1.0 |" in page  # what L3 was said to take, and took
    assert f"| not run |  |  | {CLAIMS['P3'].cost['small']} |  |" in page


def test_what_could_not_be_run_says_why() -> None:
    record = dataclasses.replace(RECORD, verdict="not run", measured={"notes": ["no GPU"]}, n=0, seeds=())
    page = results_page((CLAIM,), (record,))
    assert "No GPU. Cost:" in page
    assert "| value |" not in page


def test_a_figure_stands_on_the_page_of_its_claim_and_is_drawn(tmp_path: Path) -> None:
    rows = [{"eps": e, "accuracy": 1 - e, "examples": name} for name in ("fresh", "stale") for e in (0.1, 0.2)]
    record = dataclasses.replace(RECORD, id="R4", measured={**RECORD.measured, "series": rows})
    written = write_pages((CLAIMS["R4"],), (record,), tmp_path)
    assert (tmp_path / "images" / "results" / "R4.svg") in written
    assert "(images/results/R4.svg)" in (tmp_path / "results.md").read_text()
    assert not (tmp_path / "hardened.md").exists()


def test_a_short_series_without_a_figure_stands_as_a_table() -> None:
    rows = [{"source": "softmax", "target": "rbf", "error": 0.25}]
    page = results_page((CLAIM,), (dataclasses.replace(RECORD, measured={**RECORD.measured, "series": rows}),))
    assert "| source | target | error |\n| --- | --- | --- |\n| softmax | rbf | 0.25 |" in page


def test_a_picture_holds_its_axes_titles_with_units() -> None:
    rows = [
        {"eps": 0.1, "accuracy": 0.5, "training": t, "network": n} for t in ("regular", "both") for n in ("mlp", "cnn")
    ]
    svg = as_svg(specification(FIGURES["C15"], rows))
    assert svg.startswith("<svg")
    for text in ("eps (linf, input units)", "accuracy under step l.l.", "regular", "mlp"):
        assert text in svg


def test_pictures_stand_on_the_page_of_their_claim_with_a_caption(tmp_path: Path) -> None:
    tiles = [weights_tile(name, torch.tensor([[-1.0, 0], [1, 0]])) for name in ("plain", "adversarial")]
    record = dataclasses.replace(RECORD, id="P11", measured={**RECORD.measured, "pictures": tiles})
    written = write_pages((CLAIMS["P11"],), (record,), tmp_path)
    assert (tmp_path / "images" / "results" / "P11.png") in written
    page = (tmp_path / "results.md").read_text()
    assert "(images/results/P11.png)" in page
    assert "Rows from the top: plain, adversarial.*" in page
    assert "| pictures |" not in page


def test_every_record_with_pictures_has_a_caption() -> None:
    records = read_records(ROOT / "results", tuple(CLAIMS))
    assert {record.id for record in records if "pictures" in record.measured} == set(CAPTIONS)


def test_weights_are_blue_below_zero_white_at_it_and_orange_above() -> None:
    tiles = [weights_tile(name, torch.tensor([[-2.0, 0], [2, 0]])) for name in ("plain", "adversarial")]
    picture = np.asarray(Image.open(io.BytesIO(sheet(tiles))))
    assert picture.shape == (2 * (84 + 8), 84 + 8, 3)
    assert picture[4, 4].tolist() == list(BLUE)
    assert picture[4, -5].tolist() == [255, 255, 255]
    assert picture[87, 4].tolist() == list(ORANGE)


def test_an_image_is_drawn_from_black_to_white_and_framed_where_asked() -> None:
    image = torch.tensor([[[-1.0, 3], [1, 0]]])
    picture = np.asarray(
        Image.open(io.BytesIO(sheet([tile("row", image, -1, 1, framed=True), tile("row", image, 0, 1)])))
    )
    assert picture[4, 4].tolist() == [0, 0, 0]
    assert picture[4, 87].tolist() == picture[87, 4].tolist() == [255, 255, 255]
    assert picture[87, 87].tolist() == [128, 128, 128]
    assert picture[2, 2].tolist() == list(ORANGE)
    assert picture[2, 94].tolist() == [255, 255, 255]


def test_the_page_of_hardened_networks_puts_the_audit_beside_fgsm() -> None:
    row = {
        "network": "a net",
        "clean_accuracy": 0.98,
        "fgsm_accuracy": 0.8,
        "robust_accuracy": 0.1,
        "low": 0.07,
        "high": 0.15,
        "median_distance": 0.13,
        "trust": "suspicious",
        "reasons": "single_step",
    }
    record = dataclasses.replace(RECORD, id="H1", measured={"series": [row], "notes": ["audited"]}, n=200)
    page = hardened_page((record,))
    assert "| a net | 98.0% | 80.0% | 10.0% | 7.0% to 15.0% | 12% | 0.13 | suspicious (single_step) |" in page
    assert "**Of 1 networks of the papers that withstand FGSM on some image, 0 keep less than a tenth" in page
    assert "most survives of *a net*: 12%.**" in page
    assert hardened_page(()) == ""


@pytest.mark.parametrize("page", ["results.md", "hardened.md"])
def test_the_pages_are_those_of_the_records_in_the_repository(page: str) -> None:
    records = read_records(ROOT / "results", tuple(CLAIMS))
    written = {"results.md": results_page(tuple(CLAIMS.values()), records), "hardened.md": hardened_page(records)}[page]
    path = ROOT / "docs" / page
    assert (path.read_text() if path.exists() else "") == written


def test_every_picture_of_the_results_page_is_there() -> None:
    records = read_records(ROOT / "results", tuple(CLAIMS))
    for record in records:
        if record.id in FIGURES and record.measured.get("series"):
            assert (ROOT / "docs" / "images" / "results" / f"{record.id}.svg").is_file()
            row = record.measured["series"][0]
            figure = FIGURES[record.id]
            assert {figure.x[0], figure.y[0], figure.colour} - {""} <= set(row)


def test_the_records_in_the_repository_keep_to_their_claims() -> None:
    for record in read_records(ROOT / "results", tuple(CLAIMS)):
        claim = CLAIMS[record.id]
        assert record.scale in ("small", "paper")
        assert record.rule == str(claim.rule)
        assert dict(record.claimed) == dict(claim.claimed)
        values = {key: float("nan") if value is None else value for key, value in record.measured.items()}
        if record.n:
            assert record.verdict == claim.rule.verdict(values, record.n, record.seeds)
        else:
            assert record.verdict == "not run"
