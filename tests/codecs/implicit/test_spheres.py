"""Key spheres: they touch the surface, lie inside, spread, and come back from their bytes."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.codecs.implicit.spheres import (
    CENTRE_STEP,
    RADIUS_STEP,
    extract,
    medial_centres,
    pack,
    spread,
    unpack,
)
from gcbench.errors import BitstreamError
from gcbench.geometry.signed_distance import Field


def mesh_of(vertices, faces):
    return trimesh.Trimesh(np.array(vertices, np.float64), np.array(faces), process=False)


def residual(field, spheres):
    return np.abs(np.abs(field(spheres[:, :3].astype(np.float64))) - spheres[:, 3])


# --- Extraction -------------------------------------------------------------------------------------------------------


def test_spheres_are_inside_touch_and_are_as_many_as_asked_for():
    field = Field(trimesh.creation.torus(0.7, 0.25))
    spheres = extract(field, 60, 0)
    assert spheres.shape == (60, 4)
    assert spheres.dtype == np.float32
    assert len(np.unique(spheres, axis=0)) == 60
    assert (field(spheres[:, :3].astype(np.float64)) < 0).all()
    assert residual(field, spheres).max() <= RADIUS_STEP / 2 + 1e-6
    steps = np.column_stack([(spheres[:, :3] + 1) / CENTRE_STEP, spheres[:, 3:] / RADIUS_STEP])
    np.testing.assert_array_equal(steps, np.rint(steps))
    # Sixty balls of 0.25 along a circle of 0.7 fill a torus but for its facets and the gaps between them.
    points = trimesh.creation.torus(0.7, 0.25).sample(2000)
    gap = np.linalg.norm(points[:, None] - spheres[None, :, :3], axis=2) - spheres[None, :, 3]
    assert np.abs(gap.min(1)).mean() < 0.01


@pytest.mark.slow
def test_the_ball_of_a_ball_is_itself():
    spheres = extract(Field(trimesh.creation.icosphere(3, 0.9)), 1, 0)
    assert np.linalg.norm(spheres[0, :3]) < 0.02
    assert spheres[0, 3] == pytest.approx(0.9, abs=0.02)


def test_the_same_seed_gives_the_same_spheres():
    field = Field(trimesh.creation.box((1, 0.6, 0.4)))
    np.testing.assert_array_equal(extract(field, 20, 3), extract(field, 20, 3))
    assert (extract(field, 20, 3) != extract(field, 20, 4)).any()


def test_centres_lie_halfway_between_parallel_faces():
    # The large box beside it makes the search begin with balls far too large for the plate.
    plate = trimesh.creation.box((0.8, 0.8, 0.1))
    plate.apply_translation([-0.5, 0, 0])
    block = trimesh.creation.box((0.8, 0.8, 0.8))
    block.apply_translation([0.5, 0, 0])
    field = Field(trimesh.util.concatenate([plate, block]))
    rng = np.random.default_rng(0)
    on = np.column_stack([rng.uniform(-0.8, -0.2, 50), rng.uniform(-0.3, 0.3, 50), np.full(50, 0.05)])
    for normal in ([0, 0, 1.0], [0, 0, -1.0]):  # of either orientation
        centres = medial_centres(field, on, np.tile(normal, (50, 1)), rng)
        np.testing.assert_allclose(centres[:, 2], 0, atol=2e-3)
        np.testing.assert_allclose(centres[:, :2], on[:, :2], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("one triangle", mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])),
        ("no area", mesh_of([[-1, 0, 0], [0, 0, 0], [1, 0, 0], [-1, 1, 0]], [[0, 1, 2], [0, 1, 3]])),
        ("a foil", trimesh.creation.box((2, 2, 1e-4))),
        ("a point", mesh_of(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]) * 1e-9, [[0, 1, 2]])),
        ("inside out", mesh_of(trimesh.creation.box((1, 1, 1)).vertices, trimesh.creation.box().faces[:, ::-1])),
        ("a box without a lid", mesh_of(trimesh.creation.box((1, 1, 1)).vertices, trimesh.creation.box().faces[2:])),
    ],
)
def test_shapes_without_room_still_give_spheres_that_touch(name, mesh):
    field = Field(mesh)
    spheres = extract(field, 40, 0)
    assert spheres.shape == (40, 4)
    assert spheres[:, 3].min() >= RADIUS_STEP
    assert residual(field, spheres).max() <= RADIUS_STEP + 1e-6
    assert len(np.unique(spheres, axis=0)) == (1 if name == "a point" else 40)
    np.testing.assert_array_equal(unpack(pack(spheres)), spheres)


def test_what_is_thinner_than_a_step_of_the_centres_is_filled_by_smaller_spheres():
    spheres = extract(Field(trimesh.creation.box((2, 2, CENTRE_STEP))), 64, 0)
    np.testing.assert_array_equal(spheres[:, 2], 0)
    np.testing.assert_array_equal(spheres[:, 3], RADIUS_STEP)


# --- Choice -----------------------------------------------------------------------------------------------------------


def test_the_largest_first_then_what_reaches_farthest_out():
    centres = np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [3.1, 0, 0]], np.float64)
    radius = np.array([1.0, 0.9, 0.2, 0.25])
    # After the first: 0 + 0.9, 2 + 0.2, 2.1 + 0.25; after the fourth: 0 + 0.9, and 0.1 − 0.25 + 0.2.
    assert spread(centres, radius, 4).tolist() == [0, 3, 1, 2]
    assert spread(centres, radius, 9).tolist() == [0, 3, 1, 2]
    assert spread(centres, radius, 1).tolist() == [0]


# --- Bytes ------------------------------------------------------------------------------------------------------------

numbers = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, (n, 3), elements=st.integers(0, 255)), arrays(np.int64, (n, 1), elements=st.integers(1, 511))
    )
)


def on_steps(levels, radius):
    return np.concatenate([levels * CENTRE_STEP - 1, radius * RADIUS_STEP], 1).astype(np.float32)


@given(numbers)
def test_spheres_come_back_in_the_order_of_the_curve(drawn):
    spheres = on_steps(*drawn)
    back = unpack(pack(spheres))
    assert sorted(map(tuple, back)) == sorted(map(tuple, spheres))
    assert pack(back) == pack(spheres)


def test_the_bytes_of_two_spheres():
    # Levels (3, 1, 0) and (1, 0, 1): codes 0b001011 and 0b000101, so steps 5 and 6; radii 4 and 3, so changes 4 and −1,
    # folded 8 and 1. Steps with parameter 2: 10 01, 10 10; changes with parameter 1: 11110 0, 0 1.
    spheres = on_steps(np.array([[3, 1, 0], [1, 0, 1]]), np.array([[3], [4]]))
    bits = "1001" + "111100" + "1010" + "01"
    expected = bytes([2, 2, 1]) + int(bits, 2).to_bytes(2, "big")
    assert pack(spheres) == expected
    np.testing.assert_array_equal(unpack(expected), spheres[::-1])


def test_a_hundred_and_twenty_eight_spheres_take_three_bytes_each():
    spheres = extract(Field(trimesh.creation.torus(0.7, 0.25)), 128, 0)
    assert len(pack(spheres)) < 3.2 * 128


def test_damaged_spheres_are_refused_or_are_spheres():
    rng = np.random.default_rng(0)
    whole = pack(on_steps(rng.integers(0, 256, (30, 3)), rng.integers(1, 50, (30, 1))))
    for length in range(len(whole)):
        with pytest.raises(BitstreamError):
            unpack(whole[:length])
    with pytest.raises(BitstreamError, match="after the last"):
        unpack(whole + b"\0")
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        try:
            spheres = unpack(bytes(changed))
        except BitstreamError:
            continue
        assert (np.abs(spheres[:, :3]) <= 1).all()
        assert (spheres[:, 3] > 0).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes([0, 0, 0]),
        bytes([255, 255, 3, 0, 0, 0]),
        bytes([1, 25, 0, 0, 0, 0, 0]),  # a parameter beyond the bits of a code
        bytes([1, 0, 0, 0]),  # a radius of 0
        bytes([1, 0, 0, 0b0_0100000]),  # a radius below 0: folded 1
        bytes([1, 0, 0, 0b0_110_0001]),  # a one in the padding
        bytes([1, 24, 0]) + int("10" + "0" * 23 + "110" + "0000", 2).to_bytes(4, "big"),  # beyond the curve
    ],
)
def test_what_cannot_be_spheres_is_refused(data):
    with pytest.raises(BitstreamError):
        unpack(data)


# --- The published files ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("identity", ["44234", "53159", "76277", "96481"])  # these are in the frame of the files
def test_as_close_to_the_surface_as_the_published_spheres_and_better_spread(identity, real_data):
    if not (real_data / "keyspheres").is_dir():
        pytest.skip("needs the published spheres in BENCH_DATA")
    with (real_data / "keyspheres" / "INDEX.csv").open() as index:
        row = next(r for r in csv.DictReader(index) if (r["id"], r["kind"], r["count"]) == (identity, "in", "128"))
    theirs = np.loadtxt((real_data / row["path"]).read_text().splitlines()[1:-1])[:, :4]
    theirs = np.column_stack([(theirs[:, :3] - 64) / 64, theirs[:, 3] / 64])
    field = Field(trimesh.load(real_data / row["mesh_path"], force="mesh", process=False))
    ours = extract(field, 128, 0)
    points, _ = field.surface.sample(5000, np.random.default_rng(1))

    def uncovered(spheres):
        return np.abs((np.linalg.norm(points[:, None] - spheres[None, :, :3], axis=2) - spheres[:, 3]).min(1)).mean()

    assert residual(field, theirs).mean() == pytest.approx(float(row["mean_abs_residual"]), rel=0.03)
    assert residual(field, ours).mean() < 0.3 * residual(field, theirs).mean()
    assert uncovered(ours) < 0.9 * uncovered(theirs)
