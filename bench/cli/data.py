"""``bench data fetch | import | verify``: download, import and check datasets, with `gcbench.datasets`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.options import Data, TextOrJson
from gcbench.bench.cli.output import say
from gcbench.bench.cli.progress import counter
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from gcbench.datasets.verify import VerifyReport

SHOWN = 20  # lines of a list to print; --format json has all

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Download datasets of real meshes, and check the files.

    [bold]Examples[/bold]

        bench data fetch ama            humans, to ROOT/ama
        bench data fetch thingi10k      printable models, to ROOT/Thingi10K
        bench data import dt4d DIR      animals, after the release form
        bench data fetch lists          the meshes of the split paper
        bench data verify ama           are all files here and unchanged?

    ROOT is --data, else the environment variable BENCH_DATA, else the user's data folder.
    """,
)


@app.command("fetch")
def fetch_command(
    names: Annotated[list[str], typer.Argument(help="ama, thingi10k, lists.", metavar="NAME...")],
    *,
    part: Annotated[list[str] | None, typer.Option(help="For ama: download only this sequence. Repeatable.")] = None,
    data: Data = None,
    url_base: Annotated[
        str | None,
        typer.Option(envvar="GCBENCH_URL_BASE", help="Address of a mirror that has the files under the same names."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download files again that are already here.")] = False,
) -> None:
    """Download datasets; the same command resumes an interrupted download.

    [bold]Examples[/bold]

        bench data fetch lists               the published selections, 30 kB
        bench data fetch ama --part crane --part samba
        bench data fetch ama thingi10k --data /big/disk
        bench data fetch ama --url-base https://mirror.example/ama/

    Every file is checked by SHA-256. The selection lists have published
    checksums. The archives have none: the checksum of the first download is
    shown and recorded in ROOT/CHECKSUMS, and later downloads must match it.

    [bold]Exit codes[/bold]

        0 all files are here   2 wrong usage
        3 a download failed; finished files stay
    """
    from gcbench.datasets.fetch import fetch
    from gcbench.datasets.places import data_root

    root = data_root(data)
    if part and names != ["ama"]:
        raise UsageError("--part chooses sequences of ama: bench data fetch ama --part crane")
    # Without its list, a dataset has no split `paper`. A mirror of the meshes need not have the lists.
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
    say("next: bench list datasets" if names == ["lists"] else f"next: bench data verify {names[0]}")


_TRUST = {
    "published": "equals the published checksum",
    "recorded": "equals the checksum recorded in CHECKSUMS",
    "first use": "there is no published checksum; trusted on first use, and recorded in CHECKSUMS",
}


@app.command("import")
def import_command(
    name: Annotated[str, typer.Argument(help="dt4d.")],
    folder: Annotated[Path, typer.Argument(help="The folder with the unpacked download.")],
    *,
    link: Annotated[
        bool, typer.Option("--link", help="Make symbolic links instead of copies; keep FOLDER then.")
    ] = False,
    data: Data = None,
) -> None:
    """Import DeformingThings4D, which is released only through a form.

    [bold]Examples[/bold]

        bench data import dt4d ~/Downloads/DeformingThings4D
        bench data import dt4d /archive/DT4D --link          no second copy

    Fill in the form at https://github.com/rabbityl/DeformingThings4D and
    unpack the download.

    The command reads every .anime file and checks size, triangles and
    positions. Good files go to ROOT/dt4d/animals and ROOT/dt4d/humanoids;
    bad files are named and left out.

    [bold]Exit codes[/bold]

        0 all files are good   1 some files are bad   3 no .anime file
    """
    from gcbench.datasets.importing import import_dt4d
    from gcbench.datasets.places import data_root

    if name != "dt4d":
        raise UsageError(
            f"only dt4d is imported; for {name}: bench data fetch {name}, or run a folder: --dataset FOLDER"
        )
    root = data_root(data)
    with counter("checking") as step:
        report = import_dt4d(folder, root, link=link, progress=step)
    for path, reason in report.bad:
        say(f"bad: {path}: {reason}", err=True)
    say(
        f"{len(report.imported)} animations {'linked' if link else 'copied'} to {root / 'dt4d'}, "
        f"{len(report.unchanged)} were there already, {len(report.bad)} bad; {report.frames} frames in all"
    )
    if report.bad:
        raise typer.Exit(1)
    say("next: bench run --dataset dt4d --split paper")


@app.command("verify")
def verify_command(
    name: Annotated[str, typer.Argument(help="ama, dt4d, thingi10k, mixed, or a folder.")],
    *,
    data: Data = None,
    format_: TextOrJson = "text",
) -> None:
    """Read every file of a dataset, and report files that are unusable, changed or missing.

    [bold]Examples[/bold]

        bench data verify ama
        bench data verify path/to/meshes
        bench data verify thingi10k --format json

    The command also counts the meshes of the published selection. Checksums
    come from ROOT/MANIFEST.csv (columns path, sha256) and ROOT/CHECKSUMS.

    [bold]Exit codes[/bold]

        0 all files are good   1 files are unusable, changed or absent
        3 the dataset is not on this machine
    """
    from gcbench.datasets import data_root, open_dataset
    from gcbench.datasets.verify import verify

    root = data_root(data)
    dataset = open_dataset(name, root)
    with counter("reading") as step:
        report = verify(dataset, root, progress=step)
    if format_ == "json":
        say(json.dumps({**asdict(report), "exit_code": report.exit_code}, indent=1))
    else:
        for line in _lines(report):
            say(line)
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
        yield f"             and {len(every) - SHOWN} more; --format json prints all"


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


def _is_plain() -> bool:
    return not os.isatty(2)
