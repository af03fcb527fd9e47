"""``bench table`` and ``bench plot``: what is in a run, to read and to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.run import last_run, run_path
from gcbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gcbench.bench.metrics import Column
    from gcbench.bench.store.run import Run

_MEANS = ("ok", "common", "penalised")
_KINDS = ("rd", "datasets", "timing", "stages", "bd", "resolution", "published")
RunArgument = Annotated[
    str | None, typer.Argument(help="Name or folder of a run. Default: the last one.", metavar="[RUN]")
]


MetricOption = Annotated[
    str,
    typer.Option(
        "--metric",
        "-m",
        help="Columns of metric suites, comma-separated, instead of those that suites put forward; "
        "+NAME,... adds them. See bench list metrics.",
        metavar="NAME,...",
    ),
]


def table_command(
    run: RunArgument = None,
    *,
    kind: Annotated[
        str, typer.Option("--kind", "-k", help="rd, datasets, timing, stages, bd, resolution or published: see below.")
    ] = "rd",
    means: Annotated[
        str,
        typer.Option(
            "--means", help="Over what: ok (codings that succeeded), common (meshes that codecs share), penalised."
        ),
    ] = "ok",
    metric: MetricOption = "",
    format_: Annotated[str, typer.Option("--format", "-f", help="text, markdown, latex, csv or json.")] = "text",
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

    [bold]Kinds[/bold]

        rd           sizes, quality and times of every codec at every rate; quality in the
                     metrics that the run's suites put forward, or those of -m
        datasets     what was compressed
        timing       times, and the memory that coding adds
        stages       where the time goes: conversion to points and back apart from coding,
                     for codecs that tell
        bd           Bjøntegaard deltas, codec × codec, with a reason where there is no honest
                     number; always over common meshes; in the metric that ranks, or those of -m
        resolution   rates that name a resolution (k64w32), side by side
        published    figures of papers beside ours

    [bold]Examples[/bold]

        bench table                                  the last run
        bench table mixed-mini-quick -f markdown
        bench table --means common                   over the same meshes; rates that lack some are left out
        bench table -m cd_p2s,hausdorff_p2s          these metrics; -m +nc_p2s adds one
        bench table ama-all-standard -k bd -m cd -f latex
        bench table mixed-mini-quick --no-timing -f csv > table.csv
        bench table --per-mesh --json
        bench table --failures                       in any format
    """
    from gcbench.bench.analysis import table, tables
    from gcbench.bench.analysis.coverage import common
    from gcbench.bench.analysis.frame import summarise
    from gcbench.bench.analysis.measured import chosen
    from gcbench.bench.analysis.published import beside_published
    from gcbench.bench.analysis.text import FORMATS

    format_ = "json" if as_json else format_
    if format_ not in FORMATS:
        raise UsageError(f"unknown format '{format_}'; known: {', '.join(FORMATS)}")
    if kind not in _KINDS:
        raise UsageError(f"unknown kind '{kind}'; known: {', '.join(_KINDS)}")
    if means not in _MEANS:
        raise UsageError(f"unknown means '{means}'; known: {', '.join(_MEANS)}")
    if per_mesh and format_ in {"markdown", "latex"}:
        raise UsageError("--per-mesh is for programs to read: -f csv (its default) or json")
    path, rows = read_run(run)
    names = _names(metric)
    columns = chosen(rows, names, str(run or path))
    if means == "common":
        shared = common(rows)
        rows = shared.rows
        for line in shared.notes:
            typer.echo(line, err=True)
    if failures:
        typer.echo(table.failures(rows, format_), nl=False)
    elif per_mesh:
        typer.echo(table.render(rows, "csv" if format_ == "text" else format_, timing=timing), nl=False)
    else:
        summary = summarise(rows, penalise=means == "penalised")
        if kind == "rd":
            made = table.render(summary, format_, timing=timing, columns=columns, rows=rows)
        else:
            of_kind = {
                "datasets": lambda: tables.datasets(rows),
                "timing": lambda: tables.timing(rows),
                "stages": lambda: tables.stages(summary),
                "bd": lambda: [one for column in _ranked(rows, columns, names) for one in tables.bd(rows, column)],
                "resolution": lambda: tables.resolution(summary, columns),
                "published": lambda: beside_published(summary),
            }
            made = tables.render(of_kind[kind](), format_)
        typer.echo(made, nl=False)


def _names(metric: str) -> list[str]:
    return [name.strip() for name in metric.split(",") if name.strip()]


def _ranked(rows: pd.DataFrame, columns: list[Column], names: list[str]) -> list[Column]:
    """Columns to compare by: those that were named, else the one that ranks."""
    from gcbench.bench.analysis.measured import ranking_column

    if names:
        if unranked := [column.name for column in columns if column.better is None]:
            raise UsageError(f"'{unranked[0]}' is a fact that ranks nothing")
        return columns
    ranking = ranking_column(rows)
    return [] if ranking is None else [ranking]


def plot_command(
    run: RunArgument = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the figures. Default: RUN/figures.")
    ] = None,
    codec: Annotated[str, typer.Option("--codec", "-c", help="Only these codecs, comma-separated.")] = "",
    kind: Annotated[
        str, typer.Option("--kind", "-k", help="rd, timing, pareto, scatter, amortisation, comma-separated, or all.")
    ] = "all",
    metric: MetricOption = "",
) -> None:
    """Draw figures, one of each kind for each dataset, as PNG and PDF.

    [bold]Kinds[/bold]

        rd            the metrics that the run's suites put forward, six at most, or those of -m,
                      against the compression ratio; the noise floor of sampled metrics is a grey
                      band, and points in it are hollow; small points are means over other meshes
        timing        encoding and decoding time of a mesh
        pareto        decoding time and added memory against size, all codecs at the same quality:
                      in the metric that ranks, or the first of -m
        scatter       every mesh: the metric that ranks and the largest error, or those of -m,
                      against bits for each vertex
        amortisation  set codecs: the ratio against the size of the set

    [bold]Examples[/bold]

        bench plot                                   the last run
        bench plot ama-all-standard --out figures --kind rd
        bench plot ablation -c 'necgs,necgs[ssim=0]'
        bench plot -k rd -m cd_p2s,mpeg_d1_psnr
    """
    from gcbench.bench.analysis.coverage import common
    from gcbench.bench.analysis.figures import KINDS, save_figures
    from gcbench.bench.analysis.measured import chosen
    from gcbench.registry import split_addresses

    wanted = set(KINDS) if kind == "all" else set(kind.split(","))
    if unknown := sorted(wanted - set(KINDS)):
        raise UsageError(f"unknown kind '{', '.join(unknown)}'; known: {', '.join(KINDS)}")
    kinds = [k for k in KINDS if k in wanted]
    path, rows = read_run(run)
    if codec:
        names = split_addresses(codec)
        if absent := sorted(set(names) - set(rows["codec"])):
            raise UsageError(
                f"no codec {', '.join(absent)} in {path}; there are: {', '.join(sorted(set(rows['codec'])))}"
            )
        rows = rows[rows["codec"].isin(names)]
    if not (rows["status"] == "ok").any():
        raise UsageError(f"{path} has no measured record to draw")
    names = _names(metric)
    columns = chosen(rows, names, str(run or path)) if names else None
    for line in common(rows).notes:
        typer.echo(line, err=True)
    figures = save_figures(rows, out or path / "figures", path.name, kinds, columns)
    if not figures:
        raise UsageError(f"{path} has nothing to draw of kind {kind}")
    for figure in figures:
        typer.echo(figure)


def opened(run: str | None) -> Run:
    """A run that is there, or the last one."""
    from gcbench.bench.store.run import Run

    store = Run(run_path(run) if run else last_run())
    if not store.exists:
        beside = f"; did you mean ./{run}?" if run and Run(Path(run)).exists else "; see: bench list runs"
        raise UsageError(f"no run at {store.path}{beside}")
    return store


def read_run(run: str | None) -> tuple[Path, pd.DataFrame]:
    """Folder and records of a run, or of the last one; what is left out of earlier versions of codecs is said."""
    from gcbench.bench.analysis.frame import frame
    from gcbench.bench.analysis.versions import newest

    store = opened(run)
    found = newest(store)
    for line in found.notes:
        typer.echo(line, err=True)
    rows = frame(found.records)
    if rows.empty:
        raise UsageError(f"{store.path} has no record yet; go on with: bench run")
    return store.path, rows
