"""Cache of mesh facts (hash, sizes), so that a second plan reads no mesh.

The cache only saves time. An entry holds while size, modification time and inode of the file are the same. If a file
changes and keeps all three, the run stops: workers check the hash of every mesh that they load.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gcbench import plain_text
from gcbench.bench.plan.units import PlannedMesh
from gcbench.datasets import MeshSource, load
from gcbench.datasets.loading import LOADER_VERSION
from gcbench.errors import BadMesh

log = logging.getLogger(__name__)

# A file changed less than this ago is not cached: a second change could leave the same modification time.
_SETTLED_NS = 2_000_000_000


class Inventory:
    """Facts of mesh files, in an SQLite file in the folder ``cache``; every mesh is read if that file is unusable."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._file: sqlite3.Connection | None = None
        path = cache / f"inventory-{LOADER_VERSION}.sqlite"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            try:
                self._file = _opened(path)
            except sqlite3.OperationalError:  # locked, read-only or a full disk: keep the file, it may be good
                raise
            except sqlite3.DatabaseError:
                path.unlink(missing_ok=True)
                self._file = _opened(path)
        except (OSError, sqlite3.Error) as error:
            log.warning("the inventory of meshes in %s cannot be used: %s", cache, error)

    def read(self, source: MeshSource) -> PlannedMesh:
        """Facts of one mesh; a file is read only if it is new or has changed. Raises DatasetMissing without a file."""
        name, state = f"{source.frame}:{plain_text.name_of_path(source.path.absolute())}", _state(source.path)
        if state is not None and (known := self._known(name, state)) is not None:
            return PlannedMesh(source, **known)
        mesh = _read(source, self._cache)
        if state is not None and state == _state(source.path):
            self._remember(name, state, mesh)
        return mesh

    def _known(self, name: str, state: str) -> dict[str, Any] | None:
        if self._file is None:
            return None
        with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
            found = self._file.execute("SELECT facts FROM mesh WHERE file = ? AND state = ?", (name, state)).fetchone()
            if found is not None:
                facts = json.loads(found[0])
                PlannedMesh(MeshSource("", "", Path()), **facts)  # TypeError if another version wrote the facts
                return dict(facts)
        return None

    def _remember(self, name: str, state: str, mesh: PlannedMesh) -> None:
        if self._file is None:
            return
        facts = {field: value for field, value in asdict(mesh).items() if field != "source"}
        with contextlib.suppress(sqlite3.Error):
            self._file.execute("INSERT OR REPLACE INTO mesh VALUES (?, ?, ?)", (name, state, json.dumps(facts)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=5, isolation_level=None)
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=OFF")
    file.execute("CREATE TABLE IF NOT EXISTS mesh (file TEXT PRIMARY KEY, state TEXT, facts TEXT)")
    return file


def _state(path: Path) -> str | None:
    """Size, modification time and inode of a file; None if the file is missing or was changed just now."""
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time_ns() - found.st_mtime_ns < _SETTLED_NS:
        return None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {found.st_dev}"


def _read(source: MeshSource, cache: Path) -> PlannedMesh:
    try:
        loaded = load(source, cache)
    except BadMesh as error:
        size = source.path.stat().st_size if source.path.exists() else 0
        return PlannedMesh(source, source_bytes=size, problem=plain_text.line(str(error)))
    return PlannedMesh(
        source=source,
        sha256=loaded.sha256,
        vertices=len(loaded.mesh.vertices),
        faces=len(loaded.mesh.faces),
        obj_bytes=loaded.obj_bytes,
        raw_bytes=loaded.raw_bytes,
        source_bytes=loaded.source_bytes,
        polygons=loaded.notes.polygons or None,
        dropped=", ".join(loaded.notes.dropped) or None,
        remarks="; ".join(loaded.notes.remarks) or None,
    )
