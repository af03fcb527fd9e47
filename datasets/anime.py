"""Read DeformingThings4D ``.anime`` animations one frame at a time from a memory map.

Format: little-endian, no magic; ``int32 n_frames, n_vertices, n_faces``, then ``float32 (n_vertices, 3)`` positions of
frame 0, ``int32 (n_faces, 3)`` triangles, ``float32 (n_frames − 1, n_vertices, 3)`` offsets *from frame 0*.

Source: the format description of github.com/rabbityl/DeformingThings4D.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.regular import open_regular
from gcbench.errors import BadMesh

_HEADER_BYTES = 12


@dataclass(frozen=True)
class AnimeFrame:
    """One frame of an animation.

    Parameters
    ----------
    vertices : (n, 3) float64
        Frame 0 plus the offset of this frame, added in float64.
    faces : (m, 3) int64
        Triangles, the same in every frame.
    sha256 : str
        Hash of the bytes that decide this frame: header, frame 0, triangles, offset. The whole file can be hundreds of
        megabytes.
    share_bytes : int
        Share of this frame in the file: its 12 n bytes and an equal part of header and triangles, rounded so that the
        shares of all frames add up to the size of the file.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    sha256: str
    share_bytes: int


class AnimeFile:
    """An ``.anime`` file. Raises BadMesh if the header is impossible or does not fit the size of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            raise BadMesh(f"{size} bytes are too short for an .anime file")
        counts: tuple[int, int, int] = struct.unpack("<3i", header)
        self.n_frames, self.n_vertices, self.n_faces = counts
        if min(self.n_frames, self.n_vertices, self.n_faces) < 1:
            raise BadMesh(
                f"declares {self.n_frames} frames, {self.n_vertices} vertices and {self.n_faces} faces: "
                "not an .anime file"
            )
        expected = _HEADER_BYTES + 12 * (self.n_frames * self.n_vertices + self.n_faces)
        if size != expected:
            raise BadMesh(f"has {size} bytes, but its header declares {expected}: cut off, or not an .anime file")

    def frame(self, number: int) -> AnimeFrame:
        """Read one frame, without the rest of the file. Raises BadMesh if there is no such frame."""
        if not 0 <= number < self.n_frames:
            raise BadMesh(f"has no frame {number}; its frames are 0 to {self.n_frames - 1}")
        rest = self._map("<f4", self._offset_of(0), self.n_vertices)
        faces = self._map("<i4", _HEADER_BYTES + 12 * self.n_vertices, self.n_faces)
        digest = hashlib.sha256(struct.pack("<3i", self.n_frames, self.n_vertices, self.n_faces))
        digest.update(np.ascontiguousarray(rest).data)
        digest.update(np.ascontiguousarray(faces).data)
        with np.errstate(invalid="ignore"):  # NaN and infinities are refused later, with a message
            vertices = rest.astype(np.float64)
            if number:
                offset = self._map("<f4", self._offset_of(number), self.n_vertices)
                digest.update(np.ascontiguousarray(offset).data)
                vertices += offset
        shared = _HEADER_BYTES + 12 * self.n_faces
        share = (number + 1) * shared // self.n_frames - number * shared // self.n_frames
        return AnimeFrame(vertices, faces.astype(np.int64), digest.hexdigest(), 12 * self.n_vertices + share)

    def check(self) -> None:
        """Read the whole file. Raises BadMesh for an index out of range, or a position that is not finite."""
        faces = self._map("<i4", _HEADER_BYTES + 12 * self.n_vertices, self.n_faces)
        if faces.min() < 0 or faces.max() >= self.n_vertices:
            raise BadMesh(f"a face has an index outside the {self.n_vertices} vertices")
        for number in range(self.n_frames):
            if not np.isfinite(self._map("<f4", self._offset_of(number), self.n_vertices)).all():
                raise BadMesh(f"frame {number} has positions that are NaN or infinite")

    def _offset_of(self, frame: int) -> int:
        if frame == 0:
            return _HEADER_BYTES
        return _HEADER_BYTES + 12 * (frame * self.n_vertices + self.n_faces)

    def _map(self, kind: str, offset: int, rows: int) -> NDArray[Any]:
        return np.memmap(self.path, dtype=kind, mode="r", offset=offset, shape=(rows, 3))
