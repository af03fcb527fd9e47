"""``bench check CODEC`` and ``bench check --suite NAME``: run the conformance checks."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcbench.bench.cli.options import Device, OnlyRates, TextOrJson, names
from gcbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from gcbench.bench.conformance import Check, CheckResult

    _OnStart = Callable[[Check[Any], int, int], None]

_SAY_EVERY_S = 60.0
_STYLE = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def check_command(
    codec: Annotated[
        str, typer.Argument(help="Name, or with parameters: NAME\\[key=value]; see: bench list codecs.")
    ] = "",
    *,
    suite: Annotated[
        str, typer.Option("--suite", "-s", help="Check a metric suite instead; see: bench list metrics.")
    ] = "",
    effort: Annotated[str, typer.Option(help="Use the rates of this effort: quick, standard or paper.")] = "quick",
    rate: OnlyRates = "",
    only: Annotated[str, typer.Option(help="Run only these checks, comma-separated.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer meshes and damaged streams, for codecs that take long.")
    ] = False,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for each single call.")] = 120.0,
    memory: Annotated[
        float | None, typer.Option(min=0.1, help="GiB that a worker may hold. Default: half of the memory.")
    ] = None,
    device: Device = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads for each call.")] = 1,
    mutants: Annotated[
        int | None,
        typer.Option(min=0, help="Mutants for the check 'hostile', however long it takes. Default: 30 s of them."),
    ] = None,
    streams: Annotated[
        Path | None,
        typer.Option(help="File or folder of *.bin: make the mutants of these streams, and encode none for them."),
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder for the streams that fail the check 'hostile'.")] = None,
    format_: TextOrJson = "text",
) -> None:
    r"""Check whether a codec, or a metric suite, keeps the contract of its interface.

    [bold]Examples[/bold]

        bench check draco                        half a minute at most
        bench check --suite surface

    Checks of a codec: round trip, decoding from the stream alone, determinism, difficult meshes, damaged streams,
    streams that are hostile behind a right checksum.
    Checks of a suite: declared columns, returned values, determinism, worse values for damaged meshes, meshes that
    cannot be measured.

    Each check passes, warns, fails or is skipped, with a reason in one line. A failure also names the rule of the
    contract. Codecs and suites run in processes that can be killed, so a crash or a hang fails one check only.

    [bold]More examples[/bold]

        bench check my-codec --only round-trip,damaged-cut,damaged-changed
        bench check "necgs\[k=64]" --rate k64w16 --quick --deadline 600
        bench check my-codec --only hostile --mutants 5000 --keep found
        bench -v check my-codec                  with the tracebacks of what failed

    [bold]Exit codes[/bold]

        0     passed, perhaps with warnings
        1     a check failed
        2     no such codec, suite, rate or check
        3     the codec cannot run here; the message says why
    """
    if bool(codec) == bool(suite):
        raise UsageError("name either a codec, or a metric suite with --suite")
    from gcbench.bench.conformance import check, check_suite

    memory_bytes = int(memory * 2**30) if memory else None
    with _progress(quiet=format_ == "json") as (started, found, say):
        if suite:
            report = check_suite(
                suite,
                only=names(only),
                deadline_s=deadline,
                memory_bytes=memory_bytes,
                on_start=started,
                on_finding=found,
            )
        else:
            report = check(
                codec,
                effort=effort,
                rates=names(rate),
                only=names(only),
                quick=quick,
                deadline_s=deadline,
                memory_bytes=memory_bytes,
                device=device,
                threads=threads,
                mutants=mutants,
                streams=() if streams is None else _streams(streams),
                keep=keep,
                on_start=started,
                on_finding=found,
                on_progress=say,
            )
    typer.echo(json.dumps(report.to_json(), indent=1) if format_ == "json" else report.summary())
    if not report.ok:
        raise typer.Exit(1)


def _streams(path: Path) -> tuple[bytes, ...]:
    """The streams of a file, or of the files ``*.bin`` of a folder."""
    try:
        files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
        found = tuple(file.read_bytes() for file in files if file.is_file())
    except OSError as error:
        raise StoreError(f"the streams in {path} cannot be read: {error.strerror}") from error
    if not found:
        raise UsageError(f"there are no streams (*.bin) in {path}")
    return found


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[_OnStart, Callable[[CheckResult], None], Callable[[str], None]]]:
    """Print results as they come; on a terminal, the running check is shown below them.

    Elsewhere than on a terminal, a check that takes minutes says once a minute how far it has come.
    """
    from rich.console import Console
    from rich.text import Text

    out = Console(highlight=False, soft_wrap=True)
    # Two consoles on one terminal would mix their output.
    live = out if out.is_terminal else Console(stderr=True, soft_wrap=True)
    status = live.status("starting")
    running, said_s = "", time.monotonic()

    def started(check: Check[Any], number: int, total: int) -> None:
        nonlocal running
        running = f"{number + 1}/{total}  {check.name}"
        status.update(running)

    def say(text: str) -> None:
        nonlocal said_s
        status.update(f"{running}  {text}")
        if not live.is_terminal and not quiet and time.monotonic() - said_s > _SAY_EVERY_S:
            said_s = time.monotonic()
            live.print(f"{running}  {text}")

    def found(finding: CheckResult) -> None:
        if quiet:
            return
        first, _, rest = str(finding).partition(" ")
        out.print(Text.assemble((first, _STYLE[finding.status]), " ", rest))

    with status if live.is_terminal and not quiet else contextlib.nullcontext():
        yield started, found, say
