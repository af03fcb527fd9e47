"""Write meshes to OBJ, PLY, STL and GLB files, each in one step: a file is whole or is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcbench.bench.store.safe_files import write_file


def write_mesh(path: Path, vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> None:
    """Write a mesh in the format of the path's suffix, with trimesh. OBJ has nine digits, the others float32.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)
    kind = path.suffix.removeprefix(".")
    options: dict[str, Any] = {"digits": 9, "include_normals": False} if kind == "obj" else {}
    data = mesh.export(file_type=kind, **options)
    write_file(path, data.encode() if isinstance(data, str) else bytes(data))
