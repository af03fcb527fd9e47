"""Thingi10K (Zhou and Jacobson 2016): ten thousand 3-D printing models."""

from __future__ import annotations

from pathlib import Path

from gcbench.datasets.base import MeshSource
from gcbench.datasets.published import PublishedDataset
from gcbench.geometry import files as readers


class Thingi10k(PublishedDataset):
    """Thingi10K. The name of a mesh is the number of the file, e.g. ``112932``.

    Layouts, under ``thingi10k/``, ``Thingi10K/`` or the data root itself: ``raw_meshes/<id>.<ext>`` as in the official
    archive, then ``reexport/<id>.<ext>`` for repaired files. The published list names ``<id>.obj`` although most files
    are STL; only the number is used.
    """

    name = "thingi10k"
    folders = ("thingi10k", "Thingi10K")
    title = "Thingi10K: CAD and 3-D printing models, many of them dirty (Zhou and Jacobson 2016)"
    remedy = "get it with: bench data fetch thingi10k"

    def found(self, root: Path) -> dict[str, MeshSource]:
        """Every model, by number."""
        meshes: dict[str, MeshSource] = {}
        for folder in (base / inner for base in self.bases(root) for inner in ("raw_meshes", "reexport")):
            for path in sorted(folder.glob("*")):
                if path.stem.isdecimal() and path.suffix.lower() in readers.SUFFIXES:
                    meshes.setdefault(path.stem, MeshSource(self.name, path.stem, path))
        return dict(sorted(meshes.items(), key=lambda item: int(item[0])))

    def mesh_of_line(self, line: str) -> str:
        """``100032.obj`` → ``100032``."""
        return line.partition(".")[0]
