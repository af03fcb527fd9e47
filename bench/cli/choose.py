"""``bench choose``: find codecs and rates that meet constraints."""

from __future__ import annotations

from typing import Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.options import Gone, RunArgument, TableFormat
from gcbench.bench.cli.output import print_tables, say
from gcbench.bench.cli.runs import read_run
from gcbench.errors import UsageError


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
    gone: Gone = False,
    format_: TableFormat = "text",
) -> None:
    """Find the codecs and rates that meet all constraints, smallest first; or say which constraint to relax.

    [bold]Examples[/bold]

        bench choose --max-kb 20 --max-decode-ms 16
        bench choose ama-all-standard --min-ratio 100 --where 'cd_p2s<=0.002'
        bench choose --where 'f1_0005>=0.9' --where 'hausdorff_p2s<=0.01'

    A * marks a choice that no other choice beats in size, quality (ranking metric) and decoding time at once. If
    nothing meets the constraints, the exit code is 1; CSV and JSON are then empty, and what to relax is on stderr.
    """
    from gcbench.bench.analysis.choose import choose_from, requirement_from
    from gcbench.bench.analysis.frame import summarise
    from gcbench.bench.analysis.tables.choice import choice

    asked = (
        ("kilobytes", max_kb, False),
        ("ratio", min_ratio, True),
        ("encode_ms", max_encode_ms, False),
        ("decode_ms", max_decode_ms, False),
        ("decode_added_mib", max_decode_mib, False),
    )
    texts = [f"{column}{'>=' if at_least else '<='}{bound!r}" for column, bound, at_least in asked if bound is not None]
    path, rows = read_run(run, gone=gone)
    rows = rows[(rows["device"] == device) & ((rows["dataset"] == dataset) | (not dataset))]
    if rows.empty:
        raise UsageError(f"{path} has no record of {dataset or 'any dataset'} on {device}")
    if not (rows["status"] == "ok").any():
        if format_ in {"csv", "json"}:
            print_tables([], format_)
        why = f"bench table {plain_text.shell_word(run or path)} --failures"
        say(f"{path} has no coding that is ok, so there is nothing to choose from; the reasons: {why}", err=True)
        raise typer.Exit(1)
    known = summarise(rows)
    limits = [requirement_from(text, known, str(run or path)) for text in [*texts, *(where or [])]]
    found = {
        f"{name}, split {split}, effort {effort}": choose_from(part, limits)
        for (name, split, effort), part in rows.groupby(["dataset", "split", "effort"], sort=True, observed=True)
    }
    tables = [choice(one, limits, where) for where, one in found.items()]
    print_tables(tables, format_)
    if not any(table.names for table in tables):
        if format_ in {"csv", "json"}:
            for note in (note for table in tables for note in table.notes):
                say(note, err=True)
        raise typer.Exit(1)
    best = [one.within[one.within["pareto"]] for one in found.values()]
    if format_ == "text" and (best := [rows for rows in best if len(rows)]):
        closest = best[0].iloc[-1]
        codec, rate = (plain_text.shell_word(str(closest[name])) for name in ("codec", "rate"))
        say(f"\nnext: bench encode MESH -c {codec} --rate {rate}")
