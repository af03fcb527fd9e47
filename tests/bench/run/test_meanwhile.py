"""What another terminal can do while a run goes on, from the first record on."""

from __future__ import annotations

import pytest

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.store.run import Run


@pytest.mark.long
def test_first_curves_while_the_run_goes_on(bench, go, tmp_path, folder):
    store, shown, told = Run(tmp_path / "results/runs/r"), [], []

    def look(tick):
        told.append(tick.seconds_left)
        if tick.unit and "broken" not in tick.unit and len(shown) < 2:
            table = bench("table", store.path).stdout
            assert "test-exact" in table
            bench("plot", store.path)
            bench("report", store.path, "-o", tmp_path / f"{tick.done}.html")
            assert (tmp_path / f"{tick.done}.html").stat().st_size
            shown.append(tick.done)

    plan = make_plan([str(folder)], ["test-exact"])
    summary = go(plan, store, suites=("surface",), on_tick=look)
    assert summary.failed == 0
    assert len(shown) == 2
    assert told[-1] == 0
