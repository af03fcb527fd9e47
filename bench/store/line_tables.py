"""The lines of a run as tables of DuckDB: a row for each mesh of each coding, and for each measurement of a suite.

The tables are ``coded``, and ``suite_0``, ``suite_1``, ... All lines are in them, not only those that count: a coding
that is stored again counts again. :mod:`gcbench.bench.store.columnar` says which lines count.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import fields

import duckdb
import numpy as np

from gcbench.bench.store.fields import read_line
from gcbench.bench.store.records import CODING, MEASUREMENT, CodedMesh, Coding, Cost, Measurement, RanOn

log = logging.getLogger(__name__)
Connection = duckdb.DuckDBPyConnection

_TYPES = {"str": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "Status": "VARCHAR", "Stage": "VARCHAR"}


def _columns(of: type[CodedMesh | Coding | Cost | Measurement | RanOn], **special: str) -> dict[str, str]:
    """Name → SQL type of the fields of a dataclass."""
    plain = {field.name: str(field.type).removesuffix(" | None") for field in fields(of)}
    return {name: special.get(name) or _TYPES[kind] for name, kind in plain.items()}


def _struct(columns: Mapping[str, str]) -> str:
    return f"STRUCT({', '.join(f'{name} {kind}' for name, kind in columns.items())})"


_MESH = _columns(CodedMesh)
_COST = _struct(_columns(Cost, stage_s="MAP(VARCHAR, DOUBLE)"))
_RAN_ON = _struct(_columns(RanOn))
_CODING = _columns(
    Coding, meshes=f"{_struct(_MESH)}[]", streams="VARCHAR[]", encode=_COST, decode=_COST, ran_on=_RAN_ON
)
_MEASUREMENT = _columns(Measurement, values="JSON")
SIZES = ("vertices", "faces", "obj_bytes", "raw_bytes")
#: Lines as `Run` writes them, as many as follow each other, all of whose values are possible.
_USUAL = {
    what: re.compile(b"(?:" + kind.pattern.encode() + b"\n)*+")
    for what, kind in {"coding": CODING, "measurement": MEASUREMENT}.items()
}
#: Names a decoded mesh by its stream, its place there, the decoder and the original.
_DECODED = "md5(concat_ws(chr(31), {stream}, place, {input}, seed, {codec}, {version}))::UUID"
_OF_CODING = {name: kind for name, kind in _CODING.items() if name not in {"meshes", "streams"}}
_TABLES = f"""
CREATE TABLE coded (line BIGINT, ordinal BIGINT, place BIGINT, in_stream BIGINT, decoded UUID, stream VARCHAR,
  {", ".join(f"{name} {kind}" for name, kind in {**_OF_CODING, **_MESH}.items())});
CREATE TABLE suites (suite VARCHAR, number BIGINT);
CREATE TABLE suite_columns (suite VARCHAR, name VARCHAR, number BIGINT, kind VARCHAR);
"""
_OF_SUITE = (
    "line BIGINT, decoded UUID, key VARCHAR, suite_version VARCHAR, status VARCHAR, error VARCHAR, seconds DOUBLE, "
    "limit_s DOUBLE, limit_bytes BIGINT"
)
#: Types of JSON numbers, and how they are kept; everything else is kept as DOUBLE.
_KINDS = {"BOOLEAN": "BOOLEAN", "UBIGINT": "BIGINT", "BIGINT": "BIGINT"}


def create(con: Connection) -> None:
    """Create the empty tables."""
    con.execute(_TABLES)


def add_codings(con: Connection, lines: bytes, first: int, where: str) -> None:
    """Parse lines of ``codings.jsonl`` into the tables.

    Parameters
    ----------
    con : Connection
        With the tables of :func:`create`.
    lines : bytes
        Complete lines, each with its newline. Unreadable lines are logged and left out.
    first : int
        Number of the first line in the file.
    where : str
        Name of the file, for the log.
    """
    if _parsed(con, lines, first, "coding", where):
        decoded = _DECODED.format(
            stream="stream", input="coalesce(input_sha256, '')", codec="split_part(codec, '[', 1)",
            version="codec_version",
        )  # fmt: skip
        zero = ", ".join(f"coalesce({name}, 0) AS {name}" for name in (*SIZES, "source_bytes", "decoder_bytes"))
        # Bad inputs are not in the stream. `bad` has their places among the meshes of a line.
        bad = (
            "list_filter(list_transform(meshes, lambda m, i: CASE WHEN m.problem IS NOT NULL THEN i - 1 END), "
            "lambda i: i IS NOT NULL)"
        )
        con.execute(
            f"""
            INSERT INTO coded BY NAME
            SELECT * REPLACE (coalesce(device, 'cpu') AS device, coalesce(status, 'ok') AS status,
                coalesce(input_sha256, '') AS input_sha256, {zero}),
              CASE WHEN timing IS NULL AND stream IS NOT NULL AND problem IS NULL THEN {decoded} END AS decoded
            FROM (
              SELECT * EXCLUDE (of_mesh, bad, meshes), of_mesh.*, meshes - len(bad) AS in_stream,
                ordinal - len(list_filter(bad, lambda i: i < ordinal)) AS place
              FROM (
                SELECT rowid + {first} AS line, streams[1] AS stream, {bad} AS bad, * EXCLUDE (meshes, streams),
                  unnest(meshes) AS of_mesh, generate_subscripts(meshes, 1) - 1 AS ordinal, len(meshes) AS meshes
                FROM parsed
              )
            )
            """
        )


def add_measurements(con: Connection, lines: bytes, first: int, where: str) -> None:
    """Parse lines of ``measurements.jsonl`` into the tables; parameters as for :func:`add_codings`."""
    if _parsed(con, lines, first, "measurement", where):
        found: dict[str, dict[str, set[str]]] = {}
        structures = 'SELECT DISTINCT suite, json_structure("values") FROM parsed WHERE suite IS NOT NULL'
        for suite, structure in con.execute(structures).fetchall():
            kinds = found.setdefault(suite, {})
            for name, kind in (json.loads(structure) if structure else {}).items():
                kinds.setdefault(name, set()).add(kind if isinstance(kind, str) else "JSON")
        decoded = _DECODED.format(stream="stream", input="input", codec="codec", version="decoder_version")
        for suite, kinds in found.items():
            table, columns = _suite_table(con, suite, kinds)
            plain = len({name.lower() for name in columns}) == len(columns)  # names of a struct ignore case
            shape = text(json.dumps({name: kind for name, (_, kind) in columns.items()}))
            value = {
                place: f"v[{text(name)}]" if plain else f"(v->>{text(_path(name))})::{kind}"
                for name, (place, kind) in columns.items()
            }
            con.execute(
                f"""
                INSERT INTO {table} BY NAME
                SELECT * EXCLUDE (v){"".join(f", {of} AS c{place}" for place, of in value.items())}
                FROM (
                  SELECT rowid + {first} AS line, {decoded} AS decoded, key, suite_version,
                    coalesce(status, 'ok') AS status, error, seconds, limit_s, limit_bytes,
                    {f'json_transform("values", {shape})' if columns and plain else '"values"'} AS v
                  FROM parsed WHERE suite = {text(suite)}
                )
                """
            )


def of_suite(con: Connection, suite: str) -> dict[str, tuple[int, str]]:
    """Name → (number, type) of the columns of a suite."""
    found = con.execute("SELECT name, number, kind FROM suite_columns WHERE suite = ? ORDER BY number", [suite])
    return {name: (number, kind) for name, number, kind in found.fetchall()}


def _suite_table(con: Connection, suite: str, kinds: Mapping[str, set[str]]) -> tuple[str, dict[str, tuple[int, str]]]:
    """The table of a suite, and name → (number, type) of its columns; makes new columns and wider types."""
    known = con.execute("SELECT number FROM suites WHERE suite = ?", [suite]).fetchone()
    number = known[0] if known else con.execute("SELECT count(*) FROM suites").fetchall()[0][0]
    table = f"suite_{number}"
    if known is None:
        con.execute("INSERT INTO suites VALUES (?, ?)", [suite, number])
        con.execute(f"CREATE TABLE {table} ({_OF_SUITE})")
    columns = of_suite(con, suite)
    for name, new in kinds.items():
        of = {_KINDS.get(one, "DOUBLE") for one in new if one != "NULL"}
        of |= {columns[name][1]} if name in columns else set()
        kind = next(iter(of)) if len(of) == 1 else "DOUBLE"
        if name not in columns:
            columns[name] = (len(columns), kind)
            con.execute("INSERT INTO suite_columns VALUES (?, ?, ?, ?)", [suite, name, columns[name][0], kind])
            con.execute(f"ALTER TABLE {table} ADD COLUMN c{columns[name][0]} {kind}")
        elif columns[name][1] != kind:
            columns[name] = (columns[name][0], kind)
            con.execute("UPDATE suite_columns SET kind = ? WHERE suite = ? AND name = ?", [kind, suite, name])
            con.execute(f"ALTER TABLE {table} ALTER COLUMN c{columns[name][0]} TYPE {kind}")
    return table, columns


def _parsed(con: Connection, lines: bytes, first: int, what: str, where: str) -> bool:
    """Parse lines into the table ``parsed``, whose ``rowid`` counts lines; a line that is left out is a row of NULL."""
    if not lines:
        return False
    wrong: dict[int, str] = {}
    try:
        twice = _parse(con, _checked(lines, what, wrong), what)
    except (duckdb.ConversionException, duckdb.InvalidInputException):
        # What the pattern does not see: a number that begins with 0, a name of a map that is there twice.
        rewritten = enumerate(lines.split(b"\n")[:-1])
        twice = _parse(con, b"".join([_rewritten(line, what, row, wrong) for row, line in rewritten]), what)
    wrong |= dict.fromkeys(twice, "the line has a name twice")
    for row, why in sorted(wrong.items()):
        unreadable(where, first + row, why)
    return True


def _checked(lines: bytes, what: str, wrong: dict[int, str]) -> bytes:
    """Lines as DuckDB may read them; those that do not look usual are read in Python, see :func:`_rewritten`."""
    usual, parts = _USUAL[what], list[bytes]()
    done = row = 0
    while done < len(lines):
        found = usual.match(lines, done)
        assert found is not None, "no lines at all match, too"
        end = found.end()
        if not done and end == len(lines):
            return lines
        parts.append(lines[done:end])
        row += lines.count(b"\n", done, end)
        done = end
        if end < len(lines):
            done = lines.index(b"\n", end) + 1
            parts.append(_rewritten(lines[end : done - 1], what, row, wrong))
            row += 1
    return b"".join(parts)


def unreadable(where: str, number: int, why: object) -> None:
    """Log that a line is left out."""
    log.warning("%s line %d is left out: %s", where, number, why)


def _parse(con: Connection, lines: bytes, what: str) -> list[int]:
    """Parse checked lines into the table ``parsed``; leave out lines that have a value twice, and return them."""
    columns = _CODING if what == "coding" else _MEASUREMENT
    kinds = ", ".join(f"'{name}': {text(kind)}" for name, kind in columns.items())
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    largest = max(1 << 20, 2 + int(np.diff(ends, prepend=-1).max()))
    with tempfile.NamedTemporaryFile(prefix="gcbench-lines-") as file:
        file.write(lines)
        file.flush()
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE parsed AS SELECT * FROM read_ndjson({text(file.name)}, "
            f"columns = {{{kinds}}}, maximum_object_size = {largest}, compression = 'uncompressed')"
        )
    assert con.execute("SELECT count(*) FROM parsed").fetchall() == [(len(ends),)], "a row for each line"
    if what == "coding":
        return []
    keys = 'json_keys("values")'
    twice = [
        row for (row,) in con.execute(f"SELECT rowid FROM parsed WHERE len({keys}) > list_unique({keys})").fetchall()
    ]
    if twice:
        nothing = ", ".join(f'"{name}" = NULL' for name in columns)
        con.execute(f"UPDATE parsed SET {nothing} WHERE len({keys}) > list_unique({keys})")
    return twice


def _rewritten(line: bytes, what: str, row: int, wrong: dict[int, str]) -> bytes:
    """A line as DuckDB reads it, where the line has another form than the usual one.

    A line with a wrong value becomes an empty object, and its row is in ``wrong``.
    """
    try:
        value = (CODING if what == "coding" else MEASUREMENT).take(read_line(line))
    except ValueError as error:
        wrong[row] = str(error)
        return b"{}\n"
    return json.dumps(value.to_json(), ensure_ascii=False).encode() + b"\n"


def text(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _path(name: str) -> str:
    """The JSON path of a key."""
    return "$." + json.dumps(name, ensure_ascii=False)
