"""The container of every stream that gcbench defines, and the bounded fields in it.

    magic of the codec (3 bytes) · format version (1) · CRC-32 of magic, version and body (4) · body

Numbers of several bytes are little-endian. The checksum finds damage but does not stop a malicious stream, so every
read of a field checks the field's bounds, and ``fields.work.spend(...)`` holds what the fields cost together against
the budget of the codec before a decoder spends memory or time, see :mod:`gcbench.entropy.budget`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gcbench.entropy import varints
from gcbench.entropy.budget import Budget, Work
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAGIC_BYTES, CRC_BYTES = 3, 4
MARK_BYTES = MAGIC_BYTES + 1  # magic and version
HEADER_BYTES = MARK_BYTES + CRC_BYTES

Option = TypeVar("Option")
_NAMES: dict[bytes, str] = {}  # magic → codec, for all containers made so far
_OF_BLOCKS: set[bytes] = set()  # magics of the containers whose body is a head and blocks


@dataclass(frozen=True)
class Container:
    """The container of one codec's streams.

    Parameters
    ----------
    magic : bytes
        Three bytes that no other codec uses.
    version : int
        Version of the body's format, 0 to 255.
    name : str
        Name of the codec, for error messages.
    budget : Budget
        What decoding one stream may take; a codec shows it as ``Codec.decode_budget``.
    of_blocks : bool
        Whether the body has checksums of its own, see :mod:`gcbench.entropy.blocks`.

    Raises
    ------
    ValueError
        Another codec has this magic, or the magic does not have three bytes.
    """

    magic: bytes
    version: int
    name: str
    budget: Budget = field(default_factory=Budget)
    of_blocks: bool = False

    def __post_init__(self) -> None:
        if len(self.magic) != MAGIC_BYTES:
            raise ValueError(f"the magic {self.magic!r} of {self.name} does not have {MAGIC_BYTES} bytes")
        if (other := _NAMES.setdefault(self.magic, self.name)) != self.name:
            raise ValueError(f"{self.name} has the magic {self.magic!r} of {other}")
        if self.of_blocks:
            _OF_BLOCKS.add(self.magic)

    def pack(self, body: bytes) -> bytes:
        """Put a body into the container."""
        mark = self.magic + bytes([self.version])
        return mark + crc(body, zlib.crc32(mark)) + body

    def open(self, stream: bytes) -> Fields:
        """Check a stream and return a reader of its body's fields.

        Raises
        ------
        BitstreamError
            The stream is too short, of another codec or another version, or damaged.
        """
        self.check(stream, len(stream))
        return Fields(stream, HEADER_BYTES, self.budget)

    def check(self, stream: bytes, end: int) -> None:
        """Check magic, version, and the checksum of the body up to position `end`; :meth:`open` uses the stream's end.

        Raises
        ------
        BitstreamError
            Same as :meth:`open`.
        """
        self.check_mark(stream)
        mark, body = stream[:MARK_BYTES], memoryview(stream)[HEADER_BYTES:end]
        if crc(body, zlib.crc32(mark)) != stream[MARK_BYTES:HEADER_BYTES]:
            raise BitstreamError(f"the checksum is wrong: the stream of {self.name} is damaged or cut short")

    def check_mark(self, stream: bytes) -> None:
        """Check length, magic and version, without the checksum.

        Raises
        ------
        BitstreamError
            The stream is too short, of another codec or another version.
        """
        if len(stream) < HEADER_BYTES:
            raise BitstreamError(f"{len(stream)} bytes are too short for a stream of {self.name}")
        magic, version = stream[:MAGIC_BYTES], stream[MAGIC_BYTES]
        if magic != self.magic:
            other = f" but of {_NAMES[magic]}" if magic in _NAMES else ""
            raise BitstreamError(f"this is not a stream of {self.name}{other}")
        if version != self.version:
            raise BitstreamError(
                f"the stream of {self.name} has format version {version}; this program reads version {self.version}"
            )


def resealed(stream: bytes) -> bytes | None:
    """The stream with the checksums that its contents should have; None if no container is known with its magic.

    Damaged streams are refused because of their checksum. A test that damages a stream and repairs the checksum sees
    whether the decoder defends itself.
    """
    if len(stream) < HEADER_BYTES or stream[:MAGIC_BYTES] not in _NAMES:
        return None
    if stream[:MAGIC_BYTES] in _OF_BLOCKS:
        from gcbench.entropy import blocks  # noqa: PLC0415 - blocks imports this module

        return blocks.resealed(stream)
    mark, body = stream[:MARK_BYTES], stream[HEADER_BYTES:]
    return mark + crc(body, zlib.crc32(mark)) + body


def crc(data: bytes | memoryview, start: int = 0) -> bytes:
    """CRC-32 of data as four bytes; ``start`` is the CRC-32 of the preceding data."""
    return zlib.crc32(data, start).to_bytes(CRC_BYTES, "little")


class Writer:
    """Writer of fields; :class:`Fields` has a method of the same name for each kind of field."""

    def __init__(self) -> None:
        self._data = bytearray()

    def data(self) -> bytes:
        """Bytes of all fields so far."""
        return bytes(self._data)

    def byte(self, *values: int) -> Writer:
        """Write integers of 0 to 255, one byte each."""
        return self.raw(bytes(values))

    def number(self, *values: int) -> Writer:
        """Write integers of 0 to 2^35 − 1 as LEB128."""
        return self.raw(varints.write(values))

    def choice(self, value: Option, options: Sequence[Option]) -> Writer:
        """Write the index of one of the options as a byte."""
        return self.byte(options.index(value))

    def floats(self, values: ArrayLike) -> Writer:
        """Write numbers as float32."""
        return self.raw(np.asarray(values, "<f4").tobytes())

    def block(self, data: bytes) -> Writer:
        """Write the length of some bytes, then the bytes."""
        return self.number(len(data)).raw(data)

    def raw(self, data: bytes) -> Writer:
        """Write bytes whose length the reader knows."""
        self._data += data
        return self


class Fields:
    """Reader of consecutive fields; a field outside its bounds raises a BitstreamError that names the field.

    Parameters
    ----------
    data : bytes
    at : int
        Position of the first field.
    budget : Budget, optional
        What decoding may take. ``work`` counts what the fields declare.
    """

    def __init__(self, data: bytes, at: int = 0, budget: Budget | None = None) -> None:
        self._data = data
        self.at = at
        self.work = Work(budget or Budget())

    @property
    def left(self) -> int:
        """Number of unread bytes."""
        return len(self._data) - self.at

    def byte(self, what: str, low: int = 0, high: int = 255) -> int:
        """Read an integer of one byte, in [low, high]."""
        return _bounded(what, self.raw(what, 1)[0], low, high)

    def number(self, what: str, low: int = 0, high: int = varints.LARGEST) -> int:
        """Read a LEB128 integer in its shortest form, in [low, high]."""
        value, self.at = varints.read(self._data, self.at, what)
        return _bounded(what, value, low, high)

    def choice(self, what: str, options: Sequence[Option]) -> Option:
        """Read one of the options."""
        return options[self.byte(what, 0, len(options) - 1)]

    def floats(self, what: str, count: int) -> NDArray[np.float32]:
        """Read finite float32 numbers: (count,)."""
        values = np.frombuffer(self.raw(what, 4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise BitstreamError(f"the {what} has a number that is not finite")
        return values

    def block(self, what: str, most: int = varints.LARGEST) -> bytes:
        """Read a length and as many bytes, at most `most`."""
        return self.raw(what, self.number(f"length of the {what}", 0, most))

    def raw(self, what: str, count: int) -> bytes:
        """Read `count` bytes."""
        if count > self.left:
            raise BitstreamError(f"the stream ends in its {what}: {count} bytes are declared, {self.left} are left")
        self.at += count
        return self._data[self.at - count : self.at]

    def rest(self) -> bytes:
        """Read all unread bytes."""
        return self.raw("body", self.left)

    def end(self) -> None:
        """Refuse bytes after the last field."""
        if self.left:
            raise BitstreamError(f"{self.left} bytes follow the last field of the stream")


def _bounded(what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise BitstreamError(f"the {what} is {value}, which is not in {low}…{high}")
    return value
