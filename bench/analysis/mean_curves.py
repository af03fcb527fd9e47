"""Mean curves of codecs, and the BD-rates between all pairs of them, each pair over as many meshes as both coded."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from gcbench.bench.analysis.coverage import Common, common
from gcbench.bench.analysis.frame import BLOCK, summarise
from gcbench.bench.analysis.rate_distortion import BDRate, Refusal, bd_matrix, bd_rate, curves


@dataclass(frozen=True)
class Pair:
    """The BD-rate of one codec against another, and over how many meshes the means of the two curves are."""

    rate: BDRate
    meshes: int


@dataclass(frozen=True)
class Pairs:
    """All pairs of codecs.

    Parameters
    ----------
    codecs : tuple of str
        Sorted.
    of : mapping
        (codec, anchor) → :class:`Pair`.
    most : int
        The meshes in common, over which most pairs are compared.
    """

    codecs: tuple[str, ...]
    of: Mapping[tuple[str, str], Pair]
    most: int

    def mark(self, codec: str, anchor: str) -> str:
        """``†`` if there is a BD-rate, over fewer meshes than those in common."""
        pair = self.of[codec, anchor]
        return "†" if pair.rate.percent is not None and pair.meshes < self.most else ""

    @property
    def note(self) -> str:
        """What ``†`` means; empty if no pair has it."""
        found = sorted({pair.meshes for names, pair in self.of.items() if self.mark(*names)})
        if not found:
            return ""
        count = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
        return f"†: over the {count} mesh{'' if found == [1] else 'es'} that both coded"


class MeanCurves:
    """Means over the meshes that codecs have in common, and over the smaller sets of meshes that other codecs coded.

    Parameters
    ----------
    records : DataFrame
        Of one dataset, split, effort and device.
    """

    def __init__(self, records: pd.DataFrame) -> None:
        self._records = records

    @cached_property
    def common(self) -> Common:
        """The records of the meshes in common."""
        return common(self._records)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Their means."""
        return summarise(self.common.rows)

    @cached_property
    def smaller(self) -> list[tuple[int, pd.DataFrame]]:
        """Numbers of meshes and means over them, for the meshes of each codec that lacks some in common."""
        done = {_coded(self.common.rows)}
        for codec in sorted(set(self.common.aside["codec"].astype(str))):
            done.add(_coded(common(self._records[self._records["codec"] == codec]).rows))
        sets = sorted(done - {frozenset(), _coded(self.common.rows)}, key=lambda meshes: (-len(meshes), sorted(meshes)))
        shared = [common(self._records[self._records["mesh"].isin(meshes)]).rows for meshes in sets]
        return [(len(_coded(rows)), summarise(rows)) for rows in shared]

    def bd_rates(self, metric: str, codecs: Collection[str] | None = None) -> Pairs:
        """BD-rates of the mean curves in a metric.

        Two codecs that coded the meshes in common are compared over these, although they may share more. If one of them
        lacks some, the two are compared over its meshes, as far as the other coded them at four rates or more.

        Parameters
        ----------
        metric : str
            A column of a suite.
        codecs : collection of str, optional
            Codecs that are wanted; by default all that have a value.
        """
        part = _with(self.summary, codecs)
        values = part[metric].notna() if metric in part else pd.Series(data=False, index=part.index)
        aside = set(_with(self.common.aside, codecs)["codec"].astype(str))
        matrix = bd_matrix(part, metric, sorted(aside | set(part.loc[~values, "codec"])))
        names, most = tuple(map(str, matrix.index)), len(_coded(self.common.rows))
        cells = dict(zip(itertools.product(names, names), matrix.to_numpy().ravel(), strict=True))
        pairs = {of: Pair(rate, most) for of, rate in cells.items() if rate is not None}
        for meshes, summary in self.smaller:
            of = curves(_with(summary, codecs), metric) if metric in summary else {}
            for (codec, anchor), pair in pairs.items():
                if pair.rate.refusal is Refusal.OTHER_MESHES and codec in of and anchor in of:
                    pairs[codec, anchor] = Pair(bd_rate(of[anchor], of[codec]), meshes)
        return Pairs(names, pairs, most)


def means_by_meshes(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Means over the meshes in common of each dataset, split, effort and device, and over each smaller set of meshes.

    Parameters
    ----------
    rows : DataFrame
        Records.
    """
    curves = [MeanCurves(part) for _, part in rows.groupby(BLOCK, sort=True, observed=True)]
    return [means for one in curves for means in (one.summary, *(summary for _, summary in one.smaller))]


def _coded(rows: pd.DataFrame) -> frozenset[str]:
    return frozenset(rows.loc[rows["status"] == "ok", "mesh"].astype(str))


def _with(rows: pd.DataFrame, codecs: Collection[str] | None) -> pd.DataFrame:
    return rows if codecs is None else rows[rows["codec"].isin(codecs)]
