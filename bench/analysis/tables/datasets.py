"""The datasets of a run, as in the paper's Table 1: meshes, bytes, mean numbers of vertices and faces."""

from __future__ import annotations

import pandas as pd

from gcbench.bench.analysis.tables.columns import number
from gcbench.bench.tabular import Column, Table

_COLUMNS = (
    Column("dataset", "dataset", key=True),
    Column("split", "split", key=True),
    Column("meshes", "meshes", "integer"),
    Column("bad_input", "bad input", "integer"),
    number("obj_megabytes", "OBJ MB", ".2f"),
    number("mean_vertices", "vertices", ".0f"),
    number("mean_faces", "faces", ".0f"),
)


def datasets(rows: pd.DataFrame) -> list[Table]:
    """One table, with a row for each dataset and split."""
    data = []
    for (dataset, split), part in rows.groupby(["dataset", "split"], sort=True, observed=True):
        known = part[part["obj_bytes"].notna()].drop_duplicates("mesh")
        data.append(
            {
                "dataset": str(dataset),
                "split": str(split),
                "meshes": part["mesh"].nunique(),
                "bad_input": part.loc[part["status"] == "bad-input", "mesh"].nunique(),
                "obj_megabytes": float(known["obj_bytes"].sum() / 1e6),
                "mean_vertices": float(known["vertices"].astype(float).mean()) if len(known) else None,
                "mean_faces": float(known["faces"].astype(float).mean()) if len(known) else None,
            }
        )
    notes = ("OBJ MB: normalised, six decimals; vertices, faces: mean",)
    return [Table.of_rows("datasets", _COLUMNS, data, notes=notes)]
