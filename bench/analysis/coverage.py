"""Finds the meshes that codecs have in common, so that means over different meshes are not compared.

A run that was interrupted, that continued with other rates, or in which codings failed has not coded every mesh at
every rate. A mean over 8 meshes and a mean over 1 of them differ by the meshes, not only by the codecs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.metrics import columns

_HALF_TRUST = 30  # meshes whose mean is trusted half as much as that of very many


@dataclass(frozen=True)
class Common:
    """Records that can be compared, and the other records.

    Parameters
    ----------
    rows : DataFrame
        Records of the meshes in common, at the rates that coded all of these meshes; and the records of bad input.
        Some values of suites are blanked, so that the values of a column are of the same meshes at all rates.
    aside : DataFrame
        All records of the other rates.
    notes : tuple of str
        A line for each block in which records were left out: which meshes count, and which rates do not.
    """

    rows: pd.DataFrame
    aside: pd.DataFrame
    notes: tuple[str, ...] = ()


def common(rows: pd.DataFrame) -> Common:
    """Find the set of meshes that makes most results comparable, in each dataset, split, effort and device separately.

    A candidate is the set of meshes that some rate coded, or the intersection of the 2, 3, ... largest such sets. The
    worth of a candidate is n / (n + 30) for n meshes, since each further mesh adds less to the trust in a mean, times
    the number of codecs less ½, since one codec alone is no comparison; a quarter of the number where that is more. A
    codec counts by the share of its rates that coded all meshes of the candidate: a codec with many rates has no more
    weight than a codec with few. The candidate with the largest worth is taken; of candidates with equal worth, the one
    with more codecs. In a complete run without failures this is the set of all meshes.

    Examples: of 10 meshes, two codecs coded 6 at all rates, and one of the two coded the other 4 too: 6/36 · 1.5 = 0.25
    is more than 10/40 · 0.5 = 0.13, so the codecs are compared on the 6 meshes. A set codec coded 342 frames, and five
    other codecs every tenth of them: 34/64 · 5.5 = 2.9 against 342/372 · 0.5 = 0.46. Eight codecs coded 40 meshes, and
    eight slow ones the first 8 of them: 40/70 · 7.5 = 4.3 against 8/38 · 15.5 = 3.3, and the slow ones stand aside. Of
    100 meshes, a second codec has just coded the first: 1/31 · 1.5 = 0.05 against 100/130 · 0.5 = 0.38.

    The timing pass decides only where there is no quality pass; otherwise its records are kept where those of quality
    are.

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
    """Blank values of suites, so that the values of a column are of the same meshes for all codecs and rates.

    A suite may lack a value for a mesh that every codec coded: the mesh has no inside, or a limit was exceeded.
    """
    ok = (block["status"] == "ok") & ~block["timing"]
    done: dict[bytes, pd.Series[bool]] = {}  # columns of one suite lack the same ones
    masks: dict[str, pd.Series[bool]] = {}
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
            # Two columns may share a floor.
            masks |= {name: masks[name] | done[pattern] if name in masks else done[pattern] for name in names}
    return block.assign(**{name: block[name].mask(mask) for name, mask in masks.items()}) if masks else block


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
        comparisons = max(share - 0.5, share / 4)  # the latter, so that it stays positive
        return round(comparisons * len(meshes) / (len(meshes) + _HALF_TRUST), 9), round(share, 9), sorted(meshes)

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
