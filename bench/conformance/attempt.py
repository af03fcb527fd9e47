"""Call code under test in a worker, and return what it raises: one of gcbench's errors, or a bug."""

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
    """An exception: class, text and line; ``meant`` if it is one of gcbench's errors, raised on purpose."""

    kind: str
    message: str
    where: str
    meant: bool

    def __str__(self) -> str:
        text = f"{self.kind}: {self.message}" if self.message else self.kind
        return text if self.meant else f"{text} ({self.where})"


def attempt(call: Callable[[], T]) -> T | Raised:
    """Call a function; return its value or its exception."""
    try:
        return call()
    except Exception as error:  # the code under test may raise anything
        if not isinstance(error, BenchError):
            log.exception("a trial raised")
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = " ".join(str(error).split())
        return Raised(type(error).__name__, text[:300], where, isinstance(error, BenchError))


def version_of(what: Any) -> str | Raised:
    """Ask a codec or a suite for its version."""

    def asked() -> str:
        said: object = what.version()
        if not isinstance(said, str) or not said.strip():
            raise TypeError(f"version() returned {said!r}, not a text")
        return said

    return attempt(asked)


def differs(mesh: Any, arrays: MeshArrays) -> bool:
    """Whether a mesh no longer has the arrays that it was made from."""

    def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))

    return not (same(np.asarray(mesh.vertices), arrays.vertices) and same(np.asarray(mesh.faces), arrays.faces))
