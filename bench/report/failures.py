"""The failures of ``bench table --failures``, with meshes that failed alike on one line: a page has room for that."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gcbench.bench.analysis.tables.failures import failures as failures_table

#: Lines, and names of meshes on a line, that a page carries at most.
LIMIT, NAMES = 1000, 20
_BY = ["dataset", "codec", "rates", "pass", "status", "stage", "error"]


def failures(rows: pd.DataFrame) -> dict[str, Any]:
    """Records that are not ok, and (as stage ``measure``) suites without values for records that are ok.

    Returns
    -------
    dict
        ``lines``: what most meshes have comes first; ``meshes`` of a line are the first :data:`NAMES` names, ``count``
        is the number of meshes. ``left_out``: the number of lines beyond :data:`LIMIT`.
    """
    found = pd.DataFrame(dict(failures_table(rows).values))
    found["rates"] = found["rates"].map(tuple)
    lines = []
    for key, meshes in found.groupby(_BY, sort=False, dropna=False)["mesh"]:
        line: dict[str, Any] = dict(zip(_BY, key, strict=True))
        line |= {name: None for name in ("stage", "error") if pd.isna(line[name])}
        lines.append(line | {"rates": list(line["rates"]), "meshes": meshes.tolist()[:NAMES], "count": len(meshes)})
    lines.sort(key=lambda line: (-line["count"], line["dataset"], line["codec"], line["meshes"][0]))
    return {"lines": lines[:LIMIT], "left_out": max(0, len(lines) - LIMIT)}
