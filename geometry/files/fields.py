"""Numbers in the text of mesh files, and checks that the readers share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files.notes import Positions

# What C libraries print for NaN and infinities, besides "nan" and "inf": nan(ind), -nan(0x8), 1.#QNAN, -1.#IND, 1.#J.
_NOT_FINITE = re.compile(rb"[+-]?(nan\(\w*\)|1\.?#(?:ind|qnan|snan|inf|j)\w*)", re.IGNORECASE)
_COMMENT = re.compile(rb"(?:(?<=\s)|^)#[^\r\n]*", re.MULTILINE)


def numbers(fields: Sequence[bytes]) -> NDArray[np.float64]:
    """Read numbers; words that C libraries print for NaN and infinities give NaN. Raises BadMesh."""
    try:
        values = np.fromiter(map(float, fields), np.float64, count=len(fields))
    except ValueError:
        return np.array([_number(field) for field in fields], np.float64)
    _refuse_underscores(fields)
    return values


def integers(fields: Sequence[bytes]) -> NDArray[np.int64]:
    """Read integers. Raises BadMesh."""
    try:
        values = np.fromiter(map(int, fields), np.int64, count=len(fields))
    except (ValueError, OverflowError):
        wrong = next(field for field in fields if not re.fullmatch(rb"[+-]?[0-9]{1,18}", field))
        raise BadMesh(f"'{shown(wrong)}' stands where a whole number is due") from None
    _refuse_underscores(fields)
    return values


def _number(field: bytes) -> float:
    if _NOT_FINITE.fullmatch(field):
        return float("nan")
    try:
        if b"_" not in field:
            return float(field)
    except ValueError:
        pass
    cure = "; write decimal points, not commas" if re.fullmatch(rb"[+-]?\d+,\d+", field) else ""
    raise BadMesh(f"'{shown(field)}' stands where a number is due{cure}")


def _refuse_underscores(fields: Sequence[bytes]) -> None:
    if b"_" in b"".join(fields):  # Python reads 1_0 as ten; in a mesh file, 1_0 is an error
        wrong = next(field for field in fields if b"_" in field)
        raise BadMesh(f"'{shown(wrong)}' stands where a number is due")


def shown(field: bytes) -> str:
    """The beginning of a word of a file, fit for a message."""
    text = field[:24].decode("utf-8", "replace") + ("…" if len(field) > 24 else "")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def without_comments(data: bytes) -> bytes:
    """Blank out ``#`` to the end of its line, where ``#`` begins a word: the # of ``1.#QNAN`` begins no comment."""
    return _COMMENT.sub(b"", data) if b"#" in data else data


def require_text(data: bytes) -> None:
    """Refuse text that has zero bytes."""
    if b"\0" in data:
        raise BadMesh("the text has zero bytes: the file is damaged, or it is a binary file of another format")


def require_room(declared: int, available: int, what: str) -> None:
    """Refuse a declared count that exceeds the file's content."""
    if not 0 <= declared <= available:
        raise BadMesh(f"declares {declared} {what} and has {available}: the file is cut off, or the count is wrong")


def require_in_range(indices: NDArray[np.int64], vertices: Positions, sizes: NDArray[np.int64]) -> None:
    """Refuse faces that name a vertex that does not exist."""
    if len(indices) and (indices.min() < 0 or indices.max() >= len(vertices)):
        wrong = (indices < 0) | (indices >= len(vertices))
        faces = len(np.unique(np.repeat(np.arange(len(sizes)), sizes)[wrong]))
        raise BadMesh(f"{faces} of {len(sizes)} faces have an index outside the {len(vertices)} vertices")


def no_faces(n_points: int, other: Counter[str]) -> BadMesh:
    """Make the error for a file without faces; its message lists the other content."""
    found = [f"{count} {what}" for what, count in [("points", n_points), *other.items()] if count]
    return BadMesh(f"no faces, only {' and '.join(found)}: not a surface" if found else "no faces and no points")


def named(words: Iterable[str]) -> tuple[str, ...]:
    """Sorted, without repeats."""
    return tuple(sorted(set(words)))
