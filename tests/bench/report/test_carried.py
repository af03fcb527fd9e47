"""Which records the page of a large run carries, exactly; and that its numbers are of all records."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gcbench.bench.analysis.frame import frame
from gcbench.bench.metrics import columns
from gcbench.bench.report.carried import carried
from gcbench.bench.report.cases import in_order_of_interest
from gcbench.bench.report.content import content
from gcbench.bench.report.failures import LIMIT, NAMES, failures
from gcbench.bench.report.spread import QUANTILES, spread
from gcbench.bench.store.records import Cost, Record


def record(mesh, codec="c", rate_index=0, p2s=1.0, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{rate_index}",
        "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1000, "stream_bytes": 100.0, "bits_per_vertex": 4.0, "stream_sha256": "0" * 64,
        "encode": Cost(2.0, 2.0, 5 << 20, 1), "decode": Cost(0.1, 0.1, 4 << 20, 1), "metrics": {"cd_p2s": p2s},
    }  # fmt: skip
    return Record(**(values | more))


def ladder(meshes, codecs=("x", "y"), rates=2):
    """More meshes, worse values."""
    return [record(f"m{m:03}", c, r, p2s=m + 1.0) for m in range(meshes) for c in codecs for r in range(rates)]


def kept_of(records, limit):
    rows = frame(records)
    kept = carried(rows, in_order_of_interest(rows), limit)
    return kept, [records[place] for place in kept.places]


def test_a_small_run_is_carried_whole():
    kept, found = kept_of(ladder(3), 12)
    assert kept.everything
    assert len(found) == 12
    assert kept.whole == frozenset()


def test_worst_median_and_best_come_first_then_all_records_of_their_meshes_then_of_the_second_worst():
    # 10 meshes with 4 records each. Worst, median and best of every codec and rate are m009, m004, m000.
    kept, found = kept_of(ladder(10), 16)
    assert {r.mesh for r in found} == {"m009", "m004", "m000", "m008"}
    assert len(found) == 16
    assert {name[-1] for name in kept.whole} == {"m009", "m004", "m000", "m008"}
    assert kept.of == 40
    kept, found = kept_of(ladder(10), 15)  # no room for all of a fourth mesh
    assert {name[-1] for name in kept.whole} == {"m009", "m004", "m000"}
    assert len(found) == 12
    assert list(kept.places) == sorted(kept.places)


def test_failures_of_every_kind_have_a_part_of_the_room():
    failed = [record(f"f{i:02}", "x", 0, status="failed", stage="encode", metrics={}, stream_sha256=None)
              for i in range(30)]  # fmt: skip
    failed += [record("late", "y", 1, status="timeout", stage="decode", metrics={}, stream_sha256=None)]
    _, found = kept_of([*failed, *ladder(30)], 40)
    statuses = [r.status for r in found if r.status != "ok"]
    assert len(statuses) == 10  # a quarter of the limit
    assert statuses.count("timeout") == 1


def test_the_page_of_a_large_run_is_bounded_and_its_means_are_of_all_records(monkeypatch):
    records = ladder(50)
    rows = frame(records)
    kept = carried(rows, in_order_of_interest(rows), 24)
    said = content("x", rows, [], kept=kept)
    assert len(said["records"]["timing"]) == len(kept.places) <= 24
    assert said["totals"] == {"records": 200, "meshes": 50, "failed": 0}
    assert said["blocks"][0]["points"][0]["cd_p2s"] == 25.5
    assert said["blocks"][0]["all_meshes"] == 50
    assert {name[-1] for name in said["whole"]} == {name[-1] for name in kept.whole}
    assert content("x", rows, [])["whole"] is None


def test_quantiles_are_those_of_numpy_over_the_codings_that_are_ok():
    rng = np.random.default_rng(7)
    values = {(c, r): rng.lognormal(size=11) for c in "ab" for r in range(2)}
    records = [record(f"m{m}", c, r, p2s=v) for (c, r), of in values.items() for m, v in enumerate(of)]
    records += [record("bad", "a", 0, status="failed", metrics={}), record("m0", "a", 0, timing=True, metrics={})]
    found = spread(frame(records), [columns()["cd_p2s"]])
    assert found["rows"] == [["a", "r0", 11], ["a", "r1", 11], ["b", "r0", 11], ["b", "r1", 11]]
    for row, key in zip(found["of"]["cd_p2s"], values, strict=True):
        assert row == pytest.approx(np.quantile(values[key], QUANTILES))
    assert found["of"]["ratio"] == [[10.0] * len(QUANTILES)] * 4
    assert found["of"]["decode_ms"][0][0] == pytest.approx(100.0)


def test_quantiles_of_a_set_are_shares_and_what_was_not_measured_is_nan():
    of_set = {"kind": "set", "set_size": 4, "metrics": {}}
    found = spread(frame([record("a", "s", **of_set), record("a", "c")]), [columns()["cd_p2s"]])
    assert found["rows"] == [["c", "r0", 1], ["s", "r0", 1]]
    assert found["of"]["encode_ms"][1][0] == pytest.approx(500.0)
    assert math.isnan(found["of"]["cd_p2s"][1][0])
    assert spread(frame([record("a", status="failed")]), []) == {"rows": [], "of": {}}


def test_meshes_that_failed_alike_share_a_line_and_lines_are_bounded():
    why = {"status": "failed", "stage": "decode", "metrics": {}}
    alike = [record(f"m{m:02}", "x", r, error="boom", **why) for m in range(NAMES + 5) for r in range(2)]
    found = failures(frame([*alike, record("z", "x", 0, error="other", **why)]))
    first, second = found["lines"]
    assert (first["count"], first["meshes"], first["rates"]) == (
        NAMES + 5, [f"m{m:02}" for m in range(NAMES)], ["r0", "r1"],
    )  # fmt: skip
    assert (second["count"], second["meshes"], second["error"]) == (1, ["z"], "other")
    many = [record(f"m{m}", "x", 0, error=f"reason {m}", **why) for m in range(LIMIT + 3)]
    found = failures(frame(many))
    assert (len(found["lines"]), found["left_out"]) == (LIMIT, 3)
