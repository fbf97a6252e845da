"""The options that commands share, and how their texts are read: a text that does not fit is an InputError, one clear line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from foolscope.errors import InputError
from foolscope.numbers import duration, number, numbers

NORMS = ("linf", "l2", "l1", "l0")
EFFORTS = ("quick", "standard", "exhaustive")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Said(click.ParamType[Any]):
    """A type of option that one of our own functions reads, `(option, text) -> value`."""

    def __init__(self, name: str, read: Callable[[str, str], Any]) -> None:
        self.name = name
        self.read = read

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The name as it stands: click would put the names to choose from in capitals, which are not accepted."""
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text as a value; what is a value already stays."""
        return self.read(param.opts[-1] if param else self.name, value) if isinstance(value, str) else value


def _whole(argument: str, text: str) -> int:
    try:
        return int(text)  # exactly, which a float would not hold from 2^53 on
    except ValueError:
        raise InputError(argument, "a whole number", text) from None


def _bounds(argument: str, text: str) -> tuple[float, float] | str:
    if text.lower() == "none":
        return "none"
    values = numbers(argument, text)
    if len(values) != 2 or not -3.4e38 < values[0] < values[1] < 3.4e38:  # what float32 holds
        raise InputError(argument, "two rising numbers such as 0,1, or none", text)
    return values[0], values[1]


def _eps(argument: str, text: str) -> str:
    number(argument, text)
    return text


def _momentum(argument: str, text: str) -> float | tuple[float, ...]:
    values = numbers(argument, text)
    if len(values) not in (1, 3):
        raise InputError(argument, "one number, or three such as 0.5,0.7,250", text)
    return values[0] if len(values) == 1 else tuple(values)


def _validation(argument: str, text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def choice(names: Sequence[str]) -> Said:
    """One of these names; the nearest are offered for any other."""

    def read(argument: str, text: str) -> str:
        if text not in names:
            raise InputError(argument, "one of its names", text, names)
        return text

    return Said("|".join(names), read)


WHOLE, NUMBER, BOUNDS = Said("N", _whole), Said("X", number), Said("LO,HI", _bounds)
EPS = Said("EPS", _eps)

OUTPUT_OPTIONS: tuple[Decorator, ...] = (
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, nothing else there."),
    click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks."),
)
MODEL_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--weights", metavar="FILE", help="Safetensors or a state dict; also a name under $FOOLSCOPE_WEIGHTS."
    ),
    click.option("--mean", type=Said("A,B,C", numbers), help="Normalisation put inside the model."),
    click.option("--std", type=Said("A,B,C", numbers), help="Normalisation put inside the model."),
    click.option("--resize", type=WHOLE, help="Shorter side of the images, in pixels."),
    click.option("--crop", type=WHOLE, help="Side of the central square, in pixels."),
    click.option("--device", metavar="D", help="cpu, cuda, cuda:1 ...  [default: cuda if present]"),
    *OUTPUT_OPTIONS,
)
RUN_OPTIONS: tuple[Decorator, ...] = (
    click.option("--norm", type=choice(NORMS), default="linf", show_default=True, help="How distance is measured."),
    click.option("--eps", type=EPS, help="Radius, 8/255 or 0.03; l0: components.  [default: 8/255 in linf]"),
    click.option("--samples", type=WHOLE, help="Only the first N images, in file order."),
    click.option("--seed", type=WHOLE, default=0, show_default=True, help="Of every random draw."),
    click.option("--batch-size", type=WHOLE, help="Images a batch.  [default: automatic; 128 in training]"),
    click.option("--bounds", type=BOUNDS, default="0,1", show_default=True, help="The box, or none."),
    click.option("--overwrite", is_flag=True, help="Replace another run in the folder."),
    click.option(
        "--time-limit", type=Said("10m", duration), help="Stop cleanly after this time, with what is proved so far."
    ),
    *MODEL_OPTIONS,
)
RECORDED_OPTIONS: tuple[Decorator, ...] = (  # of a run that is done: what is given here has to be what it was run with
    click.option("--norm", type=choice(NORMS), help="As recorded."),
    click.option("--eps", type=EPS, help="As recorded."),
    click.option("--effort", type=choice(EFFORTS), help="As recorded."),
    click.option("--samples", type=WHOLE, help="As recorded."),
    click.option("--seed", type=WHOLE, help="As recorded."),
    click.option("--batch-size", type=WHOLE, help="As recorded."),
    click.option("--bounds", type=BOUNDS, help="As recorded."),
    *MODEL_OPTIONS,
)


TRAIN_OPTIONS: tuple[Decorator, ...] = (
    click.option("--epochs", type=WHOLE, default=10, show_default=True, help="Passes over the training images."),
    click.option("--optimiser", type=choice(("sgd", "adam", "adamw")), default="sgd", show_default=True),
    click.option("--lr", type=NUMBER, help="Learning rate.  [default: 0.1 for sgd, 0.001 for the others]"),
    click.option(
        "--momentum",
        type=Said("M or FIRST,LAST,EPOCHS", _momentum),
        default="0.9",
        show_default=True,
        help="Of sgd; three numbers: a rise over so many epochs.",
    ),
    click.option("--weight-decay", type=NUMBER, default=0.0, show_default=True),
    click.option(
        "--schedule",
        default="constant",
        show_default=True,
        help="constant, linear, cosine, steps, cycle or exponential, with options after a colon.",
    ),
    click.option("--augment", default="none", show_default=True, help="none, or flip and crop:pad=4 joined by +."),
    click.option(
        "--validation",
        type=Said("SHARE|DATA", _validation),
        default=0.1,
        show_default=True,
        help="Share of DATA held out, or other data; 0: none.",
    ),
    click.option(
        "--stop",
        type=choice(("none", "clean", "adversarial")),
        default="none",
        show_default=True,
        help="The validation error whose rise ends training.",
    ),
    click.option("--patience", type=WHOLE, default=10, show_default=True, help="Epochs without a fall before that."),
    click.option(
        "--probe",
        default="pgd:steps=10",
        show_default=True,
        help="ATTACK behind the adversarial validation error, or file.py:FUNCTION.",
    ),
    click.option(
        "--probe-samples", type=WHOLE, default=500, show_default=True, help="Validation images that it attacks."
    ),
    click.option(
        "--audit",
        type=choice((*EFFORTS, "none")),
        default="quick",
        show_default=True,
        help="Effort of the audit afterwards.",
    ),
    click.option("--audit-samples", type=WHOLE, default=500, show_default=True, help="Images it is run on."),
    click.option(
        "--test",
        metavar="DATA",
        help="Images to audit on.  [default: the split test of built-in data, else those held out]",
    ),
)


def taking(options: Sequence[Decorator]) -> Decorator:
    """All of these options, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
