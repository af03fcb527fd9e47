"""What failed and what a suite could not measure; records with the same failure share a row."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gcbench.bench.analysis.measured import reasons_of
from gcbench.bench.tabular import Column, Table

_BY = ["dataset", "mesh", "codec", "pass", "status", "stage", "error"]
_COLUMNS = (
    Column("dataset", "dataset", key=True),
    Column("mesh", "mesh", key=True),
    Column("codec", "codec", key=True),
    Column(
        "rates", "rates", show=lambda rates: rates[0] if len(rates) == 1 else f"{rates[0]}..{rates[-1]} ({len(rates)})"
    ),
    *(Column(name, name) for name in ("pass", "status", "stage", "error")),
)


def failures(rows: pd.DataFrame) -> Table:
    """List the records that are not ok; and those that are, as stage ``measure``, once for each suite without values.

    People see the first and the last of the rates, programs get all of them. ``pass`` is ``quality`` or ``timing``.

    Parameters
    ----------
    rows : DataFrame
        From :func:`gcbench.bench.analysis.frame.frame`.
    """
    of = ["dataset", "mesh", "codec", "rate", "rate_index", "timing", "status", "stage", "error"]
    failed = pd.concat([_plain(rows.loc[rows["status"] != "ok", of]), *_unmeasured(rows, of)])
    failed["pass"] = failed["timing"].map({False: "quality", True: "timing"})
    ladder = failed.drop_duplicates([*_BY, "rate"]).sort_values("rate_index", kind="stable")
    found = ladder.groupby(_BY, sort=True, dropna=False)["rate"].agg(list).rename("rates").reset_index()
    return Table("" if len(found) else "no failures", _COLUMNS, {str(name): found[name] for name in found})


def _unmeasured(rows: pd.DataFrame, of: list[str]) -> list[pd.DataFrame]:
    """The records that are ok and lack a suite, one frame for each suite."""
    if "unmeasured" not in rows:
        return []
    without = rows[(rows["status"] == "ok") & rows["unmeasured"].notna()]
    text = without["unmeasured"].astype(object)
    reasons = {one: reasons_of(str(one)) for one in text.unique()}  # few texts, many records
    parts = []
    for suite in sorted({suite for found in reasons.values() for suite in found}):
        why = {one: found[suite].partition(": ") for one, found in reasons.items() if suite in found}
        lacking = text.isin(list(why))
        said = text[lacking].map(why)
        parts.append(
            _plain(without.loc[lacking, of]).assign(
                status=said.str[0], stage="measure", error=f"{suite}: " + said.str[2]
            )
        )
    return parts


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Texts as objects: statuses and reasons that no coding has are put in their place."""
    texts: dict[str, Any] = {
        name: rows[name].astype(object) for name in ("dataset", "mesh", "codec", "rate", "status", "stage", "error")
    }
    return rows.assign(**texts)
