"""Leave out meshes of a run that are no longer in their dataset: deleted, renamed or moved."""

from __future__ import annotations

import pandas as pd

from gcbench.bench.store.mesh_names import Names

_SHOWN = 3


def without_gone(rows: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Records of meshes that are still there, and a line for each dataset of which records are left out.

    Parameters
    ----------
    rows : DataFrame
        Records with the columns dataset, split and mesh.
    names : mapping
        From :func:`gcbench.bench.store.mesh_names.read_names`.
    """
    gone = pd.Series(data=False, index=rows.index)
    notes = []
    for key, of in rows.groupby(["dataset", "split"], sort=True, observed=True):
        known = names.get("/".join(map(str, key)))
        if known is None:
            continue
        absent = ~of["mesh"].isin(known)
        if not absent.any():
            continue
        gone[of.index] = absent
        meshes = sorted(set(of["mesh"][absent].astype(str)))
        shown = ", ".join(meshes[:_SHOWN]) + (", ..." if len(meshes) > _SHOWN else "")
        one = len(meshes) == 1
        notes.append(
            f"left out: {len(meshes)} mesh{'' if one else 'es'} that {'is' if one else 'are'} no longer in "
            f"{'/'.join(map(str, key))}: {shown}"
        )
    return (rows[~gone] if notes else rows), tuple(notes)
