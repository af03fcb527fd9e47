"""What a dataset is: a named source of mesh files, with splits. Knows nothing of codecs or the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from gcbench.errors import UsageError

Split = Literal["mini", "paper", "all"]
SPLITS: tuple[Split, ...] = ("mini", "paper", "all")


def as_split(name: str) -> Split:
    """Narrow a name from outside to a split.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    for split in SPLITS:
        if split == name:
            return split
    raise UsageError(f"unknown split '{name}'; known: {', '.join(SPLITS)}")


@dataclass(frozen=True)
class MeshSource:
    """Where one mesh comes from; a plain value, cheap to make and to pickle.

    Parameters
    ----------
    dataset : str
        Name of the dataset, e.g. ``ama``.
    mesh : str
        Identifier in the dataset, e.g. ``crane/mesh_0002``: unique, stable, the same on every machine.
    path : Path
        The file.
    frame : int
        Frame number in an animation file (``.anime``); 0 elsewhere.
    """

    dataset: str
    mesh: str
    path: Path
    frame: int = 0


@dataclass(frozen=True)
class MissingMesh:
    """A mesh that a split names and that is not on this machine."""

    dataset: str
    mesh: str


@dataclass(frozen=True)
class Selection:
    """The meshes of one split, in a fixed order, and what it names that is not here."""

    sources: tuple[MeshSource, ...]
    missing: tuple[MissingMesh, ...] = ()
    remedy: str = ""  # how to get what is missing


class Dataset(ABC):
    """A named source of meshes.

    Third parties subclass it and register the class in the entry-point group ``gcbench.datasets``.
    """

    name: str
    splits: ClassVar[tuple[Split, ...]] = SPLITS
    default_split: ClassVar[Split] = "mini"  # what `bench run --dataset NAME` takes when no --split is given

    def require_split(self, split: Split) -> None:
        """Raise UsageError, with the splits there are, if the dataset has no such split."""
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
            No root, nothing found under it, or the list of the published selection is not here.
        UsageError
            The dataset has no such split.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line for ``bench list datasets``: what it is and where it comes from."""
