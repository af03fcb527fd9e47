"""Download one file with a checksum; an interrupted download is resumed."""

from __future__ import annotations

import errno
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.errors import DownloadFailed

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in total if known

ATTEMPTS_WITHOUT_PROGRESS = 5
MOST_BYTES = 64 << 30
"""Of any download. Thingi10K, the largest, has 10 GB."""

_CONNECT_S, _READ_S = 15.0, 60.0
_CHUNK = 1 << 15  # an interruption loses one chunk at most: requests drops an incomplete one
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_log = logging.getLogger(__name__)


def no_progress(_file: str, _done: int, _total: int | None) -> None:
    """Discard progress."""


def download(
    url: str,
    target: Path,
    sha256: str | None,
    *,
    progress: Progress = no_progress,
    pause_s: float = 1.0,
    most_bytes: int = MOST_BYTES,
) -> Path:
    """Download a file; it appears at ``target`` complete and checked, or not at all.

    If the connection breaks, the process dies or the disk is full, ``<target>.part`` keeps what has arrived, and the
    next call resumes with an HTTP Range request. If the file on the server has changed (``If-Range``), or the server
    ignores ranges, the download starts over. A file with the wrong checksum is deleted.

    Parameters
    ----------
    url : str
        ``http`` or ``https``.
    target : Path
        The file. An existing file with the right checksum is kept.
    sha256 : str or None
        Expected hash; None accepts any file, which the caller must tell the user.
    progress : callable
        Called every 32 kB.
    pause_s : float
        Seconds before the first repeated attempt; doubled after every attempt without progress.
    most_bytes : int
        A larger file is refused, and what has come of it is deleted.

    Raises
    ------
    DownloadFailed
        The server refuses, the connection keeps breaking, the file is too large, the checksum is wrong, or the disk is
        full.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    with _writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}" if sha256 else None,
                fname=target.name,
                path=target.parent,
                downloader=_Resuming(target, progress, pause_s, most_bytes),
            )
        except ValueError as error:
            found = re.search(r"[0-9a-f]{64}(?=\D*$)", str(error).split("Expected")[0])
            raise DownloadFailed(
                f"{url} is not the expected file: SHA-256 {found[0] if found else 'unknown'}, expected {sha256}; "
                "it was deleted"
            ) from error
    return target


@contextmanager
def _writing_to(target: Path) -> Iterator[None]:
    """Turn errors of the file system into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DownloadFailed(
                f"the disk is full while writing {target}; free some space and repeat the command, which resumes, or "
                "choose another folder with --data"
            ) from error
        raise DownloadFailed(f"cannot write {target}: {error.strerror or error}") from error


class _Resuming:
    """A downloader for pooch: writes ``<target>.part``, and moves it to where pooch checks the hash."""

    def __init__(self, target: Path, progress: Progress, pause_s: float, most_bytes: int) -> None:
        self._name = target.name
        self._part = target.with_name(target.name + ".part")
        self._validator = target.with_name(target.name + ".part.etag")  # identifies the version of the part
        self._progress = progress
        self._pause_s = pause_s
        self._most_bytes = most_bytes

    def __call__(self, url: str, output_file: str, _pooch: object, check_only: bool = False) -> bool | None:
        import requests

        if check_only:
            return requests.head(url, timeout=_CONNECT_S, allow_redirects=True).ok
        barren = 0
        while True:
            before = self._size()
            reason = self._attempt(url)
            if reason is None:
                break
            barren = 0 if self._size() > before else barren + 1
            if barren >= ATTEMPTS_WITHOUT_PROGRESS:
                then = (
                    f"{size} bytes are kept: repeat the command to go on from there"
                    if (size := self._size())
                    else "Is this machine on the network, and does HTTPS_PROXY name the proxy, if there is one?"
                )
                raise DownloadFailed(f"{url}: {reason}; gave up after {barren} attempts that brought nothing. {then}")
            _log.info("%s: %s; going on from byte %d", url, reason, self._size())
            time.sleep(self._pause_s * 2**barren)
        self._part.replace(output_file)
        self._validator.unlink(missing_ok=True)
        return None

    def _attempt(self, url: str) -> str | None:
        """Fetch until the connection ends; None if the file is complete, else why not."""
        import requests

        offset = self._size()
        headers = {"Accept-Encoding": "identity"}  # a range of compressed bytes could not be used
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self._validator.is_file():
                headers["If-Range"] = self._validator.read_text(encoding="latin-1")
        try:
            with requests.get(url, headers=headers, stream=True, timeout=(_CONNECT_S, _READ_S)) as response:
                return self._receive(url, response, offset)
        except _unusable_address() as error:
            raise DownloadFailed(f"'{url}' is not a usable address: {error}") from error
        except requests.RequestException as error:
            return f"the connection broke off ({type(error).__name__})"

    def _receive(self, url: str, response: requests.Response, offset: int) -> str | None:
        start, total = _content_range(response)
        if response.status_code == 416:  # no bytes after the part: complete, or another version
            if total == offset:
                return None
            self._part.unlink(missing_ok=True)
            return "the server has fewer bytes than the part; starting over"
        if response.status_code in _TRANSIENT:
            return f"the server answers {response.status_code} {response.reason}"
        if response.status_code not in {200, 206}:
            raise DownloadFailed(f"{url}: the server answers {response.status_code} {response.reason}")
        if response.status_code == 200:
            offset = 0
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
        elif start != offset:
            self._part.unlink(missing_ok=True)
            return "the server sent another range than asked for; starting over"
        self._require_bounded(url, total)
        self._require_room(None if total is None else total - offset)
        self._keep_validator(response)
        done = offset
        with self._part.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                self._require_bounded(url, done + len(chunk))
                file.write(chunk)
                done += len(chunk)
                self._progress(self._name, done, total)
        return None if total is None or done == total else f"{done} of {total} bytes arrived"

    def _keep_validator(self, response: requests.Response) -> None:
        etag = response.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        if validator:
            self._validator.write_text(validator, encoding="latin-1")
        else:
            self._validator.unlink(missing_ok=True)

    def _require_bounded(self, url: str, size: int | None) -> None:
        if size is not None and size > self._most_bytes:
            self._part.unlink(missing_ok=True)
            self._validator.unlink(missing_ok=True)
            raise DownloadFailed(
                f"{url} has more than {self._most_bytes} bytes, the most that this file may have; it was deleted"
            )

    def _require_room(self, needed: int | None) -> None:
        if needed is not None and needed > shutil.disk_usage(self._part.parent).free:
            raise OSError(errno.ENOSPC, f"{needed} bytes needed")

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0


def _unusable_address() -> tuple[type[Exception], ...]:
    from requests import exceptions

    return exceptions.InvalidURL, exceptions.MissingSchema, exceptions.InvalidSchema, exceptions.TooManyRedirects


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size from ``Content-Range``; None if not given."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match:
        return None, None
    start, total = match[1], match[2]
    return (int(start) if start else None), (int(total) if total.isdecimal() else None)
