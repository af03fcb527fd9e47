"""Fixed orthographic cameras around a mesh, and what each sees at the centres of its pixels: depths and normals.

The same cameras and pixels serve every mesh and every codec. Nothing
is random, and what decides a value is computed element by element, so the order of the faces decides none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.geometry.surface import Floats, Ints, Surface

VIEWS = 16
"""Source: cameras of IBSM in MPEG's mmetric, which are on a Fibonacci sphere too."""

RESOLUTION = 1024
"""Pixels along each side of a view.

Chosen here: a pixel is 0.0035 wide where the mesh is 2 long, under the edges of most meshes of 20 000 faces; half of
MPEG's 2048 costs a quarter. On real meshes, PSNRs and outlines are the same at 2048 to 0.2 dB and 0.0002. SSIM is lower
the finer the pixels, as its windows are 7 of them wide, so this number is part of its definition.
"""

HALF_WIDTH = 1.02 * math.sqrt(3)
"""Half of the side of the square that a view shows: the cube [-1, 1]³ seen from anywhere, and a margin."""

PIXEL = 2 * HALF_WIDTH / RESOLUTION
"""Side of a pixel, in units of the normalised mesh."""

# What is upright in an image. No edge of a box is parallel to a row or a column of pixels, where it would enter or
# leave a whole line of pixels at once; no direction of view is near it.
_UPRIGHT = np.array([1.0, 2.0, 4.0]) / math.sqrt(21)
# Farther away than a million times the mesh, vertices are drawn at that distance: pixels stay within int64.
_FARTHEST = 1e6
# Of a unit normal, along the axis of view: under this, a triangle is seen edge-on and its plane has no one depth.
_EDGE_ON = 1e-12


@dataclass(frozen=True, eq=False)
class View:
    """The pixels that a mesh covers in one view.

    Parameters
    ----------
    pixels : (n,) int64
        Flat indices, row · RESOLUTION + column, ascending.
    depths : (n,) float64
        Of the surface behind the centre of each pixel, along the axis of view; 0 at the origin, larger farther away.
    normals : (n, 3) float32
        Of the face there, to the right, downwards and towards the camera. The last one is not negative: faces have no
        back.
    """

    pixels: Ints
    depths: Floats
    normals: NDArray[np.float32]


def cameras() -> Floats:
    """Axes of all views, (VIEWS, 3, 3): to the right, downwards, and from the origin towards the camera.

    Source: spherical Fibonacci points; Swinbank and Purser, Fibonacci grids: A novel approach to global modelling
    (2006).
    """
    index = np.arange(VIEWS) + 0.5
    height, turn = 1 - 2 * index / VIEWS, index * math.pi * (3 - math.sqrt(5))
    reach = np.sqrt(1 - height**2)
    towards = np.stack([reach * np.cos(turn), reach * np.sin(turn), height], axis=1)
    right = np.cross(_UPRIGHT, towards)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(right, towards), towards], axis=1)


def draw(surface: Surface, camera: Floats) -> View:
    """What a camera, (3, 3) of :func:`cameras`, sees of a surface. Parts outside of the image are cut off."""
    from gcbench.geometry.rasteriser import visible_faces

    x, y, closeness = _along(camera, np.clip(surface.corners, -_FARTHEST, _FARTHEST))
    points = np.empty((x.size, 3))
    points[:, 0], points[:, 1] = ((place.reshape(-1) / HALF_WIDTH + 1) * (RESOLUTION / 2) for place in (x, y))
    # The rasteriser takes the largest of what is linear over the image and positive.
    points[:, 2] = closeness.reshape(-1) - closeness.min() + 1
    seen = visible_faces(points, np.arange(x.size).reshape(-1, 3), RESOLUTION).reshape(-1)

    pixels = np.flatnonzero(seen >= 0)
    face = seen[pixels]
    normals = np.stack(_along(camera, surface.normals), axis=1)
    normals *= np.where(normals[:, 2:] < 0, -1.0, 1.0)
    normal = normals[face]
    right, down = ((place + 0.5) * PIXEL - HALF_WIDTH for place in (pixels % RESOLUTION, pixels // RESOLUTION))
    slope = normal[:, 0] * (right - x[face, 0]) + normal[:, 1] * (down - y[face, 0])
    depths = slope / np.maximum(normal[:, 2], _EDGE_ON) - closeness[face, 0]
    # The plane of a triangle that is seen edge-on is anywhere; the triangle is not.
    nearest, farthest = -np.maximum.reduce(closeness, axis=1), -np.minimum.reduce(closeness, axis=1)
    depths = np.clip(depths, nearest[face], farthest[face])
    return View(pixels, depths, normal.astype(np.float32))


def _along(camera: Floats, vectors: Floats) -> tuple[Floats, Floats, Floats]:
    """Vectors (..., 3) along each axis of a camera, each by itself: a matrix product rounds by place in the array."""
    u, v, w = (np.ascontiguousarray(vectors[..., axis]) for axis in range(3))
    right, down, towards = (u * axis[0] + v * axis[1] + w * axis[2] for axis in camera)
    return right, down, towards
