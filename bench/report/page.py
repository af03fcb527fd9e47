"""Write a run as one HTML file.

The markup is fixed. Data of the run is in base64, so the HTML parser never reads it, and scripts show it as text, never
as markup. A content security policy allows only the page's own style and script (by hash): no other scripts, no
network, no frames.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import gcbench
from gcbench.bench.analysis.versions import newest
from gcbench.bench.plan.planning import Progress
from gcbench.bench.report import cases, scenes
from gcbench.bench.report.content import content
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError, UsageError

DEFAULT_MAX_MB = 15.0
_SCRIPTS = ("dom", "format", "data", "meshes", "chart", "viewer", "grid", "curves", "codings", "pages", "main")


@dataclass(frozen=True)
class Built:
    """A report that was written."""

    path: Path
    size_bytes: int
    codings: int  # codings that were measured
    shown: int  # codings with a 3-D view
    refused: Mapping[str, int]  # reason for no 3-D view → number of codings
    wall_s: float


def build(
    run: Run,
    out: Path,
    *,
    max_mb: float = DEFAULT_MAX_MB,
    meshes: bool = True,
    data: Path | None = None,
    progress: Progress | None = None,
) -> Built:
    """Write the report of a run.

    Parameters
    ----------
    run : Run
        With at least one record.
    out : Path
        The file; its folder is made.
    max_mb : float
        Size limit in 10⁶ bytes. Meshes get what the rest of the page leaves.
    meshes : bool
        Whether to embed meshes.
    data : Path, optional
        Data root, for the original meshes.
    progress : callable, optional
        Called with the number of cases done, the total, and the next one.

    Raises
    ------
    UsageError
        The run has no results.
    StoreError
        The file cannot be written.
    """
    begin = time.monotonic()
    found = newest(run)
    records = found.records
    if not records:
        raise UsageError(f"{run.path} has no results yet; resume it with: bench run")
    said = content(run.name, records, run.sessions(), found.notes)
    candidates = cases.in_order_of_interest(records)
    frame = _html(said | _of_scenes(scenes.Scenes(), []), [])
    made = scenes.Scenes()
    if meshes:
        # References to meshes are text too: at most 80 bytes for each case, deflated and in base64.
        left = int(max_mb * 1e6) - len(frame) - 80 * len(candidates)
        made = scenes.make(run, records, candidates, budget_bytes=left, data=data, progress=progress)
    page = _html(said | _of_scenes(made, [] if meshes else candidates), made.blobs)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(page)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    refused: dict[str, int] = {}
    for _, reason in made.refused:
        refused[reason] = refused.get(reason, 0) + 1
    return Built(out, len(page), len(candidates), len(made.scenes), refused, time.monotonic() - begin)


def _of_scenes(made: scenes.Scenes, left_out: list[cases.Case]) -> dict[str, Any]:
    plain = []
    for scene in made.scenes:
        values = asdict(scene)
        plain.append({**values.pop("case"), **values})
    without = [{"row": case.row, "reason": reason} for case, reason in made.refused]
    without += [{"row": case.row, "reason": "the report was made without meshes"} for case in left_out]
    return {"scenes": plain, "without_scene": without}


def _html(said: dict[str, Any], blobs: list[str]) -> bytes:
    """Assemble the page; ``said`` is deflated, so that it cannot be read as markup."""
    style, script = _asset("style.css"), "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    slots = {
        "policy": policy,
        "title": escape(f"{said['run']} · gcbench report"),
        "version": escape(gcbench.__version__),
        "style": style,
        "script": script,
        "data": base64.b64encode(zlib.compress(text, 9)).decode(),
        "blobs": "\n".join(
            f'<script type="application/octet-stream" id="blob-{index}">{blob}</script>'
            for index, blob in enumerate(blobs)
        ),
    }
    page = _asset("page.html")
    parts = page.split("{{")
    out = [parts[0]]
    for part in parts[1:]:  # one pass, so that inserted text is not searched for slots
        slot, _, rest = part.partition("}}")
        out += [slots[slot], rest]
    return "".join(out).encode()


def _asset(name: str) -> str:
    return files("gcbench.bench.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Source expression of an inline style or script in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
