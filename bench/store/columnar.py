"""The lines of a run as tables of DuckDB: parses lines, and joins codings with measurements to one row a record.

The tables have a row for each mesh of each coding (``coded``) and, for each suite, a row for each measurement
(``suite_0``, ``suite_1``, ...). All lines are in the tables, not only those that count: a coding that is stored again
counts again. Which lines count, and which measurement belongs to which coding, is the same as in
:meth:`gcbench.bench.store.run.Run.records`; a test compares the two.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import numpy as np

from gcbench.bench.store.records import PAGE_BYTES, CodedMesh, Coding, Cost, Measurement, RanOn

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

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
_SIZES = ("vertices", "faces", "obj_bytes", "raw_bytes")
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
        zero = ", ".join(f"coalesce({name}, 0) AS {name}" for name in (*_SIZES, "source_bytes", "decoder_bytes"))
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


def newest_versions(con: Connection) -> dict[tuple[str, str, str, str, str], str]:
    """Dataset, split, effort, device and codec → version of the codec in their last coding."""
    found = con.execute(
        "SELECT dataset, split, effort, device, codec, arg_max(codec_version, line) FROM coded WHERE ordinal = 0 "
        "GROUP BY ALL"
    )
    return {
        (dataset, split, effort, device, codec): version
        for dataset, split, effort, device, codec, version in found.fetchall()
    }


class Stored(NamedTuple):
    """What decides whether a stored coding runs again, and where the coding is."""

    line: int
    status: str
    limit_s: float | None
    limit_bytes: int | None
    stream: str | None


def last_of_each_key(con: Connection) -> dict[str, Stored]:
    """Key of a coding → its last line."""
    found = con.execute(
        "SELECT key, line, status, limit_s, limit_bytes, stream FROM coded WHERE ordinal = 0 AND line IN "
        "(SELECT max(line) FROM coded WHERE ordinal = 0 GROUP BY key)"
    )
    return {key: Stored(*rest) for key, *rest in found.fetchall()}


def names_that_count(con: Connection) -> set[tuple[str, str, str]]:
    """Key, ``dataset/split`` and names of the meshes, a line each, of every coding that counts."""
    con.execute(_COUNTING)
    found = con.execute(
        "SELECT any_value(key), any_value(dataset || '/' || split), string_agg(mesh, chr(10) ORDER BY ordinal) "
        "FROM counting GROUP BY line"
    )
    return set(found.fetchall())


def measured_keys(con: Connection) -> list[str]:
    """The keys of all measurements."""
    suites = con.execute("SELECT number FROM suites").fetchall()
    keys = [con.execute(f"SELECT key FROM suite_{number}").fetchnumpy()["key"] for (number,) in suites]
    return [key for of in keys for key in np.ma.getdata(of)]


def failed_measurements(con: Connection) -> list[tuple[str, str, float | None, int | None]]:
    """Key, status and limits of the measurements whose last line is neither ok nor bad input."""
    found: list[tuple[str, str, float | None, int | None]] = []
    for (number,) in con.execute("SELECT number FROM suites").fetchall():
        bad = "status NOT IN ('ok', 'bad-input')"
        found += con.execute(
            f"SELECT key, status, limit_s, limit_bytes FROM suite_{number} WHERE {bad} AND line IN (SELECT max(line) "
            f"FROM suite_{number} WHERE key IN (SELECT key FROM suite_{number} WHERE {bad}) GROUP BY key)"
        ).fetchall()
    return found


def suite_versions(con: Connection) -> dict[str, set[str]]:
    """Suite → versions that measured."""
    versions: dict[str, set[str]] = {}
    for suite, number in con.execute("SELECT suite, number FROM suites").fetchall():
        found = con.execute(f"SELECT DISTINCT suite_version FROM suite_{number}").fetchall()
        versions[suite] = {version for (version,) in found}
    return versions


#: Codings that count: the last of each address, as in `Run.counting`; ``first`` is the line where the address came up.
_COUNTING = """
CREATE OR REPLACE TEMP TABLE counting AS SELECT coded.*, first FROM coded JOIN (
  SELECT max(line) AS line, min(line) AS first FROM coded WHERE ordinal = 0
  GROUP BY dataset, split, codec, rate, CASE WHEN kind = 'model' THEN mesh END, effort, seed, timing, device
) USING (line)
"""
_SIZED = "(c.problem IS NULL AND c.mesh_bytes IS NOT NULL AND c.shared_bytes IS NOT NULL)"
_STREAM_BYTES = "(c.mesh_bytes + c.shared_bytes / CASE WHEN c.kind = 'set' THEN c.in_stream ELSE 1 END)"
#: Columns of a frame, in SQL; ``c`` is a row of ``counting``.
_OF_RECORD = {
    **{name: f"c.{name}" for name in ("dataset", "split", "mesh", "codec", "kind", "rate", "rate_index", "effort")},
    **{"seed": "c.seed", "timing": "c.timing IS NOT NULL"},
    "status": "CASE WHEN c.problem IS NOT NULL THEN 'bad-input' WHEN blamed THEN 'failed' ELSE c.status END",
    "stage": "CASE WHEN c.problem IS NOT NULL THEN 'load' WHEN blamed THEN 'measure' ELSE c.stage END",
    "error": "CASE WHEN c.problem IS NOT NULL THEN c.problem WHEN blamed THEN blame ELSE c.error END",
    **{"codec_version": "c.codec_version", "key": "c.key"},
    **{name: f"CASE WHEN c.problem IS NULL THEN c.{name} END" for name in _SIZES},
    "source_bytes": "c.source_bytes",
    **{name: f"CASE WHEN {_SIZED} THEN c.{name} END" for name in ("mesh_bytes", "shared_bytes")},
    "set_size": f"CASE WHEN {_SIZED} AND c.kind = 'set' THEN c.in_stream ELSE 1 END",
    "stream_bytes": f"CASE WHEN {_SIZED} THEN {_STREAM_BYTES} END",
    "bits_per_vertex": f"CASE WHEN {_SIZED} AND c.vertices > 0 THEN 8 * {_STREAM_BYTES} / c.vertices END",
    "decoder_bytes": "c.decoder_bytes",
    "stream_sha256": f"CASE WHEN {_SIZED} THEN c.stream END",
    "stream_place": f"CASE WHEN {_SIZED} THEN c.place ELSE 0 END",
    "input_sha256": "CASE WHEN c.problem IS NULL THEN c.input_sha256 END",
    "decoded_sha256": f"CASE WHEN {_SIZED} THEN c.decoded_sha256 END",
    "device": "c.device",
    "measure_s": "measure_s",
    **{name: f"coalesce(c.ran_on.{name}, '')" for name in ("host", "slot")},
    "threads": "coalesce(c.ran_on.threads, 1)",
    **{name: f"coalesce(c.ran_on.{name}, '')" for name in ("cpu", "gpu")},
}
#: Columns of a call; ``{cost}`` is its cost, or NULL.
_OF_CALL = {
    "{call}_s": "{cost}.wall_s",
    "{call}_cpu_s": "{cost}.cpu_s",
    "{call}_peak_rss_bytes": "{cost}.peak_rss_bytes",
    "{call}_rss_before_bytes": "{cost}.rss_before_bytes",
    "{call}_added_bytes": "CASE WHEN {cost} IS NOT NULL THEN "
    f"greatest({PAGE_BYTES}, {{cost}}.peak_rss_bytes - {{cost}}.rss_before_bytes) END",
    "{call}_gpu_bytes": "{cost}.gpu_bytes",
    "{call}_repeats": "CASE WHEN {cost} IS NOT NULL THEN coalesce({cost}.repeats, 1) END",
}
_COSTS = {
    "encode": "CASE WHEN c.problem IS NULL THEN c.encode END",
    "decode": f"CASE WHEN {_SIZED} THEN c.decode END",
}
#: Columns that every frame has.
_ALWAYS = {*_OF_RECORD, *(name.format(call=call) for call in _COSTS for name in _OF_CALL), "unmeasured"}
#: Columns of text with few different values: they are categories in a frame, in the order of Python strings.
_CATEGORIES = (
    *("dataset", "split", "mesh", "codec", "kind", "rate", "effort", "status", "stage", "codec_version", "device"),
    *("host", "slot", "cpu", "gpu"),
)


def join(con: Connection) -> None:
    """Make the tables of :func:`frame`: one row for each record, sorted like :meth:`Run.records`."""
    con.execute(_COUNTING)
    tables = con.execute("SELECT suite, 's' || number FROM suites ORDER BY number").fetchall()
    metrics: dict[str, list[str]] = {}
    for suite, table in tables:
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT t.*, first FROM {table.replace('s', 'suite_')} t JOIN "
            f"(SELECT max(line) AS line, min(line) AS first FROM {table.replace('s', 'suite_')} GROUP BY decoded) "
            "USING (line)"
        )
        for name, (place, _) in of_suite(con, suite).items():
            metrics.setdefault(name, []).insert(0, f"{table}.c{place}")  # a later suite would count
    columns = dict(_OF_RECORD)
    for call in _COSTS:
        columns |= {name.format(call=call): sql.format(cost=f"{call}_cost") for name, sql in _OF_CALL.items()}
        for stage in _stages(con, call):
            columns[f"{call}_stage_{stage}_s"] = f"{call}_cost.stage_s[{text(stage)}]"
    columns["unmeasured"] = "unmeasured"
    for name, values in metrics.items():
        columns.setdefault(name, f"CASE WHEN NOT blamed THEN coalesce({', '.join(values)}) END")
    present = " OR ".join(f"{table}.line IS NOT NULL" for _, table in tables) or "false"
    seconds = " + ".join(f"coalesce({table}.seconds, 0)" for _, table in tables) or "0"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE odd AS
        SELECT decoded, bool_or(status = 'failed') AS failed,
          first(error ORDER BY first) FILTER (status = 'failed') AS blame,
          string_agg(suite || ': ' || status || ': ' || coalesce(error, 'None'), '; ' ORDER BY first) AS unmeasured
        FROM ({
            " UNION ALL ".join(
                f"SELECT {text(suite)} AS suite, decoded, first, status, error FROM {table} WHERE status <> 'ok'"
                for suite, table in tables
            )
            or "SELECT '' AS suite, NULL::UUID AS decoded, 0 AS first, '' AS status, '' AS error WHERE false"
        })
        GROUP BY decoded
        """
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE joined AS
        SELECT {", ".join(f"{sql} AS c{i}" for i, sql in enumerate(columns.values()))}
        FROM (
          SELECT c.*, {", ".join(f"{cost} AS {call}_cost" for call, cost in _COSTS.items())},
            coalesce(failed AND c.status = 'ok', false) AS blamed, blame, unmeasured
          FROM counting c LEFT JOIN odd USING (decoded)
        ) c {" ".join(f"LEFT JOIN {table} ON {table}.decoded = c.decoded" for _, table in tables)},
        LATERAL (SELECT CASE WHEN {present} THEN {seconds} END AS measure_s)
        ORDER BY c.dataset, c.split, c.codec, c.rate_index, c.rate, c.mesh, c.effort, c.seed, c.timing IS NOT NULL,
          c.device, c.first, c.ordinal
        """
    )
    codes, listed = [f"c{i}" for i, _ in enumerate(columns)], []
    con.execute("CREATE OR REPLACE TABLE record_columns (number BIGINT, name VARCHAR, categories VARCHAR[])")
    for i, name in enumerate(columns):
        categories = None
        if name in _CATEGORIES:
            different = f"SELECT DISTINCT c{i} FROM joined WHERE c{i} IS NOT NULL ORDER BY 1"
            categories = [value for (value,) in con.execute(different).fetchall()]
            con.execute(f"CREATE TEMP TYPE e{i} AS ENUM ({different})")
            codes[i] = f"coalesce(enum_code(c{i}::e{i})::INTEGER, -1) AS c{i}"
        listed.append([i, name, categories])
    con.executemany("INSERT INTO record_columns VALUES (?, ?, ?)", listed)
    con.execute(f"CREATE OR REPLACE TABLE records AS SELECT {', '.join(codes)} FROM joined")
    for table in ("joined", "odd", "counting", *(table for _, table in tables)):
        con.execute(f"DROP TABLE {table}")


def frame(con: Connection, names: Collection[str] = ()) -> pd.DataFrame:
    """One row for each record, sorted like :meth:`Run.records`, with some or all columns of :meth:`Record.flat`.

    Columns of text with few different values are categories. Numbers without gaps keep their type, others are float.
    """
    import pandas as pd

    columns = con.execute("SELECT number, name, categories FROM record_columns ORDER BY number").fetchall()
    columns = [column for column in columns if not names or column[1] in names]
    arrays = con.execute(f"SELECT {', '.join(f'c{number}' for number, *_ in columns)} FROM records").fetchnumpy()
    series: dict[str, Any] = {}
    for number, name, categories in columns:
        values: Any = arrays.pop(f"c{number}")  # masked where something is missing
        known, missing = np.ma.getdata(values), np.ma.getmaskarray(values)
        if name not in _ALWAYS and missing.all():  # a stage or a metric of lines that do not count
            continue
        if categories is not None:
            series[name] = pd.Categorical.from_codes(known, pd.Index(categories, dtype="str"))
        elif known.dtype == object:
            series[name] = pd.array(_masked(known, missing), dtype="str")
        elif not missing.any():
            series[name] = known
        else:
            series[name] = _masked(known, missing) if known.dtype == bool else np.where(missing, np.nan, known)
    return pd.DataFrame(series)


def _masked(known: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Objects, None where missing."""
    values = known.astype(object)
    values[missing] = None
    return values


def _stages(con: Connection, call: str) -> list[str]:
    """Stages of a call, in the order in which codecs report them."""
    found = con.execute(
        f"""
        SELECT stage FROM (SELECT line, unnest(map_keys({call}.stage_s)) AS stage,
          generate_subscripts(map_keys({call}.stage_s), 1) AS place FROM counting WHERE ordinal = 0)
        GROUP BY stage ORDER BY min(line), min(place)
        """
    )
    return [stage for (stage,) in found.fetchall()]
