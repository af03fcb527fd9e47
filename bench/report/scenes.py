"""The meshes of a report: originals from their dataset, decoded meshes from the stored streams, within a size limit.

If something goes wrong (missing data, a stream that does not decode, a mesh that is too large), the case has no 3-D
view and the report gives the reason; nothing is raised.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcbench.bench.plan.planning import Progress
from gcbench.bench.report.cases import Case
from gcbench.bench.report.packing import Floats, PackedMesh, pack_errors, pack_mesh
from gcbench.bench.run.kept import Decoder, KeptInputs, NotHere, load_unchanged
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import Run
from gcbench.datasets import MeshSource

if TYPE_CHECKING:
    from gcbench.geometry.nearest import TriangleTree

_LARGEST_MESH_FACES = 2_000_000  # a browser cannot show more
_OVER_BUDGET = "over the size limit of the file (--max-mb)"
_ELEMENT_BYTES = 80  # markup around a blob
_BYTES_PER_FACE = 1.0  # of a face in base64, with distances: the least for a real mesh
_TYPICAL_BYTES = 3.2  # of a face in base64, with distances: typical
_ENOUGH_FACES = 1000  # of a mesh to estimate sizes from: in smaller ones, the distances of the original dominate
_LARGE_CASE = 1 / 30  # of the budget: larger cases come last in their round, so that few do not displace many


class NotShown(Exception):
    """A case has no 3-D view; the text says why."""


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
    run: Run,
    records: Sequence[Record],
    cases: Sequence[Case],
    *,
    budget_bytes: int,
    data: Path | None = None,
    progress: Progress | None = None,
) -> Scenes:
    """Make as many scenes as the budget allows, in the given order, but with large cases last in each round.

    Parameters
    ----------
    run : Run
        With the streams.
    records : sequence of Record
        The records that the cases index.
    cases : sequence of Case
        The most interesting first.
    budget_bytes : int
        For all blobs together, in base64.
    data : Path or None
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    progress : callable, optional
        Called for every case.
    """
    scenes, kept, sizes = Scenes(), _Blobs(budget_bytes), _Sizes()
    large = budget_bytes * _LARGE_CASE
    inputs, decoder = _Inputs(KeptInputs(run, data)), Decoder(run)

    def keep(packed: _Packed) -> None:
        try:
            scenes.scenes.append(packed.kept_in(kept))
        except NotShown as reason:
            scenes.refused.append((packed.case, str(reason)))

    done = 0
    try:
        for role in dict.fromkeys(case.role for case in cases):
            of_role = [case for case in cases if case.role == role]
            late: list[_Packed] = []
            for case in sorted(of_role, key=lambda c: _input_faces(records[c.row]) * _TYPICAL_BYTES > large):
                record = records[case.row]
                if progress is not None:
                    progress(done, len(cases), f"{record.codec} {record.rate} on {record.dataset}/{record.mesh}")
                done += 1
                try:
                    packed = _packed(case, record, inputs=inputs, decoder=decoder, kept=kept, sizes=sizes)
                except (NotShown, NotHere) as reason:
                    scenes.refused.append((case, str(reason)))
                    continue
                # Waiting cases are in memory, so no more wait than fit into the budget.
                if packed.size(kept) > large and sum(one.size(kept) for one in late) < kept.left:
                    late.append(packed)
                else:
                    keep(packed)
            for packed in late:
                keep(packed)
    finally:
        decoder.close()
    if progress is not None:
        progress(len(cases), len(cases), "")
    scenes.blobs = kept.texts
    return scenes


class _Blobs:
    """Base64 texts within a budget, each stored once."""

    def __init__(self, budget_bytes: int) -> None:
        self.texts: list[str] = []
        self.left = budget_bytes
        self._index: dict[tuple[str, object], int] = {}

    def __contains__(self, key: tuple[str, object]) -> bool:
        return key in self._index

    def size(self, wanted: Mapping[tuple[str, object], bytes]) -> int:
        """Bytes that these blobs would add, in base64."""
        return sum(4 * ((len(blob) + 2) // 3) + _ELEMENT_BYTES for key, blob in wanted.items() if key not in self)

    def keep(self, wanted: Mapping[tuple[str, object], bytes]) -> list[int]:
        """Store all blobs or none, and return their indices."""
        size = self.size(wanted)
        if size > self.left:
            raise NotShown(_OVER_BUDGET)
        new = {key: base64.b64encode(blob).decode() for key, blob in wanted.items() if key not in self}
        self.left -= size
        for key, text in new.items():
            self._index[key] = len(self.texts)
            self.texts.append(text)
        return [self._index[key] for key in wanted]


@dataclass
class _Sizes:
    """Estimates sizes from earlier cases, so that a mesh that cannot fit is not decoded, which may take a minute."""

    least: float | None = None  # bytes of a face
    # Codec and rate → fewest faces of a decoded mesh, and fewest faces for each face of the original.
    decoded: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def faces(self, record: Record) -> float:
        """Lower estimate of the faces of a record's decoded mesh; 0 before the first of its codec and rate."""
        faces, for_each = self.decoded.get((record.codec, record.rate), (0.0, 0.0))
        return min(faces, for_each * _input_faces(record))

    def expect(self, faces: float) -> float:
        """Lower estimate of the bytes of so many faces."""
        return faces * (_BYTES_PER_FACE if self.least is None else 0.9 * self.least)

    def learn(self, record: Record, decoded: int, faces: int, size_bytes: int) -> None:
        """Update the estimates: faces of the decoded mesh, faces in all blobs, and bytes of all blobs."""
        key, for_each = (record.codec, record.rate), decoded / max(1, _input_faces(record))
        least = self.decoded.get(key, (decoded, for_each))
        self.decoded[key] = (min(least[0], decoded), min(least[1], for_each))
        if faces >= _ENOUGH_FACES:
            seen = size_bytes / faces
            self.least = seen if self.least is None else min(self.least, seen)


def _input_faces(record: Record) -> int:
    return record.faces or 0


@dataclass(frozen=True)
class _Packed:
    """A case whose meshes are packed."""

    case: Case
    blobs: Mapping[tuple[str, object], bytes]  # original, decoded, error, missed
    error_max: float
    missed_max: float

    def size(self, kept: _Blobs) -> int:
        return kept.size(self.blobs)

    def kept_in(self, kept: _Blobs) -> Scene:
        original, decoded, error, missed = kept.keep(self.blobs)
        return Scene(self.case, original, decoded, error, missed, self.error_max, self.missed_max)


def _packed(case: Case, record: Record, *, inputs: _Inputs, decoder: Decoder, kept: _Blobs, sizes: _Sizes) -> _Packed:
    from gcbench.geometry.nearest import PointTree, TriangleTree, nearest

    the_input = ("input", record.input_sha256)
    of_input = 0 if the_input in kept else _input_faces(record)
    if sizes.expect(sizes.faces(record) + of_input) > kept.left:
        raise NotShown(_OVER_BUDGET)
    original = inputs.get(record)
    vertices, triangles = decoder.mesh(record)
    if len(triangles) > _LARGEST_MESH_FACES:
        raise NotShown("the decoded mesh has too many faces for a browser")
    try:
        packed = pack_mesh(vertices, triangles)
    except ValueError as problem:
        raise NotShown(f"the decoded mesh cannot be shown: {problem}") from None
    error, _ = nearest(PointTree(vertices), original.surface)
    missed, _ = nearest(PointTree(original.vertices), TriangleTree(vertices[triangles]))
    error_data, error_max = pack_errors(error, packed)
    missed_data, missed_max = pack_errors(missed, original.packed)
    blobs: dict[tuple[str, object], bytes] = {
        the_input: original.packed.data,
        ("decoded", case.row): packed.data,
        ("error", case.row): error_data,
        ("missed", case.row): missed_data,
    }
    sizes.learn(record, packed.faces, packed.faces + of_input, kept.size(blobs))
    return _Packed(case, blobs, error_max, missed_max)


@dataclass(frozen=True)
class _Input:
    """An original mesh, packed, with a search tree."""

    vertices: Floats
    packed: PackedMesh
    surface: TriangleTree


class _Inputs:
    """Cache of original meshes that are ready to be shown."""

    def __init__(self, kept: KeptInputs) -> None:
        self._kept = kept
        self._of_mesh = lru_cache(maxsize=64)(self._load)  # cases of one mesh do not follow each other

    def get(self, record: Record) -> _Input:
        """The original of a record."""
        found = self._of_mesh(self._kept.source(record), record.input_sha256)
        if isinstance(found, str):
            raise NotShown(found)
        return found

    def _load(self, source: MeshSource, sha256: str | None) -> _Input | str:
        from gcbench.geometry.nearest import TriangleTree

        try:
            mesh = load_unchanged(source, sha256)
        except NotHere as reason:
            return str(reason)
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
        if len(faces) > _LARGEST_MESH_FACES:
            return f"the input mesh has {len(faces)} faces, too many for a browser"
        try:
            return _Input(vertices, pack_mesh(vertices, faces), TriangleTree(vertices[faces]))
        except ValueError as error:
            return f"the input mesh cannot be shown: {error}"
