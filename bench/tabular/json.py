"""Tables as JSON: a list of objects, one on each line, with full precision; a missing value is null."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from gcbench.bench.tabular.table import CHUNK, Table


def render(tables: Sequence[Table]) -> Iterator[str]:
    """Write the rows of all tables as one list."""
    encode = json.JSONEncoder(allow_nan=False).encode
    before = "["
    for table in tables:
        names = table.names
        if not names:
            continue
        for start in range(0, len(table), CHUNK):
            lines = [encode(dict(zip(names, row, strict=True))) for row in table.chunk(start)]
            yield before + "\n" + ",\n".join(lines)
            before = ","
    yield "[]\n" if before == "[" else "\n]\n"
