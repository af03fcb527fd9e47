"""What was made fast gives what the plain way gives: summaries by loops (`plain_loops.py`), keys by `json`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.frame import summarise
from gcbench.bench.plan.units import KEY_VERSION, SuiteId, measurement_key

_spec = importlib.util.spec_from_file_location("plain_loops", Path(__file__).with_name("plain_loops.py"))
plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain)


def random_rows(seed: int) -> pd.DataFrame:
    """Records with gaps of every kind: failures, missing suites, timing passes on several machines, two seeds, sets."""
    rng = np.random.default_rng(seed)
    whole = rng.random() < 0.3  # a complete run without failures, in some cases
    rows = []
    for dataset in ("d", "e")[: rng.integers(1, 3)]:
        for codec in ("a", "b", "c")[: rng.integers(1, 4)]:
            kind = "set" if codec == "c" else "model"
            for rate in range(rng.integers(1, 4)):
                lacks = 0.0 if whole else rng.choice([0, 0.2, 0.7])
                for mesh in "mnopq"[: rng.integers(1, 6)]:
                    for timing, seed_, cpu in [
                        *((False, s, "A") for s in range(rng.integers(1, 3))),
                        *((True, 0, cpu) for cpu in "AB" if rng.random() < 0.5),
                    ]:
                        if rng.random() < lacks:
                            continue
                        rows.append(_row(rng, dataset, codec, kind, rate, mesh, timing, seed_, cpu, whole=whole))
    if rng.random() < 0.5:
        rng.shuffle(rows)
    found = pd.DataFrame(rows)
    if len(found) and rng.random() < 0.5:
        for name in ("dataset", "split", "mesh", "codec", "kind", "rate", "status", "effort", "device", "cpu", "gpu"):
            found[name] = found[name].astype("category")
    return found


def _row(rng, dataset, codec, kind, rate, mesh, timing, seed, cpu, *, whole) -> dict:
    status = "ok" if whole else rng.choice(["ok", "failed", "bad-input", "timeout"], p=[0.8, 0.1, 0.05, 0.05])
    row = {
        "dataset": dataset, "split": "all", "effort": "quick", "device": "cpu", "codec": codec, "rate": f"r{rate}",
        "rate_index": rate, "mesh": mesh, "seed": seed, "timing": timing, "status": status, "kind": kind,
        "set_size": 4 if kind == "set" else 1, "cpu": cpu, "gpu": "" if codec == "a" else "G", "threads": 2,
    }  # fmt: skip
    here = status == "ok"
    sizes = rng.random(3) * 1000
    row |= dict(zip(("obj_bytes", "stream_bytes", "bits_per_vertex"), sizes if here else [None] * 3, strict=True))
    for call in ("encode", "decode"):
        row |= {f"{call}_s": rng.random() if here else None, f"{call}_added_bytes": 4096 if here else None}
        row |= {f"{call}_gpu_bytes": None, f"{call}_repeats": int(rng.integers(1, 6)) if here else None}
    if codec == "b":
        row["encode_stage_part_s"] = rng.random() if here and rng.random() < 0.5 else None
    if here and not timing and (whole or rng.random() < 0.9):
        row |= {
            "cd": rng.random(),
            "cd_floor": rng.random(),
            "nc": rng.random(),
            "in_watertight": bool(rng.random() < 1),
        }
        row["giou"] = rng.random() if rng.random() < 0.8 else None
    return row


def assert_same(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(got) == list(expected)
    for name in expected:
        assert [*got[name].isna()] == [*expected[name].isna()], name
        one, other = ([v for v in frame[name] if not pd.isna(v)] for frame in (got, expected))
        assert one == (other if name in plain.GROUP + ["machine"] else pytest.approx(other, rel=1e-12)), name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("penalise", [False, True])
def test_the_summary_is_that_of_loops(seed, penalise):
    rows = random_rows(seed)
    if len(rows):
        assert_same(summarise(rows, penalise=penalise), plain.summarise(rows, penalise=penalise))


@pytest.mark.parametrize("seed", range(12))
def test_the_meshes_in_common_are_those_of_loops(seed):
    rows = random_rows(seed)
    if rows.empty:
        return
    got, expected = common(rows), plain.common(rows)
    assert got.notes == expected.notes
    for one, other in ((got.rows, expected.rows), (got.aside, expected.aside)):
        pd.testing.assert_frame_equal(one, other, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("text", ["plain", 'a "quoted" one\\', "é\n\u2028", "\udcff"])
def test_the_key_of_a_measurement_is_the_hash_of_sorted_json(text):
    fields = {"key": KEY_VERSION, "stream": text, "place": 3, "decoder": [text, text], "input": text,
              "suite": [text, text], "seed": 7}  # fmt: skip
    assert measurement_key(
        stream_sha256=text, place=3, codec=text, decoder_version=text, input_sha256=text, suite=SuiteId(text, text),
        seed=7,
    ) == hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()  # fmt: skip
