"""Base class of datasets with a published selection: resolves the three splits from the files and the list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from gcbench.datasets.base import Dataset, MeshSource, MissingMesh, Selection, Split
from gcbench.datasets.lists import official_list
from gcbench.datasets.places import cache_dir
from gcbench.errors import DatasetMissing


class PublishedDataset(Dataset):
    """A dataset of files in a published layout, with a published list of meshes."""

    folders: ClassVar[tuple[str, ...]]  # possible names of its folder; the data root itself is searched too
    title: ClassVar[str]
    remedy: ClassVar[str]  # how to get the files

    @abstractmethod
    def found(self, root: Path) -> dict[str, MeshSource]:
        """Every mesh in the known layouts under the root: name → source, in a fixed order."""

    @abstractmethod
    def mesh_of_line(self, line: str) -> str:
        """Name of the mesh for a line of the published list."""

    def describe(self) -> str:
        """One line for ``bench list datasets``."""
        return self.title

    def select(self, split: Split, root: Path | None) -> Selection:
        """Resolve a split; see :meth:`Dataset.select`."""
        self.require_split(split)
        if split == "mini":
            from gcbench.datasets.minis import mini_sources

            return Selection(mini_sources(self.name, cache_dir()))
        if split == "paper":
            return self.pick(self.published(root), root)
        sources = tuple(self.found(root).values()) if root is not None and root.is_dir() else ()
        if not sources:
            raise DatasetMissing(f"no {self.name} meshes {self.where(root)}", self.absent_remedy(root))
        return Selection(sources)

    def published(self, root: Path | None) -> tuple[str, ...]:
        """Lines of the published list."""
        return official_list(self.name, root, cache_dir())

    def pick(self, lines: tuple[str, ...], root: Path | None) -> Selection:
        """Resolve lines of the published list, in order; meshes without a file are in ``missing``."""
        here = self.found(root) if root is not None and root.is_dir() else {}
        wanted = [self.mesh_of_line(line) for line in lines]
        sources = tuple(here[mesh] for mesh in wanted if mesh in here)
        missing = tuple(MissingMesh(self.name, mesh) for mesh in wanted if mesh not in here)
        return Selection(sources, missing, self.absent_remedy(root) if missing else "")

    def absent_remedy(self, root: Path | None) -> str:
        """How to get the meshes that are not under this root."""
        return self.remedy

    @staticmethod
    def where(root: Path | None) -> str:
        """Text for messages: where meshes were searched."""
        return f"under {root}" if root is not None else "(no data root: set BENCH_DATA or give --data)"

    def bases(self, root: Path) -> Iterator[Path]:
        """Folders to search: those of the dataset under the root, then the root itself."""
        yield from (root / folder for folder in self.folders if (root / folder).is_dir())
        yield root
