"""Code under test, called where what it raises is an answer: an error of the contract, or a bug. Runs in workers."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gcbench.bench.run.arrays import MeshArrays
from gcbench.errors import BenchError

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Raised:
    """An exception: of what class, with what text, from which line; ``meant`` if it is one of gcbench's errors."""

    kind: str
    message: str
    where: str
    meant: bool

    def __str__(self) -> str:
        text = f"{self.kind}: {self.message}" if self.message else self.kind
        return text if self.meant else f"{text} ({self.where})"


def attempt(call: Callable[[], T]) -> T | Raised:
    """Call it, and say what it raised if it did."""
    try:
        return call()
    except Exception as error:  # of the code under test: judging it is what we are here for
        if not isinstance(error, BenchError):
            log.exception("a trial raised")
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = " ".join(str(error).split())
        return Raised(type(error).__name__, text[:300], where, isinstance(error, BenchError))


def trimesh_of(arrays: MeshArrays) -> Any:
    """Make a mesh of copies of arrays, with every vertex and face as it is."""
    import trimesh

    return trimesh.Trimesh(arrays.vertices.copy(), arrays.faces.copy(), process=False, validate=False)


def differs(mesh: Any, arrays: MeshArrays) -> bool:
    """Whether a mesh is no longer what was made of the arrays."""

    def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))

    return not (same(np.asarray(mesh.vertices), arrays.vertices) and same(np.asarray(mesh.faces), arrays.faces))
