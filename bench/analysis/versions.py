"""Leaves out the records of a run that an earlier version of a codec made.

The store keeps the last coding for each mesh, codec and rate label. If a newer version of a codec drops a label, or the
label is not run again, the coding of the earlier version stays in the store. Example: version 1 coded q8 and q10, and
version 2 only q10. A curve through both rates would mix two versions, so q8 is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gcbench.bench.store.records import Coding, Record
from gcbench.bench.store.run import Run

Ladder = tuple[str, str, str, str, str]  # dataset, split, effort, device, codec


@dataclass(frozen=True)
class Newest:
    """The records of a run that tables and figures use.

    Parameters
    ----------
    records : list of Record
        In the order of :meth:`gcbench.bench.store.run.Run.records`.
    notes : tuple of str
        A line for each codec and dataset whose records were left out, or with a rate that mixes versions.
    """

    records: list[Record]
    notes: tuple[str, ...] = ()


def newest(run: Run) -> Newest:
    """Leave out the rates that the newest version of a codec has not coded; datasets are treated separately.

    The newest version is the version of the coding that was appended last. If it has coded a rate for some meshes, and
    an earlier version has coded the rate for others, both stay, and a note says so.
    """
    last = {_ladder(coding): coding.codec_version for coding in run.codings()}
    records = run.records()
    coded = {(_ladder(r), r.rate) for r in records if r.codec_version == last[_ladder(r)]}

    counts: dict[tuple[bool, Ladder, str], Counter[str]] = {}
    for r in records:
        if r.codec_version != last[_ladder(r)]:
            stays = (_ladder(r), r.rate) in coded
            counts.setdefault((stays, _ladder(r), r.codec_version), Counter())[r.rate] += 1
    notes = [_note(stays, ladder, version, rates, last[ladder]) for (stays, ladder, version), rates in counts.items()]
    return Newest([r for r in records if (_ladder(r), r.rate) in coded], tuple(sorted(notes)))


def _ladder(one: Coding | Record) -> Ladder:
    return (one.dataset, one.split, one.effort, one.device, one.codec)


def _note(stays: bool, ladder: Ladder, version: str, rates: Counter[str], now: str) -> str:
    dataset, split, _, _, codec = ladder
    return (
        f"{'means over two versions' if stays else 'left out'}: {rates.total()} records of {codec} at "
        f"{', '.join(sorted(rates))} on {dataset}/{split}, coded by its version {version}; the newest here is {now}"
    )
