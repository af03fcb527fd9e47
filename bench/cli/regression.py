"""``bench compare`` and ``bench gate``: find results that became worse, with `gcbench.bench.audit`."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gcbench import plain_text
from gcbench.bench.cli.options import Data, OnlyCodecs, TextOrJson, names
from gcbench.bench.cli.output import print_tables, say
from gcbench.bench.cli.progress import Progress
from gcbench.bench.cli.run import suites_of
from gcbench.bench.cli.runs import opened
from gcbench.bench.tabular import render as rendered
from gcbench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from gcbench.bench.audit.comparison import Verdict
    from gcbench.bench.store import Results
    from gcbench.bench.tabular import Table

NOT_MEASURED = 2
_EXIT_CODES: Mapping[Verdict, int] = {"equal": 0, "better": 0, "worse": 1, "not measured": NOT_MEASURED}
_SAYS: Mapping[Verdict, str] = {
    "equal": "nothing is worse",
    "better": "nothing is worse, something is better",
    "worse": "worse",
    "not measured": "no verdict",
}


def compare_command(
    run_a: Annotated[str, typer.Argument(help="Name or folder of the old run.", metavar="RUN_A")],
    run_b: Annotated[str, typer.Argument(help="Name or folder of the new run.", metavar="RUN_B")],
    *,
    codec: OnlyCodecs = "",
    tolerance: Annotated[
        str,
        typer.Option(
            help="Ignore changes up to this size, for every codec and cell, e.g. 0.5%. Default: 0 for deterministic "
            "codecs, and wider for codecs that train a network."
        ),
    ] = "",
    format_: Annotated[
        Literal["text", "markdown", "json"], typer.Option("--format", "-f", help="What to print.")
    ] = "text",
) -> None:
    """Compare the bytes and metrics of two runs, and say what became worse.

    [bold]Examples[/bold]

        bench compare before after
        bench compare before after -c my-codec -f markdown > pr.md
        bench compare laptop server --tolerance 0.1%
        bench compare my-run results/reference/ama40

    A cell is one mesh, codec and rate. Cells of the two runs are matched by
    mesh (its name, else the hash of its content), codec, rate, effort, seed
    and device. A cell is worse if its bytes or a metric became worse by more
    than the tolerance, or if it succeeded in RUN_A and failed in RUN_B.

    If the runs have no cell in common, such as a run of a new codec and
    results/reference/ama40, the BD-rates of the codecs of RUN_A against
    those of RUN_B are shown instead of a verdict.

    [bold]Exit codes[/bold]

        0 nothing is worse   1 RUN_B is worse
        2 no verdict: no run, no common cell, different meshes
    """
    from gcbench.bench.audit import cell_results, compare_results, named_alike, render
    from gcbench.registry import split_addresses

    given = _percentage(tolerance) if tolerance else None
    with _cannot_measure():
        codecs = split_addresses(codec) if codec else []
        stores = opened(run_a), opened(run_b)
        before, after = (store.records() for store in stores)
        old, new = (cell_results(records, codecs) for records in (before, named_alike(before, after)))
        comparison = compare_results(old, new, given)
        curves = [] if comparison.cells else _among(*stores)
    notes = [
        f"only in {run}: {len(cells)} cells, of {', '.join(sorted({cell.codec for cell in cells}))}"
        for run, cells in ((run_a, comparison.only_old), (run_b, comparison.only_new))
        if cells
    ]
    if format_ == "json":
        report = {"verdict": comparison.verdict, **render.as_json(comparison, (), notes)}
        say(json.dumps(report, indent=1))
    else:
        changes = [] if curves else render.comparison_tables(f"{run_a} → {run_b}", comparison, (), notes)
        print_tables([*curves, *changes], format_)
        if format_ == "text":
            none = "; the runs have no coding in common, so BD-rates are shown instead" if curves else ""
            say(f"\n{_SAYS[comparison.verdict]}{none}")
    raise typer.Exit(_EXIT_CODES[comparison.verdict])


def gate_command(
    *,
    baseline: Annotated[Path, typer.Option("--baseline", "-b", help="The file with the results to compare with.")],
    codec: Annotated[
        str, typer.Option("--codec", "-c", help="Only these codecs, comma-separated. Default: those of the baseline.")
    ] = "",
    timing: Annotated[
        bool, typer.Option("--timing", help="Compare times too, as ratios to a control codec in the same run.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Append the result as Markdown to this file, e.g. $GITHUB_STEP_SUMMARY.")
    ] = None,
    format_: TextOrJson = "text",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Cells at a time. Default: one for each core.")
    ] = None,
    data: Data = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the run in this new folder, for bench report and bench table.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the new results to the baseline, instead of comparing.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="For a new file with --update: names or folders, comma-separated. Default: mixed.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Likewise: mini, paper or all. Default: the dataset's own.")] = None,
    effort: Annotated[str | None, typer.Option(help="Likewise: quick, standard or paper. Default: quick.")] = None,
    rate: Annotated[str | None, typer.Option(help="Likewise: only these rate labels, comma-separated.")] = None,
    mesh: Annotated[str | None, typer.Option(help="Likewise: only these meshes, comma-separated.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Likewise. Default: 0.")] = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", "-s", help="Likewise: metric suites. Default: as in bench run."),
    ] = None,
    control: Annotated[str, typer.Option(help="With --update --timing: the codec that times are ratios to.")] = "draco",
) -> None:
    """Run a small subset and compare it with a baseline file: for continuous integration.

    [bold]Examples[/bold]

        bench gate -b gate.json -c my-codec,draco --update     write a baseline
        bench gate -b gate.json                                compare, in CI
        bench gate -b gate.json --markdown "$GITHUB_STEP_SUMMARY"
        bench gate -b gate.json -c my-codec --update           accept a change
        bench gate -b gate.json --update --timing              with times

    The baseline file names the subset, so the gate needs no other option.
    Deterministic codecs must repeat bytes and metrics exactly; codecs that
    train a network may differ within a tolerance. If a package that decides
    a codec's bytes has changed, a worse result is not blamed on the codec:
    the exit code is 2, and a note names the package.

    docs/gate.md has a workflow for GitHub Actions.

    [bold]Exit codes[/bold]

        0 nothing is worse   1 something is worse
        2 no verdict, or wrong usage
    """
    from gcbench.bench.audit import Baseline, Subset, gate, render, run_subset
    from gcbench.bench.run.runner import default_threads
    from gcbench.registry import split_addresses

    jobs = jobs or default_threads(1)
    codecs = split_addresses(codec) if codec else []
    of_new = {"dataset": dataset, "split": split, "effort": effort, "rate": rate, "mesh": mesh, "seed": seed}
    of_new |= {"suite": suite}
    given = [f"--{name}" for name, value in of_new.items() if value is not None]
    with _cannot_measure(markdown), Progress(quiet=format_ == "json") as progress:
        if given and (baseline.exists() or not update):
            raise UsageError(f"{', '.join(given)}: the baseline names the subset; write another file with --update")
        if update:
            old = Baseline.read(baseline) if baseline.exists() else None
            subset = Subset(
                tuple(names(dataset or "mixed")),
                split,
                effort or "quick",
                seed or 0,
                tuple(names(rate or "")),
                tuple(names(mesh or "")),
            )
            subset = old.subset if old else subset
            if not (codecs or old):
                raise UsageError("a new baseline needs --codec")
            new, wall_s = run_subset(
                subset,
                codecs or tuple(old.codecs if old else ()),
                suites=tuple(old.suites) if old else suites_of(suite or ""),
                control=control if timing else None,
                jobs=jobs,
                data=data,
                keep=keep,
                on_tick=progress.tick,
            )
            if not old and (unknown := set(subset.rates) - {cell.rate for cell in new.cells}):
                raise UsageError(f"no chosen codec has a rate called {' or '.join(sorted(unknown))}")
            (old.updated(new) if old else new).write(baseline)
            say(f"{baseline}: {len(new.cells)} cells of {', '.join(new.codecs)}, in {wall_s:.0f} s")
            return
        report = gate(
            Baseline.read(baseline), codecs, timing=timing, jobs=jobs, data=data, keep=keep, on_tick=progress.tick
        )
    parts = (report.comparison, report.timing, report.notes)
    tables = render.comparison_tables("bench gate", *parts)
    if markdown is not None:
        with _cannot_measure():
            _append(markdown, "".join(rendered(tables, "markdown")))
    if format_ == "json":
        everything = {"verdict": report.verdict, "wall_s": report.wall_s, **render.as_json(*parts)}
        say(json.dumps(everything, indent=1))
    else:
        print_tables(tables)
        say(f"\n{_SAYS[report.verdict]}; {report.wall_s:.0f} s")
        if report.verdict == "better":
            say(f"to make this the baseline: bench gate --baseline {shlex.quote(str(baseline))} --update")
    raise typer.Exit(_EXIT_CODES[report.verdict])


def _among(own: Results, others: Results) -> list[Table]:
    """BD-rates of the codecs of one run against those of another, on the meshes that both have; empty without any."""
    from gcbench.bench.analysis.beside import beside
    from gcbench.bench.analysis.measured import ranking_column
    from gcbench.bench.analysis.tables.against import against
    from gcbench.bench.analysis.versions import newest

    mine = newest(own)
    try:
        together = beside(mine, {others.name: newest(others)})
    except UsageError:  # no mesh in common
        return []
    ranking = ranking_column(together.rows)
    if ranking is None:
        return []
    codecs = set(mine.rows["codec"].astype(str))
    return [replace(t, notes=(*t.notes, *together.notes)) for t in against(together.rows, ranking, codecs)]


@contextlib.contextmanager
def _cannot_measure(markdown: Path | None = None) -> Iterator[None]:
    """Exit with code 2 for an error, which is not a verdict on a codec."""
    try:
        yield
    except (BenchError, OSError) as error:
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        say(f"error: {plain_text.line(why)}", err=True)
        if markdown is not None:
            with contextlib.suppress(OSError):
                _append(markdown, f"### bench gate: could not be measured\n\n    {plain_text.line(why)}\n")
        raise typer.Exit(NOT_MEASURED) from None


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _percentage(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not (text.endswith("%") and 0 <= value < 10):
        raise UsageError(f"a tolerance is a percentage, e.g. 0.5%, not '{text}'")
    return value
