"""What the tables of :mod:`gcbench.bench.store.line_tables` say: codings joined with measurements, one row a record.

Which lines count, and which measurement belongs to which coding, is the same as in
:meth:`gcbench.bench.store.run.Run.records`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gcbench.bench.store.line_tables import SIZES, Connection, of_suite, text
from gcbench.bench.store.records import PAGE_BYTES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def newest_versions(con: Connection) -> dict[tuple[str, str, str, str, str], tuple[str, str]]:
    """Dataset, split, effort, device and codec → version of the codec in their last coding, and in the last of quality.

    Without a quality pass, the second is the first.
    """
    found = con.execute(
        "SELECT dataset, split, effort, device, codec, arg_max(codec_version, line), "
        "arg_max(codec_version, line) FILTER (timing IS NULL) FROM coded WHERE ordinal = 0 GROUP BY ALL"
    )
    return {tuple(ladder): (last, quality or last) for *ladder, last, quality in found.fetchall()}


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


def counting_suites(con: Connection) -> dict[str, frozenset[str]]:
    """Suite → versions of its measurements that count."""
    found = con.execute("SELECT suite, list(version) FROM counting_suites GROUP BY suite ORDER BY encode(suite)")
    return {suite: frozenset(versions) for suite, versions in found.fetchall()}


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
    **{name: f"CASE WHEN c.problem IS NULL THEN c.{name} END" for name in SIZES},
    "source_bytes": "c.source_bytes",
    **{name: f"CASE WHEN c.problem IS NULL THEN c.{name} END" for name in ("polygons", "dropped", "remarks")},
    **{name: f"c.{name}" for name in ("sequence", "frame", "fps")},
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
    *("host", "slot", "cpu", "gpu", "dropped", "remarks", "sequence"),
)


def join(con: Connection) -> None:
    """Make the tables of :func:`frame`: one row for each record, sorted like :meth:`Run.records`."""
    con.execute(_COUNTING)
    tables = con.execute("SELECT suite, 's' || number FROM suites ORDER BY encode(suite)").fetchall()
    metrics: dict[str, list[str]] = {}
    con.execute("CREATE OR REPLACE TABLE counting_suites (suite VARCHAR, version VARCHAR)")
    for suite, table in tables:
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT t.*, first FROM {table.replace('s', 'suite_')} t JOIN "
            f"(SELECT max(line) AS line, min(line) AS first FROM {table.replace('s', 'suite_')} GROUP BY decoded) "
            "USING (line)"
        )
        con.execute(f"INSERT INTO counting_suites SELECT DISTINCT {text(suite)}, suite_version FROM {table}")
        for name, (place, _) in of_suite(con, suite).items():
            metrics.setdefault(name, []).insert(0, f"{table}.c{place}")  # as in Record: the later name counts
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
    codes, categories = [f"c{i}" for i, _ in enumerate(columns)], _categories(con, list(columns))
    for i, values in categories.items():
        con.execute(f"CREATE TEMP TYPE e{i} AS ENUM ({', '.join(map(text, values))})")
        codes[i] = f"coalesce(enum_code(c{i}::e{i})::INTEGER, -1) AS c{i}"
    con.execute("CREATE OR REPLACE TABLE record_columns (number BIGINT, name VARCHAR, categories VARCHAR[])")
    con.execute(  # in one statement: one for each row takes as long as all of the join
        "INSERT INTO record_columns SELECT unnest(?), unnest(?), unnest(?)",
        [list(range(len(columns))), list(columns), [categories.get(i) for i, _ in enumerate(columns)]],
    )
    con.execute(f"CREATE OR REPLACE TABLE records AS SELECT {', '.join(codes)} FROM joined")
    for table in ("joined", "odd", "counting", *(table for _, table in tables)):
        con.execute(f"DROP TABLE {table}")


def _categories(con: Connection, names: list[str]) -> dict[int, list[str]]:
    """Number of each column of categories in the table ``joined`` → its different values, sorted."""
    numbers = [i for i, name in enumerate(names) if name in _CATEGORIES]
    found = con.execute(  # in one statement: one for each column takes as long as all of the join
        f"SELECT i, list_sort(list(value)) FROM (SELECT DISTINCT unnest(?) AS i, "
        f"unnest([{', '.join(f'c{i}' for i in numbers)}]) AS value FROM joined) WHERE value IS NOT NULL GROUP BY i",
        [numbers],
    )
    values = dict(found.fetchall())
    return {i: values.get(i, []) for i in numbers}


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
        GROUP BY stage ORDER BY min(line), arg_min(place, line)
        """
    )
    return [stage for (stage,) in found.fetchall()]
