from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.measured import inside_floor
from gcbench.bench.analysis.tables.failures import failures as failures_table
from gcbench.bench.analysis.tables.rate_distortion import rate_distortion
from gcbench.bench.analysis.tables.records import records
from gcbench.bench.store.records import Cost, RanOn, Record
from gcbench.bench.tabular import render as render_tables


def render(summary, format_="text", **more) -> str:
    return "".join(render_tables(rate_distortion(summary, **more), format_))


def failures(rows, format_="text") -> str:
    return "".join(render_tables([failures_table(rows)], format_))


def every(rows, format_, **more) -> str:
    return "".join(render_tables([records(rows, **more)], format_))


FLOORS = {"cd_floor": 2.7e-3, "nc_floor": 0.98, "f1_0005_floor": 0.93, "f1_001_floor": 1.0}


def record(mesh="a", codec="c", rate_index=0, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{rate_index}",
        "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1000, "stream_bytes": 10.0, "bits_per_vertex": 4.0,
        "encode": Cost(0.002, 0.002, 5 << 20, 0), "decode": Cost(0.001, 0.001, 4 << 20, 0),
        "metrics": {"cd": 5e-3, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": 1e-3, **FLOORS},
    }  # fmt: skip
    return Record(**(values | more))


def bad(mesh="b", status="failed", **more) -> Record:
    nothing = {"obj_bytes": None, "stream_bytes": None, "bits_per_vertex": None, "encode": None, "decode": None}
    return record(mesh, status=status, **({"stage": "decode", "error": "boom", "metrics": {}} | nothing | more))


def test_ratio_is_the_sum_over_the_set_and_not_a_mean_of_ratios():
    rows = frame([record("a", obj_bytes=1000, stream_bytes=10.0), record("b", obj_bytes=100, stream_bytes=100.0)])
    (row,) = summarise(rows).to_dict("records")
    assert row["ratio"] == 1100 / 110
    assert row["kilobytes"] == 0.055
    assert row["bits_per_vertex"] == 4
    assert row["encode_ms"] == pytest.approx(2)
    assert row["decode_added_mib"] == 4


def test_memory_is_what_a_call_added_and_not_what_its_process_held():
    """A worker serves codec after codec: Draco after a network has the network's libraries in its peak."""
    held = 1 << 30
    small = record("a", decode=Cost(0.001, 0.001, held + (3 << 20), held))
    none = record("b", decode=Cost(0.001, 0.001, held, held))
    (row,) = summarise(frame([small, none])).to_dict("records")
    assert row["decode_added_mib"] == 3
    (row,) = summarise(frame([none])).to_dict("records")
    assert row["decode_added_mib"] == 4096 / 2**20


def test_failures_are_counted_and_left_out_of_means():
    rows = frame([record("a"), bad("b"), bad("c", "bad-input"), bad("d", "timeout")])
    (row,) = summarise(rows).to_dict("records")
    assert (row["meshes"], row["ok"], row["bad_input"], row["failed"]) == (4, 1, 1, 2)
    assert row["cd"] == 5e-3


def test_failures_can_be_penalised():
    rows = frame([record("a"), bad("b"), bad("c", "bad-input")])
    (row,) = summarise(rows, penalise=True).to_dict("records")
    assert (row["ok"], row["failed"], row["success"]) == (1, 1, 0.5)
    assert row["cd"] == pytest.approx((5e-3 + 1.0) / 2)
    assert row["nc"] == pytest.approx(0.9 / 2)
    assert row["cd_floor"] == FLOORS["cd_floor"]
    assert row["ratio"] == 100


def test_rates_that_lack_meshes_are_named_below_the_table():
    rows = [record(m, "x", i) for m in "abc" for i in range(2)] + [
        record("a", "y", 0),
        record("b", "x", 2),
        bad("c", "bad-input", codec="x"),
    ]
    notes = [line for line in render(summarise(frame(rows))).splitlines() if line.startswith("not on all")]
    assert notes == ["not on all of 3 meshes: x r2 (1), y (1); over the same ones: bench table --means common"]
    assert "not on all" not in render(summarise(frame(rows[:6])))


def test_a_rate_that_always_fails_has_a_row_without_numbers():
    rows = frame([record("a"), bad("a", rate_index=1)])
    ok, failed = summarise(rows).to_dict("records")
    assert ok["ok"] == 1
    assert failed["ok"] == 0
    assert math.isnan(failed["ratio"])
    assert "–" in render(summarise(rows))


def test_cost_of_a_set_codec_is_shared_out_and_timing_passes_win():
    of_set = {"kind": "set", "set_size": 4}
    timed = Cost(0.008, 0.008, 1 << 20, 1, 5)
    quality = [record(m, **of_set) for m in "abcd"]
    (row,) = summarise(frame(quality)).to_dict("records")
    assert row["encode_ms"] == pytest.approx(0.5)
    assert not row["timed"]
    timing = [record(m, timing=True, metrics={}, encode=timed, **of_set) for m in "abcd"]
    (row,) = summarise(frame(quality + timing)).to_dict("records")
    assert row["encode_ms"] == pytest.approx(2)
    assert row["timed"]
    assert row["ok"] == 4


def test_devices_are_never_averaged_together():
    rows = frame([record("a"), record("a", device="cuda", encode=Cost(0.0002, 0.0002, 1, 1))])
    summary = summarise(rows)
    assert list(summary["device"]) == ["cpu", "cuda"]
    assert "effort quick, on cuda" in render(summary)


def timing(mesh="a", **more) -> Record:
    return record(mesh, **{"timing": True, "metrics": {}, "encode": Cost(0.008, 0.008, 1 << 20, 1, 5)} | more)


def test_a_group_with_nothing_but_a_timing_pass_has_sizes_and_times_and_no_metrics():
    rows = frame([record("a", "x"), timing("a", codec="y")])
    x, y = summarise(rows).to_dict("records")
    assert (x["codec"], x["timed"], x["cd"]) == ("x", False, 5e-3)
    assert (y["codec"], y["timed"], y["ok"], y["ratio"]) == ("y", True, 1, 100)
    assert y["encode_ms"] == pytest.approx(8)
    assert math.isnan(y["cd"])
    assert "in 1 of 2 rows single shots; to quote them, bench run --timing" in render(summarise(rows))


@pytest.mark.parametrize("lacking", [[], [bad("b", timing=True)], [bad("a", timing=True), bad("b", timing=True)]])
def test_times_of_a_timing_pass_that_lacks_a_mesh_are_not_used(lacking):
    part = [timing("a")] if len(lacking) < 2 else []
    rows = frame([record("a"), record("b"), *part, *lacking])
    (row,) = summarise(rows).to_dict("records")
    assert (row["timed"], row["failed"], row["timing_failed"]) == (False, 0, len(lacking))
    assert row["encode_ms"] == pytest.approx(2)
    text = render(summarise(rows))
    assert "single shots" in text
    assert (f"failed in the timing pass: {len(lacking)} " in text) == bool(lacking)


def test_times_are_over_the_meshes_of_the_quality_pass():
    slow = Cost(0.1, 0.1, 1 << 20, 1, 5)
    rows = frame([record("a"), bad("b"), bad("c", "bad-input"), timing("a"), timing("b", encode=slow)])
    (row,) = summarise(rows).to_dict("records")
    assert row["timed"]
    assert row["encode_ms"] == pytest.approx(8)
    assert row["timing_failed"] == 0


def test_the_note_on_times_says_of_every_row_what_was_done():
    def note(*rows):
        (line,) = [x for x in render(summarise(frame(rows))).splitlines() if x.startswith("enc, dec ms")]
        return line.removeprefix("enc, dec ms: mean over meshes, ")

    five, once = Cost(0.008, 0.008, 1 << 20, 1, 5), Cost(90.0, 90.0, 1 << 20, 1, 1)
    short = timing("a", decode=five)
    assert note(record("a"), short) == "median of 5 pinned calls"
    assert note(record("a")) == "single shots; to quote them, bench run --timing"
    long = [record("a", "necgs", rate="k64"), timing("a", codec="necgs", rate="k64", encode=once, decode=five)]
    assert note(record("a"), short, *long) == (
        "median of 5 pinned calls; single pinned calls, too long to repeat: necgs k64 (encode)"
    )
    both = timing("a", codec="necgs", rate="k64", encode=once, decode=once)
    assert note(long[0], both) == "single pinned calls, too long to repeat: necgs k64"
    ladder = [one for i in range(3) for one in (record("a", "n", i), timing("a", codec="n", rate_index=i, encode=once))]
    assert note(*ladder).endswith("too long to repeat: n")  # all rates, both calls
    mixed = [record("b"), timing("b", encode=once, decode=five)]
    assert note(record("a"), short, *mixed) == (
        "median of 5 pinned calls; single pinned calls, too long to repeat: c r0 (encode, some meshes)"
    )


def test_timing_passes_of_two_kinds_of_machine_are_never_averaged():
    a, b = RanOn("h1", "0", 1, "A"), RanOn("h2", "0", 1, "B")
    slow = Cost(0.08, 0.08, 1 << 20, 1, 5)
    rows = [record("a"), timing("a", ran_on=a), timing("a", ran_on=b, encode=slow)]
    (row,) = summarise(frame(rows)).to_dict("records")
    assert (row["machine"], row["timed"]) == ("A, 1 thread", True)
    assert row["encode_ms"] == pytest.approx(8)
    # The kind that timed most of the block is taken, where it timed every mesh.
    more = [record("a", "x", i) for i in range(2)] + [timing("a", codec="x", rate_index=i, ran_on=b) for i in range(2)]
    summary = summarise(frame([*rows, *more]))
    assert list(summary["machine"]) == ["B, 1 thread"] * 3
    assert summary["encode_ms"].iloc[0] == pytest.approx(80)
    assert "different kinds of machine" not in render(summary)
    apart = render(summarise(frame([*rows[:2], record("a", "x"), timing("a", codec="x", ran_on=b)])))
    assert (
        "timing passes of different kinds of machine, do not compare (apart: bench table -k timing): "
        "A, 1 thread: c; B, 1 thread: x\n" in apart
    )
    half = [record("a"), record("b"), timing("a", ran_on=a), timing("b", ran_on=b, encode=slow)]
    (row,) = summarise(frame(half)).to_dict("records")
    assert not row["timed"]  # no machine timed both


def test_single_shots_of_two_kinds_of_machine_are_said():
    rows = [record("a", ran_on=RanOn("h1", "0", 1, "A")), record("b", ran_on=RanOn("h2", "0", 2, "B", "GPU"))]
    text = render(summarise(frame(rows)))
    assert "single shots of different kinds of machine, do not compare: A, 1 thread + B, GPU, 2 threads: c\n" in text
    assert "different kinds" not in render(summarise(frame(rows[:1])))


def test_codings_without_values_of_a_suite_are_counted_and_listed():
    metrics = {**record().metrics, "giou": 0.5, "squared_cd": 1e-5, "squared_cd_floor": 1e-6}
    why = {"volume": "bad-input: it has no inside; nothing can be compared"}
    rows = frame([record("a", metrics=metrics), record("b", unmeasured=why), record("c", "d")])
    summary = summarise(rows)
    assert summary["giou"].tolist()[0] == 0.5  # over what is there
    text = render(summary, rows=rows)
    assert "2 of 3 codings have no volume: bad-input: it has no inside; nothing can be compared (1 of them)\n" in text
    (listed,) = json.loads(failures(rows, "json"))
    assert (listed["mesh"], listed["status"], listed["stage"]) == ("b", "bad-input", "measure")
    assert listed["error"] == "volume: it has no inside; nothing can be compared"
    (row, _) = summarise(rows, penalise=True).to_dict("records")
    assert row["giou"] == 0.5  # what a suite cannot measure is no failure of a codec


def test_seeds_are_codings_of_one_mesh():
    rows = [r for seed in range(3) for r in (record("a", seed=seed), record("b", seed=seed), bad("c", seed=seed))]
    rows += [bad("d", "bad-input", seed=seed) for seed in range(3)]
    summary = summarise(frame(rows))
    (row,) = summary.to_dict("records")
    assert (row["meshes"], row["codings"], row["ok"], row["failed"], row["bad_input"]) == (4, 12, 6, 3, 1)
    text = render(summary)
    assert " 6/12\n" in text
    assert "bad input: 1 of 4 meshes" in text
    assert "failed: 3 of 12 codings" in text


def test_nothing_but_failures_has_a_row():
    (row,) = summarise(frame([bad("a"), bad("b", "bad-input")])).to_dict("records")
    assert (row["ok"], row["failed"], row["bad_input"], row["timed"]) == (0, 1, 1, False)
    assert math.isnan(row["ratio"])
    assert math.isnan(row["encode_ms"])


def test_rates_are_in_ladder_order():
    rows = frame([record(rate_index=i, rate=name) for i, name in ((2, "a"), (0, "c"), (1, "b"))])
    assert list(summarise(rows)["rate"]) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("metric", "value", "inside"),
    [("cd", 2.77e-3, True), ("cd", 2.80e-3, False), ("nc", 0.9797, True), ("nc", 0.97, False), ("cd_p2s", 0.0, False)],
)
def test_inside_the_floor(metric, value, inside):
    rows = pd.DataFrame([{metric: value, **FLOORS}])
    assert bool(inside_floor(rows, metric)[0]) is inside


def test_text_table_to_the_letter():
    rows = frame([record("a"), bad("b"), record("a", "other", metrics={**record().metrics, "cd": 2.7e-3})])
    assert render(summarise(rows), timing=False) == (
        "d, split all, effort quick\n"
        "\n"
        "codec  rate  ratio  kB/mesh  CD ×10⁻³       NC  F1-0.005  F1-0.01  p2s ×10⁻³   ok\n"
        "─────  ────  ─────  ───────  ─────────  ──────  ────────  ───────  ─────────  ───\n"
        "c      r0    100.0     0.01     5.000   0.9000    0.5000   0.9000      1.000  1/2\n"
        "other  r0    100.0     0.01     2.700~  0.9000    0.5000   0.9000      1.000  1/1\n"
        "\n"
        "noise floor: CD ×10⁻³ 2.700, NC 0.9800, F1-0.005 0.9300, F1-0.01 1.0000\n"
        "~ at the noise floor of sampled points: such values do not rank codecs, p2s does\n"
        "not on all of 2 meshes: other (1); over the same ones: bench table --means common\n"
        "failed: 1 of 3 codings (bench table --failures); means are over the rest\n"
    )


def test_formats_hold_the_same_numbers():
    summary = summarise(frame([record("a"), bad("a", rate_index=1)]))
    as_json = json.loads(render(summary, "json"))
    as_csv = render(summary, "csv").splitlines()
    assert as_csv[0].split(",") == list(as_json[0])
    assert as_json[0]["cd_p2s"] == 1e-3
    assert as_json[1]["ratio"] is None
    assert render(summary, "markdown").count("|") > 20
    assert "encode_ms" not in render(summary, "csv", timing=False)


def test_numbers_are_written_with_every_digit_and_what_json_lacks_is_null():
    tiny = 1.2345678901234567e-13
    metrics = {**record().metrics, "cd_p2s": tiny, "nc": math.nan, "cd": math.inf}
    rows = frame([record(metrics=metrics | {"in_watertight": True}), bad("b")])
    first, second = json.loads(every(rows, "json"))
    assert first["cd_p2s"] == tiny
    assert (first["nc"], first["cd"], first["in_watertight"]) == (None, None, True)
    assert (second["cd_p2s"], second["in_watertight"]) == (None, None)
    assert "host" not in first
    assert type(first["rate_index"]) is int
    assert repr(tiny) in every(rows, "csv")


@pytest.mark.parametrize("per_mesh", [True, False])
@pytest.mark.parametrize("format_", ["csv", "json"])
def test_without_timing_nothing_depends_on_the_clock_or_on_memory(per_mesh, format_):
    def text(seconds: float, **of_timing) -> str:
        cost = Cost(seconds, seconds, int(seconds * 1e6), 7, 3)
        rows = frame([record(encode=cost, decode=cost, measure_s=seconds), timing(encode=cost, **of_timing)])
        return every(rows, format_, timing=False) if per_mesh else render(summarise(rows), format_, timing=False)

    assert text(1.0) == text(2.5)
    if not per_mesh:
        assert text(1.0) == text(1.0, status="timeout")


def test_failures_list_joins_equal_ones():
    rows = frame([bad("b", rate_index=i) for i in range(3)] + [bad("c", "bad-input")])
    text = failures(rows)
    assert "r0..r2 (3)" in text
    assert text.count("boom") == 2
    assert failures(frame([record()])) == "no failures\n"


def test_failures_in_every_format():
    rows = frame([*(bad("b", rate_index=i) for i in range(2)), bad("c", "crashed")])
    as_json = json.loads(failures(rows, "json"))
    known = {"dataset": "d", "codec": "c", "pass": "quality", "stage": "decode", "error": "boom"}
    assert as_json == [
        {**known, "mesh": "b", "rates": ["r0", "r1"], "status": "failed"},
        {**known, "mesh": "c", "rates": ["r0"], "status": "crashed"},
    ]
    assert failures(rows, "csv").splitlines()[1] == "d,b,c,r0; r1,quality,failed,decode,boom"
    assert "| d | c | c | r0 | quality | crashed | decode | boom |" in failures(rows, "markdown")
    without_stage = frame([record(), bad("b", stage=None)])
    assert json.loads(failures(without_stage, "json"))[0]["stage"] is None
    assert "nan" not in failures(without_stage).lower()


def test_failures_say_which_pass_failed():
    rows = frame([record(), timing(status="timeout", error="60 s", stage="decode"), bad("b", timing=True), bad("b")])
    assert [(row["mesh"], row["pass"], row["status"]) for row in json.loads(failures(rows, "json"))] == [
        ("a", "timing", "timeout"),
        ("b", "quality", "failed"),
        ("b", "timing", "failed"),
    ]


@pytest.mark.parametrize("dtype", ["str", "category"])
def test_failures_of_frames_whose_texts_are_of_any_type(dtype):
    unmeasured = {"volume": "bad-input: no inside", "points": "timeout: 60 s"}
    rows = frame([record(unmeasured=unmeasured), record("c", rate_index=1, unmeasured=unmeasured), bad("b")])
    texts = ["dataset", "mesh", "codec", "rate", "status", "stage", "error", "unmeasured"]
    for name in texts:
        rows[name] = rows[name].astype(dtype)
    found = [
        (row["mesh"], row["rates"], row["status"], row["stage"], row["error"])
        for row in json.loads(failures(rows, "json"))
    ]
    assert found == [
        ("a", ["r0"], "bad-input", "measure", "volume: no inside"),
        ("a", ["r0"], "timeout", "measure", "points: 60 s"),
        ("b", ["r0"], "failed", "decode", "boom"),
        ("c", ["r1"], "bad-input", "measure", "volume: no inside"),
        ("c", ["r1"], "timeout", "measure", "points: 60 s"),
    ]


def test_whole_numbers_of_records_are_written_without_a_point():
    """A column of numbers some of which are missing is a column of floats in a frame."""
    counted = {"out_faces": 320, "in_watertight": True, **record().metrics}
    rows = frame([record(vertices=100, metrics=counted), record("b", stream_bytes=10.5), bad("c")])
    assert rows["vertices"].dtype == float
    lines = every(rows, "csv").splitlines()
    of = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [row["obj_bytes"] for row in of] == ["1000", "1000", ""]
    assert [row["stream_bytes"] for row in of] == ["10", "10.5", ""]
    assert [row["vertices"] for row in of] == ["100", "", ""]
    assert [row["out_faces"] for row in of] == ["320", "", ""]
    assert [row["in_watertight"] for row in of] == ["True", "", ""]
    assert [row["decode_peak_rss_bytes"] for row in of] == [str(4 << 20)] * 2 + [""]
    assert [row["encode_repeats"] for row in of] == ["1", "1", ""]
    assert of[0]["bits_per_vertex"] == "4.0"
    first = json.loads(every(rows, "json"))[0]
    assert [type(first[name]) for name in ("vertices", "out_faces", "in_watertight", "cd")] == [int, int, bool, float]


def test_values_that_may_be_as_good_as_the_best_of_their_size_are_marked():
    def of(codec, errors, **more):
        near = {**record().metrics, "cd": 2.7e-3}
        return [
            record(f"m{i:02}", codec, metrics={**near, "cd_p2s": 1e-3 + error}, **more)
            for i, error in enumerate(errors)
        ]

    noise = [(-1) ** i * -1e-6 * i for i in range(20)]
    rows = frame([*of("best", [0.0] * 20), *of("same", [1e-7 + one for one in noise]), *of("worse", [1e-4] * 20)])
    said = render(summarise(rows), rows=rows)
    cells = {line.split()[0]: line.split()[8] for line in said.splitlines()[4:7]}
    assert cells == {"best": "1.000", "same": "1.001≈", "worse": "1.100"}
    assert [line.split()[4] for line in said.splitlines()[4:7]] == ["2.700~"] * 3  # at the floor nothing is compared
    assert "\n≈ not worse than the best row of at most its size + 5 %" in said
    assert "Wilcoxon" in said
    assert "≈" not in render(summarise(rows))  # without records there is no test


def test_nothing_recorded():
    nothing = frame([])
    assert nothing.empty
    assert set(nothing) <= set(frame([record()]))
    assert summarise(nothing).empty
    assert render(summarise(nothing)) == "nothing to show\n"
    assert render(summarise(nothing), "json") == every(nothing, "json") == failures(nothing, "json") == "[]\n"
    assert every(nothing, "csv").startswith("dataset,split,mesh,")
    assert failures(nothing) == "no failures\n"


def test_figures_are_written_reproducibly_with_the_floor_and_hollow_points(tmp_path):
    from gcbench.bench.analysis.figures import rate_distortion, save_figures

    near = {**record().metrics, "cd": 2.7e-3}
    rows = [record("a", "x", i, stream_bytes=10.0 + i, metrics=near if i else record().metrics) for i in range(3)]
    others = [*(record("a", "y", i, stream_bytes=20.0 + i) for i in range(3)), bad("b", codec="y"), bad("b", codec="z")]
    records = frame([*rows, *others])
    paths = save_figures(records, tmp_path / "one", "run", ["rd"])
    again = save_figures(records, tmp_path / "two", "run", ["rd"])
    assert [p.name for p in paths] == ["rd-d-all-quick.png", "rd-d-all-quick.pdf"]
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    figure = rate_distortion(summarise(records), "title")
    cd = figure.axes[0]
    assert [line.get_label() for line in cd.get_lines() if not line.get_label().startswith("_")] == [
        *("x", "y", "z"),
        "hollow: noise floor",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("x", "y (1 failed)", "z (1 failed)"),  # never measured, yet in sight
        "hollow: noise floor",
    ]
    hollow = [line for line in cd.get_lines() if line.get_markerfacecolor() == "white"]
    assert sorted(len(line.get_xdata()) for line in hollow) == [0, 0, 0, 2]  # one is of the legend
    assert len(cd.patches) == 1  # the band
    p2s = next(ax for ax in figure.axes if ax.get_ylabel().startswith("p2s"))
    assert not p2s.patches  # p2s has no floor


def test_titles_count_meshes_and_not_seeds(tmp_path, monkeypatch):
    from gcbench.bench.analysis import figures

    titles = []
    draw = figures.rate_distortion
    monkeypatch.setattr(
        figures, "rate_distortion", lambda rows, title, **more: titles.append(title) or draw(rows, title, **more)
    )
    figures.save_figures(frame([record("a", seed=seed) for seed in range(3)]), tmp_path, "run", ["rd"])
    assert titles == ["d, split all: 1 mesh (quick, run run)"]


def test_figures_leave_pyplot_and_its_backend_alone(tmp_path, monkeypatch):
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from gcbench.bench.analysis.figures import save_figures

    monkeypatch.setitem(mpl.rcParams, "backend", "svg")  # as in a notebook: any but the one for files
    open_before = plt.get_fignums()
    save_figures(frame([record()]), tmp_path, "run", ["rd"])
    assert mpl.get_backend() == "svg"
    assert plt.get_fignums() == open_before
