"""``bench table`` and ``bench plot``: show the results of a run as tables and figures."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.options import Gone, RunArgument, TableFormat, With, names
from gcbench.bench.cli.output import print_tables, say
from gcbench.bench.cli.runs import not_run, read_run
from gcbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gcbench.bench.metrics import Column
    from gcbench.bench.tabular import Table

_MEANS = ("ok", "common", "penalised")
_KINDS = ("rd", "datasets", "timing", "stages", "bd", "shares", "resolution", "sequences", "published")

MetricOption = Annotated[
    str,
    typer.Option(
        "--metric",
        "-m",
        help="Columns of metric suites, comma-separated, instead of the headline columns (* in bench list metrics); "
        "+NAME,... adds columns.",
        metavar="NAME,...",
    ),
]


def table_command(
    run: RunArgument = None,
    *,
    kind: Annotated[
        str, typer.Option("--kind", "-k", help=f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}: see below.")
    ] = "rd",
    means: Annotated[
        str,
        typer.Option(
            "--means",
            help="Average over: ok (codings that succeeded), common (meshes that all codecs coded), or penalised.",
        ),
    ] = "ok",
    metric: MetricOption = "",
    against: Annotated[
        str, typer.Option("--against", help="For shares: codecs to compare with, comma-separated.", metavar="NAME,...")
    ] = "",
    format_: TableFormat = "text",
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Without times, equal results give equal tables.")
    ] = True,
    per_mesh: Annotated[
        bool, typer.Option("--per-mesh", help="Every record, as CSV or JSON, instead of means.")
    ] = False,
    failures: Annotated[bool, typer.Option("--failures", help="List what failed: pass, stage and reason.")] = False,
    others: With = None,
    gone: Gone = False,
) -> None:
    """Show the results of a run as a table: means over the meshes for each codec and rate, and failures.

    [bold]Examples[/bold]

        bench table                                  the last run
        bench table mixed-mini-quick -f markdown
        bench table --means common                   over meshes that all codecs coded
        bench table -m cd_p2s,hausdorff_p2s          these metrics; -m +nc_p2s adds one
        bench table ama-all-standard -k bd -m cd -f latex
        bench table ama-all-standard -k shares --against draco-qem
        bench table mixed-mini-quick --no-timing -f csv > table.csv
        bench table --per-mesh -f json
        bench table --failures                       in any format
        bench table my-run --with results/reference/ama40

    [bold]Kinds[/bold]

        rd           size, quality and time of every codec at every rate; quality in the headline
                     columns of the run's suites, or those of -m
        datasets     the datasets: meshes, vertices, faces, bytes
        timing       times, and the memory that encoding and decoding add
        stages       time of each stage, such as conversion to points, for codecs that report it
        bd           Bjøntegaard deltas, codec × codec, over common meshes, in the ranking metric or
                     those of -m; a cell without a valid number has the reason
        shares       bytes of every rate over those of the best other codec at the same quality, or
                     over those of the codecs of --against
        resolution   rates named by a resolution (k64w32), side by side
        sequences    bits per frame and per second of each motion
        published    results of papers beside those of the run

    [bold]Marks[/bold]

        ~            at the noise floor of sampled points: such values do not rank codecs
        ≈            not worse than the best of its size, as far as the meshes can tell
    """
    from gcbench.bench.analysis.coverage import common
    from gcbench.bench.analysis.measured import chosen
    from gcbench.bench.analysis.tables.failures import failures as failed
    from gcbench.bench.analysis.tables.not_run import not_run as absent
    from gcbench.bench.analysis.tables.records import records
    from gcbench.registry import split_addresses

    if kind not in _KINDS:
        raise UsageError(f"unknown kind '{kind}'; known: {', '.join(_KINDS)}")
    if means not in _MEANS:
        raise UsageError(f"unknown means '{means}'; known: {', '.join(_MEANS)}")
    if per_mesh and format_ not in {"text", "csv", "json"}:
        raise UsageError("--per-mesh prints CSV or JSON: -f csv (the default) or -f json")
    if against and kind != "shares":
        raise UsageError("--against chooses the codecs of -k shares; -k bd compares all pairs")
    path, rows = read_run(run, gone=gone, others=others)
    named = names(metric)
    columns = chosen(rows, named, str(run or path))
    compared = split_addresses(against) if against else []
    _require_codecs(compared, rows, str(run or path))
    reasons = not_run(run, others, rows) if kind == "rd" else {}
    if means == "common":
        shared = common(rows)
        rows = shared.rows
        for line in shared.notes:
            say(line, err=True)
    if failures:
        print_tables([failed(rows)], format_)
    elif per_mesh:
        print_tables([records(rows, timing=timing)], "csv" if format_ == "text" else format_)
    else:
        ranked = _ranked(rows, columns, named=bool(named)) if kind in {"bd", "shares"} else []
        tables = _tables(kind, rows, columns, ranked, compared, penalise=means == "penalised", timing=timing)
        print_tables([*tables, *absent(reasons)], format_)


def _tables(
    kind: str,
    rows: pd.DataFrame,
    columns: list[Column],
    ranked: list[Column],
    compared: list[str],
    *,
    penalise: bool,
    timing: bool,
) -> list[Table]:
    """Make the tables of a kind; only what they need is imported and computed."""
    from gcbench.bench.analysis.frame import summarise
    from gcbench.bench.analysis.mean_curves import means_by_meshes
    from gcbench.bench.analysis.tables import datasets, deltas, published, rate_distortion, resolution, shares
    from gcbench.bench.analysis.tables import sequences as motions
    from gcbench.bench.analysis.tables import timing as times

    of_rows = {"datasets": datasets.datasets, "timing": times.timing, "sequences": motions.sequences}
    if kind in of_rows:
        return of_rows[kind](rows)
    if kind == "published":
        return published.beside_published(means_by_meshes(rows))
    if kind in {"bd", "shares"}:
        make = deltas.deltas if kind == "bd" else partial(shares.shares, against=compared)
        return [table for column in ranked for table in make(rows, column)]
    summary = summarise(rows, penalise=penalise)
    if kind == "rd":
        return rate_distortion.rate_distortion(summary, timing=timing, columns=columns, rows=rows)
    if kind == "stages":
        return times.stages(summary)
    return resolution.resolution(summary, columns)


def _require_codecs(wanted: Collection[str], rows: pd.DataFrame, where: str) -> None:
    if absent := sorted(set(wanted) - set(rows["codec"])):
        raise UsageError(f"no codec {', '.join(absent)} in {where}; there are: {', '.join(sorted(set(rows['codec'])))}")


def _ranked(rows: pd.DataFrame, columns: list[Column], *, named: bool) -> list[Column]:
    """Columns to compare by: the named ones, else the ranking column."""
    from gcbench.bench.analysis.measured import ranking_column

    if named:
        if unranked := [column.name for column in columns if column.better is None]:
            raise UsageError(f"'{unranked[0]}' cannot be compared: neither lower nor higher is better")
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
    others: With = None,
    gone: Gone = False,
) -> None:
    """Draw the results of a run as figures (PNG and PDF), one of each kind for each dataset.

    [bold]Examples[/bold]

        bench plot                                   the last run
        bench plot ama-all-standard --out figures --kind rd
        bench plot ablation -c 'necgs,necgs[ssim=0]'
        bench plot -k rd -m cd_p2s,mpeg_d1_psnr
        bench plot my-run --with results/reference/ama40

    [bold]Kinds[/bold]

        rd            quality against compression ratio, in at most six headline columns or those
                      of -m; the grey band is the noise floor of a sampled metric, and points in it
                      are hollow; small points are means over other meshes
        timing        encoding and decoding time of a mesh
        pareto        decoding time and added memory against size, all codecs at the same quality,
                      in the ranking metric or the first of -m
        scatter       every mesh: ranking metric and largest error, or those of -m, against bits
                      per vertex
        amortisation  set codecs: compression ratio against the number of meshes in the set
    """
    from gcbench.bench.analysis.coverage import common
    from gcbench.bench.analysis.figures import KINDS, save_figures
    from gcbench.bench.analysis.measured import chosen
    from gcbench.registry import split_addresses

    wanted = set(KINDS) if kind == "all" else set(kind.split(","))
    if unknown := sorted(wanted - set(KINDS)):
        raise UsageError(f"unknown kind '{', '.join(unknown)}'; known: {', '.join(KINDS)}")
    kinds = [k for k in KINDS if k in wanted]
    path, rows = read_run(run, gone=gone, others=others)
    if codec:
        codecs = split_addresses(codec)
        _require_codecs(codecs, rows, str(path))
        rows = rows[rows["codec"].isin(codecs)]
    if not (rows["status"] == "ok").any():
        raise UsageError(f"{path} has no measured record to draw")
    named = names(metric)
    columns = chosen(rows, named, str(run or path)) if named else None
    shared = common(rows)
    for line in shared.notes:
        say(line, err=True)
    figures = save_figures(rows, out or path / "figures", path.name, kinds, columns, shared=shared)
    if not figures:
        raise UsageError(f"{path} has nothing to draw of kind {kind}")
    for figure in figures:
        say(figure)
