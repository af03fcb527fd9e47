"""Comparing results: exact judgements on values made by hand, and how they are said."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from gcbench.bench import tabular
from gcbench.bench.audit import compare_results, render
from gcbench.bench.audit.comparison import EXACT, OTHER_INPUT, TRAINED, CellId, CellResult, compare
from gcbench.bench.metrics import columns
from results import MEASURED_BY, VALUES, result


def cell(number: int, codec: str = "draco") -> CellId:
    return CellId("shapes", "all", f"m{number}", codec, "q10", "quick", 0, "cpu")


def judged(old: CellResult, new: CellResult, tolerance=EXACT, cells: int = 1):
    return compare({cell(i): old for i in range(cells)}, {cell(i): new for i in range(cells)}, lambda *_: tolerance)


class TestCompare:
    def test_equal(self):
        comparison = judged(result(), result())
        assert comparison.verdict == "equal"
        assert comparison.cells[0].differences == ()

    @pytest.mark.parametrize("name", ["bytes", *VALUES])
    def test_exact_sees_the_smallest_change_of_any_figure(self, name):
        change = {} if name == "bytes" else {name: VALUES[name] * (1 + 1e-6)}
        comparison = judged(result(), result(1001 if name == "bytes" else 1000, **change))
        (difference,) = comparison.cells[0].differences
        better = name != "bytes" and columns()[name].better == "higher"
        assert difference.name == name
        assert comparison.verdict == ("better" if better else "worse")
        assert judged(result(), result(**{k: v * (1 + 1e-13) for k, v in VALUES.items()})).verdict == "equal"

    def test_one_figure_worse_makes_a_cell_worse_whatever_became_better(self):
        (one,) = judged(result(), result(900, cd_p2s=0.0011)).cells
        assert one.verdict == "worse"
        assert {d.name: d.change for d in one.differences} == pytest.approx({"bytes": -0.1, "cd_p2s": 0.1})

    @pytest.mark.parametrize("tolerance", [TRAINED, OTHER_INPUT], ids=lambda t: t.name)
    def test_a_band_forgives_a_cell_and_not_the_mean(self, tolerance):
        limit = tolerance.cell_bytes
        assert judged(result(), result(1000 * (1 + 0.9 * tolerance.mean_bytes)), tolerance, 10).verdict == "equal"
        old = {cell(i): result() for i in range(10)}
        # One cell inside its limit, which moves the mean by a tenth of it.
        new = old | {cell(0): result(1000 * (1 + 0.9 * limit))}
        moved = 0.09 * limit
        (mean, *_) = compare(old, new, lambda *_: tolerance).means
        assert (mean.name, mean.cells) == ("bytes", 10)
        assert mean.change == pytest.approx(moved)
        assert mean.verdict == ("worse" if moved > tolerance.mean_bytes else "equal")
        # All of them by a little: no cell is worse, the codec is.
        every = judged(result(), result(1000 * (1 + 1.1 * tolerance.mean_bytes)), tolerance, 10)
        assert every.of("worse") == ()
        assert every.verdict == "worse"
        assert every.worse_means[0].name == "bytes"
        beyond = judged(result(), result(1000 * (1 + 1.1 * limit)), tolerance)
        assert beyond.cells[0].verdict == "worse"

    def test_what_the_gate_promises_also_holds_for_meshes_of_another_machine(self):
        """1 % in bytes or 2 % in p2s, in all cells."""
        assert judged(result(), result(1010), OTHER_INPUT, 4).verdict == "worse"
        assert judged(result(), result(cd_p2s=0.00102), OTHER_INPUT, 4).verdict == "worse"

    def test_bands_do_not_look_at_noise(self):
        noisy = result(hausdorff_p2s=0.5, p99_p2s=0.5, cd=0.1, sampled_d1_psnr_bbox=10.0, out_components=9)
        assert judged(result(), noisy, TRAINED).verdict == "equal"
        lossless = result(cd_p2s=1e-8)
        assert judged(lossless, result(cd_p2s=9e-7), TRAINED).verdict == "equal"  # under the last digit of a file
        assert judged(lossless, result(cd_p2s=3e-6), TRAINED).verdict == "worse"

    def test_failures(self):
        failed = CellResult("failed", None, "a" * 64, error="a bug")
        (worse,) = judged(result(), failed).cells
        assert (worse.verdict, worse.note) == ("worse", "was ok, is failed: a bug")
        assert judged(failed, result()).verdict == "better"
        assert judged(failed, failed).verdict == "equal"
        assert judged(failed, dataclasses.replace(failed, status="timeout")).verdict == "equal"

    def test_a_band_looks_at_exact_distances_of_the_suite_that_ranks(self):
        looked_at = {name for name, column in columns().items() if name in VALUES and TRAINED.looks_at(column)}
        assert looked_at == {"cd_p2s", "nc_p2s", "f1_p2s_0005", "f1_p2s_001"}
        assert all(EXACT.looks_at(column) for column in columns().values())

    def test_values_of_two_versions_of_a_suite_are_not_compared(self):
        older = dataclasses.replace(result(cd_p2s=0.5), suites={**MEASURED_BY, "surface": "r"})
        (one,) = judged(older, result()).cells
        assert (one.verdict, one.note) == ("not measured", "surface was of version r, is of s")
        assert judged(older, result(cd=0.5)).verdict == "worse"  # what other suites say still counts
        assert judged(older, result(1001)).verdict == "worse"

    def test_a_suite_that_no_longer_measures_is_said(self):
        values = {name: value for name, value in VALUES.items() if not name.startswith("sampled")}
        lost = dataclasses.replace(result(), metrics=values, unmeasured={"psnr": "crashed: killed"})
        (one,) = judged(result(), lost).cells
        assert (one.verdict, one.note) == ("not measured", "psnr is crashed: killed")
        assert judged(lost, lost).verdict == "equal"

    def test_what_is_not_in_both(self):
        comparison = compare(
            {cell(0): result(), cell(1): result()}, {cell(1): result(), cell(2): result()}, lambda *_: EXACT
        )
        assert [c.cell for c in comparison.cells] == [cell(1)]
        assert (comparison.only_old, comparison.only_new) == ((cell(0),), (cell(2),))
        assert comparison.verdict == "equal"
        assert compare({cell(0): result()}, {cell(1): result()}, lambda *_: EXACT).verdict == "not measured"

    def test_results_of_runs_get_the_tolerance_of_their_class(self):
        other = dataclasses.replace(result(), input_sha256="b" * 64)
        assert compare_results({cell(0): result()}, {cell(0): other}).cells[0].note == "the meshes are not the same"
        for codec, verdict in (
            ("draco", "worse"),
            ("necgs[k=64]", "equal"),
            ("test-trained", "equal"),
            ("who", "worse"),
        ):
            old, new = ({cell(i, codec): result(size) for i in range(3)} for size in (1000, 1005))
            assert compare_results(old, new).verdict == verdict, codec
            assert compare_results(old, new, allowed=0.01).verdict == "equal"
            assert compare_results(old, new, allowed=0.001).verdict == "worse"


class TestRender:
    def test_everything_is_named(self):
        old = {cell(i): result() for i in range(40)}
        new = old | {
            cell(0): result(1011, cd_p2s=0.00102),
            cell(1): result(990),
            cell(2): CellResult("failed", None, "a" * 64),
        }
        comparison = compare(old, new, lambda *_: EXACT)
        tables = render.comparison_tables("bench gate", comparison, notes=["hm"])
        said = "".join(tabular.render(tables, "text"))
        assert said.startswith("bench gate: worse\n\n40 cells: 2 worse, 1 better, 37 equal\n")
        assert "draco  q10   shapes/m0  bytes 1000 → 1011 (+1.1 %); p2s ×10⁻³ 1 → 1.02 (+2 %)\n" in said
        assert "draco  q10   shapes/m2  was ok, is failed\n" in said
        assert "draco  q10   shapes/m1  bytes 1000 → 990 (-1 %)\n" in said
        assert said.endswith("\nnote: hm\n")
        markdown = "".join(tabular.render(tables, "markdown"))
        assert markdown.startswith("### bench gate: worse\n")
        assert "| codec | cells | worse | better | bytes | p2s |" in markdown
        assert "| draco | 40 | 2 | 1 | 0.0026 % worse | 0.051 % worse |" in markdown
        assert "| draco | q10 | shapes/m0 | bytes 1000 → 1011 (+1.1 %)" in markdown
        assert json.loads(json.dumps(render.as_json(comparison)))["cells"][0]["verdict"] == "worse"

    def test_long_lists_are_cut_and_names_cannot_break_out(self):
        names = [CellId("a|b", "all", f"`<script>@you\n{i}", "draco", "q10", "quick", 0, "cpu") for i in range(40)]
        comparison = compare(dict.fromkeys(names, result()), dict.fromkeys(names, result(1001)), lambda *_: EXACT)
        markdown = "".join(tabular.render(render.comparison_tables("t", comparison), "markdown"))
        assert "and 10 more" in markdown
        assert "<script" not in markdown
        assert "@you" not in markdown
        rows = [line for line in markdown.splitlines() if "script" in line]
        assert len(rows) == render.SHOWN
        assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)
