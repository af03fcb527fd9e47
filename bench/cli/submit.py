"""``bench submit``: pack a run for a pull request, with `gcbench.bench.audit.submission`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.options import RunArgument
from gcbench.bench.cli.output import say
from gcbench.bench.cli.runs import opened_run
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.store import Pack

_FOLDER = Path("results/submissions")


def submit_command(
    run: RunArgument = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the pack. Default: that of --add-to, else results/submissions/RUN.",
            metavar="FOLDER",
        ),
    ] = None,
    add_to: Annotated[
        Path | None,
        typer.Option(help="A pack of the same meshes, to which the results are added.", metavar="PACK"),
    ] = None,
    not_run: Annotated[
        list[str] | None,
        typer.Option(help="A codec that did not run, and why. Repeatable.", metavar="CODEC:WHY"),
    ] = None,
    about: Annotated[
        str, typer.Option(help="Who made the results, and where a codec that is not part of gcbench can be had.")
    ] = "",
    url: Annotated[str, typer.Option(help="Address at which you will put the archive of streams.")] = "",
    streams: Annotated[bool, typer.Option("--streams/--no-streams", help="With or without the archive.")] = True,
) -> None:
    """Pack a run in a few hundred kilobytes, for a pull request: results and provenance, streams as an archive beside.

    [bold]Examples[/bold]

        bench submit                                     the last run
        bench submit ama-all-standard -o results/reference/ama40
        bench submit my-run --not-run 'ni:needs 9 h on two cores'
        bench submit more-codecs --add-to results/reference/ama40
        bench submit my-run --about 'Ada; pip install my-codec' --url https://example.org/my-run-streams.zip

    The pack has the results that count, the hashes of streams and inputs, and what did not run and why. A command
    that reads a run reads a pack: bench table FOLDER. The archive, FOLDER-streams.zip, is for whoever verifies the
    pack, and is not committed. Folders of this machine are left out of the pack.

    With --add-to, results grow codec by codec, on several machines: what the pack has stays, unless the run has
    the same coding.

    The command prints what a reader of the results will miss, such as a timing pass. docs/submit.md says what a
    submission needs.
    """
    from gcbench.bench.audit.submission import submit

    store = opened_run(run)
    base = _pack(add_to)
    folder = out or add_to or _FOLDER / store.name
    done = submit(store, folder, not_run=_reasons(not_run or []), about=about, url=url, streams=streams, base=base)
    say(f"{done.folder}: {done.records} records in {done.size_bytes / 1000:.0f} kB")
    if done.archive is not None:
        say(f"{done.archive}: {done.archive_bytes / 1e6:.1f} MB of streams")
    for line in done.missing:
        say(f"missing: {line}")
    archive = f" --streams {plain_text.shell_word(done.archive)}" if done.archive is not None else ""
    say(f"next: bench verify {plain_text.shell_word(done.folder)}{archive}")


def _pack(folder: Path | None) -> Pack | None:
    from gcbench.bench.store import Pack, open_results

    if folder is None:
        return None
    found = open_results(folder)
    if not isinstance(found, Pack):
        raise UsageError(f"--add-to names a pack, and {folder} is a run: see bench merge")
    return found


def _reasons(asked: list[str]) -> dict[str, str]:
    """``["ni:needs 9 h"]`` → ``{"ni": "needs 9 h"}``."""
    reasons = {}
    for one in asked:
        codec, colon, why = one.partition(":")
        if not (colon and codec.strip() and why.strip()):
            raise UsageError(f"--not-run is CODEC:WHY, such as 'ni:needs 9 h on two cores', not '{one}'")
        reasons[codec.strip()] = why.strip()
    return reasons
