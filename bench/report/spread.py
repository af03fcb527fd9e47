"""How values spread over the meshes: quantiles for each codec and rate, which a page of any size has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gcbench.bench.metrics import Column

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def spread(block: pd.DataFrame, metrics: Sequence[Column]) -> dict[str, Any]:
    """Quantiles over the codings of one block that are ok, of the quality pass.

    Parameters
    ----------
    block : DataFrame
        Records of one dataset, split, effort and device.
    metrics : sequence of Column
        Measured columns; only those with a better direction are used.

    Returns
    -------
    dict
        ``rows``: list of [codec, rate, codings], in the order of the ladders; ``of``: name of a quantity → for each of
        the rows its quantiles (:data:`QUANTILES`), with NaN where nothing was measured.
    """
    ok = block[(block["status"] == "ok") & ~block["timing"].astype(bool)]
    share = ok["set_size"].where(ok["kind"] == "set", 1).astype(float)
    quantities = {
        "ratio": ok["obj_bytes"].astype(float) / ok["stream_bytes"].astype(float),
        "kilobytes": ok["stream_bytes"].astype(float) / 1e3,
        "bits_per_vertex": ok["bits_per_vertex"].astype(float),
        "decode_ms": ok["decode_s"].astype(float) / share * 1e3,
        "encode_ms": ok["encode_s"].astype(float) / share * 1e3,
        "decode_added_mib": ok["decode_added_bytes"].astype(float) / 2**20,
    }
    quantities |= {m.name: ok[m.name].astype(float) for m in metrics if m.better is not None and m.name in ok}
    keys = ["codec", "rate_index", "rate"]
    codec, rate = ok["codec"].astype(str), ok["rate"].astype(str)
    table = pd.DataFrame({"codec": codec, "rate_index": ok["rate_index"], "rate": rate, **quantities})
    groups = table.groupby(keys, sort=True)
    counts = groups.size()
    if not len(counts):
        return {"rows": [], "of": {}}
    values = groups[list(quantities)].quantile(np.array(QUANTILES))
    by_row = values.to_numpy().reshape(len(counts), len(QUANTILES), len(quantities))
    known = ~np.isnan(by_row).all(axis=(0, 1))
    return {
        "rows": counts.rename("n").reset_index()[["codec", "rate", "n"]].to_numpy().tolist(),
        "of": {name: by_row[:, :, i].tolist() for i, name in enumerate(quantities) if known[i]},
    }
