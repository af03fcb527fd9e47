"""What every built-in model codec promises: stable ladders, the same bytes always, errors for foreign streams.

Codecs of points, which need programs or weights and give back another surface, and networks, which are trained, have
tests of their own; `bench check` tries all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import time
from importlib.metadata import version

import numpy as np
import pytest
import trimesh

from gcbench.codecs import CODECS, Codec, Context, ModelCodec, Rate
from gcbench.codecs.base import EFFORTS, decoded_mesh
from gcbench.codecs.points import PointCodec
from gcbench.errors import BitstreamError, CodecTimeout

NAMES = [
    name
    for name in CODECS.builtins
    if issubclass(CODECS.get(name), ModelCodec)
    and not issubclass(CODECS.get(name), PointCodec)
    and CODECS.get(name).deterministic
]
PACKAGES = {
    "raw-zstd": ["zstandard"],
    "draco": ["DracoPy"],
    "draco-qem": ["DracoPy", "pymeshlab"],
}


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
    for package in PACKAGES[codec.name]:
        assert f"{package}-{version(package)}" in codec.version()
    assert re.match(r"\d+\+", codec.version())  # our own revision


def test_available_here(codec):
    start = time.perf_counter()
    availability = codec.availability()
    assert (availability.ok, availability.reason, availability.remedy) == (True, "", "")
    assert time.perf_counter() - start < 1


def test_ladders_share_labels(codec):
    ladders = {effort: {rate.label: rate for rate in codec.rates(effort)} for effort in EFFORTS}
    for effort, ladder in ladders.items():
        assert len(ladder) == len(codec.rates(effort)), "labels are unique"
        assert all(ladders["paper"][label] == rate for label, rate in ladder.items())
        order = [label for label in ladders["paper"] if label in ladder]
        assert order == list(ladder), "low to high quality in every effort"
    assert 1 <= len(ladders["quick"]) <= 5
    for rate in ladders["paper"].values():
        assert re.fullmatch(r"[a-z0-9.]+", rate.label)
        assert json.loads(json.dumps(dict(rate.params))) == dict(rate.params)
        assert pickle.loads(pickle.dumps(rate)) == rate


def test_every_rate_round_trips_through_a_fresh_codec(codec, torus, ctx):
    vertices, faces = torus.vertices.copy(), torus.faces.copy()
    for rate in codec.rates("paper"):
        (stream,) = codec.encode([torus], rate, ctx)
        assert type(stream) is bytes
        (mesh,) = CODECS.create(codec.name).decode(stream, ctx)
        assert type(mesh) is trimesh.Trimesh
        assert mesh.is_watertight
        assert mesh.euler_number == 0
        assert mesh.volume == pytest.approx(torus.volume, rel=0.06)
    np.testing.assert_array_equal(torus.vertices, vertices)
    np.testing.assert_array_equal(torus.faces, faces)


def test_dirty_meshes_round_trip_at_every_rate(codec, dirty, ctx):
    for rate in codec.rates("paper"):
        (stream,) = codec.encode([dirty], rate, ctx)
        (mesh,) = codec.decode(stream, ctx)
        assert 0 < len(mesh.faces) <= len(dirty.faces)
        assert mesh.area > 0


_ENCODE = """
import hashlib, sys
import trimesh
from gcbench.codecs import CODECS, Context
codec = CODECS.create(sys.argv[1])
mesh = trimesh.creation.torus(0.7, 0.3, major_sections=32, minor_sections=12)
mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
# In the opposite order: what was coded before does not matter.
streams = [codec.encode([mesh], rate, Context()) for rate in reversed(codec.rates("paper"))][::-1]
sys.stdout.write(hashlib.sha256(b"".join(stream for one in streams for stream in one)).hexdigest())
"""


def test_same_bytes_in_this_and_in_a_fresh_process(codec, torus, ctx):
    def digest() -> str:
        return hashlib.sha256(
            b"".join(codec.encode([torus], rate, ctx)[0] for rate in codec.rates("paper"))
        ).hexdigest()

    other = subprocess.run(
        [sys.executable, "-c", _ENCODE, codec.name],
        env=os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert digest() == digest() == other.stdout


def test_short_and_foreign_streams_are_refused(codec, torus, ctx):
    streams = {}
    for name in NAMES:
        other = CODECS.create(name)
        streams[name] = other.encode([torus], other.rates("quick")[0], ctx)[0]
    stream = streams[codec.name]
    mine = "raw" if codec.name == "raw-zstd" else "draco"
    foreign = [other for name, other in streams.items() if not name.startswith(mine)]
    for bad in [b"", b"\0", bytes(1000), b"v 0 0 0\n" * 9, stream[::-1], b"\0" + stream, stream[:-1], *foreign]:
        with pytest.raises(BitstreamError):
            codec.decode(bad, ctx)


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
