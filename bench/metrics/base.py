"""The metric contract: what a suite of metrics must be. A suite knows two meshes and a seed, and nothing else.

A *suite* is a few metrics that are computed together. It declares its *columns*, and tables, figures, ``bench choose``,
``bench compare``, ``bench verify`` and the report know columns only from these declarations.
"""

from __future__ import annotations

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
#: What a coding that failed counts as where failures are penalised, by unit: nothing of the surface was got right.
#: A distance is then half the longest side of the mesh. Units that are missing here are left out of such means.
WORST: Mapping[str, float] = {
    "length": 1.0,
    "squared length": 1.0,
    "fraction": 0.0,
    "cosine": 0.0,
    "similarity": 0.0,
    "dB": 0.0,
}
R = TypeVar("R")


@dataclass(frozen=True)
class Column:
    """One number of a suite, and how readers of results treat it.

    Parameters
    ----------
    name : str
        Key in the values that :meth:`Suite.measure` returns; unique over all suites, so give it a prefix of yours.
    label : str
        For axes and table heads, scale included: ``CD ×10⁻³``.
    definition : str
        One line that says what is measured exactly, with its source.
    unit : str
        ``length`` and ``squared length`` (the normalised mesh spans 2 along its longest side), ``fraction`` (0 to 1),
        ``cosine`` (0 to 1), ``similarity`` (at most 1), ``dB``, ``count``, or ``flag`` (yes or no).
    better : {"lower", "higher"} or None
        Which way is better. None for a fact that ranks nothing, such as a number of components.
    scale : float
        A value times this is what `label` shows.
    digits : int
        Digits after the point in tables, of the scaled value.
    floor : str or None
        Name of the value that the suite returns for the original against itself (sampling noise); None where there
        is no such noise. A floor is not a column of its own.
    headline : bool
        Whether the main table, the figure and the report show it by themselves. The others are in CSV, in JSON, and
        wherever they are asked for by name.
    ranks : bool
        Whether codecs are ranked by it where no metric is named. The first such column of the suites that were
        measured is taken.
    robust : bool
        Whether a small change of the mesh changes the value by little: true for means and fractions of many samples,
        false for a maximum. Only robust columns without floor are compared within a band by ``bench gate``.
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

    @property
    def worst(self) -> float | None:
        """What a failed coding counts as where failures are penalised; None where it cannot be said."""
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
    """A few metrics that are computed together, with a name, a version and columns.

    Subclasses are stateless and are created without parameters. ``R`` is the type of what is computed once for an
    original (:meth:`reference`) and used for every mesh that is compared with it.
    """

    name: ClassVar[str]
    #: What :meth:`measure` gets: the decoded mesh, or the decoded :class:`Cloud` of a codec of points. Codecs without
    #: clouds are not measured by a suite of clouds.
    takes: ClassVar[Literal["mesh", "cloud"]] = "mesh"
    columns: ClassVar[tuple[Column, ...]]

    @abstractmethod
    def version(self) -> str:
        """Identify everything that decides the values: a change makes kept measurements stale, and nothing else."""

    def prepare(self) -> None:
        """Import heavy packages and compile loops: called once in a worker, outside any limit.

        Extend it with ``super().prepare()``.
        """
        import_module("trimesh")

    @abstractmethod
    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> R:
        """Compute what every comparison with this original needs. Called once for each input mesh.

        Parameters
        ----------
        mesh : trimesh.Trimesh
            The normalised original. It must not be changed.
        seed : int
            All randomness derives from it; not negative. Give the original and the decoded mesh *different* random
            streams (``np.random.SeedSequence(seed, spawn_key=(i,))``): with the same one, a codec that keeps the
            connectivity looks up to 7.5 times better than it is.
        threads : int
            Threads that may be used. They must not change any value.

        Raises
        ------
        BadMesh
            Nothing can be compared with this original, e.g. a volume with a mesh that has no inside. The measurement
            is then missing, and no codec is blamed.
        """

    @abstractmethod
    def measure(self, reference: R, decoded: Any) -> Mapping[str, Value]:
        """Measure one decoded mesh (or :class:`Cloud`) against its original.

        Returns
        -------
        mapping
            A finite value for every column, and for every floor that a column names.

        Raises
        ------
        CodecFailed
            The decoded mesh cannot be measured: no faces, no area. The codec is blamed.
        """

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """Say what cannot be in recorded values, one line each: for ``bench verify``."""
        yield from ()
