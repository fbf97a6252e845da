"""`docs/results.md` and `docs/hardened.md`, written from the records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foolscope.reproducing.claim import NOT_REPRODUCED, NOT_RUN, REPRODUCED, Claim, Record
from foolscope.reproducing.figures import FIGURES, as_svg, specification
from foolscope.reproducing.pictures import CAPTIONS, rows, sheet
from foolscope.reproducing.recipes import CONTRASTS
from foolscope.store import replacing

IMAGES = Path("images") / "results"  # beside the pages
HARDENED = "H1"
ROWS = 30  # of a series that has no figure, at most, to stand on the page as a table
WORDS = {REPRODUCED: "reproduced", NOT_REPRODUCED: "**not reproduced**", NOT_RUN: "not run"}
WRITTEN = "<!-- Written by `foolscope reproduce --pages docs` from results/*.json: change those, not this. -->"


def results_page(claims: Sequence[Claim], records: Sequence[Record]) -> str:
    """Every claim with what it says, what was measured, and the verdict of its rule."""
    known = {record.id: record for record in records}
    claims = [claim for claim in claims if claim.id != HARDENED]
    count = {word: sum(_verdict(claim, known) == word for claim in claims) for word in WORDS}
    lines = [
        WRITTEN,
        "",
        "# The papers' claims, measured",
        "",
        f"{len(claims)} claims: {count[REPRODUCED]} reproduced, {count[NOT_REPRODUCED]} not reproduced, {count[NOT_RUN]} not run.",
        "Each has a rule that was stated before it was measured, and the verdict looks at nothing else. Where a document gives no number,",
        "the cell under *claimed* stays empty. An image that a network gets wrong without any attack is left alone and counts as an error;",
        "intervals are 95 %. `small` is a stated, smaller version for two cores; what it changes stands under *Substituted*. *Stated* is",
        "what a claim was said to take, roughly, with networks not yet trained; *minutes* is the time by the clock that it took, with the",
        "trainings behind it, whenever they took place; other work on the machine lengthens it. Numbers from fewer images or seeds",
        "than a rule demands judge nothing, and the claim stands as not run.",
        "",
        "| id | claim | verdict | n | scale | stated | minutes |",
        "| --- | --- | --- | ---: | --- | --- | ---: |",
    ]
    for claim in claims:
        record = known.get(claim.id)
        verdict = WORDS[_verdict(claim, known)]
        lines.append(
            f"| [{claim.id}](#{claim.id.lower()}) | {_cell(claim.title)} | {verdict} | {_effort(claim, record)} |"
        )
    for claim in claims:
        lines += [
            "",
            f"## {claim.id}",
            "",
            f"{_sentence(claim.title)} Document {claim.seed_document}; {claim.source}.",
            "",
        ]
        lines += _details(claim, known.get(claim.id))
    return "\n".join(lines) + "\n"


def _verdict(claim: Claim, known: Mapping[str, Record]) -> str:
    return known[claim.id].verdict if claim.id in known else NOT_RUN


def _details(claim: Claim, record: Record | None) -> list[str]:
    if record is None:
        return [f"Not run. Rule: {claim.rule}. Cost: {_costs(claim)}."]
    notes = [str(note) for note in record.measured.get("notes", ())]
    lines = [f"Rule: {record.rule}. **Verdict: {record.verdict}** ({record.scale} scale)."]
    if record.verdict == NOT_RUN and not _values(record):
        return [*lines, "", f"{' '.join(_sentence(note) for note in notes)} Cost: {_costs(claim)}."]
    lines += ["", "| value | claimed | measured | 95 % |", "| --- | ---: | ---: | --- |"]
    for key in dict.fromkeys([*record.claimed, *_values(record)]):
        low_high = record.interval.get(key)
        interval = f"{_number(low_high[0])} to {_number(low_high[1])}" if low_high else ""
        lines.append(
            f"| {key} | {_number(record.claimed.get(key))} | {_number(record.measured.get(key))} | {interval} |"
        )
    if record.id in FIGURES and record.measured.get("series"):
        lines += ["", f"![{FIGURES[record.id].alt}]({(IMAGES / f'{record.id}.svg').as_posix()})"]
    elif 0 < len(series := record.measured.get("series", ())) <= ROWS:
        lines += ["", f"| {' | '.join(series[0])} |", f"|{' --- |' * len(series[0])}"]
        lines += [f"| {' | '.join(_number(value) for value in row.values())} |" for row in series]
    if tiles := record.measured.get("pictures"):
        named = f" Rows from the top: {', '.join(rows(tiles))}." if len(rows(tiles)) > 1 else ""
        caption = f"{CAPTIONS[record.id]}.{named}"
        lines += ["", f"![{caption}]({(IMAGES / f'{record.id}.png').as_posix()})", "", f"*{caption}*"]
    if record.substituted:
        lines += ["", "Substituted:", "", *(f"- {text}" for text in record.substituted)]
    if notes:
        lines += ["", *(_sentence(note) for note in notes)]
    seeds = ", ".join(map(str, record.seeds))
    lines += [
        "",
        f"n = {record.n:,}; seeds {seeds}; {record.seconds:,.0f} s with training, {_hardware(record)}; `{record.command}`.",
    ]
    return lines


def _survival(series: Sequence[Mapping[str, Any]]) -> str:
    """What the page's title asks, answered in a sentence."""
    kept = {
        row["network"]: row["robust_accuracy"] / row["fgsm_accuracy"]
        for row in series
        if row["fgsm_accuracy"] and row["network"] not in CONTRASTS
    }
    most = max(kept, key=lambda name: kept[name], default=None)
    if most is None:
        return "None of the papers' networks resists FGSM."
    few = sum(share < 0.1 for share in kept.values())
    return (
        f"**Of {len(kept)} networks of the papers that withstand FGSM on some image, {few} keep less than a tenth of that accuracy; most "
        f"survives of *{most}*: {kept[most]:.0%}.**"
    )


def hardened_page(records: Sequence[Record]) -> str:
    """The audit of each hardened network beside its FGSM number; empty where there is no such record."""
    record = next((record for record in records if record.id == HARDENED), None)
    if record is None or not record.measured.get("series"):
        return ""
    lines = [
        WRITTEN,
        "",
        "# How much of the papers' robustness survives a modern attack?",
        "",
        f"{record.n:,} MNIST test images, linf eps 0.25, box [0, 1]. *FGSM* is the accuracy after one step on cross-entropy, as the papers",
        "have it. *Audit* is what `foolscope audit` leaves standing, an upper bound on the robust accuracy; *survives* is audit over FGSM.",
        "What a verdict other than *sound* means, and the check named behind it, is in [trust.md](trust.md).",
        "",
        _survival(record.measured["series"]),
        "",
        "| network | clean | FGSM | audit | 95 % | survives | median distance | trust |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for row in record.measured["series"]:
        survives = f"{row['robust_accuracy'] / row['fgsm_accuracy']:.0%}" if row["fgsm_accuracy"] else "–"
        trust = row["trust"] + (f" ({row['reasons']})" if row["reasons"] else "")
        lines.append(
            f"| {row['network']} | {row['clean_accuracy']:.1%} | {row['fgsm_accuracy']:.1%} | {row['robust_accuracy']:.1%} | "
            f"{row['low']:.1%} to {row['high']:.1%} | {survives} | {_number(row['median_distance'])} | {trust} |"
        )
    if record.substituted:
        lines += ["", "Networks:", "", *(f"- {text}" for text in record.substituted)]
    lines += ["", *(_sentence(str(note)) for note in record.measured.get("notes", ()))]
    lines += ["", f"{record.seconds:,.0f} s with training, {_hardware(record)}; `{record.command}`."]
    return "\n".join(lines) + "\n"


def write_pages(claims: Sequence[Claim], records: Sequence[Record], folder: Path) -> tuple[Path, ...]:
    """Writes both pages and their pictures; the paths written."""
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    texts = {"results.md": results_page(claims, records), "hardened.md": hardened_page(records)}
    written = {folder / name: text.encode() for name, text in texts.items()}
    for record in records:
        series, tiles = record.measured.get("series"), record.measured.get("pictures")
        if record.id in FIGURES and series:
            written[folder / IMAGES / f"{record.id}.svg"] = as_svg(specification(FIGURES[record.id], series)).encode()
        if tiles:
            written[folder / IMAGES / f"{record.id}.png"] = sheet(tiles)
    for path, content in written.items():
        if content:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
    return tuple(path for path, content in written.items() if content)


def _values(record: Record) -> list[str]:
    return [key for key in record.measured if key not in ("notes", "series", "pictures")]


def _number(value: Any) -> str:
    """A value as a cell: four significant digits, empty for what is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _effort(claim: Claim, record: Record | None) -> str:
    """The overview's last cells: images, scale, stated cost and minutes; the last is empty for what has no numbers."""
    if record is None:
        return f" |  | {claim.cost['small']} | "
    minutes = f"{record.seconds / 60:.1f}" if record.n else ""
    n = f"{record.n:,}" if record.n else ""
    return f"{n} | {record.scale} | {claim.cost[record.scale]} | {minutes}"


def _costs(claim: Claim) -> str:
    return "; ".join(f"{scale}: {cost}" for scale, cost in claim.cost.items())


def _hardware(record: Record) -> str:
    cpu, gpu = record.hardware.get("cpu"), record.hardware.get("gpu")
    return str(gpu or cpu)
