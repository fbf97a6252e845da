"""In another box, all lengths times the same power of two, every attack takes the same steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import ATTACKS, bind
from foolscope.attacks._table import MINIMAL
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH = 256.0
EPS = {"linf": 0.1, "l2": 0.5, "l1": 2.0, "l0": 4.0}
ABSOLUTE = ("equal_footing",)  # its multiplier is a number of input units, as in the paper
CASES = [(name, norm) for name, row in ATTACKS.items() if name not in ABSOLUTE for norm in row.norms]


class Wider(nn.Module):
    """A network for images in [0, width]."""

    def __init__(self, body: nn.Module, width: float) -> None:
        super().__init__()
        self.body, self.width = body, width

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x / self.width)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_units_of_the_box_do_not_matter(name: str, norm: str) -> None:
    body, images = Curved(), random_images(12)
    labels, found = body(images).argmax(1), []
    for width in (1.0, WIDTH):
        eps = None if ATTACKS[name].kind == MINIMAL else EPS[norm] * (1.0 if norm == "l0" else width)
        oracle = Oracle(Wider(body, width), images * width, labels, bounds=(0.0, width))
        found.append(bind(name, norm=norm, eps=eps)(oracle) / width)
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_deepfool_in_half_precision(dtype: torch.dtype, norm: str) -> None:
    body, images = Curved().to(dtype), random_images(64).to(dtype)
    labels = body(images).argmax(1)
    assert (body(bind("deepfool", norm=norm)(Oracle(body, images, labels))).argmax(1) != labels).all()


def test_sigma_zero_in_half_precision_where_some_pixels_do_not_matter() -> None:
    body, images = Curved(), random_images(12)
    body.body[1].weight.data[:, ::3] = 0
    labels = body(images).argmax(1)
    found = bind("sigma_zero")(Oracle(body.half(), images, labels))
    assert (body(found).argmax(1) != labels).all()
