"""The lines of a run as tables of DuckDB: a row for each mesh of each coding, and for each measurement of a suite.

The tables are ``coded``, and ``suite_0``, ``suite_1``, ... All lines are in them, not only those that count: a coding
that is stored again counts again. :mod:`gcbench.bench.store.columnar` says which lines count.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields

import duckdb
import numpy as np

from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn

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
#: Fields that every line has; a line without one of them is unreadable.
_NEEDED = {
    "coding": ("key", "session", "dataset", "split", "codec", "codec_version", "kind", "rate", "rate_index", "effort",
               "seed", "meshes"),
    "measurement": ("key", "session", "stream", "place", "codec", "decoder_version", "input", "suite", "suite_version",
                    "seed"),
}  # fmt: skip
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
    for number in _parsed(con, lines, first, "coding", where):
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
                SELECT rowid + {number} AS line, streams[1] AS stream, {bad} AS bad, * EXCLUDE (meshes, streams),
                  unnest(meshes) AS of_mesh, generate_subscripts(meshes, 1) - 1 AS ordinal, len(meshes) AS meshes
                FROM parsed
              )
            )
            """
        )


def add_measurements(con: Connection, lines: bytes, first: int, where: str) -> None:
    """Parse lines of ``measurements.jsonl`` into the tables; parameters as for :func:`add_codings`."""
    for number in _parsed(con, lines, first, "measurement", where):
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
                  SELECT rowid + {number} AS line, {decoded} AS decoded, key, suite_version,
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


def _parsed(con: Connection, lines: bytes, first: int, what: str, where: str) -> Iterator[int]:
    """Parse lines into the table ``parsed``, in parts of neighbouring lines; yield the number of each first line."""
    if not lines:
        return
    try:
        missing = _parse(con, lines, what)
    except duckdb.Error as error:
        middle = lines.find(b"\n", len(lines) // 2, -1) + 1 or lines.rfind(b"\n", 0, len(lines) // 2) + 1
        if middle:  # find the line at fault
            yield from _parsed(con, lines[:middle], first, what, where)
            yield from _parsed(con, lines[middle:], first + lines.count(b"\n", 0, middle), what, where)
        elif (line := _rewritten(lines, what)) != lines:
            yield from _parsed(con, line, first, what, where)
        else:
            _unreadable(where, first, str(error).splitlines()[0])
        return
    for row in missing:
        _unreadable(where, first + row, "a field is missing")
    yield first


def _unreadable(where: str, number: int, why: str) -> None:
    log.warning("%s line %d is unreadable and is ignored (%s)", where, number, why)


def _parse(con: Connection, lines: bytes, what: str) -> list[int]:
    """Parse lines into the table ``parsed``; its ``rowid`` counts lines. Returns the lines without a needed field.

    DuckDB leaves out lines of white space. Such a line would shift the numbers, so it counts as broken.
    """
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
    if con.execute("SELECT count(*) FROM parsed").fetchall() != [(len(ends),)]:
        raise duckdb.InvalidInputException("an empty line")
    bad = [f"{name} IS NULL" for name in _NEEDED[what]]
    if what == "coding":
        bad += ["list_bool_or(list_transform(meshes, lambda m: m IS NULL OR m.mesh IS NULL))"]
        needed = [field.name for field in fields(Cost)][:4]
        for cost in ("encode", "decode"):
            bad += [f"({cost} IS NOT NULL AND ({' OR '.join(f'{cost}.{name} IS NULL' for name in needed)}))"]
    else:
        bad += ["json_type(\"values\") NOT IN ('OBJECT', 'NULL')"]
    missing = [row for (row,) in con.execute(f"SELECT rowid FROM parsed WHERE {' OR '.join(bad)}").fetchall()]
    if missing:
        nothing = ", ".join(f'"{name}" = NULL' for name in columns)
        con.execute(f"UPDATE parsed SET {nothing} WHERE {' OR '.join(bad)}")
    return missing


def _rewritten(line: bytes, what: str) -> bytes:
    """A line without what only Python can read, such as half of a surrogate pair; the same line if Python cannot."""
    try:
        value = (Coding if what == "coding" else Measurement).from_json(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return json.dumps(value.to_json(), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def text(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _path(name: str) -> str:
    """The JSON path of a key."""
    return "$." + json.dumps(name, ensure_ascii=False)
