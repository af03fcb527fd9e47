"""Training samples of SIR-SNC: blocks of meshes at several resolutions, made once and kept in a file, then turned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gcbench.codecs.sirsnc.blocks import AROUND, REACH, SIDE, TRUNCATION, Blocks, blocks_of, morton, vertices_of_a_block
from gcbench.errors import BadMesh, UsageError
from gcbench.geometry.shapes import made_up, normalised, rotation
from gcbench.training.progress import Progress, silent
from gcbench.training.sparse.meshes import NamedMesh
from gcbench.training.sparse.voxels import Voxels

if TYPE_CHECKING:
    from gcbench.codecs.sirsnc.training import Settings

RESOLUTIONS = ((64, 0.25), (96, 0.3), (128, 0.3), (192, 0.15))
"""Resolutions of samples, and their shares."""

MOST_BLOCKS = 1600
"""In a sample; a larger mesh is cut to the blocks near a random one."""

HELD_OUT = 16
_UNIT = 127 / TRUNCATION
_PITCH = 128  # blocks between samples of a batch
_UPRIGHT_SHARE = 0.5  # of the meshes keep their direction; the others are turned at random


@dataclass(frozen=True)
class Batch:
    """Samples side by side, in Morton order.

    Parameters
    ----------
    voxels : Voxels
        M blocks.
    values : (M, 64) float32
    band : (M, 8) bool
    around : (M, 125) float32
    """

    voxels: Voxels
    values: torch.Tensor
    band: torch.Tensor
    around: torch.Tensor


def samples_of(
    out: Path, settings: Settings, meshes: Callable[[], Iterable[NamedMesh]], progress: Progress = silent
) -> tuple[list[Blocks], list[Blocks]]:
    """Training and validation samples of a run; the first call makes them and keeps them in the folder of the run."""
    path = out / "samples.npz"
    made_with = json.dumps([settings.made_up, settings.built_in, settings.seed])
    if not path.exists():
        made = make(settings, meshes() if settings.built_in else (), progress)
        temporary = out / ".samples.npz"
        np.savez_compressed(
            temporary,
            places=np.concatenate([blocks.places for blocks in made]).astype(np.uint8),
            values=np.rint(np.concatenate([blocks.values for blocks in made]) * _UNIT).astype(np.int8),
            band=np.packbits(np.concatenate([blocks.band for blocks in made]), axis=1)[:, 0],
            around=np.concatenate([blocks.around for blocks in made]),
            sizes=np.array([len(blocks.places) for blocks in made]),
            made_with=made_with,
        )
        temporary.replace(path)
    with np.load(path, allow_pickle=False) as file:
        if str(file["made_with"]) != made_with:
            raise UsageError(f"{path} was made with other settings: {file['made_with']}")
        ends = np.cumsum(file["sizes"])[:-1]
        places = np.split(file["places"].astype(np.int32), ends)
        values = np.split(file["values"], ends)
        band = np.split(np.unpackbits(file["band"][:, None], axis=1).astype(bool), ends)
        around = np.split(file["around"], ends)
    every = [
        Blocks(p, v.astype(np.float32) / np.float32(_UNIT), b, a)
        for p, v, b, a in zip(places, values, band, around, strict=True)
    ]
    return every[:-HELD_OUT], every[-HELD_OUT:]


def make(settings: Settings, meshes: Iterable[NamedMesh], progress: Progress = silent) -> list[Blocks]:
    """The blocks of given meshes and of made-up shapes, shuffled; one resolution for each."""
    import trimesh

    shapes = [normalised(name, vertices, faces) for name, vertices, faces in meshes]
    shapes += made_up(settings.made_up, settings.seed)
    rng = np.random.default_rng((settings.seed, 2))
    found = []
    for done, index in enumerate(rng.permutation(len(shapes))):
        shape = shapes[index]
        resolution = int(rng.choice([r for r, _ in RESOLUTIONS], p=[share for _, share in RESOLUTIONS]))
        turn = np.eye(3) if rng.random() < _UPRIGHT_SHARE else rotation(rng)
        turned = normalised(shape.name, shape.vertices @ turn.T, shape.faces)
        progress(done / len(shapes), f"distances of {done} of {len(shapes)} shapes")
        try:
            found.append(blocks_of(trimesh.Trimesh(turned.vertices, turned.faces, process=False), resolution))
        except BadMesh:
            continue
    if len(found) <= HELD_OUT:
        raise UsageError(f"{len(found)} shapes are too few: {HELD_OUT} validate")
    return found


def batch(samples: Sequence[Blocks]) -> Batch:
    """Put samples side by side, with gaps that no kernel reaches across."""
    shifted = [sample.places + [_PITCH * i, 0, 0] for i, sample in enumerate(samples)]
    order = np.argsort(morton(np.concatenate(shifted)))
    keys = torch.from_numpy(morton(np.concatenate(shifted))[order])
    values = np.concatenate([sample.values for sample in samples])[order]
    band = np.concatenate([sample.band for sample in samples])[order]
    around = np.concatenate([sample.around for sample in samples])[order].astype(np.float32)
    return Batch(Voxels(keys), *(torch.from_numpy(array) for array in (values, band, around)))


def cropped(sample: Blocks, rng: np.random.Generator, most: int = MOST_BLOCKS) -> Blocks:
    """The blocks in a cube around a random block, at most about ``most``."""
    if len(sample.places) <= most:
        return sample
    far = np.abs(sample.places - sample.places[rng.integers(len(sample.places))]).max(1)
    kept = far <= np.partition(far, most)[most] - 1
    return Blocks(sample.places[kept], sample.values[kept], sample.band[kept], sample.around[kept])


def turned(sample: Blocks, axes: Sequence[int], flipped: Sequence[bool]) -> Blocks:
    """The sample after a permutation of its axes, then mirrored along some of them."""
    flip = np.array(flipped)
    extent = sample.places.max()
    places = np.where(flip, extent - sample.places[:, axes], sample.places[:, axes])
    inner = vertices_of_a_block()
    moved = np.where(flip, SIDE - 1 - inner[:, axes], inner[:, axes])
    vertex = np.argsort(morton(moved))  # where each vertex of the result comes from
    octant = vertex.reshape(8, 8)[:, 0] // 8
    order = np.argsort(morton(places))
    cubes = sample.around[order].reshape(-1, *(2 * REACH + 1,) * 3).transpose(0, *(axis + 1 for axis in axes))
    around = np.flip(cubes, tuple(axis + 1 for axis in range(3) if flipped[axis])).reshape(-1, AROUND)
    values, band = sample.values[order][:, vertex], sample.band[order][:, octant]
    return Blocks(places[order].astype(np.int32), values, band, around)
