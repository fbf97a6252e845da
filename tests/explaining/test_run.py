"""`foolscope.explain`: the record to the letter, files, `--only`, resuming, models that are wrong everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import foolscope
from foolscope.errors import InputError
from foolscope.explaining import EXPLANATIONS, chosen
from foolscope.report.explanations import SECTIONS

KEYS = {"schema", "finding", "estimate", "interval", "n", "cost", "method", "series"}
Data = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def explained(_trained: nn.Module, digits_data: Data, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("explained") / "out"
    return foolscope.explain(_trained, digits_data, eps=0.1, effort="quick", out=out)


def test_the_record_is_what_the_interface_says(explained: Any) -> None:
    record = json.loads((explained.folder / "explain.json").read_text())
    assert record == explained.record
    assert list(record) == list(EXPLANATIONS)
    for entry in record.values():
        assert set(entry) == KEYS
        assert entry["finding"].endswith(".")
        assert entry["n"] > 0
        assert entry["method"]
        if entry["interval"] is not None:
            low, high = entry["interval"]
            assert low <= entry["estimate"] <= high
    assert sorted(path.name for path in explained.folder.iterdir()) == ["explain.json", "report.html", "settings.json"]


def test_every_explanation_has_a_section() -> None:
    assert list(SECTIONS) == list(EXPLANATIONS)


def test_the_page_has_every_finding(explained: Any) -> None:
    from markupsafe import escape

    page = (explained.folder / "report.html").read_text()
    for slug, entry in explained.record.items():
        assert f'<section id="{slug}"' in page
        assert str(escape(entry["finding"])) in page


def test_an_audit_has_the_same_sections(digits_network: nn.Module, digits_data: Data, tmp_path: Path) -> None:
    audit = foolscope.audit(digits_network, digits_data, eps=0.1, effort="quick", samples=60, out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert list(record) == [row.slug for row in EXPLANATIONS.values() if row.audited]
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f'<section id="{slug}"' in page for slug in record)
    # Every pass is booked.
    assert audit.record["forwards"] == int(np.sum(audit.samples["forwards"]))
    assert audit.record["backwards"] == int(np.sum(audit.samples["backwards"]))


def test_only_some(digits_network: nn.Module, digits_data: Data) -> None:
    record = foolscope.explain(digits_network, digits_data, only="logit_gaps", samples=50).record
    assert list(record) == ["logit_gaps"]
    with pytest.raises(InputError, match="--only.*nearest: logit_gaps"):
        chosen("logit_gap")
    with pytest.raises(InputError, match="--effort"):
        foolscope.explain(digits_network, digits_data, effort="hard")


def test_a_model_that_is_always_wrong_is_said_to_be(digits_data: Data, tmp_path: Path) -> None:
    images, labels = digits_data
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.arange(10.0))
    keep = labels != 9
    found = foolscope.explain(model, (images[keep], labels[keep]), out=tmp_path / "out")
    for entry in found.record.values():
        assert entry["estimate"] is None
        assert entry["n"] == 0
        assert "wrong on all" in entry["finding"]
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(digits_network: nn.Module, digits_data: Data, dtype: torch.dtype) -> None:
    images, labels = (part[:40] for part in digits_data)
    only = "linear_response,first_order_distance"
    record = foolscope.explain(digits_network.to(dtype), (images.to(dtype), labels), only=only, eps=0.1).record
    assert all(entry["estimate"] == pytest.approx(0.95, abs=0.15) for entry in record.values())
