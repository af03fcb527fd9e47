"""Training patches of PCGCv2: cubes of voxels, cut from shapes once and kept in a file, then turned and batched."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from gcbench.errors import UsageError
from gcbench.geometry.shapes import Points, Shape, made_up, normalised, rotation
from gcbench.training.sparse.meshes import NamedMesh
from gcbench.training.sparse.voxels import Voxels

if TYPE_CHECKING:
    from gcbench.codecs.pcgcv2.training import Settings

_HELD_OUT = ("human/samba", "human/crane-kick", "animal/cow-graze", "cad/gear")  # built-in meshes, for validation only
GAP = 24  # voxels between patches: two at stride 8, so that no kernel reaches from one patch to the next

BITS = (8.0, 10.0)
"""Resolutions of training patches: the longest side of a shape spans from 2^8 to 2^10 voxels."""

_SPLIT_EDGE = 48.0  # voxels; longer edges are halved, so that few samples fall outside the cube
_FINEST_SHARE = 0.5  # of the patches have the full resolution, at which codecs are measured

Patches = list[NDArray[np.int32]]


def batch(patches: Sequence[NDArray[np.int32]], size: int) -> Voxels:
    """Put patches side by side with gaps that no kernel reaches across."""
    pitch = -(-(size + GAP) // 8) * 8
    return Voxels.from_coordinates(
        torch.from_numpy(np.concatenate([patch + [pitch * i, 0, 0] for i, patch in enumerate(patches)]))
    )


def turned(patch: NDArray[np.int32], size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Turn and mirror a patch in one of the 48 ways of a cube."""
    swapped = patch[:, rng.permutation(3)]
    return np.where(rng.random(3) < 0.5, size - 1 - swapped, swapped).astype(np.int32)


def patches_of(out: Path, settings: Settings, meshes: Callable[[], Iterable[NamedMesh]]) -> tuple[Patches, Patches]:
    """Training and validation patches of a run; the first call makes them and keeps them in the folder of the run."""
    path = out / "patches.npz"
    made_with = json.dumps(
        [settings.patches, settings.made_up, settings.built_in, settings.patch_voxels, settings.seed]
    )
    if not path.exists():
        training, held_out = cut(settings, meshes() if settings.built_in else ())
        together = training + held_out
        temporary = out / ".patches.npz"
        np.savez_compressed(
            temporary,
            voxels=np.concatenate(together).astype(np.uint8),
            sizes=np.array([len(p) for p in together]),
            training=len(training),
            made_with=made_with,
        )
        temporary.replace(path)
    with np.load(path, allow_pickle=False) as file:
        if str(file["made_with"]) != made_with:
            raise UsageError(f"{path} was made with other settings: {file['made_with']}")
        every = np.split(file["voxels"].astype(np.int32), np.cumsum(file["sizes"])[:-1])
        return every[: int(file["training"])], every[int(file["training"]) :]


def cut(settings: Settings, meshes: Iterable[NamedMesh] = ()) -> tuple[Patches, Patches]:
    """Cut training patches from given meshes and made-up shapes, half each, and validation patches from others."""
    if settings.patch_voxels > 255:
        raise UsageError("patches are at most 255 voxels wide")
    known = [normalised(name, vertices, faces) for name, vertices, faces in meshes]
    kept = [shape for shape in known if shape.name not in _HELD_OUT]
    unseen = [shape for shape in known if shape.name in _HELD_OUT]
    rng = np.random.default_rng((settings.seed, 1))
    made = made_up(min(settings.made_up, settings.patches), settings.seed)
    training = [
        cut_from(pool[rng.integers(len(pool))], settings.patch_voxels, rng)
        for pool in (kept if i % 2 and kept else made for i in range(settings.patches))
    ]
    unseen = (unseen + made_up(8, settings.seed + 1)) * 2
    held_out = [cut_from(shape, settings.patch_voxels, rng) for shape in unseen]
    return training, held_out


def cut_from(shape: Shape, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Turn and scale a surface at random, and voxelise its part in a random cube of voxels.

    Samples are as dense as those of `gcbench.geometry.clouds.voxels.voxelise`.

    Parameters
    ----------
    size : int
        Side of the cube in voxels; the cube is centred near a random point of the surface.

    Returns
    -------
    (N, 3) int32
        Distinct, in [0, size), N ≥ 1.
    """
    from gcbench.geometry.clouds.voxels import SAMPLES_PER_SQUARE_VOXEL

    bits = BITS[1] if rng.random() < _FINEST_SHARE else rng.uniform(*BITS)
    corners = (shape.vertices @ rotation(rng).T * 2.0 ** (bits - 1)).astype(np.float32)[shape.faces]
    centre = corners[rng.choice(len(corners), p=_shares(corners))].mean(0) + rng.uniform(-size / 4, size / 4, 3)
    corners += size / 2 - centre
    corners = _within(corners, size)
    while len(corners):
        longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
        if not (longest > _SPLIT_EDGE).any():
            break
        corners = np.concatenate(
            [corners[longest <= _SPLIT_EDGE], _within(_quartered(corners[longest > _SPLIT_EDGE]), size)]
        )
    if len(corners):
        area = _areas(corners).sum()
        samples = (
            _samples(corners, math.ceil(area * SAMPLES_PER_SQUARE_VOXEL), rng) + 1
        )  # after adding 1, truncation below equals floor
        voxels = samples.clip(0, size + 1).astype(np.int64) @ [(size + 2) ** 2, size + 2, 1]
        occupied = np.zeros((size + 2,) * 3, bool)
        occupied.reshape(-1)[voxels] = True
        inside = np.argwhere(occupied[1:-1, 1:-1, 1:-1])
        if len(inside):
            return inside.astype(np.int32)
    return cut_from(shape, size, rng)  # try again: the cube contains no surface


def _shares(corners: Points) -> Points:
    areas = _areas(corners).astype(np.float64)
    shares: Points = areas / areas.sum()
    return shares


def _areas(corners: Points) -> Points:
    doubled: Points = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return doubled / 2


def _samples(corners: Points, count: int, rng: np.random.Generator) -> Points:
    """Uniform samples of triangles, in the order of the triangles: (F, 3, 3) to (count, 3)."""
    areas = _areas(corners)
    # Each face gets samples in proportion to its area, rounded up or down at random.
    edges = np.floor(np.cumsum(areas) * (count / areas.sum()) + rng.random()).astype(np.int64).clip(max=count)
    edges[-1] = count
    face = np.repeat(np.arange(len(corners)), np.diff(edges, prepend=0))
    along, across = rng.random((2, count, 1), dtype=np.float32)
    outside = along + across > 1
    along, across = np.where(outside, 1 - along, along), np.where(outside, 1 - across, across)
    origin, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    sampled: Points = origin[face] + along * first[face] + across * second[face]
    return sampled


def _within(corners: Points, size: int) -> Points:
    """Triangles whose bounding boxes meet the cube [0, size]³."""
    met: Points = corners[((corners.max(1) > 0) & (corners.min(1) < size)).all(1)]
    return met


def _quartered(corners: Points) -> Points:
    """Split each triangle at the middles of its edges."""
    a, b, c = corners.transpose(1, 0, 2)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    quarters: Points = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(0, 2, 1, 3)
    return quarters.reshape(-1, 3, 3)
