"""``bench list codecs | metrics | datasets | runs``: list them, with what is missing and how to install it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gcbench.bench.cli.options import Data
from gcbench.bench.cli.runs import RUNS
from gcbench.errors import BenchError

if TYPE_CHECKING:
    from gcbench.bench.metrics import Suite
    from gcbench.codecs import Codec
    from gcbench.registry import Registry

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""List codecs, metrics, datasets or runs; with what is missing, and how to install it.

    [bold]Examples[/bold]

        bench list codecs
        bench list metrics --json
        bench list datasets --data /big/disk
    """,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("codecs")
def codecs_command(*, as_json: Json = False) -> None:
    """List codecs: kind, rates, whether each can run here and how to install it, and its package.

    A plugin that cannot be imported is listed with its traceback.
    """
    from gcbench.codecs import CODECS

    for row in _usable(CODECS, "codec", _facts, as_json=as_json):
        typer.echo(f"{row['codec']}  ({row['kind']} codec, {row['origin']})")
        typer.echo(f"    {row['what']}")
        if row["available"]:
            typer.echo(f"    version: {row['version']}")
            by_ladder: dict[str, list[str]] = {}
            for effort, labels in row["rates"].items():
                by_ladder.setdefault(" ".join(labels), []).append(effort)
            for ladder, efforts in by_ladder.items():
                typer.echo(f"    {', '.join(efforts)}: {ladder}")
        else:
            typer.echo(f"    not available: {row['reason']}; {row['remedy']}")


def _usable(
    registry: Registry[T], noun: str, facts: Callable[[T], dict[str, Any]], *, as_json: bool
) -> Iterator[dict[str, Any]]:
    """Print all entries as JSON; or print the broken ones, and yield the others to be printed."""
    rows = _entries(registry, noun, facts)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        if "traceback" in row:
            typer.echo(f"{row[noun]}  BROKEN  {row['error']}\n{row['traceback']}")
        else:
            yield row


def _entries(registry: Registry[T], noun: str, facts: Callable[[T], dict[str, Any]]) -> list[dict[str, Any]]:
    """Facts of every entry of a registry; for a broken entry, the error and the traceback."""
    broken = {plugin.name: plugin for plugin in registry.broken()}
    rows: list[dict[str, Any]] = []
    for name in registry.names():
        if name in broken:
            plugin = broken[name]
            rows.append({noun: name, "origin": plugin.origin, "error": plugin.reason, "traceback": plugin.traceback})
            continue
        row: dict[str, Any] = {noun: name, "origin": registry.origin(name)}
        try:
            row |= facts(registry.create(name))
        except Exception as error:  # a plugin may fail in any way
            if registry.is_builtin(name):
                raise
            row |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        rows.append(row)
    return rows


@app.command("metrics")
def metrics_command(*, as_json: Json = False) -> None:
    """List metric suites and their columns, with the definition of each column.

    A plugin that cannot be imported is listed with its traceback.
    """
    from gcbench.bench.metrics import DEFAULT_SUITES, SUITES

    for row in _usable(SUITES, "suite", _suite_facts, as_json=as_json):
        default = ", measured by default" if row["suite"] in DEFAULT_SUITES else ""
        of = "meshes" if row["takes"] == "mesh" else "clouds of points"
        typer.echo(f"{row['suite']}  (of {of}{default}; {row['origin']})")
        typer.echo(f"    {row['what']}")
        typer.echo(f"    version: {row['version']}")
        width = max((len(column["name"]) for column in row["columns"]), default=0)
        for column in row["columns"]:
            traits = [f"{column['better']} is better"] if column["better"] else ["neither is better"]
            traits += ["ranks"] if column["ranks"] else []
            traits += [f"floor {column['floor']}"] if column["floor"] else []
            mark = "*" if column["headline"] else " "
            typer.echo(f"  {mark} {column['name'].ljust(width)}  {column['definition']} ({', '.join(traits)})")
    if not as_json:
        typer.echo("* headline column, shown by default; show any other with: bench table -m NAME")


def _suite_facts(suite: Suite[Any]) -> dict[str, Any]:
    doc = (type(suite).__doc__ or "").strip().splitlines()
    columns = [asdict(column) for column in suite.columns]
    return {"version": suite.version(), "takes": suite.takes, "what": doc[0] if doc else "", "columns": columns}


def _facts(codec: Codec) -> dict[str, Any]:
    available = codec.availability()
    row: dict[str, Any] = {"kind": codec.kind, "available": available.ok}
    if available.ok:
        row["version"] = codec.version()
        row["rates"] = {
            effort: [rate.label for rate in codec.rates(effort)] for effort in ("quick", "standard", "paper")
        }
    else:
        row |= {"reason": available.reason, "remedy": available.remedy}
    doc = (type(codec).__doc__ or "").strip().splitlines()
    return row | {"what": doc[0] if doc else ""}


@app.command("datasets")
def datasets_command(*, data: Data = None, as_json: Json = False) -> None:
    """List datasets: splits, how many meshes of each are on this machine, and how to get the others."""
    from gcbench.datasets import DATASETS, data_root, open_dataset

    root = data_root(data)
    rows: list[dict[str, Any]] = []
    for name in DATASETS.names():
        try:
            dataset = open_dataset(name, root)
        except BenchError as error:
            rows.append({"dataset": name, "error": str(error)})
            continue
        splits: dict[str, Any] = {}
        for split in dataset.splits:
            try:
                selection = dataset.select(split, root)
            except BenchError as error:
                splits[split] = {"here": 0, "missing": None, "remedy": str(error)}
            else:
                splits[split] = {
                    "here": len(selection.sources),
                    "missing": len(selection.missing),
                    "remedy": selection.remedy if selection.missing else "",
                }
        rows.append({"dataset": name, "what": dataset.describe(), "splits": splits})
    if as_json:
        typer.echo(json.dumps({"root": str(root), "datasets": rows}, indent=1))
        return
    typer.echo(f"data root: {root}{'' if root.exists() else ' (not there)'}")
    for row in rows:
        typer.echo(f"\n{row['dataset']}  {row.get('what', row.get('error'))}")
        for split, facts in row.get("splits", {}).items():
            missing = f", {facts['missing']} missing" if facts["missing"] else ""
            typer.echo(f"    {split:6} {facts['here']} meshes here{missing}")
        for remedy in dict.fromkeys(facts["remedy"] for facts in row.get("splits", {}).values() if facts["remedy"]):
            typer.echo(f"    {remedy}")
    typer.echo("\nany folder of OBJ, STL, PLY or OFF files is a dataset too: bench run --dataset FOLDER")


@app.command("runs")
def runs_command(*, as_json: Json = False) -> None:
    """List the runs in results/runs: counts of results, codecs, and whether the run is finished."""
    from gcbench.bench.store.run import Run

    rows: list[dict[str, Any]] = []
    for path in sorted(RUNS.glob("*")):
        store = Run(path)
        if not store.exists:
            continue
        records, sessions = store.records(), store.sessions()
        last = sessions[-1] if sessions else {}
        rows.append(
            {
                "run": store.name,
                "records": len(records),
                "ok": sum(r.status == "ok" for r in records),
                "bad_input": sum(r.status == "bad-input" for r in records),
                "failed": sum(r.status not in {"ok", "bad-input"} for r in records),
                "codecs": sorted({r.codec for r in records}),
                "last_started": last.get("started"),
                "last_finished": last.get("finished"),
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        typer.echo(f"no run in {RUNS}; make one with: bench run")
    for row in rows:
        end = (
            f"finished {row['last_finished']}" if row["last_finished"] else "not finished: the same command resumes it"
        )
        counts = f"{row['ok']} ok, {row['failed']} failed, {row['bad_input']} bad input"
        typer.echo(f"{row['run']}  {row['records']} records ({counts}), {end}\n    {', '.join(row['codecs'])}")
