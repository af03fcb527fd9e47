"""Change what a run says, as somebody who wants better numbers would."""

from __future__ import annotations

import json
from pathlib import Path

from gcbench.bench.plan.units import SuiteId, measurement_key
from gcbench.bench.store.run import Run


def lines_of(store: Run, name: str) -> list[dict]:
    """The lines of a file of a run."""
    return [json.loads(line) for line in (store.path / name).read_text().splitlines()]


def write(store: Run, name: str, lines: list[dict]) -> None:
    """Write the lines of a file of a run."""
    (store.path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def edit(store: Run, change, *, codec="test-exact", mesh="ball", timing=False) -> dict:
    """Change a coding in place: ``change`` takes the coding and its mesh of this name."""
    lines = lines_of(store, "codings.jsonl")
    ((coding, coded),) = (
        (line, one)
        for line in lines
        for one in line["meshes"]
        if (line["codec"], one["mesh"], "timing" in line) == (codec, mesh, timing) and line["rate"] in {"d2", "only"}
    )
    change(coding, coded)
    write(store, "codings.jsonl", lines)
    return coding


def edit_values(store: Run, suite, change, *, codec="test-exact", mesh="ball") -> None:
    """Change one measurement in place: ``change`` takes the line."""
    (record,) = (r for r in store.records() if (r.codec, r.mesh, r.timing) == (codec, mesh, False))
    lines = lines_of(store, "measurements.jsonl")
    (line,) = (
        line
        for line in lines
        if (line["stream"], line["place"], line["suite"]) == (record.stream_sha256, record.stream_place, suite)
    )
    change(line)
    write(store, "measurements.jsonl", lines)


def rekey(m: dict) -> None:
    """Give a measurement the key of what it says: as a run of another version has it."""
    m["key"] = measurement_key(
        stream_sha256=m["stream"],
        place=m["place"],
        codec=m["codec"],
        decoder_version=m["decoder_version"],
        input_sha256=m["input"],
        suite=SuiteId(m["suite"], m["suite_version"]),
        seed=m["seed"],
    )


def stream_of(store: Run, codec="test-exact", mesh="ball") -> Path:
    """The file of a stream."""
    (sha256,) = {r.stream_sha256 for r in store.records() if (r.codec, r.mesh) == (codec, mesh)}
    return store.path / "streams" / sha256[:2] / sha256
