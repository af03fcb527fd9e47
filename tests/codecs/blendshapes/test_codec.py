"""The codec as a whole: distances that are met, groups, single meshes, and streams that lie."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import trimesh
from bending import motion
from common import check_damage, check_golden, check_round_trip, encoded, torus

from gcbench.codecs import CODECS, Context
from gcbench.codecs.blendshapes import encoding
from gcbench.codecs.blendshapes.codec import BlendShapes
from gcbench.codecs.blendshapes.stream import read
from gcbench.entropy.budget import Budget
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BadMesh, BitstreamError, CodecFailed, CodecTimeout
from gcbench.geometry.surface import Surface

FRAMES = motion(24)


def distance(mesh: trimesh.Trimesh, other: trimesh.Trimesh) -> float:
    one, two = Surface.of(mesh), Surface.of(other)
    rng = np.random.default_rng(0)
    there, back = two.distance(one.sample(5000, rng)[0]), one.distance(two.sample(5000, rng)[0])
    return float(there.mean() + back.mean()) / 2


def decoded(stream: bytes) -> list[trimesh.Trimesh]:
    return BlendShapes().decode(stream, Context())


@pytest.fixture(scope="module")
def stream() -> bytes:
    return encoded("blendshapes", FRAMES, "d0400")


def test_golden_streams():
    check_golden("blendshapes")


@pytest.mark.long
def test_round_trip_of_a_motion_and_a_mesh_alone():
    first, *others = motion(5)
    # The mean over all meshes is what is promised; 6e-3 leaves room for one of them.
    check_damage("blendshapes", check_round_trip("blendshapes", [first, torus(), *others], rate="d0280", distance=6e-3))


@pytest.mark.parametrize("label", ["d0800", "d0280", "d0100"])
def test_the_distance_that_is_asked_for_is_met(label):
    aim = int(label[1:]) * 1e-5
    found = [distance(*pair) for pair in zip(FRAMES, decoded(encoded("blendshapes", FRAMES, label)), strict=True)]
    assert 0.4 * aim < np.mean(found) < 1.1 * aim
    assert np.max(found) < 2 * aim


def test_frames_share_what_they_have_in_common(stream):
    alone = encoded("blendshapes", FRAMES[:1], "d0400")
    assert len(stream) < 0.5 * len(FRAMES) * len(alone)
    longer = encoded("blendshapes", motion(96), "d0400")
    assert len(longer) / 96 < 0.5 * len(stream) / len(FRAMES)


def test_a_decoded_mesh_is_closed_if_its_original_is(stream):
    assert all(mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0 for mesh in decoded(stream))


def test_a_motion_as_a_whole_costs_a_pose():
    """Frames that only turn and move are one mesh and seven numbers each."""
    frames = []
    for t in np.linspace(0, 1, 20):
        turn = trimesh.transformations.rotation_matrix(2 * t, (1, 2, 3), (0.1, 0, 0))
        frames.append(FRAMES[8].copy().apply_transform(turn))
    contents = read(encoded("blendshapes", frames, "d0400"), BlendShapes.container)
    assert len(contents.groups[0].shapes.gains) <= 1


def test_meshes_with_the_same_faces_are_a_group_wherever_they_are():
    meshes = [FRAMES[0], torus(), FRAMES[1], FRAMES[2], torus()]
    contents = read(encoded("blendshapes", meshes, "d0800"), BlendShapes.container)
    assert contents.of_mesh.tolist() == [0, 1, 0, 0, 1]


def test_the_order_of_meshes_costs_bytes_and_nothing_else():
    shuffled = [FRAMES[i] for i in np.random.default_rng(0).permutation(len(FRAMES))]
    found = decoded(encoded("blendshapes", shuffled, "d0400"))
    assert np.mean([distance(*pair) for pair in zip(shuffled, found, strict=True)]) < 4.4e-3


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 5e4), (1e-4, 0.0)])
def test_coordinates_of_any_unit(scale, shift):
    meshes = [trimesh.Trimesh(mesh.vertices * scale + shift, mesh.faces, process=False) for mesh in FRAMES[::4]]
    found = decoded(encoded("blendshapes", meshes, "d0400"))
    for mesh, other in zip(meshes, found, strict=True):
        assert distance(mesh, other) < 8e-3 * scale


@pytest.mark.parametrize("length", [10.0, 100.0, 1000.0])
def test_a_group_that_walks_far_costs_no_distance_and_few_bytes(stream, length):
    walk = np.linspace(0, length, len(FRAMES))
    meshes = [trimesh.Trimesh(mesh.vertices + [x, 0, 0], mesh.faces) for mesh, x in zip(FRAMES, walk, strict=True)]
    there = encoded("blendshapes", meshes, "d0400")
    assert np.mean([distance(*pair) for pair in zip(meshes, decoded(there), strict=True)]) < 4.4e-3
    assert len(there) < 1.5 * len(stream)


@pytest.mark.parametrize("kind", ["walks to 1e9", "grows a million times"])
def test_meshes_that_differ_by_more_than_a_group_can_hold_are_coded_each_by_itself(kind):
    along = np.linspace(0, 1, 4)[:, None]
    far, sizes = (along * [1e9, 0, 0], np.ones(4)) if kind == "walks to 1e9" else (np.zeros((4, 3)), 1e6 ** along[:, 0])
    meshes = [
        trimesh.Trimesh(frame.vertices * size + shift, frame.faces, process=False)
        for frame, size, shift in zip(FRAMES[::6], sizes, far, strict=True)
    ]
    stream = encoded("blendshapes", [torus(), *meshes, torus()], "d0400")
    assert read(stream, BlendShapes.container).of_mesh.tolist() == [0, 1, 2, 3, 4, 0]
    for mesh, size, found in zip(meshes, sizes, decoded(stream)[1:-1], strict=True):
        assert distance(mesh, found) < 4.4e-3 * size + 1e-7 * np.abs(mesh.vertices).max()  # placements are float32


def test_distances_are_relative_to_the_size_of_each_mesh(stream):
    """Else the large frames are coded 20 times as finely as was asked for, which costs four times the bytes."""
    sizes = [20, 1, 1, 1] * 6
    meshes = [trimesh.Trimesh(frame.vertices * size, frame.faces) for frame, size in zip(FRAMES, sizes, strict=True)]
    there = encoded("blendshapes", meshes, "d0400")
    assert len(there) < 2 * len(stream)
    off = [distance(*pair) for pair in zip(meshes, decoded(there), strict=True)]
    assert np.mean(np.divide(off, sizes)) < 4.4e-3


def test_what_a_mesh_by_itself_takes_serves_no_other():
    """Otherwise a curve of amortisation says that a thousand unlike meshes would share it."""
    stream = encoded("blendshapes", [torus(), *FRAMES], "d0400")
    alone = encoded("blendshapes", [torus()], "d0400")
    layout = BlendShapes().layout(stream)
    assert layout.mesh_bytes[0] == pytest.approx(len(alone), abs=30)
    assert max(layout.mesh_bytes[1:]) < 60
    layout = BlendShapes().layout(alone)
    assert layout.shared_bytes < 30


def test_a_part_with_edges_is_not_made_smooth():
    box = trimesh.creation.box((2, 1, 0.5)).subdivide().subdivide()
    contents = read(encoded("blendshapes", [box], "d0280"), BlendShapes.container)
    assert contents.groups[0].control.subdivisions == 0
    assert contents.groups[0].control.vertices < 16


@pytest.mark.parametrize("mesh", [torus(), FRAMES[3], trimesh.creation.icosphere(4)], ids=["torus", "tube", "ball"])
def test_of_several_grids_and_surfaces_the_smallest_stream_is_taken(monkeypatch, mesh):
    found = len(encoded("blendshapes", [mesh], "d0280"))
    for bits, most_subdivided in ((1, 8192), (3, 0)):
        monkeypatch.setattr(encoding, "_TRIED_BITS", bits)
        monkeypatch.setattr(encoding, "_MOST_SUBDIVIDED", most_subdivided)
        assert found <= len(encoded("blendshapes", [mesh], "d0280"))


def test_an_open_mesh_keeps_its_border():
    half = trimesh.creation.icosphere(4)
    half.update_faces(half.triangles_center[:, 2] > 0)
    half.remove_unreferenced_vertices()
    (found,) = decoded(encoded("blendshapes", [half], "d0280"))
    assert distance(half, found) < 3.1e-3
    assert abs(found.area / half.area - 1) < 0.01


@pytest.mark.parametrize(
    ("mesh", "error", "message"),
    [
        (trimesh.Trimesh(np.eye(3), np.zeros((0, 3), int), process=False), CodecFailed, "no face with three different"),
        (trimesh.Trimesh(np.eye(3), [[0, 1, 1]], process=False), CodecFailed, "no face with three different corners"),
        (trimesh.Trimesh(np.ones((3, 3)), [[0, 1, 2]], process=False), CodecFailed, "mesh 1 are in one place"),
        (trimesh.Trimesh(np.eye(3) * np.nan, [[0, 1, 2]], process=False), BadMesh, "mesh 1 has a position"),
    ],
)
def test_a_mesh_that_cannot_be_coded_is_named(mesh, error, message):
    with pytest.raises(error, match=message):
        encoded("blendshapes", [torus(), mesh])


def test_no_meshes():
    with pytest.raises(CodecFailed, match="no meshes"):
        encoded("blendshapes", [])


def test_a_set_that_no_decoder_would_accept_is_refused_by_the_encoder(monkeypatch):
    small = Container(b"BSH", 1, "blendshapes", Budget(meshes=2))
    monkeypatch.setattr(BlendShapes, "container", small)
    with pytest.raises(CodecFailed, match="declares 3 meshes; the limit is 2"):
        encoded("blendshapes", FRAMES[:3])


def test_the_deadline_ends_the_search():
    with pytest.raises(CodecTimeout):
        BlendShapes().encode(FRAMES, BlendShapes().rates("standard")[0], Context(deadline=0.0))


def _lies() -> Iterator[tuple[str, Writer]]:
    yield "number of meshes", Writer().number(0, 1)
    yield "number of groups", Writer().number(1, 2)
    yield "meshes in a row of one group", Writer().number(2, 1, 0, 3)
    yield "a group has no mesh", Writer().number(2, 2, 0, 2)
    yield "meshes", Writer().number(1 << 30, 1, 0, 1 << 30)
    head = Writer().number(1, 1, 0, 1)
    yield "number of subdivisions", Writer().raw(head.data()).byte(3, 0)
    yield "step of the template", Writer().raw(head.data()).byte(0, 0).floats([np.inf])
    mesh = Writer().raw(head.data()).byte(2, 0).floats([0.1]).number(0, 0, 0)
    yield "number of shapes", Writer().raw(mesh.data()).number(1)
    yield "not a Draco", Writer().raw(mesh.data()).number(0).block(b"\2\2\1\0\0\0 no mesh")
    yield (
        "faces",
        Writer().raw(mesh.data()).number(0).block(b"\2\2\1\1\0\0\0" + Writer().number(9, 1 << 24, 0, 9, 0).data()),
    )


@pytest.mark.parametrize(("message", "body"), [*_lies()], ids=[message for message, _ in _lies()])
def test_streams_that_lie_are_refused_before_anything_is_made(message, body):
    with pytest.raises(BitstreamError, match=message):
        decoded(BlendShapes.container.pack(body.data()))


def test_the_codec_says_what_it_is():
    codec = CODECS.create("blendshapes")
    assert (codec.kind, codec.decoder_bytes, codec.availability().ok) == ("set", 0, True)
    assert [rate.label for rate in codec.rates("quick")] == ["d0800", "d0280"]
