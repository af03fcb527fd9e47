"""Messages between a worker and its parent, and the check of everything that comes back. Knows no processes.

A message is a header and a payload. The header says the kind of message, the call that it belongs to, the length of
the payload and its CRC-32: a codec may write into any file descriptor, and what it wrote must not pass for an answer.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import select
import socket
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

MAGIC = b"gcb1"
_PART_BYTES = 1 << 20  # moved at once, between two looks at the worker
HEADER = struct.Struct("!4sBIQI")  # magic, kind, call, length of the payload, CRC-32 of the payload
# An answer is data. What its unpickling may look up are classes of these packages, and the functions that numpy's
# arrays are pickled with: a codec's own class would run the codec's code in the process that holds the results.
_DATA = frozenset({"collections", "datetime", "decimal", "fractions", "gcbench", "numpy", "pathlib"})
_DATA_BUILTINS = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "slice"}
    | {"str", "tuple"}
)


class BrokenMessage(Exception):
    """What came is not a message of ours, or not the answer that was waited for."""


class Kind(IntEnum):
    """What a message is: a call to the worker; from the worker what it says meanwhile, the value, or an error."""

    CALL = 0
    PROGRESS = 1  # UTF-8 text
    VALUE = 2  # pickled
    ERROR = 3  # JSON: [class of the exception, its text, its errno or null]


@dataclass(frozen=True)
class Message:
    """One message; ``call`` is the number of the call that it belongs to."""

    kind: Kind
    call: int
    payload: bytes


def header(kind: Kind, call: int, payload: bytes) -> bytes:
    """What goes before a payload."""
    return HEADER.pack(MAGIC, kind, call, len(payload), zlib.crc32(payload))


class Incoming:
    """Bytes as they come, and the messages that they make.

    Parameters
    ----------
    longest : int or None
        Bytes of the longest payload to wait for; None is any.
    """

    def __init__(self, longest: int | None = None) -> None:
        self._bytes = bytearray()
        self._longest = longest

    def __len__(self) -> int:
        return len(self._bytes)

    def feed(self, some: bytes) -> None:
        """Append what came."""
        self._bytes += some

    def take(self) -> Message | None:
        """Remove and return the first message; None while it is not complete.

        Raises
        ------
        BrokenMessage
            The bytes are not a message, or its payload was altered on the way.
        """
        start = bytes(self._bytes[: len(MAGIC)])
        if not MAGIC.startswith(start):
            raise BrokenMessage(f"bytes that are no message: {start!r}")
        if len(self._bytes) < HEADER.size:
            return None
        _, kind, call, length, checksum = HEADER.unpack_from(self._bytes)
        if kind not in {*Kind}:
            raise BrokenMessage(f"a message of an unknown kind, {kind}")
        if self._longest is not None and length > self._longest:
            raise BrokenMessage(f"a message that declares {length} bytes, more than there is memory")
        end = HEADER.size + length
        if len(self._bytes) < end:
            return None
        with memoryview(self._bytes) as view:
            payload = bytes(view[HEADER.size : end])
        del self._bytes[:end]
        if zlib.crc32(payload) != checksum:
            raise BrokenMessage("a message that was altered on the way")
        return Message(Kind(kind), call, payload)


class Exchange:
    """The parent's end of one call: sends and receives whatever the pipe takes and has, and never waits for longer.

    Parameters
    ----------
    pipe : socket.socket
        Not blocking.
    request : sequence of bytes
        What is to be sent.
    longest : int
        Bytes of the longest answer.
    """

    def __init__(self, pipe: socket.socket, request: Sequence[bytes], longest: int) -> None:
        self._pipe = pipe
        self._outgoing = [memoryview(part) for part in request if part]
        self._incoming = Incoming(longest)
        self._ready = select.poll()

    def move(self, wait_s: float) -> bool:
        """Wait for the pipe, then send and receive a part; whether something came.

        Raises
        ------
        OSError
            The other end is gone.
        """
        self._ready.register(self._pipe, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        events = sum(event for _, event in self._ready.poll(max(0.0, wait_s) * 1000))
        with contextlib.suppress(BlockingIOError):
            if self._outgoing and events & select.POLLOUT:
                sent = self._pipe.send(self._outgoing[0][:_PART_BYTES])
                self._outgoing[0] = self._outgoing[0][sent:]
                if not self._outgoing[0]:
                    del self._outgoing[0]
            if events & ~select.POLLOUT:  # bytes, or the end of them
                some = self._pipe.recv(_PART_BYTES)
                if not some:
                    raise ConnectionResetError
                self._incoming.feed(some)
                return True
        return False

    def take(self, call: int) -> Message | None:
        """Remove and return the first message of a call; None while it is not complete.

        Raises
        ------
        BrokenMessage
            What came is something else.
        """
        message = self._incoming.take()
        if message is None:
            return None
        if message.call != call or message.kind is Kind.CALL:
            raise BrokenMessage("an answer to something else")
        if message.kind is not Kind.PROGRESS and (self._outgoing or self._incoming):
            raise BrokenMessage("an answer, and bytes that do not belong to it")
        return message


def value_of(payload: bytes) -> Any:
    """Unpickle an answer without running code of a codec.

    Raises
    ------
    BrokenMessage
        It cannot be unpickled, or is not plain data.
    """
    try:
        return _DataUnpickler(io.BytesIO(payload)).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise BrokenMessage(f"an answer that cannot be read: {type(error).__name__}: {error}") from error


def error_of(payload: bytes) -> tuple[str, str, int | None]:
    """Class, text and errno of an exception.

    Raises
    ------
    BrokenMessage
        It is something else.
    """
    try:
        kind, message, errno = json.loads(payload)
    except (ValueError, TypeError, RecursionError):
        raise BrokenMessage("an error that cannot be read") from None
    if not isinstance(kind, str) or not isinstance(message, str) or not (errno is None or type(errno) is int):
        raise BrokenMessage("an error of another shape")
    return kind, message, errno


class _DataUnpickler(pickle.Unpickler):
    """Looks up classes of data only, and only in packages that a codec does not write."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in _DATA_BUILTINS:
            return super().find_class(module, name)
        if module.partition(".")[0] in _DATA:
            found = super().find_class(module, name)
            if isinstance(found, type) or getattr(found, "__name__", "") in {"_reconstruct", "_frombuffer", "scalar"}:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
