"""What a run kept, made available again: input meshes from their datasets, decoded meshes from the kept streams.

Codecs run in a worker that can be killed, as in a run, and get bytes alone. Whatever is gone, was changed or does not
decode is one exception with the reason as text. Nothing here writes to the run.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.bench.plan.units import MeasurementUnit, PlannedMesh, SuiteId
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.failures import UnitFailure
from gcbench.bench.run.slot import Folders, Slot
from gcbench.bench.run.work import Limit
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
        source = self.split(record.dataset, record.split).get(record.mesh)
        if source is None:
            raise NotHere(f"the input mesh is no longer in {record.dataset}/{record.split}")
        return source

    def split(self, dataset: str, split: str) -> Mapping[str, MeshSource]:
        """Mesh → file of one split of a dataset.

        Raises
        ------
        NotHere
            The dataset is not here.
        """
        sources = self._of_split(dataset, split)
        if isinstance(sources, str):
            raise NotHere(sources)
        return sources

    def _select(self, dataset: str, split: str) -> dict[str, MeshSource] | str:
        try:
            opened = open_dataset(self._folders.get(dataset, dataset), self._data)
            known = as_split(split)
            opened.require_split(known)
            selection = opened.select(known, self._data)
        except (BenchError, OSError) as error:
            return f"the input meshes are not here: {error}"
        # A folder may have another name now than it had then.
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


def measurement_of(record: Record, suites: Sequence[SuiteId], source: MeshSource | None = None) -> MeasurementUnit:
    """The measurement of a record's decoded mesh; without a source it can be decoded and not measured."""
    assert record.stream_sha256 is not None, "a record without a stream cannot be measured"
    mesh = PlannedMesh(
        source or MeshSource(record.dataset, record.mesh, Path()),
        record.input_sha256 or "",
        record.vertices or 0,
        record.faces or 0,
        record.obj_bytes or 0,
        record.raw_bytes or 0,
        record.source_bytes or 0,
    )
    return MeasurementUnit(
        codec=split_address(record.codec, "codec")[0],
        decoder_version=record.codec_version,
        kind=record.kind,
        stream_sha256=record.stream_sha256,
        place=record.stream_place,
        mesh=mesh,
        suites=tuple(suites),
        seed=record.seed,
        device=record.device,
        decoded_sha256=record.decoded_sha256,
    )


def to_measure(
    records: Iterable[Record], suites: Sequence[SuiteId], inputs: KeptInputs, versions: Mapping[str, str]
) -> Iterator[MeasurementUnit | tuple[Record, str]]:
    """Measurements of the records whose coding succeeded; or a record and why it cannot be measured.

    Parameters
    ----------
    records : iterable of Record
        Of quality passes.
    suites : sequence of SuiteId
        What to measure.
    inputs : KeptInputs
        Where the originals are.
    versions : mapping
        Codec address → its version here. A stream that another version made is not decoded: what came out might be
        another mesh than the one that was recorded.
    """
    from gcbench.bench.run.outstanding import applies

    for record in records:
        if record.timing or record.stream_sha256 is None or record.decode is None:
            continue
        applying = [suite for suite in suites if applies(suite.name, record.codec)]
        if not applying:
            continue
        here = versions.get(record.codec, "")
        if here != record.codec_version:
            yield record, f"version {record.codec_version} of {record.codec} made it, here is {here or 'none'}"
            continue
        try:
            source = inputs.source(record)
        except NotHere as error:
            yield record, str(error)
            continue
        yield measurement_of(record, applying, source)


class Decoder:
    """Decodes kept streams in a slot; a codec that failed at a stream is not asked for that stream again.

    Parameters
    ----------
    run : Run
        With the streams.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folders: Folders | None = None
        self._slot: Slot | None = None
        self._refused: dict[tuple[str, str], str] = {}
        self._spooled: dict[tuple[str, int], str] = {}

    def mesh(self, record: Record) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Vertices (V, 3), finite, and faces (F, 3), which point at them, of a record's decoded mesh.

        Raises
        ------
        NotHere
            The stream is gone or was changed, does not decode, or not to such a mesh.
        """
        unit = measurement_of(record, ())
        if (unit.codec, unit.stream_sha256) in self._refused:
            raise NotHere(self._refused[unit.codec, unit.stream_sha256])
        try:
            arrays = self._arrays(unit)
        except (BenchError, UnitFailure, OSError) as error:
            why = f"decoding it again failed: {error}"
            self._refused[unit.codec, unit.stream_sha256] = why
            log.info("%s %s on %s: %s", record.codec, record.rate, record.mesh, error)
            raise NotHere(why) from None
        vertices, faces = arrays.vertices, arrays.faces
        if not np.isfinite(vertices).all():
            raise NotHere("the decoded mesh has coordinates that are not finite")
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise NotHere("the decoded mesh has faces that point at no vertex")
        return vertices, faces

    def _arrays(self, unit: MeasurementUnit) -> MeshArrays:
        if self._slot is None or self._folders is None:
            self._folders = Folders.temporary()
            self._slot = Slot(self._folders, Limit(DECODE_LIMIT_S, _MEMORY_LIMIT_BYTES))
        spool = self._folders.spool
        # A set that is decoded whole leaves its other meshes in the spool under the hashes of the run.
        if unit.decoded_sha256 is not None and isinstance(found := spool.get(unit.decoded_sha256), MeshArrays):
            return found
        sha256 = self._slot.decode_again(unit, self._run.stream(unit.stream_sha256))
        decoded = spool.get(sha256)
        if not isinstance(decoded, MeshArrays):
            raise OSError("no room for the decoded mesh")
        return decoded

    def close(self) -> None:
        """End the worker and remove what was decoded."""
        if self._slot is not None:
            self._slot.close()
        if self._folders is not None:
            shutil.rmtree(self._folders.scratch, ignore_errors=True)


def chosen(
    records: Iterable[Record],
    *,
    datasets: Collection[str] = (),
    codecs: Collection[str] = (),
    rates: Collection[str] = (),
) -> list[Record]:
    """Records of these datasets, codec addresses and rate labels; an empty collection chooses all."""
    return [
        r
        for r in records
        if (not datasets or r.dataset in datasets)
        and (not codecs or r.codec in codecs)
        and (not rates or r.rate in rates)
    ]
