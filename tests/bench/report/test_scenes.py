"""Which cases are decoded, which are kept and in which order, with a workshop that only pretends to decode."""

from __future__ import annotations

from gcbench.bench.analysis.frame import frame
from gcbench.bench.report.budget import OVER_BUDGET, NotShown
from gcbench.bench.report.cases import Case
from gcbench.bench.report.preparing import Prepared
from gcbench.bench.report.scenes import _PATIENCE, _Making, records_of
from gcbench.bench.store.records import Record


def record(mesh, codec="c", faces=0, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": "r0", "rate_index": 0,
        "effort": "quick", "seed": 0, "timing": False, "status": "ok", "stream_sha256": f"{codec}{mesh}",
        "faces": faces, "vertices": 7, "input_sha256": mesh,
    }  # fmt: skip
    return Record(**(values | more))


class Workshop:
    """Gives a decoded mesh of so many bytes for each codec, and remembers what it was asked for."""

    def __init__(self, sizes):
        self.sizes, self.asked = sizes, []

    def start(self, record, run):
        self.asked.append((record.codec, record.mesh, run))
        size = self.sizes[record.codec]
        if size is None:
            return self.fail
        decoded = f"{record.codec}{record.mesh}".encode().ljust(size, b".")
        return lambda: Prepared((b"original", decoded, b"e", b"m"), 0.5, 0.25, faces=3)

    def fail(self):
        raise NotShown("it is broken")


def made(records, sizes, budget, cases=None, rows=None):
    rows = frame(records) if rows is None else rows
    cases = [Case(i, "worst") for i in range(len(rows))] if cases is None else cases
    workshop = Workshop(sizes)
    found = _Making(workshop, rows, cases, budget, None).made()
    kept = [(rows["codec"].iloc[scene.case.row], rows["mesh"].iloc[scene.case.row]) for scene in found.scenes]
    return kept, found, workshop


def test_a_codec_with_large_meshes_does_not_displace_the_others():
    """Every codec may use half of 60 kB. One needs 2.0 kB a mesh, the other 0.8 kB: without shares, both end alike."""
    records = [record(f"{i:02}", codec) for i in range(40) for codec in ("large", "small")]
    kept, found, _ = made(records, {"large": 1400, "small": 500}, 80_000)
    assert [codec for codec, _ in kept].count("small") == 40
    first_waiting = next(i for i, (codec, mesh) in enumerate(kept) if codec == "large" and mesh == "20")
    assert first_waiting == len(kept) - sum(codec == "large" and mesh >= "20" for codec, mesh in kept)
    assert {reason for _, reason in found.refused} == {OVER_BUDGET}
    assert {case.row for case, _ in found.refused} | {scene.case.row for scene in found.scenes} == set(range(80))


def test_a_case_over_a_thirtieth_of_the_budget_comes_last_in_its_round_but_before_late_cases():
    records = [record("a", "large"), record("b", "small"), record("c", "small")]
    cases = [Case(0, "worst"), Case(1, "worst"), Case(2, "other", late=True)]
    kept, *_ = made(records, {"large": 3000, "small": 10}, 60_000, cases)
    assert kept == [("small", "b"), ("large", "a"), ("small", "c")]


def test_what_is_broken_is_refused_with_its_reason_and_costs_nothing():
    kept, found, _ = made([record("a", "bad"), record("b")], {"bad": None, "c": 10}, 10_000)
    assert kept == [("c", "b")]
    assert [(case.row, reason) for case, reason in found.refused] == [(0, "it is broken")]


def test_after_some_meshes_that_did_not_fit_no_more_are_decoded():
    records = [record(f"{i:03}") for i in range(200)]
    kept, found, workshop = made(records, {"c": 30_000}, 20_000)
    assert kept == []
    assert len(workshop.asked) < 2 * _PATIENCE + 17
    assert len(found.refused) == 200


def test_the_same_stream_in_two_runs_is_decoded_once_and_stored_once():
    rows = frame([record("a"), record("a"), record("b")]).assign(
        run=[0, 1, 1], address="c", codec=["c · A", "c · B", "c · B"]
    )
    kept, found, workshop = made(None, {"c": 10}, 10_000, rows=rows)
    assert workshop.asked == [("c", "a", 0), ("c", "b", 1)]
    assert len(kept) == 3
    assert found.scenes[0].decoded == found.scenes[1].decoded != found.scenes[2].decoded


def test_records_come_back_from_their_rows():
    one, two = record("a", faces=12), record("b", decoded_sha256="x", vertices=None)
    rows = frame([one, two])
    assert records_of(rows, [1, 0]) == [two, one]
    assert type(records_of(rows, [0])[0].vertices) is int  # a float in the frame, since one is missing
