"""What a page says about one set: paragraphs, tables, and the numbers of sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd

from gcbench import plain_text
from gcbench.bench.analysis.equal_quality import at_quality, common_quality
from gcbench.bench.analysis.frame import BLOCK, machine
from gcbench.bench.analysis.mean_curves import MeanCurves
from gcbench.bench.analysis.rate_distortion import BDRate
from gcbench.bench.analysis.tables.columns import block_title, number, show
from gcbench.bench.analysis.tables.deltas import deltas
from gcbench.bench.analysis.tables.failures import failures
from gcbench.bench.analysis.tables.published import significant
from gcbench.bench.analysis.tables.rate_distortion import rate_distortion
from gcbench.bench.analysis.tables.timing import timing
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.metrics import columns
from gcbench.bench.site.sets import Reference
from gcbench.bench.tabular import Column, Table

#: p2s at which codecs are compared, the same for all sets: from a shape that is recognised to one that looks unchanged.
LEVELS = (8e-3, 4e-3, 2e-3, 1e-3, 0.5e-3)
MIDDLE = 1e-3
_MOST_FAILURES = 30


def what_was_run(of: Reference) -> str:
    """A paragraph: meshes, codecs, rates, effort, machine, version of gcbench, dates."""
    quality = of.quality
    rates = quality.groupby("codec", observed=True)["rate"].nunique()
    efforts, seeds = (", ".join(map(str, sorted(set(quality[name])))) for name in ("effort", "seed"))
    splits = ", ".join(sorted({f"{d}/{s}" for d, s in zip(quality["dataset"], quality["split"], strict=True)}))
    codings = f"{_many(len(quality))} codings, of which {_many(failed(of))} failed"
    text = (
        f"{meshes(of)} meshes ({splits}); {len(of.codecs)} codecs at {_span(rates.min(), rates.max())} rates, effort "
        f"{efforts}, seed {seeds}: {codings}. {_machines(of)}"
    )
    return f"{text} gcbench {', '.join(_facts(of, 'gcbench'))}; {_dates(of)}."


def meshes(of: Reference) -> int:
    """The number of meshes."""
    return len(of.rows[["dataset", "mesh"]].drop_duplicates())


def failed(of: Reference) -> int:
    """The number of codings of the quality pass that failed."""
    return int((~of.quality["status"].isin(["ok", "bad-input"])).sum())


def _span(low: float, high: float) -> str:
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _many(count: int) -> str:
    """A whole number with a narrow space between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def _facts(of: Reference, name: str) -> list[str]:
    return sorted({str(session[name]) for session in of.sessions if session.get(name)})


def _machines(of: Reference) -> str:
    found = set()
    for session in of.sessions:
        facts = session.get("machine")
        if isinstance(facts, Mapping):
            cores, memory = facts.get("cores"), facts.get("memory_bytes")
            gib = f", {memory / 2**30:.0f} GiB" if isinstance(memory, int) else ""
            found.add(f"{facts.get('processor')}, {cores} cores{gib}")
    return f"Machine: {'; '.join(sorted(found))}." if found else ""


def _dates(of: Reference) -> str:
    days = sorted({text[:10] for session in of.sessions for n in ("started", "finished") if (text := session.get(n))})
    if not days:
        return "no date"
    first, last = (datetime.fromisoformat(day).strftime("%-d %b %Y") for day in (days[0], days[-1]))
    return first if first == last else f"{first} to {last}"


def commands(of: Reference) -> str:
    """The commands of all invocations, each once, with the names of folders in place of their paths."""
    lines = dict.fromkeys(_command(session["argv"]) for session in of.sessions if session.get("argv"))
    return "\n".join(f"    {line}" for line in lines) or "    (no command is known)"


def _command(argv: Sequence[object]) -> str:
    words = [re.sub(r"(?<![\w.])/[^\s,=]*/([^\s,/=]+)", r"\1", str(word)) for word in argv]
    if words[0] == "__main__.py":  # python -m gcbench.bench.cli
        words[0] = "bench"
    return plain_text.line(shlex.join(words))


def versions(of: Reference) -> Table:
    """Codecs, their versions, rates and codings; and those that did not run, with the reason."""
    quality = of.quality
    rows: list[dict[str, Any]] = []
    for codec, part in quality.groupby("codec", sort=True, observed=True):
        ladder = part.drop_duplicates("rate").sort_values("rate_index")["rate"].astype(str).tolist()
        rows.append(
            {
                "codec": codec,
                "version": ", ".join(sorted(set(part["codec_version"].astype(str)))),
                "rates": ladder[0] if len(ladder) == 1 else f"{ladder[0]} … {ladder[-1]} ({len(ladder)})",
                "meshes": part["mesh"].nunique(),
                "ok": f"{(part['status'] == 'ok').sum()}/{len(part)}",
            }
        )
    shown = [
        Column("codec", "codec", key=True),
        Column("rates", "rates"),
        Column("meshes", "meshes", "integer"),
        Column("ok", "ok", "number"),
        Column("version", "version"),
    ]
    return Table.of_rows("codecs, rates and versions", shown, rows, notes=of.notes, details="closed")


def not_run(of: Reference) -> str:
    """A list of the codecs without a record, with reasons; empty if there are none."""
    return "\n".join(f"- `{codec}` was not run: {plain_text.line(reason)}" for codec, reason in of.not_run.items())


def at_levels(of: Reference) -> Iterator[Table]:
    """Kilobytes of a mesh at equal quality, a row for each codec, and times at the middle quality.

    Codecs that did not code all meshes in common have means over their own meshes, and say over how many. Codecs that
    did not run have a row too.
    """
    metric = of.ranking
    if metric is None:
        return
    for key, everything in of.summary.groupby(BLOCK, sort=True):
        compared = of.compared[(of.compared[BLOCK] == list(key)).all(axis=1)]
        aside = everything[~everything["codec"].isin(compared["codec"]) & (everything["ok"] > 0)]
        yield _levels_table(of, metric, tuple(map(str, key)), compared, aside)


def levels(compared: pd.DataFrame, metric: Metric) -> tuple[tuple[float, ...], float | None]:
    """The qualities at which codecs are compared, and the one for times."""
    if metric.ranks and metric.better == "lower":  # p2s
        return LEVELS, MIDDLE
    middle = common_quality(compared, metric.name)
    return ((), None) if middle is None else ((middle,), middle)


def _levels_table(
    of: Reference, metric: Metric, key: Sequence[str], compared: pd.DataFrame, aside: pd.DataFrame
) -> Table:
    qualities, middle = levels(compared, metric)
    rows: dict[str, dict[str, Any]] = {}
    for part in (compared, aside):
        for codec in sorted(set(part.loc[part[metric.name].notna(), "codec"])):
            mine = part[part["codec"] == codec]
            reached = []
            row: dict[str, Any] = {"codec": codec, "meshes": int(mine["meshes"].max())}
            for place, quality in enumerate(qualities):
                costs = at_quality(mine, metric.name, quality)
                if codec not in costs.index:
                    continue
                reached.append(quality)
                at = costs.loc[codec]
                row[f"at {place}"] = ("≤ " if at["better"] else "") + significant(float(at["kilobytes"]), 3)
                row[f"sort {place}"] = float(at["kilobytes"])
            row |= _times_at(of, key, codec, middle, otherwise_best=True)
            row["late"] = middle not in reached
            best = mine[metric.name].min() if metric.better == "lower" else mine[metric.name].max()
            row["best"] = show(metric, float(best))
            rows[codec] = row
    place = qualities.index(middle) if middle in qualities else 0
    order = sorted(rows.values(), key=lambda row: _place_in(row, place))
    order += [{"codec": f"{codec} (not run)"} for codec in of.not_run]
    fewest = {place: min((row[f"sort {place}"] for row in rows.values() if f"sort {place}" in row), default=None)
              for place in range(len(qualities))}  # fmt: skip
    marks = {
        f"at {place}": ["*" if row.get(f"sort {place}") is not None and row[f"sort {place}"] == fewest[place] else ""
                        for row in order]
        for place in range(len(qualities))
    }  # fmt: skip
    for name in ("encode_ms", "decode_ms"):
        marks[name] = ["°" if row.get("late") and name in row else "" for row in order]
    unit = metric.label.partition(" ×")[0]
    shown = [
        Column("codec", "codec", key=True),
        Column("meshes", "meshes", "integer"),
        *(Column(f"at {p}", f"kB at {_level(metric, q)}", "number") for p, q in enumerate(qualities)),
        Column("best", f"best {metric.label}", "number"),
        number("encode_ms", "enc ms"),
        number("decode_ms", "dec ms"),
    ]
    when = "" if middle is None else f"; times at {_level(metric, middle)} (° at the best rate), of a mesh"
    notes = [
        f"kB of a mesh at equal {unit}, interpolated along each codec's curve; * the fewest bytes; ≤: the codec is "
        "better at its smallest rate; –: no rate is as good",
        f"best: {unit} that the codec reaches{when}",
    ]
    if middle is not None:
        counted = of.timed[["dataset", "mesh"]].drop_duplicates().shape[0]
        notes.append(
            f"times: medians of pinned calls, of {'one mesh' if counted == 1 else f'{counted} meshes'}; –: not timed"
            if counted
            else "times: single calls beside other work, to see magnitudes; there was no timing pass"
        )
    notes += [note.partition(": ")[2] for note in of.common.notes]
    if len(aside):
        notes.append("a codec with fewer meshes has means over other meshes: its comparison is that of the BD-rates")
    return Table.of_rows(block_title(*key), shown, order, notes=tuple(notes), marks=marks)


def _times_at(
    of: Reference, key: Sequence[str], codec: str, quality: float | None, *, otherwise_best: bool = False
) -> dict[str, float]:
    """Times of a codec at a quality, or else at its best rate; from the timing pass if there was one."""
    metric, times = of.ranking, of.times
    if metric is None or quality is None or metric.name not in times:
        return {}
    mine = (times[BLOCK] == list(key)).all(axis=1) & (times["codec"] == codec)
    found = at_quality(times[mine], metric.name, quality)
    if codec not in found.index:
        if not otherwise_best or times.loc[mine, metric.name].isna().all():
            return {}
        by_quality = times[mine].dropna(subset=[metric.name]).sort_values(metric.name)
        finest = by_quality.iloc[0 if metric.better == "lower" else -1]
        return {name: float(finest[name]) for name in ("encode_ms", "decode_ms") if pd.notna(finest[name])}
    return {name: float(found[name][codec]) for name in ("encode_ms", "decode_ms") if pd.notna(found[name][codec])}


def _level(metric: Metric, quality: float) -> str:
    scale = metric.label.partition(" ×")[2]
    return f"{quality * metric.scale:.3g}" + (f"·{scale}" if scale else "")


def _place_in(row: Mapping[str, Any], middle: int) -> tuple[float, ...]:
    """Rows in order of bytes at the middle level; codecs that do not reach it come later, by the coarser levels."""
    return tuple(row.get(f"sort {place}", float("inf")) for place in (middle, *range(middle - 1, -1, -1)))


def matrix(of: Reference, metric: Metric) -> list[Table]:
    """BD-rates between all pairs in a metric: of mean curves; over the meshes that have a value."""
    rows = with_values(of.quality, metric.name)
    tables = []
    for table in deltas(rows, metric):
        if table.for_people:
            tables.append(_folded(table) if table.title.startswith("per-mesh") else table)
    return tables


def _folded(table: Table) -> Table:
    return replace(table, details="closed")


def with_values(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Records of the meshes for which any coding has a value in a column."""
    if name not in rows:
        return rows.iloc[:0]
    there = rows.loc[rows[name].notna(), ["dataset", "mesh"]].drop_duplicates()
    return rows[pd.MultiIndex.from_frame(rows[["dataset", "mesh"]]).isin(pd.MultiIndex.from_frame(there))]


def pair(of: Reference, codec: str, anchor: str, metric: str) -> tuple[BDRate, int]:
    """BD-rate of one codec against another over the meshes that both coded, and the number of these meshes."""
    for name in (codec, anchor):
        if name not in of.codecs:
            raise ValueError(f"{of.name} has no codec {name}; it has {', '.join(of.codecs)}")
    both = with_values(of.quality, metric)
    both = both[both["codec"].isin([codec, anchor])]
    if both.empty:
        raise ValueError(f"{of.name} has no {metric} of {codec} and {anchor}")
    found = MeanCurves(both).bd_rates(metric)
    if (codec, anchor) not in found.of:
        raise ValueError(f"{codec} and {anchor} have no mesh in common in {of.name}")
    return found.of[codec, anchor].rate, found.of[codec, anchor].meshes


def percent(value: float) -> str:
    """A percentage with a sign and three digits at most."""
    text = f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"
    return text.replace("-", "\u2212")


def costs(of: Reference, quality: float | None = None) -> pd.DataFrame:
    """Costs of all codecs at a quality of the ranking metric, fewest bytes first; of the largest block."""
    metric = of.ranking
    if metric is None:
        raise ValueError(f"{of.name} has no metric that ranks")
    block = _largest_block(of)
    if quality is None:
        quality = levels(block, metric)[1]
    if quality is None:
        raise ValueError(f"no quality is common in {of.name}")
    return at_quality(block, metric.name, quality).sort_values(["kilobytes"], kind="stable")


def best(of: Reference, quality: float | None = None) -> str:
    """The codec with the fewest bytes at a quality."""
    found = costs(of, quality)
    if found.empty:
        raise ValueError(f"no codec of {of.name} reaches this quality")
    return str(found.index[0])


def time_of(of: Reference, codec: str, which: str) -> float:
    """A time of a codec at the middle quality, ``encode_ms`` or ``decode_ms``, from the timing pass."""
    if of.timed.empty:
        raise ValueError(f"{of.name} has no timing pass")
    block = _largest_block(of)
    quality = None if of.ranking is None else levels(block, of.ranking)[1]
    found = _times_at(of, block.iloc[0][BLOCK].tolist(), codec, quality)
    if which not in found:
        raise ValueError(f"{of.name} has no time of {codec} at this quality")
    return found[which]


def _largest_block(of: Reference) -> pd.DataFrame:
    """Means of the dataset, split, effort and device with the most codings."""
    return max((part for _, part in of.compared.groupby(BLOCK, sort=True)), key=lambda part: int(part["codings"].sum()))


def says(of: Reference) -> str:
    """Sentences on the ranking, on times and on failures, true whatever the numbers are."""
    metric = of.ranking
    if metric is None:
        return "No metric that ranks was measured."
    found = costs(of)
    block = _largest_block(of)
    quality = levels(block, metric)[1]
    if found.empty or quality is None:
        return "No two codecs reach the same quality."
    name = metric.label.partition(" ×")[0]
    at = f"{name} {_level(metric, quality)}"
    first = found.iloc[0]
    others = []
    for codec, row in found.iloc[1:6].iterrows():
        more = percent(100 * (float(row["kilobytes"]) / float(first["kilobytes"]) - 1))
        others.append(f"`{codec}` ({more}\u00a0%)")
    several = len(of.compared[BLOCK].drop_duplicates()) > 1
    on = f" on {block_title(*map(str, block.iloc[0][BLOCK]))}" if several else ""
    lines = [
        f"At {at}{on}, `{found.index[0]}` needs the fewest bytes, {significant(float(first['kilobytes']), 3)} kB a mesh"
        + (f"; next are {_listed(others)}." if others else ".")
    ]
    lines += list(_better_on_fewer(of, block, metric, str(found.index[0]), quality))
    lacking = [f"`{codec}`" for codec in sorted(set(map(str, block["codec"])) - set(map(str, found.index)))]
    if lacking:
        lines.append(f"{_listed(lacking)} {'does' if len(lacking) == 1 else 'do'} not reach this quality.")
    key = block.iloc[0][BLOCK].tolist()
    of_codec = {codec: _times_at(of, key, codec, quality) for codec in map(str, found.index)}
    ms = {codec: costs_of["decode_ms"] for codec, costs_of in of_codec.items() if "decode_ms" in costs_of}
    if len(ms) > 1 and not of.timed.empty:
        fast, slow = min(ms, key=lambda codec: ms[codec]), max(ms, key=lambda codec: ms[codec])
        slower = significant(float(f"{ms[slow] / ms[fast]:.2g}"), 2)  # 36000, not 35592
        lines.append(
            f"`{fast}` decodes fastest at this quality, {significant(ms[fast], 2)} ms a mesh; `{slow}` takes {slower} "
            "times as long."
        )
    count = failed(of)
    lines.append("No coding failed." if not count else f"{_many(count)} of {_many(len(of.quality))} codings failed.")
    return " ".join(lines)


def _better_on_fewer(of: Reference, block: pd.DataFrame, metric: Metric, first: str, quality: float) -> Iterator[str]:
    """Sentences on codecs that lack meshes in common, and that need fewer bytes than the first on those they coded."""
    key, in_curves = block.iloc[0][BLOCK].tolist(), set(block["codec"])
    for means in of.by_meshes:
        here = means[(means[BLOCK] == key).all(axis=1)]
        needs = at_quality(here, metric.name, quality)["kilobytes"]
        for codec in sorted(set(map(str, needs.index)) - in_curves):
            if first in needs and needs[codec] < needs[first]:
                less, more = (significant(float(needs[name]), 3) for name in (codec, first))
                count = int(here["meshes"].max())
                yield f"`{codec}` was run on {count} of the meshes, where it needs {less} kB, and `{first}` {more} kB."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def means(of: Reference) -> list[Table]:
    """Every codec at every rate, folded."""
    tables = rate_distortion(of.summary, timing=True, rows=of.rows)
    return [replace(t, title=f"all rates: {t.title}", details="closed") for t in tables]


def times(of: Reference) -> list[Table]:
    """Times of the timing pass, folded; empty if there was none."""
    if of.timed.empty:
        return []
    kinds = set(machine(of.timed)[of.timed["timing"].astype(bool)])
    return [_folded(t) for t in timing(of.timed) if any(t.title.endswith(kind) for kind in kinds)]


def failures_table(of: Reference) -> Table | None:
    """What failed: the first :data:`_MOST_FAILURES` lines; None if nothing failed."""
    table = failures(of.rows)
    if not len(table):
        return None
    shown = {name: list(values)[:_MOST_FAILURES] for name, values in table.values.items()}
    more = len(table) - _MOST_FAILURES
    notes = (f"and {more} lines more: bench table {of.path.as_posix()} --failures",) if more > 0 else ()
    return Table("what failed, and what a suite could not measure", table.columns, shown, notes, details="closed")


def metric_of(name: str) -> Metric:
    """A column by name. Raises ValueError if no suite has it."""
    if name not in columns():
        raise ValueError(f"no suite has a column {name}")
    return columns()[name]
