"""The section about the audit's checks on itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foolscope.report.section import Cell, Column, Notes, Section, Table
from foolscope.report.wording import count, either, plural


def all_checks(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every check, flagged first; reasons that are not among the checks count as flagged ones."""
    checks = list(record["trust"].get("checks", ()))
    known = {check["code"] for check in checks}
    checks += [{**reason, "flagged": True} for reason in record["trust"]["reasons"] if reason["code"] not in known]
    return sorted(checks, key=lambda check: not check["flagged"])


def trust_section(record: Mapping[str, Any]) -> Section:
    """Each check in plain words with its value and threshold, the flagged ones first."""
    checks = all_checks(record)
    flagged = sum(check["flagged"] for check in checks)
    some = f"{plural(flagged, 'check')} of {count(len(checks))} {'is' if flagged == 1 else 'are'} flagged"
    if record["trust"]["verdict"] == "suspicious":
        finding = f"{some}: the attacks may have been hindered, not resisted."
    elif flagged:
        finding = f"{some}, which does not change the verdict: sound."
    else:
        finding = f"None of {plural(len(checks), 'check')} is flagged: no sign that the attacks were hindered."
    notes = tuple(record["trust"].get("notes", ()))
    return Section(
        slug="trust",
        title="Can the numbers be trusted?",
        finding=finding,
        figures=(Notes(notes),) if notes else (),
        table=Table(
            "Checks, the flagged ones first",
            (
                Column("Result"),
                Column("Sign looked for", wide=True),
                Column("Value", numeric=True),
                Column("Flagged above", numeric=True),
                Column("Code"),
            ),
            tuple(_row(check) for check in checks),
        ),
        method="Some models resist attacks only by hiding their gradients; a stronger attacker then finds what a weaker one "
        "missed. Each check looks for one sign of that; passed means that it is absent or within its threshold. "
        "Passing them all is evidence, not proof.",
    )


def _row(check: Mapping[str, Any]) -> tuple[Cell, ...]:
    result = Cell("Flagged", 0.0, tone="bad") if check["flagged"] else Cell("Passed", 1.0, tone="good")
    numbers = (Cell(either(value), _key(value)) for value in (check["value"], check["threshold"]))
    message = str(check["message"])
    return (result, Cell(message[:1].upper() + message[1:]), *numbers, Cell(str(check["code"]), tone="quiet"))


def _key(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
