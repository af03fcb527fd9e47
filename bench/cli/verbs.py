"""The verbs of ``bench``. Commands import what they need when they are called, so ``bench --help`` is fast."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import gcbench
from gcbench import extras, native, plain_text
from gcbench.bench.cli import data, show
from gcbench.bench.cli.check import check_command
from gcbench.bench.cli.choose import choose_command
from gcbench.bench.cli.decode import decode_command
from gcbench.bench.cli.encode import encode_command
from gcbench.bench.cli.listing import app as list_app
from gcbench.bench.cli.measure import measure_command
from gcbench.bench.cli.merge import merge_command
from gcbench.bench.cli.new import app as new_app
from gcbench.bench.cli.output import say
from gcbench.bench.cli.regression import compare_command, gate_command
from gcbench.bench.cli.report import report_command
from gcbench.bench.cli.run import run_command
from gcbench.bench.cli.site import site_command
from gcbench.bench.cli.submit import submit_command
from gcbench.bench.cli.verify import verify_command
from gcbench.errors import BenchError
from gcbench.interrupts import INTERRUPTED

_GROUPS = {
    "make and try": {
        "run": "encode, decode and measure datasets with codecs; the same command resumes",
        "measure": "add metrics to a finished run; nothing is encoded",
        "list": "what there is: codecs, metrics, datasets, runs",
        "data": "download datasets, and check their files",
        "check": "does a codec, or a metric suite, keep its contract?",
        "new": "start a codec, or a metric suite, of your own",
    },
    "look": {
        "table": "means, BD-rates, times, failures",
        "plot": "rate-distortion curves and other figures",
        "report": "one HTML file: curves, every mesh in 3-D, failures",
        "site": "committed results as a static site, or as a page",
    },
    "decide and use": {
        "choose": "codecs and rates that meet constraints",
        "encode": "mesh files to stream files, at a rate, or within a size or an error",
        "decode": "stream files back to meshes; or a mesh out of a run",
    },
    "trust": {
        "verify": "decode and measure again: are the results true?",
        "compare": "two runs: is the second worse?",
        "gate": "the same against a baseline file, for continuous integration",
        "submit": "a run as a small pack, for a pull request",
        "merge": "several runs, or machines, into one run",
    },
}
_FOOT = """\
Start with: bench run; bench report. More: bench VERB --help, bench --version.
Tracebacks: bench -v VERB. Exit codes: 0 done; 1 done, and the answer is bad;
2 wrong usage; 3 something is missing; 130 interrupted, results so far are kept."""


class _Commands(TyperGroup):
    """Handles Ctrl-C, and a reader that closes the pipe early, as in ``bench table | head``."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, with paragraphs of its help that fill the width of the terminal."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _reflow(command)
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the verbs in their groups, on one screen."""
        del formatter
        from rich import box
        from rich.console import Console, Group
        from rich.panel import Panel
        from rich.table import Table

        parts: list[Any] = [f"[bold]{ctx.command_path} VERB[/bold] compares 3-D geometry codecs on triangle meshes."]
        for group, verbs in _GROUPS.items():
            rows = Table.grid(padding=(0, 2))
            rows.add_column(width=max(map(len, self.commands)), style="bold cyan")
            for verb, what in verbs.items():
                rows.add_row(verb, what)
            parts.append(Panel(rows, box=box.ROUNDED, title=group, title_align="left", border_style="dim"))
        Console(highlight=False).print(Group(*parts, _FOOT))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            if ctx.invoked_subcommand == "run":  # the run was cut short, which is an error
                raise
            # Without a reader, the interpreter would complain about the rest of the buffer when it ends.
            _discard_output()
            raise typer.Exit from None


def _reflow(command: Any) -> None:
    """Join the lines of each paragraph of a help, and of the helps of subcommands; indented lines stay as they are."""
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(p if "\n " in p or p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)
    for inner in getattr(command, "commands", {}).values():
        _reflow(inner)


app = typer.Typer(
    name="bench",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("run")(run_command)
app.command("measure")(measure_command)
app.add_typer(list_app, name="list")
app.add_typer(data.app, name="data")
app.command("check")(check_command)
app.add_typer(new_app, name="new")
app.command("table")(show.table_command)
app.command("plot")(show.plot_command)
app.command("report")(report_command)
app.command("site")(site_command)
app.command("choose")(choose_command)
app.command("encode")(encode_command)
app.command("decode")(decode_command)
app.command("verify")(verify_command)
app.command("compare")(compare_command)
app.command("gate")(gate_command)
app.command("merge")(merge_command)
app.command("submit")(submit_command)


def _version(value: bool) -> None:
    if value:
        say(f"gcbench {gcbench.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and log messages.")] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, handlers=[handler])
    logging.getLogger("gcbench").setLevel(logging.DEBUG if verbose else logging.WARNING)
    for chatty in ("matplotlib", "numba", "PIL", "trimesh"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    native.require_cache()


class _OneLine(logging.Formatter):
    """Log messages without characters that a terminal obeys; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return plain_text.visible(super().format(record), keep="\n\t")


def run() -> None:
    """Run the command line and exit. An error is one line; ``--verbose`` adds the traceback."""
    plain_text.use_plain_streams()
    try:
        app(prog_name="bench")  # exits with 2 for wrong usage
    except BenchError as error:
        _end(plain_text.visible(str(error)), error.exit_code)
    except ModuleNotFoundError as error:
        if (missing := extras.explained(error)) is None:
            raise
        _end(missing, BenchError.exit_code)
    except (OSError, MemoryError, UnicodeEncodeError) as error:
        _end(_of_the_system(error), BenchError.exit_code)


def _end(message: str, code: int) -> NoReturn:
    if logging.getLogger("gcbench").isEnabledFor(logging.DEBUG):
        logging.getLogger("gcbench").exception("the error in full")
    with contextlib.suppress(OSError):  # nobody reads standard error any more
        say(f"error: {message}", err=True)
    try:
        sys.stdout.flush()
    except OSError:  # it is what failed: the interpreter would fail again when it ends
        _discard_output()
    sys.exit(code)


def _of_the_system(error: OSError | MemoryError | UnicodeEncodeError) -> str:
    """One line for what the system refused. Example: ``figures/rd.png: No space left on device``."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, UnicodeEncodeError):
        return f"the name {plain_text.visible(error.object[:200])} cannot be written as {error.encoding}; rename it"
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more; what is finished is kept"
    why = error.strerror or str(error) or type(error).__name__
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        why += "; make room, then type the same command again"
    path = error.filename if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    return plain_text.visible(f"{os.fsdecode(path)}: {why}" if path else f"the system says: {why}")


def _discard_output() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
