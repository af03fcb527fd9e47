"""An experiment file: read, override, run, keep; the kept file makes the same plan."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.bench.plan.experiment import Experiment, keep, kept, read_experiment
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError, UsageError

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=3).map(tuple)
EXPERIMENTS = st.builds(
    Experiment,
    dataset=TEXTS,
    codec=TEXTS,
    rate=TEXTS,
    suite=TEXTS,
    split=st.none() | st.just("mini"),
    limit=st.none() | st.integers(1, 10**6),
    seed=st.none() | st.integers(0, 2**31),
    timing=st.booleans(),
    allow_missing=st.booleans(),
    deadline=st.none() | st.just("none") | st.floats(1e-6, 1e8),
    memory=st.none() | st.floats(0.1, 1e6),
    run=st.none() | st.just("./here"),
)


@given(experiment=EXPERIMENTS)
def test_what_is_written_is_read(tmp_path_factory, experiment):
    path = tmp_path_factory.mktemp("e") / "experiment.toml"
    path.write_text(experiment.to_toml(), encoding="utf-8")
    assert read_experiment(path) == experiment


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("codecs = ['draco']", "unknown key 'codecs'; did you mean codec?"),
        ("xyz = 1", "unknown key 'xyz'; possible are dataset, split, codec"),
        ("codec = [1]", "codec is a list of texts, not [1]"),
        ("seed = -1", "seed is a whole number of at least 0, not -1"),
        ("seed = true", "seed is a whole number of at least 0, not True"),
        ("limit = 0", "limit is a whole number of at least 1, not 0"),
        ("timing = 1", "timing is true or false, not 1"),
        ("deadline = 'soon'", "deadline is a positive number, or 'none', not 'soon'"),
        ("memory = 'none'", "memory is a positive number, not 'none'"),
        ("split = 3", "split is a text, not 3"),
        ("seed = ", "is no TOML"),
        ("seed = 1\nseed = 2", "is no TOML"),
    ],
)
def test_a_wrong_file_is_one_line(bench, tmp_path, text, says):
    (tmp_path / "e.toml").write_text(text)
    said = bench("run", "e.toml", code=2).stderr
    assert says in said
    assert said.startswith("error: e.toml")
    assert said.count("\n") == 1


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="there is no experiment file"):
        read_experiment(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_experiment(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"codec = ['\xff']")
    with pytest.raises(UsageError, match="is no TOML"):
        read_experiment(tmp_path / "latin.toml")


def test_a_codec_that_is_not_installed(bench, tmp_path, folder):
    (tmp_path / "e.toml").write_text('dataset = "shapes"\ncodec = ["draco", "drako", "my-codec"]')
    said = bench("run", "e.toml", code=2).stderr
    assert "e.toml: the codec 'drako' is not installed; did you mean draco? else install its package" in said


def test_a_file_is_a_run_and_the_run_keeps_it(bench, tmp_path, folder):
    (tmp_path / "ablation.toml").write_text(
        'dataset = "shapes"\ncodec = ["test-exact", "test-exact[digits=2]"]\nrate = ["d1", "d2"]\n'
        'suite = ["topology"]\nlimit = 3\nseed = 7\ndeadline = 50\n'
    )
    bench("run", "ablation.toml")
    run = tmp_path / "results/runs/ablation"
    (first,) = kept(run)
    assert tomllib.loads(first.read_text()) == {
        "dataset": ["shapes"],
        "codec": ["test-exact", "test-exact[digits=2]"],
        "effort": "standard",
        "rate": ["d1", "d2"],
        "suite": ["topology"],
        "limit": 3,
        "seed": 7,
        "device": "cpu",
        "deadline": 50,
        "run": "ablation",
    }
    assert not [path for path in run.iterdir() if path.name.startswith(".")]

    def plan(path):
        made = read_experiment(path)
        return make_plan(
            [str(tmp_path / name) for name in made.dataset],
            made.codec,
            rates=made.rate,
            limit=made.limit,
            seed=made.seed,
            effort=made.effort,
        )

    assert [unit.key for unit in plan(first).codings] == [unit.key for unit in plan(tmp_path / "ablation.toml").codings]
    records = {(r.codec, r.rate, r.mesh, r.seed) for r in Run(run).records()}
    assert len(records) == 2 * 2 * 3

    again = bench("run", "results/runs/ablation/experiment.toml").stdout
    assert "12 codings: 12 kept from before, 0 coded now" in again
    assert "results/runs/ablation" in again
    assert kept(run) == [first]


def test_options_override_the_file(bench, tmp_path, folder):
    (tmp_path / "e.toml").write_text(
        'dataset = "shapes"\ncodec = "test-exact"\nrate = "d1"\nsuite = ["topology"]\nlimit = 3\n'
    )
    # The first mesh is no mesh, and with the limit there is no other.
    done = json.loads(
        bench("run", "e.toml", "--rate", "d2,d3", "--limit", "1", "--run", "./x", "-f", "json", code=3).stdout
    )
    assert done["codings"] == 2
    kept_one = read_experiment(tmp_path / "x/experiment.toml")
    assert (kept_one.rate, kept_one.limit, kept_one.run) == (("d2", "d3"), 1, "./x")
    assert {r.rate for r in Run(tmp_path / "x").records()} == {"d2", "d3"}
    bench("run", "e.toml", "--suite", "+psnr", "--run", "./y")
    assert read_experiment(tmp_path / "y/experiment.toml").suite == ("topology", "psnr")


@pytest.mark.long
def test_a_run_that_is_extended_keeps_a_file_for_each_command(bench, tmp_path, folder):
    command = ("run", "-d", "shapes", "-c", "test-exact", "--run", "./r", "--suite")
    bench(*command, "topology", "--rate", "d1")
    bench(*command, "topology,psnr", "--rate", "d1", "--deadline", "none")
    (only,) = kept(tmp_path / "r")
    assert (read_experiment(only).suite, read_experiment(only).deadline) == (("topology", "psnr"), "none")
    bench(*command, "topology", "--rate", "d2")
    bench(*command, "topology", "--rate", "d3")
    bench(*command, "topology", "--rate", "d1")
    assert [path.name for path in kept(tmp_path / "r")] == ["experiment.toml", "experiment-2.toml", "experiment-3.toml"]
    assert "bench run experiment-2.toml" in (tmp_path / "r/experiment-2.toml").read_text()


def test_a_file_that_somebody_broke_stays(tmp_path):
    (tmp_path / "experiment.toml").write_text("codec = ")
    assert keep(Experiment(codec=("draco",)), tmp_path).name == "experiment-2.toml"
    assert (tmp_path / "experiment.toml").read_text() == "codec = "
    with pytest.raises(StoreError, match="cannot write"):
        keep(Experiment(), tmp_path / "no folder")


def test_an_interrupted_run_has_its_file(bench, tmp_path, folder, monkeypatch):
    from gcbench.bench.cli.progress import Progress

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "tick", interrupt)
    bench("run", "-d", "shapes", "-c", "test-exact", "--run", "./r", code=130)
    assert read_experiment(tmp_path / "r/experiment.toml").codec == ("test-exact",)
