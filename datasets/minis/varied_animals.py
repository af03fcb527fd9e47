"""Random four-legged animals: species of the minis with other proportions, parts and poses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gcbench.datasets.minis import animal_parts as parts
from gcbench.datasets.minis import animals
from gcbench.datasets.minis.figures import Figure, blended, mirrored_pose, proportioned
from gcbench.datasets.minis.sculpt import Faces, Vertices, ellipsoid, surface
from gcbench.datasets.minis.skeleton import Pose, Vector, pose_bones, vector

__all__ = ["FREEDOM", "Animal", "random_animal"]

CELLS = 128  # of the grid along the longest side of an animal

_GROUPS = {
    "legs": ("thigh.L", "shank.L", "metatarsus.L", "arm.L", "forearm.L", "metacarpus.L"),
    "feet": ("hindfoot.L", "forefoot.L"),
    "trunk": ("croup", "thorax"),
    "neck": ("neck", "nape"),
    "head": ("head",),
    "tail": ("tail", "midtail", "brush"),
}


@dataclass(frozen=True)
class _Breed:
    """A kind of animal as a variation of one of the minis' species.

    Parameters
    ----------
    species : tuple of str
        Species to start from.
    scales : mapping of str to (3,) float
        Group of bones → factors along x, y and z; long bones of legs lie along y, tails along y and z.
    parts : tuple of str
        Parts that it has; other parts are rare.
    """

    species: tuple[str, ...]
    scales: Mapping[str, Vector] = field(default_factory=dict)
    parts: tuple[str, ...] = ()


_BREEDS = (
    _Breed(("horse", "dog", "cat", "cow")),
    _Breed(("horse", "dog", "cat", "cow"), {}, ("fur",)),
    _Breed(
        ("cow", "dog"),  # a bear
        {
            "legs": (1.5, 0.75, 1.5), "trunk": (1.3, 1.2, 1.0), "neck": (1.3, 0.8, 0.9), "tail": (1.0, 0.25, 0.25),
            "feet": (1.4, 1.1, 1.6),
        },
        ("fur", "ears"),
    ),
    _Breed(("dog",), {"tail": (2.0, 1.3, 1.3), "head": (1.0, 0.95, 1.1)}, ("ears",)),  # a fox, a wolf
    _Breed(("cat",), {"legs": (1.2, 1.0, 1.2), "head": (1.0, 1.0, 1.2), "tail": (0.9, 1.0, 1.0)}, ("mane",)),  # a lion
    _Breed(("horse",), {"legs": (0.85, 1.0, 0.85), "tail": (0.8, 0.3, 0.3)}, ("horns", "ears")),  # a deer
    _Breed(
        ("cow",),  # an elephant
        {"legs": (1.7, 0.9, 1.7), "neck": (1.2, 0.7, 0.7), "trunk": (1.15, 1.2, 0.95), "feet": (1.5, 1.0, 1.4)},
        ("trunk", "ears"),
    ),
    _Breed(("horse",), {"neck": (0.8, 2.0, 1.6), "legs": (0.9, 1.35, 0.9), "head": (0.85, 0.85, 0.85)}),  # a giraffe
    _Breed(
        ("cat", "dog", "horse"),  # a dragon
        {"neck": (1.0, 1.5, 1.5), "tail": (2.2, 1.8, 1.8), "head": (1.2, 1.1, 1.4)},
        ("wings", "horns", "spikes"),
    ),
    _Breed(
        ("cat", "dog"),  # a lizard
        {
            "legs": (1.1, 0.5, 1.1), "tail": (2.6, 1.6, 1.6), "trunk": (1.2, 0.8, 1.3), "head": (1.0, 0.75, 1.5),
            "neck": (1.2, 0.7, 1.0),
        },
        ("spikes",),
    ),
    _Breed(("cat",), {"tail": (1.6, 0.25, 0.25), "trunk": (1.2, 1.25, 0.85), "neck": (1.0, 0.7, 0.7)}, ("ears", "fur")),
    _Breed(("cow",), {"legs": (0.9, 0.6, 0.9), "tail": (1, 0.4, 0.4), "trunk": (1.2, 1, 1)}, ("ears",)),  # a pig
)  # fmt: skip
_RARE = 0.07  # probability of a part that the breed does not have


@dataclass(frozen=True)
class Animal:
    """A body and how far its joints may turn.

    Parameters
    ----------
    figure : Figure
    poses : tuple of Pose
        Poses to start from.
    freedom : mapping of str to (3,) float
        Bone → standard deviation of the angles about x, y, z around a pose, in degrees.
    """

    figure: Figure
    poses: tuple[Pose, ...]
    freedom: Mapping[str, Vector]

    def random_pose(self, rng: np.random.Generator) -> dict[str, Vector]:
        """One or two known poses, mirrored or not, and random angles."""
        chosen = [self.poses[i] for i in rng.integers(len(self.poses), size=2)]
        one, other = (mirrored_pose(pose) if rng.random() < 0.5 else pose for pose in chosen)
        part = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
        noise: dict[str, Vector] = {}
        for bone in self.figure.bones:
            x, y, z = np.clip(rng.normal(size=3), -2, 2) * self.freedom.get(bone.name, (0.0, 0.0, 0.0))
            noise[bone.name] = (float(x), float(y), float(z))
        return blended([(one, 1 - part), (other, part), (noise, 1.0)])

    def mesh(self, pose: Pose) -> tuple[Vertices, Faces]:
        """Mesh the animal in a pose: closed, y up."""
        frames = pose_bones(self.figure.bones, pose)
        ends = np.concatenate([frames[loft.bone](np.array([loft.start, loft.end])) for loft in self.figure.flesh])
        return surface(self.figure.flesh, frames, voxel=1.08 * float(np.ptp(ends, axis=0).max()) / CELLS, smoothing=3)


def random_animal(rng: np.random.Generator) -> Animal:
    """A four-legged animal: a breed with other proportions and parts."""
    breed = _BREEDS[int(rng.integers(len(_BREEDS)))]
    species = animals.SPECIES[str(rng.choice(breed.species))]
    unit, head = species.joints["croup"][1], parts.head_length(species)
    flesh, bones = list(species.flesh()), list(species.bones())

    def has(part: str) -> bool:
        return bool(rng.random() < (0.85 if part in breed.parts else _RARE))

    if has("ears"):
        flesh += parts.ears(rng, head)
    if has("horns"):
        flesh += parts.horns(rng, head)
    if has("wings"):
        more, flat = parts.wings(rng, unit, "thorax", (0.06 * unit, 0.12 * unit, 0.5 * unit))
        bones += more
        flesh += flat
    if has("mane"):
        flesh += parts.mane(rng, head)
    if has("spikes"):
        flesh += parts.spikes(rng, species)
    if has("trunk"):
        flesh += parts.trunk(rng, species)
    if has("hump"):
        size = rng.uniform(0.08, 0.2) * unit
        flesh.append(ellipsoid("thorax", (0.0, size, 0.3 * unit), (size, 1.3 * size, size), blend=species.blend))
    if has("fur"):
        flesh = [replace(loft, waves=parts.roughness(rng, 0.012 * unit, unit)) for loft in flesh]
    figure = proportioned(Figure(tuple(bones), tuple(flesh)), _proportions(rng, breed))
    return Animal(figure, (*animals.POSES.values(), _SIT, _REAR, _LIE, {}), FREEDOM)


FREEDOM: Mapping[str, Vector] = {
    **dict.fromkeys(("croup", "thorax"), (7.0, 7.0, 5.0)),
    **dict.fromkeys(("neck", "nape"), (16.0, 14.0, 6.0)),
    "head": (14.0, 14.0, 8.0),
    **dict.fromkeys(("tail", "midtail", "brush"), (24.0, 20.0, 8.0)),
    **{
        bone + side: (12.0, 4.0, 5.0)
        for bone in ("thigh", "shank", "metatarsus", "arm", "forearm", "metacarpus")
        for side in (".L", ".R")
    },
    **{bone + side: (10.0, 4.0, 3.0) for bone in ("hindfoot", "forefoot") for side in (".L", ".R")},
    **{bone + side: (15.0, 25.0, 35.0) for bone in ("wing", "pinion") for side in (".L", ".R")},
}

# In degrees, as those of the minis.
_SIT: Pose = {
    "croup": (-38, 0, 0), "thorax": (-8, 0, 0), "neck": (18, 0, 0), "head": (22, 0, 0), "tail": (30, 0, 0),
    **{bone + side: angles for side in (".L", ".R") for bone, angles in (
        ("thigh", (-50, 0, 14)), ("shank", (48, 0, 0)), ("metatarsus", (-50, 0, 0)), ("arm", (40, 0, 0)),
        ("forearm", (4, 0, 0)),
    )},
}  # fmt: skip
_REAR: Pose = {
    "croup": (-58, 0, 0), "thorax": (-10, 0, 0), "neck": (24, 0, 0), "nape": (12, 0, 0), "head": (26, 0, 0),
    "tail": (40, 0, 0),
    **{bone + side: angles for side in (".L", ".R") for bone, angles in (
        ("thigh", (50, 0, 6)), ("shank", (4, 0, 0)), ("metatarsus", (4, 0, 0)), ("arm", (10, 0, 8)),
        ("forearm", (-50, 0, 0)), ("metacarpus", (40, 0, 0)),
    )},
}  # fmt: skip
_LIE: Pose = {
    "neck": (-10, 10, 0), "head": (10, 15, 0), "tail": (20, 25, 0), "midtail": (10, 25, 0),
    **{bone + side: angles for side in (".L", ".R") for bone, angles in (
        ("thigh", (-80, 0, 18)), ("shank", (85, 0, 0)), ("metatarsus", (-85, 0, 0)), ("hindfoot", (40, 0, 0)),
        ("arm", (40, 0, 6)), ("forearm", (-115, 0, 0)), ("metacarpus", (5, 0, 0)), ("forefoot", (-10, 0, 0)),
    )},
}  # fmt: skip


def _proportions(rng: np.random.Generator, breed: _Breed) -> dict[str, Vector]:
    """Factors for every bone: those of the breed, a build, and noise; drawn animals have large heads and feet."""
    girth = np.exp(rng.normal(0, 0.12))
    build = {"legs": (girth, 1.0, girth), "trunk": (girth, girth, 1.0), "tail": (girth, 1.0, 1.0)}
    if rng.random() < 0.25:
        large = rng.uniform(1.1, 1.7)
        build |= {"head": (large, large, large), "feet": (girth * 1.3, 1.0, girth * 1.4)}
    scales: dict[str, Vector] = {}
    for group, members in _GROUPS.items():
        noise = np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.12))
        one = (1.0, 1.0, 1.0)
        scale = vector(noise * breed.scales.get(group, one) * build.get(group, one))
        scales |= dict.fromkeys(members, scale)
    return scales
