"""``bench data fetch | import | verify``: real datasets onto this machine. A thin layer over `gcbench.datasets`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from gcbench.datasets.verify import VerifyReport

SHOWN = 20  # lines of a list before it is cut; --json has all

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Get real datasets, and check what is here.

    [bold]Which dataset comes how[/bold]

        AMA         bench data fetch ama          to ROOT/ama
        Thingi10K   bench data fetch thingi10k    to ROOT/Thingi10K
        DT4D        bench data import dt4d DIR    after the form, see there
        selections  bench data fetch lists        what `paper` means

    ROOT is --data, else the environment variable BENCH_DATA,
    else the user's data folder.
    """,
)
Data = Annotated[
    Path | None, typer.Option(help="Data root. Default: BENCH_DATA, else the user's data folder.", show_default=False)
]


@app.command("fetch")
def fetch_command(
    names: Annotated[list[str], typer.Argument(help="ama, thingi10k, lists.", metavar="NAME...")],
    *,
    part: Annotated[
        list[str] | None, typer.Option(help="For ama: only this sequence; may be given several times.")
    ] = None,
    data: Data = None,
    url_base: Annotated[
        str | None,
        typer.Option(envvar="GCBENCH_URL_BASE", help="A mirror: take the files from this address, by their names."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download also what is here already.")] = False,
) -> None:
    """Download datasets; the same command again goes on where it broke off.

    Every file is checked by SHA-256. The selection lists have published
    checksums. Nobody publishes any for the archives: the first download is
    taken on trust, its checksum is shown and recorded in ROOT/CHECKSUMS,
    and later downloads must agree with it.

    [bold]Examples[/bold]

        bench data fetch lists               the published selections, 30 kB
        bench data fetch ama --part crane --part samba
        bench data fetch ama thingi10k --data /big/disk
        bench data fetch ama --url-base https://mirror.example/ama/

    [bold]Exit codes[/bold]

        0 all is here   2 wrong usage
        3 a download failed; what was finished stays
    """
    from gcbench.datasets.fetch import fetch
    from gcbench.datasets.places import data_root

    root = data_root(data)
    if part and names != ["ama"]:
        raise UsageError("--part chooses sequences of ama: bench data fetch ama --part crane")
    # Without its list a dataset has no split `paper`; a mirror of the meshes need not have the lists.
    wanted = dict.fromkeys([*names, *([] if url_base else ["lists"])])
    for name in wanted:
        with _transfer() as progress:

            def show(file: str, done: int, total: int | None, progress: Progress = progress) -> None:
                task = next((t.id for t in progress.tasks if t.description == file), None)
                if task is None:
                    task = progress.add_task(file, total=total)
                progress.update(task, completed=done, total=total)

            sequences = (part or ()) if name == "ama" else ()
            for item in fetch(name, root, parts=sequences, url_base=url_base, force=force, progress=show):
                if item.trust is None:
                    progress.console.print(f"{item.file}: here already, {item.files} files in {item.path}")
                    continue
                progress.console.print(f"{item.file}: {item.files} file(s) in {item.path}")
                progress.console.print(f"    SHA-256 {item.sha256}: {_TRUST[item.trust]}")
    typer.echo("next: bench list datasets" if names == ["lists"] else f"next: bench data verify {names[0]}")


_TRUST = {
    "published": "the published one",
    "recorded": "the same as recorded in CHECKSUMS",
    "first use": "no published checksum to compare with; trusted on first use, and recorded in CHECKSUMS",
}


@app.command("import")
def import_command(
    name: Annotated[str, typer.Argument(help="dt4d.")],
    folder: Annotated[Path, typer.Argument(help="What the download unpacked to.")],
    *,
    link: Annotated[
        bool, typer.Option("--link", help="Make symbolic links instead of copies; FOLDER must then stay.")
    ] = False,
    data: Data = None,
) -> None:
    """Check a dataset that came through a form, and put it under the data root.

    DeformingThings4D is released through a form only: fill it in at
    https://github.com/rabbityl/DeformingThings4D, unpack what you get.

    Every .anime file is read in full: its size against its header, its
    triangles, its positions. Good files go to ROOT/dt4d/animals and
    ROOT/dt4d/humanoids; bad ones are named and left out.

    [bold]Examples[/bold]

        bench data import dt4d ~/Downloads/DeformingThings4D
        bench data import dt4d /archive/DT4D --link          no second copy

    [bold]Exit codes[/bold]

        0 all files are good   1 some are bad   3 no .anime file there
    """
    from gcbench.datasets.importing import import_dt4d
    from gcbench.datasets.places import data_root

    if name != "dt4d":
        raise UsageError(
            f"only dt4d is imported; for {name}: bench data fetch {name}, or run a folder: --dataset FOLDER"
        )
    root = data_root(data)
    with _counter("checking") as step:
        report = import_dt4d(folder, root, link=link, progress=step)
    for path, reason in report.bad:
        typer.echo(f"bad: {path}: {reason}", err=True)
    typer.echo(
        f"{len(report.imported)} animations {'linked' if link else 'copied'} to {root / 'dt4d'}, "
        f"{len(report.unchanged)} were there already, {len(report.bad)} bad; {report.frames} frames in all"
    )
    if report.bad:
        raise typer.Exit(1)
    typer.echo("next: bench run --dataset dt4d --split paper")


@app.command("verify")
def verify_command(
    name: Annotated[str, typer.Argument(help="ama, dt4d, thingi10k, mixed, or a folder.")],
    *,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Read every file of a dataset: can it be used, is it unchanged.

    Also says how much of the published selection is here. Checksums come
    from ROOT/MANIFEST.csv (columns path, sha256) and ROOT/CHECKSUMS.

    [bold]Examples[/bold]

        bench data verify ama
        bench data verify path/to/meshes
        bench data verify thingi10k --json

    [bold]Exit codes[/bold]

        0 all is well   1 files are unusable, changed or absent
        3 nothing of it is here
    """
    from gcbench.datasets import data_root, open_dataset
    from gcbench.datasets.verify import verify

    root = data_root(data)
    dataset = open_dataset(name, root)
    with _counter("reading") as step:
        report = verify(dataset, root, progress=step)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "exit_code": report.exit_code}, indent=1))
    else:
        for line in _lines(report):
            typer.echo(line)
    raise typer.Exit(report.exit_code)


def _lines(report: VerifyReport) -> Iterator[str]:
    if not report.meshes:
        yield report.paper_note or f"nothing of {report.dataset} is under {report.root}"
        return
    bad = len(report.unusable)
    yield f"{report.dataset} under {report.root}"
    yield f"  meshes     {report.meshes} in {report.files} files; {report.files - bad} files usable, {bad} not"
    yield from _some(reason if reason.startswith(mesh) else f"{mesh}: {reason}" for mesh, reason in report.unusable)
    yield (
        f"  checksums  {report.matching} as listed, {len(report.changed)} changed, {len(report.absent)} listed but "
        f"absent, {report.unlisted} not listed"
    )
    yield from _some(f"changed: {path}" for path in report.changed)
    yield from _some(f"absent: {path}" for path in report.absent)
    if report.paper_total is not None:
        yield f"  paper      {report.paper_found}/{report.paper_total} meshes of the published selection"
    if report.paper_note:
        yield f"             {report.paper_note}"


def _some(lines: Iterator[str]) -> Iterator[str]:
    every = list(lines)
    yield from (f"             {line}" for line in every[:SHOWN])
    if len(every) > SHOWN:
        yield f"             and {len(every) - SHOWN} more; all of them with --json"


@contextmanager
def _transfer() -> Iterator[Progress]:
    """Bars of bytes on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=_is_plain()) as progress:
        yield progress


@contextmanager
def _counter(verb: str) -> Iterator[Callable[[int, int, str], None]]:
    """One bar of files on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=_is_plain()) as progress:
        task = progress.add_task(verb, total=None)

        def step(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, description=f"{verb} {what}")

        yield step


def _is_plain() -> bool:
    return not os.isatty(2)
