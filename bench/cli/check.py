"""``bench check CODEC``: the conformance suite on the terminal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gcbench.bench.conformance import Check, Finding

_STYLE = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def check_command(
    codec: Annotated[str, typer.Argument(help="Name, or with parameters: NAME\\[key=value]; see: bench list codecs.")],
    *,
    effort: Annotated[str, typer.Option(help="Whose ladder is tried: quick, standard or paper.")] = "quick",
    rates: Annotated[str, typer.Option(help="Keep only these rate labels, comma-separated.")] = "",
    only: Annotated[str, typer.Option(help="Run only these checks, comma-separated.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer meshes and damaged streams, for codecs that take long.")
    ] = False,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for each single call.")] = 120.0,
    memory: Annotated[
        float | None, typer.Option(min=0.1, help="GiB that a worker may hold. Default: half of the memory.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda, for codecs that can use it.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads for each call.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    r"""Try out whether a codec keeps the contract: round trip, bytes alone, determinism, hard meshes, damaged streams.

    Each check passes, warns, fails, or is skipped, with one line of reason; a failure also says what the contract
    demands. The codec runs in processes that can be killed: a crash or a hang is a finding.

    [bold]Examples[/bold]

        bench check draco                        half a minute at most
        bench check my-codec --only round-trip,damaged-cut,damaged-changed
        bench check "necgs\[k=64]" --rates k64w16 --quick --deadline 600
        bench -v check my-codec                  with the tracebacks of what failed

    [bold]Exit codes[/bold]

        0     passed, perhaps with warnings
        1     a check failed
        2     no such codec, rate or check
        3     the codec cannot run here, and says why
    """
    from gcbench.bench.conformance import check

    with _progress(quiet=as_json) as (started, found):
        report = check(
            codec,
            effort=effort,
            rates=[rate.strip() for rate in rates.split(",") if rate.strip()],
            only=[name.strip() for name in only.split(",") if name.strip()],
            quick=quick,
            deadline_s=deadline,
            memory_bytes=int(memory * 2**30) if memory else None,
            device=device,
            threads=threads,
            on_start=started,
            on_finding=found,
        )
    typer.echo(json.dumps(report.to_json(), indent=1) if as_json else report.summary())
    if not report.ok:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Callable[[Check, int, int], None], Callable[[Finding], None]]]:
    """Print findings as they come; on a terminal, what is being tried stands below them."""
    from rich.console import Console
    from rich.text import Text

    out = Console(highlight=False, soft_wrap=True)
    live = out if out.is_terminal else Console(stderr=True)  # one console for both, else they write into each other
    status = live.status("starting")

    def started(check: Check, number: int, total: int) -> None:
        status.update(f"{number + 1}/{total}  {check.name}")

    def found(finding: Finding) -> None:
        if quiet:
            return
        first, _, rest = str(finding).partition(" ")
        out.print(Text.assemble((first, _STYLE[finding.status]), " ", rest))

    with status if live.is_terminal and not quiet else contextlib.nullcontext():
        yield started, found
