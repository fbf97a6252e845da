"""Numbers as people write them: `8/255`, `0.3`, `1e-3`."""

from __future__ import annotations

import math
import re

from foolscope.errors import InputError


def number(argument: str, text: str) -> float:
    """`a/b` or a decimal as a finite float.

    Raises:
        InputError: naming `argument`.

    Example:
        >>> number("--eps", "1/4")
        0.25
    """
    try:
        value = math.nan
        above, bar, below = text.partition("/")
        value = float(above) / float(below) if bar else float(above)
    except (ValueError, ZeroDivisionError):
        pass
    if not math.isfinite(value):
        raise InputError(argument, "a finite number such as 8/255 or 0.03", text)
    return value


def within(argument: str, value: float, low: float, high: float = math.inf) -> float:
    """`value` itself, if it lies in [low, high] and is finite.

    Raises:
        InputError: naming `argument`.

    Example:
        >>> within("alpha", 0.5, 0, 1)
        0.5
    """
    if not low <= value <= high or math.isinf(value):
        wanted = f"a number of at least {low:g}" if high == math.inf else f"a number in [{low:g}, {high:g}]"
        raise InputError(argument, wanted, value)
    return value


def numbers(argument: str, text: str) -> list[float]:
    """Numbers with commas between them.

    Raises:
        InputError: naming `argument`.

    Example:
        >>> numbers("--mean", "0.5,1/4")
        [0.5, 0.25]
    """
    return [number(argument, part.strip()) for part in text.split(",")]


def duration(argument: str, text: str) -> float:
    """`90`, `90s`, `10m` or `1h30m` as seconds.

    Raises:
        InputError: naming `argument`.

    Example:
        >>> duration("--time-limit", "1h30m")
        5400.0
    """
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if parts is None or not any(parts.groups()):
        raise InputError(argument, "a time such as 90s, 10m or 1h30m", text)
    return sum(float(value or 0) * unit for value, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
