"""``bench compare`` and ``bench gate``: is it worse than it was. A thin layer over `gcbench.bench.audit`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.progress import Progress
from gcbench.bench.cli.run import run_path, suites_of
from gcbench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from gcbench.bench.audit.comparison import Verdict
    from gcbench.bench.store.run import Run

NOT_MEASURED = 2
_EXIT_CODES: Mapping[Verdict, int] = {"equal": 0, "better": 0, "worse": 1, "not measured": NOT_MEASURED}
_SAYS: Mapping[Verdict, str] = {
    "equal": "nothing is worse",
    "better": "nothing is worse, something is better",
    "worse": "worse",
    "not measured": "it could not be told",
}


def compare_command(
    run_a: Annotated[str, typer.Argument(help="Name or folder of the run that was before.", metavar="RUN_A")],
    run_b: Annotated[str, typer.Argument(help="Name or folder of the run that is now.", metavar="RUN_B")],
    *,
    codec: Annotated[str, typer.Option("--codec", "-c", help="Only these codecs, comma-separated.")] = "",
    tolerance: Annotated[
        str,
        typer.Option(
            help="Change that is none, for every codec and in every cell, e.g. 0.5%. Default: none at all for "
            "deterministic codecs, a band for those that train a network."
        ),
    ] = "",
    format_: Annotated[str, typer.Option("--format", "-f", help="text, markdown or json.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Compare two runs cell by cell: bytes and every metric.

    Cells are matched by dataset, mesh, codec, rate, effort, seed and device.
    A cell is worse if any of its figures is worse beyond the tolerance,
    or if it succeeded in RUN_A and failed in RUN_B.

    [bold]Examples[/bold]

        bench compare before after
        bench compare before after -c my-codec -f markdown > pr.md
        bench compare laptop server --tolerance 0.1%

    [bold]Exit codes[/bold]

        0 nothing is worse   1 RUN_B is worse
        2 it could not be told: no run, nothing in common, other meshes
    """
    from gcbench.bench.audit import compare_results, measured, render
    from gcbench.registry import split_addresses

    format_ = "json" if as_json else format_
    if format_ not in {"text", "markdown", "json"}:
        raise UsageError(f"unknown format '{format_}'; known: text, markdown, json")
    given = _percentage(tolerance) if tolerance else None
    with _cannot_measure():
        codecs = split_addresses(codec) if codec else []
        old, new = (measured(_store(run).records(), codecs) for run in (run_a, run_b))
        comparison = compare_results(old, new, given)
    notes = [
        f"only in {run}: {len(cells)} cells, of {', '.join(sorted({cell.codec for cell in cells}))}"
        for run, cells in ((run_a, comparison.only_old), (run_b, comparison.only_new))
        if cells
    ]
    if format_ == "json":
        report = {"verdict": comparison.verdict, **render.as_json(comparison, (), notes)}
        typer.echo(json.dumps(report, indent=1))
    elif format_ == "markdown":
        typer.echo(render.markdown(f"{run_a} → {run_b}", comparison, (), notes), nl=False)
    else:
        typer.echo(render.text(comparison, (), notes))
        typer.echo(_SAYS[comparison.verdict])
    raise typer.Exit(_EXIT_CODES[comparison.verdict])


def gate_command(
    *,
    baseline: Annotated[Path, typer.Option("--baseline", "-b", help="The file to hold results against.")],
    codec: Annotated[
        str, typer.Option("--codec", "-c", help="Only these codecs, comma-separated. Default: those of the baseline.")
    ] = "",
    timing: Annotated[
        bool, typer.Option("--timing", help="Also times, as ratios to a control codec in the same run.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Append Markdown to this file: a comment, or $GITHUB_STEP_SUMMARY.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Cells at a time. Default: one for each core.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the run in this new folder, for: bench report, bench table.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write what is measured now to the baseline, instead of comparing.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", "-d", help="With --update, of a new file: names or folders, comma-separated. Default: mixed."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Likewise: mini, paper or all. Default: the dataset's own.")] = None,
    effort: Annotated[str | None, typer.Option(help="Likewise: quick, standard or paper. Default: quick.")] = None,
    rates: Annotated[str | None, typer.Option(help="Likewise: only these rate labels, comma-separated.")] = None,
    meshes: Annotated[str | None, typer.Option(help="Likewise: only these meshes, comma-separated.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Likewise. Default: 0.")] = None,
    suites: Annotated[
        str | None,
        typer.Option("--measure", help="Likewise: suites of metrics. Default: as bench run."),
    ] = None,
    control: Annotated[str, typer.Option(help="With --update --timing: the codec that times are ratios to.")] = "draco",
) -> None:
    """Run a small subset and hold it against a baseline file: for continuous integration.

    The file names the subset, so that the gate needs no other option.
    Deterministic codecs must repeat bytes and metrics exactly, codecs that
    train a network within a band. If a package that a codec's bytes depend
    on changed, the codec is not blamed: that is exit code 2, and said.
    Better than the baseline is fine, and said too.

    [bold]Examples[/bold]

        bench gate -b gate.json -c my-codec,draco --update     write it
        bench gate -b gate.json                                in CI
        bench gate -b gate.json --markdown "$GITHUB_STEP_SUMMARY"
        bench gate -b gate.json -c my-codec --update           on purpose
        bench gate -b gate.json --update --timing              with times

    docs/gate.md has a workflow for GitHub Actions.

    [bold]Exit codes[/bold]

        0 nothing is worse   1 worse
        2 it could not be measured, wrong usage included
    """
    from gcbench.bench.audit import Baseline, Subset, gate, measure, render
    from gcbench.bench.run.runner import default_threads
    from gcbench.registry import split_addresses

    jobs = jobs or default_threads(1)
    codecs = split_addresses(codec) if codec else []
    of_new = {"dataset": dataset, "split": split, "effort": effort, "rates": rates, "meshes": meshes, "seed": seed}
    of_new |= {"measure": suites}
    given = [f"--{name}" for name, value in of_new.items() if value is not None]
    with _cannot_measure(markdown), Progress(quiet=as_json) as progress:
        if given and (baseline.exists() or not update):
            raise UsageError(f"{', '.join(given)}: what is run is in the baseline; write another file with --update")
        if update:
            old = Baseline.read(baseline) if baseline.exists() else None
            subset = Subset(
                _names(dataset or "mixed"), split, effort or "quick", seed or 0, _names(rates), _names(meshes)
            )
            subset = old.subset if old else subset
            if not (codecs or old):
                raise UsageError("a new baseline needs --codec")
            new, wall_s = measure(
                subset,
                codecs or tuple(old.codecs if old else ()),
                suites=tuple(old.suites) if old else suites_of(suites or ""),
                control=control if timing else None,
                jobs=jobs,
                data=data,
                keep=keep,
                on_tick=progress.tick,
            )
            if not old and (unknown := set(subset.rates) - {cell.rate for cell in new.cells}):
                raise UsageError(f"no chosen codec has a rate called {' or '.join(sorted(unknown))}")
            (old.updated(new) if old else new).write(baseline)
            typer.echo(f"{baseline}: {len(new.cells)} cells of {', '.join(new.codecs)}, in {wall_s:.0f} s")
            return
        report = gate(
            Baseline.read(baseline), codecs, timing=timing, jobs=jobs, data=data, keep=keep, on_tick=progress.tick
        )
    parts = (report.comparison, report.timing, report.notes)
    if markdown is not None:
        with _cannot_measure():
            _append(markdown, render.markdown("bench gate", *parts))
    if as_json:
        everything = {"verdict": report.verdict, "wall_s": report.wall_s, **render.as_json(*parts)}
        typer.echo(json.dumps(everything, indent=1))
    else:
        typer.echo(render.text(*parts))
        typer.echo(f"{_SAYS[report.verdict]}; {report.wall_s:.0f} s")
        if report.verdict == "better":
            typer.echo(f"to keep it: bench gate --baseline {baseline} --update")
    raise typer.Exit(_EXIT_CODES[report.verdict])


@contextlib.contextmanager
def _cannot_measure(markdown: Path | None = None) -> Iterator[None]:
    """Exit with 2 for whatever stands in the way: not a verdict on any codec."""
    try:
        yield
    except (BenchError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        if markdown is not None:
            with contextlib.suppress(OSError):
                _append(markdown, f"### bench gate: could not be measured\n\n    {error}\n")
        raise typer.Exit(NOT_MEASURED) from None


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _store(run: str) -> Run:
    from gcbench.bench.store.run import Run

    store = Run(run_path(run))
    if not store.exists:
        raise UsageError(f"no run at {store.path}; see: bench list runs")
    return store


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _percentage(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not (text.endswith("%") and 0 <= value < 10):
        raise UsageError(f"a tolerance is a percentage, e.g. 0.5%, not '{text}'")
    return value
