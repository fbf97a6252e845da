"""`docs/attacks.md`, written from the table and the docstrings: `python -m foolscope.attacks._page > docs/attacks.md`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from foolscope.attacks._table import ATTACKS, Attack, list_attacks

HEAD = """# Attacks

Written by `make docs` from the table `ATTACKS` and the functions' docstrings; a test fails where the two differ.

On the command line: `foolscope attack MODEL DATA NAME:key=value,...`; from Python: `foolscope.attacks.NAME(model, inputs, labels, ...)`.
**Cost** is passes an image at most (f: a forward, g: a forward with a backward); images that are decided cost no more.
**Held to**: what the test suite demands on problems whose exact answer is known. Affine models: a fixed-eps attack succeeds wherever eps
exceeds that multiple of the exact distance; a minimal-norm attack's sizes are at most that multiple of it (median, 90th percentile).
Spheres, and small ReLU networks solved exactly: what half and what 90 % of the images take, as a multiple of the exact distance.
inf: nothing is promised.
"""


def page() -> str:
    """The whole page, in Markdown."""
    listed = {row["name"]: row for row in list_attacks()}
    lines = [
        HEAD,
        "| name | what | norms | kind | targeted | cost | source |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in listed.items():
        cells = (f"[{name}](#{name})", _what(ATTACKS[name]), row["norm"], row["kind"], row["targeted"], row["cost"])
        lines.append(f"| {' | '.join((*cells, row['source']))} |")
    for name, row in listed.items():
        lines += ["", f"## {name}", "", ATTACKS[name].when, ""]
        options = " ".join(f"`{option}`" for option in row["options"].split())
        lines += [f"- Options: {options}" if options else "- No options."]
        lines += [f"- Held to, {where}: {promise}" for where, promise in _promises(ATTACKS[name])]
    return "\n".join(lines) + "\n"


def _what(row: Attack) -> str:
    """The first line of the function's docstring."""
    return (inspect.getdoc(row.function) or "").partition("\n")[0]


def _promises(row: Attack) -> list[tuple[str, str]]:
    held = {"affine models": row.tolerance, "spheres": row.sphere, "ReLU networks": row.relu}
    return [(where, _told(promise)) for where, promise in held.items() if promise]


def _told(promise: Mapping[str, float | tuple[float, float]]) -> str:
    each = {
        norm: f"{value:g}" if isinstance(value, float | int) else " and ".join(f"{v:g}" for v in value)
        for norm, value in promise.items()
    }
    return ", ".join(f"{norm} {text}" for norm, text in each.items()) + "."


if __name__ == "__main__":
    print(page(), end="")
