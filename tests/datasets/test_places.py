from pathlib import Path

import platformdirs
import pytest

from gcbench.datasets.places import cache_dir, data_root


@pytest.mark.parametrize(("place", "variable"), [(data_root, "BENCH_DATA"), (cache_dir, "GCBENCH_CACHE")])
def test_option_then_variable_then_platform(place, variable, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, str(tmp_path))
    assert place(Path("given")) == Path("given")
    assert place() == tmp_path
    monkeypatch.setenv(variable, "")
    default = platformdirs.user_data_dir if place is data_root else platformdirs.user_cache_dir
    assert place() == Path(default("gcbench"))
