"""How the control meshes of a group differ, in integers: a pose and weights for each mesh, and the shapes they weigh.

    control positions of mesh i = scale_i · (template + Σ_k weight_ik · shape_k) · rotation_i + translation_i

The template is the mean of the meshes after their poses are taken out, on a grid. The shapes are the principal
components of what is left. All steps follow from one, the step of the shapes: a weight has the step that costs as much
distance for a bit as the step of the shapes does.

Source: M. Alexa and W. Müller, "Representing animations by principal components", Eurographics 2000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BOUND = 1023  # of all integers but those of the template; twice as much is what entropy models can hold
POSE = 7  # numbers of a pose: rotation vector, translation, logarithm of the scale
_POSE_STEPS = np.array([2.0**-8] * 3 + [2.0**-9] * 4)
MOST_REACH = 24  # doublings of the step of translations: a group may walk far
GAINS_PER_OCTAVE = 8
_FIRMNESS = 1e-6  # of weights whose shapes are nearly the same after rounding
_TURNS = 5  # of aligning all meshes to their mean


@dataclass(frozen=True, eq=False)
class Shapes:
    """The control meshes of a group.

    Parameters
    ----------
    grid_step : float
        Of the template; a float32.
    template : (N, 3) int64
        Positions in these steps; distinct, in lexicographic order.
    gains : (K,) int64
        2^(-gain / 8) is what the product of an integer of a weight and one of a shape stands for.
    shapes : (K, N, 3) int64
    numbers : (n, 7 + K) int64
        Pose and weights of each mesh; (1, 0) for a group of one mesh.
    reach : int
        How often the step of translations is doubled.
    """

    grid_step: float
    template: Ints
    gains: Ints
    shapes: Ints
    numbers: Ints
    reach: int = 0

    @classmethod
    def alone(cls, grid_step: float, template: Ints) -> Shapes:
        """Of a group of one mesh: its template."""
        return cls(
            grid_step,
            template,
            gains=np.zeros(0, np.int64),
            shapes=np.zeros((0, *template.shape), np.int64),
            numbers=np.zeros((1, 0), np.int64),
        )

    def positions(self, i: int) -> Floats:
        """Control positions of mesh *i*, (N, 3)."""
        positions = self.template.astype(np.float64) * self.grid_step
        numbers = self.numbers[i].astype(np.float64)
        if not len(numbers):
            return positions
        weights = numbers[POSE:] * np.exp2(-self.gains / GAINS_PER_OCTAVE)
        positions = positions + np.tensordot(weights, self.shapes.astype(np.float64), 1)
        found: Floats = posed(positions[None], numbers[None, :POSE], self.reach)[0]
        return found


def posed(positions: Floats, numbers: Floats, reach: int = 0) -> Floats:
    """Positions (n, N, 3) in the poses of numbers (n, 7)."""
    pose = numbers * _steps(reach)
    turned = np.einsum("nvx,nyx->nvy", positions, _rotations(pose[:, :3]))
    found: Floats = turned * np.exp(pose[:, None, 6:]) + pose[:, None, 3:6]
    return found


def _steps(reach: int) -> Floats:
    steps: Floats = _POSE_STEPS * np.array([1.0] * 3 + [2.0**reach] * 3 + [1.0])
    return steps


def _rotations(vectors: Floats) -> Floats:
    """Rotation matrices of rotation vectors (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = (vectors / np.maximum(angle[:, :, 0], 1e-30)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    rotations: Floats = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotations


def poses(positions: Floats) -> tuple[int, Ints, Floats]:
    """The reach and numbers (n, 7) of the poses that bring meshes (n, N, 3) nearest to their mean, and what is left.

    The mean is around 0, so that a rounded rotation has no lever.
    """
    from scipy.spatial.transform import Rotation

    centres = positions.mean(axis=1)
    sizes = np.sqrt(((positions - centres[:, None]) ** 2).sum(2).mean(1))
    relative = positions - centres[:, None]
    reach = int(np.ceil(np.log2(max(np.abs(centres).max() / (BOUND * _POSE_STEPS[3]), 1))))
    mean = relative[0]
    numbers, aligned = np.zeros((len(positions), POSE), np.int64), positions
    for _ in range(_TURNS):
        middle = mean.mean(0)
        left, _, right = np.linalg.svd(np.einsum("nvx,vy->nxy", relative, mean - middle))
        mirrored = np.linalg.det(left @ right)
        left[:, :, 2] *= mirrored[:, None]
        rotation = left @ right  # mean · rotationᵀ is the mesh
        scale = sizes / np.sqrt(((mean - middle) ** 2).sum(1).mean())
        offset = centres - scale[:, None] * np.einsum("nxy,y->nx", rotation, middle)
        pose = np.hstack([Rotation.from_matrix(rotation).as_rotvec(), offset, np.log(scale)[:, None]])
        numbers = np.rint(pose / _steps(reach)).clip(-BOUND, BOUND).astype(np.int64)
        aligned = unposed(positions, numbers.astype(np.float64), reach)
        mean = aligned.mean(0)
    return reach, numbers, aligned


def unposed(positions: Floats, numbers: Floats, reach: int = 0) -> Floats:
    """Inverse of :func:`posed`."""
    pose = numbers * _steps(reach)
    relative = (positions - pose[:, None, 3:6]) * np.exp(-pose[:, None, 6:])
    found: Floats = np.einsum("nvy,nyx->nvx", relative, _rotations(pose[:, :3]))
    return found


def on_grid(positions: Floats, bits: int) -> tuple[float, Ints, Ints]:
    """The step of a grid of 2^bits places along the longest side, and positions (N, 3) on it.

    Returns
    -------
    step : float
        A float32.
    grid : (N, 3) int64
        Distinct integers near the positions, below 2^20, in lexicographic order.
    order : (N,) int64
        Which position each is.
    """
    step = float(np.float32(np.ptp(positions, axis=0).max() / (2**bits - 2)))  # one less: both ends are rounded
    grid = _apart(np.rint(positions / step).astype(np.int64))
    order = np.lexsort(grid.T[::-1])
    return step, grid[order], order


def is_crowded(vertices: int, bits: int) -> bool:
    """Whether so many vertices are too many for a grid of so many bits: a surface crosses some 4^bits of its places."""
    return vertices > 1 << 2 * bits


def _apart(grid: Ints) -> Ints:
    """The rows, those that are there twice moved to free places near them."""
    shift = np.array([1 << 42, 1 << 21, 1])
    keys = (grid + (1 << 20)) @ shift
    found = keys.copy()
    _, first = np.unique(keys, return_index=True)
    left = np.setdiff1d(np.arange(len(keys)), first)
    radius = 0
    while len(left):
        radius += 1
        around = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
        for offset in (around[np.abs(around).max(axis=1) == radius] @ shift).tolist():
            moved, chosen = np.unique(keys[left] + offset, return_index=True)
            free = ~np.isin(moved, np.delete(found, left))
            found[left[chosen[free]]] = moved[free]
            left = np.delete(left, chosen[free])
    return np.stack([found >> 42, (found >> 21) & ((1 << 21) - 1), found & ((1 << 21) - 1)], 1) - (1 << 20)


class Components:
    """Aligned control meshes (n, N, 3) as their mean and principal components; quantised at any step."""

    def __init__(self, aligned: Floats, mean: Floats) -> None:
        count, self._vertices = aligned.shape[:2]
        self._differences: Floats = (aligned - mean).reshape(count, -1)
        _, sizes, right = np.linalg.svd(self._differences, full_matrices=False)
        self._shapes: Floats = right * (sizes / np.sqrt(count))[:, None]  # for weights of mean square 1
        self._count = count

    def quantised(self, step: float) -> tuple[Ints, Ints, Ints]:
        """Gains (K,), shapes (K, N, 3) and weights (n, K) at a step of the shapes; K follows from it."""
        size = np.linalg.norm(self._shapes, axis=1)
        kept = np.abs(self._shapes).max(1) >= step / 2
        shapes, size = self._shapes[kept], size[kept]
        steps = step * _doublings(np.abs(shapes).max(axis=1, initial=0) / step)
        integers = np.rint(shapes / steps[:, None])
        weights = self._solved(integers * steps[:, None])
        weight_steps = step * np.sqrt(self._count) / size
        weight_steps *= _doublings(np.abs(weights).max(axis=0, initial=0) / weight_steps)
        # Rounded towards wider steps: weights may be at the bound.
        gains = np.floor(-GAINS_PER_OCTAVE * np.log2(weight_steps * steps)).clip(0, 255).astype(np.int64)
        numbers = np.rint(weights * steps / np.exp2(-gains / GAINS_PER_OCTAVE)).clip(-BOUND, BOUND).astype(np.int64)
        used = numbers.any(axis=0) & integers.any(axis=1)
        return gains[used], integers[used].astype(np.int64).reshape(-1, self._vertices, 3), numbers[:, used]

    def _solved(self, shapes: Floats) -> Floats:
        """The weights (n, K) that give the least distance with these shapes."""
        if not len(shapes):
            return np.zeros((self._count, 0))
        gram = shapes @ shapes.T
        firm = gram + np.diag(_FIRMNESS * gram.diagonal())
        solved: Floats = np.linalg.solve(firm, shapes @ self._differences.T).T.astype(np.float64)
        return solved


def _doublings(most: Floats) -> Floats:
    """The power of two that divides values so that none is beyond the bound."""
    return np.exp2(np.ceil(np.log2(np.maximum(most / BOUND, 1))))
