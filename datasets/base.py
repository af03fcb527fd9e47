"""The dataset interface: a named source of mesh files, with splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from gcbench.errors import UsageError

Split = Literal["mini", "paper", "all"]
SPLITS: tuple[Split, ...] = ("mini", "paper", "all")


def as_split(name: str) -> Split:
    """Check the name of a split. Raises UsageError for an unknown name."""
    for split in SPLITS:
        if split == name:
            return split
    raise UsageError(f"unknown split '{name}'; known: {', '.join(SPLITS)}")


@dataclass(frozen=True)
class Motion:
    """Where a mesh is in a motion: it is one frame of a sequence."""

    sequence: str  # name in the dataset, such as "crane"
    frame: int  # number in the sequence; the numbers of frames that are not in the dataset are left out
    fps: float | None = None  # frames in a second of the motion, if known


@dataclass(frozen=True)
class MeshSource:
    """The file of one mesh."""

    dataset: str  # such as "ama"
    mesh: str  # name in the dataset, such as "crane/mesh_0002": unique, and the same on every machine
    path: Path
    frame: int = 0  # in an animation file (.anime)
    motion: Motion | None = None  # None: the mesh is no frame of a sequence


@dataclass(frozen=True)
class MissingMesh:
    """A mesh of a split that is not on this machine."""

    dataset: str
    mesh: str


@dataclass(frozen=True)
class Selection:
    """The meshes of one split, in a fixed order, and those that are not on this machine."""

    sources: tuple[MeshSource, ...]
    missing: tuple[MissingMesh, ...] = ()
    remedy: str = ""  # how to get the missing meshes
    notes: tuple[str, ...] = ()  # what the user should know: folders that cannot be listed, files of other formats


class Dataset(ABC):
    """A named source of meshes. Plugins register a subclass in the entry-point group ``gcbench.datasets``."""

    name: str
    splits: ClassVar[tuple[Split, ...]] = SPLITS
    default_split: ClassVar[Split] = "mini"  # of `bench run --dataset NAME` without --split

    def require_split(self, split: Split) -> None:
        """Raise UsageError if the dataset does not have a split."""
        if split not in self.splits:
            raise UsageError(f"dataset '{self.name}' has no split '{split}'; it has: {', '.join(self.splits)}")

    @abstractmethod
    def select(self, split: Split, root: Path | None) -> Selection:
        """Resolve a split to files.

        Parameters
        ----------
        split : {"mini", "paper", "all"}
            Built-in generated meshes, the published selection, or every mesh found.
        root : Path or None
            The data root (``BENCH_DATA`` or ``--data``); ``mini`` does not need one.

        Raises
        ------
        DatasetMissing
            There is no root, no mesh under it, or no list of the published selection.
        UsageError
            The dataset has no such split.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line for ``bench list datasets``: content and origin."""
