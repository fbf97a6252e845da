"""How a text such as `steps=40,eps=8/255` becomes the keyword arguments of a function: by the function's own signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from foolscope.errors import InputError
from foolscope.numbers import number


def keyword_only(function: Callable[..., Any], hidden: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of `function` but for those in `hidden`, which the caller hands over."""
    parameters = inspect.signature(function).parameters.items()
    return {key: value for key, value in parameters if value.kind is value.KEYWORD_ONLY and key not in hidden}


def bound_options(
    name: str, parameters: Mapping[str, inspect.Parameter], text: str, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a function that a text and some defaults set.

    Args:
        name: of the function, as the user knows it.
        parameters: what its signature tells of names and types, from `keyword_only`.
        text: `key=value,...`; what it sets wins over `defaults`.
        defaults: values that apply where the function has such an argument.

    Returns:
        Arguments by name, in the order of the signature; those that keep their own default are left out.

    Raises:
        InputError: an unknown key, one given twice, a value of the wrong type, or an argument without a default that nobody set.

    Example:
        >>> def step(x, *, eps: float, steps: int = 3): ...
        >>> bound_options("step", keyword_only(step), "eps=1/4", {"steps": 7})
        {'eps': 0.25, 'steps': 7}
    """
    given = {}
    for item in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in parameters:
            raise InputError(f"{name}:{key}", "one of its options as key=value", item, parameters)
        if key in given:
            raise InputError(f"{name}:{key}", "one value", text)
        given[key] = _value(f"{name}:{key}", value, str(parameters[key].annotation))
    options = {key: given.get(key, defaults.get(key)) for key in parameters if key in given or key in defaults}
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and options.get(key) is None:
            raise InputError(f"--{key}", f"a value, which {name} needs", None)
    return options


def norm_meant(text: str, norm: str) -> str:
    """The norm of `NAME[:key=value,...][+...]`: what the text sets wins over `norm`.

    Example:
        >>> norm_meant("pgd:norm=l2,steps=3", "linf"), norm_meant("plain+entropy:weight=2", "linf")
        ('l2', 'linf')
    """
    said = re.findall(r"[:,]\s*norm\s*=\s*(\w+)", text)
    return said[-1] if said else norm


def _value(argument: str, text: str, annotation: str) -> Any:
    """`text` as the type that a signature declares."""
    if text.lower() == "none" and "None" in annotation:
        return None
    if "bool" in annotation:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InputError(argument, "true or false", text)
        return words[text.lower()]
    if "int" in annotation or "float" in annotation:
        value = number(argument, text)
        if "float" in annotation:
            return value
        # 1e3 is one too; digits alone are not read as a float, which would round them beyond 2**53
        whole = int(text) if re.fullmatch(r"[+-]?\d+", text) else int(value)
        if value != int(value) or not -(2**63) <= whole < 2**63:
            raise InputError(argument, "a whole number of at most 64 bits", text)
        return whole
    return text
