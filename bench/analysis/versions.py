"""What a run holds of earlier versions of a codec. Knows the store and records; nothing of tables and figures.

The store keeps one coding for each mesh, codec and rate label: the last one. What it cannot see is a label that a newer
version of the codec no longer has, or that was not run again: a curve through both would be of no codec at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gcbench.bench.store.records import Coding, Record
from gcbench.bench.store.run import Run

Ladder = tuple[str, str, str, str, str]  # dataset, split, effort, device, codec


@dataclass(frozen=True)
class Newest:
    """The records of a run that count, without leftovers.

    Parameters
    ----------
    records : list of Record
        In the order of :meth:`gcbench.bench.store.run.Run.records`.
    notes : tuple of str
        A line for each codec and dataset of which records were left out, or of which one rate mixes versions.
    """

    records: list[Record]
    notes: tuple[str, ...] = ()


def newest(run: Run) -> Newest:
    """Leave out the rates of a codec that only versions before its newest one coded, on each dataset by itself.

    The newest version is that of the coding that was appended last. Under a rate that it has coded too, records of
    earlier versions (of other meshes) stay, and a note says so.
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
