"""Two runs side by side: one frame of both, and what changed from the first (A) to the second (B).

Everything else of the report treats a codec of A and the same codec of B as two codecs, ``draco · A`` and
``draco · B``: means are over meshes that both runs coded, curves lie over each other, BD-rates compare the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.metrics import Column
from gcbench.bench.report.cases import Case

MARKS = ("A", "B")
#: Changed codings that a page lists at most, for each quantity.
LIMIT = 500
_KEY = [*BLOCK, "mesh", "address", "rate", "seed"]
_SIZE = "stream_bytes"
_TIMES = ("encode_s", "decode_s")


def side_by_side(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Records of two runs, those of A first, with the columns ``run`` (0 or 1), ``address`` and a marked ``codec``.

    Parameters
    ----------
    runs : sequence of two DataFrames
        Of :func:`gcbench.bench.analysis.frame.frame`.
    """
    marked = []
    for number, (mark, rows) in enumerate(zip(MARKS, runs, strict=True)):
        address = rows["codec"].astype(str)
        marked.append(rows.assign(run=number, address=address, codec=address + f" · {mark}"))
    return pd.concat(marked, ignore_index=True)


def pairs(rows: pd.DataFrame, ranking: Column | None) -> pd.DataFrame:
    """Codings that both runs have, of the quality pass.

    Returns
    -------
    DataFrame
        The columns of the key, ``rate_index``, and NAME_a and NAME_b for status, stream, size, times and metric;
        ``place_a`` and ``place_b`` are places in ``rows``. Times are those of timing passes if both runs have
        one, else of the quality passes.
    """
    of = ["rate_index", "status", "stream_sha256", _SIZE, *_TIMES, *([] if ranking is None else [ranking.name])]
    table = rows[[*_KEY, *of, "run", "timing"]].assign(place=np.arange(len(rows)))
    both = [table[(table["run"] == run) & ~table["timing"].astype(bool)].drop(columns="timing") for run in (0, 1)]
    both = [one.drop_duplicates(_KEY, keep="last") for one in both]
    joined = both[0].merge(both[1], on=_KEY, suffixes=("_a", "_b"))
    timed = table[table["timing"].astype(bool) & (table["status"] == "ok")][[*_KEY, "run", *_TIMES]]
    times = [timed[timed["run"] == run].drop_duplicates(_KEY, keep="last").set_index(_KEY) for run in (0, 1)]
    known = times[0].index.intersection(times[1].index)
    if len(known):
        key = pd.MultiIndex.from_frame(joined[_KEY])
        inside = key.isin(known)
        for mark, of_run in zip("ab", times, strict=True):
            for name in _TIMES:
                joined.loc[inside, f"{name}_{mark}"] = of_run[name].reindex(key[inside]).to_numpy()
    return joined.rename(columns={"rate_index_b": "rate_index"})


def change(both: pd.DataFrame, name: str) -> pd.Series:
    """Natural logarithm of B's value over A's; NaN where a value is missing or not positive."""
    old, new = both[f"{name}_a"].astype(float), both[f"{name}_b"].astype(float)
    good = (both["status_a"] == "ok") & (both["status_b"] == "ok") & (old > 0) & (new > 0)
    return pd.Series(np.log((new / old).where(good)), index=both.index)


def in_pairs(cases: Sequence[Case], both: pd.DataFrame, ranking: Column | None) -> list[Case]:
    """Cases with the coding of the other run right after each; of every codec and rate the most changed pair first.

    Parameters
    ----------
    cases : sequence of Case
        Of both runs, the most interesting first.
    both : DataFrame
        Of :func:`pairs`.
    ranking : Column or None
        The metric whose change counts; the size, where the metric has not changed or there is none.
    """
    known = {case.row: case for case in cases}
    both = both[both["place_a"].isin(list(known)) & both["place_b"].isin(list(known))]
    partner = dict(zip(both["place_a"], both["place_b"], strict=True))
    partner |= {b: a for a, b in partner.items()}
    by_size = change(both, _SIZE).abs().fillna(0.0)
    by_metric = by_size * 0 if ranking is None else change(both, ranking.name).abs().fillna(0.0)
    ordered = both.assign(metric=by_metric, size=by_size).sort_values(
        ["metric", "size"], ascending=False, kind="stable"
    )
    ordered = ordered[(ordered["metric"] > 0) | (ordered["size"] > 0)]
    group = [*BLOCK, "address", "rate"]
    most = ordered.drop_duplicates(group)
    turn = {case.row: turn for turn, case in enumerate(cases)}
    first_turn = both["place_a"].map(turn).groupby([both[name] for name in group]).min()
    turns = first_turn.reindex(pd.MultiIndex.from_frame(most[group])).to_numpy()
    first = most["place_a"].to_numpy()[np.argsort(turns, kind="stable")].tolist()
    rows = [row for case in [*(known[row] for row in first), *cases] for row in _with(case.row, partner)]
    early = {row for row in rows if row in first or partner.get(row) in first or not known[row].late}
    early |= {partner[row] for row in early if row in partner}
    return [Case(row, known[row].role, late=row not in early) for row in dict.fromkeys(rows)]


def _with(row: int, partner: Mapping[int, int]) -> list[int]:
    return sorted([row, partner[row]]) if row in partner else [row]


def changes(rows: pd.DataFrame, both: pd.DataFrame, ranking: Column | None, place: Mapping[int, int]) -> dict[str, Any]:
    """What changed from A to B.

    Parameters
    ----------
    rows : DataFrame
        Of :func:`side_by_side`.
    both : DataFrame
        Of :func:`pairs`.
    ranking : Column or None
        The metric that ranks.
    place : mapping
        Place of a record among all → among those that the page carries.

    Returns
    -------
    dict
        ``quantities``: names of columns; ``groups``: for each codec and rate the number of pairs, of pairs with the
        same stream, and the geometric mean of B/A of every quantity; ``rows``: codings whose status or values changed,
        those that changed most first; ``same``, ``pairs``, ``only``: numbers of pairs without a change, of pairs, and
        of codings of one run only.
    """
    quantities = [_SIZE, *([] if ranking is None else [ranking.name]), *_TIMES]
    logs = pd.DataFrame({name: change(both, name) for name in quantities}, index=both.index)
    same = both["stream_sha256_a"].notna() & (both["stream_sha256_a"] == both["stream_sha256_b"])
    group = [*BLOCK, "address", "rate_index", "rate"]
    by = both[group].astype({"rate_index": int}).assign(n=1, same=same.astype(int), **logs).groupby(group, sort=True)
    means = by.agg({"n": "sum", "same": "sum"} | dict.fromkeys(quantities, "mean")).reset_index()
    means[quantities] = np.exp(means[quantities].astype(float))

    turned = both["status_a"] != both["status_b"]
    quality = logs[[name for name in quantities if name not in _TIMES]].abs().max(axis=1).fillna(0.0)
    times = logs[list(_TIMES)].abs().max(axis=1).fillna(0.0)
    listed = turned.copy()
    for name in quantities:  # the most changed ones of every quantity
        listed |= logs[name].abs().where(logs[name] != 0).rank(ascending=False, method="first") <= LIMIT
    listed &= turned.cumsum().where(turned, 0) <= LIMIT
    order = np.lexsort((-times, -quality, ~turned))
    order = order[listed.to_numpy()[order]]
    chosen = both.iloc[order]
    values = {f"{name}_{mark}": chosen[f"{name}_{mark}"].astype(float).tolist() for name in quantities for mark in "ab"}
    names = ["dataset", "split", "effort", "device", "mesh", "address", "rate", "seed", "status_a", "status_b"]
    quality_pass = rows[~rows["timing"].astype(bool)]
    return {
        "quantities": quantities,
        "groups": means.astype({"n": object, "same": object}).to_dict("records"),
        "rows": {name: chosen[name].tolist() for name in [*names, "rate_index"]}
        | values
        | {f"row_{mark}": [place.get(int(row)) for row in chosen[f"place_{mark}"]] for mark in "ab"},
        "pairs": len(both),
        "same": int((~turned & (quality == 0)).sum()),
        "only": [int((quality_pass["run"] == run).sum() - len(both)) for run in (0, 1)],
    }
