"""The stream of a set: a head that serves all meshes, and one block for each mesh.

    magic (3) · format version (1) · CRC-32 (4) · length of the head · head · number of blocks · blocks
    block:  length of the body · CRC-32 (4) · body

Lengths and the number of blocks are LEB128. The first eight bytes are those of every container; their checksum covers
magic, version and head. The checksum of a block starts from the head's checksum, then covers the block's index (four
bytes) and its body: a block in another block's place, or behind another head, does not pass. So one mesh is read
without a look at the bodies of others, and meshes are added without a change to the head or to a block. A wrong number
of blocks shows without a checksum: blocks then end before the stream does, or after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gcbench.entropy import varints
from gcbench.entropy.container import CRC_BYTES, HEADER_BYTES, Fields, Writer, crc
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from gcbench.entropy.container import Container

MOST_BLOCKS = 1 << 20


def pack(container: Container, head: bytes, bodies: Iterable[bytes]) -> bytes:
    """Make the stream of a set.

    Parameters
    ----------
    container : Container
    head : bytes
        What serves all meshes.
    bodies : iterable of bytes
        One for each mesh.
    """
    begin = container.pack(Writer().block(head).data())
    blocks = list(_framed(bodies, 0, _head_checksum(begin)))
    return b"".join([begin, varints.write(len(blocks)), *blocks])


class Blocks:
    """A stream of a set: its head is checked and the places of its blocks are known; a block is checked when read.

    Parameters
    ----------
    container : Container
    stream : bytes

    Attributes
    ----------
    checksum : int
        CRC-32 of the head: the same after meshes were added.

    Raises
    ------
    BitstreamError
        The stream is too short or too long, of another codec or another version, or its head is damaged.
    """

    def __init__(self, container: Container, stream: bytes) -> None:
        container.check_mark(stream)
        fields = Fields(stream, HEADER_BYTES)
        self._stream = stream
        self._head = fields.block("head")
        self._head_end = fields.at
        container.check(stream, self._head_end)
        self.checksum = _head_checksum(stream)
        count = fields.number("number of meshes", 1, MOST_BLOCKS)
        if count * (1 + CRC_BYTES) > fields.left:
            raise BitstreamError(f"{count} meshes are declared in {fields.left} bytes")
        self._first = fields.at
        self._places: list[tuple[int, int, int]] = []  # of length, checksum, and the end of the body
        for i in range(count):
            start = fields.at
            length = fields.number(f"length of mesh {i}")
            checksum_at = fields.at
            fields.raw(f"mesh {i}", CRC_BYTES + length)
            self._places.append((start, checksum_at, fields.at))
        fields.end()

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._places)

    def head(self) -> Fields:
        """Fields of the head, from the first."""
        return Fields(self._head)

    def body(self, i: int) -> Fields:
        """Fields of block *i*, from the first; no other block is looked at.

        Raises
        ------
        IndexError
            There is no block *i*.
        BitstreamError
            The block is damaged.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"mesh {i} of {len(self)}")
        _, at, end = self._places[i]
        body = self._stream[at + CRC_BYTES : end]
        if _checksum(body, i, self.checksum) != self._stream[at : at + CRC_BYTES]:
            raise BitstreamError(f"the checksum of mesh {i} is wrong")
        return Fields(body)

    def with_added(self, bodies: Iterable[bytes]) -> bytes:
        """Make the stream with more blocks behind these; head and blocks stay as they are, byte for byte."""
        added = list(_framed(bodies, len(self), self.checksum))
        count = varints.write(len(self) + len(added))
        return b"".join([self._stream[: self._head_end], count, self._stream[self._first :], *added])

    def layout(self) -> tuple[int, tuple[int, ...]]:
        """Bytes that serve all meshes, and the bytes of each block; they sum to the length of the stream."""
        return self._first, tuple(end - start for start, _, end in self._places)


def _head_checksum(stream: bytes) -> int:
    return int.from_bytes(stream[HEADER_BYTES - CRC_BYTES : HEADER_BYTES], "little")


def _framed(bodies: Iterable[bytes], first: int, head_checksum: int) -> Iterator[bytes]:
    for i, body in enumerate(bodies, first):
        yield varints.write(len(body)) + _checksum(body, i, head_checksum) + body


def _checksum(body: bytes, i: int, head_checksum: int) -> bytes:
    return crc(body, zlib.crc32(i.to_bytes(4, "little"), head_checksum))
