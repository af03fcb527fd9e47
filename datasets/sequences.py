"""Sequences in folders: a file ``sequence.toml`` says that the meshes beside it are the frames of one motion.

    frames = true
    fps = 30                             # optional
    order = ["rest.obj", "jump.obj"]     # optional

Without ``order``, a frame has the last number in the name of its file: ``walk_0007.obj`` is frame 7. If two files have
the same number, or a file has none, the names are sorted (numbers in them as numbers) and counted from 0.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcbench.datasets.base import Motion
from gcbench.datasets.regular import open_regular
from gcbench.errors import BadMesh, UsageError

FILE = "sequence.toml"
_MOST_BYTES = 1 << 20
_MOST_FPS = 1e6
_NUMBERS = re.compile(r"([0-9]+)")
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Described:
    """What a file ``sequence.toml`` says."""

    frames: bool = True  # False: the meshes are no sequence
    fps: float | None = None
    order: tuple[str, ...] = ()  # names of files


def motions(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[Path, Motion]:
    """Which mesh files are frames of a sequence.

    Parameters
    ----------
    paths : iterable of Path
        Mesh files.
    name : callable
        Folder → name of its sequence.

    Raises
    ------
    UsageError
        A ``sequence.toml`` beside a mesh is wrong, or its ``order`` lacks a mesh.
    """
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    found: dict[Path, Motion] = {}
    for folder, meshes in folders.items():
        described = describe(folder)
        if described is not None and described.frames:
            frames = _frames(folder, described.order, meshes)
            found |= {path: Motion(name(folder), frame, described.fps) for path, frame in frames.items()}
    return found


def describe(folder: Path) -> Described | None:
    """Read the ``sequence.toml`` of a folder; None if there is none. Raises UsageError for a wrong one."""
    path = folder / FILE
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, BadMesh) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    for key, value in values.items():
        if key not in _KEYS:
            raise UsageError(f"{path}: unknown key '{key}'; possible are {', '.join(_KEYS)}")
        what, possible = _KEYS[key]
        if not possible(value):
            raise UsageError(f"{path}: {key} is {what}, not {value!r}")
    order = tuple(values.get("order", ()))
    return Described(values.get("frames", True), values.get("fps"), order)


def _is_fps(value: Any) -> bool:
    return type(value) in {int, float} and 0 < value < _MOST_FPS


def _is_order(value: Any) -> bool:
    names = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return names and len(set(value)) == len(value) > 0


_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "frames": ("true or false", lambda value: isinstance(value, bool)),
    "fps": ("a positive number", _is_fps),
    "order": ("a list of different names of files", _is_order),
}


def _frames(folder: Path, order: Sequence[str], meshes: Sequence[Path]) -> dict[Path, int]:
    """The number of each mesh, in the order of the motion."""
    if order:
        places = {name: place for place, name in enumerate(order)}
        if lacking := sorted(path.name for path in meshes if path.name not in places):
            raise UsageError(f"{folder / FILE}: order lacks {lacking[0]!r}")
        numbers = [places[path.name] for path in meshes]
    else:
        found = [_NUMBERS.findall(path.stem)[-1:] for path in meshes]
        numbers = [int(digits) for last in found for digits in last if len(digits) <= _MOST_DIGITS]
        if len(set(numbers)) < len(meshes):
            meshes = sorted(meshes, key=_natural)
            numbers = list(range(len(meshes)))
    return dict(sorted(zip(meshes, numbers, strict=True), key=lambda one: one[1]))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which ``a2`` comes before ``a10``."""
    parts = enumerate(_NUMBERS.split(path.name))
    return [(int(part[:18]) if place % 2 else 0, part) for place, part in parts]
