"""The spool: a bounded folder of decoded meshes that wait to be measured, each file named by its SHA-256.

The spool only saves time. A mesh that is missing, damaged, or did not fit is decoded again from the stream.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from gcbench.bench.run.arrays import CloudArrays, MeshArrays, pack, sha256_of, unpack
from gcbench.bench.store import safe_files
from gcbench.errors import StoreError

log = logging.getLogger(__name__)

DEFAULT_BYTES = 4 << 30


@dataclass(frozen=True)
class Spool:
    """A folder of decoded meshes.

    Parameters
    ----------
    path : Path
        The folder; made by the first :meth:`put`.
    max_bytes : int
        Bytes of all files. Exceeded by one mesh for each slot at most, since several processes may write at a time.
    """

    path: Path
    max_bytes: int = DEFAULT_BYTES

    def put(self, arrays: MeshArrays | CloudArrays, *, at_once: bool = False) -> str:
        """Write arrays unless the spool is full, and return their hash in both cases.

        Parameters
        ----------
        at_once : bool
            The arrays are measured next: write them even if the spool is full.
        """
        data = pack(arrays)
        sha256 = sha256_of(data)
        file = self.path / sha256
        with contextlib.suppress(OSError):  # if the disk is full, the mesh is decoded again later
            self.path.mkdir(parents=True, exist_ok=True)
            if not file.exists() and (at_once or self._used() + len(data) <= self.max_bytes):
                partial = file.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}")
                try:
                    safe_files.write_new(partial, data, to_disk=False)
                    partial.replace(file)
                finally:
                    partial.unlink(missing_ok=True)
        return sha256

    def get(self, sha256: str) -> MeshArrays | CloudArrays | None:
        """Read arrays; None if the file is missing or does not have this hash."""
        try:
            with safe_files.reading(self.path / sha256) as file:
                data = file.read()
        except (OSError, StoreError):
            return None
        if sha256_of(data) != sha256:
            log.warning("a decoded mesh in %s is damaged and is decoded again", self.path)
            self.drop(sha256)
            return None
        return unpack(data)

    def has(self, sha256: str | None) -> bool:
        """Whether there is a file of this name; :meth:`get` also checks its content."""
        return sha256 is not None and safe_files.is_file(self.path / sha256)

    def drop(self, sha256: str) -> None:
        """Delete arrays that were measured."""
        with contextlib.suppress(OSError):
            (self.path / sha256).unlink(missing_ok=True)

    def _used(self) -> int:
        total = 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # another process may have deleted it
                    total += entry.stat().st_size
        return total
