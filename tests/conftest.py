"""Shared fixtures: a cache and data root of the test's own, the test plugin, small meshes on disk, the real data."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import trimesh
import typer.main

pytest.register_assert_rewrite("common")
hypothesis.settings.register_profile("gcbench", max_examples=25, deadline=None)  # where a test names no number
hypothesis.settings.load_profile("gcbench")

PLUGIN = Path(__file__).parent / "plugin"
sys.path.insert(0, str(PLUGIN))
importlib.import_module("gcbench_once")  # before the kernels that compile when they are imported
SUITES = PLUGIN / "suites"  # metric suites of tests, apart: what is asserted of all columns holds without them


# A shell starts background jobs, of which these tests may be one, with SIGINT ignored, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_make_scheduler(config, log):
    """Give the tests of a file to one worker, for its fixtures; but each codec's and suite's contract by itself.

    In the order of the files: else the slow test of the types, the only one of its file, would come last and alone.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if "keeps_the_contract[" in nodeid else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory):
    """Keep the user's cache, data and programs out of the tests, and let workers find the test plugin."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("BENCH_DATA", *REAL_PROGRAMS):
            patch.delenv(variable, raising=False)
        if "TOX_ENV_NAME" not in os.environ:  # tox sets a cache of its own, which the gate then finds filled
            session = tmp_path_factory.getbasetemp()
            shared = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session
            patch.setenv("GCBENCH_CACHE", str(shared / "cache"))
        patch.setenv("GCBENCH_TEST_LOG", str(tmp_path_factory.mktemp("log")))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])))
        yield


def _warm(preload: tuple[str, ...]) -> tuple[str, ...]:
    warm = ("gcbench_warm",) if "gcbench.geometry.nearest_kernels" in preload else ()
    return ("gcbench_once", *preload, *warm)


@pytest.fixture(scope="session", autouse=True)
def _shared_templates(_environment) -> Iterator[None]:
    """Let all runs of the session fork their workers from the same templates: starting a pair costs two seconds.

    A run in another environment than these tests share, such as one with a variable that a test set, has its own. The
    template of measuring workers has measured once, which saves each of them half a second.
    """
    from gcbench.bench.run import slot
    from gcbench.bench.run.slot import Template, Templates

    start, end = Templates.__init__, Templates.close
    shared: dict[tuple[int, tuple[str, ...], frozenset[tuple[str, str]]], Templates] = {}

    def environment() -> dict[str, str]:
        # Packages set the last two when they are imported.
        nothing_to_workers = {"PYTEST_CURRENT_TEST", "COLUMNS", "BENCH_DATA", "TCM_ENABLE", "TORCHINDUCTOR_CACHE_DIR"}
        return {name: value for name, value in os.environ.items() if name not in nothing_to_workers}

    plain = environment()
    with_suites = {**plain, "PYTHONPATH": os.pathsep.join([str(SUITES), plain["PYTHONPATH"]])}

    def share(templates: Templates, threads: int, *preload: tuple[str, ...]) -> None:
        now = environment()
        if now not in (plain, with_suites):
            start(templates, threads, *preload)
            return
        key = (threads, sum(preload, ()), frozenset(now.items()))
        if key not in shared:
            shared[key] = object.__new__(Templates)
            with pytest.MonkeyPatch.context() as warm:
                warm.setattr(slot, "Template", lambda threads, preload: Template(threads, _warm(preload)))
                start(shared[key], threads, *preload)
        templates.__dict__.update(shared[key].__dict__)

    def close(templates: Templates) -> None:
        if all(templates.__dict__ != one.__dict__ for one in shared.values()):
            end(templates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Templates, "__init__", share)
        patch.setattr(Templates, "close", close)
        yield
    for templates in shared.values():
        templates.close()


@pytest.fixture(scope="session", autouse=True)
def _one_command_line() -> Iterator[None]:
    """Let ``bench``, called hundreds of times in this process, put its options together once: that takes 0.1 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


REAL_DATA = os.environ.get("BENCH_DATA")
_PROGRAMS = ("GCBENCH_TMC3", "GCBENCH_TMC2", "GCBENCH_VMESH")
REAL_PROGRAMS = {name: os.environ[name] for name in _PROGRAMS if name in os.environ}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real meshes; tests that need it are skipped without."""
    if not REAL_DATA:
        pytest.skip("needs real meshes: set BENCH_DATA to their folder")
    return Path(REAL_DATA).resolve()


@pytest.fixture(autouse=True)
def _real_programs(request, monkeypatch) -> None:
    """Let tests that are marked as needing real programs find them; without they are skipped."""
    from gcbench.codecs.mpeg import programs

    needs = {
        "needs_tmc3": (programs.TMC3,),
        "needs_vpcc": (programs.PCC_APP_ENCODER, programs.PCC_APP_DECODER),
        "needs_vmesh": (programs.VMESH_ENCODER, programs.VMESH_DECODER),
    }
    for marker, wanted in needs.items():
        if request.node.get_closest_marker(marker) is None:
            continue
        for program in wanted:
            if program.variable in REAL_PROGRAMS:
                monkeypatch.setenv(program.variable, REAL_PROGRAMS[program.variable])
            if not (found := program.availability()).ok:
                pytest.skip(f"{found.reason}; {found.remedy}")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three small meshes and one that is not a mesh."""
    path = tmp_path / "shapes"
    path.mkdir()
    for index, mesh in enumerate(
        (trimesh.creation.icosphere(2), trimesh.creation.box(), trimesh.creation.torus(2, 0.5))
    ):
        mesh.export(path / f"shape{index}.ply")
    (path / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    return path


@pytest.fixture
def log():
    """Lines that codecs and suites of the test plugins have noted since the test began, as a function."""
    file = Path(os.environ["GCBENCH_TEST_LOG"]) / "log"
    file.write_text("")
    return lambda begins="": [line for line in file.read_text().splitlines() if line.startswith(begins)]


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys) -> Callable[..., SimpleNamespace]:
    """Run ``bench ...`` in the folder of the test and in this process, and check its exit code; what it wrote."""
    from gcbench.bench.cli import main

    def call(*arguments: object, code: int = 0) -> SimpleNamespace:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setenv("COLUMNS", "200")
            patch.setenv("BENCH_DATA", str(tmp_path / "data"))
            patch.setattr(sys, "argv", ["bench", *map(str, arguments)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.out + said.err
        return SimpleNamespace(stdout=said.out, stderr=said.err)

    return call


@pytest.fixture
def drift() -> Iterator[Callable[[str], object]]:
    """Let the codecs of the plugin that drift get worse from now on: ``drift("bytes:0.01")``."""
    file = Path(os.environ["GCBENCH_TEST_LOG"]) / "drift"
    yield file.write_text
    file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def counting_suites() -> Iterator[None]:
    """Install the metric suites of tests/plugin/suites for a module of tests."""
    from gcbench.bench import metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SUITES), os.environ["PYTHONPATH"]]))
        patch.syspath_prepend(str(SUITES))
        metrics.SUITES.refresh()
        metrics.columns.cache_clear()
        yield
    metrics.SUITES.refresh()
    metrics.columns.cache_clear()


class InThisThread:
    """An executor of another kind, in a few lines: one slot, in the thread of the caller, whose workers are shared."""

    slots = 1

    def __init__(self, slot) -> None:
        self.slot = slot
        self.closed = False

    def run(self, agenda, heartbeat_s):
        at_hand = None
        while (task := agenda.take(at_hand)) is not None:
            at_hand = task.mesh
            yield self.slot.run(agenda.complete(task))

    def under_way(self):
        return ()

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="session")
def _shared_slot(tmp_path_factory):
    from gcbench.bench.run.slot import Folders, Slot
    from gcbench.bench.run.spool import Spool

    root = tmp_path_factory.mktemp("slot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SUITES), os.environ["PYTHONPATH"]]))
        slot = Slot(Folders(Spool(root / "spool"), root / "scratch", root / "work", root / "logs"))
    yield slot
    slot.close()


@pytest.fixture
def slot(_shared_slot, tmp_path):
    """One slot with workers that all tests share; limits and spool are the test's own."""
    from gcbench.bench.run.spool import Spool
    from gcbench.bench.run.work import TaskLimits

    _shared_slot.limit = TaskLimits(deadline_s=60, memory_bytes=900 << 20)
    _shared_slot.folders = replace(_shared_slot.folders, spool=Spool(tmp_path / "spool"), work=tmp_path / "work")
    return _shared_slot


@pytest.fixture
def here(slot) -> InThisThread:
    """An executor that costs no start of workers."""
    return InThisThread(slot)


@pytest.fixture
def go(here):
    """Run a plan by the shared workers, with folders and limits as a run has them; its summary."""
    from gcbench.bench.run.runner import run_plan
    from gcbench.bench.run.spool import Spool
    from gcbench.bench.run.work import TaskLimits

    def call(plan, store, *, suites=("test-counts",), limit=TaskLimits(60.0), **more):
        here.slot.limit = limit
        here.slot.folders = replace(here.slot.folders, spool=Spool(store.path / "spool"), work=store.path / "work")
        summary = run_plan(plan, store, suites=suites, limit=limit, executor=here, **more)
        assert here.closed
        return summary

    return call


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def torus() -> trimesh.Trimesh:
    """Closed, genus 1, 768 faces, longest side [-1, 1]."""
    mesh = trimesh.creation.torus(0.7, 0.3, major_sections=32, minor_sections=12)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
