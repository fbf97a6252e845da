"""What counts is what the ledger saw itself: an attack's word, a step over the edge and a NaN count for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import Bound
from foolscope.data import from_tensors
from foolscope.ledger import REASONS, Case, Ledger, Stage, adversarials, clean_pass, judge, run_attack, slack
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.store import Store

N, EPS = 6, 0.1
RIGHT = [0, 1, 2, 3, 5]  # image 4 has the wrong label from the start


class Halfway(nn.Module):
    """Two classes by the first pixel: class 1 above 1/2."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0] - 0.5
        return torch.stack([-first, first], 1)


def images() -> Tensor:
    x = torch.full((N, 1, 2, 2), 0.25)
    x[:, 0, 0, 0] = torch.tensor([0.45, 0.49, 0.30, 0.55, 0.45, 0.0])
    return x


def labels() -> Tensor:
    return torch.tensor([0, 0, 0, 1, 1, 0])


def case_of(folder: Path, eps: float | None = EPS, norm: str = "linf", batch_size: int = 4) -> Case:
    store = Store(folder)
    store.work.mkdir()
    return Case(Halfway(), from_tensors(images(), labels()), (0.0, 1.0), norm, eps, 0, batch_size, store)


def attack_by(function: Callable[[Oracle], Tensor]) -> Bound:
    return Bound("by hand", lambda oracle, inputs, labels: function(oracle))


def after(case: Case, function: Callable[[Oracle], Tensor]) -> tuple[Ledger, Stage]:
    ledger = clean_pass(case)
    return ledger, run_attack(
        case, ledger, "by hand", attack_by(function), np.flatnonzero(ledger.correct(case.data.labels))
    )


def first_pixel(oracle: Oracle, value: float) -> Tensor:
    x = oracle.inputs.clone()
    x[:, 0, 0, 0] = value
    return x


# -- what is credited -------------------------------------------------------------------------------------------------


def test_an_honest_attack_is_credited(tmp_path):
    ledger, stage = after(case_of(tmp_path), lambda oracle: first_pixel(oracle, 0.51))
    # 0.45 and 0.49 are within 0.1 of 0.51; 0.30 and 0.0 are fooled too, but from too far; 0.55 is of class 1 and stays it.
    assert ledger.fooled.tolist() == [True, True, False, False, False, False]
    assert stage.fooled.tolist() == [True, True, False, False, False]
    assert np.isfinite(ledger.distance[:, 0]).tolist() == [True, True, True, False, False, True]
    assert ledger.distance[[0, 1, 2, 5], 0] == pytest.approx([0.06, 0.02, 0.21, 0.51], abs=1e-6)
    assert ledger.attack.tolist() == ["by hand", "by hand", "", "", "", ""]


LIES = {
    "the clean image": lambda oracle: oracle.inputs.clone(),
    "nothing moved but a claim of success": lambda oracle: oracle.state.fill_(0) is None or oracle.inputs + 0,
    "NaN": lambda oracle: torch.full_like(oracle.inputs, torch.nan),
    "infinite": lambda oracle: torch.full_like(oracle.inputs, torch.inf),
    "one NaN pixel beside a fooling one": lambda oracle: first_pixel(oracle, 0.51).index_fill_(
        3, torch.tensor([1]), torch.nan
    ),
    "above the box by 1e-3": lambda oracle: first_pixel(oracle, 0.51).index_fill_(2, torch.tensor([1]), 1.001),
    "below the box by 1e-3": lambda oracle: first_pixel(oracle, 0.51).index_fill_(2, torch.tensor([1]), -0.001),
    "a tie": lambda oracle: first_pixel(oracle, 0.5),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_not_credited(lie, tmp_path):
    case = case_of(tmp_path)
    ledger = clean_pass(case)
    tried = np.flatnonzero(ledger.correct(case.data.labels) & (case.data.labels == 0))
    run_attack(case, ledger, "liar", attack_by(LIES[lie]), tried)
    assert not ledger.fooled.any()
    assert not np.isfinite(ledger.distance).any()
    assert ledger.reason[tried].tolist() == [REASONS.index("budget")] * len(tried)
    assert torch.isnan(adversarials(case, ledger, tried)).all()


def test_outside_the_ball_is_a_distance_but_no_success(tmp_path):
    case = case_of(tmp_path, eps=0.05)
    ledger, stage = after(case, lambda oracle: first_pixel(oracle, 0.51))
    assert ledger.fooled.tolist() == [False, True, False, False, False, False]
    assert stage.fooled.sum() == 1
    assert ledger.distance[0, 0] == pytest.approx(0.06, abs=1e-6)


def test_without_eps_any_distance_counts(tmp_path):
    ledger, _ = after(case_of(tmp_path, eps=None), lambda oracle: first_pixel(oracle, 0.51))
    assert ledger.fooled.tolist() == [True, True, True, False, False, True]


def test_images_that_are_wrong_already_are_not_attacked(tmp_path):
    seen: list[int] = []

    def spy(oracle: Oracle) -> Tensor:
        seen.extend(oracle.index.tolist())
        return first_pixel(oracle, 0.51)

    case = case_of(tmp_path)
    ledger, stage = after(case, spy)
    assert seen == stage.tried.tolist() == RIGHT
    assert ledger.attack[4] == ""
    assert (ledger.forwards[4], ledger.backwards[4]) == (1, 0)


def test_a_shape_or_dtype_of_its_own_is_read_as_the_images(tmp_path):
    ledger, _ = after(case_of(tmp_path), lambda oracle: first_pixel(oracle, 0.51).double().flatten(1))
    assert ledger.fooled.tolist() == [True, True, False, False, False, False]


def test_nan_logits_are_no_class():
    class NaNAbove(Halfway):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x.flatten(1)[:, :1] > 0.5, torch.nan, super().forward(x))

    oracle = Oracle(NaNAbove(), images()[:3], torch.tensor([1, 1, 1]))  # argmax of NaN is 0
    assert not judge(oracle, first_pixel(oracle, 0.9))["found"].any()


def test_targets_count_only_as_such():
    oracle = Oracle(Halfway(), images(), labels(), targets=1 - labels())
    assert judge(oracle, first_pixel(oracle, 0.51))["found"].tolist() == [True, True, True, False, False, True]


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_the_first_success_is_named_and_the_nearest_image_kept(tmp_path):
    case = case_of(tmp_path)
    ledger, _ = after(case, lambda oracle: first_pixel(oracle, 0.54))
    run_attack(case, ledger, "farther", attack_by(lambda oracle: first_pixel(oracle, 0.56)), np.array([0, 1]))
    run_attack(case, ledger, "nearer", attack_by(lambda oracle: first_pixel(oracle, 0.51)), np.array([0, 1, 2]))
    assert ledger.attack.tolist() == ["by hand", "by hand", "", "", "", ""]
    assert ledger.distance[:3, 0] == pytest.approx([0.06, 0.02, 0.21], abs=1e-6)
    kept = adversarials(case, ledger, np.array([2, 0, 3, 5, 1]))[:, 0, 0, 0]
    assert kept[[0, 1, 3, 4]].tolist() == pytest.approx([0.51, 0.51, 0.54, 0.51])
    assert bool(torch.isnan(kept[2]))
    assert [stage.name for stage in ledger.stages] == ["clean", "by hand", "farther", "nearer"]
    assert [int(stage.fooled.sum()) for stage in ledger.stages] == [0, 2, 0, 0]


def test_passes_are_booked_on_their_images(tmp_path):
    def costly(oracle: Oracle) -> Tensor:
        rows = oracle.rows_all[oracle.index.to(oracle.rows_all) % 2 == 1]
        for _ in range(3):
            oracle.gradient(oracle.inputs[rows], rows)
        return oracle.inputs

    ledger, stage = after(case_of(tmp_path), costly)
    # One for the clean pass and one to check the answer; three for the odd ones.
    assert ledger.forwards.tolist() == [2, 5, 2, 5, 1, 5]
    assert ledger.backwards.tolist() == [0, 3, 0, 3, 0, 3]
    assert (stage.forwards, stage.backwards) == (5 + 9, 9)


def test_reasons(tmp_path):
    def zero_for_some(oracle: Oracle) -> Tensor:
        oracle.state[oracle.index == 2] = 1
        oracle.state[oracle.index == 3] = 2
        return first_pixel(oracle, 0.51)

    ledger, _ = after(case_of(tmp_path), zero_for_some)
    said = [REASONS[k] for k in ledger.reason]
    assert said[:2] == ["done", "done"]
    # Image 2 was fooled, from too far: nothing was left to do for the attack.
    assert said[3] == "not_finite"


def test_pieces_do_not_change_what_is_found(tmp_path):
    whole, apart = (case_of(_made(tmp_path / str(size)), batch_size=size) for size in (6, 1))
    one, other = (after(case, lambda oracle: first_pixel(oracle, 0.51))[0] for case in (whole, apart))
    assert (one.distance == other.distance).all()
    assert (one.forwards == other.forwards).all()
    tried = np.array([0, 1, 2, 5])
    assert torch.equal(adversarials(whole, one, tried), adversarials(apart, other, tried))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_deadline_stops_between_pieces(tmp_path):
    case = case_of(tmp_path)
    late = Case(case.model, case.data, case.bounds, "linf", EPS, 0, 4, case.store, deadline=-1.0)
    ledger, stage = after(late, lambda oracle: first_pixel(oracle, 0.51))
    assert not stage.finished
    assert len(stage.tried) == 0
    assert not ledger.fooled.any()


# -- what is measured -------------------------------------------------------------------------------------------------


def test_distances_by_hand_in_every_norm():
    x = torch.tensor([[[[0.25, 0.25], [0.25, 0.25]]]])
    moved = torch.tensor([[[[0.75, 0.25], [0.0, 0.375]]]])  # +1/2, 0, -1/4, +1/8
    verdict = judge(Oracle(Halfway(), x, torch.tensor([0])), moved)
    assert list(NORMS) == ["linf", "l2", "l1", "l0"]
    assert verdict["distance"].dtype == torch.float64
    assert verdict["distance"][0].tolist() == pytest.approx(
        [0.5, (0.25 + 0.0625 + 0.015625) ** 0.5, 0.875, 3.0], rel=1e-12
    )
    assert verdict["prediction"].tolist() == [1]
    # logits -+1/4
    assert float(verdict["confidence"][0]) == pytest.approx(1 / (1 + np.exp(-0.5)), rel=1e-6)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
def test_survives_8bit_by_hand(bounds):
    """The boundary is at 1/2. In 256 levels of [0, 1], 0.501 becomes 128/255 > 1/2 and 0.5005 too; of [-1, 3] 0.5 lies at 95.6."""
    values = [0.5001, 0.501, 0.503, 0.507, 0.51, 0.6]
    low, high = bounds
    by_hand = []
    for value in values:
        level = round((value - low) / (high - low) * 255)
        by_hand.append(level / 255 * (high - low) + low > 0.5)
    x = torch.full((6, 1, 2, 2), 0.25)
    oracle = Oracle(Halfway(), x, torch.zeros(6, dtype=torch.int64), bounds=bounds)
    moved = x.clone()
    moved[:, 0, 0, 0] = torch.tensor(values)
    verdict = judge(oracle, moved)
    assert verdict["found"].all()
    assert verdict["survives_8bit"].tolist() == by_hand
    assert set(by_hand) == ({True} if bounds == (0.0, 1.0) else {True})
    # Just above the middle between levels 127 and 128, whose values lie on either side of a boundary at 127.4 / 255.
    shifted = Oracle(_At(127.4 / 255), x, torch.zeros(6, dtype=torch.int64))
    moved[:, 0, 0, 0] = torch.tensor([127.41, 127.45, 127.49, 127.51, 127.9, 129.0]) / 255
    verdict = judge(shifted, moved)
    assert verdict["found"].all()
    assert verdict["survives_8bit"].tolist() == [False, False, False, True, True, True]


class _At(Halfway):
    def __init__(self, boundary: float) -> None:
        super().__init__()
        self.boundary = boundary

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - self.boundary + 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("eps", [1e-3, 8 / 255, 0.5])
def test_slack_covers_rounding_and_little_more(norm, eps, dtype):
    """A perturbation of size eps, rounded with its image, exceeds eps by less; four times that would be a gift."""
    shape, d = (200, 1, 28, 28), 784
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    u = torch.rand(shape, generator=generator, dtype=torch.float64)
    move = NORMS[norm].surface(u, eps) * 1.0
    moved = (x.double() + move).to(dtype)
    size = NORMS[norm].size(moved.double() - x.double())
    # An honest attack in exact arithmetic rounds only the final sum: the worst that this can do.
    allowed = slack(norm, eps, d, dtype, (0.0, 1.0))
    assert float(size.max()) <= eps + allowed
    worst = NORMS[norm].largest(d, torch.finfo(dtype).eps / 2)
    assert allowed <= eps * 1e-6 + 1.01 * worst


def test_slack_is_none_for_counts():
    assert slack("l0", 5.0, 784, torch.float32, (0.0, 1.0)) < 1
    assert slack("linf", 0.1, 784, torch.float32, None) == pytest.approx(1.6e-7, rel=0.05)


@pytest.mark.parametrize("factor", [1 + 1e-5, 1.001])
def test_a_hair_beyond_eps_is_beyond(factor, tmp_path):
    case = case_of(tmp_path, eps=0.06 / factor)
    ledger, _ = after(case, lambda oracle: first_pixel(oracle, 0.51))
    assert not ledger.fooled[0]
    assert ledger.fooled[1]
