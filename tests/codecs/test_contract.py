"""What every built-in codec promises, and what the quick ones promise of their streams.

All: stable ladders, at every address. Quick: the same bytes always, errors for foreign streams. Codecs of points, which
need programs or weights and give back another surface, and networks, which are trained, have tests of their own for
that; `bench check` tries all of them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from common import check_damage, check_golden, check_round_trip, golden

from gcbench.codecs import CODECS, Codec, Context, ModelCodec, Rate, SetCodec, StreamLayout, base
from gcbench.codecs.arrays import checked_faces
from gcbench.codecs.base import EFFORTS, decoded_mesh
from gcbench.codecs.points import PointCodec
from gcbench.errors import BitstreamError, CodecFailed, CodecTimeout
from gcbench.registry import split_address

# Their streams are those of a program that is not everywhere.
WITHOUT_GOLDEN = {"gpcc-octree", "gpcc-trisoup", "vpcc", "vdmc"}
NAMES = [
    name
    for name in CODECS.builtins
    if name not in WITHOUT_GOLDEN
    and issubclass(CODECS.get(name), ModelCodec)
    and not issubclass(CODECS.get(name), PointCodec)
    and CODECS.get(name).deterministic
]
# Every parameter of every codec, alone and together with others.
ADDRESSES = [
    *CODECS.builtins,
    *("draco-qem[ladder=faces]", "meshopt-simplify[ladder=faces]"),
    *("necgs[k=32]", "necgs[k=64]", "necgs[k=128]", "necgs[k=256,epochs=50]", "necgs[epochs=200]", "necgs[ssim=0]"),
    *("necgs[representation=tsdf]", "necgs[objective=render]", "necgs[encoder=autoencoder]", "necgs[coder=huffman]"),
    *("necgs[design=latent_mlp]", "necgs[design=latent_mlp,k=32]"),
    *("necgs[design=sparse]", "necgs[design=sparse,tree=false,optimiser=adam]"),
    "necgs[design=sparse,representation=tsdf-def,learning_rate=0.003]",
    *("gpcc-octree[bits=11]", "gpcc-octree[bits=12]", "gpcc-trisoup[bits=11]", "gpcc-trisoup[bits=12]"),
    *("vpcc[bits=8]", "vpcc[bits=9]", "vpcc[mode=random-access]", "vpcc[mode=random-access,bits=9]"),
    "vdmc[mode=inter]",
    *("pcgcv2[bits=7]", "pcgcv2[bits=8]", "pcgcv2[bits=9,features=mixed]", "pcgcv2[features=mixed]"),
    "sirsnc[features=mixed]",
    *("ni[coding=float32]", "ni[bits=8]", "ni[steps=1500]", "ni[seconds=9]"),
    *("keyspheres[architecture=latent]", "keyspheres[coding=sparse,steps=9]", "keyspheres[bits=7,seconds=9]"),
    *("pruned-mlp[retrain=0]", "pruned-mlp[bits=8]", "pruned-mlp[steps=9]", "pruned-mlp[seconds=9]"),
    *("nglod[steps=300]", "nglod[steps=1000]", "nglod[steps=5000]", "nglod[steps=7]", "nglod[channels=4,width=32]"),
    *("nglod[coding=float32]", "nglod[bits=8]", "nglod[seconds=9]"),
    *("quantdeepsdf[k=32]", "quantdeepsdf[k=64]", "quantdeepsdf[k=128]", "quantdeepsdf[k=256,epochs=9]"),
    *("quantdeepsdf[latent=16]", "quantdeepsdf[encoding=fourier]", "quantdeepsdf[objective=none]"),
    *("quantdeepsdf[bits=7]", "quantdeepsdf[seconds=9]"),
]


def _split(address: str) -> tuple[str, dict[str, str]]:
    return split_address(address, "codec")


@pytest.fixture(params=NAMES)
def codec(request) -> Codec:
    codec = CODECS.create(request.param)
    codec.prepare()
    return codec


def test_name_kind_and_version(codec):
    assert CODECS.get(codec.name) is type(codec)
    assert isinstance(codec, ModelCodec)
    assert codec.kind == "model"
    assert codec.decoder_bytes == 0
    for package in codec.packages:
        assert f"+{package}-{version(package)}" in codec.version()
    assert re.match(r"\d+\+[0-9a-f]{8}\+", codec.version())  # of the format, and the source


def test_available_here(codec):
    start = time.perf_counter()
    availability = codec.availability()
    assert (availability.ok, availability.reason, availability.remedy) == (True, "", "")
    assert time.perf_counter() - start < 1


def test_every_parameter_is_among_the_addresses():
    given = {(name, parameter) for name, parameters in map(_split, ADDRESSES) for parameter in parameters}
    there = {
        (name, parameter) for name in CODECS.builtins for parameter in inspect.signature(CODECS.get(name)).parameters
    }
    assert given == there


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_label_has_one_meaning_at_every_effort_and_every_address(address):
    codec, bare = CODECS.create(address), CODECS.create(_split(address)[0])
    meaning: dict[str, Rate] = {}
    for one in (codec, bare):
        for effort in EFFORTS:
            rates = one.rates(effort)
            assert rates, effort
            assert len({rate.label for rate in rates}) == len(rates)
            for rate in rates:
                assert meaning.setdefault(rate.label, rate) == rate, (address, effort)
                assert re.fullmatch(r"[a-z0-9.]+", rate.label)
                assert json.loads(json.dumps(dict(rate.params))) == dict(rate.params)
                assert pickle.loads(pickle.dumps(rate)) == rate


def test_addresses_of_a_codec_do_not_contradict_each_other():
    meaning: dict[tuple[str, str], Rate] = {}
    for address in ADDRESSES:
        codec = CODECS.create(address)
        for effort in EFFORTS:
            for rate in codec.rates(effort):
                assert meaning.setdefault((codec.name, rate.label), rate) == rate, address


@pytest.mark.parametrize("address", ADDRESSES)
def test_bench_check_has_nothing_against_what_an_address_says_of_itself(address):
    """The checks of ``bench check`` that do not encode, in this process."""
    from gcbench.bench.conformance import claims, trial

    class Here:
        codec = address

        def claims(self, role="author"):
            return trial.describe(address)

    for check in (claims.parameters, claims.version, claims.ladder):
        check(Here())  # raises where something is broken


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_of_the_version_of_its_codec(address):
    """What an address changes is in the key of a coding; its decoder is created without it."""
    name, parameters = _split(address)
    if "mode" in parameters:  # random access reads another configuration
        return
    assert CODECS.create(address).version() == CODECS.create(name).version()
    assert CODECS.create(address).packages == CODECS.get(name).packages
    assert dict(CODECS.create(address).programs()) == dict(CODECS.create(name).programs())


def test_ladders_share_labels(codec):
    ladders = {effort: {rate.label: rate for rate in codec.rates(effort)} for effort in EFFORTS}
    for effort, ladder in ladders.items():
        assert len(ladder) == len(codec.rates(effort)), "labels are unique"
        assert all(ladders["paper"][label] == rate for label, rate in ladder.items())
        order = [label for label in ladders["paper"] if label in ladder]
        assert order == list(ladder), "low to high quality in every effort"
    assert 1 <= len(ladders["quick"]) <= 5


def test_every_rate_round_trips_through_a_fresh_codec(codec, torus, ctx):
    vertices, faces = torus.vertices.copy(), torus.faces.copy()
    for rate in codec.rates("paper"):
        (stream,) = codec.encode([torus], rate, ctx)
        assert type(stream) is bytes
        (mesh,) = CODECS.create(codec.name).decode(stream, ctx)
        assert type(mesh) is trimesh.Trimesh
        assert mesh.is_watertight
        assert mesh.euler_number == 0
        assert mesh.volume == pytest.approx(torus.volume, rel=0.1)
    np.testing.assert_array_equal(torus.vertices, vertices)
    np.testing.assert_array_equal(torus.faces, faces)


def test_dirty_meshes_round_trip_at_every_rate(codec, dirty, ctx):
    for rate in codec.rates("quick"):
        (stream,) = codec.encode([dirty], rate, ctx)
        (mesh,) = codec.decode(stream, ctx)
        assert 0 < len(mesh.faces) <= len(dirty.faces)
        assert mesh.area > 0


_ENCODE = """
import hashlib, sys
import trimesh
from gcbench.codecs import CODECS, Context
mesh = trimesh.creation.torus(0.7, 0.3, major_sections=32, minor_sections=12)
mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
for codec in map(CODECS.create, sys.argv[1:]):
    # In the opposite order: what was coded before does not matter.
    streams = [codec.encode([mesh], rate, Context()) for rate in reversed(codec.rates("quick"))][::-1]
    print(codec.name, hashlib.sha256(b"".join(stream for one in streams for stream in one)).hexdigest())
"""


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, str]:
    """Codec → hash of what it encodes in another process."""
    done = subprocess.run(
        [sys.executable, "-c", _ENCODE, *NAMES],
        env=os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


def test_same_bytes_in_this_and_in_a_fresh_process(codec, torus, ctx, elsewhere):
    streams = b"".join(codec.encode([torus], rate, ctx)[0] for rate in codec.rates("quick"))
    assert hashlib.sha256(streams).hexdigest() == elsewhere[codec.name]


def test_round_trip(codec):
    check_round_trip(codec.name, distance=0.02)


@pytest.mark.parametrize("name", CODECS.builtins)
def test_golden_streams_are_decoded_for_ever(name):
    codec = CODECS.create(name)
    if not golden(name):
        assert name in WITHOUT_GOLDEN
        return
    check_golden(name, distance=0.0 if codec.deterministic else 1e-4)


@pytest.mark.parametrize("depth", [3, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(set(CODECS.builtins) - WITHOUT_GOLDEN))
def test_damaged_golden_streams_are_refused(name, depth):
    smallest = min(golden(name), key=lambda file: file.stat().st_size)
    check_damage(name, smallest.read_bytes(), depth=depth, open_end=name.startswith("draco"))


def test_random_bytes_after_a_right_start_are_refused(codec, torus, ctx, rng):
    (stream,) = codec.encode([torus], codec.rates("quick")[0], ctx)
    for kept in range(0, 24):
        with pytest.raises(BitstreamError):
            codec.decode(stream[:kept] + rng.bytes(len(stream) - kept), ctx)


def test_decoded_mesh_keeps_arrays_as_they_are():
    vertices = [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]]
    mesh = decoded_mesh(np.array(vertices, np.float32), np.array([[0, 2, 3], [1, 2, 3], [2, 2, 3]], np.uint32))
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, [[0, 2, 3], [1, 2, 3], [2, 2, 3]])


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3), int), "no faces"),
        (np.zeros((3, 3)), [], "shapes"),
        (np.zeros((3, 2)), [[0, 1, 2]], "shapes"),
        (np.zeros(9), [[0, 1, 2]], "shapes"),
        (np.zeros((3, 3)), [[0, 1, 2, 0]], "shapes"),
        (np.zeros((3, 3)), [[0, 1, 3]], "among the 3"),
        (np.zeros((3, 3)), [[0, 1, -1]], "among the 3"),
        (np.full((3, 3), np.inf), [[0, 1, 2]], "not finite"),
    ],
)
def test_decoded_mesh_refuses_what_is_not_a_mesh(vertices, faces, message):
    with pytest.raises(BitstreamError, match=message):
        decoded_mesh(vertices, faces)


WRAPS = [2**31, 2**32, 2**32 + 1, 2**63 - 1, -1, -(2**32)]


@pytest.mark.parametrize("index", WRAPS)
def test_a_face_with_an_index_that_no_vertex_has_is_refused_and_not_wrapped(codec, ctx, index):
    """2^32 is 0 in 32 bits: the mesh would come back with another face, and without a word."""
    faces = np.array([[0, 1, 2], [0, 1, index]], np.int64)
    mesh = SimpleNamespace(vertices=np.eye(3), faces=faces)
    with pytest.raises(CodecFailed, match="not among the 3"):
        codec.encode_mesh(mesh, codec.rates("quick")[0], ctx)


def test_points_refuse_such_faces_too(ctx):
    mesh = SimpleNamespace(vertices=np.eye(3), faces=np.array([[0, 1, 2**32]]))
    codec = CODECS.create("gpcc-octree")
    with pytest.raises(CodecFailed, match="not among the 3"):
        codec.sample(mesh, codec.rates("quick")[0], ctx)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.uint64])
def test_checked_faces_come_as_int64(kind):
    faces = checked_faces(np.array([[0, 1, 2]], kind), 3)
    assert faces.dtype == np.int64
    assert faces.tolist() == [[0, 1, 2]]
    assert checked_faces([], 3).shape == (0, 3)
    with pytest.raises(CodecFailed, match="not vertex indices"):
        checked_faces([[0.0, 1.0, 2.0]], 3)
    with pytest.raises(CodecFailed, match="not among the 3"):
        checked_faces(np.array([[0, 1, 2**64 - 1]], np.uint64), 3)


@pytest.mark.parametrize(
    ("kind", "index"), [(np.uint64, 2**64 - 1), (np.uint64, 2**63), (np.int64, 2**32), (np.uint32, 3)]
)
def test_decoded_indices_are_not_wrapped(kind, index):
    with pytest.raises(BitstreamError, match="among the 3"):
        decoded_mesh(np.zeros((3, 3)), np.array([[0, 1, index]], kind))


class Pair(SetCodec):
    """Two numbers, each the height of a triangle."""

    name = "pair"

    def version(self):
        return "1"

    def rates(self, effort):
        return [Rate("one")]

    def encode_set(self, meshes, rate, ctx):
        return bytes(int(mesh.vertices[2, 1]) for mesh in meshes)

    def decode_set(self, stream, ctx):
        return [decoded_mesh([[0, 0, 0], [1, 0, 0], [0, height, 0]], [[0, 1, 2]]) for height in stream]

    def layout(self, stream):
        return StreamLayout(0, (1,) * len(stream))


def test_one_mesh_of_a_set_is_decoded_with_the_set_where_a_codec_knows_no_better(ctx):
    assert not Pair.random_access
    for index in (0, 1, 2):
        assert Pair().decode_one(bytes([3, 5, 7]), index, ctx).vertices[2, 1] == (3, 5, 7)[index]
    for index in (-1, 3):
        with pytest.raises(BitstreamError, match=f"no mesh {index}: the stream has 3"):
            Pair().decode_one(bytes([3, 5, 7]), index, ctx)


@pytest.mark.parametrize(
    ("device", "waits"), [("cuda", ["cuda"]), ("cuda:1", ["cuda:1"]), ("cpu", [])], ids=["cuda", "cuda:1", "cpu"]
)
def test_a_stage_waits_for_the_gpu_before_its_clock_starts_and_before_it_stops(monkeypatch, device, waits):
    said = []

    class Cuda:
        is_available = staticmethod(lambda: True)
        synchronize = staticmethod(said.append)

    clock = iter([10.0, 12.5])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda))
    monkeypatch.setattr(base.time, "perf_counter", lambda: said.append("clock") or next(clock))
    ctx = Context(device=device)
    with ctx.stage("coding"):
        said.append("work")
    assert said == [*waits, "clock", "work", *waits, "clock"]
    assert ctx.stage_s == {"coding": 2.5}


def test_waiting_never_imports_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with Context(device="cuda").stage("coding"):
        pass
    assert "torch" not in sys.modules


def test_a_gpu_that_is_not_there_is_not_waited_for(monkeypatch):
    def fail(device):
        raise AssertionError

    cuda = SimpleNamespace(is_available=lambda: False, synchronize=fail)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    base.synchronise("cuda")


def test_context_deadline():
    assert Context().seconds_left() == float("inf")
    Context().check_deadline()
    Context(deadline=time.monotonic() + 60).check_deadline()
    with pytest.raises(CodecTimeout):
        Context(deadline=time.monotonic() - 0.001).check_deadline()


def test_rate_is_a_value():
    assert Rate("q1", {"a": 1}) == Rate("q1", {"a": 1}) != Rate("q1", {"a": 2})
    assert dict(Rate("q1").params) == {}
    assert pickle.loads(pickle.dumps(Rate("q1"))) == Rate("q1")
