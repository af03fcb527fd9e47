"""Check the files of DeformingThings4D and copy them into the data root (``bench data import``)."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gcbench.datasets.anime import AnimeFile
from gcbench.datasets.checksums import file_sha256, record_checksums
from gcbench.datasets.dt4d import GROUPS
from gcbench.errors import BadMesh, DatasetMissing, DownloadFailed


@dataclass
class ImportReport:
    """The result of an import."""

    imported: list[str] = field(default_factory=list)  # animations that are new in the data root
    unchanged: list[str] = field(default_factory=list)  # animations that were there already, with the same content
    bad: list[tuple[Path, str]] = field(default_factory=list)  # files that were left out, and why
    frames: int = 0  # in all imported and unchanged animations


def _no_progress(_done: int, _total: int, _file: str) -> None:
    """Discard progress."""


def import_dt4d(
    folder: Path, root: Path, *, link: bool = False, progress: Callable[[int, int, str], None] = _no_progress
) -> ImportReport:
    """Check every ``.anime`` file under a folder and copy or link the good ones to ``<root>/dt4d/``.

    A file is good if its size fits its header, its triangles are in range and all its positions are finite. Files below
    a folder ``humanoids`` go to ``humanoids``, all others to ``animals``, and their hashes to ``CHECKSUMS``.

    Parameters
    ----------
    folder : Path
        The unpacked download, or any folder above it.
    root : Path
        The data root.
    link : bool
        Make symbolic links instead of copies, which saves 100 GB; the folder must stay.
    progress : callable
        Called with the number of files done, the total, and the next name.

    Raises
    ------
    DatasetMissing
        There is no such folder, or no ``.anime`` file in it.
    DownloadFailed
        The data root cannot be written.
    """
    files = sorted(folder.rglob("*.anime")) if folder.is_dir() else []
    if not files:
        raise DatasetMissing(f"no .anime file under {folder}", "give the folder with the unpacked download")
    report = ImportReport()
    sums: dict[str, str] = {}
    taken: dict[str, Path] = {}
    try:
        for done, path in enumerate(files):
            progress(done, len(files), path.name)
            if path.stem in taken:
                report.bad.append((path, f"has the name of {taken[path.stem]}"))
                continue
            try:
                anime = AnimeFile(path)
                anime.check()
            except (BadMesh, OSError) as error:
                report.bad.append((path, str(error)))
                continue
            taken[path.stem] = path
            group = GROUPS[1] if GROUPS[1] in path.relative_to(folder.parent).parts else GROUPS[0]
            target = root / "dt4d" / group / path.stem / path.name
            digest = file_sha256(path)
            if target.exists() and file_sha256(target) == digest:
                report.unchanged.append(path.stem)
            else:
                _place(path, target, link=link)
                report.imported.append(path.stem)
            sums[target.relative_to(root).as_posix()] = digest
            report.frames += anime.n_frames
        progress(len(files), len(files), "")
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        reason = "the disk is full; free some space, or use --link" if full else error.strerror or str(error)
        raise DownloadFailed(f"cannot write to {root}: {reason}") from error
    finally:
        if sums:
            record_checksums(root, sums)
    return report


def _place(path: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".importing-")
    os.close(descriptor)
    temporary = Path(name)
    try:
        if link:
            temporary.unlink()
            temporary.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, temporary)
            temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
