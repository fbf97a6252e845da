"""The command line: parse, bind, call, print. What a command needs is imported when it runs, so that `--help` answers at once.

Over 400 lines: every command's arguments and help stand here, beside the exit codes that they share.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import traceback
from typing import Any

import click

from foolscope import __version__
from foolscope.cli.options import (
    EFFORTS,
    NORMS,
    NUMBER,
    OUTPUT_OPTIONS,
    RECORDED_OPTIONS,
    RUN_OPTIONS,
    TRAIN_OPTIONS,
    WHOLE,
    choice,
    taking,
)
from foolscope.errors import ForeignError, InputError
from foolscope.memory import keep_freed_memory

DONE, BELOW, BAD_INPUT, FOREIGN, INTERRUPTED = 0, 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="foolscope")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Looks behind an image classifier's test accuracy: how easily is it fooled, and can the number be trusted?

    Example: foolscope audit digits_cnn digits --eps 0.1
    """


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option(
    "--effort", type=choice(EFFORTS), default="standard", show_default=True, help="How hard the battery tries."
)
@click.option("--out", default="foolscope-audit", show_default=True, help="Folder for the files.")
@click.option("--fail-under", type=NUMBER, help="Exit 1 if the robust accuracy lies below this share.")
@taking(RUN_OPTIONS)
def audit(as_json: bool, fail_under: float | None, bounds: Any, **options: Any) -> int:
    """How easily is MODEL fooled on DATA, and can the number be trusted?

    Writes audit.json, samples.parquet, adversarial.safetensors and report.html. The same command again goes on where it stopped.

    Example: foolscope audit net.py:build mnist --weights net.safetensors --eps 0.3 --samples 1000
    """
    from foolscope import api
    from foolscope.cli.printing import print_json, print_verdict, read_or_not, showing

    if fail_under is not None and not 0 <= fail_under <= 1:
        raise InputError("--fail-under", "a share between 0 and 1", fail_under)
    with showing() as progress:
        result = api.audit(bounds=_box(bounds), command=_command(), progress=progress, **options)
    with read_or_not():
        if as_json:
            print_json(result.record)
        else:
            print_verdict(result)
    return BELOW if fail_under is not None and result.robust_accuracy < fail_under else DONE


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--attack", required=True, help="NAME[:key=value,...] from `foolscope attacks`, or file.py:FUNCTION.")
@click.option("--out", default="foolscope-attack", show_default=True, help="Folder for the files.")
@taking(RUN_OPTIONS)
def attack(as_json: bool, bounds: Any, **options: Any) -> int:
    """Runs one attack on every image of DATA that MODEL gets right, and checks each answer afresh.

    Writes attack.json, samples.parquet, adversarial.safetensors and png/.

    Example: foolscope attack digits_cnn digits --attack pgd:eps=0.1,steps=100
    """
    from foolscope import api
    from foolscope.cli.printing import print_evaluation, print_json, showing

    with showing() as progress:
        result = api.evaluate(bounds=_box(bounds), command=_command(), progress=progress, **options)
    (print_json if as_json else print_evaluation)(result.record)
    return DONE


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--only", metavar="SLUG,...", help="Only these explanations.")
@click.option(
    "--effort",
    type=choice(EFFORTS),
    default="standard",
    show_default=True,
    help="Of the attack held against predictions.",
)
@click.option("--out", default="foolscope-explain", show_default=True, help="Folder for the files.")
@taking(RUN_OPTIONS)
def explain(as_json: bool, bounds: Any, **options: Any) -> int:
    """Why is MODEL fooled where it is on DATA? Predictions from a few cheap passes, beside what attacks find.

    Writes explain.json and report.html. The same command again goes on where it stopped.

    Example: foolscope explain digits_cnn digits --eps 0.1 --only logit_gaps
    """
    from foolscope import api
    from foolscope.cli.printing import print_explanations, print_json, showing

    with showing() as progress:
        result = api.explain(bounds=_box(bounds), command=_command(), progress=progress, **options)
    if as_json:
        print_json(result.record)
    else:
        print_explanations(result)
    return DONE


@cli.command()
@click.argument("folder", metavar="DIR")
@click.argument("model")
@click.argument("data")
@taking(RECORDED_OPTIONS)
def verify(as_json: bool, **options: Any) -> int:
    """Checks every claim of the audit in DIR against MODEL and DATA with fresh forward passes; exit 1 if one does not hold.

    The settings are the audit's own, as recorded; one that is given again has to be the same.

    Example: foolscope verify foolscope-audit digits_cnn digits
    """
    from foolscope import api
    from foolscope.cli.printing import print_json, print_table, read_or_not, showing

    given = {name: value for name, value in options.items() if value is not None}
    if "bounds" in given:
        given["bounds"] = _box(given["bounds"])
    with showing() as progress:
        claims = api.verify(progress=progress, **given)
    rows = [{"claim": claim.claim, "checked": claim.checked, "failed": claim.failed} for claim in claims]
    with read_or_not():
        if as_json:
            print_json({"holds": not any(claim.failed for claim in claims), "claims": rows})
        else:
            print_table(rows)
    return BELOW if any(claim.failed for claim in claims) else DONE


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option(
    "--objective",
    default="plain",
    show_default=True,
    help="NAME[:key=value,...][+TERM...] from `foolscope objectives`, or file.py:FUNCTION.",
)
@click.option("--out", default="foolscope-train", show_default=True, help="Folder for the files.")
@taking(TRAIN_OPTIONS)
@taking(RUN_OPTIONS)
def train(as_json: bool, bounds: Any, **options: Any) -> int:
    """Trains MODEL on DATA, plainly or hardened against attacks, and audits what comes of it.

    Writes best.safetensors, last.safetensors, train.json, history.parquet, report.html and the folder audit. The same command again goes
    on where it stopped, to the same weights.

    Example: foolscope train net.py:build mnist:train --objective madry:eps=0.3,steps=7 --epochs 5 --lr 0.05
    """
    from foolscope import api
    from foolscope.cli.printing import print_json, print_training, showing

    if options["batch_size"] is None:
        del options["batch_size"]  # training has a default of its own
    with showing() as progress:
        trained, audited = api.train(bounds=_box(bounds), command=_command(), progress=progress, **options)
    if as_json:
        print_json({**trained.record, "audit": None if audited is None else audited.record})
    else:
        print_training(trained, audited)
    return DONE


@cli.command()
@click.argument("folders", metavar="DIR DIR ...", nargs=-1, required=True)
@click.option("--out", default="foolscope-compare", show_default=True, help="Folder for the files.")
@click.option("--overwrite", is_flag=True, help="Replace another comparison in the folder.")
@taking(OUTPUT_OPTIONS)
def compare(folders: tuple[str, ...], out: str, overwrite: bool, as_json: bool) -> int:
    """Puts the audits in two folders or more side by side, image by image; the first is what the others are compared with.

    Writes compare.json and report.html.

    Example: foolscope compare plain/audit hardened/audit
    """
    from foolscope.cli.printing import print_comparison, print_json
    from foolscope.comparing import compare as compared

    result = compared(*folders, out=out, overwrite=overwrite, command=_command())
    (print_json if as_json else print_comparison)(result.record)
    return DONE


def _listing(as_json: bool, key: str, rows: list[dict[str, Any]]) -> int:
    from foolscope.cli.printing import print_json, print_table

    if as_json:
        print_json({key: rows})
    else:
        print_table(rows)
    return DONE


@cli.command()
@taking(OUTPUT_OPTIONS)
def attacks(as_json: bool) -> int:
    """Lists the attacks: norms, kind, cost, source, options.

    Example: foolscope attacks
    """
    from foolscope.attacks import list_attacks

    return _listing(as_json, "attacks", list_attacks())


@cli.command()
@taking(OUTPUT_OPTIONS)
def objectives(as_json: bool) -> int:
    """Lists what training can minimise: objectives, and what + adds to one.

    Example: foolscope objectives
    """
    from foolscope.training import list_objectives

    return _listing(as_json, "objectives", [dict(row) for row in list_objectives()])


@cli.command()
@taking(OUTPUT_OPTIONS)
def models(as_json: bool) -> int:
    """Lists the built-in networks.

    Example: foolscope models
    """
    from foolscope.models import list_models

    return _listing(as_json, "models", list_models())


@cli.command()
@taking(OUTPUT_OPTIONS)
def data(as_json: bool) -> int:
    """Lists the built-in data sets and where they were found.

    Example: FOOLSCOPE_DATA=~/data foolscope data
    """
    from foolscope.data import listing

    return _listing(as_json, "data", [dict(row) for row in listing()])


@cli.command()
@click.option("--network", multiple=True, help="Only this network; may be given several times.")
@click.option("--copies", is_flag=True, help="What a pass costs through copies of a network that compute the same.")
@click.option(
    "--peers", is_flag=True, help="Quality of minimal distances beside the peers', in an environment of their own."
)
@click.option("--autoattack", metavar="PATH", help="Fixed-eps batteries beside the AutoAttack in this checkout.")
@click.option(
    "--samples", type=WHOLE, help="Images a network.  [default: 100 for --peers, 50 of ImageNet; 200 for --autoattack]"
)
@click.option(
    "--norm",
    type=choice(NORMS),
    multiple=True,
    help="Only this norm (--peers, --autoattack); may be given several times.",
)
@click.option(
    "--budget", type=WHOLE, multiple=True, help="Forwards and backwards an image (--peers); may be given several times."
)
@click.option(
    "--attack", multiple=True, help="Instead of all our minimal-norm attacks this one (--peers), NAME[:key=value,...]."
)
@click.option(
    "--against", multiple=True, help="Instead of all the peers' attacks this one (--peers), as their tables name it."
)
@click.option("--effort", type=choice(EFFORTS), multiple=True, help="Only this battery (--autoattack).")
@click.option(
    "--cache", metavar="DIR", help="Folder for results and the peers' environment.  [default: ~/.cache/foolscope/bench]"
)
@taking(OUTPUT_OPTIONS)
def bench(as_json: bool, **options: Any) -> int:
    """Measures our attacks against the bare loop, in interleaved pairs; needs $FOOLSCOPE_DATA and $FOOLSCOPE_WEIGHTS.

    With --peers or --autoattack it measures them beside other libraries' instead; what was measured already is read from the cache.

    Example: FOOLSCOPE_DATA=data FOOLSCOPE_WEIGHTS=weights foolscope bench --network mnist_cnn_a_adv
    """
    from foolscope.bench.running import run_benchmarks
    from foolscope.cli.printing import print_json, showing

    with showing() as progress:
        content, text = run_benchmarks(
            progress=progress, say=lambda line: click.echo(f"foolscope: {line}", err=True), **options
        )
    if as_json:
        print_json(content)
    else:
        click.echo(text)
    return DONE


@cli.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--scale", type=choice(("small", "paper")), default="small", show_default=True, help="Two cores, or a GPU."
)
@click.option("--list", "listed", is_flag=True, help="List the claims and what they cost; measure nothing.")
@click.option("--out", default="results", show_default=True, help="Folder for the records.")
@click.option(
    "--pages", metavar="DIR", help="Write results.md and hardened.md there from the records; measure nothing."
)
@click.option("--cache", metavar="DIR", help="Trained networks.  [default: $FOOLSCOPE_CACHE, or ~/.cache/foolscope]")
@click.option("--device", metavar="D", default="cpu", show_default=True, help="cpu, cuda ...")
@taking(OUTPUT_OPTIONS)
def reproduce(ids: tuple[str, ...], listed: bool, pages: str | None, as_json: bool, **options: Any) -> int:
    """Measures claims of the papers, all of them where no ID is given, and writes a record each.

    Networks are trained once, shared between claims and kept; an interrupted run goes on when the command is given again.

    Example: foolscope reproduce L3 P1 --scale small
    """
    from foolscope.cli import reproducing
    from foolscope.cli.printing import print_json, print_table, showing

    if listed:
        return _listing(as_json, "claims", reproducing.listing(ids))
    if pages is not None:
        return _listing(as_json, "pages", reproducing.written(pages, options["out"]))
    with showing() as progress:
        records = reproducing.measured(ids, progress=progress, **options)
    if as_json:
        print_json({"records": records})
    else:
        print_table([{key: record[key] for key in ("id", "verdict", "n", "scale", "seconds")} for record in records])
    return DONE


def _box(bounds: Any) -> tuple[float, float] | None:
    return None if bounds == "none" else bounds


def _command() -> str:
    return shlex.join(["foolscope", *sys.argv[1:]])


def main() -> None:
    """The console script: one line and an exit code for whatever goes wrong."""
    debug = "--debug" in sys.argv[1:]
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (closed by whoever called us; open to the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that can't show a letter is no reason to stop
    keep_freed_memory()
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as alone:
        click.echo(alone.ctx.get_help())
        code = DONE
    except (InputError, click.ClickException) as error:
        code = _say(error if isinstance(error, InputError) else _usage(error), BAD_INPUT, debug)
    except ForeignError as error:
        code = _say(error, FOREIGN, debug)
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _say(
            "interrupted; finished pieces are kept, and the same command goes on from there", INTERRUPTED, debug
        )
    except (BrokenPipeError, SystemExit):  # click's and rich's word for the former
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        code = DONE
    except MemoryError as error:
        less = "enough memory (fewer --samples, a smaller --batch-size, --resize or model)"
        code = _say(f"memory: expected {less}, got {error or 'too little'}", BAD_INPUT, debug)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _say(
            f"output: expected a place where it can be written, got {error.strerror or error}", BAD_INPUT, debug
        )
    sys.exit(code)


def _say(problem: Exception | str, code: int, debug: bool) -> int:
    if debug and isinstance(problem, Exception):
        traceback.print_exception(problem)
    click.echo(f"foolscope: {' '.join(str(problem).split())}", err=True)
    return code


def _usage(error: click.ClickException) -> InputError | str:
    """Click's complaints in our own form."""
    words = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption):
        known = [name for option in (error.ctx.command.params if error.ctx else []) for name in option.opts]
        return InputError(
            "OPTION", "an option of this command", error.option_name, [n for n in known if n.startswith("--")]
        )
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return InputError(_called(error.param), "a value", None)
    if isinstance(error, click.BadOptionUsage):
        return InputError(error.option_name, *(("no value", "one") if "not take" in words else ("a value", None)))
    if words.startswith("No such command"):
        return InputError("COMMAND", "a command", words.split("'")[1], cli.commands)
    if words.startswith("Missing command"):
        return InputError("COMMAND", "a command", None, cli.commands)
    if words.startswith("Got unexpected extra") and isinstance(error, click.UsageError) and error.ctx:
        places = [_called(param) for param in error.ctx.command.params if isinstance(param, click.Argument)]
        return InputError("COMMAND", " ".join(["nothing after", *places]), words.partition("(")[2].rstrip(")"))
    return words


def _called(param: click.Parameter) -> str:
    """A parameter by the name that its help gives it."""
    return (param.metavar or param.opts[-1].upper()) if isinstance(param, click.Argument) else param.opts[-1]
