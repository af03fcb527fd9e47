"""From meshes to the groups of a stream: a search for the cheapest control mesh and step that meet a distance.

A control mesh that is too coarse and a step that is too wide both cost quality and save bytes. Where bytes are least,
the control mesh takes a certain share of the distance, which was measured (``docs/blendshapes.md``): the more meshes
share it, the finer it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.arrays import checked_faces
from gcbench.codecs.blendshapes.control_mesh import SUBDIVISIONS, ControlMesh, distance, fitted
from gcbench.codecs.blendshapes.shapes import MOST_REACH, Components, Shapes, is_crowded, on_grid, poses
from gcbench.codecs.blendshapes.simplification import Simplified, simplify
from gcbench.codecs.blendshapes.stream import Contents, Group, template_stream
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.surface import Surface

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

    from gcbench.codecs.base import Context

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_SHARE_OF_FEW, _SHARE_OF_MANY = 0.85, 0.63  # of the distance, for the control mesh, in groups of so many meshes
_FEW, _MANY = 20, 171
_PLACES_PER_OCTAVE = 6  # numbers of control vertices that are tried
_FEWEST_VERTICES = 8
_MOST_SUBDIVIDED = 8192  # control vertices
_POSES, _MOST_POSITIONS = 24, 1_000_000  # that a control mesh is simplified in; vertices of all of them
_MEASURED = 6  # meshes of a group
_VERTICES_TIMES_DISTANCE = 1.0  # of AMA frames: the first guess of the search
_STEPS_PER_OCTAVE, _FINEST, _WIDEST = 4, -4, 2  # of the step of shapes, octaves around the distance
_NORMALISED = 1e-6  # how near a placement is to none
_GRID_SHARE = 0.5  # of the distance, for a step of the template of a group
_FEWEST_BITS, _MOST_BITS = 5, 18
# Of a mesh alone the grid is what the step is of a group. Rounding to it moves the surface by about 0.16 steps.
_MOVED_STEPS, _SHARE_OF_GRID, _TRIED_BITS = 0.163, 0.85, 3


def encoded(meshes: Sequence[trimesh.Trimesh], aim: float, ctx: Context) -> Contents:
    """Groups whose surfaces are at most about ``aim`` from the meshes, where the longest side of a mesh is 2.

    Raises
    ------
    CodecFailed
        There is no mesh; or a mesh has no face with three different corners, a face that points at no vertex, or no
        extent.
    BadMesh
        A position is not finite.
    """
    if not meshes:
        raise CodecFailed("no meshes to encode")
    arrays = [_checked(i, mesh) for i, mesh in enumerate(meshes)]
    numbers: dict[bytes, int] = {}
    of_mesh = np.array([numbers.setdefault(faces.tobytes(), len(numbers)) for _, faces in arrays])
    groups: list[Group] = []
    of_group = np.zeros(len(arrays), np.int64)
    for number in range(len(numbers)):
        members = np.flatnonzero(of_mesh == number)
        vertices = np.stack([arrays[i][0] for i in members])
        ctx.progress(number / len(numbers), f"group {number + 1} of {len(numbers)}: {len(members)} meshes")
        found = _groups(vertices, arrays[members[0]][1], aim, ctx)
        of_group[members] = len(groups) + np.arange(len(members)) % len(found)
        groups += found
    return Contents(groups, of_group)


def _checked(i: int, mesh: trimesh.Trimesh) -> tuple[Floats, Ints]:
    """Vertices that faces use, and faces with three different corners."""
    vertices = np.asarray(mesh.vertices, np.float64)
    faces = checked_faces(mesh.faces, len(vertices))
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    if not len(faces):
        raise CodecFailed(f"mesh {i} has no face with three different corners")
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    vertices, faces = vertices[used], (np.cumsum(used) - 1)[faces]
    if not np.isfinite(vertices).all():
        raise BadMesh(f"mesh {i} has a position that is not finite")
    if not np.ptp(vertices, axis=0).any():
        raise CodecFailed(f"all vertices of mesh {i} are in one place")
    return vertices, faces


def _groups(vertices: Floats, faces: Ints, aim: float, ctx: Context) -> list[Group]:
    """Meshes of the same faces as one group, or each by itself if their poses differ by more than a group can hold."""
    together = _group(vertices, faces, aim, ctx)
    if together is not None:
        return [together]
    alone = (_group(one[np.newaxis], faces, aim, ctx) for one in vertices)
    return [group for group in alone if group is not None]


def _group(vertices: Floats, faces: Ints, aim: float, ctx: Context) -> Group | None:
    """A mesh alone, or several meshes; None if the finest step does not meet the distance."""
    low, high = vertices.min(axis=1), vertices.max(axis=1)
    sizes = (high - low).max(axis=1) / 2
    scale = float(np.median(sizes)) or 1.0
    place = np.append((low + high).mean(axis=0) / 2, scale).astype(np.float32)
    is_placed = bool(np.abs(place - np.array([0, 0, 0, 1])).max() > _NORMALISED)
    if is_placed:
        vertices = (vertices - place[:3].astype(np.float64)) / float(place[3])
    search = _Search(vertices, faces, aim, ctx)
    found = search.alone() if len(vertices) == 1 else search.together()
    return found and Group(*found, place if is_placed else None)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A control mesh and its positions in some meshes, (m, N, 3); how far its surfaces are from those measured."""

    control: ControlMesh
    positions: Floats
    error: float


class _Search:
    """The cheapest control mesh and step for meshes of the same faces."""

    def __init__(self, vertices: Floats, faces: Ints, aim: float, ctx: Context) -> None:
        self._vertices, self._faces, self._aim, self._ctx = vertices, faces, aim, ctx
        count = vertices.shape[1]
        places = int(np.log2(max(count / _FEWEST_VERTICES, 1)) * _PLACES_PER_OCTAVE)
        fewer = np.rint(count * 2.0 ** (-np.arange(1, places + 1) / _PLACES_PER_OCTAVE)).astype(int)
        self._goals = fewer.tolist()  # descending
        some = min(_POSES, max(1, _MOST_POSITIONS // count))
        self._posed = _spread(len(vertices), some)
        self._measured = _spread(len(vertices), _MEASURED)
        self._sizes = np.ptp(vertices[self._measured], axis=1).max(axis=1) / 2  # distances are of meshes of size 1
        self._fitted = np.union1d(self._posed, self._measured)
        self.fit = cache(self._fit)

    def together(self) -> tuple[ControlMesh, Shapes] | None:
        """Of a group: the coarsest control mesh that takes its share, then the widest step that meets the distance."""
        many = np.clip(np.log(len(self._vertices) / _FEW) / np.log(_MANY / _FEW), 0, 1)
        share = _SHARE_OF_FEW + many * (_SHARE_OF_MANY - _SHARE_OF_FEW)
        fit = self._coarsest(lambda fit: fit.error <= share * self._aim, self._kinds[0])
        reach, numbers, aligned = poses(self._positions(fit))
        if reach > MOST_REACH:
            return None
        mean = aligned.mean(axis=0).astype(np.float64)
        bits = int(np.ceil(np.log2(np.ptp(mean, axis=0).max() / (_GRID_SHARE * self._aim))))
        bits = _uncrowded(len(mean), min(max(bits, _FEWEST_BITS), _MOST_BITS))
        step, grid, order = on_grid(mean, bits)
        control = _reordered(fit.control, order)
        components = Components(aligned[:, order], grid.astype(np.float64) * step)

        @cache
        def at(place: int) -> Shapes:
            gains, shapes, weights = components.quantised(self._aim * 2.0 ** (place / _STEPS_PER_OCTAVE))
            return Shapes(step, grid, gains, shapes, np.hstack([numbers, weights]), reach)

        def meets(place: int) -> bool:
            return self._distance(control, at(place).positions) <= self._aim

        low, high = _FINEST * _STEPS_PER_OCTAVE, _WIDEST * _STEPS_PER_OCTAVE
        widest = _last(low - 1, high, meets)
        return (control, at(widest)) if widest >= low else None

    def alone(self) -> tuple[ControlMesh, Shapes]:
        """Of a mesh alone: the smallest template of a few numbers of bits."""
        extent = float(np.ptp(self._vertices, axis=1).max()) or 1.0
        bits = _FEWEST_BITS
        while bits < _MOST_BITS and _MOVED_STEPS * extent / 2**bits > _SHARE_OF_GRID * self._aim:
            bits += 1

        def found(bits: int, kind: int) -> tuple[ControlMesh, Shapes]:
            fit = self._coarsest(partial(self._meets_alone, bits), kind)
            return self._template(fit, _uncrowded(fit.control.vertices, bits))

        def size(one: tuple[ControlMesh, Shapes]) -> int:
            return len(template_stream(one[1].template, one[0].faces))

        tried = {bits: found(bits, self._kinds[0]) for bits in range(bits, bits + _TRIED_BITS)}
        best = min(tried, key=lambda bits: size(tried[bits]))
        return min([tried[best], *(found(best, kind) for kind in self._kinds[1:])], key=size)

    def _meets_alone(self, bits: int, fit: _Fit) -> bool:
        if is_crowded(fit.control.vertices, bits):
            return False
        control, shapes = self._template(fit, bits)
        return self._distance(control, shapes.positions) <= self._aim

    def _template(self, fit: _Fit, bits: int) -> tuple[ControlMesh, Shapes]:
        step, grid, order = on_grid(fit.positions[0], bits)
        return _reordered(fit.control, order), Shapes.alone(step, grid)

    def _coarsest(self, meets: Callable[[_Fit], bool], subdivisions: int) -> _Fit:
        """The fit with the fewest vertices that meets a condition; the mesh itself if none does."""
        first = self._first_subdivided if subdivisions else 0
        last = len(self._goals) - 1
        place = _last(first - 1, last, lambda place: meets(self.fit(place, subdivisions)), self._guess)
        if place >= first:
            return self.fit(place, subdivisions)
        return self._coarsest(meets, 0) if subdivisions else self.fit(-1, 0)

    @cached_property
    def _guess(self) -> int:
        """The place where the search begins."""
        place = int(np.searchsorted(-np.array(self._goals), -_VERTICES_TIMES_DISTANCE / self._aim))
        return min(max(place, self._first_subdivided), len(self._goals) - 1)

    @cached_property
    def _kinds(self) -> tuple[int, ...]:
        """Numbers of subdivisions that may be chosen, that with the nearer surface where the search begins first."""
        if self._first_subdivided == len(self._goals):
            return (0,)
        return tuple(sorted((SUBDIVISIONS, 0), key=lambda kind: self.fit(self._guess, kind).error))

    @cached_property
    def _first_subdivided(self) -> int:
        """The place of the largest control mesh that may be subdivided."""
        return int(np.searchsorted(-np.array(self._goals), -_MOST_SUBDIVIDED))

    @cached_property
    def _simplified(self) -> list[Simplified]:
        with self._ctx.stage("decimation"):
            return simplify(self._vertices[self._posed], self._faces, self._goals)

    def _fit(self, place: int, subdivisions: int) -> _Fit:
        """The fit with so many vertices; of place -1 the meshes themselves."""
        self._ctx.check_deadline()
        if place < 0:
            control = ControlMesh(self._faces, self._vertices.shape[1], 0)
            return _Fit(control, self._vertices[self._fitted], 0.0)
        simplified = self._simplified[place]
        control = ControlMesh(simplified.faces, simplified.poses.shape[1], subdivisions)
        with self._ctx.stage("fit"):
            where = np.searchsorted(self._fitted, self._posed)
            positions = fitted(control, simplified.poses, where, self._vertices[self._fitted], self._faces)
        found = self._measured_fit(control, positions)
        if not subdivisions and len(self._posed) == len(self._vertices):
            # Where planes meet, the collapses have put vertices onto edges and corners; a fit rounds them off.
            found = min(found, self._measured_fit(control, simplified.poses), key=lambda fit: fit.error)
        return found

    def _measured_fit(self, control: ControlMesh, positions: Floats) -> _Fit:
        rows = dict(zip(self._fitted.tolist(), positions, strict=True))
        return _Fit(control, positions, self._distance(control, rows.__getitem__))

    def _positions(self, fit: _Fit) -> Floats:
        """Of the control vertices in all meshes, (n, N, 3)."""
        if len(self._fitted) == len(self._vertices):
            return fit.positions
        if fit.control.faces is self._faces:
            return self._vertices
        with self._ctx.stage("fit"):
            return fitted(fit.control, fit.positions, self._fitted, self._vertices, self._faces)

    def _distance(self, control: ControlMesh, positions: Callable[[int], Floats]) -> float:
        self._ctx.check_deadline()
        with self._ctx.stage("search"):
            found = [
                distance(original, *control.mesh(positions(i)), self._ctx.threads) / size
                for i, original, size in zip(self._measured.tolist(), self._originals, self._sizes, strict=True)
            ]
        return float(np.mean(found))

    @cached_property
    def _originals(self) -> list[Surface]:
        return [Surface(self._vertices[i], self._faces) for i in self._measured]


def _spread(count: int, some: int) -> Ints:
    """At most so many of the numbers below ``count``, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, some).astype(np.int64))


def _uncrowded(vertices: int, bits: int) -> int:
    while is_crowded(vertices, bits):
        bits += 1
    return bits


def _reordered(control: ControlMesh, order: Ints) -> ControlMesh:
    return ControlMesh(np.argsort(order)[control.faces], control.vertices, control.subdivisions)


def _last(low: int, high: int, meets: Callable[[int], bool], guess: int | None = None) -> int:
    """The last of the places after ``low`` up to ``high`` that meets a condition which holds up to it; ``low`` if none.

    ``low`` itself is not asked.
    """
    while low < high:
        middle = guess if guess is not None and low < guess <= high else (low + high + 1) // 2
        guess = None
        if meets(middle):
            low = middle
        else:
            high = middle - 1
    return low
