"""The stream of a set: for each group of meshes with the same faces a control mesh, shapes, poses and weights.

    number of meshes · number of groups · runs of meshes of one group · head of each group · a run of the entropy coder

A head of a group has its placement, subdivisions, grid, number of shapes and the control mesh as a Draco stream. The
run has the gains, shapes, poses and weights of the groups, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs import draco
from gcbench.codecs.blendshapes import numbers, prediction
from gcbench.codecs.blendshapes.control_mesh import ControlMesh
from gcbench.codecs.blendshapes.shapes import BOUND, MOST_REACH, POSE, Shapes
from gcbench.entropy.container import Fields, Writer
from gcbench.entropy.range_coder import RangeCoder, RangeSink, RangeSource
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.entropy.container import Container

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_NAME = b"DRACO"  # at the start of Draco's streams
MOST_SUBDIVISIONS = 2
_MOST_SHAPES = 1 << 12
_MOST_CORNER = 1 << 23  # of a template, in steps of its grid; twice as much with a sign
_ADDS_OF_A_VERTEX = 300_000  # what the order of the predictions takes, counted in multiply-adds
_BYTES_OF_A_CORNER = 256  # of a surface, while it is made: two sparse matrices, faces, positions


@dataclass(frozen=True, eq=False)
class Group:
    """Meshes with the same faces.

    Parameters
    ----------
    control : ControlMesh
    shapes : Shapes
    placement : (4,) float32 or None
        Centre and scale that take a mesh from the coordinates of the shapes to those of the input; None is as it is.
    """

    control: ControlMesh
    shapes: Shapes
    placement: NDArray[np.float32] | None = None

    def mesh(self, i: int) -> tuple[Floats, Ints]:
        """Vertices and faces of mesh *i* of the group."""
        vertices, faces = self.control.mesh(self.shapes.positions(i))
        if self.placement is not None:
            place = self.placement.astype(np.float64)
            vertices = vertices * place[3] + place[:3]
        return vertices, faces


@dataclass(frozen=True, eq=False)
class Contents:
    """What a stream holds.

    Parameters
    ----------
    groups : sequence of Group
    of_mesh : (n,) int
        The group of each mesh in the order of the set.
    head_bytes : tuple of int
        Of the head of each group in the stream that was read.
    """

    groups: Sequence[Group]
    of_mesh: Ints
    head_bytes: tuple[int, ...] = ()

    def mesh(self, i: int) -> tuple[Floats, Ints]:
        """Vertices and faces of mesh *i* of the set."""
        group = int(self.of_mesh[i])
        return self.groups[group].mesh(int((self.of_mesh[:i] == group).sum()))


def write(contents: Contents, container: Container) -> bytes:
    """Make the stream."""
    writer = Writer().number(len(contents.of_mesh), len(contents.groups))
    starts = np.flatnonzero(np.diff(contents.of_mesh, prepend=-1))
    for group, length in zip(contents.of_mesh[starts], np.diff(starts, append=len(contents.of_mesh)), strict=True):
        writer.number(int(group), int(length))
    sink = RangeSink()
    for group in contents.groups:
        _write_head(group, writer)
        if len(group.shapes.numbers) > 1:
            _put_shapes(group, sink)
    return container.pack(writer.raw(RangeCoder().finish(sink)).data())


def read(stream: bytes, container: Container) -> Contents:
    """Read what :func:`write` wrote.

    Raises
    ------
    BitstreamError
        The stream is damaged, of another codec, or declares more than its bytes justify.
    """
    fields = container.open(stream)
    count = fields.number("number of meshes", 1)
    fields.work.spend(meshes=count)
    group_count = fields.number("number of groups", 1, count)
    of_mesh = np.full(count, -1)
    at = 0
    while at < count:
        group = fields.number("group of a mesh", 0, group_count - 1)
        length = fields.number("meshes in a row of one group", 1, count - at)
        of_mesh[at : at + length] = group
        at += length
    sizes = np.bincount(of_mesh, minlength=group_count)
    if not sizes.all():
        raise BitstreamError("a group has no mesh")
    heads, starts = [], [fields.at]
    for size in sizes:
        heads.append(_Head.read(fields, int(size)))
        starts.append(fields.at)
    coder = RangeCoder()
    source = coder.source(fields.rest())
    groups = [head.group(source) for head in heads]
    coder.check_exhausted(source)
    return Contents(groups, of_mesh, tuple(np.diff(starts).tolist()))


def canonical(grid: Ints, faces: Ints) -> tuple[Ints, Ints]:
    """Distinct positions in lexicographic order, and faces that point at them."""
    distinct, number = np.unique(grid, axis=0, return_inverse=True)
    return distinct, number.reshape(-1)[faces]


def _write_head(group: Group, writer: Writer) -> None:
    shapes = group.shapes
    writer.byte(group.control.subdivisions, group.placement is not None).floats([shapes.grid_step])
    if group.placement is not None:
        writer.floats(group.placement)
    low = shapes.template.min(axis=0).tolist()
    writer.number(*(2 * each if each >= 0 else -2 * each - 1 for each in low), len(shapes.gains))
    writer.block(template_stream(shapes.template, group.control.faces))


def template_stream(template: Ints, faces: Ints) -> bytes:
    """A template (N, 3) from its corner, and faces, as a Draco stream without its name.

    Draco divides the longest side into 2^bits - 1 steps. So its step is 1 or a little less, and rounding what it
    decodes gives the integers.
    """
    grid = template - template.min(axis=0)
    bits = max(1, int(grid.max()).bit_length())
    return draco.encode(grid.astype(np.float64), faces, bits).removeprefix(_NAME)


@dataclass(frozen=True, eq=False)
class _Head:
    """What the fields say of a group of so many meshes."""

    meshes: int
    subdivisions: int
    grid_step: float
    placement: NDArray[np.float32] | None
    low: tuple[int, ...]
    shapes: int
    template: bytes

    @classmethod
    def read(cls, fields: Fields, meshes: int) -> _Head:
        subdivisions = fields.byte("number of subdivisions", 0, MOST_SUBDIVISIONS)
        placed = fields.byte("whether there is a placement", 0, 1)
        (grid_step,) = fields.floats("step of the template", 1).tolist()
        placement = fields.floats("placement", 4) if placed else None
        corner = [fields.number("corner of the template", 0, _MOST_CORNER) for _ in range(3)]
        low = tuple(-(each + 1) // 2 if each % 2 else each // 2 for each in corner)
        shapes = fields.number("number of shapes", 0, _MOST_SHAPES if meshes > 1 else 0)
        template = _NAME + fields.block("template")
        header = draco.read_header(template)
        corners = 3 * header.faces * 4**subdivisions
        fields.work.spend(
            memory=_BYTES_OF_A_CORNER * corners + 8 * (shapes * 3 * header.vertices + meshes * (shapes + POSE)),
            triangles=corners // 3,
            multiply_adds=meshes * (3 * shapes * header.vertices + 24 * corners)
            + (_ADDS_OF_A_VERTEX * header.vertices if shapes else 0),
        )
        return cls(meshes, subdivisions, grid_step, placement, low, shapes, template)

    def group(self, source: RangeSource) -> Group:
        mesh = draco.decode(self.template)
        grid, faces = canonical(np.rint(mesh.vertices).astype(np.int64), np.asarray(mesh.faces))
        template = grid + np.array(self.low)
        control = ControlMesh(faces, len(grid), self.subdivisions)
        if self.meshes == 1:
            return Group(control, Shapes.alone(self.grid_step, template), self.placement)
        reach, *each = source.get_bytes(1 + self.shapes)
        if reach > MOST_REACH:
            raise BitstreamError(f"translations have the reach {reach}, which is not in 0…{MOST_REACH}")
        gains = np.array(each, np.int64)
        found = np.zeros((self.shapes, len(grid), 3), np.int64)
        if self.shapes:
            model = RangeCoder().read(source, found.shape, 4 * BOUND + 1)
            left = model.decode(source).astype(np.int64) - 2 * BOUND
            found = prediction.restored(left, prediction.rounds(faces, template.astype(np.float64)))
        weights = numbers.get(self.meshes, POSE + self.shapes, BOUND, source)
        return Group(control, Shapes(self.grid_step, template, gains, found, weights, reach), self.placement)


def _put_shapes(group: Group, sink: RangeSink) -> None:
    shapes = group.shapes
    sink.put_bytes(shapes.reach, *shapes.gains.tolist())
    if len(shapes.gains):
        order = prediction.rounds(group.control.faces, shapes.template.astype(np.float64))
        symbols = prediction.residuals(shapes.shapes, order) + 2 * BOUND
        model = RangeCoder().fit(symbols[None], 4 * BOUND + 1)
        model.write(sink)
        model.encode(symbols, sink)
    numbers.put(shapes.numbers, BOUND, sink)


def shares(contents: Contents) -> tuple[int, ...]:
    """About how many bytes serve each mesh alone, of contents that were read.

    They are the poses and weights of its group in equal parts; of a mesh that is a group by itself, its head.
    """
    sizes = []
    for group, head in zip(contents.groups, contents.head_bytes, strict=True):
        count = len(group.shapes.numbers)
        if count == 1:
            sizes.append(head)
            continue
        sink = RangeSink()
        numbers.put(group.shapes.numbers, BOUND, sink)
        sizes.append(int(sink.information_bits() / 8 / count))
    return tuple(sizes[group] for group in contents.of_mesh)
