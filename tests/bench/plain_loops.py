"""The summary and the meshes in common by plain loops over groups and columns: the reference of `test_at_size.py`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gcbench.bench.analysis.coverage import Common
from gcbench.bench.analysis.frame import BLOCK, GROUP, MACHINE
from gcbench.bench.metrics import columns


def machine(rows: pd.DataFrame) -> pd.Series[str]:
    """Name the kind of machine of each record, ``CPU model, 2 threads``; empty if unknown."""
    names = []
    for cpu, gpu, threads in rows[MACHINE].itertuples(index=False):
        parts = [part for part in (cpu, gpu) if isinstance(part, str) and part]
        parts += [f"{threads:.0f} thread{'' if threads == 1 else 's'}"] if parts else []
        names.append(", ".join(parts))
    return pd.Series(names, index=rows.index, dtype=object)


def summarise(rows: pd.DataFrame, *, penalise: bool = False) -> pd.DataFrame:
    if rows.empty:
        counts = ["meshes", "codings", "ok", "bad_input", "failed"]
        return pd.DataFrame(columns=[*GROUP, "rate_index", *counts, "ratio"])
    named = rows.assign(machine=machine(rows))
    usual = {block: _usual_machines(part) for block, part in named.groupby(BLOCK, sort=True)}
    summary = []
    for key, group in named.groupby(GROUP, sort=True):
        quality, timing = group[~group["timing"]], group[group["timing"]]
        codings = quality if len(quality) else timing
        of_one = _of_one_machine(codings, timing, usual[key[:-2]])
        codings = quality if len(quality) else of_one
        row = dict(zip(GROUP, key, strict=True)) | {"rate_index": group["rate_index"].iloc[-1]}
        row |= _quality(codings, penalise=penalise) | {"timing_failed": _failed(timing)}
        summary.append(row | _cost(codings, of_one))
    by_ladder = [*GROUP[:-1], "rate_index", "rate"]
    return pd.DataFrame(summary).sort_values(by_ladder, ignore_index=True)


def _usual_machines(block: pd.DataFrame) -> list[str]:
    """Kinds of machine of the timing passes of a block, the kind with the most codecs and rates first."""
    timing = block[block["timing"]]
    rates = timing.drop_duplicates(["codec", "rate", "machine"])["machine"].value_counts()
    return sorted(rates.index, key=lambda name: (-int(rates[name]), str(name)))


def _of_one_machine(codings: pd.DataFrame, timing: pd.DataFrame, usual: list[str]) -> pd.DataFrame:
    """Keep the timing pass of one kind of machine: the most usual kind that timed all meshes, else the most usual."""
    meshes = set(_ok(codings)["mesh"])
    kinds = [name for name in usual if (timing["machine"] == name).any()]
    whole = [name for name in kinds if meshes <= set(_ok(timing[timing["machine"] == name])["mesh"])]
    kept = next(iter(whole or kinds), None)
    return timing[timing["machine"] == kept]


def _quality(codings: pd.DataFrame, *, penalise: bool) -> dict[str, object]:
    ok = _ok(codings)
    row: dict[str, object] = {
        "meshes": codings["mesh"].nunique(),
        "codings": len(codings),
        "ok": len(ok),
        "bad_input": codings.loc[codings["status"] == "bad-input", "mesh"].nunique(),
        "failed": _failed(codings),
    }
    usable = codings[codings["status"] != "bad-input"]
    row["success"] = len(ok) / len(usable) if len(usable) else float("nan")
    row["ratio"] = ok["obj_bytes"].sum() / ok["stream_bytes"].sum() if len(ok) else float("nan")
    row["kilobytes"] = ok["stream_bytes"].mean() / 1000
    row["bits_per_vertex"] = ok["bits_per_vertex"].mean()
    failed = usable["status"] != "ok"
    for column in columns().values():
        if column.name in ok:
            counted = usable[column.name].astype(float).mask(failed)
            if penalise and column.worst is not None:
                counted = counted.mask(failed, column.worst)  # a coding that is ok but was not measured is no failure
            row[column.name] = counted.mean()
        if column.floor is not None and column.floor in ok:
            row[column.floor] = ok[column.floor].astype(float).mean()
    return row


def _cost(codings: pd.DataFrame, timing: pd.DataFrame) -> dict[str, object]:
    # Times are over the same meshes as everything else: a timing pass that lacks meshes is not used.
    single, repeated = _ok(codings), _ok(timing)
    meshes = set(single["mesh"])
    timed = bool(meshes) and meshes <= set(repeated["mesh"])
    ok = repeated[repeated["mesh"].isin(meshes)] if timed else single
    share = ok["set_size"].where(ok["kind"] == "set", 1)
    cost: dict[str, object] = {"timed": timed, "machine": " + ".join(sorted(set(ok["machine"]) - {""}))}
    for stage in ("encode", "decode"):
        cost[f"{stage}_ms"] = float((ok[f"{stage}_s"] / share).mean() * 1000)
        for part in _stage_columns(ok, stage):
            name = part.removesuffix("_s") + "_ms"
            cost[name] = float((ok[part].fillna(0.0) / share).mean() * 1000) if ok[part].notna().any() else float("nan")
        cost[f"{stage}_added_mib"] = float(ok[f"{stage}_added_bytes"].max() / 2**20)
        cost[f"{stage}_gpu_mib"] = float(ok[f"{stage}_gpu_bytes"].astype(float).max() / 2**20)
        calls = ok[f"{stage}_repeats"].astype(float)
        cost |= {f"{stage}_calls_least": calls.min(), f"{stage}_calls_most": calls.max()}
    return cost


def _stage_columns(rows: pd.DataFrame, call: str) -> list[str]:
    return [column for column in map(str, rows) if column.startswith(f"{call}_stage_")]


def _ok(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"]


def _failed(rows: pd.DataFrame) -> int:
    return int((~rows["status"].isin(["ok", "bad-input"])).sum())


def common(rows: pd.DataFrame) -> Common:
    kept, aside, notes = [], [], []
    for key, block in rows.groupby(BLOCK, sort=True):
        coded = _coded(block)
        meshes = _best(coded)
        rate_of = pd.MultiIndex.from_frame(block[["codec", "rate"]])
        covers = rate_of.isin([name for name, of_rate in coded.items() if of_rate and meshes <= of_rate])
        inside = block["mesh"].isin(meshes) | (block["status"] == "bad-input")
        kept.append(_same_values(block[covers & inside]))
        aside.append(block[~covers])
        if note := _note(coded, meshes):
            notes.append(f"{'/'.join(map(str, key[:2]))}: {note}")
    if not kept:
        return Common(rows, rows.iloc[:0])
    order = rows.index
    return Common(_joined(kept, order), _joined(aside, order), tuple(notes))


def _same_values(block: pd.DataFrame) -> pd.DataFrame:
    """Blank values of suites, so that the values of a column are of the same meshes for all codecs and rates.

    A suite may lack a value for a mesh that every codec coded: the mesh has no inside, or a limit was exceeded.
    """
    ok = (block["status"] == "ok") & ~block["timing"]
    done: dict[bytes, pd.Series[bool]] = {}  # columns of one suite lack the same ones
    blanked = block
    for column in columns().values():
        if column.name not in block:
            continue
        there = block[column.name].notna() & ok
        if not there.any() or there[ok].all():
            continue
        pattern = there.to_numpy().tobytes()
        if pattern not in done:
            done[pattern] = _outside_of_the_best(block[ok].assign(there=there[ok])).reindex(
                block.index, fill_value=False
            )
        names = [name for name in (column.name, column.floor) if name is not None and name in block]
        if done[pattern].any():
            blanked = blanked.assign(**{name: blanked[name].mask(done[pattern]) for name in names})
    return blanked


def _outside_of_the_best(ok: pd.DataFrame) -> pd.Series[bool]:
    """Which records are outside of the meshes, codecs and rates that can be compared by this column."""
    whole = ok["there"].groupby([ok["codec"], ok["rate"], ok["mesh"]], sort=True).all()
    sets: dict[tuple[str, str], set[str]] = {}
    for codec, rate, mesh in whole.index[whole]:
        sets.setdefault((codec, rate), set()).add(mesh)
    if not sets:
        return pd.Series(data=True, index=ok.index)
    meshes = _best({name: frozenset(of) for name, of in sets.items()})
    covers = pd.MultiIndex.from_frame(ok[["codec", "rate"]]).isin([name for name, of in sets.items() if meshes <= of])
    return ~(ok["mesh"].isin(meshes) & covers)


def _joined(parts: Sequence[pd.DataFrame], order: pd.Index[int]) -> pd.DataFrame:
    whole = pd.concat(parts)
    return whole.loc[order[order.isin(whole.index)]]


def _coded(block: pd.DataFrame) -> dict[tuple[str, str], frozenset[str]]:
    """Meshes that a codec coded at a rate, with every seed, by codec and rate in the order of the ladder."""
    quality = block[~block["timing"]] if (~block["timing"]).any() else block
    good = (quality["status"] == "ok").groupby([quality["codec"], quality["rate"], quality["mesh"]], sort=False).all()
    sets: dict[tuple[str, str], set[str]] = {}
    for codec, _, rate in sorted(set(zip(block["codec"], block["rate_index"], block["rate"], strict=True))):
        sets[codec, rate] = set()
    for codec, rate, mesh in good.index[good]:
        sets[codec, rate].add(mesh)
    return {name: frozenset(meshes) for name, meshes in sets.items()}


def _best(coded: dict[tuple[str, str], frozenset[str]]) -> frozenset[str]:
    rates: dict[str, int] = {}
    for codec, _ in coded:
        rates[codec] = rates.get(codec, 0) + 1
    different = sorted(set(coded.values()), key=lambda meshes: (-len(meshes), sorted(meshes)))
    candidates = set(different)
    shared = different[0]
    for meshes in different[1:]:
        shared &= meshes
        candidates.add(shared)

    def worth(meshes: frozenset[str]) -> tuple[float, float, list[str]]:
        share = sum(1 / rates[codec] for (codec, _), of_rate in coded.items() if meshes <= of_rate)
        return (
            round(max(share - 1 / 2, share / 4) * len(meshes) / (len(meshes) + 30), 9),
            round(share, 9),
            sorted(meshes),
        )

    return max(candidates, key=worth)


def _note(coded: dict[tuple[str, str], frozenset[str]], meshes: frozenset[str]) -> str:
    every = frozenset().union(*coded.values())
    left: dict[str, list[tuple[str, int]]] = {}
    for (codec, rate), of_rate in coded.items():
        if not (of_rate and meshes <= of_rate):
            left.setdefault(codec, []).append((rate, len(of_rate)))
    if not left and meshes == every:
        return ""
    said = []
    for codec, rates in left.items():
        counts = sorted({count for _, count in rates})
        number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        whole = len(rates) == sum(name == codec for name, _ in coded)
        which = "" if whole else f" {', '.join(rate for rate, _ in rates)}"
        said.append(f"{codec}{which} ({number} coded)")
    out = f"; not on all of these: {', '.join(said)}" if said else ""
    return f"compared over {len(meshes)} of {len(every)} meshes{out}"
