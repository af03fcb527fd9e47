"""``bench list codecs | metrics | datasets | runs``: list them, with what is missing and how to install it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from gcbench.bench.cli.options import Data, TextOrJson
from gcbench.bench.cli.output import print_tables, say
from gcbench.bench.cli.runs import RUNS
from gcbench.bench.tabular import Column, Table
from gcbench.errors import BenchError

if TYPE_CHECKING:
    from gcbench.bench.metrics import Suite
    from gcbench.codecs import Codec
    from gcbench.registry import Registry

T = TypeVar("T")
_KEYS = {"*", "column", "codec", "dataset"}  # headings of the columns that say what a row is about

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""List codecs, metrics, datasets or runs; with what is missing, and how to install it.

    [bold]Examples[/bold]

        bench list codecs
        bench list metrics --format json
        bench list datasets --data /big/disk
    """,
)


@app.command("codecs")
def codecs_command(*, format_: TextOrJson = "text") -> None:
    """List codecs: kind, rates, whether each can run here and how to install it, and its package.

    A plugin that cannot be imported is listed with its traceback.
    """
    from gcbench.codecs import CODECS

    rows = _entries(CODECS, "codec", codec_facts)
    if format_ == "json":
        say(json.dumps(rows, indent=1))
        return
    here = [row for row in rows if row.get("available")]
    absent = [row for row in rows if row.get("available") is False]
    tables = [
        _table("codecs", ("codec", "kind", "package", "what"), [*here, *absent], package="origin"),
        _table("rates, by effort", ("codec", "effort", "rates"), [line for row in here for line in _ladders(row)]),
        _table("not available here", ("codec", "why", "remedy"), absent, why="reason"),
        _table("versions", ("codec", "version"), here),
    ]
    print_tables([table for table in tables if len(table)])
    _broken(rows, "codec")


def _table(title: str, heads: Sequence[str], rows: Sequence[Mapping[str, Any]], **names: str) -> Table:
    """A table of texts. A heading is the name of the values, unless `names` gives another."""
    columns = [Column(names.get(head, head), head, key=head in _KEYS) for head in heads]
    return Table.of_rows(title, columns, rows)


def _ladders(row: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Labels of rates, with the efforts that have them."""
    by_ladder: dict[str, list[str]] = {}
    for effort, labels in row["rates"].items():
        by_ladder.setdefault(" ".join(labels), []).append(effort)
    for ladder, efforts in by_ladder.items():
        yield {"codec": row["codec"], "effort": ", ".join(efforts), "rates": ladder}


def _broken(rows: Sequence[Mapping[str, Any]], noun: str) -> None:
    """Print the entries that cannot be imported or made, each with its traceback."""
    for row in rows:
        if "traceback" in row:
            say(f"\n{row[noun]}  BROKEN  {row['error']}\n{row['traceback'].rstrip()}")


def _entries(registry: Registry[T], noun: str, facts: Callable[[T], dict[str, Any]]) -> list[dict[str, Any]]:
    """Facts of every entry of a registry; for a plugin that is broken, the error and the traceback."""
    from gcbench.registry import BrokenPlugin

    rows: list[dict[str, Any]] = []
    asked = registry.asked(f"{facts.__module__}:{facts.__name__}")
    for name in registry.names():
        row: dict[str, Any] = {noun: name, "origin": registry.origin(name)}
        if registry.is_builtin(name):
            row |= facts(registry.create(name))
        elif isinstance(answer := asked[name], BrokenPlugin):
            row |= {"error": answer.reason, "traceback": answer.traceback}
        else:
            row |= answer
        rows.append(row)
    return rows


@app.command("metrics")
def metrics_command(*, format_: TextOrJson = "text") -> None:
    """List metric suites and their columns, with the definition of each column.

    A plugin that cannot be imported is listed with its traceback.
    """
    from gcbench.bench.metrics import DEFAULT_SUITES, SUITES

    rows = _entries(SUITES, "suite", suite_facts)
    if format_ == "json":
        say(json.dumps(rows, indent=1))
        return
    heads = ("*", "column", "better", "ranks", "floor", "definition")
    tables = []
    for row in rows:
        if "traceback" in row:
            continue
        of = "meshes" if row["takes"] == "mesh" else "clouds of points"
        default = ", measured by default" if row["suite"] in DEFAULT_SUITES else ""
        lines = [
            column | {"*": "*" if column["headline"] else "", "ranks": "yes" if column["ranks"] else ""}
            for column in row["columns"]
        ]
        table = _table(f"{row['suite']}: {row['what']}", heads, lines, column="name")
        facts = (f"of {of}{default}; {row['origin']}; version {row['version']}",)
        tables.append(replace(table, notes=facts))
    print_tables(tables)
    _broken(rows, "suite")
    say("\n* headline column, shown by default; show any other with: bench table -m NAME")


def suite_facts(suite: Suite[Any]) -> dict[str, Any]:
    """What a list of suites shows of one."""
    doc = (type(suite).__doc__ or "").strip().splitlines()
    columns = [asdict(column) for column in suite.columns]
    return {"version": suite.version(), "takes": suite.takes, "what": doc[0] if doc else "", "columns": columns}


def codec_facts(codec: Codec) -> dict[str, Any]:
    """What a list of codecs shows of one."""
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
def datasets_command(*, data: Data = None, format_: TextOrJson = "text") -> None:
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
    if format_ == "json":
        say(json.dumps({"root": str(root), "datasets": rows}, indent=1))
        return
    lines = [
        {"dataset": row["dataset"], "split": split} | facts
        for row in rows
        for split, facts in row.get("splits", {}).items()
    ]
    counts = [Column(name, label, "integer") for name, label in (("here", "meshes here"), ("missing", "missing"))]
    remedies = dict.fromkeys(line["remedy"] for line in lines if line["remedy"])
    keys = [Column("dataset", "dataset", key=True), Column("split", "split", key=True)]
    print_tables(
        [
            Table.of_rows(f"data root: {root}{'' if root.exists() else ' (not there)'}", [*keys, *counts], lines),
            _table("", ("dataset", "what"), [{"what": row.get("error")} | row for row in rows]),
            Table("to get the others", (), {}, tuple(remedies)),
        ][: 3 if remedies else 2]
    )
    say("\nany folder of OBJ, STL, PLY, OFF, glTF or 3MF files is a dataset too: bench run --dataset FOLDER")


@app.command("runs")
def runs_command(*, format_: TextOrJson = "text") -> None:
    """List the runs in results/runs: counts of results, codecs, and whether the run is finished."""
    from gcbench.bench.analysis.versions import newest
    from gcbench.bench.plan.experiment import kept
    from gcbench.bench.store.run import Run

    rows: list[dict[str, Any]] = []
    for path in sorted(RUNS.glob("*")):
        store = Run(path)
        if not store.exists:
            continue
        sessions = store.sessions()
        last = sessions[-1] if sessions else {}
        row: dict[str, Any] = {"run": store.name, "experiments": [str(file) for file in kept(path)]}
        try:
            of = newest(store, ["status"]).rows
        except BenchError as error:
            rows.append(row | {"error": str(error)})
            continue
        counts = Counter(of["status"].tolist())
        row |= {"records": len(of), "ok": counts.pop("ok", 0), "bad_input": counts.pop("bad-input", 0)}
        row |= {"failed": counts.total(), "codecs": sorted(map(str, of["codec"].unique()))}
        rows.append(row | {"last_started": last.get("started"), "last_finished": last.get("finished")})
    if format_ == "json":
        say(json.dumps(rows, indent=1))
        return
    if not rows:
        say(f"no run in {RUNS}; make one with: bench run")
        return
    for row in rows:
        row["codecs"] = row.get("error") or ", ".join(row["codecs"])
        row["last_finished"] = row.get("last_finished") or ("" if "error" in row else "no: the same command resumes it")
    counted = [Column(name, name.replace("_", " "), "integer") for name in ("records", "ok", "failed", "bad_input")]
    rest = [Column("last_finished", "finished"), Column("codecs", "codecs")]
    print_tables([Table.of_rows("", [Column("run", "run", key=True), *counted, *rest], rows)])
    if files := [file for row in rows for file in row["experiments"]]:
        say(f"to make a run again: bench run {files[-1]}")
