"""What a command shows: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from foolscope.auditing.run import Audit
    from foolscope.explaining.run import Explained
    from foolscope.ledger import Progress
    from foolscope.training import Trained


@contextmanager
def showing() -> Iterator[Progress]:
    """A progress bar with an ETA for each stage; what a stranger's code prints meanwhile goes to standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, Any] = {}
    bars = Progress(*columns, console=Console(stderr=True))
    with ExitStack() as stack:
        stack.enter_context(_descriptor_redirected())
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(_one_line_warnings())

        def tell(stage: str, done: int, total: int) -> None:
            if not tasks:
                stack.enter_context(bars)  # not before: a line about bad input is to stand alone
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell


@contextmanager
def _descriptor_redirected() -> Iterator[None]:
    """Standard output goes to standard error for what does not write through Python too: a library in C, a child process."""
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"foolscope: warning: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def read_or_not() -> Iterator[None]:
    """Around results on standard output: who reads them may go before their end (`| head -1`), which changes no exit code."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich's word for the former
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object."""
    click.echo(json.dumps(content, indent=1, allow_nan=False))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same keys, a column a key, as wide as the terminal allows; whole where the output is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    wide = None if sys.stdout.isatty() else 200
    Console(width=wide, soft_wrap=False, highlight=False, markup=False).print(table)


def print_verdict(audit: Audit) -> None:
    """The verdict of an audit, in a few lines."""
    record = audit.record
    low, high = record["robust_accuracy_interval"]
    eps = f"{record['norm']} {record['eps_text']}"
    for note in record["notes"]:
        click.echo(f"foolscope: note: {note}", err=True)
    say = click.echo
    say(f"{record['model']['name']} on {record['data']['name']}, {record['n']} images, {record['effort']}")
    say(f"  clean accuracy    {record['clean_accuracy']:7.1%}")
    say(f"  robust accuracy   {record['robust_accuracy']:7.1%}  at most, within {eps}  (95 %: {low:.1%} to {high:.1%})")
    median = record["median_distance"]
    say(
        f"  median distance   {'-' if median is None else f'{median:7.4g}'}  {record['norm']}, to the nearest fooling image found"
    )
    passes = record["forwards"] / record["n"], record["backwards"] / record["n"]
    say(f"  cost              {record['seconds']:6.1f}s  {passes[0]:.0f} forwards, {passes[1]:.0f} backwards an image")
    say(f"  trust             {record['trust']['verdict']}")
    for reason in record["trust"]["reasons"]:
        say(f"    {reason['code']}: {reason['message']} (threshold {reason['threshold']:g})")
    for note in record["trust"]["notes"]:
        say(f"    note: {note}")
    say(f"  report            {audit.folder / 'report.html'}")


def print_training(trained: Trained, audited: Audit | None) -> None:
    """What came of training, in a few lines, and the verdict of the audit."""
    record, history = trained.record, trained.history
    for note in record["notes"]:
        click.echo(f"foolscope: note: {note}", err=True)
    say = click.echo
    done = f"{record['epochs_done']} of {record['epochs']} epochs"
    say(f"{record['model']['name']} on {record['data']['name']}, {record['objective']}, {done}")
    if history:
        best = history[record["best_epoch"] - 1]
        say(f"  training error    {best.train_error:7.2%}")
        if best.validation_error is not None:
            say(f"  validation error  {best.validation_error:7.2%}")
        if best.adversarial_error is not None:
            within = f"{record['probe_norm']} {record['probe_eps']:.4g}"
            say(f"  under attack      {best.adversarial_error:7.2%}  {record['probe']} within {within}")
        if record["catastrophic_epoch"]:
            say(f"  CATASTROPHIC OVERFITTING in epoch {record['catastrophic_epoch']}")
        if record["label_leak_epoch"]:
            say(f"  LABEL LEAK from epoch {record['label_leak_epoch']}: single-step numbers do not count")
    say(f"  cost              {record['seconds']:6.1f}s  {record['updates']} updates")
    say(f"  weights           {trained.folder}/best.safetensors (epoch {record['best_epoch']})")
    say(f"  report            {trained.folder}/report.html")
    if not record["complete"]:
        say("  not complete: the same command goes on from here")
    if audited is not None:
        print_verdict(audited)


def print_comparison(record: Mapping[str, Any]) -> None:
    """Audits side by side, and what differs from the first."""
    rows = [
        {
            "audit": row["name"],
            "model": row["model"],
            "clean": f"{row['clean_accuracy']:.1%}",
            "robust, at most": f"{row['robust_accuracy']:.1%}",
            "difference (95 %)": _difference(row),
            "p": "" if row["difference"] is None else f"{row['p']:.2g}",
            "median distance": "-" if row["median_distance"] is None else f"{row['median_distance']:.4g}",
            "trust": row["trust"],
        }
        for row in record["audits"]
    ]
    print_table(rows)
    click.echo(f"report  {record['report']}")


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    low, high = row["difference_interval"]
    return f"{row['difference']:+.1%} ({low:+.1%} to {high:+.1%})"


def print_evaluation(record: Mapping[str, Any]) -> None:
    """What one attack did, in a few lines."""
    say = click.echo
    for note in record["notes"]:
        say(f"foolscope: note: {note}", err=True)
    within = "" if record["eps"] is None else f" within {record['norm']} {record['eps']:.4g}"
    median = record["median_distance"]
    say(f"{record['attack']} against {record['model']['name']} on {record['data']['name']}, {record['n']} images")
    say(f"  clean accuracy    {record['clean_accuracy']:7.1%}")
    say(f"  left standing     {record['robust_accuracy']:7.1%}{within}")
    say(f"  median distance   {'-' if median is None else f'{median:7.4g}'}  {record['norm']}")
    passes = record["forwards"] / record["n"], record["backwards"] / record["n"]
    say(f"  cost              {record['seconds']:6.1f}s  {passes[0]:.0f} forwards, {passes[1]:.0f} backwards an image")


def print_explanations(explained: Explained) -> None:
    """The finding of each explanation, and where the page is."""
    for note in explained.notes:
        click.echo(f"foolscope: note: {note}", err=True)
    for slug, entry in explained.record.items():
        click.echo(f"{slug} (n = {entry['n']}, {entry['cost']:.3g} forward-equivalents an image)")
        click.echo(f"  {entry['finding']}")
    click.echo(f"report: {explained.folder / 'report.html'}")
