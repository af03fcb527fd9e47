"""The codec with the shipped weights: round trips, damage, open meshes, budgets."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from common import check_damage, check_golden, golden, torus

from gcbench.codecs import CODECS, Context, Rate
from gcbench.codecs.sirsnc import codec as module
from gcbench.codecs.sirsnc import weights
from gcbench.codecs.sirsnc.blocks import blocks_of
from gcbench.codecs.sirsnc.stream import Stream, unpack
from gcbench.codecs.sirsnc.weights import LABELS
from gcbench.entropy.octree import decode_octree, encode_octree
from gcbench.errors import BadMesh, BitstreamError, CodecFailed, CodecUnavailable, UsageError
from gcbench.geometry.signed_distance import Field


@pytest.fixture(scope="module")
def codec():
    made = CODECS.create("sirsnc")
    made.prepare()
    return made


def bowl() -> trimesh.Trimesh:
    """A sphere without its top."""
    sphere = trimesh.creation.icosphere(3)
    return sphere.submesh([np.flatnonzero(sphere.triangles_center[:, 2] < 0.4)], append=True)


def rate(resolution: int = 32, step: str = "q3") -> Rate:
    return Rate(f"r{resolution}{step}", {"resolution": resolution, "step": step})


def test_finer_steps_and_grids_take_more_bytes_and_err_less(codec):
    sphere = trimesh.creation.icosphere(4)
    sizes, errors = [], []
    for one in (rate(32, "q1"), rate(64, "q2"), rate(64, "q4"), rate(128, "q4")):
        stream = codec.encode_mesh(sphere, one, Context())
        decoded = codec.decode_mesh(stream, Context())
        assert decoded.is_watertight
        sizes.append(len(stream))
        errors.append(np.abs(np.linalg.norm(decoded.vertices, axis=1) - 1).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.002
    assert sizes[0] < 150


def test_a_stream_holds_exactly_what_was_coded(codec):
    """Coordinates and features of both coders, out of the stream, against those of the encoder."""
    mesh, ctx = torus(), Context()
    blocks = blocks_of(mesh, 64)
    loaded = weights.load()
    y = loaded.model.encode(blocks, 3).astype(np.int64)
    order = np.lexsort(blocks.places.T[::-1])
    for coder in ("tables", "mixed"):
        stream = CODECS.create(f"sirsnc[features={coder}]").encode_mesh(mesh, rate(64, "q4"), ctx)
        parts, _ = unpack(stream)
        places = decode_octree(parts.places, 4)
        assert np.array_equal(places, blocks.places[order])
        assert np.array_equal(module._decode_features(coder, parts.features, places, loaded.tables[3]), y[order])
        assert parts.octants == blocks.band.sum()


def test_both_coders_decode_to_the_same_mesh(codec):
    ctx, mesh = Context(), torus()
    meshes = [
        codec.decode_mesh(CODECS.create(f"sirsnc[features={coder}]").encode_mesh(mesh, rate(), ctx), ctx)
        for coder in ("tables", "mixed")
    ]
    assert np.array_equal(meshes[0].vertices, meshes[1].vertices)
    assert np.array_equal(meshes[0].faces, meshes[1].faces)


@pytest.mark.parametrize(
    "mesh",
    [
        bowl(),
        trimesh.creation.box((2, 2, 0.5)).submesh([range(10)], append=True),
        trimesh.Trimesh([[-1, -1, 0], [1, -1, 0], [1, 1, 0.2], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False),
    ],
    ids=["bowl", "box without a side", "sheet"],
)
def test_open_meshes(codec, mesh):
    decoded = codec.decode_mesh(codec.encode_mesh(mesh, rate(64, "q4"), Context()), Context())
    assert decoded.is_watertight
    samples = trimesh.sample.sample_surface(mesh, 500, seed=0)[0]
    assert np.abs(Field(decoded)(samples)).mean() < 0.05


@pytest.mark.parametrize("coder", ["tables", "mixed"])
def test_damage(codec, coder):
    stream = CODECS.create(f"sirsnc[features={coder}]").encode_mesh(torus(), rate(16, "q2"), Context())
    check_damage("sirsnc", stream, depth=60)


def test_golden_streams_are_decoded_for_ever():
    assert golden("sirsnc")
    check_golden("sirsnc", distance=1e-4)


def test_what_is_declared_is_refused_before_it_is_computed(codec):
    """A full grid of blocks: an octree of some bytes, features in next to nothing."""
    loaded = weights.load()
    side = 64
    places = np.stack(np.unravel_index(np.arange(side**3), (side,) * 3), 1).astype(np.int32)
    octree = encode_octree(places, 6)
    assert len(octree) < 2000
    stream = Stream(loaded.fingerprint, "tables", 0, side, side**3, octree, b"").pack()
    with pytest.raises(BitstreamError, match="the limit is"):
        codec.decode_mesh(stream, Context())
    outside = Stream(loaded.fingerprint, "tables", 0, 3, 1, encode_octree(np.full((1, 3), 3), 2), b"").pack()
    with pytest.raises(BitstreamError, match="outside of the grid"):
        codec.decode_mesh(outside, Context())


def test_foreign_weights_are_named(codec):
    stream = codec.encode_mesh(torus(), rate(), Context())
    parts, _ = unpack(stream)
    foreign = Stream(b"\0\0\0\0", *list(vars(parts).values())[1:]).pack()
    with pytest.raises(BitstreamError, match="made with weights 00000000"):
        codec.decode_mesh(foreign, Context())


def test_what_cannot_be_encoded(codec):
    with pytest.raises(BadMesh):
        codec.encode_mesh(trimesh.Trimesh(), rate(), Context())
    with pytest.raises(BadMesh, match=r"reaches out"):
        codec.encode_mesh(trimesh.creation.icosphere(2, radius=3), rate(), Context())
    for wrong in (rate(30), rate(4), rate(512), rate(32, "q9")):
        with pytest.raises(UsageError, match="no rate"):
            codec.encode_mesh(torus(), wrong, Context())
    with pytest.raises(UsageError, match="possible are"):
        CODECS.create("sirsnc[features=huffman]")


def test_features_that_are_not_finite_fail(codec, monkeypatch):
    loaded = weights.load()
    monkeypatch.setattr(
        type(loaded.model), "encode", lambda _self, blocks, _rate: np.full((len(blocks.places), 16), np.nan)
    )
    with pytest.raises(CodecFailed, match="not finite"):
        codec.encode_mesh(torus(), rate(), Context())


def test_ladder():
    codec = CODECS.create("sirsnc")
    labels = [one.label for one in codec.rates("standard")]
    assert len(labels) == len(set(labels)) == 8
    assert {one.label for one in codec.rates("quick")} <= set(labels)
    assert all(one.params["step"] in LABELS for one in codec.rates("paper"))


def test_missing_and_broken_weights(monkeypatch, tmp_path):
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "none.safetensors"))
    codec = CODECS.create("sirsnc")
    assert not codec.availability().ok
    assert codec.version().endswith("+weights-none")
    with pytest.raises(CodecUnavailable, match="no file of weights"):
        weights.load()
    (tmp_path / "none.safetensors").write_bytes(b"junk")
    with pytest.raises(CodecUnavailable, match="not a whole safetensors file"):
        weights.load()
    shipped = weights._SHIPPED
    from safetensors.torch import load_file, save_file

    tensors = load_file(shipped)
    save_file({name: t for name, t in tensors.items() if name != "tables"}, tmp_path / "none.safetensors")
    with pytest.raises(CodecUnavailable, match="no tables"):
        weights.load()
    save_file({name: t for name, t in tensors.items() if name != "linear.gains"}, tmp_path / "none.safetensors")
    with pytest.raises(CodecUnavailable, match=r"no tensor linear\.gains"):
        weights.load()
