"""Document 002: Ozbulak, Gasparyan, De Neve & Van Messem, "Perturbation Analysis of Gradient-based Adversarial Attacks" (arXiv:2006.01456).

The detectors (O10 to O12) are elsewhere. Longer than 400 lines: a document is one file, and a third of it is the table of its claims.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foolscope.attacks import bind
from foolscope.attacks.equal_footing import raw_loss
from foolscope.explaining.circles import circles
from foolscope.explaining.error_curve import Arrays, over
from foolscope.explaining.loss_race import NAMES, STEPS, conclude, first_order, run, scales
from foolscope.explaining.race import LOSSES, drawn_targets, race
from foolscope.explaining.subspaces import blind_gaps, decomposed
from foolscope.explaining.transfer import transfer_matrix
from foolscope.intervals import wilson
from foolscope.models import load_model
from foolscope.oracle import Oracle
from foolscope.reproducing import recipes
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least, at_most, between
from foolscope.reproducing.lab import TINY, Lab
from foolscope.reproducing.measuring import Images, outputs, wrong
from foolscope.testing.models import Curved, random_images

DOCUMENT = "002"
PAPER = "Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456"
QUALITATIVE = "; no number"
SECONDS = {"small": "seconds", "paper": "seconds"}
IFGS = "bim:eps=0.3,steps=100,step_size=0.01,loss=ce"
KAPPA = 5.0
RADIUS = 2.0  # l2, of the examples whose transfer is compared


def four_steps(lab: Lab) -> Outcome:
    """The directions of the four losses against autograd on logits written out, in float64."""
    model, oracle = _curved()
    logits = model(leaf := oracle.inputs.clone().requires_grad_())
    rows = torch.arange(len(oracle))
    target = logits[rows, oracle.targets]
    others = logits.scatter(1, oracle.targets[:, None], -torch.inf).amax(1)  # type: ignore[index]
    written = {
        "ce": logits.log_softmax(1)[rows, oracle.targets],
        "logit": target,
        "m_logit": target - others,
    }
    found = {}
    for loss, value in written.items():
        (expected,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
        found[loss] = _error(oracle.gradient(oracle.inputs, oracle.rows_all, raw_loss(loss)).gradient, expected)
    return Outcome({f"{loss}_error": value for loss, value in found.items()}, n=len(oracle))


def minimal_against_iterative(lab: Lab) -> Outcome:
    """L-BFGS with bisection against iterated sign steps towards the same targets: the l2 size of what they find."""
    model, images = _mnist(lab, lab.at(small=100, paper=1000, tiny=8))
    steps = lab.at(small=100, paper=200, tiny=10)
    sizes = {}
    oracle = _aimed(model, images)
    for name, (text, norm) in {"lbfgs": (f"lbfgs:steps={steps}", "l2"), "ifgs": (IFGS, "linf")}.items():
        found = bind(text, norm=norm)(oracle)
        there = oracle.value(found, oracle.rows_all)[0] > 0
        sizes[name] = torch.where(there, (found - oracle.inputs).flatten(1).norm(dim=1), torch.nan)
    both = sizes["lbfgs"].isfinite() & sizes["ifgs"].isfinite()
    medians = {
        f"{name}_l2": float(size[both].median()) if bool(both.any()) else float("nan") for name, size in sizes.items()
    }
    smaller = int((sizes["lbfgs"] < sizes["ifgs"])[both].sum())
    return Outcome(
        medians
        | {f"{name}_reached": float(size.isfinite().double().mean()) for name, size in sizes.items()}
        | {"share_smaller": smaller / max(1, int(both.sum())), "both_reached": float(both.double().mean())},
        n=len(oracle),
        interval={"share_smaller": wilson(smaller, max(1, int(both.sum())))},
        substituted=(
            _mnist_remark(lab),
            "L-BFGS on the margin loss, where the paper has cross-entropy; IFGS, on cross-entropy: eps 0.3, 100 steps of 0.01, stopping at "
            "the target; the paper gives neither",
        ),
    )


def margin_of_cw(lab: Lab) -> Outcome:
    """Carlini and Wagner's attack asked for a margin of kappa reaches it; IFGS reaches its targets."""
    model, images = _mnist(lab, lab.at(small=50, paper=500, tiny=8))
    oracle = _aimed(model, images)
    found = bind(f"cw:kappa={KAPPA},steps={lab.at(small=200, paper=1000, tiny=30)}", norm="l2")(oracle)
    logits = oracle.logits(found, oracle.rows_all)
    targets = oracle.targets
    assert targets is not None
    lead = logits.gather(1, targets[:, None]).squeeze(1) - logits.scatter(1, targets[:, None], -torch.inf).amax(1)
    moved = (found != oracle.inputs).flatten(1).any(1)
    stepped = oracle.value(bind(IFGS)(oracle), oracle.rows_all)[0] > 0
    return Outcome(
        {
            "share_found": float(moved.double().mean()),
            "least_margin_over_kappa": float(lead[moved].min()) / KAPPA if bool(moved.any()) else float("nan"),
            "ifgs_reached": float(stepped.double().mean()),
        },
        n=len(oracle),
        substituted=(_mnist_remark(lab), f"kappa {KAPPA:g}; the paper's is not known"),
    )


def identity(lab: Lab) -> Outcome:
    """Grad CE_c = sum over i != c of P_i grad (g_i - g_c), in float64."""
    _, oracle = _curved()
    assert oracle.targets is not None
    model, inputs, targets = oracle.model, oracle.inputs, oracle.targets
    direct, summed = decomposed(Oracle(model, inputs, targets, bounds=None))
    logit = oracle.gradient(inputs, oracle.rows_all, raw_loss("logit")).gradient
    scale = logit.flatten(1).abs().amax(1)
    error = (direct - summed).flatten(1).abs().amax(1) / scale
    note = "relative to the target logit's gradient: on confident targets cross-entropy's own is mostly rounding, as O5 has it"
    return Outcome({"relative_error": float(error.max())}, n=len(oracle), notes=(note,))


def blindness(lab: Lab) -> Outcome:
    """The logit gaps from which cross-entropy's gradient is exactly zero."""
    gaps = {name: blind_gaps(dtype) for name, dtype in (("float32", torch.float32), ("float64", torch.float64))}
    values = {f"{name}_own": own for name, (own, _) in gaps.items()}
    return Outcome(values | {f"{name}_all": every for name, (_, every) in gaps.items()}, n=1)


def equal_multiplier(lab: Lab) -> Outcome:
    """Equal multiplier: CE-sign adds most, and CE's gradient shrinks on the way."""
    seen = _raced(lab, "multiplier")
    rows = _rows(seen, "multiplier")
    gradient = rows["ce"]["trace"]["gradient"]
    added = _sizes(seen, "l2")
    values = {f"{loss}_steps": _steps(seen, loss) for loss in LOSSES} | added
    values |= {
        "largest_other_l2": max(value for key, value in added.items() if key != "ce_sign_l2"),
        "ce_gradient_at_the_end": gradient[-1] / gradient[0],
    }
    return _outcome(lab, seen, "multiplier", values, "gradient")


def equal_perturbation(lab: Lab) -> Outcome:
    """Equal perturbation: CE takes the fewest steps, CE-sign the most, M-logit more than logit."""
    seen = _raced(lab, "perturbation")
    values = {f"{loss}_steps": _steps(seen, loss) for loss in LOSSES} | _sizes(seen, "l2") | _sizes(seen, "linf")
    return _outcome(lab, seen, "perturbation", values, "l2")


def seconds(lab: Lab) -> Outcome:
    """What a step costs with each loss: the four taken in turns on each batch, forwards and backwards."""
    batches = _batches(*_racing(lab))
    spent: dict[str, list[float]] = {loss: [] for loss in LOSSES}
    clock = time.process_time if lab.device == "cpu" else time.perf_counter
    steps, turns = lab.at(small=5, paper=50, tiny=2), 4
    for oracle in batches:
        aimed = oracle.towards(drawn_targets(oracle, 0))
        for turn in range(turns + 1):
            for loss in LOSSES[:: (-1) ** turn]:
                began = clock()
                float(race(aimed, loss, footing="perturbation", step_size=0.01, steps=steps).l2[0, -1])
                if turn:  # the first warms up
                    spent[loss].append((clock() - began) / len(oracle) / (steps + 1))
    values = {f"{loss}_milliseconds": 1000 * float(np.median(spent[loss])) for loss in LOSSES}
    others = [value for key, value in values.items() if key != "m_logit_milliseconds"]
    ratio = values["m_logit_milliseconds"]
    return Outcome(
        values
        | {
            "m_logit_over_fastest": ratio / min(values.values()),
            "m_logit_over_slowest_other": ratio / max(others),
        },
        n=sum(map(len, batches)),
        substituted=_raced_remark(lab),
        notes=(
            f"of an image and a step, median over {len(batches) * turns} turns a loss, "
            + ("in processor time" if lab.device == "cpu" else "by the clock"),
        ),
    )


def saturation(lab: Lab) -> Outcome:
    """The target's logit keeps rising under the logit losses and saturates under cross-entropy's."""
    seen = _raced(lab, "multiplier")
    values = {}
    for loss, row in _rows(seen, "multiplier").items():
        trace = row["trace"]["target_logit"]
        values[f"{loss}_late_rise"] = (trace[-1] - trace[len(trace) // 2]) / (trace[-1] - trace[0])
        values[f"{loss}_final_logit"] = trace[-1]
    return _outcome(lab, seen, "multiplier", values, "target_logit")


def weaker_examples(lab: Lab) -> Outcome:
    """Cross-entropy's examples survive smoothing less, and transfer less, than the logit loss's, after as many steps."""
    seen = _raced(lab, "multiplier")
    rows = _rows(seen, "multiplier")
    values = {
        f"{loss}_{how}": rows[loss][how]["kept"] / max(1, rows[loss][how]["of"])
        for loss in ("ce", "logit")
        for how in ("blur", "tv")
    }
    interval = {
        f"{loss}_{how}": tuple(rows[loss][how]["interval"])
        for loss in ("ce", "logit")
        for how in ("blur", "tv")
        if rows[loss][how]["of"]
    }
    images = lab.images("mnist:test", lab.at(small=500, paper=5000, tiny=200))
    family = {name: lab.network(recipes.fig5(lab, name, "regular")) for name in ("mlp", "cnn")}
    for loss in ("ce", "logit"):
        attack = bind(f"pgd:norm=l2,eps={RADIUS},steps=20,early_stop=False,loss={loss}")
        matrix = transfer_matrix(family, images.inputs, images.labels, attack, targeted=True)
        values[f"{loss}_transfer"] = float((matrix.rate[0, 1] + matrix.rate[1, 0]) / 2)
    found = _outcome(lab, seen, "multiplier", values, None)
    remark = (
        f"transfer: targeted l2 PGD of size {RADIUS:g} between a fully connected and a convolutional network for MNIST"
    )
    return Outcome(
        found.measured, n=found.n, interval=interval, substituted=(*found.substituted, remark), notes=found.notes
    )


def two_circles(lab: Lab) -> Outcome:
    """Two circles: cross-entropy's gradient is zero in the target's region, the logit loss's is not, and is smaller elsewhere."""
    points = lab.at(small=61, paper=61, tiny=21)
    found = [circles(seed, points=points) for seed in lab.at(small=(0, 1, 2), paper=(0, 1, 2), tiny=(0,))]

    def worst(loss: str, region: int, over_loss: str, over_region: int) -> float:
        return max(c.median(loss, region) / c.median(over_loss, over_region) for c in found)

    one = found[0]
    return Outcome(
        {
            "accuracy": min(c.accuracy for c in found),
            "ce_target_over_start": worst("ce", 3, "ce", 1),
            "logit_start_over_target": worst("logit", 1, "logit", 3),
            "logit_over_ce_at_start": worst("logit", 1, "ce", 1),
        },
        n=points * points,
        seeds=tuple(range(len(found))),
        substituted=("64 hidden units, noise 0.05, factor 0.5: the paper's numbers are not known",),
        series=tuple(
            {"loss": NAMES[loss], "radius": float(np.hypot(a, b)), "gradient": float(one.size[loss][j, i])}
            for loss in LOSSES
            for j, b in enumerate(one.at[::10])
            for i, a in enumerate(one.at[::10])
        ),
    )


def _raced(lab: Lab, footing: str) -> Arrays:
    """The race of the four losses on the network of this scale."""
    look = over(_batches(*_racing(lab)))
    stride, multiplier = scales(look("start", lambda oracle: first_order(oracle, 0)))
    size = {"perturbation": stride, "multiplier": multiplier}[footing]
    return look("race", lambda oracle: run(oracle, footing, size, 0))


def _batches(model: nn.Module, images: Images) -> list[Oracle]:
    return [
        Oracle(model, x, y, index=torch.arange(16 * k, 16 * k + len(x)))
        for k, (x, y) in enumerate(zip(*(torch.split(t, 16) for t in (images.inputs, images.labels)), strict=True))
    ]


def _rows(seen: Arrays, footing: str) -> Mapping[str, Any]:
    summary: Mapping[str, Any] = conclude({"perturbation": seen, "multiplier": seen}, {}, 0.0).series["footings"][
        footing
    ]
    return summary


def _steps(seen: Arrays, loss: str) -> float:
    """The mean number of steps over all images; one that never arrives counts as one step more than there are, the least it can take."""
    reached = seen[f"{loss}_reached"]
    return float(np.mean(np.where(reached.any(1), reached.argmax(1), reached.shape[1])))


def _all_reach(seen: Arrays) -> npt.NDArray[np.bool_]:
    """Which images all four losses bring to their targets, `(n,)`."""
    return np.asarray(np.all([seen[f"{loss}_reached"].any(1) for loss in LOSSES], axis=0))


def _sizes(seen: Arrays, key: str) -> dict[str, float]:
    """The median size of each loss's perturbation where it arrives, over the images that all four bring to their targets."""
    reached = {loss: seen[f"{loss}_reached"].astype(bool) for loss in LOSSES}
    every = np.flatnonzero(_all_reach(seen))
    return {
        f"{loss}_{key}": float(np.median(seen[f"{loss}_{key}"][every, there.argmax(1)[every]]))
        if len(every)
        else float("nan")
        for loss, there in reached.items()
    }


def _outcome(lab: Lab, seen: Arrays, footing: str, values: Mapping[str, float], traced: str | None) -> Outcome:
    rows = _rows(seen, footing)
    series = [
        {"loss": NAMES[loss], "step": step, traced: value}
        for loss, row in rows.items()
        if traced
        for step, value in enumerate(row["trace"][traced])
    ]
    reached = ", ".join(f"{NAMES[loss]} {row['reached']}" for loss, row in rows.items())
    return Outcome(
        dict(values),
        n=len(seen["ce_reached"]),
        substituted=_raced_remark(lab),
        notes=(
            f"targets reached within {STEPS} steps, of {len(seen['ce_reached'])}: {reached}, all four {_all_reach(seen).sum()}",
        ),
        series=tuple(series),
    )


def _raced_remark(lab: Lab) -> tuple[str, ...]:
    if lab.scale == TINY:
        return ()
    return (
        "ResNet-20 on CIFAR-10 (the lossless test images) for ResNet-50 on ImageNet; step sizes and the number of steps are ours",
    )


def _racing(lab: Lab) -> tuple[nn.Module, Images]:
    if lab.scale == TINY:
        return _mnist(lab, 12)
    model = load_model("cifar10_resnet20", weights="cifar10_resnet20", device=lab.device).module
    images = lab.images("cifar10_lossless:test", lab.at(small=60, paper=300, tiny=0))
    model.eval().requires_grad_(False)
    return model, images.keep(~wrong(outputs(model, images.inputs), images.labels))


def _mnist(lab: Lab, n: int) -> tuple[nn.Module, Images]:
    model = lab.network(recipes.fig5(lab, "cnn", "regular")).eval().requires_grad_(False)
    images = lab.images("mnist:test", n)
    return model, images.keep(~wrong(outputs(model, images.inputs), images.labels))


def _mnist_remark(lab: Lab) -> str:
    return f"MNIST: {recipes.fig5(lab, 'cnn', 'regular').remarks[0]}"


def _aimed(model: nn.Module, images: Images) -> Oracle:
    oracle = Oracle(model, images.inputs, images.labels)
    return oracle.towards(drawn_targets(oracle, 0))


def _curved() -> tuple[nn.Module, Oracle]:
    """A smooth network in float64 and images with targets."""
    model, x = Curved(classes=10).double().requires_grad_(False), random_images(64, dtype=torch.float64)
    return model, Oracle(model, x, model(x).argmax(1), targets=torch.arange(64) % 10, bounds=None)


def _error(one: Tensor, other: Tensor) -> float:
    """The largest difference over the largest component, of the worst image."""
    scale = other.flatten(1).abs().amax(1)
    return float(((one - other).flatten(1).abs().amax(1) / scale).max())


RACE_COST = {"small": "6 min", "paper": "2 min on a GPU"}
CLAIMS = (
    Claim(
        "O1",
        "the four losses' steps: CE, CE-sign, logit and M-logit",
        DOCUMENT,
        {f"{loss}_error": None for loss in ("ce", "logit", "m_logit")},
        f"{PAPER}, eq. 12-15",
        Rule(tuple(at_most(f"{loss}_error", 1e-12) for loss in ("ce", "logit", "m_logit")), n=64),
        SECONDS,
        four_steps,
    ),
    Claim(
        "O2",
        "L-BFGS with bisection finds smaller perturbations than iterated sign steps",
        DOCUMENT,
        {"lbfgs_l2": None, "ifgs_l2": None},
        f"{PAPER}, sec. III{QUALITATIVE}",
        Rule((at_least("share_smaller", 0.9), at_least("lbfgs_reached", 0.9)), n=50),
        {"small": "5 min", "paper": "10 min on a GPU"},
        minimal_against_iterative,
    ),
    Claim(
        "O3",
        "IFGS reaches its targets, and CW's examples keep the margin kappa",
        DOCUMENT,
        {"least_margin_over_kappa": 1.0},
        f"{PAPER}, eq. 2-4",
        Rule(
            (at_least("least_margin_over_kappa", 0.999), at_least("share_found", 0.95), at_least("ifgs_reached", 0.9)),
            n=40,
        ),
        {"small": "3 min", "paper": "3 min on a GPU"},
        margin_of_cw,
    ),
    Claim(
        "O4",
        "cross-entropy's gradient is the sum of logit differences' gradients, weighted by the probabilities",
        DOCUMENT,
        {"relative_error": None},
        f"{PAPER}, eq. 8-10, exact as in design/papers.md C.1",
        Rule((at_most("relative_error", 1e-13),), n=64),
        SECONDS,
        identity,
    ),
    Claim(
        "O5",
        "cross-entropy's gradient is exactly zero on confident targets: gaps 17 and 104 in float32, 37.5 and 745.5 in float64",
        DOCUMENT,
        {"float32_own": 17.0, "float32_all": 104.0, "float64_own": 37.5, "float64_all": 745.5},
        f"computed for design/papers.md C.1, after {PAPER}, sec. IV",
        Rule(
            (
                *between("float32_own", 16, 18),
                *between("float32_all", 103, 105),
                *between("float64_own", 36, 38.5),
                *between("float64_all", 744, 747),
            ),
            n=1,
        ),
        SECONDS,
        blindness,
    ),
    Claim(
        "O6",
        "with an equal multiplier CE-sign adds by far the most, and CE's gradient shrinks as it goes",
        DOCUMENT,
        {"ce_sign_l2": None, "ce_l2": None},
        f"{PAPER}, fig. 2 and 4{QUALITATIVE}",
        Rule((at_least("ce_sign_l2", 1.5, of="largest_other_l2"), at_most("ce_gradient_at_the_end", 0.5)), n=50),
        RACE_COST,
        equal_multiplier,
    ),
    Claim(
        "O7",
        "with equal perturbation CE takes the fewest steps and adds least, CE-sign takes the most, and M-logit takes more than logit (95 "
        "against 80) but adds less",
        DOCUMENT,
        {"m_logit_steps": 95, "logit_steps": 80},
        f"{PAPER}, sec. IV-B and table I; which column the two numbers are from is not said",
        Rule(
            (
                at_most("ce_steps", 1, of="logit_steps"),
                at_most("ce_steps", 1, of="m_logit_steps"),
                at_least("ce_sign_steps", 1, of="logit_steps"),
                at_least("ce_sign_steps", 1, of="m_logit_steps"),
                at_least("m_logit_steps", 1, of="logit_steps"),
                at_most("m_logit_l2", 1, of="logit_l2"),
                *(at_most("ce_l2", 1, of=f"{loss}_l2") for loss in LOSSES[1:]),
            ),
            n=50,
        ),
        RACE_COST,
        equal_perturbation,
    ),
    Claim(
        "O8",
        "M-logit is the slowest in time, but only slightly",
        DOCUMENT,
        {"m_logit_over_fastest": None},
        f"{PAPER}, table I; the share is stripped from the text",
        Rule((at_least("m_logit_over_slowest_other", 1), at_most("m_logit_over_fastest", 1.2)), n=50),
        RACE_COST,
        seconds,
    ),
    Claim(
        "O9",
        "logits saturate under CE and keep growing under the logit loss",
        DOCUMENT,
        {"ce_late_rise": None, "logit_late_rise": None},
        f"{PAPER}, fig. 2b and 3b{QUALITATIVE}",
        Rule(
            (
                at_most("ce_late_rise", 0.5, of="logit_late_rise"),
                at_least("logit_final_logit", 1.5, of="ce_final_logit"),
            ),
            n=50,
        ),
        RACE_COST,
        saturation,
    ),
    Claim(
        "O13",
        "examples made with CE are weaker than those of the logit loss: they survive smoothing and transfer less",
        DOCUMENT,
        {"ce_transfer": None, "logit_transfer": None},
        f"{PAPER}, sec. V{QUALITATIVE}",
        Rule(tuple(at_most(f"ce_{how}", 1, of=f"logit_{how}") for how in ("blur", "tv", "transfer")), n=50),
        {"small": "9 min", "paper": "3 min on a GPU"},
        weaker_examples,
    ),
    Claim(
        "O14",
        "two circles: CE's gradient is zero in the target region, the logit loss's is not and is smaller where CE starts",
        DOCUMENT,
        {"ce_target_over_start": None},
        f"{PAPER}, sec. IV-B{QUALITATIVE}",
        Rule(
            (
                at_least("accuracy", 0.99),
                at_most("ce_target_over_start", 0.01),
                at_most("logit_start_over_target", 5),
                at_most("logit_over_ce_at_start", 1),
            ),
            n=1000,
            seeds=3,
        ),
        {"small": "1 min", "paper": "1 min"},
        two_circles,
    ),
)
