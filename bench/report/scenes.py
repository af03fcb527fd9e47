"""The meshes of a report: originals from their dataset, decoded meshes from the stored streams, within a size limit.

If something goes wrong (missing data, a stream that does not decode, a mesh that is too large), the case has no 3-D
view and the report gives the reason; nothing is raised.

Streams are decoded in several slots and packed in several processes. Cases are started at most :data:`_AHEAD` before
their turn and are kept in their turn, so that the same run gives the same file on any number of cores.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gcbench.bench.plan.planning import Progress
from gcbench.bench.report.budget import OVER_BUDGET, Blobs, NotShown, Sizes, input_faces
from gcbench.bench.report.cases import Case
from gcbench.bench.report.preparing import Prepared, prepare
from gcbench.bench.run.kept import Decoder, KeptInputs, NotHere
from gcbench.bench.store.records import Record
from gcbench.bench.store.results import Results
from gcbench.datasets import MeshSource
from gcbench.errors import BitstreamError, StoreError

_AHEAD = 16  # cases under way; the same on every machine, since it decides what is tried
_MOST_SLOTS = 8  # each has processes with the libraries of all codecs
_LARGE_CASE = 1 / 30  # of the budget: larger cases come last in their round, so that few do not displace many
_PATIENCE = 20  # cases of a codec in a row that did not fit, before its others of the round are not decoded


@dataclass(frozen=True)
class Stored:
    """A run of the report, and where its original meshes are.

    Parameters
    ----------
    run : Results
        With the streams, or no meshes of this run are shown.
    data : Path or None
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    named_by : Results or None
        The run whose names the meshes have, if that is another one.
    """

    run: Results
    data: Path | None = None
    named_by: Results | None = None


@dataclass(frozen=True)
class Scene:
    """The data of one 3-D view; integers are indices of blobs in :class:`Scenes`."""

    case: Case
    original: int  # mesh
    decoded: int  # mesh
    error: int  # distance of each decoded vertex to the original surface
    missed: int  # distance of each original vertex to the decoded surface
    error_max: float
    missed_max: float


@dataclass
class Scenes:
    """All 3-D views of a report."""

    blobs: list[str] = field(default_factory=list)  # meshes and distances: base64 of deflated bytes
    scenes: list[Scene] = field(default_factory=list)
    refused: list[tuple[Case, str]] = field(default_factory=list)  # cases without a view, and why


def make(
    stored: Sequence[Stored],
    rows: pd.DataFrame,
    cases: Sequence[Case],
    *,
    budget_bytes: int,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Scenes:
    """Make as many scenes as the budget allows, in the given order.

    There are two rounds: worst, median and best meshes; then the others. In a round, a case waits until the other cases
    of the round had their turn if it would take over a thirtieth of the budget, or more than what is left of its
    codec's share, which is the same for all codecs.

    Parameters
    ----------
    stored : sequence of Stored
        The runs; column ``run`` of the rows is the index of a record's run (0 without this column).
    rows : DataFrame
        The records that the cases index; column ``address``, if there is one, has the codec under which a record is in
        its run.
    cases : sequence of Case
        The most interesting first.
    budget_bytes : int
        For all blobs together, in base64.
    jobs : int, optional
        Slots that decode, and processes that pack; default: the cores that this process may use, at most 8.
    progress : callable, optional
        Called for every case.
    """
    with _Workshop(stored, jobs or min(_MOST_SLOTS, len(os.sched_getaffinity(0)))) as workshop:
        return _Making(workshop, rows, cases, budget_bytes, progress).made()


class _Making:
    """Decides what is tried, and what is kept."""

    def __init__(
        self, workshop: _Workshop, rows: pd.DataFrame, cases: Sequence[Case], budget: int, progress: Progress | None
    ) -> None:
        self._workshop, self._cases, self._progress = workshop, cases, progress
        places = [case.row for case in cases]
        self._record = dict(zip(places, records_of(rows, places), strict=True))
        self._run = rows["run"].to_numpy() if "run" in rows else np.zeros(len(rows), int)
        self._address = (rows["address"] if "address" in rows else rows["codec"]).astype(str)
        self._found, self._kept, self._sizes = Scenes(), Blobs(budget), Sizes()
        self._large = budget * _LARGE_CASE
        codecs = {record.codec for record in self._record.values()}
        self._share = dict.fromkeys(codecs, budget / max(1, len(codecs)))
        self._inputs: set[str | None] = set()  # hashes of the originals that are kept
        self._in_vain: Counter[str] = Counter()  # codec → cases in a row that were decoded and did not fit
        self._waiting_bytes = self._done = 0
        self._last: tuple[tuple[object, ...], Callable[[], Prepared]] | None = None

    def made(self) -> Scenes:
        for others in (False, True):
            self._in_vain, self._waiting_bytes = Counter(), 0
            later: list[tuple[Case, Prepared | None]] = []
            self._turns(((case, None) for case in self._cases if case.late == others), later)
            self._turns(later, None)
        if self._progress is not None:
            self._progress(len(self._cases), len(self._cases), "")
        self._found.blobs = self._kept.texts
        return self._found

    def _turns(
        self,
        cases: Iterable[tuple[Case, Prepared | None]],
        later: list[tuple[Case, Prepared | None]] | None,
    ) -> None:
        """Try cases in their order; those that should wait are appended to ``later``, unless that is None."""
        under_way: deque[tuple[Case, Record, Callable[[], Prepared]]] = deque()
        for case, prepared in cases:
            if len(under_way) == _AHEAD:
                self._take(*under_way.popleft(), later)
            record = self._record[case.row]
            if prepared is not None:
                under_way.append((case, record, _given(prepared)))
                continue
            self._say(record, first=later is not None)
            of_input = 0 if record.input_sha256 in self._inputs else input_faces(record)
            least = self._sizes.expect(self._sizes.faces(record) + of_input)
            if least > self._kept.left or self._in_vain[record.codec] >= _PATIENCE:
                self._found.refused.append((case, OVER_BUDGET))
            elif later is not None and self._waits(record, least):
                later.append((case, None))
            else:
                under_way.append((case, record, self._started(case, record)))
        while under_way:
            self._take(*under_way.popleft(), later)

    def _take(
        self,
        case: Case,
        record: Record,
        result: Callable[[], Prepared],
        later: list[tuple[Case, Prepared | None]] | None,
    ) -> None:
        """Keep a case that is ready, if there is room for it."""
        try:
            prepared = result()
        except (NotShown, NotHere) as reason:
            self._found.refused.append((case, str(reason)))
            return
        size = self._kept.size(prepared.blobs)
        of_input = 0 if record.input_sha256 in self._inputs else input_faces(record)
        self._sizes.learn(record, prepared.faces, prepared.faces + of_input, size)
        wait = later is not None and self._waits(record, size)
        if size + (self._waiting_bytes if wait else 0) > self._kept.left:
            self._in_vain[record.codec] += 1
            self._found.refused.append((case, OVER_BUDGET))
            return
        self._in_vain[record.codec] = 0
        if later is not None and wait:
            self._waiting_bytes += size
            later.append((case, prepared))
            return
        original, decoded, error, missed = self._kept.keep(prepared.blobs)
        self._inputs.add(record.input_sha256)
        self._share[record.codec] -= size
        ends = prepared.error_max, prepared.missed_max
        self._found.scenes.append(Scene(case, original, decoded, error, missed, *ends))

    def _waits(self, record: Record, size_bytes: float) -> bool:
        return size_bytes > min(self._large, self._share[record.codec])

    def _say(self, record: Record, *, first: bool) -> None:
        self._done += first
        if self._progress is not None:
            what = f"{record.codec} {record.rate} on {record.dataset}/{record.mesh}"
            self._progress(self._done - 1, len(self._cases), what)

    def _started(self, case: Case, record: Record) -> Callable[[], Prepared]:
        address = self._address.iloc[case.row]
        # Two runs often have the same stream of a mesh, and these cases follow each other.
        same = (address, record.codec_version, record.stream_sha256, record.stream_place, record.input_sha256)
        if self._last is None or self._last[0] != same:
            self._last = same, self._workshop.start(replace(record, codec=address), int(self._run[case.row]))
        return self._last[1]


def records_of(rows: pd.DataFrame, places: Sequence[int]) -> list[Record]:
    """The records in some rows of a frame, without their metrics and costs."""
    names = [name for name in _RECORD if name in rows]
    chosen = rows[names].iloc[list(places)]
    columns = [[_plain(name, value) for value in chosen[name].tolist()] for name in names]
    return [Record(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


_NESTED = {"encode", "decode", "metrics", "suites", "unmeasured", "ran_on"}
_RECORD = tuple(one.name for one in fields(Record) if one.name not in _NESTED)
_WHOLE = {one.name for one in fields(Record) if str(one.type).startswith("int")}


def _plain(name: str, value: Any) -> Any:
    if pd.isna(value):
        return None
    return int(value) if name in _WHOLE else value


class _Workshop:
    """Slots that decode and processes that pack; a context manager. Nothing starts before the first case."""

    def __init__(self, stored: Sequence[Stored], jobs: int) -> None:
        self._stored, self._jobs = stored, jobs
        self._inputs = [KeptInputs(one.named_by or one.run, one.data) for one in stored]
        self._slots = [ThreadPoolExecutor(1) for _ in range(jobs)]
        self._packers: Executor | None = None
        self._decoders: dict[tuple[int, int], Decoder] = {}
        self._started = 0

    def __enter__(self) -> _Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self._slots:
            slot.shutdown(cancel_futures=True)
        for decoder in self._decoders.values():
            decoder.close()
        if self._packers is not None:
            self._packers.shutdown(cancel_futures=True)

    def start(self, record: Record, run: int) -> Callable[[], Prepared]:
        """Begin to decode and pack a record's mesh; the result, when called, waits, and raises NotShown or NotHere."""
        try:
            source = self._inputs[run].source(record)
        except NotHere as reason:
            return _raising(reason)
        if self._packers is None:
            self._packers = ProcessPoolExecutor(self._jobs, mp_context=get_context("spawn"))
        # Meshes of a set are decoded together, so that one slot decodes all of them.
        turn = int(record.stream_sha256 or "0", 16) if record.kind == "set" else self._started
        self._started += 1
        slot = turn % self._jobs
        return self._slots[slot].submit(self._work, slot, run, record, source, self._packers).result

    def _work(self, slot: int, run: int, record: Record, source: MeshSource, packers: Executor) -> Prepared:
        stored = self._stored[run].run
        try:
            stored.stream(record.stream_sha256 or "", record.stream_size)
        except StoreError:  # it is missing, a link, or larger than recorded
            raise NotShown("the stream is not here") from None
        except BitstreamError:
            pass  # the decoder says what is wrong with it
        decoder = self._decoders.setdefault((slot, run), Decoder(stored))
        vertices, triangles = decoder.mesh(record)
        try:
            return packers.submit(prepare, source, record.input_sha256, vertices, triangles).result()
        except BrokenProcessPool:
            raise NotShown("the process that packs meshes died; is there enough memory?") from None


def _given(prepared: Prepared) -> Callable[[], Prepared]:
    return lambda: prepared


def _raising(reason: NotHere) -> Callable[[], Prepared]:
    def result() -> Prepared:
        raise reason

    return result
