"""A checksum around what MPEG's programs write, whose formats have none: they crash, hang or go astray on damage.

Knows bytes only.
"""

from __future__ import annotations

import binascii
import struct

from gcbench.errors import BitstreamError

_CRC = struct.Struct("<H")


def seal(head: bytes, body: bytes, bits: int) -> bytes:
    """Put a few bytes of ours and a checksum before a program's stream.

    CRC-16 (CCITT): two bytes, since there are streams of 240; one in 65536 damages goes unnoticed.

    Parameters
    ----------
    head, body : bytes
        Ours, and the program's.
    bits : int
        Of the grid, which is in the wrapper's header: checked along.
    """
    return head + _CRC.pack(_crc(head, body, bits)) + body


def unseal(contents: bytes, head_bytes: int, bits: int) -> tuple[bytes, bytes]:
    """Take apart what :func:`seal` put together.

    Raises
    ------
    BitstreamError
        It is too short, or damaged.
    """
    begin = head_bytes + _CRC.size
    if len(contents) <= begin:
        raise BitstreamError("the stream ends in its header")
    head, body = contents[:head_bytes], contents[begin:]
    if _CRC.unpack_from(contents, head_bytes)[0] != _crc(head, body, bits):
        raise BitstreamError("the checksum of the stream does not match: it is damaged or cut short")
    return head, body


def _crc(head: bytes, body: bytes, bits: int) -> int:
    return binascii.crc_hqx(body, binascii.crc_hqx(head + bytes([bits]), 0))
