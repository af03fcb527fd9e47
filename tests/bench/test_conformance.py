"""The conformance suite finds each fault, and finds none where there is none.

The faults are those of ``test-faulty`` and its like in the test plugin, each wrong in one point.
"""

from __future__ import annotations

import contextlib
import functools
import json
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import trimesh

from gcbench import extras
from gcbench.bench.conformance import CHECKS, Crew, check, damage, lab, robustness, sandbox, shapes
from gcbench.bench.conformance.report import ContractBroken
from gcbench.bench.conformance.sandbox import Trouble
from gcbench.bench.metrics.connectivity import connectivity as topology
from gcbench.bench.run.arrays import MeshArrays
from gcbench.codecs import CODECS
from gcbench.errors import CodecUnavailable, UsageError

NAMES = {one.name for one in CHECKS}
FOR_SETS = {one.name for one in CHECKS if one.for_sets}

# Codec → the checks that fail, and what the first of them says.
FAULTS = {
    "test-faulty[fault=availability-bool]": ({"available"}, "availability() returned bool, not Availability"),
    "test-faulty[fault=availability-raises]": ({"available"}, "RuntimeError: no idea (gcbench_testing.py:"),
    "test-faulty[fault=careless]": ({"damaged-cut", "damaged-changed"}, "streams: CodecFailed: something is wrong"),
    "test-faulty[fault=drops]": ({"mesh-components"}, "a surface went in, and none came back"),
    "test-faulty[fault=escapes]": ({"deadline"}, "programs run on after their codec was killed: python"),
    "test-faulty[fault=far]": ({"round-trip"}, "a closed mesh comes back 0.4"),
    "test-faulty[fault=file]": ({"fresh-process"}, "decoding opens a file that encoding wrote: "),
    "test-faulty[fault=global]": ({"fresh-process"}, "at d1, where it was not encoded: KeyError"),
    "test-faulty[fault=hangs]": ({"damaged-cut", "damaged-changed"}, "timeout: took longer than 4 s"),
    "test-faulty[fault=in-place]": ({"inputs"}, "changed the vertices or faces of 2 input meshes"),
    "test-faulty[fault=index]": ({"damaged-cut"}, "1 of 40 streams: IndexError: index out of range"),
    "test-faulty[fault=late]": ({"deadline"}, "encode() past its deadline: CodecFailed: took too long"),
    "test-faulty[fault=liar]": ({"available"}, "says yes, and then: CodecUnavailable: the licence has run out; pay"),
    "test-faulty[fault=list]": ({"ladder"}, "parameter 'digits' of rate 'd1' is a list, not plain JSON"),
    "test-faulty[fault=mute]": ({"available"}, "says no without a remedy"),
    "test-faulty[fault=nan]": ({"mesh-nan", "mesh-infinite"}, "decode() returned positions that are not finite"),
    "test-faulty[fault=noise]": ({"same-mesh"}, "decoding a stream again gives another mesh"),
    "test-faulty[fault=one-label]": ({"ladder"}, "has the label 'd1' twice"),
    "test-faulty[fault=random]": ({"same-bytes"}, "encoding again gives other bytes"),
    "test-faulty[fault=relabelled]": ({"ladder"}, "means {'digits': 1} at one effort and {'digits': 5} at another"),
    "test-faulty[fault=reversed]": ({"monotone"}, "from d3 to d2 the distance grows"),
    "test-faulty[fault=segv]": ({"mesh-empty"}, "encode() crashed: worker process died of SIGSEGV"),
    "test-faulty[fault=sulks]": (
        {"damaged-cut", "damaged-changed"},
        "after a damaged stream, a good one decodes to another mesh than before",
    ),
    "test-faulty[fault=text]": ({"streams"}, "encode() returned 2 of str, not 2 of bytes"),
    "test-faulty[fault=trusting]": ({"damaged-changed"}, "streams: "),
    "test-faulty[fault=version]": ({"version"}, "in another"),
    "test-faulty[fault=version-int]": ({"version"}, "version() returned 1, not a text"),
    "test-gullible": ({"parameters", "foreign"}, "'weights' has a default of type None"),
    "test-faulty-set[fault=layout]": ({"layout"}, "layout() adds up to 39085 bytes, the stream has 39084"),
    "test-faulty-set[fault=layout-none]": ({"layout"}, "layout(): AttributeError"),
    "test-faulty-set[fault=merges]": ({"set-of-twins"}, "1 meshes come back of 2"),
    "test-faulty-set[fault=pairs]": ({"set-of-one"}, "CodecFailed: one is not enough"),
    "test-faulty-set[fault=shuffles]": ({"order", "round-trip"}, "a closed mesh comes back 0.2"),
}
# They take the memory or the time that the fault is about.
LONG = {"test-faulty[fault=hangs]", "test-faulty[fault=trusting]"}


@pytest.fixture
def command(bench, crew, monkeypatch):
    """Run ``bench check ...`` by the workers that all tests share."""
    monkeypatch.setattr("gcbench.bench.conformance.Crew", lambda *_: contextlib.nullcontext(crew))
    return functools.partial(bench, "check")


@pytest.fixture(scope="module")
def crew():
    with Crew() as crew:
        yield crew


@pytest.fixture(scope="module")
def frameworks_at_hand():
    """A crew whose workers are born with torch imported: a check starts several, and an import takes seconds."""
    heavy = [name for name in ("numba", "torch") if extras.is_installed(name)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "_PRELOAD", (*sandbox._PRELOAD, *heavy))
        with Crew() as crew:
            yield crew


@pytest.fixture
def small(monkeypatch):
    """Let the two closed meshes of the checks have 1280 and 1024 triangles, a quarter of what they have."""
    monkeypatch.setattr(lab, "good_meshes", lambda: (shapes.bumpy_sphere(3), shapes.lying_ring(32, 16)))


def failing(report) -> set[str]:
    return {finding.check for finding in report.failures}


@pytest.mark.parametrize("codec", sorted(FAULTS.keys() - LONG))
def test_a_fault_is_found_by_its_check(crew, codec):
    expected, reason = FAULTS[codec]
    report = check(codec, only=[*expected, "streams", "same-bytes"], deadline_s=10, crew=crew)
    assert failing(report) == expected
    assert reason in report.failures[0].reason
    assert not report.ok


@pytest.mark.parametrize(("is_set", "height", "fault"), [(True, 0, False), (True, 1, True), (False, 0, True)])
def test_a_mesh_that_loses_its_surface_is_a_fault_unless_it_is_a_flat_one_of_a_set(is_set, height, fault):
    """`quantdeepsdf` at `quick` has no surface for a lone triangle; to refuse it would lose the meshes beside it."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, height]], float)
    mesh = MeshArrays(corners, np.array([[0, 1, 2], [0, 1, 3]]))
    nothing = MeshArrays(np.zeros((0, 3)), np.zeros((0, 3), int))
    no_distance = Trouble("raised", "the decoded mesh has no faces", "CodecFailed")
    here = SimpleNamespace(is_set=lambda: is_set, distance=lambda *_: no_distance)
    if fault:
        with pytest.raises(ContractBroken, match="a surface went in, and none came back"):
            robustness._judged(here, mesh, nothing, 9)
    else:
        verdict = robustness._judged(here, mesh, nothing, 9)
        assert verdict.status == "warn"
        assert "a run records this mesh alone as failed" in verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize("codec", sorted(FAULTS))
def test_a_fault_is_found_by_no_other_check(crew, codec):
    expected, reason = FAULTS[codec]
    report = check(codec, deadline_s=4, crew=crew)
    assert failing(report) == expected, report
    assert reason in report.failures[0].reason


@pytest.mark.long
@pytest.mark.parametrize(
    "codec",
    [
        pytest.param("test-faulty", marks=pytest.mark.slow),
        "test-faulty-set",
        pytest.param("draco", marks=pytest.mark.slow),
    ],
)
def test_a_codec_that_keeps_the_contract_passes(crew, codec):
    report = check(codec, crew=crew)
    assert report.ok, report
    names = [finding.check for finding in report.findings]
    assert names == [one.name for one in CHECKS if codec.endswith("set") or one.name not in FOR_SETS]
    assert not report.warnings, report


QUICKLY = {"raw-zstd", "draco", "draco-qem"}  # the others train, or reconstruct surfaces, for seconds to minutes
# Codecs that train or reconstruct: CI checks two rates of each, one of the slowest, after short trainings, with few
# mutants.
BRIEF = {
    "blendshapes": "blendshapes",
    "keyspheres": "keyspheres[steps=150]",
    "necgs": "necgs[epochs=30,objective=none]",
    "necgs[design=sparse]": "necgs[design=sparse,epochs=6]",
    "nglod": "nglod[steps=150]",
    "ni": "ni",
    "pcgcv2": "pcgcv2[bits=7]",
    "pruned-mlp": "pruned-mlp[steps=250,retrain=100]",
    "quantdeepsdf": "quantdeepsdf[epochs=6,objective=none]",
    "sirsnc": "sirsnc",
}
SLOWEST = {"necgs[design=sparse]", "pcgcv2", "quantdeepsdf"}
FEW_MUTANTS = 20  # tests/codecs/test_hostile_streams.py has more of them


@pytest.mark.long
@pytest.mark.parametrize("codec", sorted({*CODECS.builtins, *BRIEF}))
def test_every_codec_of_ours_keeps_the_contract(frameworks_at_hand, small, codec):
    address = BRIEF.get(codec, codec)
    count = 1 if codec in SLOWEST else 2
    rates = [rate.label for rate in CODECS.create(address).rates("quick")[:count]] if codec in BRIEF else []
    assert_kept(frameworks_at_hand, address, rates, mutants=FEW_MUTANTS if codec in BRIEF else None)


@pytest.mark.slow
@pytest.mark.parametrize("codec", sorted(BRIEF))
def test_every_codec_that_trains_keeps_all_of_the_contract(crew, codec):
    assert_kept(crew, codec, [])


def assert_kept(crew, codec, rates, mutants=None):
    try:
        report = check(codec, rates=rates, quick=codec not in QUICKLY, deadline_s=900, mutants=mutants, crew=crew)
    except CodecUnavailable as error:
        pytest.skip(str(error))
    assert report.ok, "; ".join(f"{one.check}: {one.reason}" for one in report.failures)


def test_what_an_unavailable_codec_says_is_what_is_raised(crew):
    with pytest.raises(CodecUnavailable, match="needs a program that nobody has; write it"):
        check("test-absent", crew=crew)


def test_a_constructor_that_raises_is_a_failure(crew):
    report = check("test-no-weights", crew=crew)
    assert failing(report) == {"available"}
    assert "FileNotFoundError" in report["available"].reason
    assert {finding.status for finding in report.findings} == {"fail", "skip"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codec": "test-fauly"}, "did you mean test-faulty"),
        ({"codec": "test-faulty[faults=x]"}, "did you mean fault"),
        ({"codec": "test-broken"}, "fails to import"),
        ({"codec": "test-faulty", "effort": "slow"}, "there are quick, standard, paper"),
        ({"codec": "test-faulty", "rates": ["d9"]}, "no rate 'd9'"),
        ({"codec": "test-faulty", "only": ["trip"]}, "unknown check 'trip'"),
    ],
)
def test_wrong_requests(crew, arguments, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        check(crew=crew, **arguments)


def test_rates_and_checks_can_be_chosen(crew):
    seen, started = [], []
    report = check(
        "test-exact[digits=3]",
        rates=["d2"],
        only=["round-trip", "monotone", "parameters"],
        crew=crew,
        on_start=lambda one, number, total: started.append((one.name, number, total)),
        on_finding=seen.append,
    )
    assert report.rates == ("d2",)
    assert report.findings == tuple(seen)
    assert [(f.check, f.status) for f in seen] == [
        ("parameters", "pass"),
        ("round-trip", "pass"),
        ("monotone", "skip"),
    ]
    assert started == [("parameters", 0, 3), ("round-trip", 1, 3), ("monotone", 2, 3)]
    assert report["parameters"].reason == "created with digits; its decoder without"
    assert json.loads(json.dumps(report.to_json()))["findings"][1]["figures"]["best"] == pytest.approx(0.0017, rel=0.1)
    with pytest.raises(KeyError):
        report["order"]


@pytest.mark.long
def test_nothing_is_left_behind(crew, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    check("test-faulty[fault=escapes]", only=["deadline"], crew=crew)
    assert not list(tmp_path.iterdir())
    running = [p.info["cwd"] or "" for p in psutil.process_iter(["cwd"])]
    assert not [cwd for cwd in running if cwd.startswith(str(tmp_path))]


def test_contracts_and_names_are_fit_for_a_table():
    assert len(NAMES) == len(CHECKS)
    assert all(len(one.name) <= 20 and one.contract and "\n" not in one.contract for one in CHECKS)


def test_good_meshes_are_closed_normalised_and_differ():
    facts = []
    for arrays in shapes.good_meshes():
        np.testing.assert_allclose(np.ptp(arrays.vertices, axis=0).max(), 2)
        np.testing.assert_allclose(arrays.vertices.max(axis=0) + arrays.vertices.min(axis=0), 0, atol=1e-12)
        facts.append(topology(trimesh.Trimesh(arrays.vertices, arrays.faces, process=False)))
    assert all(fact.watertight and fact.components == 1 for fact in facts)
    assert [fact.euler for fact in facts] == [2, 0]
    assert all(trimesh.Trimesh(a.vertices, a.faces, process=False).volume > 0 for a in shapes.good_meshes())


def test_hard_meshes_are_what_they_are_called():
    hard = {one.name: one.make() for one in shapes.HARD_MESHES}
    facts = {
        name: topology(trimesh.Trimesh(m.vertices, m.faces, process=False))
        for name, m in hard.items()
        if np.isfinite(m.vertices).all()
    }
    assert (len(hard["empty"].vertices), len(hard["empty"].faces)) == (0, 0)
    assert len(hard["points"].vertices) > 0 == len(hard["points"].faces)
    assert facts["one-triangle"].faces == 1
    assert np.isnan(hard["nan"].vertices).sum() == np.isinf(hard["infinite"].vertices).sum() == 1
    assert facts["one-point"].vertices == 1
    assert np.ptp(hard["flat"].vertices, axis=0)[2] == 0
    assert facts["flat"].boundary_edges == 4 * 19
    assert facts["open"].boundary_edges > 0 == facts["open"].nonmanifold_edges
    assert (facts["components"].components, facts["components"].euler) == (64, 128)
    assert facts["components"].watertight
    assert trimesh.Trimesh(hard["components"].vertices, hard["components"].faces).volume > 0
    used = np.unique(hard["degenerate"].faces)
    assert len(used) < len(hard["degenerate"].vertices)
    assert facts["non-manifold"].nonmanifold_edges == 1


@pytest.mark.parametrize("size", [0, 1, 3, 40, 5000])
def test_damage_is_damage_and_always_the_same(size):
    stream = np.random.default_rng(5).bytes(size)
    cuts, changes = damage.cuts(stream, 40), damage.changes(stream, 120)
    assert (damage.cuts(stream, 40), damage.changes(stream, 120)) == (cuts, changes)
    assert len(set(cuts)) == len(cuts) <= 40
    assert len(set(changes)) == len(changes) <= 120
    assert stream not in cuts + changes
    assert all(stream.startswith(cut) for cut in cuts)
    if size == 5000:
        assert (len(cuts), len(changes)) == (40, 120)
        in_header = [c for c in changes if len(c) == size and c[64:] == stream[64:]]
        lengths = {len(c) - size for c in changes}
        assert len(in_header) > 30
        assert min(lengths) < 0 < max(lengths)


def test_first_damages_are_of_many_kinds():
    stream = bytes(range(256)) * 4
    few = damage.changes(stream, 9)
    assert {len(one) - len(stream) > 0 for one in few} == {True, False}
    assert any(len(one) < len(stream) for one in few)
    assert {0, len(stream) - 1, len(stream) // 2} <= {len(cut) for cut in damage.cuts(stream, 6)}


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["test-faulty", "--only", "version,parameters"], 0, "2 checks of test-faulty: 2 passed", ""),
        (["test-faulty", "--only", "version,trip"], 2, "", "unknown check 'trip'"),
        (["test-absent"], 3, "says no: needs a program that nobody has; write it", "error: needs a program"),
    ],
)
def test_exit_codes_of_the_command(command, arguments, code, out, err):
    done = command(*arguments, code=code)
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_in_json_and_its_exit_code(command):
    done = command("test-faulty[fault=text]", "--only", "streams", "--format", "json", code=1)
    report = json.loads(done.stdout)
    assert (report["ok"], report["name"]) == (False, "test-faulty[fault=text]")
    assert report["findings"][0]["status"] == "fail"
    assert not done.stderr


def test_every_fault_of_the_test_codec_has_a_test():
    import gcbench_testing

    tested = {codec.removeprefix("test-faulty[fault=")[:-1] for codec in FAULTS if codec.startswith("test-faulty[")}
    assert tested == set(gcbench_testing.FAULTS) - {""}
