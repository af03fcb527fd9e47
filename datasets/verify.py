"""Check the files of a dataset: readable, unchanged, and how many of the published selection are here."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcbench.datasets.anime import AnimeFile
from gcbench.datasets.base import Dataset, MeshSource
from gcbench.datasets.checksums import file_sha256, read_checksums
from gcbench.datasets.folder import FolderDataset
from gcbench.datasets.loading import load
from gcbench.datasets.regular import irregular
from gcbench.errors import BadMesh, DatasetMissing, UsageError

MANIFEST = "MANIFEST.csv"
OK, WRONG, NOTHING_THERE = 0, 1, 3  # exit codes


@dataclass(frozen=True)
class VerifyReport:
    """The state of a dataset on this machine. "Listed" means in ``MANIFEST.csv`` or ``CHECKSUMS``."""

    dataset: str
    root: str
    meshes: int = 0
    files: int = 0  # an .anime file has many meshes
    unusable: tuple[tuple[str, str], ...] = ()  # mesh (or animation), and why it cannot be used
    matching: int = 0  # files with the listed SHA-256
    changed: tuple[str, ...] = ()  # files with another SHA-256 than the listed one
    absent: tuple[str, ...] = ()  # listed files that are not on disk
    unlisted: int = 0  # files that are not listed
    paper_found: int | None = None  # meshes of the published selection; None without a selection or its list
    paper_total: int | None = None
    paper_note: str = ""  # why paper_found is None

    @property
    def exit_code(self) -> int:
        """0 all files are good, 1 some are unusable, changed or absent, 3 the dataset is not on this machine."""
        if not self.meshes:
            return NOTHING_THERE
        return WRONG if self.unusable or self.changed or self.absent else OK


def _no_progress(_done: int, _total: int, _file: str) -> None:
    """Discard progress."""


def verify(dataset: Dataset, root: Path, progress: Callable[[int, int, str], None] = _no_progress) -> VerifyReport:
    """Read every file of the split ``all``, and compare hashes with the lists in the data root.

    Nothing is written, and no cache is used. All frames of an animation are read, but only the first is normalised.
    ``progress`` is called with the number of files done, the total, and the next name.
    """
    found, total, note = _paper(dataset, root)
    try:
        sources = dataset.select("all", root).sources
    except DatasetMissing as error:
        note = "; ".join(filter(None, [str(error), note]))
        return VerifyReport(dataset.name, str(root), paper_found=found, paper_total=total, paper_note=note)

    listed = _listed(root)
    by_file: dict[Path, MeshSource] = {}
    for source in sources:
        by_file.setdefault(source.path, source)
    unusable: list[tuple[str, str]] = []
    changed: list[str] = []
    matching = unlisted = 0
    for done, (path, source) in enumerate(by_file.items()):
        progress(done, len(by_file), source.mesh)
        name = _relative(path, root)
        if (why := irregular(path)) is not None:
            unusable.append((source.mesh, why))
            continue
        if name not in listed:
            unlisted += 1
        elif listed[name] == file_sha256(path):
            matching += 1
        else:
            changed.append(name)
        try:
            load(source)
            if path.suffix.lower() == ".anime":
                AnimeFile(path).check()
        except (BadMesh, DatasetMissing) as error:
            unusable.append((source.mesh, str(error)))
    progress(len(by_file), len(by_file), "")
    return VerifyReport(
        dataset=dataset.name,
        root=str(root),
        meshes=len(sources),
        files=len(by_file),
        unusable=tuple(unusable),
        matching=matching,
        changed=tuple(changed),
        absent=tuple(name for name in listed if _belongs(name, dataset, root) and not (root / name).exists()),
        unlisted=unlisted,
        paper_found=found,
        paper_total=total,
        paper_note=note,
    )


def _paper(dataset: Dataset, root: Path) -> tuple[int | None, int | None, str]:
    if "paper" not in dataset.splits:
        return None, None, ""
    try:
        selection = dataset.select("paper", root)
    except (DatasetMissing, UsageError) as error:
        return None, None, str(error)
    return len(selection.sources), len(selection.sources) + len(selection.missing), selection.remedy


def _listed(root: Path) -> dict[str, str]:
    """Path relative to the root → SHA-256. The manifest takes precedence over hashes recorded on first use."""
    listed = read_checksums(root)
    manifest = root / MANIFEST
    if manifest.is_file():
        with manifest.open(encoding="utf-8", newline="") as file:
            listed |= {
                row["path"]: row["sha256"] for row in csv.DictReader(file) if row.get("path") and row.get("sha256")
            }
    return listed


def _belongs(name: str, dataset: Dataset, root: Path) -> bool:
    """Whether a listed file is in a folder of the dataset."""
    if isinstance(dataset, FolderDataset):
        return Path(name).is_relative_to(_relative(dataset.path, root))
    return name.partition("/")[0] in getattr(dataset, "folders", ())


def _relative(path: Path, root: Path) -> str:
    """Path from the root with ``/``; links are not followed, since lists name paths under the root."""
    absolute, base = path.absolute(), root.absolute()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else absolute.as_posix()
