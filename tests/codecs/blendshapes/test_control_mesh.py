"""The fit of a control mesh: exact where the control mesh can be the mesh, and not led astray where limbs touch."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from bending import motion

from gcbench.codecs.blendshapes.control_mesh import ControlMesh, _places, distance, fitted
from gcbench.codecs.blendshapes.simplification import simplify
from gcbench.geometry.surface import Surface


def arrays(meshes: list[trimesh.Trimesh]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([mesh.vertices for mesh in meshes]), np.asarray(meshes[0].faces, np.int64)


def test_where_limbs_touch_in_one_pose_the_others_decide():
    """Two balls in one place in the first pose, apart in the second."""
    ball = trimesh.creation.icosphere(2)
    together = trimesh.util.concatenate([ball, ball])
    apart = trimesh.util.concatenate([ball, ball.copy().apply_translation([5, 0, 0])])
    originals, faces = arrays([together, apart])
    control = ControlMesh(faces, originals.shape[1], 0)
    for order in ([0, 1], [1, 0]):
        places = _places(originals[order], control, originals[order])
        half = len(ball.vertices)
        assert not places[:half, half:].nnz or np.abs(places[:half, half:]).max() < 1e-9
        assert np.abs(places[half:, :half]).sum() < 1e-9


def test_a_surface_of_the_control_mesh_itself_is_found_again():
    """Originals that are subdivided control meshes: nearly, for it is a little stiff; nearer if begun beside it."""
    base = trimesh.creation.icosphere(1)
    control = ControlMesh(np.asarray(base.faces, np.int64), len(base.vertices), 2)
    rng = np.random.default_rng(0)
    truth = np.asarray(base.vertices) + 0.1 * rng.normal(size=(3, len(base.vertices), 3))
    originals = np.stack([control.mesh(each)[0] for each in truth])
    for noise, left in ((0.0, 0.004), (0.01, 0.008)):
        start = truth + noise * rng.normal(size=truth.shape)
        found = fitted(control, start, np.arange(3), originals, control.surface[1])
        assert np.sqrt(((found - truth) ** 2).mean()) < left


@pytest.mark.parametrize("subdivisions", [0, 2])
def test_meshes_that_took_no_part_in_the_simplification_are_fitted_as_well(subdivisions):
    meshes, faces = arrays(motion(9))
    posed = np.array([0, 4, 8])
    (simplified,) = simplify(meshes[posed], faces, [120])
    control = ControlMesh(simplified.faces, 120, subdivisions)
    found = fitted(control, simplified.poses, posed, meshes, faces)
    errors = [distance(Surface(mesh, faces), *control.mesh(each)) for mesh, each in zip(meshes, found, strict=True)]
    assert max(errors) < 0.006
    assert np.mean(np.delete(errors, posed)) < 1.3 * np.mean(np.array(errors)[posed])


def test_distance_is_the_mean_of_both_directions():
    ball, larger = trimesh.creation.icosphere(4), trimesh.creation.icosphere(4, 1.1)
    surface = Surface(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert distance(surface, np.asarray(larger.vertices), np.asarray(larger.faces)) == pytest.approx(0.1, rel=0.01)
