"""The bytes that meshes take in the page: what is kept, what is left, and what a mesh will take at least."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from gcbench.bench.store.records import Record

OVER_BUDGET = "over the size limit of the file (--max-mb)"
_ELEMENT_BYTES = 80  # markup around a blob
_BYTES_PER_FACE = 1.0  # of a face in base64, with distances: the least for a real mesh
_ENOUGH_FACES = 1000  # of a mesh to estimate sizes from: in smaller ones, the distances of the original dominate


class NotShown(Exception):
    """A case has no 3-D view; the text says why."""


class Blobs:
    """Base64 texts within a budget; equal bytes are stored once."""

    def __init__(self, budget_bytes: int) -> None:
        self.texts: list[str] = []
        self.left = budget_bytes
        self._index: dict[str, int] = {}

    def size(self, wanted: Sequence[bytes]) -> int:
        """Bytes that these blobs would add, in base64."""
        new = {name: blob for name, blob in _named(wanted).items() if name not in self._index}
        return sum(4 * ((len(blob) + 2) // 3) + _ELEMENT_BYTES for blob in new.values())

    def keep(self, wanted: Sequence[bytes]) -> list[int]:
        """Store all blobs or none, and return their indices. Raises NotShown if they do not fit."""
        size = self.size(wanted)
        if size > self.left:
            raise NotShown(OVER_BUDGET)
        self.left -= size
        for name, blob in _named(wanted).items():
            if name not in self._index:
                self._index[name] = len(self.texts)
                self.texts.append(base64.b64encode(blob).decode())
        return [self._index[_name(blob)] for blob in wanted]


def _named(blobs: Sequence[bytes]) -> dict[str, bytes]:
    return {_name(blob): blob for blob in blobs}


def _name(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


@dataclass
class Sizes:
    """Estimates sizes from earlier cases, so that a mesh that cannot fit is not decoded, which may take a minute."""

    least: float | None = None  # bytes of a face
    # Codec and rate → fewest faces of a decoded mesh, and fewest faces for each face of the original.
    decoded: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def faces(self, record: Record) -> float:
        """Lower estimate of the faces of a record's decoded mesh; 0 before the first of its codec and rate."""
        faces, for_each = self.decoded.get((record.codec, record.rate), (0.0, 0.0))
        return min(faces, for_each * input_faces(record))

    def expect(self, faces: float) -> float:
        """Lower estimate of the bytes of so many faces."""
        return faces * (_BYTES_PER_FACE if self.least is None else 0.9 * self.least)

    def learn(self, record: Record, decoded: int, faces: int, size_bytes: int) -> None:
        """Update the estimates: faces of the decoded mesh, faces in all blobs, and bytes of all blobs."""
        key, for_each = (record.codec, record.rate), decoded / max(1, input_faces(record))
        least = self.decoded.get(key, (decoded, for_each))
        self.decoded[key] = (min(least[0], decoded), min(least[1], for_each))
        if faces >= _ENOUGH_FACES:
            seen = size_bytes / faces
            self.least = seen if self.least is None else min(self.least, seen)


def input_faces(record: Record) -> int:
    """Faces of the original; 0 if unknown."""
    return record.faces or 0
