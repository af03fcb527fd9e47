"""The stream of a cloud: which weights decode it, how many voxels there are, coordinates, features, a checksum.

Knows bytes and their layout; what is in the parts is the octree's and the features'.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from gcbench.codecs.pcgcv2.ladder import FINGERPRINT_BYTES
from gcbench.errors import BitstreamError

VERSION = 1
FEATURE_CODERS = ("tables", "mixed")
MAX_BLOCKS = 1 << 12
MAX_VOXELS = 1 << 28
_HEAD = struct.Struct(f"<B{FINGERPRINT_BYTES}sI")  # version, weights, CRC-32 of all that follows


@dataclass(frozen=True)
class Cloud:
    """What a stream holds.

    Layout: version (1 byte), fingerprint (4), CRC-32 of fingerprint and rest (4); then as LEB128 numbers the feature
    coder, the count of blocks, for each block its voxels at strides 4, 2 and 1, and the length of the coordinates; the
    coordinates; the features.

    Parameters
    ----------
    fingerprint : bytes
        Of the weights, four bytes.
    coder : int
        Index in `FEATURE_CODERS`.
    counts : tuple of three int each
        Voxels at strides 4, 2 and 1 of each block.
    coordinates : bytes
        Of the voxels at stride 8, as an octree.
    features : bytes
        Of all blocks.
    """

    fingerprint: bytes
    coder: int
    counts: tuple[tuple[int, int, int], ...]
    coordinates: bytes
    features: bytes

    def pack(self) -> bytes:
        """Write the stream."""
        numbers = [
            self.coder,
            len(self.counts),
            *(count for block in self.counts for count in block),
            len(self.coordinates),
        ]
        body = b"".join(map(_leb128, numbers)) + self.coordinates + self.features
        return _HEAD.pack(VERSION, self.fingerprint, zlib.crc32(self.fingerprint + body)) + body


def unpack(stream: bytes) -> Cloud:
    """Read a stream.

    Raises
    ------
    BitstreamError
        The stream is short, damaged, of another version, or declares what cannot be.
    """
    if len(stream) < _HEAD.size:
        raise BitstreamError("the stream ends in its header")
    version, fingerprint, checksum = _HEAD.unpack_from(stream)
    body = stream[_HEAD.size :]
    if version != VERSION:
        raise BitstreamError(f"the stream has version {version}, not {VERSION}")
    if zlib.crc32(fingerprint + body) != checksum:
        raise BitstreamError("the checksum is wrong")
    coder, position = _number(body, 0)
    if coder >= len(FEATURE_CODERS):
        raise BitstreamError(f"there is no feature coder {coder}")
    blocks, position = _number(body, position)
    if not 1 <= blocks <= min(MAX_BLOCKS, len(body) // 3):
        raise BitstreamError(f"{blocks} blocks are declared in {len(stream)} bytes")
    numbers = []
    for _ in range(3 * blocks + 1):
        number, position = _number(body, position)
        numbers.append(number)
    length = numbers.pop()
    if length > len(body) - position:
        raise BitstreamError(f"{length} bytes of coordinates are declared, {len(body) - position} are left")
    counts = tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    if sum(map(max, counts)) > MAX_VOXELS:
        raise BitstreamError(f"more than {MAX_VOXELS} voxels are declared")
    return Cloud(fingerprint, coder, counts, body[position : position + length], body[position + length :])


def _leb128(number: int) -> bytes:
    """Write a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """Read a LEB128 number below 2^35, and where the next thing starts."""
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            raise BitstreamError("the stream ends in its header")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise BitstreamError("a number in the header is too long")
