"""The meshes of a report: inputs from their dataset, decoded meshes from the kept streams, within a budget of bytes.

Whatever goes wrong (data that is gone, a stream that does not decode, a mesh that is too large) costs that one case its
3-D view and is a line of text; nothing here raises for it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcbench.bench.report.cases import Case
from gcbench.bench.report.packing import Floats, PackedMesh, pack_errors, pack_mesh
from gcbench.bench.run.kept import Decoder, KeptInputs, NotHere, load_unchanged
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import Run
from gcbench.datasets import MeshSource

if TYPE_CHECKING:
    from gcbench.geometry.nearest import TriangleTree

Progress = Callable[[int, int, str], None]  # done, total, what

_LARGEST_MESH_FACES = 2_000_000  # beyond this a page in a browser is no place to look at it
_OVER_BUDGET = "over the budget of the file's size (--max-mb)"
_ELEMENT_BYTES = 80  # of markup around a blob
_BYTES_PER_FACE = 1.0  # as base64, with its distances; no real mesh packs smaller
_TYPICAL_BYTES = 3.2  # of a face, in the same way
_ENOUGH_FACES = 1000  # to learn from: of a small mesh, the input's distances are most
_LARGE_CASE = 1 / 30  # of the budget: such cases come last in their round, or a few would push out the others


class NotShown(Exception):
    """A case has no 3-D view; the text says why."""


@dataclass(frozen=True)
class Scene:
    """A case as the page gets it.

    Parameters
    ----------
    case : Case
        Which coding.
    original, decoded : int
        Indices of meshes in :class:`Scenes`.
    error, missed : int
        Indices of blobs: distance of each decoded vertex to the input's surface, and of each input vertex to the
        decoded surface.
    error_max, missed_max : float
        The largest of each.
    """

    case: Case
    original: int
    decoded: int
    error: int
    missed: int
    error_max: float
    missed_max: float


@dataclass
class Scenes:
    """All scenes of a report, and what they refer to.

    Parameters
    ----------
    blobs : list of str
        Base64 of deflated bytes: meshes and distances.
    scenes : list of Scene
        In the order in which they were made.
    refused : list of (Case, str)
        Cases without a 3-D view, and why.
    """

    blobs: list[str] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    refused: list[tuple[Case, str]] = field(default_factory=list)


def make(
    run: Run,
    records: Sequence[Record],
    cases: Sequence[Case],
    *,
    budget_bytes: int,
    data: Path | None = None,
    progress: Progress | None = None,
) -> Scenes:
    """Make as many scenes as the budget allows, in the order given; but in each round, large cases come last.

    Parameters
    ----------
    run : Run
        With the streams.
    records : sequence of Record
        Of the run, which the cases index.
    cases : sequence of Case
        The most interesting first.
    budget_bytes : int
        For all blobs together, as base64.
    data : Path or None
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    progress : callable, optional
        Told of every case.
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
                # What waits is in memory: no more of it than could be kept.
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
    """Base64 texts within a budget, each kept once."""

    def __init__(self, budget_bytes: int) -> None:
        self.texts: list[str] = []
        self.left = budget_bytes
        self._index: dict[tuple[str, object], int] = {}

    def __contains__(self, key: tuple[str, object]) -> bool:
        return key in self._index

    def size(self, wanted: Mapping[tuple[str, object], bytes]) -> int:
        """Bytes that these blobs would take, as base64, without those that are kept already."""
        return sum(4 * ((len(blob) + 2) // 3) + _ELEMENT_BYTES for key, blob in wanted.items() if key not in self)

    def keep(self, wanted: Mapping[tuple[str, object], bytes]) -> list[int]:
        """Indices of these blobs; all are kept or none is."""
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
    """What meshes take, learnt from those that were packed: what cannot fit is not decoded, which may take a minute."""

    least: float | None = None  # bytes of a face
    # Of a codec at a rate: the least faces of a decoded mesh, and the least of them for each face of its input.
    decoded: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def faces(self, record: Record) -> float:
        """How many faces the decoded mesh of a record has at least; 0 before the first one of its codec and rate."""
        faces, for_each = self.decoded.get((record.codec, record.rate), (0.0, 0.0))
        return min(faces, for_each * _input_faces(record))

    def expect(self, faces: float) -> float:
        """Bytes that so many faces take at the very least."""
        return faces * (_BYTES_PER_FACE if self.least is None else 0.9 * self.least)

    def learn(self, record: Record, decoded: int, faces: int, size_bytes: int) -> None:
        """Look at a case that was packed: faces of the decoded mesh, all faces in the blobs, and bytes of these."""
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
        raise NotShown("the decoded mesh has too many faces for a page")
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
    """An input mesh, packed and searchable."""

    vertices: Floats
    packed: PackedMesh
    surface: TriangleTree


class _Inputs:
    """Input meshes of a run, made ready to be shown."""

    def __init__(self, kept: KeptInputs) -> None:
        self._kept = kept
        self._of_mesh = lru_cache(maxsize=64)(self._load)  # cases of one mesh do not follow each other

    def get(self, record: Record) -> _Input:
        """Load, or take from before, the input of a record."""
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
            return f"the input mesh has {len(faces)} faces, too many for a page"
        try:
            return _Input(vertices, pack_mesh(vertices, faces), TriangleTree(vertices[faces]))
        except ValueError as error:
            return f"the input mesh cannot be shown: {error}"
