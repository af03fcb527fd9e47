"""The meshes of a report: inputs from their dataset, decoded meshes from the kept streams, within a budget of bytes.

Codecs run in a worker that can be killed, as in a run. Whatever goes wrong (data that is gone, a stream that does not
decode, a mesh that is too large) costs that one case its 3-D view and is a line of text; nothing here raises for it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcbench.bench import stages
from gcbench.bench.cell import PREPARE_LIMIT_S
from gcbench.bench.process import Limits, Template, Worker, WorkerError
from gcbench.bench.records import Record
from gcbench.bench.report.cases import Case
from gcbench.bench.report.packing import Floats, Ints, PackedMesh, pack_errors, pack_mesh
from gcbench.bench.store import Run
from gcbench.datasets import MeshSource, cache_dir, data_root, load, open_dataset
from gcbench.datasets.base import as_split
from gcbench.errors import BenchError
from gcbench.registry import split_address

if TYPE_CHECKING:
    from gcbench.bench.metrics.nearest import TriangleTree

log = logging.getLogger(__name__)
Progress = Callable[[int, int, str], None]  # done, total, what

DECODE_LIMIT_S = 300.0
_MEMORY_LIMIT_BYTES = 8 << 30
_KEPT_SETS_BYTES = 1 << 30
_LARGEST_MESH_FACES = 2_000_000  # beyond this a page in a browser is no place to look at it
_OVER_BUDGET = "over the budget of the file's size (--max-mb)"
_ELEMENT_BYTES = 80  # of markup around a blob
_BYTES_PER_FACE = 0.8  # no real mesh packs smaller: what cannot fit is not decoded


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
    """Make as many scenes as the budget allows, in the order given.

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
    scenes, kept = Scenes(), _Blobs(budget_bytes)
    folders = {name: folder for session in run.sessions() for name, folder in session.get("folders", {}).items()}
    inputs, decoder = _Inputs(data_root(data), folders), _Decoder(run)
    try:
        for done, case in enumerate(cases):
            record = records[case.row]
            if progress is not None:
                progress(done, len(cases), f"{record.codec} {record.rate} on {record.dataset}/{record.mesh}")
            try:
                scenes.scenes.append(_scene(case, record, inputs, decoder, kept))
            except NotShown as reason:
                scenes.refused.append((case, str(reason)))
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

    def keep(self, wanted: Mapping[tuple[str, object], bytes]) -> list[int]:
        """Indices of these blobs; all are kept or none is."""
        new = {key: base64.b64encode(blob).decode() for key, blob in wanted.items() if key not in self}
        size = sum(len(text) + _ELEMENT_BYTES for text in new.values())
        if size > self.left:
            raise NotShown(_OVER_BUDGET)
        self.left -= size
        for key, text in new.items():
            self._index[key] = len(self.texts)
            self.texts.append(text)
        return [self._index[key] for key in wanted]


def _scene(case: Case, record: Record, inputs: _Inputs, decoder: _Decoder, kept: _Blobs) -> Scene:
    from gcbench.bench.metrics.nearest import PointTree, TriangleTree, nearest

    the_input = ("input", record.input_sha256)
    faces = int(record.facts.get("out_faces", 0))
    faces += 0 if the_input in kept else int(record.facts.get("in_faces", 0))
    if faces * _BYTES_PER_FACE * 4 / 3 > kept.left:
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
    at_original, at_decoded, at_error, at_missed = kept.keep(blobs)
    return Scene(case, at_original, at_decoded, at_error, at_missed, error_max, missed_max)


@dataclass(frozen=True)
class _Input:
    """An input mesh, packed and searchable."""

    vertices: Floats
    packed: PackedMesh
    surface: TriangleTree


class _Inputs:
    """Input meshes, found again by dataset, split and name, and checked by hash."""

    def __init__(self, data: Path, folders: Mapping[str, str]) -> None:
        self._data = data
        self._folders = folders  # where datasets that are folders were
        self._of_split = lru_cache(maxsize=None)(self._select)
        self._of_mesh = lru_cache(maxsize=64)(self._load)  # cases of one mesh do not follow each other

    def get(self, record: Record) -> _Input:
        """Load, or take from before, the input of a record."""
        sources = self._of_split(record.dataset, record.split)
        if isinstance(sources, str):
            raise NotShown(sources)
        source = sources.get(record.mesh)
        if source is None:
            raise NotShown(f"the input mesh is no longer in {record.dataset}/{record.split}")
        found = self._of_mesh(source, record.input_sha256)
        if isinstance(found, str):
            raise NotShown(found)
        return found

    def _select(self, dataset: str, split: str) -> dict[str, MeshSource] | str:
        try:
            opened = open_dataset(self._folders.get(dataset, dataset), self._data)
            known = as_split(split)
            opened.require_split(known)
            selection = opened.select(known, self._data)
        except (BenchError, OSError) as error:
            return f"the input meshes are not here: {error}"
        return {source.mesh: replace(source, dataset=dataset) for source in selection.sources}

    def _load(self, source: MeshSource, sha256: str | None) -> _Input | str:
        from gcbench.bench.metrics.nearest import TriangleTree

        try:
            loaded = load(source, cache_dir())
        except (BenchError, OSError) as error:
            return f"the input mesh cannot be read: {error}"
        if loaded.sha256 != sha256:
            return "the input mesh is another one than when the run was made"
        vertices, faces = np.asarray(loaded.mesh.vertices, np.float64), np.asarray(loaded.mesh.faces, np.int64)
        if len(faces) > _LARGEST_MESH_FACES:
            return f"the input mesh has {len(faces)} faces, too many for a page"
        try:
            return _Input(vertices, pack_mesh(vertices, faces), TriangleTree(vertices[faces]))
        except ValueError as error:
            return f"the input mesh cannot be shown: {error}"


class _Decoder:
    """Decodes kept streams in a worker; a codec that failed at a stream is not asked for that stream again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._place = _places_in_sets(run)
        self._template: Template | None = None
        self._worker: Worker | None = None
        self._prepared: set[tuple[int | None, str]] = set()
        self._refused: dict[tuple[str, str], str] = {}
        # A set is decoded whole, and its meshes are asked for one by one.
        self._sets: dict[str, tuple[stages.MeshArrays, ...]] = {}

    def mesh(self, record: Record) -> tuple[Floats, Ints]:
        """Vertices (V, 3) and faces (F, 3) of a record's decoded mesh."""
        codec, sha256 = split_address(record.codec, "codec")[0], record.stream_sha256 or ""
        if (codec, sha256) in self._refused:
            raise NotShown(self._refused[codec, sha256])
        try:
            meshes = self._sets.get(sha256) or self._decode(record, codec)
        except (BenchError, WorkerError, OSError) as error:
            self._refused[codec, sha256] = f"decoding it again failed: {error}"
            log.info("%s %s on %s: %s", record.codec, record.rate, record.mesh, error)
            raise NotShown(self._refused[codec, sha256]) from None
        place = self._place.get((sha256, record.mesh), 0) if record.kind == "set" else 0
        if place >= len(meshes):
            raise NotShown(f"decoding it again gave {len(meshes)} meshes, too few")
        arrays = meshes[place]
        vertices, faces = arrays.vertices.reshape(-1, 3), arrays.faces.reshape(-1, 3).astype(np.int64)
        if not np.isfinite(vertices).all():
            raise NotShown("the decoded mesh has coordinates that are not finite")
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise NotShown("the decoded mesh has faces that point at no vertex")
        return vertices, faces

    def _decode(self, record: Record, codec: str) -> tuple[stages.MeshArrays, ...]:
        assert record.stream_sha256 is not None
        stream = self._run.stream(record.stream_sha256)
        if self._worker is None:
            self._template = Template(1, ("gcbench.bench.stages", "trimesh"))
            self._worker = Worker(self._template)
        self._worker.start()
        if (self._worker.pid, codec) not in self._prepared:
            self._worker.call(stages.prepare, codec, Limits(PREPARE_LIMIT_S, _MEMORY_LIMIT_BYTES))
            self._prepared.add((self._worker.pid, codec))
        limit_s = DECODE_LIMIT_S + 3 * (record.decode.wall_s if record.decode else 0.0)
        job = stages.DecodeJob(codec, stream, stages.Settings(seed=record.seed, deadline_s=limit_s))
        decoded, _ = self._worker.call(stages.decode, job, Limits(limit_s, _MEMORY_LIMIT_BYTES))
        if record.kind == "set":
            self._sets[record.stream_sha256] = decoded.meshes
            while len(self._sets) > 1 and sum(map(_bytes, self._sets.values())) > _KEPT_SETS_BYTES:
                del self._sets[next(iter(self._sets))]
        return decoded.meshes

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.kill()
        if self._template is not None:
            self._template.close()


def _bytes(meshes: Sequence[stages.MeshArrays]) -> int:
    return sum(mesh.vertices.nbytes + mesh.faces.nbytes for mesh in meshes)


def _places_in_sets(run: Run) -> dict[tuple[str, str], int]:
    """Where in its stream each mesh of a set is: inputs that could not be used were not encoded."""
    places = {}
    for cell in run.counting().values():
        coded = [record for record in cell.records if record.status != "bad-input"]
        if coded and coded[0].kind == "set":
            for place, record in enumerate(coded):
                places[record.stream_sha256 or "", record.mesh] = place
    return places
