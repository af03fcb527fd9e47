"""The envelope of every implicit codec's stream: whose it is, which version, how long, and whether it is whole.

    magic (4) · version (1) · CRC-32 of what follows (4) · body

Knows bytes only.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from gcbench.errors import BitstreamError

_HEAD = struct.Struct("<4sBI")


@dataclass(frozen=True)
class Envelope:
    """How a codec's streams begin.

    Parameters
    ----------
    magic : bytes
        Four of them.
    version : int
        Of what is in the body.
    """

    magic: bytes
    version: int

    def seal(self, body: bytes) -> bytes:
        """Put a body into an envelope."""
        return _HEAD.pack(self.magic, self.version, zlib.crc32(body)) + body

    def open(self, stream: bytes) -> bytes:
        """Take the body out.

        Raises
        ------
        BitstreamError
            The stream is short, foreign, of another version, or damaged.
        """
        if len(stream) < _HEAD.size:
            raise BitstreamError("the stream ends in its header")
        magic, version, checksum = _HEAD.unpack_from(stream)
        if magic != self.magic:
            raise BitstreamError(f"not a stream of {self.magic.decode()}")
        if version != self.version:
            raise BitstreamError(f"version {version} of {self.magic.decode()}, this is {self.version}")
        body = stream[_HEAD.size :]
        if zlib.crc32(body) != checksum:
            raise BitstreamError("the checksum is wrong: the stream is damaged")
        return body


def unpack(layout: struct.Struct, body: bytes, offset: int = 0) -> tuple[int, ...]:
    """Read fixed fields, or raise BitstreamError where the body is too short for them."""
    if len(body) < offset + layout.size:
        raise BitstreamError("the stream ends in its header")
    return layout.unpack_from(body, offset)
