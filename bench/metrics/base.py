"""The interface of metric suites. A suite compares a decoded mesh with its original, given a seed.

A *suite* is a few metrics that are computed together. It declares its *columns*, and tables, figures, ``bench choose``,
``bench compare``, ``bench verify`` and the report know columns only from these declarations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import trimesh
    from numpy.typing import NDArray

Value = float | int | bool
Unit = Literal["length", "squared length", "fraction", "cosine", "dB", "count", "flag", "similarity"]
#: The value of a failed coding, by unit, in means that penalise failures: as if nothing of the surface were right. A
#: distance counts as half the longest side of the mesh. Units that are missing here are left out of such means.
WORST: Mapping[str, float] = {
    "length": 1.0,
    "squared length": 1.0,
    "fraction": 0.0,
    "cosine": 0.0,
    "similarity": 0.0,
    "dB": 0.0,
}
_ONE = 1 + 1e-9  # a mean of cosines that are all 1 can exceed 1 by rounding
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "length": (0.0, math.inf),
    "squared length": (0.0, math.inf),
    "fraction": (0.0, _ONE),
    "cosine": (0.0, _ONE),
    "similarity": (-math.inf, _ONE),
    "flag": (0.0, 1.0),
}
R = TypeVar("R")


@dataclass(frozen=True)
class Column:
    """One number of a suite, and how tables and figures treat the number.

    Parameters
    ----------
    name : str
        Key in the values that :meth:`Suite.measure` returns. It must be unique over all suites: use a prefix.
    label : str
        Name for axes and table heads, with the scale: ``CD ×10⁻³``.
    definition : str
        One line that says what is measured exactly, with its source.
    unit : str
        ``length`` and ``squared length`` (the normalised mesh spans 2 along its longest side), ``fraction`` (0 to 1),
        ``cosine`` (0 to 1), ``similarity`` (at most 1), ``dB``, ``count``, or ``flag`` (yes or no).
    better : {"lower", "higher"} or None
        Which direction is better. None for a number that ranks nothing, such as a count of components.
    scale : float
        Tables and figures show the value times this factor.
    digits : int
        Digits after the point in tables, of the scaled value.
    floor : str or None
        Name of the value that the suite returns for the original compared with itself (sampling noise); None if there
        is no such noise. A floor is not a column.
    headline : bool
        Whether the main table, the figure and the report show the column by default. Other columns are in CSV and
        JSON, and are shown where their name is given.
    ranks : bool
        Whether the column can rank codecs when no metric is named. The first measured column of this kind ranks.
    robust : bool
        Whether a small change of the mesh changes the value only a little: true for means and fractions of many
        samples, false for a maximum. ``bench gate`` compares only robust columns without a floor within a band.
    """

    name: str
    label: str
    definition: str
    unit: Unit
    better: Literal["lower", "higher"] | None = "lower"
    scale: float = 1.0
    digits: int = 3
    floor: str | None = None
    headline: bool = False
    ranks: bool = False
    robust: bool = True

    def is_better(self, a: float, b: float) -> bool:
        """Whether value `a` is strictly better than value `b`; False for a column that ranks nothing."""
        return self.better is not None and (a < b if self.better == "lower" else a > b)

    def allows(self, value: float) -> bool:
        """Whether the unit of the column allows a value."""
        if not math.isfinite(value):
            return False
        low, high = _BOUNDS.get(self.unit, (-math.inf, math.inf))
        whole = self.unit not in {"flag", "count"} or value == math.floor(value)
        return low <= value <= high and whole

    @property
    def worst(self) -> float | None:
        """The value of a failed coding in means that penalise failures; None if there is no worst value."""
        if self.better is None:
            return None
        if self.better == "lower" and self.unit in {"fraction", "cosine", "similarity"}:
            return 1.0
        return WORST.get(self.unit)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Decoded points of a codec of points, for suites that compare clouds.

    Parameters
    ----------
    points : (N, 3) float64
        Positions in voxels: the centre of voxel (i, j, k) is (i + ½, j + ½, k + ½).
    bits : int
        Of the grid: [0, 2^bits] is the cube [-1, 1] of the normalised mesh.
    """

    points: NDArray[np.float64]
    bits: int


class Suite(ABC, Generic[R]):
    """Metrics that are computed together, with a name, a version and columns.

    Subclasses are stateless and are created without parameters. ``R`` is the type that :meth:`reference` returns: what
    is computed once for an original and used for every mesh that is compared with the original.
    """

    name: ClassVar[str]
    #: What :meth:`measure` gets: the decoded mesh, or the decoded :class:`Cloud` of a codec of points. A suite that
    #: takes clouds does not measure codecs that have none.
    takes: ClassVar[Literal["mesh", "cloud"]] = "mesh"
    columns: ClassVar[tuple[Column, ...]]

    @abstractmethod
    def version(self) -> str:
        """Identify everything that decides the values. Kept measurements become stale only when the version changes."""

    def prepare(self) -> None:
        """Import heavy packages and compile loops. Called once in a worker, outside any limit.

        Extend it with ``super().prepare()``.
        """
        import_module("trimesh")

    @abstractmethod
    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> R:
        """Compute what every comparison with an original needs. Called once for each original.

        Parameters
        ----------
        mesh : trimesh.Trimesh
            The normalised original. It must not be changed.
        seed : int
            Source of all randomness; not negative. Give the original and the decoded mesh *different* random
            streams (``np.random.SeedSequence(seed, spawn_key=(i,))``): with the same one, a codec that keeps the
            connectivity looks up to 7.5 times better than it is.
        threads : int
            Number of threads that may be used. The number must not change any value.

        Raises
        ------
        BadMesh
            The original cannot be measured, e.g. its volume, if the mesh has no inside. The measurement is then
            missing, and no codec is blamed.
        """

    @abstractmethod
    def measure(self, reference: R, decoded: Any) -> Mapping[str, Value]:
        """Measure one decoded mesh (or :class:`Cloud`) against its original.

        Returns
        -------
        mapping
            A finite value for each column, and for each floor that a column names.

        Raises
        ------
        CodecFailed
            The decoded mesh cannot be measured: no faces, no area. The codec is blamed.
        """

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """Describe contradictions in recorded values, one line each, for ``bench verify``."""
        yield from ()
