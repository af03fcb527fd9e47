"""More metrics for a run that is there: what is missing is measured from kept streams, and nothing is encoded."""

from __future__ import annotations

import dataclasses

import pytest

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.plan.units import MeasurementUnit
from gcbench.bench.run.kept import KeptInputs, to_measure
from gcbench.bench.run.outstanding import applies
from gcbench.bench.run.runner import measure_run, suite_ids
from gcbench.bench.store.run import Run
from gcbench.errors import BitstreamError, StoreError, UsageError

pytestmark = pytest.mark.usefixtures("counting_suites")
VERSIONS = {"test-exact": "1", "test-random-access": "1"}


@pytest.fixture
def store(folder, go) -> Run:
    """Three meshes, one by one and as a set; measured by one suite."""
    store = Run(folder.parent / "run")
    go(make_plan(str(folder), ["test-exact", "test-random-access"], rates=["d3", "only"]), store)
    return store


def units(store: Run, *suites: str, versions=VERSIONS) -> list[MeasurementUnit]:
    found = list(to_measure(store.records(), suite_ids(suites), KeptInputs(store), versions))
    assert all(isinstance(one, MeasurementUnit) for one in found), found
    return found


def test_an_added_suite_decodes_and_encodes_nothing(store, here, log):
    before = {(r.codec, r.mesh): r.metrics for r in store.records()}
    assert measure_run(store, units(store, "topology", "test-counts"), executor=here) == 6
    assert not log("encode")
    assert not log("measure test-counts"), "what was measured is not measured again"
    assert sorted(log("decode-one")) == [f"decode-one test-random-access {place}" for place in range(3)]
    for record in store.records():
        if record.status == "ok":
            assert record.metrics.items() >= before[record.codec, record.mesh].items()
            assert record.metrics["out_faces"] == record.faces
            assert record.suites.keys() == {"topology", "test-counts"}
    assert measure_run(store, units(store, "topology"), executor=here) == 0


def test_values_are_those_of_a_run_that_measured_at_once(store, folder, here, go, tmp_path):
    measure_run(store, units(store, "topology"), executor=here)
    at_once = Run(tmp_path / "at once")
    plan = make_plan(str(folder), ["test-exact", "test-random-access"], rates=["d3", "only"])
    go(plan, at_once, suites=["test-counts", "topology"])
    assert [r.metrics for r in store.records()] == [r.metrics for r in at_once.records()]
    assert {m.key for m in store.measurements()} == {m.key for m in at_once.measurements()}


def test_a_changed_suite_and_one_that_goes_back(store, here, log, monkeypatch):
    monkeypatch.setenv("GCBENCH_TEST_SUITE_VERSION", "2")
    assert measure_run(store, units(store, "test-counts"), executor=here) == 6
    assert {r.suites.get("test-counts") for r in store.records() if r.status == "ok"} == {"2"}
    monkeypatch.setenv("GCBENCH_TEST_SUITE_VERSION", "1")
    assert measure_run(store, units(store, "test-counts"), executor=here) == 0
    assert {r.suites.get("test-counts") for r in store.records() if r.status == "ok"} == {"1"}
    assert not log("encode")


def test_what_cannot_be_measured_is_said_with_the_reason(store, folder):
    suites = suite_ids(["topology"])
    found = to_measure(store.records(), suites, KeptInputs(store), VERSIONS | {"test-exact": "2"})
    left = [one for one in found if isinstance(one, tuple)]
    assert {(record.codec, why) for record, why in left} == {
        ("test-exact", "test-exact 1 made the stream, installed is 2")
    }
    assert len(left) == 3
    found = list(to_measure(store.records(), suites, KeptInputs(store), {}))
    assert {why for _, why in found} == {
        "test-exact 1 made the stream, installed is none",
        "test-random-access 1 made the stream, installed is none",
    }
    (folder / "shape1.ply").unlink()
    left = [o for o in to_measure(store.records(), suites, KeptInputs(store), VERSIONS) if isinstance(o, tuple)]
    assert {(r.mesh, why) for r, why in left} == {("shape1", "the input mesh is no longer in shapes/all")}
    assert len(left) == 2


def test_suites_of_clouds_measure_codecs_of_points_only(store):
    assert applies("points", "gpcc-octree")
    assert not applies("points", "draco")
    assert not applies("points", "no-such-codec")
    assert applies("paper", "no-such-codec")
    assert units(store, "points") == []
    assert [[s.name for s in unit.suites] for unit in units(store, "points", "topology")] == [["topology"]] * 6


def test_a_lost_or_changed_stream_stops_it(store, here):
    (one, *_) = units(store, "topology")
    path = store.path / "streams" / one.stream_sha256[:2] / one.stream_sha256
    path.write_bytes(b"changed")
    with pytest.raises(BitstreamError, match="was changed"):
        measure_run(store, [one], executor=here)
    path.unlink()
    with pytest.raises(StoreError, match="no stream"):
        measure_run(store, [one], executor=here)
    assert here.closed


def test_the_same_mesh_is_measured_once_however_often_it_is_asked_for(store, here):
    (one, *_) = units(store, "topology")
    named = dataclasses.replace(
        one, mesh=dataclasses.replace(one.mesh, source=dataclasses.replace(one.mesh.source, dataset="other"))
    )
    assert measure_run(store, [one, one, named], executor=here) == 1


def test_unknown_suites_are_refused():
    with pytest.raises(UsageError, match="did you mean topology"):
        suite_ids(["topolgy"])
    assert [s.name for s in suite_ids(["topology", "volume", "topology"])] == ["topology", "volume"]
