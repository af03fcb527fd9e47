"""Leaves out the records of a run that an earlier version of a codec made.

The store keeps the last coding for each mesh, codec and rate label. If a newer version of a codec drops a label, or the
label is not run again, the coding of the earlier version stays in the store. Example: version 1 coded q8 and q10, and
version 2 only q10. A curve through both rates would mix two versions, so q8 is left out.

Times are a matter of their own: what is kept of the quality pass is decided without the timing passes. A newer version
that was only timed hides no sizes and distances.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gcbench.bench.analysis.gone import without_gone
from gcbench.bench.store import columnar, view
from gcbench.bench.store.mesh_names import read_names
from gcbench.bench.store.results import Results

Ladder = tuple[str, str, str, str, str]
LADDER = ["dataset", "split", "effort", "device", "codec"]


@dataclass(frozen=True)
class Newest:
    """The records of a run that tables and figures use.

    Parameters
    ----------
    rows : DataFrame
        The columns of :func:`gcbench.bench.analysis.frame.frame`, in the order of
        :meth:`gcbench.bench.store.Results.records`.
    notes : tuple of str
        A line for each codec and dataset whose records were left out, or with a rate that mixes versions.
    suites : mapping
        Suite → versions that measured.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...] = ()
    suites: Mapping[str, frozenset[str]] = field(default_factory=dict)


def newest(run: Results, names: Collection[str] = (), *, gone: bool = False) -> Newest:
    """Read a run without the rates that the newest version of a codec has not coded; datasets are treated separately.

    The newest version is the version of the coding that was appended last; for the quality pass, of the last coding of
    that pass. If it has coded a rate for some meshes, and an earlier version has coded the rate for others, both stay,
    and a note says so.

    Parameters
    ----------
    run : Results
        A run or a pack.
    names : collection of str
        Columns that are wanted; none is all. The columns that tell versions and meshes apart are always there.
    gone : bool
        Whether meshes count that are no longer in their dataset (:mod:`gcbench.bench.analysis.gone`).

    Raises
    ------
    StoreError
        The run is by a newer gcbench, or there is no room for its tables.
    """
    with view.opened(run) as con:
        rows, last, suites = (
            columnar.frame(con, {*LADDER, "rate", "mesh", "codec_version", "timing", *names} if names else ()),
            columnar.newest_versions(con),
            columnar.counting_suites(con),
        )
    left_out: tuple[str, ...] = ()
    if not gone:
        rows, left_out = without_gone(rows, read_names(run))
    found = by_newest_versions(rows, last)
    return Newest(_trimmed(found.rows) if left_out else found.rows, (*left_out, *found.notes), suites)


def by_newest_versions(rows: pd.DataFrame, last: Mapping[Ladder, tuple[str, str]]) -> Newest:
    """Leave out the rates that these versions (of all codings, and of the quality pass) have not coded."""
    if rows.empty:
        return Newest(rows)
    ladder = rows.groupby(LADDER, sort=False).ngroup()
    names = rows.loc[~ladder.duplicated(), LADDER].astype(str).itertuples(index=False, name=None)
    now = pd.DataFrame([last[name] for name in names], columns=["all", "quality"])
    timing = rows["timing"].to_numpy(dtype=bool)
    wanted = np.where(timing, now["all"].to_numpy()[ladder], now["quality"].to_numpy()[ladder])
    current = rows["codec_version"].astype(str).to_numpy() == wanted
    if current.all() and (now["all"] == now["quality"]).all():
        return Newest(rows)
    at_a_rate = [ladder, rows["rate"]]
    newest_of_quality = pd.Series(current & ~timing, rows.index).groupby(at_a_rate).transform("any")
    newest_of_all = pd.Series(current, rows.index).groupby(at_a_rate).transform("any")
    stays = newest_of_quality.where(~timing, newest_of_all)
    notes = []
    text = rows[[*LADDER, "rate", "codec_version"]].astype(str).assign(stays=stays, newest=wanted)
    for (*name, version, stay, last_), rates in text[~current].groupby([*LADDER, *text.columns[-3:]])["rate"]:
        what = "means over two versions" if stay else "left out"
        notes.append(
            f"{what}: {len(rates)} records of {_at(name, rates)}, coded by its version {version}; "
            f"the newest here is {last_}"
        )
    only_timed = timing & current & newest_of_quality & (wanted != now["quality"].to_numpy()[ladder])
    for name, rates in text[only_timed].groupby(LADDER)["rate"]:
        timed, quality = last[name]
        notes.append(f"two versions: times of {_at(name, rates)} are of its version {timed}, the rest of {quality}")
    return Newest(_trimmed(rows[stays]), tuple(sorted(notes)))


def _at(ladder: Sequence[str], rates: Iterable[str]) -> str:
    dataset, split, _, _, codec = ladder
    return f"{codec} at {', '.join(sorted(set(rates)))} on {dataset}/{split}"


def _trimmed(rows: pd.DataFrame) -> pd.DataFrame:
    """Some records with numbers from 0, and without names that are not theirs."""
    kept = rows.reset_index(drop=True)
    for column in kept.select_dtypes("category"):
        kept[column] = kept[column].cat.remove_unused_categories()
    return kept
