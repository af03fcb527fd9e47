"""Machine parts as CAD systems export them: sharp edges, thin walls, through-holes, long thin triangles. Millimetres.

Made by constructive solid geometry (manifold3d). Two parts are broken on purpose, as exporters break them: one lacks
faces, one has edges with more than two faces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis.sculpt import Faces, Vertices

WALL_MM = 1.2  # of the enclosure and the heat sink's fins: 1 % of their longest side
_ENCLOSURE_MM = (120.0, 80.0, 40.0)
_MERGE_MM = 1e-6

Point: TypeAlias = Sequence[float] | NDArray[np.float64]  # (3,)


def cylinder(radius: float, height: float, segments: int, at: Point = (0.0, 0.0, 0.0)) -> Any:
    """Cylinder along z that stands on the point ``at``."""
    from manifold3d import Manifold

    return Manifold.cylinder(height, radius, -1.0, segments).translate(tuple(at))


def box(size: Point, at: Point = (0.0, 0.0, 0.0)) -> Any:
    """Box from the corner ``at``."""
    from manifold3d import Manifold

    return Manifold.cube(tuple(size)).translate(tuple(at))


def prism(outline: Sequence[Sequence[float]] | NDArray[np.float64], height: float, **extrude: Any) -> Any:
    """Outline in the plane z = 0, extruded along z; options as of ``Manifold.extrude``."""
    from manifold3d import CrossSection, Manifold

    return Manifold.extrude(CrossSection([np.asarray(outline, dtype=np.float64)]), height, **extrude)


def ring(make: Callable[[], Any], count: int, radius: float, phase: float = 0.0) -> Any:
    """Copies of a solid on a bolt circle around z."""
    from manifold3d import Manifold, OpType

    copies = [make().translate((radius, 0.0, 0.0)).rotate((0.0, 0.0, phase + 360.0 * i / count)) for i in range(count)]
    return Manifold.batch_boolean(copies, OpType.Add)


def from_solid(solid: Any) -> tuple[Vertices, Faces]:
    """Mesh of a solid."""
    mesh = solid.to_mesh64()
    return np.array(mesh.vert_properties[:, :3], dtype=np.float64), np.array(mesh.tri_verts, dtype=np.int32)


def polar(radius: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the plane: (N,) radii and (N,) angles in radians to (N, 2)."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def flange() -> tuple[Vertices, Faces]:
    """Pipe flange with hub: a bore, eight bolt holes and a test port into the bore: genus 10."""
    body = cylinder(75.0, 18.0, 128) + cylinder(52.0, 3.0, 128, (0, 0, 18.0))
    hub = cylinder(36.0, 42.0, 96, (0, 0, -42.0))
    bore = cylinder(27.0, 80.0, 96, (0, 0, -50.0))
    bolts = ring(lambda: cylinder(6.5, 40.0, 32, (0, 0, -5.0)), 8, 62.0, 22.5)
    port = cylinder(3.0, 60.0, 24).rotate((0.0, 90.0, 0.0)).translate((10.0, 0.0, -22.0))
    return from_solid(body + hub - bore - bolts - port)


def enclosure() -> tuple[Vertices, Faces]:
    """Box without a lid, walls 1 % of its length, with screw posts, four vents and a cable hole: genus 5."""
    length, width, height = _ENCLOSURE_MM
    inside = [s - 2 * WALL_MM for s in (length, width)]
    shell = box(_ENCLOSURE_MM) - box((*inside, height), (WALL_MM, WALL_MM, WALL_MM))
    for x in (8.0, length - 8.0):
        for y in (8.0, width - 8.0):
            shell += cylinder(4.0, height - 8.0, 32, (x, y, 0.5 * WALL_MM))
            shell -= cylinder(1.5, height, 24, (x, y, 10.0))
    for i in range(4):
        shell -= box((36.0, 10.0, 3.0), (42.0, -5.0, 10.0 + 6.0 * i))
    cable = cylinder(5.0, 20.0, 32).rotate((0.0, 90.0, 0.0)).translate((length - 10.0, 0.5 * width, 18.0))
    return from_solid(shell - cable)


def heat_sink_open() -> tuple[Vertices, Faces]:
    """Heat sink with thin fins, whose exporter lost the underside and the face of one fin: open."""
    body = box((120.0, 60.0, 6.0))
    pitch = (120.0 - WALL_MM) / 15
    for i in range(16):
        body += box((WALL_MM, 60.0, 30.0), (pitch * i, 0.0, 5.0))
    vertices, faces = from_solid(body)
    corners = vertices[faces]
    underside = (np.abs(corners[:, :, 2]) < _MERGE_MM).all(axis=1)
    flank = (np.abs(corners[:, :, 0] - (pitch * 7 + WALL_MM)) < _MERGE_MM).all(axis=1)
    return vertices, np.ascontiguousarray(faces[~(underside | flank)])


def gear() -> tuple[Vertices, Faces]:
    """Involute spur gear, 24 teeth of module 3, with keyway and six lightening holes: genus 7."""
    teeth, module, pressure = 24, 3.0, np.radians(20.0)
    pitch_radius = 0.5 * teeth * module
    base, tip, root = pitch_radius * np.cos(pressure), pitch_radius + module, pitch_radius - 1.25 * module
    # Half the angle of a tooth at radius r is π/2z + inv α − inv φ(r), with inv φ = tan φ − φ and cos φ = base / r.
    radius = np.linspace(base, tip, 8)
    phi = np.arccos(base / radius)
    half = np.pi / (2 * teeth) + (np.tan(pressure) - pressure) - (np.tan(phi) - phi)
    flank_r, flank_a = np.concatenate([[root], radius]), np.concatenate([[half[0] + 0.004], half])
    tooth_r = np.concatenate([flank_r, flank_r[::-1]])
    tooth_a = np.concatenate([-flank_a, flank_a[::-1]])
    angles = np.concatenate([tooth_a + 2 * np.pi * i / teeth for i in range(teeth)])
    body = prism(polar(np.tile(tooth_r, teeth), angles), 16.0)
    rim = cylinder(28.0, 5.0, 96) - cylinder(14.0, 5.0, 64)
    body -= rim + rim.translate((0.0, 0.0, 11.0))
    body -= cylinder(8.0, 40.0, 64, (0, 0, -5.0)) + box((4.0, 5.0, 40.0), (-2.0, 6.0, -5.0))
    return from_solid(body - ring(lambda: cylinder(5.0, 40.0, 32, (0, 0, -5.0)), 6, 21.0))


def bracket() -> tuple[Vertices, Faces]:
    """Angle bracket with a gusset, four screw holes, a slot and a rounded inner corner: genus 5."""
    from manifold3d import Manifold

    thick, fillet = 6.0, 8.0
    turn = np.linspace(1.5 * np.pi, np.pi, 17)
    arc = polar(np.full(17, fillet), turn) + thick + fillet
    side = np.concatenate([[[0, 0], [80, 0], [80, thick]], arc, [[thick, 70], [0, 70]]])
    angle = prism(side, 50.0).rotate((90.0, 0.0, 0.0)).translate((0.0, 50.0, 0.0))
    gusset = prism([[thick - 1, thick - 1], [50.0, thick - 1], [thick - 1, 50.0]], 5.0)
    angle += gusset.rotate((90.0, 0.0, 0.0)).translate((0.0, 27.5, 0.0))
    for y in (11.0, 39.0):
        angle -= cylinder(3.5, 30.0, 32, (65.0, y, -5.0))
        angle -= cylinder(3.5, 30.0, 32).rotate((0.0, 90.0, 0.0)).translate((-5.0, y, 58.0))
    slot = [cylinder(3.0, 30.0, 32, (x, 11.0, -5.0)) for x in (22.0, 40.0)]
    return from_solid(angle - Manifold.batch_hull(slot))


def hex_bolt() -> tuple[Vertices, Faces]:
    """Hexagon bolt M12 with a helical thread and a chamfered head: genus 0."""
    head = cylinder(10.4, 7.5, 6) ^ (cylinder(10.9, 5.8, 96) + _cone(10.9, 9.4, 1.7, 96, 5.8))
    length = 38.0
    tip = cylinder(6.6, length - 1.5, 48) + _cone(6.6, 4.7, 1.5, 48, length - 1.5)
    thread = _thread(6.0, 5.1, 1.75, length) ^ tip
    screw = cylinder(6.0, 13.0, 64) + thread.translate((0.0, 0.0, 12.5))
    return from_solid(head + screw.rotate((180.0, 0.0, 0.0)).translate((0.0, 0.0, 0.5)))


def _cone(bottom: float, top: float, height: float, segments: int, z: float) -> Any:
    from manifold3d import Manifold

    return Manifold.cylinder(height, bottom, top, segments).translate((0.0, 0.0, z))


def _thread(crest: float, root: float, pitch: float, length: float) -> Any:
    """Rod with a right-hand helical thread (flats at crest and root), a little longer than ``length`` at both ends."""
    from manifold3d import Manifold, Mesh64

    around = 36
    profile_z = np.array([0.0, 0.125, 0.4375, 0.6875])  # of a pitch: root flat, flank, crest flat, flank
    profile_r = np.array([root, root, crest, crest])
    per_turn, turns = len(profile_z), int(np.ceil(length / pitch)) + 4
    row = np.arange(per_turn * turns + 1)
    angle = np.arange(around) / around
    # Rows follow the helix: the end of one is the beginning of that which lies a whole turn above.
    z = (row // per_turn + profile_z[row % per_turn])[:, None] + angle - 2.0
    radius = np.repeat(profile_r[row % per_turn][:, None], around, axis=1)
    turn = np.broadcast_to(2 * np.pi * angle, z.shape)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), z * pitch], axis=2).reshape(-1, 3)

    def index(i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.intp]:
        return (i + per_turn * (j // around)) * around + j % around

    i, j = np.meshgrid(np.arange(row[-1]), np.arange(around), indexing="ij")
    inside = (j < around - 1) | (i + 1 + per_turn <= row[-1])
    i, j = i[inside], j[inside]
    a, b, c, d = index(i, j), index(i, j + 1), index(i + 1, j + 1), index(i + 1, j)
    sides = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    centres = len(points) + np.arange(2)
    points = np.concatenate([points, [[0.0, 0.0, points[:, 2].min()], [0.0, 0.0, points[:, 2].max()]]])
    caps = []
    edges = np.concatenate([sides[:, [0, 1]], sides[:, [1, 2]], sides[:, [2, 0]]])
    directed = {(int(u), int(v)) for u, v in edges}
    for u, v in sorted(directed):
        if (v, u) not in directed:
            end = centres[int(points[u, 2] > 0.5 * length)]
            caps.append((v, u, end))
    return Manifold(Mesh64(vert_properties=points, tri_verts=np.concatenate([sides, caps]).astype(np.uint64)))


def pipe_tee() -> tuple[Vertices, Faces]:
    """Pipe tee with three collars, hollow, and a drain hole: genus 3."""
    run = cylinder(20.0, 110.0, 96).translate((0.0, 0.0, -55.0))
    run_bore = cylinder(16.0, 120.0, 96).translate((0.0, 0.0, -60.0))
    branch = cylinder(17.0, 52.0, 96).rotate((0.0, 90.0, 0.0))
    branch_bore = cylinder(13.5, 60.0, 96).rotate((0.0, 90.0, 0.0))
    collars = cylinder(24.0, 14.0, 96, (0, 0, -55.0)) + cylinder(24.0, 14.0, 96, (0, 0, 41.0))
    collars += cylinder(21.0, 12.0, 96).rotate((0.0, 90.0, 0.0)).translate((40.0, 0.0, 0.0))
    drain = cylinder(2.5, 30.0, 32).rotate((0.0, -90.0, 0.0)).translate((-5.0, 0.0, 0.0))
    return from_solid(run + branch + collars - run_bore - branch_bore - drain)


GIRDER_BAYS = 24


def girder_nonmanifold() -> tuple[Vertices, Faces]:
    """Box girder with a web that is a sheet, and a second girder that touches the first along one edge: non-manifold.

    The web meets two inner edges of the first girder (edges with three faces), and its ends are open; the girders share
    an outer edge (edges with four faces).
    """
    from manifold3d import CrossSection, Manifold

    outer, inner, length = 30.0, 27.0, 240.0
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    profile = CrossSection([square * outer]) - CrossSection([square * inner])
    vertices, faces = from_solid(Manifold.extrude(profile, length, GIRDER_BAYS - 1))
    second = vertices + [2 * outer, 2 * outer, 0.0]
    z = np.linspace(0.0, length, GIRDER_BAYS + 1)
    web = np.concatenate(
        [np.stack([np.full_like(z, s * inner), np.full_like(z, s * inner), z], axis=1) for s in (-1, 1)]
    )
    a = np.arange(GIRDER_BAYS)
    b = a + GIRDER_BAYS + 1
    web_faces = np.concatenate([np.stack([a, b, b + 1], axis=1), np.stack([a, b + 1, a + 1], axis=1)])
    count = len(vertices)
    return _weld(np.concatenate([vertices, second, web]), np.concatenate([faces, faces + count, web_faces + 2 * count]))


def _weld(vertices: Vertices, faces: NDArray[np.integer[Any]]) -> tuple[Vertices, Faces]:
    """Merge vertices at the same position."""
    _, first, index = np.unique(np.round(vertices / _MERGE_MM), axis=0, return_index=True, return_inverse=True)
    return vertices[first], index.reshape(-1)[faces].astype(np.int32)


MESHES: Mapping[str, Callable[[], tuple[Vertices, Faces]]] = MappingProxyType(
    {
        "cad/flange": flange,
        "cad/heat-sink-open": heat_sink_open,
        "cad/enclosure": enclosure,
        "cad/gear": gear,
        "cad/bracket": bracket,
        "cad/hex-bolt": hex_bolt,
        "cad/pipe-tee": pipe_tee,
        "cad/girder-nonmanifold": girder_nonmanifold,
    }
)

BROKEN = frozenset({"cad/heat-sink-open", "cad/girder-nonmanifold"})
