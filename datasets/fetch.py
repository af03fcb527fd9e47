"""Download the published datasets into the data root and unpack them (``bench data fetch``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from gcbench.datasets.ama import OFFICIAL_NAMES
from gcbench.datasets.checksums import file_sha256, read_checksums, record_checksums
from gcbench.datasets.download import MOST_BYTES, Progress, download, no_progress
from gcbench.datasets.dt4d import Dt4d
from gcbench.datasets.lists import FOLDER as LISTS_FOLDER
from gcbench.datasets.lists import LISTS, OfficialList
from gcbench.datasets.unpack import BadArchive, unpacked
from gcbench.errors import DownloadFailed, UsageError
from gcbench.geometry import files as readers

# Source: the section "data" of people.csail.mit.edu/drdaniel/mesh_animation/. There is no https there.
AMA_URL = "http://groups.csail.mit.edu/graphics/mesh_animation/"
# Source: README of github.com/Thingi10K/Thingi10K.
THINGI10K_URL = "https://huggingface.co/datasets/Thingi10K/Thingi10K/resolve/main/"
_AMA_MESH = re.compile(r"mesh_\d+\.obj")
_LIST_BYTES = 64 << 20  # the published selections have less than a megabyte
DOWNLOADS = "downloads"  # folder under the root for archives, which are deleted after unpacking

Trust = Literal["published", "recorded", "first use"]
FETCHABLE = ("ama", "thingi10k", "lists")


@dataclass(frozen=True)
class Fetched:
    """One download.

    Parameters
    ----------
    file : str
        Name of the download.
    path : Path
        Folder or file with the content.
    sha256 : str
        Hash of the download; empty if the content was here already.
    trust : {"published", "recorded", "first use"} or None
        What the hash was compared with: a hash in gcbench, a hash in ``CHECKSUMS`` from an earlier download, or nothing
        (it is recorded now). None if the content was here already.
    files : int
        Number of files.
    """

    file: str
    path: Path
    sha256: str
    trust: Trust | None
    files: int


def fetch(
    name: str,
    root: Path,
    *,
    parts: Sequence[str] = (),
    url_base: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
    pause_s: float = 1.0,
) -> Iterator[Fetched]:
    """Download a dataset into the data root; yields each part when it is complete.

    Parameters
    ----------
    name : {"ama", "thingi10k", "lists"}
        What to download; ``lists`` are the published selections.
    root : Path
        The data root; made if it does not exist.
    parts : sequence of str
        For ``ama``: only these sequences.
    url_base : str or None
        Address of a mirror.
    force : bool
        Download files again that are already here.
    progress, pause_s
        As in :func:`gcbench.datasets.download.download`.

    Raises
    ------
    DownloadFailed
        See :func:`~gcbench.datasets.download.download`; finished parts stay.
    UsageError
        The dataset cannot be downloaded; the message says how to get it.
    """
    if name not in FETCHABLE:
        raise UsageError(_not_fetchable(name))
    if parts and name != "ama":
        raise UsageError(f"{name} is one download and has no parts")
    unknown = [part for part in parts if part not in OFFICIAL_NAMES]
    if unknown:
        raise UsageError(f"ama has no sequence '{unknown[0]}'; it has: {', '.join(OFFICIAL_NAMES)}")

    job = _Job(root, url_base, force, progress, pause_s)
    try:
        (root / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadFailed(f"cannot make the data root {root}: {error.strerror or error}") from error
    if name == "lists":
        for spec in LISTS.values():
            yield job.fetch_list(spec)
    elif name == "ama":
        for sequence in parts or OFFICIAL_NAMES:
            yield job.fetch_ama(OFFICIAL_NAMES[sequence])
    else:
        yield job.fetch_thingi10k()


@dataclass(frozen=True)
class _Archive:
    """A downloaded and unpacked archive, before its content is moved to its place."""

    content: Path
    sha256: str
    trust: Trust


@dataclass(frozen=True)
class _Job:
    """The parameters of one call, and the downloads."""

    root: Path
    url_base: str | None
    force: bool
    progress: Progress
    pause_s: float

    def fetch_list(self, spec: OfficialList) -> Fetched:
        target = self.root / LISTS_FOLDER / spec.file
        self._download(spec.url, target, spec.sha256, _LIST_BYTES)
        record_checksums(self.root, {f"{LISTS_FOLDER}/{spec.file}": spec.sha256})
        return Fetched(spec.file, target, spec.sha256, "published", 1)

    def fetch_ama(self, official: str) -> Fetched:
        file = f"{official}.tar"
        folder = self.root / "ama" / official
        here = list((folder / "meshes").glob("mesh_*.obj"))
        if here and not self.force:
            return Fetched(file, folder, "", None, len(here))
        with self._unpacked(AMA_URL + file, lambda path: bool(_AMA_MESH.fullmatch(path.name))) as archive:
            # Only the frames are used, wherever they are in the archive; not images and skeletons.
            folders = {path.parent for path in archive.content.rglob("mesh_*.obj")}
            meshes = next((f for f in sorted(folders) if f.name == "meshes"), min(folders, default=None))
            if meshes is None:
                raise BadArchive(f"{file} holds no mesh_NNNN.obj")
            n_files = self._move_in(meshes, folder / "meshes")
        return Fetched(file, folder, archive.sha256, archive.trust, n_files)

    def fetch_thingi10k(self) -> Fetched:
        file = "Thingi10K.tar.gz"
        folder = self.root / "Thingi10K"
        here = list((folder / "raw_meshes").glob("*"))
        if here and not self.force:
            return Fetched(file, folder, "", None, len(here))
        with self._unpacked(THINGI10K_URL + file, _is_thingi10k) as archive:
            meshes = next((path for path in sorted(archive.content.rglob("raw_meshes")) if path.is_dir()), None)
            if meshes is None:
                raise BadArchive(f"{file} holds no raw_meshes/")
            metadata = meshes.parent / "metadata"
            n_files = self._move_in(metadata, folder / "metadata") if metadata.is_dir() else 0
            n_files += self._move_in(meshes, folder / "raw_meshes")  # last: its presence means that everything is here
        return Fetched(file, folder, archive.sha256, archive.trust, n_files)

    def _download(self, url: str, target: Path, sha256: str | None, most_bytes: int = MOST_BYTES) -> None:
        if self.url_base:
            url = f"{self.url_base.rstrip('/')}/{url.rpartition('/')[2]}"
        download(url, target, sha256, progress=self.progress, pause_s=self.pause_s, most_bytes=most_bytes)

    @contextmanager
    def _unpacked(self, url: str, wanted: Callable[[PurePosixPath], bool]) -> Iterator[_Archive]:
        """Download and unpack; after the caller has moved the content, record the hash and delete the archive.

        The hash of a broken archive must not be recorded, since later downloads are compared with it.
        """
        path = self.root / DOWNLOADS / url.rpartition("/")[2]
        key = path.relative_to(self.root).as_posix()
        recorded = read_checksums(self.root).get(key)
        self._download(url, path, recorded)
        sha256 = recorded or file_sha256(path)
        try:
            with unpacked(path, path.parent, wanted) as content:
                yield _Archive(content, sha256, "recorded" if recorded else "first use")
        except BadArchive as error:
            path.unlink()
            raise BadArchive(f"{error}; it was deleted") from error
        record_checksums(self.root, {key: sha256})
        path.unlink()

    def _move_in(self, source: Path, target: Path) -> int:
        """Move an unpacked folder to its place in one rename, and record the hash of every file in it."""
        sums = {
            (target / path.relative_to(source)).relative_to(self.root).as_posix(): file_sha256(path)
            for path in sorted(source.rglob("*"))
            if path.is_file()
        }
        record_checksums(self.root, sums)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(source.with_name(f".replaced-{source.name}"))  # into the temporary folder, which is removed
        source.rename(target)
        return len(sums)


def _is_thingi10k(path: PurePosixPath) -> bool:
    if path.name.startswith("."):
        return False
    return (path.parent.name == "raw_meshes" and path.suffix.lower() in readers.SUFFIXES) or (
        path.parent.name == "metadata" and path.suffix == ".csv"
    )


def _not_fetchable(name: str) -> str:
    if name == "dt4d":
        return f"dt4d cannot be fetched: {Dt4d.remedy}"
    if name == "mixed":
        return f"mixed is made of three: bench data fetch ama thingi10k lists; for dt4d {Dt4d.remedy}"
    return f"'{name}' cannot be fetched; there are: {', '.join(FETCHABLE)}"
