"""Unpack archives safely: no path outside the folder, no links, no incomplete result."""

from __future__ import annotations

import errno
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gcbench.errors import DownloadFailed

_INNER = (".tgz", ".tar.gz", ".tar")
_DEPTH = 2  # AMA has .tgz files inside a tar


class BadArchive(DownloadFailed):
    """An archive is broken, unsafe, or does not have the expected content; it is deleted."""


@contextmanager
def unpacked(archive: Path, beside: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
    """Unpack the wanted files of an archive, and of archives in it, into a temporary folder that is removed at the end.

    Parameters
    ----------
    archive : Path
        A tar file, compressed or not.
    beside : Path
        An existing folder for the temporary folder, on the file system of the destination, so that the caller can
        rename the content into place in one step.
    wanted : callable
        Called with the path in the archive; False leaves the file out.

    Raises
    ------
    BadArchive
        The archive is broken, or a member would be outside the folder.
    DownloadFailed
        The disk is full.
    """
    folder = Path(tempfile.mkdtemp(dir=beside, prefix=".unpacking-"))
    try:
        try:
            with tarfile.open(archive, "r:*") as tar:
                _extract(tar, folder, wanted, _DEPTH)
        except tarfile.FilterError as error:
            raise BadArchive(f"{archive.name} is refused: {error}") from error
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise BadArchive(f"{archive.name} is not a readable archive: {error}") from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DownloadFailed(f"the disk is full while unpacking {archive.name}; free some space") from error
            raise DownloadFailed(f"cannot unpack {archive.name}: {error.strerror or error}") from error
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(tar: tarfile.TarFile, folder: Path, wanted: Callable[[PurePosixPath], bool], depth: int) -> None:
    for member in tar:
        # The filter refuses `..`, links that leave the folder, and devices. It checks unwanted members too, since an
        # archive with such a member is not trusted at all.
        checked = tarfile.data_filter(member, str(folder))
        if not checked.isreg():
            continue
        path = PurePosixPath(checked.name)
        if path.name.lower().endswith(_INNER) and depth > 1:
            inner_folder = folder / path.parent
            inner_folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=tar.extractfile(member), mode="r:*") as inner:
                _extract(inner, inner_folder, wanted, depth - 1)
        elif wanted(path):
            if checked.size > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, "no space left")
            tar.extract(checked, folder, filter="data")
