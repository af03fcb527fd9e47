"""``bench table`` and ``bench plot``: what is in a run, to read and to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.run import last_run, run_path
from gcbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

RunArgument = Annotated[
    str | None, typer.Argument(help="Name or folder of a run. Default: the last one.", metavar="[RUN]")
]


def table_command(
    run: RunArgument = None,
    *,
    format_: Annotated[str, typer.Option("--format", "-f", help="text, markdown, csv or json.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Without times, the table is reproducible to the last byte.")
    ] = True,
    per_mesh: Annotated[
        bool, typer.Option("--per-mesh", help="Every record, as CSV or JSON, instead of means.")
    ] = False,
    failures: Annotated[bool, typer.Option("--failures", help="List what failed and why, instead of means.")] = False,
) -> None:
    """Show a run as a table: codec × rate, means over the meshes, failures in sight.

    [bold]Examples[/bold]

        bench table                                  the last run
        bench table mixed-mini-quick -f markdown
        bench table mixed-mini-quick --no-timing -f csv > table.csv
        bench table --per-mesh --json
        bench table --failures                       in any format
    """
    from gcbench.bench.analysis import table
    from gcbench.bench.analysis.frame import summarise

    format_ = "json" if as_json else format_
    if format_ not in table.FORMATS:
        raise UsageError(f"unknown format '{format_}'; known: {', '.join(table.FORMATS)}")
    if per_mesh and format_ == "markdown":
        raise UsageError("--per-mesh is for programs to read: -f csv (its default) or json")
    _, rows = read_run(run)
    if failures:
        typer.echo(table.failures(rows, format_), nl=False)
    elif per_mesh:
        typer.echo(table.render(rows, "csv" if format_ == "text" else format_, timing=timing), nl=False)
    else:
        typer.echo(table.render(summarise(rows), format_, timing=timing), nl=False)


def plot_command(
    run: RunArgument = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the figures. Default: RUN/figures.")
    ] = None,
    codec: Annotated[str, typer.Option("--codec", "-c", help="Only these codecs, comma-separated.")] = "",
) -> None:
    """Draw rate-distortion figures, one for each dataset, as PNG and PDF.

    Compression ratio on a log axis against CD, NC, F1-0.005 and the exact point-to-surface distance; the noise floor
    of sampled metrics is a grey band, and points in it are hollow.

    [bold]Examples[/bold]

        bench plot                                   the last run
        bench plot ama-all-standard --out figures
    """
    from gcbench.bench.analysis.frame import summarise
    from gcbench.bench.analysis.plot import save_figures
    from gcbench.registry import split_addresses

    path, rows = read_run(run)
    if codec:
        wanted = split_addresses(codec)
        if unknown := sorted(set(wanted) - set(rows["codec"])):
            raise UsageError(
                f"no codec {', '.join(unknown)} in {path}; there are: {', '.join(sorted(set(rows['codec'])))}"
            )
        rows = rows[rows["codec"].isin(wanted)]
    quality = rows[~rows["timing"]]
    if not (quality["status"] == "ok").any():
        raise UsageError(f"{path} has no measured record to draw")
    for figure in save_figures(summarise(quality), out or path / "figures", path.name):
        typer.echo(figure)


def read_run(run: str | None) -> tuple[Path, pd.DataFrame]:
    """Folder and records of a run, or of the last one."""
    from gcbench.bench.analysis.frame import frame
    from gcbench.bench.store import Run

    store = Run(run_path(run) if run else last_run())
    if not store.exists:
        raise UsageError(f"no run at {store.path}; see: bench list runs")
    rows = frame(store.records())
    if rows.empty:
        raise UsageError(f"{store.path} has no record yet; go on with: bench run")
    return store.path, rows
