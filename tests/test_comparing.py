"""Audits side by side: paired differences against independent computations, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import foolscope
from foolscope.comparing import compare, median_difference, paired, short_names
from foolscope.errors import InputError


def bools(*counts: tuple[int, bool, bool]) -> tuple[np.ndarray, np.ndarray]:
    here = np.concatenate([np.full(n, a) for n, a, _ in counts])
    there = np.concatenate([np.full(n, b) for n, _, b in counts])
    return here, there


def test_tangos_interval_and_mcnemars_p_of_a_known_table() -> None:
    """32 pairs agree positively, 12 and 2 are discordant, 4 agree negatively; the ends solve the score equation."""
    found = paired(*bools((32, True, True), (12, True, False), (2, False, True), (4, False, False)))
    assert found.difference == pytest.approx(0.2)
    assert found.p == pytest.approx(2 * sum(math.comb(14, k) for k in range(3)) / 2**14)
    assert 0.05 < found.low < 0.2 < found.high < 0.35
    for end, sign in ((found.low, 1), (found.high, -1)):
        # The restricted maximum-likelihood estimate by brute force over p21, then the z-score.
        p21 = np.linspace(max(1e-9, -end), (1 - end) / 2, 400_001)[:-1]
        likelihood = 12 * np.log(p21 + end) + 2 * np.log(p21) + 36 * np.log(1 - 2 * p21 - end)
        q = float(p21[np.nanargmax(likelihood)])
        assert (10 - 50 * end) / math.sqrt(50 * (2 * q + end * (1 - end))) == pytest.approx(sign * 1.95996, abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_interval_is_antisymmetric_and_holds_the_difference(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    here, there = bools((a, True, True), (b, True, False), (c, False, True), (d, False, False))
    one, other = paired(here, there), paired(there, here)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-6)
    assert -1 <= one.low <= one.difference <= one.high <= 1
    assert one.p == other.p


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng, hits, runs = np.random.default_rng(0), 0, 400
    for _ in range(runs):
        kinds = rng.choice(4, size=60, p=(0.5, 0.2, 0.1, 0.2))
        found = paired(np.isin(kinds, (0, 1)), np.isin(kinds, (0, 2)))
        hits += found.low <= 0.1 <= found.high
    assert 0.92 <= hits / runs <= 0.985


def test_the_median_difference() -> None:
    rng = np.random.default_rng(1)
    there = rng.uniform(0, 1, 500)
    middle, low, high = median_difference(there + rng.normal(0.1, 0.05, 500), there)
    assert low < middle < high
    assert 0.085 < low < high < 0.115
    inf = np.full(3, np.inf)
    assert median_difference(inf, inf)[0] == 0.0
    assert median_difference(inf, np.ones(3))[0] is None
    assert median_difference(np.array([]), np.array([])) == (None, None, None)


def test_names_are_what_differs() -> None:
    assert short_names(["/a/b/audit", "/a/c/audit"]) == ["b", "c"]
    assert short_names(["x", "y/z"])[1].endswith("y/z")
    assert len(set(short_names(["a", "a"]))) == 2


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audits of two linear models on the same images, of one on others, and in l2."""
    place = tmp_path_factory.mktemp("audits")
    torch.manual_seed(0)
    x, w = torch.rand(60, 1, 4, 4), torch.randn(16, 3)
    y = (x.flatten(1) @ w).argmax(1)

    def model(noise: float) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
        with torch.no_grad():
            net[1].weight.copy_((w + noise * torch.randn(16, 3)).T)
        return net

    def run(name: str, net: nn.Module, images: Tensor = x, **options: object) -> None:
        given = {"eps": 0.05, "effort": "quick"} | options
        foolscope.audit(net, (images, y), out=place / name / "audit", **given)

    run("good", model(0.0))
    run("bad", model(0.8))
    run("other", model(0.0), x * 0.9)
    run("l2", model(0.0), norm="l2")
    run("small", model(0.8), eps=0.02)
    run("unbounded", model(0.0), bounds=None)
    return place


def test_a_comparison_by_hand(audits: Path, tmp_path: Path) -> None:
    result = compare(audits / "good/audit", audits / "bad/audit", out=tmp_path / "c", command="foolscope compare")
    record = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert record == result.record
    first, second = record["audits"]
    assert (first["name"], second["name"]) == ("good", "bad")
    assert first["difference"] is None
    assert second["difference"] == pytest.approx(second["robust_accuracy"] - first["robust_accuracy"])
    assert second["clean_difference"] == pytest.approx(second["clean_accuracy"] - first["clean_accuracy"])
    assert second["only_here"] - second["only_first"] == pytest.approx(60 * second["difference"])
    low, high = second["difference_interval"]
    assert low < second["difference"] < high
    page = (tmp_path / "c" / "report.html").read_text()
    assert "good keeps the most images" in page
    assert "Robustness curves" in page
    with pytest.raises(InputError, match="--overwrite"):
        compare(audits / "bad/audit", audits / "good/audit", out=tmp_path / "c")


def test_a_model_compared_with_itself(audits: Path) -> None:
    record = compare(audits / "good/audit", audits / "good/audit").record
    assert record["audits"][1]["difference"] == 0
    assert record["audits"][1]["p"] == 1
    assert record["audits"][1]["distance_difference"] == 0
    assert record["report"] is None


def test_another_eps_is_read_off_the_distances(audits: Path) -> None:
    """The same model audited at eps 0.05 and at 0.02, compared at 0.05 and at 0.02: the same image by image, up to the attacks' luck."""
    wide = compare(audits / "bad/audit", audits / "small/audit").record["audits"]
    assert wide[1]["audited_eps"] == 0.02
    assert abs(wide[1]["difference"]) < 0.1 or wide[1]["p"] > 0.05


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("other/audit", "audits of the same images"),
        ("l2/audit", "audits of the same norm .linf in .*got 'l2 in"),
        ("unbounded/audit", "audits of the same bounds"),
        ("nothing", "the folder of an audit"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(audits: Path, tmp_path: Path, folder: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        compare(audits / "good/audit", audits / folder, out=tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()
    with pytest.raises(InputError, match="two audits or more"):
        compare(audits / "good/audit")


@pytest.mark.parametrize("text", ["[]", "{}", "null"])
def test_json_that_is_no_audit_is_refused(audits: Path, tmp_path: Path, text: str) -> None:
    foreign = shutil.copytree(audits / "bad" / "audit", tmp_path / "foreign")
    (foreign / "audit.json").write_text(text)
    with pytest.raises(InputError, match="the folder of an audit"):
        compare(audits / "good" / "audit", foreign)
