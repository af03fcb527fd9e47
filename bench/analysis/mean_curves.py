"""Mean curves of codecs, and the BD-rates between all pairs of them, each pair over as many meshes as both coded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from gcbench.bench.analysis.coverage import Common, common
from gcbench.bench.analysis.frame import summarise
from gcbench.bench.analysis.rate_distortion import BDRate, Refusal, bd_matrix, bd_rate, curves


@dataclass(frozen=True)
class Pairs:
    """BD-rates, codec × codec: row against column.

    Parameters
    ----------
    rates : DataFrame of BDRate
        The diagonal is None.
    meshes : DataFrame of int
        Over how many meshes the means of the two curves are.
    most : int
        The meshes in common, over which most pairs are compared.
    """

    rates: pd.DataFrame
    meshes: pd.DataFrame
    most: int

    def fewer(self, codec: str, anchor: str) -> bool:
        """Whether there is a BD-rate, over fewer meshes than those in common."""
        delta = self.rates.loc[codec, anchor]
        there = isinstance(delta, BDRate) and delta.percent is not None
        return there and bool(self.meshes.loc[codec, anchor] < self.most)

    @property
    def note(self) -> str:
        """What :meth:`fewer` means; empty if no pair is compared over fewer meshes."""
        names = [str(name) for name in self.rates.index]
        found = sorted({int(self.meshes.loc[a, b]) for a in names for b in names if self.fewer(a, b)})
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
    def _smaller(self) -> list[tuple[int, pd.DataFrame]]:
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
        rates = bd_matrix(part, metric, sorted(aside | set(part.loc[~values, "codec"])))
        most = len(_coded(self.common.rows))
        meshes = pd.DataFrame(most, index=rates.index, columns=rates.columns)
        for count, summary in self._smaller:
            of = curves(_with(summary, codecs), metric) if metric in summary else {}
            for codec, anchor in _refused(rates):
                if codec in of and anchor in of:
                    rates.loc[codec, anchor] = bd_rate(of[anchor], of[codec])
                    meshes.loc[codec, anchor] = count
        return Pairs(rates, meshes, most)


def _coded(rows: pd.DataFrame) -> frozenset[str]:
    return frozenset(rows.loc[rows["status"] == "ok", "mesh"].astype(str))


def _with(rows: pd.DataFrame, codecs: Collection[str] | None) -> pd.DataFrame:
    return rows if codecs is None else rows[rows["codec"].isin(codecs)]


def _refused(rates: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Pairs that cannot be compared over the meshes of the curves so far."""
    names = [str(name) for name in rates.index]
    for codec in names:
        for anchor in names:
            delta = rates.loc[codec, anchor]
            if isinstance(delta, BDRate) and delta.refusal is Refusal.OTHER_MESHES:
                yield codec, anchor
