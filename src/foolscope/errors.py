"""The two ways a run ends early: bad input (exit 2) and a user's model or attack that raised (exit 3)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, told in one line: which argument, what was expected, what came.

    Args:
        argument: the name the user knows it by (``--eps``, ``DATA``, ``labels``).
        expected: what is accepted.
        got: what came instead; None for nothing.
        accepted: the accepted names, if the argument is a name; the nearest to ``got`` come first.

    Example:
        >>> print(InputError("--norm", "a norm", "l_inf", accepted=["linf", "l2", "l1", "l0"]))
        --norm: expected a norm, got 'l_inf' (nearest: linf; accepted: l0, l1, l2, linf)
    """

    def __init__(self, argument: str, expected: str, got: object, accepted: Iterable[str] = ()) -> None:
        self.argument = argument
        came = repr(got) if isinstance(got, str) else "nothing" if got is None else str(got)
        line = f"{argument}: expected {expected}, got {came}"
        names = sorted(accepted)
        if names:
            near = difflib.get_close_matches(str(got), names, n=3, cutoff=0.5)
            hint = f"nearest: {', '.join(near)}; " if near else ""
            line += f" ({hint}accepted: {', '.join(names)})"
        super().__init__(" ".join(line.split()))


class ForeignError(RuntimeError):
    """The user's own model or attack raised; the message holds its last frame and its words (exit 3)."""
