"""The results of a run among those of others, on the same meshes: ``--with`` of `bench table`, `plot` and `report`.

Meshes are the same if their normalised meshes have the same SHA-256, whatever their names and folders are. The others'
records take the names of the run's. Meshes that only one side has are left out, and counted. A codec of the run
replaces the codec of the same address in the others. No number is a mean over two versions of a suite: where the
versions differ, the others' values of the suite are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcbench.bench.analysis.versions import Newest
from gcbench.bench.metrics import SUITES
from gcbench.errors import UsageError

_MESH = ["dataset", "split", "mesh"]
_PLACE = [*_MESH, "codec", "rate", "effort", "seed", "device", "timing", "cpu", "gpu", "threads"]
_ORDER = ["dataset", "split", "codec", "rate_index", "rate", "mesh", "effort", "seed", "timing", "device"]


@dataclass(frozen=True)
class Beside:
    """Records of a run and of others, as of one run.

    Parameters
    ----------
    rows : DataFrame
        The columns of :func:`gcbench.bench.analysis.frame.frame`.
    of : (N,) int
        Of each record: 0 for the run, 1 for the first of the others, and so on.
    notes : tuple of str
        What was left out, and what a reader must know to compare.
    """

    rows: pd.DataFrame
    of: NDArray[np.intp]
    notes: tuple[str, ...]


def beside(own: Newest, others: Mapping[str, Newest]) -> Beside:
    """Put the results of others beside those of a run.

    Parameters
    ----------
    own : Newest
        Of the run.
    others : mapping
        Name, for notes → results.

    Raises
    ------
    UsageError
        The run has no mesh in common with one of the others.
    """
    meshes = own.rows.loc[own.rows["input_sha256"].notna(), [*_MESH, "input_sha256"]].astype(object).drop_duplicates()
    hashes = set(meshes["input_sha256"])
    shared = set(hashes)
    notes: list[str] = []
    for name, other in others.items():
        theirs = set(other.rows["input_sha256"].dropna())
        if not hashes & theirs:
            raise UsageError(
                f"no mesh in common with {name}: its {len(theirs)} meshes have other hashes than the {len(hashes)} here"
            )
        shared &= theirs
        here, there = len(hashes - theirs), len(theirs - hashes)
        if here or there:
            both = len(hashes & theirs)
            notes.append(f"over {both} meshes; left out are {here} that are only here, and {there} only in {name}")
    if not shared:
        raise UsageError(f"no mesh is in all of {', '.join(others)}")
    mine = own.rows[own.rows["input_sha256"].isin(shared).to_numpy(dtype=bool)]
    parts = [mine]
    taken = dict.fromkeys(map(str, mine["codec"].unique()), "here")
    for name, other in others.items():
        found = _renamed(other.rows, meshes[meshes["input_sha256"].isin(shared)])
        notes += _replaced(name, found, mine, taken)
        found = found[~found["codec"].astype(object).isin(list(taken))]
        taken |= dict.fromkeys(map(str, found["codec"].unique()), name)
        found, said = _same_suites(name, found, own.suites, other.suites)
        notes += [*said, *_efforts(name, mine, found), *_sets(name, found)]
        parts.append(found)
    rows, of = _joined(parts)
    return Beside(rows, of, tuple(notes))


def _renamed(rows: pd.DataFrame, meshes: pd.DataFrame) -> pd.DataFrame:
    """Records of some meshes, under the names that these meshes have in the run."""
    plain = rows.drop(columns=_MESH).assign(input_sha256=rows["input_sha256"].astype(object))
    named = plain.merge(meshes, on="input_sha256", how="inner")
    # The others may have a mesh in two datasets.
    return named.drop_duplicates(_PLACE, keep="last")


def _replaced(name: str, found: pd.DataFrame, mine: pd.DataFrame, taken: Mapping[str, str]) -> list[str]:
    """Lines on codecs that are in the others, too."""
    notes = []
    there = {str(codec) for codec in found["codec"].unique()}
    for codec in sorted(there & set(taken)):
        versions = [
            sorted(set(rows.loc[rows["codec"] == codec, "codec_version"].astype(str))) for rows in (mine, found)
        ]
        differ = ""
        if taken[codec] == "here" and versions[0] != versions[1]:
            differ = f", in version {', '.join(versions[0])}; there it is {', '.join(versions[1])}"
        notes.append(f"{codec} is taken from {taken[codec]}, not from {name}{differ}")
    return notes


def _same_suites(
    name: str, found: pd.DataFrame, own: Mapping[str, frozenset[str]], theirs: Mapping[str, frozenset[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """The others' records without the values of suites that another version measured, and lines on versions."""
    notes = []
    absent: list[str] = []
    for suite in sorted(set(own) & set(theirs)):
        if own[suite] == theirs[suite]:
            continue
        versions = f"{', '.join(sorted(own[suite]))} here and {', '.join(sorted(theirs[suite]))} in {name}"
        if _code(own[suite]) == _code(theirs[suite]) and len(_code(own[suite])) == 1:
            notes.append(f"{suite}: the same code with other packages, {versions}")
            continue
        columns = SUITES.get(suite).columns if suite in SUITES.names() else ()
        absent += [one for column in columns for one in (column.name, column.floor) if one is not None and one in found]
        notes.append(f"{suite}: {versions}; two versions are not compared, so values of {name} are left out")
    return found.drop(columns=list(dict.fromkeys(absent))), notes


def _code(versions: frozenset[str]) -> set[str]:
    """Versions without those of packages: ``1+512ea7cc+numpy-2.4.6`` → ``1+512ea7cc``."""
    return {"+".join(version.split("+")[:2]) for version in versions}


def _efforts(name: str, mine: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    here, there = ({str(effort) for effort in rows["effort"].unique()} for rows in (mine, found))
    if here & there or not there:
        return []
    return [
        f"effort {', '.join(sorted(here))} here and {', '.join(sorted(there))} in {name}: each has a table of its own; "
        f"to compare: bench run --effort {min(there)}"
    ]


def _sets(name: str, found: pd.DataFrame) -> list[str]:
    """Lines on set codecs that coded more meshes together than are here."""
    of_set = found[(found["kind"] == "set") & (found["status"] == "ok")]
    here = of_set.groupby(["codec", "set_size"], sort=True, observed=True)["mesh"].nunique().reset_index()
    return [
        f"{codec} coded {size} meshes together in {name}; {meshes} are here, each with its share of the bytes"
        for codec, size, meshes in here.itertuples(index=False)
        if meshes < size
    ]


def _joined(parts: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """One frame, sorted as the records of a run, with categories where the first part has them."""
    whole = pd.concat([part.astype(_objects(part)) for part in parts], ignore_index=True)
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = whole.sort_values(_ORDER, kind="stable").index
    whole, of = whole.loc[order].reset_index(drop=True), of[order]
    for column in parts[0].select_dtypes("category"):
        known = sorted({value for value in whole[column] if isinstance(value, str)})
        whole[column] = pd.Categorical(whole[column], categories=pd.Index(known, dtype="str"))
    return whole, of


def _objects(part: pd.DataFrame) -> dict[str, Any]:
    return dict.fromkeys(map(str, part.select_dtypes("category")), object)
