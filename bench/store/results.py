"""Results that can be read: what a run folder and a pack have in common.

Codings, measurements and sessions are lines of JSON, as a run keeps them (:mod:`gcbench.bench.store.run`). A pack is
unpacked to the same lines (:mod:`gcbench.bench.store.pack`), so that one reader checks both with the same distrust.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gcbench.bench.store.fields import Kind, Named, Text, Value, Whole, read_line, require_shallow
from gcbench.bench.store.records import Coding, Measurement, Record, records_of

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Facts of a session that are looked at; other facts are shown only.
_TEXTS = Named(Text(10_000), 10_000, Text(10_000, 1))
_FACTS: Mapping[str, Kind] = {
    "session": Text(1000, 1),
    **{name: Text(200) for name in ("started", "finished", "gcbench")},
    **dict.fromkeys(("suites", "codecs", "unavailable"), _TEXTS),
    "folders": Named(Text(10_000, path=True), 10_000, Text(10_000, 1)),
    **{name: Whole() for name in ("coded", "measured", "coded_elsewhere", "measured_elsewhere")},
    "wall_s": Value(),
}


@dataclass
class Results(ABC):
    """Results in a folder: :class:`gcbench.bench.store.Run` or :class:`gcbench.bench.store.Pack`.

    A line that holds anything but the values of :mod:`gcbench.bench.store.records` is left out with a warning.
    """

    path: Path
    _said: set[tuple[str, int]] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether the folder has results."""

    @abstractmethod
    def require_known_format(self) -> None:
        """Raise StoreError if a newer gcbench has written the results, in a format that this one would misread."""

    @abstractmethod
    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of ``codings.jsonl``, ``measurements.jsonl`` or ``sessions.jsonl``, each with its newline."""

    @abstractmethod
    def stream(self, sha256: str, size: int | None = None) -> bytes:
        """Read a stream of ``size`` bytes, if a coding says so.

        Raises
        ------
        StoreError
            There is no such stream, or the file is a link or has another size.
        BitstreamError
            The bytes do not have this SHA-256.
        """

    @property
    def not_run(self) -> Mapping[str, str]:
        """Codec → why it did not run on these meshes. Example: ``{"ni": "needs 9 h on two cores"}``."""
        return {}

    @property
    def keyed(self) -> bool:
        """Whether the keys of codings and measurements are the hashes of what was coded and measured."""
        return True

    def codings(self) -> Iterator[Coding]:
        """Every coding, oldest first; unreadable lines are logged and skipped."""
        return self._parsed("codings.jsonl", Coding.from_json)

    def codings_at(self, lines: Collection[int]) -> dict[int, Coding]:
        """Codings by the numbers of their lines, which begin with 1."""
        texts = enumerate(self.lines("codings.jsonl"), start=1)
        return {number: Coding.from_json(read_line(text)) for number, text in texts if number in lines}

    def measurements(self) -> Iterator[Measurement]:
        """Every measurement, oldest first; unreadable lines are logged and skipped."""
        return self._parsed("measurements.jsonl", Measurement.from_json)

    def counting(self) -> list[Coding]:
        """The last coding of each mesh (or set) by each codec address, rate, effort, seed, device and kind of pass.

        Earlier codings of the same thing, such as those by an older version of the codec, are left out.
        """
        return list({address(coding): coding for coding in self.codings() if coding.meshes}.values())

    def records(self, codings: Sequence[Coding] | None = None) -> list[Record]:
        """Join codings (default: :meth:`counting`) with the last measurement by each suite; sorted."""
        return joined(self.counting() if codings is None else codings, self.measurements())

    def sessions(self) -> list[dict[str, Any]]:
        """Provenance of every invocation, oldest first; a killed invocation has no ``finished``."""
        sessions: dict[str, dict[str, Any]] = {}
        for data in self._parsed("sessions.jsonl", _facts):
            sessions.setdefault(data["session"], {}).update(data)
        return list(sessions.values())

    def made(self) -> dict[str, Counter[str]]:
        """Lines of each session, to compare with its own counts ``coded`` and ``measured``."""
        return {
            "coded": Counter(coding.session for coding in self.codings() if coding.status != "bad-input"),
            "measured": Counter(measurement.session for measurement in self.measurements()),
        }

    def _parsed(self, name: str, parse: Callable[[Any], T]) -> Iterator[T]:
        for number, line in enumerate(self.lines(name), start=1):
            try:
                yield parse(read_line(line))
            except ValueError as error:
                if (name, number) not in self._said:
                    log.warning("%s line %d is left out: %s", self.path / name, number, error)
                    self._said.add((name, number))


def address(c: Coding) -> tuple[Any, ...]:
    """Names what was coded and how, without the version of the codec and the content of the mesh."""
    mesh = c.meshes[0].mesh if c.kind == "model" else None
    return (c.dataset, c.split, c.codec, c.rate, mesh, c.effort, c.seed, c.timing, c.device)


def joined(codings: Iterable[Coding], measurements: Iterable[Measurement]) -> list[Record]:
    """Join codings with the last measurement of each of their meshes by each suite; sorted."""
    measured: dict[tuple[Any, ...], dict[str, Measurement]] = {}
    for m in measurements:
        decoder = (m.codec, m.decoder_version)
        measured.setdefault((m.stream, m.place, m.input, m.seed, *decoder), {})[m.suite] = m
    records: list[Record] = []
    for coding in codings:
        by_place: dict[int, Mapping[str, Measurement]] = {}
        for place, name in decoded_meshes(coding):
            by_place[place] = measured.get(name, {})
        records += records_of(coding, by_place)
    return sorted(records, key=_order)


def decoded_meshes(c: Coding) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Place of each mesh in the stream, with what measurements call the decoded mesh; nothing of a timing pass."""
    if c.streams and c.timing is None:
        for place, mesh in enumerate(c.coded):
            yield place, (c.streams[0], place, mesh.input_sha256, c.seed, c.codec.partition("[")[0], c.codec_version)


def write_line(value: Mapping[str, Any]) -> bytes:
    """A line of JSON, as `Run` writes it."""
    return json.dumps(value).encode() + b"\n"


def _facts(data: Any) -> dict[str, Any]:
    """A line of ``sessions.jsonl``. Raises ValueError if a fact that is looked at has an impossible value."""
    if not isinstance(data, dict):
        raise ValueError("the line is not an object")
    require_shallow(data)
    for name, kind in _FACTS.items():
        try:
            if name == "session" or data.get(name) is not None:
                kind.take(data.get(name))
        except ValueError as error:
            raise ValueError(f"'{name}' {error}") from None
    return {name: value for name, value in data.items() if value is not None or name not in _FACTS}


def _order(r: Record) -> tuple[Any, ...]:
    return (r.dataset, r.split, r.codec, r.rate_index, r.rate, r.mesh, r.effort, r.seed, r.timing, r.device)
