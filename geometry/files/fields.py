"""Functions that the readers of mesh files share: parsing numbers in text, and refusing broken files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh

Positions = NDArray[np.float64]
Triangles = NDArray[np.int64]


def positions(rows: list[list[bytes]]) -> Positions:
    """Read coordinates, three to a row."""
    if any(len(row) != 3 for row in rows):
        raise BadMesh(f"{sum(len(row) != 3 for row in rows)} vertex lines have fewer than three coordinates")
    return numbers(chain.from_iterable(rows), 3 * len(rows)).reshape(-1, 3)


def numbers(fields: Iterable[bytes], count: int) -> NDArray[np.float64]:
    """Read `count` numbers."""
    return np.fromiter(map(float, _no_underscores(fields)), np.float64, count=count)


def integers(fields: Iterable[bytes], count: int) -> NDArray[np.int64]:
    """Read `count` integers."""
    return np.fromiter(map(int, _no_underscores(fields)), np.int64, count=count)


def _no_underscores(fields: Iterable[bytes]) -> Iterator[bytes]:
    for field in fields:
        if b"_" in field:  # Python reads 1_0 as ten; in a mesh file, 1_0 is an error
            raise ValueError(f"not a number: {field[:20]!r}")
        yield field


def require_triangles(sizes: Sequence[int]) -> None:
    """Refuse faces that do not have three corners."""
    others = sum(size != 3 for size in sizes)
    if others:
        raise BadMesh(f"{others} of {len(sizes)} faces are not triangles; triangulate the mesh first")


def require_room(declared: int, available: int, what: str) -> None:
    """Refuse a declared count that exceeds the file's content."""
    if not 0 <= declared <= available:
        raise BadMesh(f"declares {declared} {what} and has {available}")


def no_faces(n_points: int, other: Counter[str]) -> BadMesh:
    """Make the error for a file without faces; its message lists the other content."""
    found = [f"{count} {what}" for what, count in [("points", n_points), *other.items()] if count]
    return BadMesh(f"no faces, only {' and '.join(found)}: not a surface" if found else "no faces and no points")
