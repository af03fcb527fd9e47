"""Records as a pandas DataFrame, and its summary over meshes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Record

#: A row of the summary: one codec at one rate on one split of one dataset, over the meshes and seeds.
GROUP = ["dataset", "split", "effort", "device", "codec", "rate"]
#: Rows with equal values in these columns are comparable: they are one block of a table, or one figure.
BLOCK = GROUP[:-2]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each record, nested values as columns (:meth:`Record.flat`), in the order given."""
    rows = [record.flat() for record in records]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=_columns())


def _columns() -> list[str]:
    """Columns that every frame has: the columns of a record without measurements."""
    required = {f.name: None for f in fields(Record) if f.default is MISSING and f.default_factory is MISSING}
    nothing: Any = Record  # values of no type: only the names count
    return list(nothing(**required).flat())


#: Columns that describe a kind of machine. Times of two kinds of machine are neither averaged nor compared.
MACHINE = ["cpu", "gpu", "threads"]


def machine(rows: pd.DataFrame) -> pd.Series[str]:
    """Name the kind of machine of each record, ``CPU model, 2 threads``; empty if unknown."""
    kind = rows.groupby(MACHINE, sort=False, dropna=False, observed=True).ngroup()
    names = []
    for cpu, gpu, threads in rows.loc[~kind.duplicated(), MACHINE].itertuples(index=False):
        parts = [part for part in (cpu, gpu) if isinstance(part, str) and part]
        parts += [f"{threads:.0f} thread{'' if threads == 1 else 's'}"] if parts else []
        names.append(", ".join(parts))
    return pd.Series(np.array(names, dtype=object)[kind], index=rows.index, dtype=object)


def summarise(rows: pd.DataFrame, *, penalise: bool = False) -> pd.DataFrame:
    """Aggregate over the meshes of each codec and rate, and count failures.

    Parameters
    ----------
    rows : DataFrame
        From :func:`frame`.
    penalise : bool
        Whether means of metrics count a failed coding as the worst value of the column, instead of leaving it out.

    Returns
    -------
    DataFrame
        One row for each :data:`GROUP`, sorted. A coding is one mesh with one seed in the quality pass. A group
        without a quality pass takes the codings of its timing pass, and has sizes and times but no metrics.

        - ``meshes``, ``bad_input``: numbers of distinct meshes, and of meshes that cannot be used;
        - ``codings``, ``ok``, ``failed``: numbers of codings; everything below is over the ``ok`` ones;
        - ``success``: ok / (ok + failed);
        - ``ratio``: Σ obj_bytes / Σ stream_bytes (DESIGN section 6), ``kilobytes``: mean stream size in 1000 bytes;
        - ``bits_per_vertex``: mean; ``kilobits_per_frame``: mean, where every mesh is a frame of a sequence;
        - every column of a metric suite, and its floor: mean over the codings that have a value;
        - ``timed``: whether times and memory are from the timing pass, which must be ok for every mesh with an ok
          coding. Otherwise they are from the single calls of the quality pass;
        - ``timing_failed``: failures in the timing pass;
        - ``machine``: the kind of machine of the times. If timing passes ran on several kinds of machine, the kind with
          the most rows in the block counts. If single calls ran on several kinds, their names are joined by ``+``;
        - ``encode_ms``, ``decode_ms``: mean; the time of a set codec is divided by the size of the set;
        - ``encode_stage_NAME_ms``, ``decode_stage_NAME_ms``: the same for the stages that codecs report;
        - ``encode_added_mib``, ``decode_added_mib``: the largest memory that a call added to what its process
          held before (the libraries and weights of all codecs that the worker has run so far);
        - ``encode_gpu_mib``, ``decode_gpu_mib``: the largest GPU memory of a call, if known;
        - ``encode_calls_least``, ``encode_calls_most``, the same for ``decode``: smallest and largest number of
          calls behind a time (a median), over the meshes: long calls are not repeated.
    """
    if rows.empty:
        counts = ["meshes", "codings", "ok", "bad_input", "failed"]
        return pd.DataFrame(columns=[*GROUP, "rate_index", *counts, "ratio"])
    groups = _Groups(rows)
    summary = groups.names()
    summary |= _quality(groups.of(groups.counted), penalise=penalise)
    summary["timing_failed"] = groups.of(groups.timing & groups.failed).size()
    summary |= _cost(groups)
    by_ladder = [*GROUP[:-1], "rate_index", "rate"]
    return pd.DataFrame(summary).sort_values(by_ladder, ignore_index=True)


class _Part(NamedTuple):
    """Some records, and the number of the group of each; results have a value for each of ``groups`` groups."""

    rows: pd.DataFrame  # all records: columns are selected before records, since a frame may have a hundred columns
    chosen: NDArray[np.bool_]
    of_all: NDArray[np.intp]
    groups: int

    @property
    def group(self) -> NDArray[np.intp]:
        """The number of the group of each record."""
        return self.of_all[self.chosen]

    def where(self, chosen: NDArray[np.bool_]) -> _Part:
        """Some of these records; ``chosen`` has a value for each of all records."""
        return self._replace(chosen=self.chosen & chosen)

    def column(self, name: str) -> pd.Series[Any]:
        """Values of a column."""
        return self.rows[name][self.chosen]

    def numbers(self, name: str) -> pd.Series[float]:
        """Values of a column, missing ones as NaN."""
        return self.column(name).astype(float)

    def size(self) -> NDArray[np.intp]:
        """Number of records."""
        return np.bincount(self.group, minlength=self.groups)

    def distinct(self, column: str) -> NDArray[np.intp]:
        """Number of different values of a column."""
        return self._all(self.column(column).groupby(self.group).nunique()).fillna(0).to_numpy().astype(np.intp)

    def of(self, values: pd.Series[Any], how: Literal["mean", "sum", "min", "max"]) -> NDArray[Any]:
        """Aggregate values of the records; NaN for a group without values."""
        return self._all(values.groupby(self.group).agg(how)).to_numpy()

    def _all(self, values: pd.Series[Any]) -> pd.Series[Any]:
        return values.reindex(range(self.groups))


class _Groups:
    """The groups of a summary, and which records count in each.

    Attributes
    ----------
    timing, failed, counted : (N,) bool
        Records of timing passes; failed codings; records of quality and of sizes: the quality pass, or the timing pass
        on one kind of machine if the group has no quality pass.
    costs : (N,) bool
        Records of times and memory.
    timed : (G,) bool
        Whether times and memory are from the timing pass.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows.assign(machine=machine(rows))
        self._group: NDArray[np.intp] = np.asarray(rows.groupby(GROUP, sort=True, observed=True).ngroup(), np.intp)
        self._count = int(self._group.max()) + 1
        status = rows["status"].astype(object).to_numpy()
        ok = status == "ok"
        self.failed = ~ok & (status != "bad-input")
        self.timing = rows["timing"].to_numpy(dtype=bool)
        has_quality = np.bincount(self._group[~self.timing], minlength=self._count) > 0
        of_one, covered = self._of_one_machine(ok, has_quality)
        self.counted = np.where(has_quality[self._group], ~self.timing, of_one)
        # Times are over the same meshes as everything else: a timing pass that lacks meshes is not used.
        self.timed = np.where(has_quality, covered, np.bincount(self._group[of_one & ok], minlength=self._count) > 0)
        repeated = of_one & (~has_quality[self._group] | np.isin(self._mesh, self._mesh[ok & ~self.timing]))
        self.costs = ok & np.where(self.timed[self._group], repeated, self.counted)

    def of(self, chosen: NDArray[np.bool_]) -> _Part:
        """Some of the records."""
        return _Part(self.rows, chosen, self._group, self._count)

    def names(self) -> dict[str, Any]:
        """Names of the groups, and the last position of each rate in its ladder."""
        _, first = np.unique(self._group, return_index=True)
        _, last = np.unique(self._group[::-1], return_index=True)
        names: dict[str, Any] = {name: self.rows[name].iloc[first].astype("str").to_numpy() for name in GROUP}
        return names | {"rate_index": self.rows["rate_index"].iloc[len(self.rows) - 1 - last].to_numpy()}

    def _of_one_machine(
        self, ok: NDArray[np.bool_], has_quality: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Timing passes of one kind of machine for each group, and whether they have all meshes of the quality pass.

        The kind is the most usual one of the block that timed all meshes of the group, else the most usual one.
        """
        mesh, _ = pd.factorize(self.rows["mesh"])
        self._mesh = self._group * (int(mesh.max()) + 1) + mesh  # a mesh in a group
        kept, covered = np.full(self._count, -1), np.zeros(self._count, dtype=bool)
        kind, _ = pd.factorize(self.rows["machine"])
        usual = self._usual(kind)
        needed = ok & np.where(has_quality[self._group], ~self.timing, self.timing)
        meshes = pd.Series(self._mesh[needed]).groupby(self._group[needed]).nunique()
        timed = pd.DataFrame({"group": self._group, "kind": kind, "mesh": self._mesh, "usual": usual})[self.timing]
        timed["needed"] = timed["mesh"].where(ok[self.timing] & timed["mesh"].isin(self._mesh[needed]))
        found = timed.groupby(["group", "kind"]).agg({"needed": "nunique", "usual": "first"}).reset_index()
        found["lacks"] = found["needed"] < found["group"].map(meshes).fillna(0)
        best = found.sort_values(["group", "lacks", "usual"]).drop_duplicates("group")
        kept[best["group"]] = best["kind"]
        covered[best["group"]] = ~best["lacks"] & (best["needed"] > 0)
        return self.timing & (kind == kept[self._group]), covered

    def _usual(self, kind: NDArray[np.intp]) -> NDArray[np.intp]:
        """How usual the machine of a timing pass is in its block, 0 first: by codecs and rates, then by name."""
        block = self.rows.groupby(BLOCK, sort=False, observed=True).ngroup().to_numpy()
        names = self.rows["machine"].to_numpy()
        passes = pd.DataFrame({"block": block, "kind": kind, "group": self._group, "name": names})[self.timing]
        rates = passes.groupby(["block", "kind", "name"])["group"].nunique().reset_index()
        rates = rates.sort_values(["group", "name"], ascending=[False, True])
        rates["place"] = rates.groupby("block").cumcount()
        place = rates.set_index(["block", "kind"])["place"]
        found = place.reindex(pd.MultiIndex.from_arrays([block, kind]))
        return found.fillna(-1).to_numpy().astype(np.intp)


def _quality(part: _Part, *, penalise: bool) -> dict[str, Any]:
    status = part.rows["status"].astype(object).to_numpy()
    bad = part.where(status == "bad-input")
    usable, ok = part.where(status != "bad-input"), part.where(status == "ok")
    failed = status[usable.chosen] != "ok"
    with np.errstate(divide="ignore", invalid="ignore"):
        found: dict[str, Any] = {
            "meshes": part.distinct("mesh"),
            "codings": part.size(),
            "ok": ok.size(),
            "bad_input": bad.distinct("mesh"),
            "failed": usable.size() - ok.size(),
            "success": ok.size() / usable.size(),
            "ratio": ok.of(ok.numbers("obj_bytes"), "sum") / ok.of(ok.numbers("stream_bytes"), "sum"),
        }
    found["kilobytes"] = ok.of(ok.numbers("stream_bytes"), "mean") / 1000
    found["bits_per_vertex"] = ok.of(ok.numbers("bits_per_vertex"), "mean")
    if "sequence" in part.rows and (of_motion := part.rows["sequence"].notna().to_numpy()).any():
        all_frames = part.where(of_motion).size() == part.size()
        found["kilobits_per_frame"] = np.where(all_frames, 8 * found["kilobytes"], np.nan)
    for column in columns().values():
        if column.name in part.rows:
            # A coding that is ok but was not measured is no failure.
            worst = column.worst if penalise and column.worst is not None else np.nan
            found[column.name] = usable.of(usable.numbers(column.name).mask(failed, worst), "mean")
        if column.floor is not None and column.floor in part.rows:
            found[column.floor] = ok.of(ok.numbers(column.floor), "mean")
    return found


def _cost(groups: _Groups) -> dict[str, Any]:
    part = groups.of(groups.costs)
    share = part.numbers("set_size").where(part.column("kind") == "set", 1)
    cost: dict[str, Any] = {"timed": groups.timed, "machine": _machines(part)}
    for stage in ("encode", "decode"):
        cost[f"{stage}_ms"] = part.of(part.numbers(f"{stage}_s") / share, "mean") * 1000
        for name in _stage_columns(part.rows, stage):
            known = part.of(part.column(name).notna().astype(float), "max") > 0  # NaN, a group without values, is not
            mean = part.of(part.numbers(name).fillna(0.0) / share, "mean") * 1000
            cost[f"{name.removesuffix('_s')}_ms"] = np.where(known, mean, np.nan)
        for what in ("added", "gpu"):
            cost[f"{stage}_{what}_mib"] = part.of(part.numbers(f"{stage}_{what}_bytes"), "max") / 2**20
        calls = part.numbers(f"{stage}_repeats")
        cost |= {f"{stage}_calls_least": part.of(calls, "min"), f"{stage}_calls_most": part.of(calls, "max")}
    return cost


def _machines(part: _Part) -> list[str]:
    """Names of the kinds of machine in each group."""
    names: list[set[str]] = [set() for _ in range(part.groups)]
    pairs = pd.DataFrame({"group": part.group, "machine": part.column("machine").to_numpy()}).drop_duplicates()
    for group, name in pairs.itertuples(index=False):
        names[group].add(name)
    return [" + ".join(sorted(of - {""})) for of in names]


def _stage_columns(rows: pd.DataFrame, call: str) -> list[str]:
    return [column for column in map(str, rows) if column.startswith(f"{call}_stage_")]
