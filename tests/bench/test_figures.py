"""What figures draw, looked up in their artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.figures import amortisation, pareto, rate_distortion, save_figures, scatter, timing
from gcbench.bench.analysis.figures.curves import panels
from gcbench.bench.analysis.figures.meshes import MOST, WORST
from gcbench.bench.analysis.figures.style import BUILT_IN, COLORS, PLUGINS, Look, _round_numbers, looks
from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.metrics import Column, columns
from gcbench.bench.store.records import Cost, Record
from gcbench.codecs.registry import CODECS

FLOORS = {"cd_floor": 2.7e-3, "nc_floor": 0.98, "f1_0005_floor": 0.93, "f1_001_floor": 1.0}


def record(mesh="a", codec="c", rate_index=0, p2s=1e-3, ms=1.0, **more) -> Record:
    metrics = {"cd": 5e-3, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": p2s, "hausdorff_p2s": 9 * p2s, **FLOORS}
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{rate_index}",
        "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1000, "stream_bytes": 10.0 * 2**rate_index, "bits_per_vertex": 4.0 * 2**rate_index,
        "encode": Cost(ms / 500, 0.002, 5 << 20, 1), "decode": Cost(ms / 1000, 0.001, 4 << 20, 1), "metrics": metrics,
    }  # fmt: skip
    return Record(**(values | more))


def ladder(codec: str, ms: float, size: float = 1.0, **more) -> list[Record]:
    return [record("a", codec, i, p2s=10.0**-i / 100, ms=ms, stream_bytes=size * 10.0 * 2**i, **more) for i in range(4)]


@pytest.fixture
def rows():
    whole = ladder("set", 4.0, kind="set", set_size=5, mesh_bytes=4, shared_bytes=30)
    return frame([*ladder("slow", 9.0), *ladder("quick", 1.0, size=2.0), *whole])


def test_bars_of_times_are_medians_and_lines_span_the_ladder(rows):
    encode, decode = timing(summarise(rows), "t").axes
    assert [label.get_text() for label in encode.get_yticklabels()] == ["slow", "set", "quick"]
    np.testing.assert_allclose([bar.get_width() for bar in encode.patches], [18, 8 / 5, 2])
    np.testing.assert_allclose([bar.get_width() for bar in decode.patches], [9, 4 / 5, 1])


def test_the_pareto_figure_compares_at_one_quality(rows):
    figure = pareto(summarise(rows), "t", value=1e-3)
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() not in {"", "None", None}]
    assert sorted((float(m.get_xdata()[0]), float(m.get_ydata()[0])) for m in marks) == [
        (pytest.approx(0.02), pytest.approx(0.8)),
        (pytest.approx(0.02), pytest.approx(9)),
        (pytest.approx(0.04), pytest.approx(1)),
    ]
    front = next(line for line in figure.axes[0].get_lines() if line.get_marker() in {"", "None", None})
    np.testing.assert_allclose(front.get_xdata(), [0.02])
    assert pareto(summarise(rows[rows["codec"] == "slow"]), "t") is None


def test_the_scatter_has_every_mesh(rows):
    mean, largest = scatter(rows, "t").axes
    assert sum(len(line.get_xdata()) for line in mean.get_lines()) == len(rows)
    np.testing.assert_allclose(largest.get_lines()[0].get_ydata(), 9 * mean.get_lines()[0].get_ydata())


def test_of_a_large_set_the_scatter_has_the_same_meshes_of_all_codecs_and_the_worst_values():
    rng = np.random.default_rng(0)
    many = frame(
        record(f"m{mesh:04}", codec, rate, p2s=float(rng.lognormal(-7, 0.2)), bits_per_vertex=float(mesh + 1))
        for mesh in range(1200)
        for codec, rates in (("one", 1), ("three", 3))
        for rate in range(rates)
    )
    figure = scatter(many, "t")
    meshes = 1200 * MOST // 3600
    assert f"{meshes} of 1200 meshes" in figure.get_suptitle()
    drawn = {line.get_label(): line for line in figure.axes[0].get_lines()}
    x = {codec: set(line.get_xdata()) for codec, line in drawn.items()}
    for codec, line in drawn.items():
        values = many.loc[many["codec"] == codec, "cd_p2s"] * 1000
        assert set(values.nlargest(WORST)) <= set(line.get_ydata())
        assert line.get_rasterized()
    assert len(drawn["three"].get_xdata()) == pytest.approx(3 * meshes, abs=WORST)
    assert len(x["one"] & x["three"]) >= meshes
    again = scatter(many.sample(frac=1, random_state=3), "t").axes[0].get_lines()
    assert [set(line.get_ydata()) for line in again] == [set(line.get_ydata()) for line in drawn.values()]
    few = scatter(many[many["mesh"] < "m0100"], "t")
    assert few.get_suptitle() == "t"
    assert not any(line.get_rasterized() for line in few.axes[0].get_lines())


def test_panels_are_the_headlines_that_were_measured_or_those_asked_for(rows):
    known = columns()
    labels = [ax.get_ylabel() for ax in rate_distortion(summarise(rows), "t").axes if ax.get_visible()]
    there = [known[name] for name in known if name in rows and known[name].headline]
    assert labels == [f"{column.label}  ({column.better} is better)" for column in there]
    figure = rate_distortion(summarise(rows), "t", columns=[known["hausdorff_p2s"]])
    assert [ax.get_ylabel() for ax in figure.axes] == ["Hausdorff ×10⁻³  (lower is better)"]
    assert scatter(rows, "t", columns=[known["nc"]]).axes[0].get_yscale() == "linear"
    nothing = rows.drop(columns=list(set(rows) & set(known)))
    assert rate_distortion(summarise(nothing), "t") is None
    assert scatter(nothing, "t") is None
    assert pareto(summarise(nothing), "t") is None


def test_a_figure_has_six_panels_at_most_and_the_ranking_one_among_them(rows, monkeypatch):
    many = [Column(f"x{i}", f"x{i}", "", "length", headline=True, ranks=i == 8) for i in range(9)]
    monkeypatch.setattr("gcbench.bench.analysis.figures.curves.headlines", lambda _: many)
    monkeypatch.setattr("gcbench.bench.analysis.figures.curves.ranking_column", lambda _: many[8])
    assert [column.name for column in panels(summarise(rows))] == ["x0", "x1", "x2", "x3", "x4", "x8"]


def test_the_amortisation_curve_goes_through_what_was_measured(rows):
    lines = amortisation(rows, "t").axes[0].get_lines()
    curve, mark = lines[0], lines[1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (5, pytest.approx(5 * 1000 / (30 + 5 * 4)))
    assert curve.get_ydata()[0] == pytest.approx(1000 / 34)
    assert amortisation(rows[rows["kind"] == "model"], "t") is None


def test_long_names_beside_points_stay_in_the_axes(rows):
    long = "set[design=other,epochs=120,learning_rate=0.003]"
    figure = pareto(summarise(rows.replace({"codec": {"set": long}})), "t", value=1e-3)
    figure.draw_without_rendering()
    for ax in figure.axes:
        assert long in {text.get_text().replace("\n", "") for text in ax.texts}
        for text in ax.texts:
            box = text.get_window_extent()
            assert ax.bbox.x0 <= box.x0
            assert box.x1 <= ax.bbox.x1


def test_names_at_the_ends_of_curves_do_not_overlap(rows):
    some = rows[(rows["kind"] == "set") & (rows["status"] == "ok") & ~rows["timing"]]
    flat = [
        some.assign(codec=f"codec-{i % 5}", rate=f"r{i}", rate_index=i, shared_bytes=0, mesh_bytes=10 * 1.3**i)
        for i in range(28)
    ]
    figure = amortisation(pd.concat(flat), "t")  # whose legend takes a part of the height
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    heights = sorted((box.y0 + box.y1) / 2 * 72 / figure.dpi for box in boxes)
    assert len(heights) == 28
    assert min(np.diff(heights)) > 7.9  # points


def test_means_over_other_meshes_are_small_points_beside_the_curves(rows):
    more = frame([*ladder("slow", 9.0), record("a", "few", 0, p2s=0.5), record("b", "slow", 0, status="failed")])
    curves = summarise(more[more["codec"] == "slow"])
    figure = rate_distortion(curves, "t", everything=summarise(more))
    p2s = next(ax for ax in figure.axes if ax.get_ylabel().startswith("p2s"))
    drawn = {(line.get_markersize(), line.get_linestyle()): line for line in p2s.get_lines() if len(line.get_xdata())}
    assert len(drawn) == 2
    assert drawn[3.0, "None"].get_ydata() == pytest.approx([500])
    said = {text.get_text() for text in figure.legends[0].get_texts()}
    assert said == {"slow (1 failed)", "few", "small: other meshes"}


def test_a_codec_that_was_run_on_fewer_meshes_has_a_thin_curve():
    whole = frame(ladder("all", 9.0))
    more = frame([*ladder("all", 9.0), *ladder("few", 5.0), record("a", "all", 9, p2s=0.5)])
    figure = rate_distortion(summarise(whole), "t", everything=summarise(more))
    p2s = next(ax for ax in figure.axes if ax.get_ylabel().startswith("p2s"))
    small = [line for line in p2s.get_lines() if line.get_markersize() == 3.0 and len(line.get_xdata())]
    assert sorted((line.get_linestyle() == "None", len(line.get_xdata())) for line in small) == [(False, 4), (True, 1)]


def test_titles_say_over_how_many_meshes_and_the_looks_are_those_of_the_run(tmp_path, monkeypatch):
    from gcbench.bench.analysis import figures

    made = []
    monkeypatch.setattr(figures, "rate_distortion", lambda *args, **more: made.append((args, more)))
    both = [*ladder("b", 1.0), *ladder("c", 1.0)]
    others = [record("z", "b", i) for i in range(4)]
    save_figures(
        frame([*both, *others, *ladder("a", 1.0, dataset="e"), *ladder("c", 1.0, dataset="e")]), tmp_path, "x", ["rd"]
    )
    (d, d_more), (e, e_more) = made
    assert d[1] == "d, split all: 1 of 2 meshes (quick, run x)"
    assert e[1] == "e, split all: 1 mesh (quick, run x)"
    assert d_more["look"] == e_more["look"] == looks("abc")


def test_a_codec_of_other_meshes_is_named_and_its_times_are_shown(tmp_path, monkeypatch):
    from gcbench.bench.analysis import figures

    made = {}
    for kind in ("timing", "pareto"):
        monkeypatch.setattr(
            figures, kind, lambda s, title, kind=kind, **_: made.update({kind: (sorted(set(s.codec)), title)})
        )
    both = [one for mesh in "ab" for codec in ("b", "c") for one in [record(mesh, codec, i) for i in range(4)]]
    save_figures(frame([*both, *ladder("few", 1.0)]), tmp_path, "x", ["timing", "pareto"])
    title = "d, split all: 2 meshes, few not on all of them (quick, run x)"
    assert made == {"timing": (["b", "c", "few"], title), "pareto": (["b", "c"], title)}


def test_every_built_in_codec_has_a_colour_of_its_own():
    assert set(BUILT_IN) == set(CODECS.builtins)
    assert len({color for color, _ in BUILT_IN.values()}) == len(BUILT_IN)
    assert not set(PLUGINS) & {color for color, _ in BUILT_IN.values()}
    assert len(set(COLORS)) == len(COLORS)
    assert {look.line for look in looks(BUILT_IN).values()} == {"-"}


def test_a_look_belongs_to_a_codec_and_not_to_its_company():
    many = [*BUILT_IN, "mine", "necgs[ssim=0]", "necgs[lr=0.1]", "mine[k=3]"]
    together = looks(many)
    assert {name: looks([name])[name] for name in many} == together
    assert together["draco"] == Look("#0072b2", "o", "-")
    assert together["necgs"].color == together["necgs[ssim=0]"].color == together["necgs[lr=0.1]"].color
    assert len({together[name].marker for name in ("necgs", "necgs[ssim=0]", "necgs[lr=0.1]")}) == 3
    assert together["mine"].color == together["mine[k=3]"].color
    assert together["mine"].color in PLUGINS
    assert together["mine"] == Look("#a11212", "d", (0, (6, 1.6, 1.2, 1.6)))  # on every machine


ADDRESSES = [f"{name}{p}" for name in ("draco", "necgs", "x", "y") for p in ("", *(f"[k={i}]" for i in range(9)))]
NAMES = st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=13)  # a colour has 13 markers


@given(NAMES)
def test_no_codec_looks_like_another_and_none_changes_its_colour(names):
    found = looks(names)
    assert list(found) == list(looks(reversed(names)))
    assert len({(one.color, one.marker) for one in found.values()}) == len(names)
    for name, look in found.items():
        assert look.color == looks([name])[name].color


@given(NAMES.filter(len), st.data())
def test_a_codec_that_joins_changes_only_those_that_it_looks_like(names, data):
    more = data.draw(st.sampled_from(names))
    without = looks([name for name in names if name != more])
    home = {name: looks([name])[name] for name in names}
    changed = [name for name, look in looks(names).items() if name != more and look != without[name]]
    # A changed codec is of the same colour, and some codec of that colour wants a marker that another one has.
    assert all(home[name].color == home[more].color for name in changed)
    if len({(home[name].color, home[name].marker) for name in names}) == len(names):
        assert not changed


def test_two_hundred_variants_all_differ():
    many = looks([*(f"necgs[k={i}]" for i in range(150)), *(f"codec{i:03}" for i in range(50))]).values()
    assert len(set(many)) == 200


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (11, 1500, [20, 50, 100, 200, 500, 1000]),
        (2.5, 12, [3, 4, 5, 7, 10]),
        (5.05, 6.1, [5.2, 5.4, 5.6, 5.8, 6.0]),
        (14, 120_000, [100, 1000, 10_000, 100_000]),
        (0.3, 9e13, [1, 1e3, 1e6, 1e9, 1e12]),
    ],
)
def test_ticks_are_round_and_there_is_room_for_them(low, high, expected):
    assert _round_numbers(low, high) == expected


def test_summaries_are_made_once_for_all_figures(rows, tmp_path, monkeypatch):
    from gcbench.bench.analysis import figures

    calls = []
    monkeypatch.setattr(figures, "summarise", lambda rows: calls.append("summarise") or summarise(rows))
    monkeypatch.setattr(figures, "common", lambda rows: calls.append("common") or common(rows))
    monkeypatch.setattr(figures, "save", lambda figure, folder, stem: [stem])
    both = pd.concat([rows, rows.assign(dataset="e")], ignore_index=True)
    assert len(save_figures(both, tmp_path, "run")) == 10
    assert sorted(calls) == ["common", "summarise", "summarise"]
    calls.clear()
    save_figures(both, tmp_path, "run", ["scatter", "amortisation"])
    assert not calls
    save_figures(both, tmp_path, "run", ["rd"], shared=common(both))
    assert calls == ["summarise", "summarise"]


def test_every_kind_is_written_and_what_says_nothing_is_left_out(rows, tmp_path):
    names = [p.name for p in save_figures(rows, tmp_path, "run") if p.suffix == ".png"]
    assert names == [f"{k}-d-all-quick.png" for k in ("rd", "timing", "pareto", "scatter", "amortisation")]
    alone = rows[rows["codec"] == "quick"]
    names = [p.name for p in save_figures(alone, tmp_path / "alone", "run") if p.suffix == ".png"]
    assert names == [f"{k}-d-all-quick.png" for k in ("rd", "timing", "scatter")]
    times = alone.assign(timing=True)
    assert {p.name for p in save_figures(times, tmp_path / "t", "run")} == {
        "timing-d-all-quick.png",
        "timing-d-all-quick.pdf",
    }
