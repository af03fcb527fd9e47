"""``CHECKSUMS`` in the data root: SHA-256 of downloaded, unpacked and imported files, in the format of sha256sum."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gcbench.errors import DownloadFailed

FILE = "CHECKSUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def read_checksums(root: Path) -> dict[str, str]:
    """Path relative to the root (with ``/``) → SHA-256; empty without a file. Raises DownloadFailed for a bad line."""
    path = root / FILE
    if not path.is_file():
        return {}
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise DownloadFailed(f"line {number} of {path} is not a checksum; repair or delete the file")
        sums[match[2]] = match[1]
    return sums


def record_checksums(root: Path, sums: Mapping[str, str]) -> None:
    """Add or replace entries; the file is replaced in one step."""
    merged = {**read_checksums(root), **sums}
    descriptor, temporary = tempfile.mkstemp(dir=root, prefix=f".{FILE}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{digest}  {path}\n" for path, digest in sorted(merged.items()))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(root / FILE)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
