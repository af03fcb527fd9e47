"""Load a mesh file as the normalised mesh that codecs get, with sizes and hashes; cached on disk."""

from __future__ import annotations

import json
import logging
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.anime import AnimeFile
from gcbench.datasets.base import MeshSource
from gcbench.datasets.mesh_bytes import MeshBytes
from gcbench.datasets.normalise import clean, content_sha256, normalise, obj_bytes, raw_bytes
from gcbench.errors import BadMesh, DatasetMissing
from gcbench.geometry.files import FileMesh, FileNotes, Polygons
from gcbench.geometry.files.polygons import refused

if TYPE_CHECKING:
    import trimesh

LOADER_VERSION = "3"  # part of the cache's path: raise it if the arrays of a file change
_log = logging.getLogger(__name__)
_CACHE_HEADER = struct.Struct("<8sQQ32sII")  # magic, vertices, faces, hash of both, bytes and CRC-32 of the notes
_CACHE_MAGIC = b"gcbmesh2"


@dataclass(frozen=True)
class LoadedMesh:
    """A benchmark mesh in its normalised form.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Bounding box centred at 0, longest side exactly [−1, 1]; vertices at equal positions merged, unused ones
        dropped; faces as in the file, with degenerate ones; polygons cut into triangles.
    sha256 : str
        Hash of the normalised positions and triangles: equal for equal meshes in any file format.
    source_sha256 : str
        Hash of the file as distributed; for an ``.anime`` frame, of the bytes that decide the frame.
    source_bytes : int
        Size of the file as distributed; for an ``.anime`` frame, its share of the file.
    obj_bytes : int
        Size of the normalised mesh as OBJ text with six decimals.
    raw_bytes : int
        12 V + 12 F.
    notes : FileNotes
        What the reader did: polygons cut, content left out, remarks.
    """

    mesh: trimesh.Trimesh
    sha256: str
    source_sha256: str
    source_bytes: int
    obj_bytes: int
    raw_bytes: int
    notes: FileNotes


def load(source: MeshSource, cache: Path | None = None, *, polygons: Polygons = "triangulate") -> LoadedMesh:
    """Read and normalise one mesh.

    Parameters
    ----------
    source : MeshSource
        The file, and the frame in it.
    cache : Path or None
        Folder for normalised meshes; None reads the file each time. A damaged entry is replaced.
    polygons : {"triangulate", "refuse"}
        What to do with a mesh that has faces of more than three corners.

    Raises
    ------
    BadMesh
        The file cannot be used as a benchmark mesh.
    DatasetMissing
        There is no such file.
    """
    try:
        return _load(source, cache, polygons)
    except BadMesh as error:
        frame = f", frame {source.frame}" if source.path.suffix.lower() == ".anime" else ""
        raise BadMesh(f"{source.mesh} ({source.path.name}{frame}): {error}") from error
    except FileNotFoundError:
        raise DatasetMissing(f"there is no file {source.path} (mesh {source.mesh} of {source.dataset})") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadMesh(f"{source.mesh} ({source.path.name}): cannot be read: {reason}") from error


def _load(source: MeshSource, cache: Path | None, polygons: Polygons) -> LoadedMesh:
    suffix = source.path.suffix.lower()
    if suffix == ".anime":
        frame = AnimeFile(source.path).frame(source.frame)
        source_sha256, source_bytes = frame.sha256, frame.share_bytes
    else:
        distributed = MeshBytes.of(source.path)
        source_sha256, source_bytes = distributed.sha256, distributed.size

    # The suffix is in the name, since it decides how the bytes are read.
    entry = cache and cache / "meshes" / LOADER_VERSION / f"{source_sha256}-{source.frame}-{suffix.lstrip('.')}"
    cached = _read_entry(entry) if entry else None
    if cached:
        vertices, faces, sha256, notes = cached
    else:
        as_read = FileMesh(frame.vertices, frame.faces) if suffix == ".anime" else distributed.read()
        notes = as_read.notes
        points, faces = clean(as_read.vertices, as_read.faces)
        vertices = normalise(points, faces)
        sha256 = content_sha256(vertices, faces)
        for remark in notes.remarks:
            _log.warning("%s: %s", source.path, remark)
        if entry:
            _write_entry(entry, vertices, faces, sha256, notes)
    if notes.polygons and polygons == "refuse":
        raise refused(notes.polygons)
    import trimesh

    return LoadedMesh(
        mesh=trimesh.Trimesh(vertices, faces, process=False),
        sha256=sha256,
        source_sha256=source_sha256,
        source_bytes=source_bytes,
        obj_bytes=obj_bytes(vertices, faces),
        raw_bytes=raw_bytes(vertices, faces),
        notes=notes,
    )


def _read_entry(entry: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], str, FileNotes] | None:
    """Read a cache entry (header, float64 positions, int64 triangles, notes); None if it is missing or damaged."""
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    if len(data) >= _CACHE_HEADER.size:
        magic, n_vertices, n_faces, digest, n_notes, checksum = _CACHE_HEADER.unpack_from(data)
        notes = data[len(data) - n_notes :]
        size = _CACHE_HEADER.size + 24 * (n_vertices + n_faces) + n_notes
        if magic == _CACHE_MAGIC and len(data) == size and zlib.crc32(notes) == checksum:
            vertices = np.frombuffer(data, "<f8", 3 * n_vertices, _CACHE_HEADER.size).reshape(-1, 3)
            faces = np.frombuffer(data, "<i8", 3 * n_faces, _CACHE_HEADER.size + 24 * n_vertices).reshape(-1, 3)
            if content_sha256(vertices, faces) == digest.hex():
                return vertices.astype(np.float64), faces.astype(np.int64), digest.hex(), _notes(notes)
    _log.warning("cache entry %s is damaged and is made again", entry)
    return None


def _notes(data: bytes) -> FileNotes:
    polygons, crossing, dropped, remarks = json.loads(data)
    return FileNotes(polygons, crossing, tuple(dropped), tuple(remarks))


def _write_entry(
    entry: Path, vertices: NDArray[np.float64], faces: NDArray[np.int64], sha256: str, notes: FileNotes
) -> None:
    """Write a cache entry in one step, so that no reader sees an incomplete one."""
    try:
        written = json.dumps([notes.polygons, notes.crossing, notes.dropped, notes.remarks]).encode()
        sizes = (len(vertices), len(faces), bytes.fromhex(sha256), len(written), zlib.crc32(written))
        entry.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".writing-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_CACHE_HEADER.pack(_CACHE_MAGIC, *sizes))
                file.write(np.ascontiguousarray(vertices, dtype="<f8").data)
                file.write(np.ascontiguousarray(faces, dtype="<i8").data)
                file.write(written)
            Path(temporary).replace(entry)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:  # a full or read-only cache only makes runs slower
        _log.warning("cannot write the mesh cache %s: %s", entry, error)
