"""Codecs that did not run on these meshes, and why."""

from __future__ import annotations

from collections.abc import Mapping

from gcbench.bench.tabular import Column, Table

_COLUMNS = (Column("codec", "codec", key=True), Column("not_run", "not run, because"))


def not_run(reasons: Mapping[str, str]) -> list[Table]:
    """A table with a row for each codec; no table without one.

    Parameters
    ----------
    reasons : mapping
        From :attr:`gcbench.bench.store.Results.not_run`.
    """
    rows = [{"codec": codec, "not_run": why} for codec, why in sorted(reasons.items())]
    return [Table.of_rows("", _COLUMNS, rows)] if rows else []
