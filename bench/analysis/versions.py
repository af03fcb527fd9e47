"""What a run holds of earlier versions of a codec. Knows the store and records; nothing of tables and figures.

The store keeps one cell for each mesh, codec and rate label: the last one. What it cannot see is a label that a newer
version of the codec no longer has, or that was not run again: a curve through both would be of no codec at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from gcbench.bench.store.records import Record
from gcbench.bench.store.run import CellRecords, Run

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

    The newest version is that of the cell that was appended last. Under a rate that it has coded too, records of
    earlier versions (of other meshes) stay, and a note says so. A cell of a session whose facts are lost is taken for
    one of the newest version: nothing is known against it.
    """
    versions = {session["session"]: session.get("codecs") or {} for session in run.sessions()}
    last: dict[Ladder, str] = {}
    for cell in run.cells():
        if cell.records and (version := _version(cell, versions)) is not None:
            last[_ladder(cell.records[0])] = version

    of_newest: dict[Ladder, set[str]] = {}
    earlier: list[tuple[CellRecords, str]] = []
    for cell in run.counting().values():
        ladder, version = _ladder(cell.records[0]), _version(cell, versions)
        if version is None or version == last[ladder]:
            of_newest.setdefault(ladder, set()).add(cell.records[0].rate)
        else:
            earlier.append((cell, version))

    left: dict[tuple[Ladder, str], dict[str, int]] = {}
    mixed: dict[tuple[Ladder, str], dict[str, int]] = {}
    dropped: set[tuple[Ladder, str]] = set()
    for cell, version in earlier:
        ladder, rate = _ladder(cell.records[0]), cell.records[0].rate
        kept = rate in of_newest.get(ladder, ())
        counts = (mixed if kept else left).setdefault((ladder, version), {})
        counts[rate] = counts.get(rate, 0) + len(cell.records)
        if not kept:
            dropped.add((ladder, rate))
    notes = [_note("left out", *key, rates, last[key[0]]) for key, rates in left.items()]
    notes += [_note("means over two versions", *key, rates, last[key[0]]) for key, rates in mixed.items()]
    return Newest([r for r in run.records() if (_ladder(r), r.rate) not in dropped], tuple(sorted(notes)))


def _ladder(r: Record) -> Ladder:
    return (r.dataset, r.split, r.effort, r.device, r.codec)


def _version(cell: CellRecords, versions: dict[str, dict[str, str]]) -> str | None:
    return versions.get(cell.session, {}).get(cell.records[0].codec)


def _note(what: str, ladder: Ladder, version: str, rates: dict[str, int], now: str) -> str:
    dataset, split, _, _, codec = ladder
    names = ", ".join(sorted(rates))
    return (
        f"{what}: {sum(rates.values())} records of {codec} at {names} on {dataset}/{split}, "
        f"coded by its version {version}; the newest here is {now}"
    )
