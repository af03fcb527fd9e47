"""Leaves out the records of a run that an earlier version of a codec made.

The store keeps the last coding for each mesh, codec and rate label. If a newer version of a codec drops a label, or the
label is not run again, the coding of the earlier version stays in the store. Example: version 1 coded q8 and q10, and
version 2 only q10. A curve through both rates would mix two versions, so q8 is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

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

    The newest version is the version of the coding that was appended last. If it has coded a rate for some meshes, and
    an earlier version has coded the rate for others, both stay, and a note says so.

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
            columnar.frame(con, {*LADDER, "rate", "mesh", "codec_version", *names} if names else ()),
            columnar.newest_versions(con),
            columnar.counting_suites(con),
        )
    left_out: tuple[str, ...] = ()
    if not gone:
        rows, left_out = without_gone(rows, read_names(run))
    found = by_newest_versions(rows, last)
    return Newest(_trimmed(found.rows) if left_out else found.rows, (*left_out, *found.notes), suites)


def by_newest_versions(rows: pd.DataFrame, last: Mapping[Ladder, str]) -> Newest:
    """Leave out the rates that these versions have not coded, by :data:`LADDER`."""
    if rows.empty:
        return Newest(rows)
    ladder = rows.groupby(LADDER, sort=False).ngroup()
    names = rows.loc[~ladder.duplicated(), LADDER].astype(str).itertuples(index=False, name=None)
    now = pd.Series([last[name] for name in names])
    current = rows["codec_version"].astype(str).to_numpy() == now.to_numpy()[ladder]
    if current.all():
        return Newest(rows)
    stays = pd.Series(current, rows.index).groupby([ladder, rows["rate"]]).transform("any")
    earlier = rows.loc[~current, [*LADDER, "rate", "codec_version"]].astype(str).assign(stays=stays[~current])
    notes = []
    for (*name, version, stay), rates in earlier.groupby([*LADDER, "codec_version", "stays"])["rate"]:
        dataset, split, effort, device, codec = name
        notes.append(
            f"{'means over two versions' if stay else 'left out'}: {len(rates)} records of {codec} at "
            f"{', '.join(sorted(set(rates)))} on {dataset}/{split}, coded by its version {version}; the newest here is "
            f"{last[dataset, split, effort, device, codec]}"
        )
    return Newest(_trimmed(rows[stays]), tuple(sorted(notes)))


def _trimmed(rows: pd.DataFrame) -> pd.DataFrame:
    """Some records with numbers from 0, and without names that are not theirs."""
    kept = rows.reset_index(drop=True)
    for column in kept.select_dtypes("category"):
        kept[column] = kept[column].cat.remove_unused_categories()
    return kept
