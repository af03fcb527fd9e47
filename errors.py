"""Every error that gcbench raises on purpose; any other exception is a bug. ``str(error)`` is one line for the user."""

from __future__ import annotations


class BenchError(Exception):
    """Base of all errors that gcbench raises on purpose."""

    exit_code = 3


class UsageError(BenchError):
    """The request is wrong: an unknown name, a bad parameter, an impossible combination."""

    exit_code = 2


class CodecUnavailable(BenchError):
    """A codec cannot run on this machine: what is missing (``reason``), and how to get it (``remedy``)."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class CodecFailed(BenchError):
    """A codec could not encode a mesh, or returned something that is not a mesh."""


class CodecTimeout(BenchError):
    """A codec exceeded its deadline."""


class BitstreamError(BenchError):
    """A stream is cut, corrupt, from another codec, or declares impossible sizes."""


class BadMesh(BenchError):
    """A file that cannot be used as a benchmark mesh: unreadable, empty, NaN, not triangles, no extent."""


class DatasetMissing(BenchError):
    """Meshes, or a list of meshes, are not on this machine: ``what`` is missing, and where to get it (``remedy``)."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class DownloadFailed(BenchError):
    """A download was interrupted, or does not have the expected checksum."""


class SystemLibraryMissing(BenchError):
    """A package of an extra, or a shared library of the operating system that a package needs, is not installed."""


class StoreError(BenchError):
    """A run folder is in use by another process, is not a run folder, or cannot be written."""
