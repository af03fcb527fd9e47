"""Messages between a worker and its parent, with checks of everything that a worker sends.

A message is a header and a payload. The header has the kind of the message, the number of the call, and the length and
CRC-32 of the payload: a codec may write into any file descriptor, and its bytes must not pass for an answer.
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
_PART_BYTES = 1 << 20  # sent or received at once, between two looks at the worker
HEADER = struct.Struct("!4sBIQI")  # magic, kind, call, length of the payload, CRC-32 of the payload
# Unpickling an answer may only look up classes of these packages, and the functions that numpy pickles arrays with. A
# class of a codec would run the codec's code in the process that holds the results.
_DATA = frozenset({"collections", "datetime", "decimal", "fractions", "gcbench", "numpy", "pathlib"})
_DATA_BUILTINS = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "slice"}
    | {"str", "tuple"}
)


class BrokenMessage(Exception):
    """The bytes are not a message, or not the answer to this call."""


class Kind(IntEnum):
    """Kind of a message: CALL goes to the worker, the others come from it."""

    CALL = 0
    PROGRESS = 1  # UTF-8 text
    VALUE = 2  # pickled
    ERROR = 3  # JSON: [class of the exception, its text, its errno or null]


@dataclass(frozen=True)
class Message:
    """One message of the call with the number ``call``."""

    kind: Kind
    call: int
    payload: bytes


def header(kind: Kind, call: int, payload: bytes) -> bytes:
    """The header of a payload."""
    return HEADER.pack(MAGIC, kind, call, len(payload), zlib.crc32(payload))


class Incoming:
    """Received bytes, and the messages in them; ``longest`` is the size of the largest payload to accept."""

    def __init__(self, longest: int | None = None) -> None:
        self._bytes = bytearray()
        self._longest = longest

    def __len__(self) -> int:
        return len(self._bytes)

    def feed(self, some: bytes) -> None:
        """Append received bytes."""
        self._bytes += some

    def take(self) -> Message | None:
        """Remove and return the first message; None while it is incomplete. Raises BrokenMessage for other bytes."""
        start = bytes(self._bytes[: len(MAGIC)])
        if not MAGIC.startswith(start):
            raise BrokenMessage(f"bytes that are not a message: {start!r}")
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
    """The parent's end of one call over a non-blocking ``pipe``; an answer has at most ``longest`` bytes."""

    def __init__(self, pipe: socket.socket, request: Sequence[bytes], longest: int) -> None:
        self._pipe = pipe
        self._outgoing = [memoryview(part) for part in request if part]
        self._incoming = Incoming(longest)
        self._ready = select.poll()

    def move(self, wait_s: float) -> bool:
        """Wait for the pipe, send and receive a part, and return whether bytes came. Raises OSError at its end."""
        self._ready.register(self._pipe, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        events = sum(event for _, event in self._ready.poll(max(0.0, wait_s) * 1000))
        with contextlib.suppress(BlockingIOError):
            if self._outgoing and events & select.POLLOUT:
                sent = self._pipe.send(self._outgoing[0][:_PART_BYTES])
                self._outgoing[0] = self._outgoing[0][sent:]
                if not self._outgoing[0]:
                    del self._outgoing[0]
            if events & ~select.POLLOUT:  # bytes, or the end of the stream
                some = self._pipe.recv(_PART_BYTES)
                if not some:
                    raise ConnectionResetError
                self._incoming.feed(some)
                return True
        return False

    def take(self, call: int) -> Message | None:
        """Remove and return the first message of a call; None while incomplete. Raises BrokenMessage for others."""
        message = self._incoming.take()
        if message is None:
            return None
        if message.call != call or message.kind is Kind.CALL:
            raise BrokenMessage("an answer to something else")
        if message.kind is not Kind.PROGRESS and (self._outgoing or self._incoming):
            raise BrokenMessage("an answer, and bytes that do not belong to it")
        return message


def value_of(payload: bytes) -> Any:
    """Unpickle an answer without running code of a codec. Raises BrokenMessage unless the answer is plain data."""
    try:
        return _DataUnpickler(io.BytesIO(payload)).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise BrokenMessage(f"an answer that cannot be read: {type(error).__name__}: {error}") from error


def error_of(payload: bytes) -> tuple[str, str, int | None]:
    """Class, text and errno of an exception. Raises BrokenMessage for any other payload."""
    try:
        kind, message, errno = json.loads(payload)
    except (ValueError, TypeError, RecursionError):
        raise BrokenMessage("an error that cannot be read") from None
    if not isinstance(kind, str) or not isinstance(message, str) or not (errno is None or type(errno) is int):
        raise BrokenMessage("an error of another shape")
    return kind, message, errno


class _DataUnpickler(pickle.Unpickler):
    """Looks up only classes of plain data, in packages that codecs do not write."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in _DATA_BUILTINS:
            return super().find_class(module, name)
        if module.partition(".")[0] in _DATA:
            found = super().find_class(module, name)
            if isinstance(found, type) or getattr(found, "__name__", "") in {"_reconstruct", "_frombuffer", "scalar"}:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
