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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gcbench
from gcbench.bench.analysis.beside import beside
from gcbench.bench.analysis.measured import ranking_column
from gcbench.bench.analysis.versions import newest
from gcbench.bench.plan.planning import Progress
from gcbench.bench.report import cases, pair, scenes
from gcbench.bench.report.carried import carried
from gcbench.bench.report.content import content
from gcbench.bench.store import safe_files
from gcbench.bench.store.pack import Pack
from gcbench.bench.store.results import Results
from gcbench.errors import UsageError

DEFAULT_MAX_MB = 15.0
_EXPERIMENT_BYTES = 1 << 20
_NOT_CARRIED = "left out of the report of a large run"
_NO_STREAMS = "a pack has no streams"
_SCRIPTS = (
    *("dom", "format", "data", "meshes", "chart", "painter", "viewer", "viewing", "grid"),
    *("curves", "changes", "spread", "codings", "timing", "pages", "main"),
)


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
    run: Results,
    out: Path,
    *,
    other: Results | None = None,
    among: Sequence[Results] = (),
    max_mb: float = DEFAULT_MAX_MB,
    meshes: bool = True,
    data: Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Built:
    """Write the report of a run, or of two runs side by side.

    Parameters
    ----------
    run : Results
        With at least one record.
    out : Path
        The file; its folder is made.
    other : Results, optional
        A second run, B; the first one is A.
    among : sequence of Results
        Instead of a second run: runs and packs whose codecs are shown among those of the run
        (:mod:`gcbench.bench.analysis.beside`). Packs have no streams, so their codings have no 3-D view.
    max_mb : float
        Size limit in 10⁶ bytes. Meshes get what the rest of the page leaves.
    meshes : bool
        Whether to embed meshes.
    data : Path, optional
        Data root, for the original meshes.
    jobs : int, optional
        Meshes that are decoded and packed at a time; default: the cores that this process may use, at most 8.
    progress : callable, optional
        Called with the number of cases done, the total, and the next one.

    Raises
    ------
    UsageError
        The run has no results, or no mesh in common with one of the others.
    StoreError
        The file cannot be written.
    """
    begin = time.monotonic()
    runs = [run] if other is None else [run, other]
    rows, notes, of = _read(runs, among)
    every, both = cases.in_order_of_interest(rows), None
    if other is not None:
        ranking = ranking_column(rows)
        both = pair.pairs(rows, ranking)
        every = pair.in_pairs(every, both, ranking)
    kept = carried(rows, every)
    place = kept.place
    candidates = [case for case in every if case.row in place and not isinstance((run, *among)[of[case.row]], Pack)]
    said = content(_title(runs, among), rows, _sessions(runs, among), leftovers=notes, kept=kept, both=both)
    said["unavailable"] += _not_run([*among, *runs], rows)
    said["runs"] = [one.name for one in runs]
    said["experiments"] = [file for one in runs for file in _experiments(one)]
    bare = _html(said | _of_scenes(scenes.Scenes(), [], place), [])
    shown = {case.row for case in candidates}
    made, left_out = (
        scenes.Scenes(),
        [(case, _NO_STREAMS if case.row in place else _NOT_CARRIED) for case in every if case.row not in shown],
    )
    if meshes:
        # References to meshes are text too: at most 80 bytes for each case, deflated and in base64.
        left = int(max_mb * 1e6) - len(bare) - 80 * len(candidates)
        stored = [scenes.Stored(one, data) for one in runs] + [scenes.Stored(one, data, run) for one in among]
        numbered = rows if other is not None else rows.assign(run=of)
        made = scenes.make(stored, numbered, candidates, budget_bytes=left, jobs=jobs, progress=progress)
    else:
        left_out += [(case, "the report was made without meshes") for case in candidates]
    page = _html(said | _of_scenes(made, left_out, place), made.blobs)
    safe_files.write_file(out, page)
    refused = Counter(reason for _, reason in [*made.refused, *(left_out if meshes else [])])
    return Built(out, len(page), len(every), len(made.scenes), refused, time.monotonic() - begin)


def _read(runs: Sequence[Results], among: Sequence[Results]) -> tuple[pd.DataFrame, list[str], NDArray[np.intp]]:
    """Records of one run or of two, lines on what was left out, and the number of the run of each record."""
    if among:
        own = newest(runs[0])
        together = beside(own, {one.name: newest(one) for one in among})
        return together.rows, [*own.notes, *together.notes], together.of
    rows: list[pd.DataFrame] = []
    notes: list[str] = []
    for mark, run in zip(pair.MARKS, runs, strict=False):
        found = newest(run)
        if found.rows.empty:
            raise UsageError(f"{run.path} has no results yet; resume it with: bench run")
        rows.append(found.rows)
        notes += found.notes if len(runs) == 1 else [f"{mark}: {note}" for note in found.notes]
    joined = rows[0] if len(runs) == 1 else pair.side_by_side(rows)
    return joined, notes, np.zeros(len(joined), np.intp)


def _title(runs: Sequence[Results], among: Sequence[Results]) -> str:
    name = " and ".join(run.name for run in runs)
    return f"{name} among {', '.join(one.name for one in among)}" if among else name


def _not_run(results: Sequence[Results], rows: pd.DataFrame) -> list[dict[str, str]]:
    """Codecs that a pack says did not run, without those that have a record."""
    reasons = {codec: why for one in results for codec, why in one.not_run.items()}
    there = set(rows["codec"].astype(str))
    return [{"codec": codec, "reason": why} for codec, why in sorted(reasons.items()) if codec not in there]


def _sessions(runs: Sequence[Results], among: Sequence[Results]) -> list[dict[str, Any]]:
    """Provenance of all invocations; of two runs or more, each says of which."""
    if among:
        return [{"run": one.name} | session for one in (*among, *runs) for session in one.sessions()]
    if len(runs) == 1:
        return runs[0].sessions()
    return [{"run": mark} | session for mark, run in zip(pair.MARKS, runs, strict=True) for session in run.sessions()]


def _experiments(run: Results) -> list[dict[str, str]]:
    """The files that would make a run again, which the run keeps: one for each command that added to it."""
    texts = {
        file.name: safe_files.read_file(file, _EXPERIMENT_BYTES).decode("utf-8", "replace")
        for file in run.path.glob("experiment*.toml")
        if safe_files.is_file(file) and file.lstat().st_nlink == 1  # a hard link could be any file of this machine
    }
    return [{"run": run.name, "file": name, "text": texts[name]} for name in sorted(texts)]


def _of_scenes(
    made: scenes.Scenes, left_out: Sequence[tuple[cases.Case, str]], place: Mapping[int, int]
) -> dict[str, Any]:
    """Scenes, and why other codings have none: numbers for each reason, and the reason of each carried record."""
    plain = []
    for scene in made.scenes:
        values = asdict(scene) | {"row": place[scene.case.row], "role": scene.case.role}
        del values["case"]
        plain.append(values)
    refused = [*made.refused, *left_out]
    reasons = Counter(reason for _, reason in refused).most_common()
    number = {reason: index for index, (reason, _) in enumerate(reasons)}
    rows = [[place[case.row], number[reason]] for case, reason in refused if case.row in place]
    return {"scenes": plain, "without_scene": {"reasons": reasons, "rows": sorted(rows)}}


def _html(said: dict[str, Any], blobs: list[str]) -> bytes:
    """Assemble the page; ``said`` is deflated, so that it cannot be read as markup."""
    style, script = _asset("style.css"), "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
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
    return "".join(out).encode("utf-8", "replace")  # half of a surrogate pair, from a file name


def _asset(name: str) -> str:
    return files("gcbench.bench.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Source expression of an inline style or script in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
