"""What a pack holds: the codings and measurements that count, as columns, and how they become lines again.

The content of a pack is one JSON object. A *table* is an object of columns; a column is a list with a value for each
row (null where a line lacks the field), or an object of columns for a field that is an object:

    sessions      list of objects: provenance
    inputs        table: the different input meshes, with the fields of `CodedMesh` that do not depend on a codec
    codings       table: the fields of `Coding`, without ``key`` and ``meshes``
    coded         table: a row for each mesh of each coding: ``coding`` and ``input`` (row numbers), and the others
    measurements  suite → table: ``of`` (row number in ``coded``), and the fields of `Measurement` that are results

Example: ``{"codings": {"codec": ["draco", "draco"], "encode": {"wall_s": [0.0213, 0.0108]}}}``.

What is rounded, since a pack is kept in a repository: values of suites to 10 significant digits, seconds to 4, memory
before a call to whole MiB (``before_mib``), memory that a call added to whole KiB (``added_kib``). Keys of units,
names of hosts and paths of folders are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gcbench.bench.store.fields import Kind, Part
from gcbench.bench.store.records import CODED_MESH, CODING, COST, MEASUREMENT, RAN_ON, Coding, Measurement
from gcbench.bench.store.results import decoded_meshes, write_line

#: Most bytes of the lines of a pack together. A pack of 10 000 records has 60 MB.
LINES_BYTES = 512 << 20
#: Most rows of a table.
ROWS = 500_000
_VALUE_DIGITS = 10  # rounding changes a value by less than 1e-9, what `bench verify` and `bench compare` allow
_SECONDS_DIGITS = 4
_OF_CODEC = {"mesh_bytes", "decoded_sha256"}  # fields of a coded mesh that depend on the codec
_OF_DECODED = {"key", "stream", "place", "codec", "decoder_version", "input", "suite", "seed"}  # made from `of`
_PLACE = {"host", "slot"}
_FOLDERS = re.compile(r"(?<![\w./~:-])(?:~\w*)?/(?:[^\s,=:'\"]*/)?(?=[^\s,=:'\"/])")

Content = Mapping[str, Any]


def content_of(
    codings: Sequence[Coding], measurements: Iterable[Measurement], sessions: Iterable[Mapping[str, Any]]
) -> Content:
    """The content of a pack.

    Parameters
    ----------
    codings : sequence of Coding
        Those that count, in the order of their lines.
    measurements : iterable of Measurement
        All of them, oldest first; the last of each suite on each decoded mesh is taken.
    sessions : iterable of mapping
        Provenance; sessions that no line names are left out.
    """
    inputs: dict[tuple[Any, ...], dict[str, Any]] = {}
    number: dict[tuple[Any, ...], int] = {}
    plain: list[dict[str, Any]] = []
    coded: list[dict[str, Any]] = []
    row_of: dict[tuple[Any, ...], int] = {}
    for coding in codings:
        fields = coding.to_json()
        del fields["key"]
        if "error" in fields:
            fields["error"] = without_folders(fields["error"])
        names = dict(decoded_meshes(coding))
        place = 0
        for mesh, of_mesh in zip(coding.meshes, fields.pop("meshes"), strict=True):
            of_input = {name: value for name, value in of_mesh.items() if name not in _OF_CODEC}
            same = tuple(of_input.items())
            inputs[same] = of_input
            if mesh.problem is None:
                row_of.setdefault(names.get(place, ()), len(coded))
                place += 1
            of_codec = {name: value for name, value in of_mesh.items() if name in _OF_CODEC}
            coded.append({"coding": len(plain), "input": number.setdefault(same, len(number)), **of_codec})
        for call in ("encode", "decode"):
            if call in fields:
                fields[call] = _rounded_cost(fields[call])
        fields["ran_on"] = {name: value for name, value in fields["ran_on"].items() if name not in _PLACE and value}
        plain.append(fields)
    of_suite = _measured(measurements, row_of)
    named = {row["session"] for row in plain} | {row["session"] for rows in of_suite.values() for row in rows}
    return {
        "sessions": [_public(facts) for facts in sessions if facts["session"] in named],
        "inputs": _columns(list(inputs.values()), CODED_MESH.kinds),
        "codings": _columns(plain, CODING.kinds),
        "coded": _columns(coded, {"coding": None, "input": None, **CODED_MESH.kinds}),
        "measurements": {suite: _columns(rows, {"of": None, **MEASUREMENT.kinds}) for suite, rows in of_suite.items()},
    }


def _measured(
    measurements: Iterable[Measurement], row_of: Mapping[tuple[Any, ...], int]
) -> dict[str, list[dict[str, Any]]]:
    """Suite → rows of its table, in the order of ``coded``."""
    last: dict[tuple[str, int], Measurement] = {}
    for m in measurements:
        row = row_of.get((m.stream, m.place, m.input, m.seed, m.codec, m.decoder_version))
        if row is not None:
            last[m.suite, row] = m
    tables: dict[str, list[dict[str, Any]]] = {}
    for (suite, row), m in sorted(last.items(), key=lambda item: item[0][1]):
        fields = {name: value for name, value in m.to_json().items() if name not in _OF_DECODED}
        if "values" in fields:
            fields["values"] = {name: _rounded(value, _VALUE_DIGITS) for name, value in fields["values"].items()}
        if "seconds" in fields:
            fields["seconds"] = _rounded(fields["seconds"], _SECONDS_DIGITS)
        tables.setdefault(suite, []).append({"of": row, **fields})
    return tables


def _public(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance without paths of the machine that ran."""
    kept = {name: value for name, value in facts.items() if name != "folders"}
    if isinstance(argv := kept.get("argv"), list):
        kept["argv"] = [without_folders(one) if isinstance(one, str) else one for one in argv]
    if isinstance(why := kept.get("unavailable"), dict):
        kept["unavailable"] = {name: without_folders(text) for name, text in why.items()}
    return kept


def without_folders(text: str) -> str:
    """A text with the last part of each absolute path only. Example: ``--data=/home/ada/meshes`` → ``--data=meshes``.

    Texts that are no absolute paths, such as ``and/or`` or ``https://host/page``, stay.
    """
    return _FOLDERS.sub("", text)


def _rounded_cost(cost: Mapping[str, Any]) -> dict[str, Any]:
    """A cost as a pack holds it."""
    before, peak = cost["rss_before_bytes"], cost["peak_rss_bytes"]
    rounded = {
        name: _rounded(value, _SECONDS_DIGITS) if name.endswith("_s") and name != "stage_s" else value
        for name, value in cost.items()
        if name not in {"peak_rss_bytes", "rss_before_bytes"}
    }
    if "stage_s" in rounded:
        rounded["stage_s"] = {name: _rounded(value, _SECONDS_DIGITS) for name, value in rounded["stage_s"].items()}
    return rounded | {"before_mib": before >> 20, "added_kib": (peak - before) >> 10}


def _rounded(value: Any, digits: int) -> Any:
    return float(f"{value:.{digits}g}") if type(value) is float else value


def _columns(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind | None]) -> dict[str, Any]:
    """Columns of some rows: in the order of the kinds, then of the rows."""
    there = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in kinds if name in there]
    table: dict[str, Any] = {}
    for name in dict.fromkeys([*names, *there]):
        values = [row.get(name) for row in rows]
        if any(isinstance(value, Mapping) for value in values):
            kind = kinds.get(name)
            of_part = kind.kinds if isinstance(kind, Part) else {}
            table[name] = _columns([value or {} for value in values], of_part)
        else:
            table[name] = values
    return table


# From columns to lines. Nothing here trusts a pack; the values of a line are checked when it is read.


def coding_lines(content: Content) -> Iterator[bytes]:
    """The lines of ``codings.jsonl``. Raises ValueError if the content of a pack is impossible."""
    return _bounded(write_line(_in_order(coding, CODING.kinds)) for coding in _codings(content))


def measurement_lines(content: Content) -> Iterator[bytes]:
    """The lines of ``measurements.jsonl``. Raises ValueError if the content of a pack is impossible."""
    return _bounded(_measurement_lines(content))


def session_lines(content: Content) -> Iterator[bytes]:
    """The lines of ``sessions.jsonl``. Raises ValueError if the content of a pack is impossible."""
    sessions = content.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(facts, dict) for facts in sessions):
        raise ValueError("its sessions are no list of objects")
    return _bounded(map(write_line, sessions))


def _codings(content: Content) -> list[dict[str, Any]]:
    """The objects of ``codings.jsonl``."""
    inputs, coded = _rows(content, "inputs"), _rows(content, "coded")
    codings = _rows(content, "codings")
    for number, coding in enumerate(codings):
        coding |= {"key": f"pack-{number}", "meshes": []}
        for call in ("encode", "decode"):
            if isinstance(cost := coding.get(call), dict):
                coding[call] = _unrounded_cost(cost)
        if isinstance(ran_on := coding.get("ran_on"), dict):
            coding["ran_on"] = {"host": "", **_in_order(ran_on, RAN_ON.kinds)}
    for row in coded:
        coding, of_input = _row(codings, row, "coding"), _row(inputs, row, "input")
        of_codec = {name: value for name, value in row.items() if name in _OF_CODEC}
        coding["meshes"].append(_in_order(of_input | of_codec, CODED_MESH.kinds))
    return codings


def _measurement_lines(content: Content) -> Iterator[bytes]:
    codings, coded = _codings(content), _rows(content, "coded")
    inputs = _rows(content, "inputs")
    places: list[int] = []
    used = [0] * len(codings)
    for row in coded:
        coding = row["coding"]
        places.append(used[coding])
        used[coding] += inputs[row["input"]].get("problem") is None
    tables = content.get("measurements")
    if not isinstance(tables, dict):
        raise ValueError("its measurements are no object of tables")
    for suite, table in tables.items():
        for number, row in enumerate(_rows_of(table, f"measurements of {suite[:50]!r}")):
            of = _row(coded, row, "of")
            coding = codings[of["coding"]]
            streams, codec = coding.get("streams"), coding.get("codec")
            made = {
                "key": f"pack-{suite}-{number}",
                "stream": streams[0] if isinstance(streams, list) and streams else None,
                "place": places[row["of"]],
                "codec": codec.partition("[")[0] if isinstance(codec, str) else None,
                "decoder_version": coding.get("codec_version"),
                "input": inputs[of["input"]].get("input_sha256"),
                "suite": suite,
                "seed": coding.get("seed"),
            }
            yield write_line(_in_order(row | made, MEASUREMENT.kinds))


def _unrounded_cost(cost: dict[str, Any]) -> dict[str, Any]:
    before, added = cost.pop("before_mib", None), cost.pop("added_kib", None)
    if type(before) is int and type(added) is int:
        cost |= {"peak_rss_bytes": (before << 20) + (added << 10), "rss_before_bytes": before << 20}
    return _in_order(cost, COST.kinds)


def _rows(content: Content, name: str) -> list[dict[str, Any]]:
    return _rows_of(content.get(name), name)


def _rows_of(table: Any, name: str) -> list[dict[str, Any]]:
    """Rows of a table. Raises ValueError if the columns differ in length."""
    if not isinstance(table, dict):
        raise ValueError(f"its {name} are no table")
    lengths = set(_lengths(table))
    if len(lengths) > 1:
        raise ValueError(f"its {name} have columns of different lengths")
    if max(lengths, default=0) > ROWS:
        raise ValueError(f"its {name} have {max(lengths)} rows; at most {ROWS} are possible")
    rows: list[dict[str, Any]] = [{} for _ in range(lengths.pop() if lengths else 0)]
    _fill(rows, table)
    return rows


def _lengths(table: Mapping[str, Any]) -> Iterator[int]:
    for name, column in table.items():
        if isinstance(column, dict):
            yield from _lengths(column)
        elif isinstance(column, list):
            yield len(column)
        else:
            raise ValueError(f"its column {name[:50]!r} is no list")


def _fill(rows: Sequence[dict[str, Any]], table: Mapping[str, Any]) -> None:
    for name, column in table.items():
        values = column
        if isinstance(column, dict):
            if next(_lengths(column), None) is None:  # many empty objects would cost much time
                continue
            parts: list[dict[str, Any]] = [{} for _ in rows]
            _fill(parts, column)
            values = [part or None for part in parts]
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[name] = value


def _row(rows: Sequence[dict[str, Any]], of: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The row that another row names by its number. Raises ValueError if there is no such row."""
    number = of.get(name)
    if type(number) is not int or not 0 <= number < len(rows):
        raise ValueError(f"a row has no '{name}' that is a row number")
    return rows[number]


def _in_order(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Values in the order in which `Run` writes them: such lines are read fast."""
    return {name: values[name] for name in kinds if values.get(name) is not None}


def _bounded(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Raise ValueError over :data:`LINES_BYTES`: a few bytes of columns can stand for many of lines."""
    left = LINES_BYTES
    for line in lines:
        left -= len(line)
        if left < 0:
            raise ValueError(f"it stands for more than {LINES_BYTES >> 20} MiB of lines")
        yield line
