"""``bench choose``: find codecs and rates that meet constraints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.options import RunArgument
from gcbench.bench.cli.runs import read_run
from gcbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gcbench.bench.analysis.choose import Choice, Requirement


def choose_command(
    run: RunArgument = None,
    *,
    max_kb: Annotated[float | None, typer.Option(help="Mean stream size of a mesh, in 1000 bytes.")] = None,
    min_ratio: Annotated[float | None, typer.Option(help="Compression ratio against OBJ.")] = None,
    max_encode_ms: Annotated[float | None, typer.Option(help="Mean encoding time of a mesh.")] = None,
    max_decode_ms: Annotated[float | None, typer.Option(help="Mean decoding time of a mesh.")] = None,
    max_decode_mib: Annotated[float | None, typer.Option(help="Memory that decoding adds at its peak.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME<=VALUE or NAME>=VALUE for a mean, in the unit of the column: a metric (bench list metrics), "
            "kilobytes, ratio, bits_per_vertex, encode_ms, decode_ms, encode_added_mib, decode_added_mib. Repeatable.",
            metavar="LIMIT",
        ),
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Only this dataset. Default: each by itself.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Find the codecs and rates that meet all constraints, smallest first; or say which constraint to relax.

    A * marks a choice that no other choice beats in size, quality (ranking metric) and decoding time at once.

    [bold]Examples[/bold]

        bench choose --max-kb 20 --max-decode-ms 16
        bench choose ama-all-standard --min-ratio 100 --where 'cd_p2s<=0.002'
        bench choose --where 'f1_0005>=0.9' --where 'hausdorff_p2s<=0.01'
    """
    from gcbench.bench.analysis.choose import choose_from, requirement_from
    from gcbench.bench.analysis.frame import summarise

    asked = (
        ("kilobytes", max_kb, False),
        ("ratio", min_ratio, True),
        ("encode_ms", max_encode_ms, False),
        ("decode_ms", max_decode_ms, False),
        ("decode_added_mib", max_decode_mib, False),
    )
    texts = [f"{column}{'>=' if at_least else '<='}{bound!r}" for column, bound, at_least in asked if bound is not None]
    path, rows = read_run(run)
    rows = rows[(rows["device"] == device) & ((rows["dataset"] == dataset) | (not dataset))]
    if rows.empty:
        raise UsageError(f"{path} has no record of {dataset or 'any dataset'} on {device}")
    known = summarise(rows)
    limits = [requirement_from(text, known, str(run or path)) for text in [*texts, *(where or [])]]
    found = False
    for (name, split, effort), part in rows.groupby(["dataset", "split", "effort"], sort=True):
        choice = choose_from(part, limits)
        found |= len(choice.within) > 0
        typer.echo(f"{name}, split {split}, effort {effort}: {', '.join(map(str, limits)) or 'no constraint'}\n")
        _show(choice, limits)
    if not found:
        raise typer.Exit(1)


def _show(choice: Choice, limits: list[Requirement]) -> None:
    from gcbench.bench.analysis.table import machine_notes

    if len(choice.within):
        for line in _table(choice.within, limits):
            typer.echo(line)
        typer.echo("\n* no other choice is at least as small, as close to the original and as fast to decode")
        for line in machine_notes(choice.within):
            typer.echo(line)
    else:
        typer.echo("nothing meets all constraints")
        for relax in choice.relaxations:
            typer.echo(f"  {_moved(relax.limit, relax.bound)} would allow {relax.codec} {relax.rate}")
        if choice.nearest is not None and len(limits) > 1:
            typer.echo("  relaxing one constraint is not enough; nearest are")
            for line in _table(choice.nearest, limits):
                typer.echo(f"  {line}")
    for limit, floor in choice.beyond:
        typer.echo(f"no codec can reach {limit}: two samplings of the original itself give {limit.shown(floor):.4g}")
    if choice.excluded:
        typer.echo(f"left out: {_rates(choice.excluded)} with failed codings (bench table --failures)")
    if choice.elsewhere:
        typer.echo(f"left out: {_rates(choice.elsewhere)} without all common meshes (bench table --means common)")
    typer.echo()


def _rates(count: int) -> str:
    return "1 rate" if count == 1 else f"{count} rates"


def _moved(limit: Requirement, bound: float) -> str:
    """A constraint with its bound rounded to the side that allows the value."""
    from dataclasses import replace
    from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

    context = Context(prec=3, rounding=ROUND_FLOOR if limit.at_least else ROUND_CEILING)
    return str(replace(limit, bound=float(context.create_decimal(Decimal(bound)))))


def _table(rows: pd.DataFrame, limits: list[Requirement]) -> list[str]:
    from gcbench.bench.analysis.choose import COSTS
    from gcbench.bench.analysis.measured import headlines
    from gcbench.bench.analysis.table import shown
    from gcbench.bench.analysis.text import aligned
    from gcbench.bench.metrics import columns as registry

    asked = [registry()[limit.column] for limit in limits if limit.column not in COSTS]
    columns = [c for c in shown(list(dict.fromkeys([*headlines(rows), *asked]))) if c.name in rows]
    cells = [["", "codec", "rate", *(c.heading for c in columns)]]
    for row in rows.to_dict("records"):
        values = [float(row[c.name]) for c in columns]
        cells.append(
            [
                "*" if row.get("pareto") else "",
                str(row["codec"]),
                str(row["rate"]),
                *("–" if math.isnan(v) else c.show(v) for c, v in zip(columns, values, strict=True)),
            ]
        )
    return aligned(cells, left=3)
