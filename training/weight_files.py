"""Fingerprints of files of weights, by which a stream names the weights that decode it. Imported without torch."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

FINGERPRINT_BYTES = 4


def fingerprint(path: Path) -> bytes:
    """Four bytes of a file's SHA-256.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)[:FINGERPRINT_BYTES]


@lru_cache(maxsize=64)
def _digest(path: Path, _modified_ns: int, _size: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
