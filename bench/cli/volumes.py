"""``bench volumes``: kept streams beside the published key-sphere table. A thin layer over `gcbench.bench.volumes`."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.run import last_run, run_path
from gcbench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from gcbench.bench.volumes import Compared


def volumes_command(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run. Default: the last one.", metavar="[RUN]")
    ] = None,
    *,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", help="Only this one; NAME=FOLDER where its folder is now. Several times."),
    ] = None,
    codec: Annotated[str, typer.Option("--codec", "-c", help="Only these codecs, comma-separated.")] = "",
    rates: Annotated[str, typer.Option(help="Only these rate labels, comma-separated.")] = "",
    mesh: Annotated[str, typer.Option("--mesh", "-m", help="Only these meshes, comma-separated.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N meshes of each dataset.")] = None,
    means: Annotated[
        str, typer.Option("--means", help="Over what: ok (what could be compared), common (meshes that all rows have).")
    ] = "ok",
    published: Annotated[
        str, typer.Option(help="Which published figures to show below: Thingi32, ShapeNet150 or none.")
    ] = "Thingi32",
    seed: Annotated[int, typer.Option(min=0, help="Of the random points.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="For searches; they change no number.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="text, markdown, latex, csv or json.")] = "text",
    out: Annotated[Path | None, typer.Option(help="Also write every mesh as a row of this CSV file.")] = None,
) -> None:
    """Compare kept streams with their inputs as papers on implicit networks do: shared volume (gIoU), squared CD.

    Streams are decoded again, from their bytes alone. The published figures
    below ours are those of Table 1 of the key-sphere paper, of other meshes.

        gIoU         volume inside both / inside either; 100 000 random points,
                     inside is a winding number over 1/2
        squared CD   131 072 samples of each surface, both mean squared
                     distances added; the original's smallest enclosing ball
                     has radius 0.9
        its floor    the same of the original against itself

    What cannot be compared is counted and named, never dropped.

    [bold]Examples[/bold]

        bench volumes                                    the last run
        bench volumes my-run -c ni,keyspheres,nglod --means common
        bench volumes ./theirs -d shapes=my/shapes --limit 4 --out meshes.csv
        bench volumes my-run -m 44234,53159,76277,96481  four of Thingi32

    [bold]Exit codes[/bold]

        0   done
        1   some codings failed, then or now; the table counts and names them
        2   wrong usage
        3   something cannot be written
    """
    from gcbench.bench.analysis.tables import render
    from gcbench.bench.analysis.text import FORMATS
    from gcbench.bench.store import Run
    from gcbench.bench.volumes import choose, compare, on_common_meshes, published_datasets, tables
    from gcbench.registry import split_addresses

    if format_ not in FORMATS:
        raise UsageError(f"unknown format '{format_}'; known: {', '.join(FORMATS)}")
    if means not in {"ok", "common"}:
        raise UsageError(f"unknown means '{means}'; known: ok, common")
    if published not in (known := [*published_datasets(), "none"]):
        raise UsageError(f"unknown published figures '{published}'; known: {', '.join(known)}")
    names, folders = [], {}
    for given in dataset or []:
        name, equals, folder = given.partition("=")
        names.append(name)
        if equals:
            if not Path(folder).is_dir():
                raise UsageError(f"--dataset takes NAME or NAME=FOLDER, a folder that is here, not '{given}'")
            folders[name] = Path(folder)
    store = Run(run_path(run) if run else last_run())
    records = choose(
        store,
        datasets=names,
        meshes=[name.strip() for name in mesh.split(",") if name.strip()],
        codecs=split_addresses(codec),
        rates=[label.strip() for label in rates.split(",") if label.strip()],
        limit=limit,
    )
    rows: list[Compared] = []
    compared = compare(
        store,
        records,
        seed=seed,
        threads=threads,
        data=data,
        folders=folders,
        progress=lambda done, total, what: typer.echo(f"{done + 1}/{total} {what}", err=True),
    )
    with contextlib.closing(compared):  # also when interrupted: it has a worker
        for row in compared:
            rows.append(row)
            if out is not None:
                _write(out, rows)
    shown = on_common_meshes(rows) if means == "common" else rows
    typer.echo(render(tables(shown, None if published == "none" else published), format_), nl=False)
    if any(row.status not in {"ok", "bad-input"} for row in rows):
        raise typer.Exit(1)


def _write(path: Path, rows: Sequence[Compared]) -> None:
    """Write all rows, so that what is done survives an interruption."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(rows[0])])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
