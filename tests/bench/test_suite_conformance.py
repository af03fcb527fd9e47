"""The conformance test of metric suites finds each fault, and finds none where there is none."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gcbench.bench.conformance import SUITE_CHECKS, Crew, check_suite, suite_lab
from gcbench.bench.conformance.shapes import bumpy_sphere, lying_ring
from gcbench.bench.conformance.suite_lab import noisy, refined, reshuffled
from gcbench.bench.metrics import SUITES, columns
from gcbench.errors import UsageError

PLUGIN = Path(__file__).parent / "suite_plugin"
NAMES = [one.name for one in SUITE_CHECKS]

# Fault → the check that finds it, how, and with what words.
FAULTS = {
    "double": ("names", "fail", "'test_share' is declared twice"),
    "list": ("columns", "fail", "columns is not a tuple of Column"),
    "mute": ("columns", "fail", "column 'test_share' has no definition of one line"),
    "name": ("columns", "fail", "'test faces' is not a name that can be typed"),
    "taken": ("names", "fail", "the name 'encode_s' is taken"),
    "unit": ("columns", "fail", "has the unit 'per cent'; there are length, squared length"),
    "version": ("version", "fail", "in another"),
    "version-int": ("version", "fail", "version() returned 1, not a text"),
    "bounds": ("values", "fail", "'test_share' is 1.5, which is no fraction"),
    "count": ("values", "fail", "'test_faces' is 1.5, which is no count"),
    "extra": ("values", "fail", "'test_more' is returned and not declared"),
    "infinite": ("values", "fail", "'test_distance' is inf"),
    "int64": ("values", "fail", "'test_faces' is a int64, not a float, an int or a bool"),
    "missing": ("values", "fail", "'test_distance_floor' is declared and not returned"),
    "nan": ("values", "fail", "'test_share' is nan"),
    "input": ("inputs", "fail", "measuring changed the original mesh"),
    "implausible": ("plausible", "fail", "says of values just measured: the distance is negative"),
    "process": ("same-values", "fail", "another process gives another test_faces"),
    "threads": ("threads", "fail", "two threads give another test_faces: 1.0 and 2.0"),
    "seed": ("seeds", "warn", "with one seed"),
    "direction": ("better", "fail", "of test_distance higher is better, and it is"),
    "blind": ("better", "warn", "test_share is 1 of a mesh itself, and the same of one heavily damaged"),
    "floor": ("floors", "warn", "of a mesh against itself is"),
    "order": ("face-order", "warn", "of the same mesh in another order"),
    "shape": ("connectivity", "fail", "ValueError: operands could not be broadcast"),
    "original": ("originals", "fail", "reference() raises ValueError: not closed"),
    "codec-failed": ("originals", "fail", "reference() raises CodecFailed: not closed, not BadMesh"),
    "empty": ("decoded-empty", "fail", "measured, where CodecFailed is due"),
    "raises": ("decoded-points", "fail", "IndexError: no faces at all"),
    "crashes": ("decoded-one-triangle", "fail", "crashed: worker process ended with exit code 3"),
    "hangs": ("decoded-one-triangle", "fail", "timeout: took longer than 2 s"),
}


# The same fault shows there too.
ALSO = {
    "crashes": {"originals"},
    "hangs": {"originals"},
    "empty": {"decoded-points"},
    "raises": {"decoded-empty"},
    "process": {"threads"},
}


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """Let this module, and its workers, know the suites of the test's package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])))
        patch.syspath_prepend(str(PLUGIN))
        SUITES.refresh()
        columns.cache_clear()
        yield
    SUITES.refresh()
    columns.cache_clear()


@pytest.fixture
def command(bench, crew, monkeypatch):
    """Run ``bench check ...`` by the workers that all tests share."""
    monkeypatch.setattr("gcbench.bench.conformance.Crew", lambda *_: contextlib.nullcontext(crew))
    return functools.partial(bench, "check")


@pytest.fixture(scope="module")
def crew(plugin):
    with Crew() as crew:
        yield crew


@pytest.mark.long
@pytest.mark.parametrize("suite", ["test-suite", pytest.param("test-suite-clouds", marks=pytest.mark.slow)])
def test_a_suite_that_keeps_the_contract_passes(crew, suite):
    report = check_suite(suite, crew=crew)
    assert report.ok, report
    assert not report.warnings, report
    assert [finding.check for finding in report.findings] == NAMES
    assert (report.name, report.version, report.kind) == (suite, "1", "suite")


# Measuring two closed meshes takes ten seconds on MPEG's grid, and two seconds of images: CI leaves out the checks that
# do so most often.
DECODED = ["decoded-empty", "decoded-nan", "decoded-open"]
BRIEF = {
    "mpeg-grid": ["columns", "names", "version", "same-values", *DECODED],
    "render": ["columns", "names", "version", "values", "plausible", "same-values", "better", *DECODED],
}


@pytest.fixture
def small(monkeypatch):
    """Let the closed meshes of the checks have 320 and 512 triangles, instead of 1280 and 1536."""
    monkeypatch.setattr(suite_lab, "bumpy_sphere", lambda _subdivisions: bumpy_sphere(2))
    monkeypatch.setattr(suite_lab, "lying_ring", lambda _around, _across: lying_ring(32, 8))


@pytest.mark.long
@pytest.mark.parametrize("suite", ["mpeg-grid", "render", "topology", "paper", "surface", "psnr", "volume", "points"])
def test_every_suite_of_ours_keeps_the_contract(crew, small, suite):
    report = check_suite(suite, only=BRIEF.get(suite, ()), deadline_s=300, crew=crew)
    assert report.ok, report


@pytest.mark.slow
@pytest.mark.parametrize("suite", BRIEF)
def test_a_suite_that_takes_long_keeps_all_of_the_contract(crew, suite):
    report = check_suite(suite, deadline_s=300, crew=crew)
    assert report.ok, report


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_is_found_by_its_check(crew, fault):
    name, status, reason = FAULTS[fault]
    report = check_suite(f"test-suite[fault={fault}]", only=[name], deadline_s=2, crew=crew)
    (finding,) = report.findings
    assert (finding.check, finding.status) == (name, status), report
    assert reason in finding.reason
    assert report.ok is (status == "warn")


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_fails_no_other_check(crew, fault):
    name, status, _ = FAULTS[fault]
    report = check_suite(f"test-suite[fault={fault}]", deadline_s=2, crew=crew)
    expected = {name, *ALSO.get(fault, ())} if status == "fail" else set()
    assert {finding.check for finding in report.failures} == expected, report


def test_every_fault_of_the_test_suite_has_a_test():
    import gcbench_faulty_suite

    assert set(FAULTS) == set(gcbench_faulty_suite.FAULTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "test-suit"}, "did you mean test-suite"),
        ({"suite": "test-suite[faults=x]"}, "did you mean fault"),
        ({"suite": "test-suite-broken"}, "fails to import"),
        ({"suite": "test-suite", "only": ["column"]}, "unknown check 'column'"),
    ],
)
def test_wrong_requests(crew, arguments, message):
    with pytest.raises(UsageError, match=message):
        check_suite(crew=crew, **arguments)


def test_names_and_contracts_are_fit_for_a_table():
    assert len(set(NAMES)) == len(NAMES)
    assert all(len(one.name) <= 20 and one.contract and "\n" not in one.contract for one in SUITE_CHECKS)


@pytest.mark.parametrize("change", [reshuffled, refined])
def test_the_same_surface_in_other_words(change):
    mesh = bumpy_sphere(2)
    one, other = (trimesh.Trimesh(m.vertices, m.faces, process=False) for m in (mesh, change(mesh)))
    assert not np.array_equal(one.faces, other.faces)
    assert other.is_watertight
    assert other.volume == pytest.approx(one.volume, rel=1e-12)
    assert other.area == pytest.approx(one.area, rel=1e-12)


def test_noise_is_what_it_says_and_always_the_same():
    mesh = bumpy_sphere(4)
    moved = noisy(mesh, 0.1)
    assert (moved.vertices - mesh.vertices).std() == pytest.approx(0.1, rel=0.02)
    np.testing.assert_array_equal(noisy(mesh, 0.1).vertices, moved.vertices)
    np.testing.assert_array_equal(noisy(mesh, 0.0).vertices, mesh.vertices)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--suite", "test-suite", "--only", "columns,version"], 0, "2 checks of test-suite: 2 passed"),
        (["--suite", "test-suite[fault=unit]", "--only", "columns"], 1, "the contract: every column has a name"),
        (["--suite", "test-suite", "--only", "version,trip"], 2, "unknown check 'trip'"),
        (["draco", "--suite", "test-suite"], 2, "name either a codec, or a metric suite with --suite"),
        ([], 2, "name either a codec, or a metric suite with --suite"),
    ],
)
def test_exit_codes_of_the_command(command, arguments, code, said):
    done = command(*arguments, code=code)
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
