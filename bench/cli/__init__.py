"""The command line ``bench``. Commands import what they need when they are called, so ``bench --help`` is fast."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import gcbench
from gcbench.bench.cli import data, show, train
from gcbench.bench.cli.check import check_command
from gcbench.bench.cli.choose import choose_command
from gcbench.bench.cli.interruption import INTERRUPTED, terminated_like_interrupted
from gcbench.bench.cli.listing import app as list_app
from gcbench.bench.cli.measure import measure_command
from gcbench.bench.cli.merge import merge_command
from gcbench.bench.cli.new import new_codec_command, new_metric_command
from gcbench.bench.cli.regression import compare_command, gate_command
from gcbench.bench.cli.report import report_command
from gcbench.bench.cli.run import run_command
from gcbench.bench.cli.verify import verify_command
from gcbench.errors import BenchError


class _Commands(TyperGroup):
    """Handles SIGTERM, Ctrl-C, and a reader that closes the pipe early, as in ``bench table | head``."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with terminated_like_interrupted():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            if ctx.invoked_subcommand == "run":  # the run was cut short, which is an error
                raise
            # Without a reader, the interpreter would complain about the rest of the buffer when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None


app = typer.Typer(
    name="bench",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Compare 3-D geometry codecs on sets of triangle meshes.

    [bold]Start here[/bold]

        bench run              every codec that can run here, on built-in meshes
        bench plot             rate-distortion figures of the last run
        bench list codecs      all codecs; what is missing, and how to install it

    [bold]Real meshes[/bold]

        bench data fetch ama                     download the dataset AMA
        bench run --dataset ama --split paper    run on its published selection
        bench run --dataset my/folder            run on your own mesh files

    [bold]Check results[/bold]

        bench verify RUN                         check the results of a run
        bench compare BEFORE AFTER               is the second run worse?
        bench gate --baseline FILE               the same question, for CI

    [bold]Exit codes[/bold]

        0     done
        1     done, and the answer is bad: codings failed, a check failed,
              nothing meets the constraints, results are worse
        2     wrong usage; compare, gate: no verdict is possible
        3     something is missing, or cannot be written
        130   interrupted; finished results are kept, the same command resumes
    """,
)
app.command("run")(run_command)
app.command("measure")(measure_command)
app.add_typer(list_app, name="list")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.command("check")(check_command)
app.command("new-codec")(new_codec_command)
app.command("new-metric")(new_metric_command)
app.command("table")(show.table_command)
app.command("plot")(show.plot_command)
app.command("report")(report_command)
app.command("verify")(verify_command)
app.command("merge")(merge_command)
app.command("compare")(compare_command)
app.command("gate")(gate_command)
app.command("choose")(choose_command)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gcbench {gcbench.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and log messages.")] = False,
) -> None:
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("gcbench").setLevel(logging.DEBUG if verbose else logging.WARNING)
    for chatty in ("matplotlib", "numba", "PIL", "trimesh"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


def main() -> None:
    """Run the command line and exit. An error is one line; ``--verbose`` adds the traceback."""
    try:
        app()  # exits with 2 for wrong usage
    except BenchError as error:
        if logging.getLogger("gcbench").isEnabledFor(logging.DEBUG):
            logging.getLogger("gcbench").exception("the error in full")
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
