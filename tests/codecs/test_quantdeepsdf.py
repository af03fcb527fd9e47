"""QuantDeepSDF as a codec: a small set there and back, stopped and added to."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import trimesh
from common import check_golden

from gcbench.codecs import CODECS, Context, Rate, SetCodec
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.quantdeepsdf import QuantDeepSdf
from gcbench.errors import BadMesh, BitstreamError, CodecTimeout, UsageError
from gcbench.necgs.bitstream import Reader
from gcbench.necgs.designs import latent_mlp_training as training
from gcbench.training import loop

TINY = Rate("tiny", {"width": 16, "effort": "quick"})


@pytest.fixture(scope="module")
def meshes() -> list[trimesh.Trimesh]:
    shapes = (trimesh.creation.icosphere(3), trimesh.creation.torus(0.7, 0.3))
    return [trimesh.Trimesh(mesh.vertices, mesh.faces, process=False) for mesh in shapes]


@pytest.fixture(scope="module")
def stream(meshes) -> bytes:
    (stream,) = QuantDeepSdf(latent=8, epochs=20, objective="none").encode(meshes, TINY, Context())
    return stream


def test_golden_streams():
    check_golden("quantdeepsdf", distance=1e-4)


@pytest.mark.parametrize("k", [0, 64])
def test_labels_are_unique(k):
    codec = QuantDeepSdf(k=k)
    labels = [rate.label for effort in EFFORTS for rate in codec.rates(effort)]
    assert len(set(labels)) == len(labels)
    assert QuantDeepSdf(k=64).rates("quick")[0].label.startswith("k64w")
    assert isinstance(CODECS.create("quantdeepsdf[encoding=fourier,latent=16]"), SetCodec)


@pytest.mark.parametrize(
    "bad",
    [{"k": 33}, {"latent": 0}, {"encoding": "hash"}, {"objective": "x"}, {"bits": 3}, {"epochs": -1}, {"seconds": -1}],
)
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(UsageError, match="quantdeepsdf"):
        QuantDeepSdf(**bad)


def test_a_set_comes_back(stream, meshes, ctx):
    decoded = QuantDeepSdf().decode(stream, ctx)
    for mesh, original in zip(decoded, meshes, strict=True):
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(original.volume, rel=0.15)
        assert np.abs(mesh.bounds - original.bounds).max() < 0.15


def test_one_mesh_alone_is_that_of_the_set(stream, ctx, monkeypatch):
    codec = QuantDeepSdf()
    for i, mesh in enumerate(codec.decode(stream, ctx)):
        alone = codec.decode_one(stream, i, ctx)
        np.testing.assert_array_equal(alone.vertices, mesh.vertices)
        np.testing.assert_array_equal(alone.faces, mesh.faces)
    assert codec.random_access
    monkeypatch.setattr(codec, "decode_set", None)  # it is not how one mesh is decoded
    codec.decode_one(stream, 0, ctx)
    for missing in (-1, 2):
        with pytest.raises(BitstreamError, match=f"no mesh {missing}"):
            codec.decode_one(stream, missing, ctx)


def test_stopped_work_goes_on_to_the_same_bytes(meshes, tmp_path, monkeypatch):
    codec, steps = QuantDeepSdf(latent=8, epochs=4, objective="none"), []
    stream = codec.encode_set(meshes, TINY, Context())
    monkeypatch.setattr(training, "train", partial(training.train, every_s=0))
    loss = training._loss

    def counted(*of):
        def step(where, quantise):
            steps.append(len(where))
            if len(steps) == 25:
                raise InterruptedError
            return real(where, quantise)

        real = loss(*of)
        return step

    monkeypatch.setattr(training, "_loss", counted)
    with pytest.raises(InterruptedError):
        codec.encode_set(meshes, TINY, Context(work=tmp_path))
    assert len(list((tmp_path / "volumes").iterdir())) == 2
    assert len(list(tmp_path.glob("training-*.safetensors"))) == 1
    other = [meshes[1], meshes[0]]  # the same numbers of everything
    assert codec.encode_set(other, TINY, Context(work=tmp_path)) != stream
    assert len(list(tmp_path.glob("training-*.safetensors"))) == 2
    alone = len(steps)
    assert codec.encode_set(meshes, TINY, Context(work=tmp_path)) == stream
    assert len(steps) - alone == alone - 25 - 24
    done = len(steps)
    assert codec.encode_set(meshes, TINY, Context(work=tmp_path)) == stream
    assert len(steps) == done, "what is trained is not trained again"


def test_a_kill_in_the_middle_costs_what_was_left_and_nothing_else(meshes, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
    codec, steps = QuantDeepSdf(latent=8, epochs=4, objective="none"), []
    stream = codec.encode_set(meshes, TINY, Context())
    loss = training._loss

    def counted(*of):
        real = loss(*of)
        return lambda where, quantise: steps.append(len(where)) or real(where, quantise)

    def kill(done, message):
        if message.startswith("loss") and done > 0.4:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        codec.encode_set(meshes, TINY, Context(work=tmp_path, progress=kill))
    first = len(steps)
    assert codec.encode_set(meshes, TINY, Context(work=tmp_path)) == stream
    second = len(steps) - first
    assert second > 0
    (checkpoint,) = tmp_path.glob("training-*.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    assert codec.encode_set(meshes, TINY, Context(work=tmp_path)) == stream
    assert len(steps) - first - second == first + second
    assert "training starts anew" in caplog.text


def test_added_meshes_leave_the_others_as_they_were(stream, meshes, ctx):
    codec = QuantDeepSdf(objective="none")
    torus = trimesh.creation.torus(0.72, 0.28)
    longer = codec.add(stream, [torus], ctx, effort="quick")
    before, after = codec.decode(stream, ctx), codec.decode(longer, ctx)
    assert len(after) == len(before) + 1
    for old, new in zip(before, after, strict=False):
        np.testing.assert_array_equal(old.vertices, new.vertices)
        np.testing.assert_array_equal(old.faces, new.faces)
    old, new = codec.layout(stream), codec.layout(longer)
    assert new.shared_bytes == old.shared_bytes
    assert new.mesh_bytes[: len(before)] == old.mesh_bytes
    assert len(longer) - len(stream) == new.mesh_bytes[-1] < 20
    assert after[-1].volume == pytest.approx(torus.volume, rel=0.3)


def test_what_cannot_be_used_is_refused(meshes, stream, ctx):
    codec = QuantDeepSdf(epochs=1, objective="none")
    nan = meshes[0].copy()
    nan.vertices[3] = np.nan
    for bad in (nan, trimesh.Trimesh()):
        with pytest.raises(BadMesh):
            codec.encode_set([bad], TINY, ctx)
        with pytest.raises(BadMesh):
            codec.add(stream, [bad], ctx, effort="quick")
    with pytest.raises(UsageError):
        codec.encode_set([], TINY, ctx)
    with pytest.raises(UsageError):
        codec.add(stream, [], ctx)
    ctx.deadline = 0.0
    with pytest.raises(CodecTimeout):
        codec.encode_set(meshes, TINY, ctx)


def test_foreign_streams_are_refused(stream, ctx):
    codec = QuantDeepSdf()
    for bad in (b"", b"\0", bytes(1000), stream[:-1], stream[::-1], stream + b"\0"):
        for use in (
            codec.decode,
            lambda s, c: codec.add(s, [trimesh.creation.icosphere()], c),
            lambda s, _: codec.layout(s),
        ):
            with pytest.raises(BitstreamError):
                use(bad, ctx)


@pytest.mark.slow
def test_dirty_meshes_are_coded(dirty, ctx):
    codec = QuantDeepSdf(epochs=3, objective="none")
    (mesh,) = codec.decode(codec.encode([dirty], TINY, ctx)[0], ctx)
    assert np.isfinite(mesh.vertices).all()


@pytest.mark.slow
def test_sines_and_cosines_are_coded_too(meshes, ctx):
    codec = QuantDeepSdf(encoding="fourier", epochs=20, latent=8, objective="none")
    stream = codec.encode_set(meshes, TINY, ctx)
    assert Reader(stream).design.octaves == 4
    for mesh, original in zip(QuantDeepSdf().decode(stream, ctx), meshes, strict=True):
        assert mesh.volume == pytest.approx(original.volume, rel=0.1)
