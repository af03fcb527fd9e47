"""Tables as CSV: full precision, names of columns as heading, an empty field for a missing value."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from gcbench.bench.tabular.table import CHUNK, Table


def render(tables: Sequence[Table]) -> Iterator[str]:
    """Write the rows of all tables below one heading, which has the names of all tables; a list is joined by ``;``."""
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    if not names:
        return
    yield _lines([tuple(names)])
    for table in tables:
        its = {name: place for place, name in enumerate(table.names)}
        if not its:
            continue
        same = list(its) == names
        for start in range(0, len(table), CHUNK):
            rows = table.chunk(start)
            if not same:
                rows = [tuple(row[its[name]] if name in its else None for name in names) for row in rows]
            if any(isinstance(value, (list, tuple)) for value in rows[0]):
                rows = [tuple("; ".join(map(str, v)) if isinstance(v, (list, tuple)) else v for v in r) for r in rows]
            yield _lines(rows)


def _lines(rows: Sequence[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    if "\r" in out.getvalue():  # which the writer quotes only if lines end with it
        out = io.StringIO()
        csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return out.getvalue()
