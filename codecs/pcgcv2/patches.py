"""Training patches of PCGCv2: cubes of voxels, cut from shapes once and kept in a file, then turned and batched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from gcbench.codecs.pcgcv2 import shapes
from gcbench.codecs.pcgcv2.sparse import Voxels
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.codecs.pcgcv2.training import Settings

_HELD_OUT = ("human/samba", "human/crane-kick", "animal/cow-graze", "cad/gear")  # built-in meshes, for validation only
GAP = 24  # voxels between patches: two at stride 8, so that no kernel reaches from one patch to the next

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


def patches_of(
    out: Path, settings: Settings, meshes: Callable[[], Iterable[shapes.NamedMesh]]
) -> tuple[Patches, Patches]:
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


def cut(settings: Settings, meshes: Iterable[shapes.NamedMesh] = ()) -> tuple[Patches, Patches]:
    """Cut training patches from given meshes and made-up shapes, half each, and validation patches from others."""
    if settings.patch_voxels > 255:
        raise UsageError("patches are at most 255 voxels wide")
    known = shapes.given(meshes)
    kept = [shape for shape in known if shape.name not in _HELD_OUT]
    unseen = [shape for shape in known if shape.name in _HELD_OUT]
    rng = np.random.default_rng((settings.seed, 1))
    made = shapes.made_up(min(settings.made_up, settings.patches), settings.seed)
    training = [
        shapes.patch(pool[rng.integers(len(pool))], settings.patch_voxels, rng)
        for pool in (kept if i % 2 and kept else made for i in range(settings.patches))
    ]
    unseen = (unseen + shapes.made_up(8, settings.seed + 1)) * 2
    held_out = [shapes.patch(shape, settings.patch_voxels, rng) for shape in unseen]
    return training, held_out
