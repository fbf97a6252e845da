"""Who takes part: our minimal-norm attacks, and the peers' best for each norm, each set so that it spends about a budget of passes.

Only names and settings stand at the top level: a library is imported when one of its attacks runs, in the peers' own environment.
Settings are AttackBench's where it has the attack; steps are whatever the budget leaves after the binary search or the restarts.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.bench.counted import REPEATED, RISING, TOLD, WHOLE, Counted, Telling
from foolscope.errors import InputError

OURS = "foolscope"
P = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}
FIRST_EPS = {
    "linf": 1 / 255,
    "l2": 1.0,
    "l1": 10.0,
}  # of AttackBench's search: doubled until it succeeds, then bisected
FOOLBOX_DEEPFOOL = {"linf": "LinfDeepFoolAttack", "l2": "L2DeepFoolAttack"}
FOOLBOX_FMN = {"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack", "l0": "L0FMNAttack"}
REHEARSAL = (8, 16)  # steps of the two trial runs that tell what a step of ours costs

Run = Callable[[nn.Module, Tensor, Tensor, str, int], object]


@dataclass(frozen=True)
class Contestant:
    """One attack of one library.

    Attributes:
        library: whose.
        name: which.
        norms: in which it takes part.
        run: `network, images, labels, norm, budget`; what it returns is ignored, what it shows the network counts.
        rows: how the rows it sends match the images (`counted`).
        jacobian: whether it takes a gradient for every class.
        least: the smallest budget that it can make use of.
    """

    library: str
    name: str
    norms: tuple[str, ...]
    run: Run
    rows: str = WHOLE
    jacobian: bool = False
    least: int = 1


def ours(text: str) -> Contestant:
    """One of our attacks, its text as on the command line; `steps` are chosen for the budget unless the text sets them."""
    from foolscope.attacks import ATTACKS

    return Contestant(OURS, text, ATTACKS[text.partition(":")[0]].norms, partial(_run_ours, text), TOLD)


def our_minimal() -> list[Contestant]:
    """All minimal-norm rows of `ATTACKS`."""
    from foolscope.attacks import ATTACKS

    return [ours(row.name) for row in ATTACKS.values() if row.kind == "minimal norm"]


def _run_ours(text: str, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, budget: int) -> None:
    from foolscope.attacks import bind

    attack = bind(text, norm=norm)
    options = dict(attack.options)
    assert isinstance(network, Counted)
    if "steps" in inspect.signature(attack.function).parameters and "steps" not in options:
        costs, begun = [], time.perf_counter()
        for steps in REHEARSAL:
            trial = Counted(network.network, inputs[:8], labels[:8], rows=TOLD)
            attack.function(Telling(trial, inputs[:8], labels[:8]), inputs[:8], labels[:8], **options, steps=steps)
            costs.append(int(trial.spent.max()))
        a_step = max(1.0, (costs[1] - costs[0]) / (REHEARSAL[1] - REHEARSAL[0]))
        options["steps"] = max(1, int((budget - costs[0]) / a_step + REHEARSAL[0]))
        network.overhead += time.perf_counter() - begun
    attack.function(Telling(network, inputs, labels), inputs, labels, **options)


# What the peers' attacks share.

FixedEps = Callable[[Tensor], Tensor]  # eps (n,) to images


def _search(network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, rounds: int, attack: FixedEps) -> None:
    """AttackBench's search for the smallest eps at which an attack succeeds, image by image; each round is checked by a forward."""
    low, high = torch.zeros(len(inputs)), torch.full((len(inputs),), torch.inf)
    eps = torch.full((len(inputs),), FIRST_EPS[norm])
    for _ in range(rounds):
        found = attack(eps).detach()
        with torch.no_grad():
            fooled = network(found).argmax(1) != labels
        low, high = torch.where(fooled, low, eps), torch.where(fooled, eps, high)
        eps = torch.where(torch.isfinite(high), (low + high) / 2, 2 * eps)


def _apgd(rounds: int, loss: str, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, budget: int) -> None:
    from adv_lib.attacks import apgd

    steps = (budget // rounds - 1) // 2 - 1
    large = norm == "l1" and steps >= 10
    attack = partial(
        apgd,
        network,
        inputs,
        labels,
        norm=P[norm],
        n_iter=steps - 2 if large else steps,  # each of the three radii begins with a pass of its own
        loss_function=loss,
        use_large_reps=large,
    )
    _search(network, inputs, labels, norm, rounds, attack)


def _apgd_t(rounds: int, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, budget: int) -> None:
    from adv_lib.attacks import apgd_targeted

    targets = 5
    steps = max(1, (budget // rounds - 2) // (2 * targets) - 1)
    attack = partial(apgd_targeted, network, inputs, labels, norm=P[norm], n_iter=steps, num_targets=targets)
    _search(network, inputs, labels, norm, rounds, attack)


def _adv_lib(
    name: str, passes: float, steps: str, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, budget: int
) -> None:
    """An attack of adv-lib's of which a step costs `passes`; `steps` is what it calls them."""
    import adv_lib.attacks as library
    from adv_lib.attacks.primal_dual_gradient_descent import pdgd, pdpgd
    from adv_lib.attacks.stochastic_sparse_attacks import vfga

    settings: dict[str, Any] = {steps: max(1, int(budget / passes))}
    if name in ("fmn", "pdpgd", "df", "fab"):
        settings["norm"] = P[norm]
    if name == "fmn" and norm == "linf":
        settings["α_init"] = 10.0
    if name == "ddn":
        settings["levels"] = None
    if name == "alma":
        settings |= {"distance": norm, "init_lr_distance": {"l2": 1.0, "l1": 10.0}[norm]}
    if name == "carlini_wagner_l2":
        settings |= {"binary_search_steps": 9}
    if name == "vfga":
        settings |= {"targeted": False, "large_memory": True}
    attack = {"pdgd": pdgd, "pdpgd": pdpgd, "vfga": vfga}.get(name) or getattr(library, name)
    attack(network, inputs, labels, **settings)


def _foolbox(
    names: dict[str, str],
    passes: float,
    options: dict[str, Any],
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    norm: str,
    budget: int,
) -> None:
    import foolbox

    known = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = getattr(foolbox.attacks, names[norm])(steps=max(1, int(budget / passes)), **options)
    attack.run(known, inputs, foolbox.criteria.Misclassification(labels))


def _foolbox_bim(rounds: int, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, budget: int) -> None:
    import foolbox

    known = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfBasicIterativeAttack(steps=(budget // rounds - 1) // 2)

    def fixed(eps: Tensor) -> Tensor:
        wide = eps.view(-1, *[1] * (inputs.ndim - 1))
        found: Tensor = attack.run(known, inputs, foolbox.criteria.Misclassification(labels), epsilon=wide)
        return found

    _search(network, inputs, labels, norm, rounds, fixed)


def _torchattacks_pgd(rounds: int, network: nn.Module, inputs: Tensor, labels: Tensor, norm: str, budget: int) -> None:
    import torchattacks

    attack = torchattacks.PGD(network, steps=(budget // rounds - 1) // 2, random_start=False)

    def fixed(eps: Tensor) -> Tensor:
        attack.eps = eps.view(-1, *[1] * (inputs.ndim - 1))
        attack.alpha = attack.eps / 4  # the ratio of its defaults
        return torch.as_tensor(attack.forward(inputs, labels))

    _search(network, inputs, labels, norm, rounds, fixed)


def _torchattacks(
    name: str,
    passes: float,
    options: dict[str, Any],
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    norm: str,
    budget: int,
) -> None:
    import torchattacks

    steps = "max_iterations" if name == "EADL1" else "steps"
    getattr(torchattacks, name)(network, **{steps: max(1, int(budget / passes))}, **options).forward(inputs, labels)


def _art(
    name: str,
    passes: float,
    options: dict[str, Any],
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    norm: str,
    budget: int,
) -> None:
    import art.attacks.evasion as evasion
    from art.estimators.classification import PyTorchClassifier

    assert isinstance(network, Counted)
    with torch.no_grad():
        classes = network.network(inputs[:1]).shape[1]
    known = PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(inputs.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = getattr(evasion, name)(
        known, max_iter=max(1, int(budget / passes)), batch_size=len(inputs), verbose=False, **options
    )
    attack.generate(inputs.numpy(), nn.functional.one_hot(labels, classes).numpy())


def _peers() -> list[Contestant]:
    three = ("linf", "l2", "l1")
    adv = partial(Contestant, "adv-lib")
    rows = [
        adv(f"APGD {loss} x{rounds}", three, partial(_apgd, rounds, loss), least=20 * rounds)
        for rounds in (5, 10)
        for loss in ("dlr", "ce")
    ]
    rows += [
        adv("APGD-T x10", three, partial(_apgd_t, 10), RISING, least=1000),
        adv("FMN", (*three, "l0"), partial(_adv_lib, "fmn", 2, "steps")),
        adv("PDPGD", ("linf", "l1", "l0"), partial(_adv_lib, "pdpgd", 2, "num_steps")),
        adv("DeepFool", ("linf", "l2"), partial(_adv_lib, "df", 10, "steps"), RISING, jacobian=True),
        adv("FAB", three, partial(_adv_lib, "fab", 11, "n_iter"), jacobian=True),
        adv("DDN", ("l2",), partial(_adv_lib, "ddn", 2, "steps")),
        adv("PDGD", ("l2",), partial(_adv_lib, "pdgd", 2, "num_steps")),
        adv("ALMA", ("l2", "l1"), partial(_adv_lib, "alma", 2, "num_steps")),
        adv("CW", ("l2",), partial(_adv_lib, "carlini_wagner_l2", 18, "max_iterations")),
        adv("sigma-zero", ("l0",), partial(_adv_lib, "sigma_zero", 2, "num_steps")),
        adv("VFGA", ("l0",), partial(_adv_lib, "vfga", 22, "max_iter"), REPEATED),
        Contestant("foolbox", "BIM x10", ("linf",), partial(_foolbox_bim, 10), least=100),
        Contestant("foolbox", "DeepFool", ("linf", "l2"), partial(_foolbox, FOOLBOX_DEEPFOOL, 18, {})),
        Contestant("foolbox", "DDN", ("l2",), partial(_foolbox, {"l2": "DDNAttack"}, 2, {})),
        Contestant("foolbox", "FMN", ("linf", "l2", "l1", "l0"), partial(_foolbox, FOOLBOX_FMN, 2, {})),
        Contestant("foolbox", "CW", ("l2",), partial(_foolbox, {"l2": "L2CarliniWagnerAttack"}, 18, {})),
        Contestant("foolbox", "EAD", ("l1",), partial(_foolbox, {"l1": "EADAttack"}, 27, {"decision_rule": "L1"})),
        Contestant("torchattacks", "PGD x10", ("linf",), partial(_torchattacks_pgd, 10), least=100),
        Contestant("torchattacks", "CW", ("l2",), partial(_torchattacks, "CW", 2, {})),
        Contestant("torchattacks", "EADL1", ("l1",), partial(_torchattacks, "EADL1", 27, {}), least=300),
        Contestant("ART", "DeepFool", ("l2",), partial(_art, "DeepFool", 11, {}), jacobian=True),
        Contestant("ART", "CW", ("l2",), partial(_art, "CarliniL2Method", 18, {"binary_search_steps": 9}), RISING),
        Contestant("ART", "EAD", ("l1",), partial(_art, "ElasticNet", 27, {"binary_search_steps": 9}), RISING),
    ]
    return rows


PEERS = _peers()


def named_peer(text: str) -> Contestant:
    """One of the peers' attacks.

    Raises:
        InputError: none is called that.

    Example:
        >>> named_peer("adv-lib FMN").norms
        ('linf', 'l2', 'l1', 'l0')
    """
    known = {f"{row.library} {row.name}": row for row in PEERS}
    if text not in known:
        raise InputError("--against", "an attack of the peers'", text, known)
    return known[text]


def taking_part(contestants: list[Contestant], norm: str, budget: int, classes: int) -> list[Contestant]:
    """Those of a norm and a budget; with many classes without those that need a gradient for each."""
    return [
        row
        for row in contestants
        if norm in row.norms and row.least <= budget and not (row.jacobian and 11 * classes > 10 * budget)
    ]
