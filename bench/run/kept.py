"""Meshes of a finished run: originals, found in their datasets, and decoded meshes, decoded from the stored streams.

`bench measure`, `bench verify` and `bench report` find meshes here, and nowhere else. Decoding runs in a slot, as in a
run. `NotHere` says why a mesh is unavailable. Nothing here writes to the run.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench import plain_text
from gcbench.bench.plan.units import MeasurementUnit, PlannedMesh, SuiteId
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.failures import UnitFailure
from gcbench.bench.run.slot import Folders, Slot
from gcbench.bench.run.work import TaskLimits
from gcbench.bench.store.records import Record
from gcbench.bench.store.results import Results
from gcbench.datasets import DATASETS, MeshSource, cache_dir, data_root, load, open_dataset
from gcbench.datasets.base import as_split
from gcbench.datasets.regular import is_folder
from gcbench.errors import BenchError, DatasetMissing
from gcbench.registry import split_address

if TYPE_CHECKING:
    import trimesh

log = logging.getLogger(__name__)

DECODE_LIMIT_S = 300.0
_MOST_ENTRIES = 200_000  # of a folder that only the run names
_MEMORY_LIMIT_BYTES = 8 << 30


class NotHere(Exception):
    """A mesh of a run is unavailable; the text says why."""


class KeptInputs:
    """The original meshes of a run, found by dataset, split and name.

    Parameters
    ----------
    run : Results
        Its provenance has the paths of datasets that are folders.
    data : Path or None
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    folders : mapping, optional
        Dataset → new path, for folders that have moved.
    """

    def __init__(self, run: Results, data: Path | None = None, folders: Mapping[str, Path] | None = None) -> None:
        self._data = data_root(data)
        self._folders = {
            name: place for session in run.sessions() for name, place in (session.get("folders") or {}).items()
        }
        self._given = {name: str(place) for name, place in (folders or {}).items()}
        self._of_split = lru_cache(maxsize=None)(self._select)

    def source(self, record: Record) -> MeshSource:
        """The file of a record's original. Raises NotHere without the dataset or the mesh."""
        source = self.split(record.dataset, record.split).get(record.mesh)
        if source is None:
            raise NotHere(f"the input mesh is no longer in {record.dataset}/{record.split}")
        return source

    def split(self, dataset: str, split: str) -> Mapping[str, MeshSource]:
        """Mesh → file of one split of a dataset. Raises NotHere without the dataset."""
        sources = self._of_split(dataset, split)
        if isinstance(sources, str):
            raise NotHere(sources)
        return sources

    def _select(self, dataset: str, split: str) -> dict[str, MeshSource] | str:
        try:
            opened = open_dataset(self._place(dataset), self._data)
            known = as_split(split)
            opened.require_split(known)
            selection = opened.select(known, self._data)
        except (BenchError, OSError) as error:
            return f"the input meshes are not here: {error}"
        # A folder that has moved may have another name now.
        return {source.mesh: replace(source, dataset=dataset) for source in selection.sources}

    def _place(self, dataset: str) -> str:
        """What to open for a dataset of the run: what the user gave, else a known dataset, else where the run says.

        A run from a stranger may name any folder of this machine, so a folder that only the run names must be small,
        and is said. Raises DatasetMissing for other names.
        """
        if dataset in self._given:
            return self._given[dataset]
        if dataset.partition("[")[0] in DATASETS.names():
            return dataset
        cure = f"name their folder: --folder {dataset if dataset.isprintable() else 'NAME'}=FOLDER"
        named = self._folders.get(dataset)
        if named is None:
            parts = Path(dataset).parts
            if not parts or Path(dataset).is_absolute() or ".." in parts or parts[0].startswith("~"):
                raise DatasetMissing(f"the run calls them {dataset!r}, which is no name of a dataset", cure)
            named = str(self._data / dataset)
        folder = Path(named).expanduser().absolute()
        if not is_folder(folder):
            folder = Path(plain_text.path_of_name(named)).expanduser().absolute()  # as `open_dataset` does
        if _entries(folder) > _MOST_ENTRIES:
            raise DatasetMissing(f"the run says that they are in {folder}, which holds too many files to search", cure)
        if not any(known in (folder, *folder.parents) for known in (self._data.absolute(), Path.cwd())):
            log.warning("the run says that the meshes of %s are in %s; to look elsewhere, %s", dataset, folder, cure)
        return str(folder)


def _entries(folder: Path) -> int:
    """Files and folders in a folder, at any depth; the count ends over the limit."""
    seen: set[str] = set()
    count = 0
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (here := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(here)
        count += len(folders) + len(files)
        if count > _MOST_ENTRIES:
            break
    return count


def load_unchanged(source: MeshSource, sha256: str | None) -> trimesh.Trimesh:
    """Load a normalised original. Raises NotHere if it cannot be read or does not have this hash."""
    try:
        loaded = load(source, cache_dir())
    except (BenchError, OSError) as error:
        raise NotHere(f"the input mesh cannot be read: {error}") from error
    if loaded.sha256 != sha256:
        raise NotHere("the input mesh has changed since the run was made")
    return loaded.mesh


def measurement_of(record: Record, suites: Sequence[SuiteId], source: MeshSource | None = None) -> MeasurementUnit:
    """The measurement of a record's decoded mesh; without a source, the unit can be decoded but not measured."""
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
    """Measurements of the records whose coding succeeded; or a record and the reason why it cannot be measured.

    ``versions`` has the installed version of each codec address. A stream of another version is not decoded, since its
    mesh might differ from the recorded one.
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
            yield record, f"{record.codec} {record.codec_version} made the stream, installed is {here or 'none'}"
            continue
        try:
            source = inputs.source(record)
        except NotHere as error:
            yield record, str(error)
            continue
        yield measurement_of(record, applying, source)


class Decoder:
    """Decodes the streams of a run in a slot. A stream that failed is not decoded again."""

    def __init__(self, run: Results) -> None:
        self._run = run
        self._folders: Folders | None = None
        self._slot: Slot | None = None
        self._refused: dict[tuple[str, str], str] = {}
        self._spooled: dict[tuple[str, int], str] = {}

    def mesh(self, record: Record) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Vertices (V, 3) and faces (F, 3) of a record's decoded mesh; finite, and without dangling indices.

        Raises
        ------
        NotHere
            The stream is missing or was changed, does not decode, or decodes to no such mesh.
        """
        unit = measurement_of(record, ())
        if (unit.codec, unit.stream_sha256) in self._refused:
            raise NotHere(self._refused[unit.codec, unit.stream_sha256])
        try:
            arrays = self._arrays(unit, record.stream_size)
        except (BenchError, UnitFailure, OSError) as error:
            why = f"decoding the stream failed: {error}"
            self._refused[unit.codec, unit.stream_sha256] = why
            log.info("%s %s on %s: %s", record.codec, record.rate, record.mesh, error)
            raise NotHere(why) from None
        vertices, faces = arrays.vertices, arrays.faces
        if not np.isfinite(vertices).all():
            raise NotHere("the decoded mesh has coordinates that are not finite")
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise NotHere("the decoded mesh has faces with vertices that do not exist")
        return vertices, faces

    def _arrays(self, unit: MeasurementUnit, size: int | None) -> MeshArrays:
        if self._slot is None or self._folders is None:
            self._folders = Folders.temporary()
            self._slot = Slot(self._folders, TaskLimits(DECODE_LIMIT_S, _MEMORY_LIMIT_BYTES))
        spool = self._folders.spool
        # Decoding a whole set leaves its other meshes in the spool, under the hashes of the run.
        if unit.decoded_sha256 is not None and isinstance(found := spool.get(unit.decoded_sha256), MeshArrays):
            return found
        sha256 = self._slot.decode_again(unit, self._run.stream(unit.stream_sha256, size))
        decoded = spool.get(sha256)
        if not isinstance(decoded, MeshArrays):
            raise OSError("no room for the decoded mesh")
        return decoded

    def close(self) -> None:
        """End the workers and remove the decoded meshes."""
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
    """Records of some datasets, codec addresses and rate labels; an empty collection means all."""
    return [
        r
        for r in records
        if (not datasets or r.dataset in datasets)
        and (not codecs or r.codec in codecs)
        and (not rates or r.rate in rates)
    ]
