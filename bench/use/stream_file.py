"""The file that `bench encode` writes: the stream of a codec behind a header that says how to decode it.

    container GCF · codec name · version of the codec · address · rate · number of meshes
    for each mesh: name · centre and half of the longest side (4 float64) · first 8 bytes of the decoded mesh's hash
    stream of the codec

Texts are a length and UTF-8. The hash is that of the spool (`bench.run.arrays`): a decoder of another version decodes
the file only if the meshes are the same.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

from gcbench.datasets.placement import Placement
from gcbench.entropy.container import Container, Fields, Writer
from gcbench.errors import BitstreamError

SUFFIX = ".gcb"
HASH_BYTES = 8

_CONTAINER = Container(b"GCF", 1, "bench encode")
_MOST_MESHES = 1 << 20
_MOST_NAME, _MOST_VERSION = 200, 1000  # bytes
_PLACEMENT = struct.Struct("<4d")
_CODEC = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\]")


@dataclass(frozen=True)
class CodedMesh:
    """One mesh of a stream file.

    Parameters
    ----------
    name : str
        Name of the mesh's file, without folders and suffix.
    placement : Placement
        Where the mesh was before it was normalised.
    decoded_hash : bytes
        First 8 bytes of the hash of the decoded mesh.
    """

    name: str
    placement: Placement
    decoded_hash: bytes


@dataclass(frozen=True)
class StreamFile:
    """A stream, and what is needed to decode it.

    Parameters
    ----------
    codec : str
        Name without parameters: what decodes the stream.
    codec_version : str
        Version of the codec that encoded.
    address, rate : str
        How the stream was made; for people.
    meshes : tuple of CodedMesh
        In the order of the stream.
    stream : bytes
        From the codec.
    """

    codec: str
    codec_version: str
    address: str
    rate: str
    meshes: tuple[CodedMesh, ...]
    stream: bytes

    def pack(self) -> bytes:
        """The bytes of the file."""
        out = Writer()
        for text in (self.codec, self.codec_version, self.address, self.rate):
            out.block(text.encode())
        out.number(len(self.meshes))
        for mesh in self.meshes:
            out.block(mesh.name.encode()).raw(_PLACEMENT.pack(*mesh.placement.centre, mesh.placement.half_side))
            out.raw(mesh.decoded_hash)
        return _CONTAINER.pack(out.raw(self.stream).data())


def unpack(data: bytes) -> StreamFile:
    """Inverse of :meth:`StreamFile.pack`.

    Raises
    ------
    BitstreamError
        The bytes are not such a file, are damaged, or a field is out of its bounds.
    """
    fields = _CONTAINER.open(data)
    codec = _text(fields, "codec's name", _MOST_NAME)
    if not _CODEC.fullmatch(codec):
        raise BitstreamError(f"'{codec}' is not the name of a codec")
    version = _text(fields, "codec's version", _MOST_VERSION)
    address = _text(fields, "codec's address", _MOST_NAME)
    rate = _text(fields, "rate", _MOST_NAME)
    count = fields.number("number of meshes", 1, _MOST_MESHES)
    meshes = tuple(_mesh(fields) for _ in range(count))
    return StreamFile(codec, version, address, rate, meshes, fields.rest())


def is_name(name: str) -> bool:
    """Whether a text can be the name of a mesh, and so of a file: no folders, no control characters."""
    return 0 < len(name.encode()) <= _MOST_NAME and name[0] != "." and not _FORBIDDEN.search(name)


def file_stem(mesh: str, address: str, rate: str) -> str:
    """Name of a file without suffix: ``bunny.necgs-design-sparse.k64`` for ``necgs[design=sparse]``."""
    return ".".join(re.sub(r"[^\w.-]+", "-", part).strip("-") for part in (mesh, address, rate))


def _mesh(fields: Fields) -> CodedMesh:
    name = _text(fields, "name of a mesh", _MOST_NAME)
    if not is_name(name):
        raise BitstreamError(f"{name!r} cannot be the name of a file")
    *centre, half_side = _PLACEMENT.unpack(fields.raw("place of a mesh", _PLACEMENT.size))
    if not all(map(math.isfinite, centre)) or not 0 < half_side < math.inf:
        raise BitstreamError(f"the place of the mesh {name} is not finite")
    x, y, z = centre
    return CodedMesh(name, Placement((x, y, z), half_side), fields.raw("hash of a mesh", HASH_BYTES))


def _text(fields: Fields, what: str, most: int) -> str:
    try:
        text = fields.block(what, most).decode()
    except UnicodeDecodeError:
        raise BitstreamError(f"the {what} is not UTF-8") from None
    if not text.isprintable():
        raise BitstreamError(f"the {what} has characters that cannot be printed")
    return text
