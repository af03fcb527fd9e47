"""What a run kept, had again: input meshes from their datasets, decoded meshes from the kept streams.

Codecs run in a worker that can be killed, as in a run, and get bytes alone. Whatever is gone, was changed or does not
decode is one exception with the reason as text. Knows nothing of what the meshes are wanted for; writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.bench.run import stages
from gcbench.bench.run.slot import PREPARE_LIMIT_S
from gcbench.bench.run.process import Limits, Template, Worker, WorkerError
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import Run
from gcbench.datasets import MeshSource, cache_dir, data_root, load, open_dataset
from gcbench.datasets.base import as_split
from gcbench.errors import BenchError
from gcbench.registry import split_address

if TYPE_CHECKING:
    import trimesh

log = logging.getLogger(__name__)

DECODE_LIMIT_S = 300.0
_MEMORY_LIMIT_BYTES = 8 << 30
_KEPT_SETS_BYTES = 1 << 30


class NotHere(Exception):
    """A mesh of a run cannot be had; the text says why."""


class KeptInputs:
    """Input meshes, found again by dataset, split and name.

    Parameters
    ----------
    run : Run
        Its provenance says where datasets that are folders were.
    data : Path or None
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    folders : mapping, optional
        Dataset → folder, for datasets that were folders and have moved.
    """

    def __init__(self, run: Run, data: Path | None = None, folders: Mapping[str, Path] | None = None) -> None:
        self._data = data_root(data)
        self._folders = {
            name: place for session in run.sessions() for name, place in session.get("folders", {}).items()
        }
        self._folders |= {name: str(place) for name, place in (folders or {}).items()}
        self._of_split = lru_cache(maxsize=None)(self._select)

    def source(self, record: Record) -> MeshSource:
        """Say where the input of a record is now.

        Raises
        ------
        NotHere
            The dataset is not here, or no longer has this mesh.
        """
        sources = self._of_split(record.dataset, record.split)
        if isinstance(sources, str):
            raise NotHere(sources)
        source = sources.get(record.mesh)
        if source is None:
            raise NotHere(f"the input mesh is no longer in {record.dataset}/{record.split}")
        return source

    def _select(self, dataset: str, split: str) -> dict[str, MeshSource] | str:
        try:
            opened = open_dataset(self._folders.get(dataset, dataset), self._data)
            known = as_split(split)
            opened.require_split(known)
            selection = opened.select(known, self._data)
        except (BenchError, OSError) as error:
            return f"the input meshes are not here: {error}"
        return {source.mesh: replace(source, dataset=dataset) for source in selection.sources}


def load_unchanged(source: MeshSource, sha256: str | None) -> trimesh.Trimesh:
    """Load an input mesh, normalised as for the run.

    Raises
    ------
    NotHere
        It cannot be read, or does not have this hash.
    """
    try:
        loaded = load(source, cache_dir())
    except (BenchError, OSError) as error:
        raise NotHere(f"the input mesh cannot be read: {error}") from error
    if loaded.sha256 != sha256:
        raise NotHere("the input mesh is another one than when the run was made")
    return loaded.mesh


class Decoder:
    """Decodes kept streams in a worker; a codec that failed at a stream is not asked for that stream again.

    Parameters
    ----------
    run : Run
        With the streams.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._place = _places_in_sets(run)
        self._template: Template | None = None
        self._worker: Worker | None = None
        self._prepared: set[tuple[int | None, str]] = set()
        self._refused: dict[tuple[str, str], str] = {}
        # A set is decoded whole, and its meshes are asked for one by one.
        self._sets: dict[str, tuple[stages.MeshArrays, ...]] = {}

    def mesh(self, record: Record) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Vertices (V, 3), finite, and faces (F, 3), which point at them, of a record's decoded mesh.

        Raises
        ------
        NotHere
            The stream is gone or was changed, does not decode, or not to such a mesh.
        """
        codec, sha256 = split_address(record.codec, "codec")[0], record.stream_sha256 or ""
        if (codec, sha256) in self._refused:
            raise NotHere(self._refused[codec, sha256])
        try:
            meshes = self._sets.get(sha256) or self._decode(record, codec)
        except (BenchError, WorkerError, OSError) as error:
            self._refused[codec, sha256] = f"decoding it again failed: {error}"
            log.info("%s %s on %s: %s", record.codec, record.rate, record.mesh, error)
            raise NotHere(self._refused[codec, sha256]) from None
        place = self._place.get((sha256, record.mesh), 0) if record.kind == "set" else 0
        if place >= len(meshes):
            raise NotHere(f"decoding it again gave {len(meshes)} meshes, too few")
        arrays = meshes[place]
        vertices, faces = arrays.vertices.reshape(-1, 3), arrays.faces.reshape(-1, 3).astype(np.int64)
        if not np.isfinite(vertices).all():
            raise NotHere("the decoded mesh has coordinates that are not finite")
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise NotHere("the decoded mesh has faces that point at no vertex")
        return vertices, faces

    def _decode(self, record: Record, codec: str) -> tuple[stages.MeshArrays, ...]:
        assert record.stream_sha256 is not None
        stream = self._run.stream(record.stream_sha256)
        if self._worker is None:
            self._template = Template(1, ("gcbench.bench.run.stages", "trimesh"))
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
