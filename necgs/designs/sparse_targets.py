"""What the design ``sparse`` is trained on: the signed distance of each mesh, kept in blocks near the surface only.

A block is a cube of grid vertices, one of 32³. A block whose vertices are all far from the surface is one sign; the
other blocks, about a fifth of them, keep a byte for each vertex. The targets of a human at K = 128 take half a megabyte
instead of the eight of a dense volume. With a work folder, the targets of a set lie there, and a few hundred of them
are in memory.

Of a design with deformation, the targets come from volumes that were fitted to the meshes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import trimesh

from gcbench.errors import BenchError
from gcbench.geometry.grid import Grid
from gcbench.geometry.tsdf import band_distance, tsdf
from gcbench.geometry.winding import merged_triangles
from gcbench.necgs import kept_arrays
from gcbench.necgs.designs.sparse import BLOCKS, TRUNCATION
from gcbench.necgs.fit import FIT_VERSION, fit
from gcbench.necgs.processes import spread

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gcbench.necgs.job import Job

S = TypeVar("S", bound=np.generic)
UNIT = 127  # the byte of a vertex at the truncation distance or beyond
_VERSION = "1"  # of targets: any change of their values needs a new one
_IN_MEMORY = 512  # targets of a work folder, half a megabyte each
_SHELL_CELLS = 0.75  # half the thickness of the shell that stands for a mesh without an inside


@dataclass(frozen=True, eq=False)
class Target:
    """The signed distance of one mesh at the vertices of a grid, over the truncation, in [-1, 1], as bytes.

    Parameters
    ----------
    near : (N,) int32
        Flat index, (x · 32 + y) · 32 + z, of each block that keeps its values, ascending.
    values : (N, s³) int8
        ``UNIT`` times the value at the vertices of these blocks, s = K / 32 along each axis.
    crossed : (N,) bool
        Whether the surface crosses an edge of the grid that starts or ends in the block.
    means : (32³, 8) int8
        ``UNIT`` times the mean of the values in each octant of each block. A block that is not in ``near`` has one
        value: that of its sign.
    moves : (C, 3, s³) int8 or None
        ``UNIT`` times the deformation of the vertices of the blocks in ``crossed``; None is none.
    """

    near: NDArray[np.int32]
    values: NDArray[np.int8]
    crossed: NDArray[np.bool_]
    means: NDArray[np.int8]
    moves: NDArray[np.int8] | None = None

    @cached_property
    def mean_of_blocks(self) -> NDArray[np.float32]:
        """``UNIT`` times the mean of each block, (32³,) float32."""
        means: NDArray[np.float32] = self.means.mean(1, dtype=np.float32)
        return means

    @cached_property
    def is_near(self) -> NDArray[np.bool_]:
        """Whether a block is in ``near``, (32³,)."""
        found = np.zeros(BLOCKS**3, bool)
        found[self.near] = True
        return found

    def turned(self, axes: Sequence[int], flipped: Sequence[bool]) -> Target:
        """The target of the mesh after a permutation of its axes, then mirrored along some of them.

        Without deformation: the prior has none.
        """
        assert self.moves is None
        place = np.stack(np.unravel_index(self.near, (BLOCKS,) * 3))[list(axes)]
        place = np.where(np.array(flipped)[:, None], BLOCKS - 1 - place, place)
        near = np.ravel_multi_index(tuple(place), (BLOCKS,) * 3)
        order = np.argsort(near)
        side = round(self.values.shape[1] ** (1 / 3))
        mirrored = tuple(axis + 1 for axis in range(3) if flipped[axis])
        values = self.values.reshape(-1, side, side, side).transpose(0, *(axis + 1 for axis in axes))
        values = np.flip(values, mirrored).reshape(self.values.shape)[order]
        means = self.means.reshape((BLOCKS,) * 3 + (2,) * 3).transpose(*axes, *(axis + 3 for axis in axes))
        means = np.flip(means, (*(axis - 1 for axis in mirrored), *(axis + 2 for axis in mirrored)))
        return Target(near[order].astype(np.int32), values, self.crossed[order], means.reshape(-1, 8))


_NAMES = frozenset(Target.__dataclass_fields__) - {"moves"}  # arrays of a file


def target(mesh: trimesh.Trimesh, resolution: int, threads: int = 1, fit_steps: int = 0) -> Target:
    """Compute the target of a mesh in [-1, 1]³; with steps of a fit, that of a volume with deformation.

    A mesh without an inside, for example a sheet, becomes a thin shell.

    Raises
    ------
    BadMesh
        The mesh has no faces, a coordinate is not finite, or a vertex is outside [-1, 1]³.
    """
    grid = Grid(resolution, TRUNCATION * resolution / BLOCKS)
    if fit_steps:
        return blocks_of(*fit(mesh, grid, steps=fit_steps, threads=threads))
    volume = tsdf(mesh, grid, threads)
    if not (volume < 0).any():
        vertices, faces = merged_triangles(mesh)
        shell = band_distance(vertices[faces], grid, threads) - np.float32(_SHELL_CELLS * grid.spacing)
        volume = shell / np.float32(grid.truncation)
    return blocks_of(volume)


def blocks_of(volume: NDArray[np.float32], *moves: NDArray[np.float32]) -> Target:
    """The target that dense channels (K, K, K) amount to: the signed distance, and none or three of deformation."""
    bytes_ = np.rint(volume * UNIT).clip(-UNIT, UNIT).astype(np.int8)
    bytes_[bytes_ == 0] = np.where(volume[bytes_ == 0] < 0, -1, 1)  # a byte keeps the side
    inside = bytes_ < 0
    crossed = np.zeros(volume.shape, bool)
    for axis in range(3):
        a, b = np.moveaxis(inside, axis, 0), np.moveaxis(crossed, axis, 0)
        differ = a[1:] != a[:-1]
        b[1:] |= differ
        b[:-1] |= differ
    blocks = _blocked(bytes_)
    crosses = np.any(_blocked(crossed), axis=1)
    near = np.flatnonzero((np.abs(blocks) < UNIT).any(1) | crosses)
    half = max(1, len(volume) // BLOCKS // 2)
    octants = _blocked(bytes_, half)  # (64³, h³), or (32³, 1) where a block is one vertex
    side = len(volume) // half
    grid: NDArray[np.int8] = np.rint(octants.mean(1, dtype=np.float32)).astype(np.int8).reshape((side,) * 3)
    means = _blocked(grid, side // BLOCKS) if side > BLOCKS else np.repeat(grid.reshape(-1, 1), 8, 1)
    moved = [np.rint(_blocked(channel)[crosses] * UNIT).astype(np.int8) for channel in moves]
    return Target(near.astype(np.int32), blocks[near], crosses[near], means, np.stack(moved, 1) if moves else None)


class Targets(Sequence[Target]):
    """The targets of a set, in memory or in files.

    Parameters
    ----------
    keys : sequence of str
        Addresses: equal for equal meshes and resolutions.
    read : callable
        Takes the number of a mesh and returns its target.
    """

    def __init__(self, keys: Sequence[str], read: Callable[[int], Target]) -> None:
        self._keys, self._read = keys, read

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> list[Target]: ...
    def __getitem__(self, index: int | slice) -> Target | list[Target]:
        if isinstance(index, slice):
            return [self._read(i) for i in range(*index.indices(len(self)))]
        return self._read(range(len(self))[index])

    @property
    def identity(self) -> str:
        """Which set of targets this is."""
        return hashlib.sha256("".join(self._keys).encode()).hexdigest()[:16]


def targets(meshes: Sequence[trimesh.Trimesh], resolution: int, job: Job, fit_steps: int = 0) -> Targets:
    """The targets of a set, computed in as many processes as the job has threads, and kept in its work folder.

    With steps of a fit, they are those of volumes with deformation.

    Raises
    ------
    BadMesh
        A mesh has no target.
    BenchError
        The folder cannot be written, or a file of it has gone or was damaged since.
    """
    recipe = f"target {_VERSION} {resolution}" + (f" fit {FIT_VERSION} {fit_steps}" if fit_steps else "")
    keys = [kept_arrays.key_of(recipe, mesh) for mesh in meshes]
    paths = [job.work / "targets" / f"{key}.npz" for key in keys] if job.work else None
    there = [paths is not None and _kept(paths[i]) is not None for i in range(len(meshes))]
    arguments = {
        i: (np.asarray(mesh.vertices), np.asarray(mesh.faces), resolution, fit_steps)
        for i, mesh in enumerate(meshes)
        if not there[i]
    }
    found: dict[int, Target] = {}
    for done, (i, one) in enumerate(spread(_target, arguments, job.threads), start=sum(there) + 1):
        if paths is None:
            found[i] = one
        else:
            arrays = {name: getattr(one, name) for name in _NAMES}
            kept_arrays.write(paths[i], arrays if one.moves is None else arrays | {"moves": one.moves})
        job.progress(done / len(meshes), f"distances of {done} of {len(meshes)} meshes")
    if paths is None:
        return Targets(keys, found.__getitem__)

    @lru_cache(_IN_MEMORY)
    def read(i: int) -> Target:
        kept = _kept(paths[i])
        if kept is None:
            raise BenchError(f"{paths[i]} has gone or was damaged while a training used it; start the training again")
        return kept

    return Targets(keys, read)


def _kept(path: Path) -> Target | None:
    arrays: dict[str, Any] | None = kept_arrays.read(path)
    return Target(**arrays) if arrays is not None and arrays.keys() - {"moves"} == _NAMES else None


def _target(vertices: NDArray[np.float64], faces: NDArray[np.int64], resolution: int, fit_steps: int) -> Target:
    mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)
    return target(mesh, resolution, fit_steps=fit_steps)


def _blocked(volume: NDArray[S], side: int = 0) -> NDArray[S]:
    """(n, n, n) as blocks, ((n / side)³, side³); the side is that of 32³ blocks if it is not given."""
    n = len(volume)
    side = side or n // BLOCKS
    split = volume.reshape(n // side, side, n // side, side, n // side, side)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape((n // side) ** 3, side**3)
