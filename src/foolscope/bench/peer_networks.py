"""The networks on which attacks are compared with the peers': skeletons, which any process can build, and how they are filled with weights.

Nothing here needs more than torch and numpy until `fill` is called, so that a process in the peers' environment can build the skeletons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.models.builtin import MODELS
from foolscope.models.digits import seeded
from foolscope.testing.masked import KWinners, QuantisedInput, ScaledLogits, with_activation

BUDGETS = (200, 1000, 2000)
TEMPERATURE = 100.0  # of the defensively distilled network
WINNERS = 0.1  # share of activations that the k-winners network keeps


@dataclass(frozen=True)
class Network:
    """One network of the comparison.

    Attributes:
        name: in the tables.
        data: its images.
        skeleton: builds it, weights at random.
        fill: gives a fresh skeleton its weights, in place.
        masked: whether its gradients mislead (a table of its own).
        eps: radii at which fixed-eps batteries are compared on it: a number for linf, `l2 1` for another norm.
        samples: how many images where nobody says.
        budgets: at which minimal distances are compared; none where they are not.
        crop: central square, in pixels.
        classes: how many; attacks that take a gradient for each class are left out where there are many.
    """

    name: str
    data: str
    skeleton: Callable[[], nn.Module]
    fill: Callable[[nn.Module], None]
    masked: bool = False
    eps: tuple[str, ...] = ()
    samples: int = 100
    budgets: tuple[int, ...] = BUDGETS
    crop: int | None = None
    classes: int = 10


def _published(builtin: str, weights: str, network: nn.Module) -> None:
    from foolscope.models import load_model

    network.load_state_dict(load_model(builtin, weights=weights).module.state_dict())


def _plain(network: nn.Module) -> None:
    """Trained as the speed benchmark trains it."""
    from foolscope.bench.networks import train_plain

    train_plain(network, "mnist")


def _hardened(objective: str, network: nn.Module) -> None:
    """One epoch of MNIST by Adam under one of our training objectives."""
    from foolscope.bench.networks import batches
    from foolscope.training import bind_objective

    loss, optimiser = bind_objective(objective), torch.optim.Adam(network.parameters(), 1e-3)
    for x, y in batches("mnist"):
        optimiser.zero_grad()
        torch.autograd.backward(loss(network.train(), x, y).mean())
        optimiser.step()


def _inner(fill: Callable[[nn.Module], None], place: int, network: nn.Module) -> None:
    assert isinstance(network, nn.Sequential)
    fill(network[place])


def _distilled(network: nn.Module) -> None:
    """Papernot et al. 2016, arXiv:1511.04508: a teacher at a temperature, then a student on its soft labels at the same; used at 1."""
    teacher = MODELS["mnist_cnn_a"].build()
    _soften(teacher, None)
    _soften(network, teacher)


def _soften(network: nn.Module, teacher: nn.Module | None) -> None:
    from foolscope.bench.networks import batches

    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for x, y in batches("mnist", epochs=2):
        aim: Tensor = y
        if teacher is not None:
            with torch.no_grad():
                aim = (teacher(x) / TEMPERATURE).softmax(1)
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(x) / TEMPERATURE, aim))
        optimiser.step()


def _around(before: Callable[[], nn.Module] | None, after: Callable[[], nn.Module] | None) -> nn.Module:
    parts = (before, MODELS["mnist_cnn_a"].build, after)
    return nn.Sequential(*(part() for part in parts if part is not None))


def _channels_last(build: Callable[[], nn.Module]) -> nn.Module:
    """The same function in three quarters of the time, for everyone (docs/benchmarks.md)."""
    return build().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _winners() -> nn.Module:
    return with_activation(MODELS["mnist_cnn_a"].build(), partial(KWinners, WINNERS))


NETWORKS: dict[str, Network] = {
    row.name: row
    for row in (
        Network("mnist_cnn_a plain", "mnist", MODELS["mnist_cnn_a"].build, _plain, eps=("0.1", "l2 1", "l1 5")),
        Network(
            "mnist_cnn_a_adv",
            "mnist",
            MODELS["mnist_cnn_a"].build,
            partial(_published, "mnist_cnn_a", "mnist_cnn_a_adv"),
            eps=("0.3", "l2 1", "l1 5"),
        ),
        Network(
            "mnist_conv_provable_linf0.1",
            "mnist",
            MODELS["mnist_cnn_a"].build,
            partial(_published, "mnist_cnn_a", "mnist_conv_provable_linf0.1"),
            eps=("0.1", "l2 1"),
        ),
        Network(
            "cifar10_cnn_a_adv",
            "cifar10",
            MODELS["cifar10_cnn_a"].build,
            partial(_published, "cifar10_cnn_a", "cifar10_cnn_a_adv"),
            eps=("2/255", "8/255", "l2 0.5", "l1 5"),
        ),
        Network(
            "cifar10_resnet20",
            "cifar10_lossless",
            MODELS["cifar10_resnet20"].build,
            partial(_published, "cifar10_resnet20", "cifar10_resnet20"),
            eps=("1/255", "l2 0.1"),
        ),
        # Not looked at before the battery was chosen: they tell whether it was tuned to those above.
        Network("maxout_240 plain", "mnist", MODELS["maxout_240"].build, _plain, eps=("0.1",), budgets=()),
        Network(
            "mlp fgsm_mix",
            "mnist",
            MODELS["mlp"].build,
            partial(_hardened, "fgsm_mix:eps=0.2"),
            eps=("0.1",),
        ),
        Network(
            "lenet trades",
            "mnist",
            MODELS["lenet"].build,
            partial(_hardened, "trades:eps=0.2,steps=5"),
            eps=("0.2",),
            budgets=(),
        ),
        # Nor were these before it was made cheaper (docs/decisions/0075).
        Network("cnn plain", "mnist", MODELS["cnn"].build, _plain, eps=("0.1",), budgets=()),
        Network(
            "cnn madry",
            "mnist",
            MODELS["cnn"].build,
            partial(_hardened, "madry:eps=0.2,steps=7"),
            eps=("0.2",),
            budgets=(),
        ),
        Network(
            "squeezenet1_0",
            "imagenet_sample",
            partial(_channels_last, MODELS["squeezenet1_0"].build),
            partial(_published, "squeezenet1_0", "imagenet_squeezenet1_0"),
            samples=50,
            budgets=(200,),
            crop=227,
            classes=1000,
        ),
        Network(
            "logits x 10^4",
            "mnist",
            partial(_around, None, partial(ScaledLogits, 1e4)),
            partial(_inner, _plain, 0),
            masked=True,
            eps=("0.1",),
        ),
        Network("k-winners 10 %", "mnist", _winners, _plain, masked=True, eps=("0.1",)),
        Network(
            "16 input levels",
            "mnist",
            partial(_around, partial(QuantisedInput, 16, "identity"), None),
            partial(_inner, _plain, 1),
            masked=True,
            eps=("0.1",),
        ),
        Network("distilled at T 100", "mnist", MODELS["mnist_cnn_a"].build, _distilled, masked=True, eps=("0.1",)),
    )
}


def named(names: tuple[str, ...]) -> list[Network]:
    """The networks of these names, all where there are none.

    Raises:
        InputError: an unknown name.
    """
    for name in names:
        if name not in NETWORKS:
            raise InputError("--network", "a network of the comparison", name, NETWORKS)
    return [NETWORKS[name] for name in names or NETWORKS]


def built(network: Network) -> nn.Module:
    """The network with its weights, frozen and in eval mode; what has to be trained is trained on one thread, from seed 0."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same bytes whatever the number of threads of the run
    try:
        with seeded(0):
            module = network.skeleton()
            network.fill(module)
    finally:
        torch.set_num_threads(threads)
    return frozen(module)


def frozen(module: nn.Module) -> nn.Module:
    """In eval mode, no parameter requiring a gradient."""
    return module.eval().requires_grad_(False)
