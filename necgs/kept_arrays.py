"""Arrays in files of a work folder: what was computed for a mesh once, and a later training finds again."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.errors import BenchError

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray


def key_of(recipe: str, mesh: trimesh.Trimesh) -> str:
    """Address of what is made of a mesh: equal for equal work.

    Parameters
    ----------
    recipe : str
        All that the arrays depend on besides the mesh, the version of the computation included.
    mesh : trimesh.Trimesh
    """
    digest = hashlib.sha256(recipe.encode())
    digest.update(np.ascontiguousarray(mesh.vertices, "<f8").data)
    digest.update(np.ascontiguousarray(mesh.faces, "<i8").data)
    return digest.hexdigest()[:32]


def read(path: Path) -> dict[str, NDArray[Any]] | None:
    """Arrays by name, or None where there is no file or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file, whole or not at all; its folder is made if it is missing.

    Raises
    ------
    BenchError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        Path(file.name).replace(path)
    except OSError as error:
        raise BenchError(f"cannot write to the work folder {path.parent}: {error}") from error
