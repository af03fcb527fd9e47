"""Decoded meshes that wait to be measured: a bounded folder, each file named by the hash of its content.

A spool saves time and nothing else. What is gone, damaged, or was never written because the spool was full is decoded
again from the kept stream.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from gcbench.bench.run.arrays import CloudArrays, MeshArrays, pack, sha256_of, unpack

log = logging.getLogger(__name__)

DEFAULT_BYTES = 4 << 30


@dataclass(frozen=True)
class Spool:
    """A folder of decoded meshes.

    Parameters
    ----------
    path : Path
        The folder; it is made at the first :meth:`put`.
    max_bytes : int
        What all files together may hold. It is exceeded by a mesh for each slot at most: several processes may put at
        the same time, and what is asked for now finds room always.
    """

    path: Path
    max_bytes: int = DEFAULT_BYTES

    def put(self, arrays: MeshArrays | CloudArrays, *, at_once: bool = False) -> str:
        """Write arrays unless the spool is full, and return their hash either way.

        Parameters
        ----------
        arrays : MeshArrays or CloudArrays
            What waits to be measured.
        at_once : bool
            It is what is measured next: it is written into a full spool too.
        """
        data = pack(arrays)
        sha256 = sha256_of(data)
        file = self.path / sha256
        with contextlib.suppress(OSError):  # a full disk: decoded again later
            self.path.mkdir(parents=True, exist_ok=True)
            if not file.exists() and (at_once or self._used() + len(data) <= self.max_bytes):
                partial = file.with_suffix(f".{os.getpid()}")
                try:
                    partial.write_bytes(data)
                    partial.replace(file)
                finally:
                    partial.unlink(missing_ok=True)
        return sha256

    def get(self, sha256: str) -> MeshArrays | CloudArrays | None:
        """Read arrays back; None if they are not here, or not with this hash."""
        try:
            data = (self.path / sha256).read_bytes()
        except OSError:
            return None
        if sha256_of(data) != sha256:
            log.warning("a decoded mesh in %s was changed and is made again", self.path)
            self.drop(sha256)
            return None
        return unpack(data)

    def has(self, sha256: str | None) -> bool:
        """Whether a file of this name is here; :meth:`get` still checks its content."""
        return sha256 is not None and (self.path / sha256).exists()

    def drop(self, sha256: str) -> None:
        """Forget arrays that were measured."""
        with contextlib.suppress(OSError):
            (self.path / sha256).unlink(missing_ok=True)

    def _used(self) -> int:
        total = 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # another process may drop it meanwhile
                    total += entry.stat().st_size
        return total
