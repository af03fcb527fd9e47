"""The stream of a set of meshes: a head with the data that all meshes share, and one block for each mesh.

    magic (3) · format version (1) · CRC-32 (4) · length of the head · head · number of blocks · blocks
    block:  length of the body · CRC-32 (4) · body

Lengths and the number of blocks are LEB128. The first eight bytes have the format of every container; the checksum in
them covers magic, version and head. The checksum of a block starts from the head's checksum, then covers the block's
index (four bytes) and its body, so that a block in another block's place or behind another head fails the check. A
reader of one mesh skips the bodies of other meshes; adding a mesh changes neither the head nor a block. The number of
blocks needs no checksum: if the number is wrong, the blocks do not end where the stream ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gcbench.entropy import varints
from gcbench.entropy.budget import Work
from gcbench.entropy.container import CRC_BYTES, HEADER_BYTES, MARK_BYTES, Fields, Writer, crc
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from gcbench.entropy.budget import Budget
    from gcbench.entropy.container import Container

MOST_BLOCKS = 1 << 20


def pack(container: Container, head: bytes, bodies: Iterable[bytes]) -> bytes:
    """Make the stream of a set.

    Parameters
    ----------
    container : Container
    head : bytes
        Data that all meshes share.
    bodies : iterable of bytes
        One body for each mesh.
    """
    begin = container.pack(Writer().block(head).data())
    blocks = list(_framed(bodies, 0, _head_checksum(begin)))
    return b"".join([begin, varints.write(len(blocks)), *blocks])


class Blocks:
    """Reader of the stream of a set. The constructor checks the head and locates the blocks; `body` checks a block.

    Parameters
    ----------
    container : Container
    stream : bytes
    budget : Budget or None
        What decoding may take; None is the container's.

    Attributes
    ----------
    checksum : int
        CRC-32 of the head; adding meshes does not change it.
    work : Work
        What head and blocks declare together. It begins with the number of meshes.

    Raises
    ------
    BitstreamError
        The stream is too short or too long, of another codec or another version, or its head is damaged.
    """

    def __init__(self, container: Container, stream: bytes, budget: Budget | None = None) -> None:
        container.check_mark(stream)
        self.work = Work(budget or container.budget)
        fields = Fields(stream, HEADER_BYTES)
        self._stream = stream
        self._head = fields.block("head")
        self._head_end = fields.at
        container.check(stream, self._head_end)
        self.checksum = _head_checksum(stream)
        count = fields.number("number of meshes", 1, MOST_BLOCKS)
        if count * (1 + CRC_BYTES) > fields.left:
            raise BitstreamError(f"{count} meshes are declared in {fields.left} bytes")
        self.work.spend(meshes=count)
        self._first = fields.at
        self._places: list[tuple[int, int, int]] = []  # positions of the length, the checksum and the body's end
        for i in range(count):
            start = fields.at
            length = fields.number(f"length of mesh {i}")
            checksum_at = fields.at
            fields.raw(f"mesh {i}", CRC_BYTES + length)
            self._places.append((start, checksum_at, fields.at))
        fields.end()

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._places)

    def head(self) -> Fields:
        """A reader at the first field of the head."""
        return self._fields(self._head)

    def body(self, i: int) -> Fields:
        """A reader at the first field of block *i*; the method reads no other block.

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
        return self._fields(body)

    def _fields(self, data: bytes) -> Fields:
        fields = Fields(data)
        fields.work = self.work
        return fields

    def with_added(self, bodies: Iterable[bytes]) -> bytes:
        """Return the stream with more blocks at the end; the bytes of head and present blocks do not change."""
        added = list(_framed(bodies, len(self), self.checksum))
        count = varints.write(len(self) + len(added))
        return b"".join([self._stream[: self._head_end], count, self._stream[self._first :], *added])

    def layout(self) -> tuple[int, tuple[int, ...]]:
        """Number of bytes that all meshes share, and of each block; the sum is the length of the stream."""
        return self._first, tuple(end - start for start, _, end in self._places)


def resealed(stream: bytes) -> bytes:
    """The stream with the checksums that head and blocks should have, as far as their lengths can be read."""
    fields = Fields(stream, HEADER_BYTES)
    sealed = bytearray(stream)
    try:
        fields.block("head")
    except BitstreamError:
        fields.at = len(stream)
    head = stream[HEADER_BYTES : fields.at]
    sealed[MARK_BYTES:HEADER_BYTES] = crc(head, zlib.crc32(stream[:MARK_BYTES]))
    try:
        for i in range(fields.number("number of meshes")):
            body_bytes, at = fields.number("length"), fields.at
            body = fields.raw("mesh", CRC_BYTES + body_bytes)[CRC_BYTES:]
            sealed[at : at + CRC_BYTES] = _checksum(body, i, _head_checksum(sealed))
    except BitstreamError:  # the stream ends early
        pass
    return bytes(sealed)


def _head_checksum(stream: bytes | bytearray) -> int:
    return int.from_bytes(stream[HEADER_BYTES - CRC_BYTES : HEADER_BYTES], "little")


def _framed(bodies: Iterable[bytes], first: int, head_checksum: int) -> Iterator[bytes]:
    for i, body in enumerate(bodies, first):
        yield varints.write(len(body)) + _checksum(body, i, head_checksum) + body


def _checksum(body: bytes, i: int, head_checksum: int) -> bytes:
    return crc(body, zlib.crc32(i.to_bytes(4, "little"), head_checksum))
