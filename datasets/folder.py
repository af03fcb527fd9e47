"""Any folder of OBJ, STL, PLY or OFF files as a dataset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gcbench.datasets.base import Dataset, MeshSource, Selection, Split
from gcbench.errors import DatasetMissing, UsageError
from gcbench.geometry import files as readers


class FolderDataset(Dataset):
    """Every mesh file in a folder and its subfolders, except hidden ones; ``name`` is the name in results.

    The name of a mesh is its path in the folder without suffix (``cat-poses/cat-02``); if two files differ only in the
    suffix, both names keep the suffix. Meshes are ordered by name.
    """

    splits = ("all",)
    default_split = "all"

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def require_split(self, split: Split) -> None:
        """Raise UsageError for any split but ``all``."""
        if split not in self.splits:
            raise UsageError(f"'{self.name}' is a folder ({self.path}) and has no split '{split}', only 'all'")

    def select(self, split: Split, root: Path | None) -> Selection:
        """Find the mesh files; see :meth:`Dataset.select`."""
        self.require_split(split)
        files = {path.relative_to(self.path).as_posix(): path for path in mesh_files(self.path)}
        stems = Counter(relative.rpartition(".")[0] for relative in files)
        named = {}
        for relative, path in files.items():
            stem = relative.rpartition(".")[0]
            named[stem if stems[stem] == 1 and stem not in files else relative] = path
        if not named:
            raise DatasetMissing(
                f"no mesh files in {self.path}", f"a folder dataset needs files with {', '.join(readers.SUFFIXES)}"
            )
        return Selection(tuple(MeshSource(self.name, mesh, path) for mesh, path in sorted(named.items())))

    def describe(self) -> str:
        """One line: which folder."""
        return f"folder {self.path}"


def mesh_files(folder: Path) -> Iterator[Path]:
    """Every OBJ, STL, PLY and OFF file in a folder and its subfolders; links are followed, but not in a circle."""
    seen: set[Path] = set()
    for parent, subfolders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        if here.resolve() in seen:
            subfolders.clear()
            continue
        seen.add(here.resolve())
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in readers.SUFFIXES:
                yield here / name
