"""Every error that gcbench raises on purpose, so that a caller can tell them from a bug.

Knows nothing of codecs, datasets or the engine. ``str(error)`` is one line for the user.
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of all errors that gcbench raises on purpose."""

    exit_code = 3


class UsageError(BenchError):
    """The request itself is wrong: an unknown name, a bad parameter, an impossible combination."""

    exit_code = 2


class CodecUnavailable(BenchError):
    """A codec cannot run on this machine.

    Parameters
    ----------
    reason : str
        What is missing.
    remedy : str
        How to get it.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class CodecFailed(BenchError):
    """A codec could not code a valid mesh, or returned something that is not a mesh."""


class CodecTimeout(BenchError):
    """A codec overran the deadline of its cell."""


class BitstreamError(BenchError):
    """A stream is short, corrupt, foreign, or declares sizes that cannot be true."""


class BadMesh(BenchError):
    """A file that cannot be used as a benchmark mesh: unreadable, empty, NaN, not triangles, no extent."""


class DatasetMissing(BenchError):
    """Meshes, or a list of meshes, that are not on this machine.

    Parameters
    ----------
    what : str
        What is missing.
    remedy : str
        Where to get it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class DownloadFailed(BenchError):
    """A download broke off or did not have the expected checksum."""


class SystemLibraryMissing(BenchError):
    """A Python package is installed but a shared library of the operating system that it links is not."""


class StoreError(BenchError):
    """A run folder is in use by another process, or is not a run folder, or cannot be written."""
