"""LEB128: integers of 0 to 2^35 − 1 in one to five bytes, seven bits in each byte, the lowest bits first.

A byte of 128 or more says that another byte follows. Example: 300 is AC 02.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST_BYTES = 5
LARGEST = (1 << 7 * MOST_BYTES) - 1
_SHIFTS = np.arange(0, 7 * MOST_BYTES, 7)


def write(values: ArrayLike) -> bytes:
    """Write integers, each in its shortest form.

    Raises
    ------
    ValueError
        An integer is not in [0, 2^35).
    """
    numbers = np.asarray(values, np.int64).reshape(-1, 1)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= LARGEST:
        raise ValueError(f"an integer is not in 0…{LARGEST}")
    shifted = numbers >> _SHIFTS
    present = (shifted > 0) | (_SHIFTS == 0)
    more = np.where(shifted >> 7 > 0, 128, 0)
    written: bytes = (shifted & 127 | more)[present].astype(np.uint8).tobytes()
    return written


def read(data: bytes, at: int, what: str = "number") -> tuple[int, int]:
    """Read the integer at position `at`.

    Returns
    -------
    value, end : int
        The integer, and the position after its last byte.

    Raises
    ------
    BitstreamError
        The data ends within the integer, the integer has more than five bytes, or has a shorter form.
    """
    value = 0
    for i in range(MOST_BYTES):
        if at + i >= len(data):
            raise BitstreamError(f"the stream ends in its {what}")
        byte = data[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            if i and not byte:
                raise BitstreamError(f"the {what} is not in its shortest form")
            return value, at + i + 1
    raise BitstreamError(f"the {what} has more than {MOST_BYTES} bytes")
