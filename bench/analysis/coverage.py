"""Which meshes codecs have in common: means over different meshes are not compared. Knows records as data frames.

A run that was interrupted, that went on with other rates, or in which codings failed has not coded every mesh at every
rate. A curve through means over 8 meshes here and over 1 there says more of the meshes than of the codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gcbench.bench.analysis.frame import GROUP
from gcbench.bench.metrics import columns

BLOCK = GROUP[:-2]  # what has to be equal for records to be compared


@dataclass(frozen=True)
class Common:
    """Records split into those that can be compared, and the others.

    Parameters
    ----------
    rows : DataFrame
        Of the meshes in common, at the rates that coded all of them; with the records of bad input. Where a column of
        a suite lacks values, those of other meshes than all have are blank too.
    aside : DataFrame
        Every record at the other rates.
    notes : tuple of str
        A line for each block in which something was left out: which meshes count, and which rates do not.
    """

    rows: pd.DataFrame
    aside: pd.DataFrame
    notes: tuple[str, ...] = ()


def common(rows: pd.DataFrame) -> Common:
    """Find the meshes over which most can be compared, in each dataset, split, effort and device by itself.

    Of the candidate sets of meshes, the one with the largest number of meshes times codecs is taken, where a codec
    counts by the share of its rates that coded all of the set: a long ladder does not outvote a short one. Candidates
    are the sets that rates coded, and what the largest of them have in common. In a complete run without failures that
    is every mesh. Of sets worth the same, more codecs decide. Records of the timing pass follow those of quality.

    Parameters
    ----------
    rows : DataFrame
        From :func:`gcbench.bench.analysis.frame.frame`.
    """
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
    """Blank values of suites, so that a column has them of the same meshes for every codec and rate that has any.

    A suite may have no value for a mesh (no inside, a limit that was met) though every codec coded it.
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
    """Where a record is not of the meshes, codecs and rates that can be compared by the values that are there."""
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
        return round(share * len(meshes), 9), round(share, 9), sorted(meshes)

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
