"""Decode stream files, and the kept streams of runs, into meshes; in a slot that can be killed, as in a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.bench.plan.units import MeasurementUnit, PlannedMesh
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.failures import UnitFailure
from gcbench.bench.run.kept import KeptInputs, NotHere
from gcbench.bench.run.slot import Slot
from gcbench.bench.store.records import Record
from gcbench.bench.store.results import Results
from gcbench.bench.use.stream_file import HASH_BYTES, CodedMesh, StreamFile, unpack
from gcbench.codecs import CODECS
from gcbench.datasets import MeshSource
from gcbench.datasets.placement import Placement, placement_of
from gcbench.errors import BadMesh, BenchError, BitstreamError, CodecUnavailable, StoreError, UsageError


@dataclass(frozen=True)
class DecodedMesh:
    """A decoded mesh: normalised ``vertices`` (V, 3), ``faces`` (F, 3), and where the mesh was before."""

    name: str
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    placement: Placement


def read_stream_file(path: Path) -> StreamFile:
    """Read a file that `bench encode` wrote.

    Raises
    ------
    BitstreamError
        The file is something else, or is damaged.
    """
    try:
        return unpack(path.read_bytes())
    except OSError as error:
        raise BitstreamError(f"{path} cannot be read: {error.strerror or error}") from error
    except BitstreamError as error:
        raise BitstreamError(f"{path}: {error}") from error


def kept_stream(run: Results, record: Record, inputs: KeptInputs) -> tuple[StreamFile, str]:
    """The kept stream of a record as a stream file with one mesh, and what is missing to place the mesh, if anything.

    Raises
    ------
    StoreError
        The record has no stream, or the stream is not in the run.
    """
    if record.stream_sha256 is None or record.decoded_sha256 is None:
        raise StoreError(f"{record.codec} {record.rate} on {record.mesh} has no decoded mesh: {record.error}")
    placement, missing = Placement(), ""
    try:
        placement = placement_of(inputs.source(record))
    except (NotHere, BadMesh) as error:
        missing = str(error)
    name = record.mesh.replace("/", "_")
    mesh = CodedMesh(name, placement, bytes.fromhex(record.decoded_sha256)[:HASH_BYTES])
    codec = record.codec.partition("[")[0]
    stream = run.stream(record.stream_sha256, record.stream_size)
    return StreamFile(codec, record.codec_version, record.codec, record.rate, (mesh,), stream), missing


class FileDecoder:
    """Decodes stream files in a slot.

    Parameters
    ----------
    slot : Slot
    device : str
        ``cpu`` or ``cuda``.
    """

    def __init__(self, slot: Slot, device: str = "cpu") -> None:
        self._slot = slot
        self._device = device

    def meshes(self, file: StreamFile, only: Sequence[str] = (), *, first: int = 0) -> Iterator[DecodedMesh]:
        """Decode the meshes of a file, or only those of some names.

        Parameters
        ----------
        first : int
            Place of the file's first mesh in the stream; above 0 for one mesh of a set in a run.

        Raises
        ------
        UsageError
            There is no mesh of such a name.
        CodecUnavailable
            The codec is not installed or cannot run here, or is of another version that decodes other meshes.
        BitstreamError
            The stream does not decode.
        """
        known = [mesh.name for mesh in file.meshes]
        if unknown := [name for name in only if name not in known]:
            raise UsageError(f"no mesh '{unknown[0]}' in the file; there are: {', '.join(known)}")
        here, kind = _installed(file)
        for place, mesh in enumerate(file.meshes):
            if only and mesh.name not in only:
                continue
            arrays, sha256 = self._decoded(file, mesh, first + place, kind)
            if here != file.codec_version and not sha256.startswith(mesh.decoded_hash.hex()):
                raise CodecUnavailable(
                    f"{file.codec} {file.codec_version} wrote the stream; the installed version {here} decodes another "
                    "mesh",
                    "install the version of gcbench, and of the packages, that wrote the stream",
                )
            yield DecodedMesh(mesh.name, arrays.vertices, arrays.faces, mesh.placement)

    def _decoded(self, file: StreamFile, mesh: CodedMesh, place: int, kind: str) -> tuple[MeshArrays, str]:
        unit = MeasurementUnit(
            codec=file.codec,
            decoder_version=file.codec_version,
            kind=kind,
            stream_sha256=hashlib.sha256(file.stream).hexdigest(),
            place=place,
            mesh=PlannedMesh(MeshSource("", "", Path())),
            suites=(),
            seed=0,
            device=self._device,
        )
        spool = self._slot.folders.spool
        # Decoding a whole set has left its other meshes in the spool.
        found = next((path.name for path in spool.path.glob(f"{mesh.decoded_hash.hex()}*")), None)
        try:
            sha256 = found or self._slot.decode_again(unit, file.stream)
        except UnitFailure as failure:
            raise BitstreamError(f"the stream of {file.codec} does not decode: {failure.error}") from None
        arrays = spool.get(sha256)
        if not isinstance(arrays, MeshArrays):
            raise StoreError(f"no room for the decoded mesh in {spool.path}")
        vertices, faces = arrays.vertices, arrays.faces
        if not len(faces):
            raise BitstreamError("the decoded mesh has no faces")
        if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
            raise BitstreamError("the decoded mesh has vertices that do not exist or are not finite")
        return arrays, sha256


def _installed(file: StreamFile) -> tuple[str, str]:
    """Version and kind of the installed codec of a file. Raises CodecUnavailable without it."""
    if file.codec not in CODECS.names():
        raise CodecUnavailable(
            f"the codec '{file.codec}' that wrote the stream is not installed", "install its package"
        )
    try:
        codec = CODECS.create(file.codec)
        available = codec.availability()
    except BenchError as error:
        raise CodecUnavailable(f"the codec '{file.codec}' of the stream cannot be made: {error}") from error
    if not available.ok:
        raise CodecUnavailable(f"codec '{file.codec}' cannot run here: {available.reason}", available.remedy)
    return codec.version(), codec.kind
