"""Numbers as people write them: `8/255`, `0.3`, `1e-3`."""

from __future__ import annotations

import math

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
