"""QuantDeepSDF: the stream with hand-made numbers, the volume evaluated sparsely, and small sets there and back."""

from __future__ import annotations

import hashlib
import struct
from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.codecs import CODECS, Context, Rate, SetCodec
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.quantdeepsdf import QuantDeepSdf
from gcbench.entropy import tensors as weights
from gcbench.errors import BadMesh, BitstreamError, CodecTimeout, UsageError
from gcbench.geometry.deformable_marching_cubes import extract
from gcbench.geometry.grid import Grid
from gcbench.necgs.designs import latent_mlp as autodecoder
from gcbench.necgs.designs.latent_mlp import Autodecoder, draw, fit_latent, fit_set, sparse_volume
from gcbench.necgs.designs.latent_mlp_stream import ENVELOPE, Architecture, Reader, append, write
from gcbench.training.loop import Schedule
from gcbench.training.perceptrons import Perceptrons, generators
from gcbench.training.quantise import quantise

TINY = Rate("tiny", {"width": 16, "effort": "quick"})
SMALL = Architecture(resolution=32, width=5, latent=3)
GOLDEN_BYTES = 473
GOLDEN_SHA256 = "1870afbffb50bd112e28350d0e893f3bd67bb074abebc17a3cef776415207a5e"


def hand_made(architecture: Architecture) -> list[np.ndarray]:
    """Weights that are levels already: k / 127 of the largest, which is 1, 2, 4 … for one tensor after the other."""
    tensors = []
    for i, shape in enumerate(architecture.shapes):
        levels = (np.arange(np.prod(shape)) * 37 + 127) % 255 - 127
        levels[0] = 127
        tensors.append((levels.reshape(shape) * np.float32(2.0**i / 127)).astype(np.float32))
    return tensors


def latents(count: int, architecture: Architecture = SMALL) -> np.ndarray:
    return (
        ((np.arange(count * architecture.latent) * 11 + 120) % 257).astype(np.int16).reshape(count, architecture.latent)
    )


def volumes_of(radii: list[float], side: int = 32) -> np.ndarray:
    """Symbols of the volumes of spheres, without deformation."""
    grid = Grid(side)
    axis = grid.axis()
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    volumes = np.zeros((len(radii), 4, side, side, side))
    for volume, radius in zip(volumes, radii, strict=True):
        volume[0] = np.clip((distance - radius) / grid.truncation, -1, 1)
    return quantise(volumes, 8)


@pytest.fixture(scope="module")
def meshes() -> list[trimesh.Trimesh]:
    shapes = (trimesh.creation.icosphere(3), trimesh.creation.torus(0.7, 0.3))
    return [trimesh.Trimesh(mesh.vertices, mesh.faces, process=False) for mesh in shapes]


@pytest.fixture(scope="module")
def stream(meshes) -> bytes:
    (stream,) = QuantDeepSdf(latent=8, epochs=20, objective="none").encode(meshes, TINY, Context())
    return stream


@pytest.fixture(scope="module")
def written() -> bytes:
    return write(SMALL, hand_made(SMALL), latents(4))


# --- The stream -------------------------------------------------------------------------------------------------------


def test_the_format_is_what_it_was(written):
    body = ENVELOPE.open(written)
    assert written[:5] == b"GCQD\1"
    assert struct.unpack_from("<HHHBBI", body) == (32, 5, 3, 0, 8, 4)
    assert len(written) == GOLDEN_BYTES
    assert hashlib.sha256(written).hexdigest() == GOLDEN_SHA256


def test_what_was_written_is_read():
    for architecture in (SMALL, Architecture(64, 16, 7, octaves=2, bits=6)):
        tensors, symbols = hand_made(architecture), latents(5, architecture)
        reader = Reader(write(architecture, tensors, symbols))
        assert reader.architecture == architecture
        for got, expected in zip(
            reader.tensors(), weights.quantised(tensors, "range", architecture.bits), strict=True
        ):  # fmt: skip
            np.testing.assert_array_equal(got, expected)
        for i in (4, 0, 2):
            np.testing.assert_array_equal(reader.latent(i), symbols[i])
        with pytest.raises(IndexError):
            reader.latent(5)


def test_adding_changes_the_number_of_meshes_and_the_end():
    tensors, symbols = hand_made(SMALL), latents(7)
    first = write(SMALL, tensors, symbols[:4])
    longer = append(append(first, symbols[4:5]), symbols[5:])
    reader = Reader(longer)
    np.testing.assert_array_equal([reader.latent(i) for i in range(7)], symbols)
    head = 9  # of the envelope
    assert longer[head + 12 : len(first)] == first[head + 12 :]
    shared, each = reader.layout()
    assert Reader(first).layout() == (shared, each[:4])
    assert shared + sum(each) == len(longer)
    assert len(longer) - len(first) == sum(each[4:])


@pytest.mark.parametrize(
    "bad", [latents(2)[:, :2], latents(0), latents(2).astype(np.int64), latents(2) - 200, latents(2) + 200]
)
def test_latents_that_are_none_are_not_written(bad):
    with pytest.raises(ValueError, match=r"latents|meshes"):
        write(SMALL, hand_made(SMALL), bad)
    with pytest.raises(ValueError, match=r"latents|meshes"):
        append(write(SMALL, hand_made(SMALL), latents(1)), bad)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutated_stream_is_refused(written, data):
    changed = bytearray(written)
    if data.draw(st.booleans()):
        changed[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del changed[data.draw(st.integers(0, len(written) - 1)) :]
    with pytest.raises(BitstreamError):
        Reader(bytes(changed))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_behind_a_right_checksum_there_are_numbers_or_an_error(written, data):
    body = bytearray(ENVELOPE.open(written))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        reader = Reader(ENVELOPE.seal(bytes(body)))
        tensors = reader.tensors()
        symbols = reader.latent(reader.mesh_count - 1)
    except BitstreamError:
        return
    assert [t.shape for t in tensors] == reader.architecture.shapes
    assert all(np.isfinite(t).all() for t in tensors)
    assert symbols.min() >= 0
    assert symbols.max() <= 256


@pytest.mark.parametrize(
    ("at", "layout", "value"),
    [(0, "H", 33), (2, "H", 0), (2, "H", 2000), (4, "H", 0), (6, "B", 9), (7, "B", 13), (8, "I", 0), (8, "I", 1 << 20),
     (8, "I", 5), (12, "I", 1 << 31), (16, "I", 1 << 31)],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused_behind_a_right_checksum(written, at, layout, value):
    body = bytearray(ENVELOPE.open(written))
    struct.pack_into("<" + layout, body, at, value)
    with pytest.raises(BitstreamError):
        Reader(ENVELOPE.seal(bytes(body)))


# --- The network and its volume ---------------------------------------------------------------------------------------


def test_the_shapes_are_those_of_the_network():
    for architecture in (SMALL, Architecture(32, 9, 4, octaves=3)):
        network = Perceptrons(1, architecture.widths, skip=4, generators=generators([0]))
        pairs = zip(network.weights, network.biases, strict=True)
        assert [tuple(p.shape[1:]) for pair in pairs for p in pair] == architecture.shapes


def test_the_network_is_deepsdfs():
    tensors = [np.random.default_rng(0).normal(size=shape).astype(np.float32) / 3 for shape in SMALL.shapes]
    symbols = np.array([3, 250, 128], np.int16)
    vertices = np.array([0, 5, 31 * 1024 + 16 * 32 + 2])
    index = np.stack(np.unravel_index(vertices, (32, 32, 32)), axis=1)
    start = np.concatenate([index / 16 - 1, np.tile(symbols / 128 - 1, (3, 1))], axis=1)
    x = start
    for layer in range(8):
        x = np.concatenate([x, start], axis=1) if layer == 4 else x
        x = x @ tensors[2 * layer] + tensors[2 * layer + 1]
        x = np.maximum(x, 0) if layer < 7 else x
    levels = torch.from_numpy(symbols / np.float32(128) - 1).expand(3, -1)
    found = Autodecoder.of(SMALL, tensors)(torch.from_numpy(vertices), levels)
    np.testing.assert_allclose(found.numpy(), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [32, 64])
def test_a_sparse_volume_has_the_surface_of_the_full_one(side):
    grid = Grid(side)
    rng = np.random.default_rng(0)
    centres, radii = rng.uniform(-0.7, 0.7, (9, 3)), rng.uniform(0.6, 4, 9) * grid.spacing
    axis = grid.axis()
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 1, 3)
    distance = (np.linalg.norm(points - centres, axis=2) - radii).min(axis=1)
    full = np.zeros((4, side**3), np.float32)
    full[0] = np.clip(distance / grid.truncation, -1, 1)
    full[1:] = rng.uniform(-1, 1, (3, side**3))
    asked = []

    def evaluate(vertices):
        asked.append(vertices)
        return full[:, vertices]

    volume = sparse_volume(evaluate, side)
    vertices = np.concatenate(asked)
    assert len(np.unique(vertices)) == len(vertices) < 0.6 * side**3
    np.testing.assert_array_equal(volume.reshape(4, -1)[:, vertices], full[:, vertices])
    for got, expected in zip(
        extract(torch.from_numpy(volume), grid),
        extract(torch.from_numpy(full.reshape(4, side, side, side)), grid),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


def test_a_surface_is_followed_where_the_lattice_does_not_see_it():
    """A rod one vertex thick between lattice vertices, which all say 1, but for the one at its end."""
    field = np.ones((4, 32, 32, 32), np.float32)
    field[1:] = 0
    field[0, 5:25, 7, 7] = -0.5
    field[0, 4, 6, 6] = 0.3
    volume = sparse_volume(lambda vertices: field.reshape(4, -1)[:, vertices], 32)
    np.testing.assert_array_equal(volume[0], field[0])


def test_all_of_the_band_and_some_far_vertices_are_drawn():
    volumes = volumes_of([0.5, 0.8])
    samples = draw(volumes, 0)
    for i in range(2):
        flat = volumes[i].reshape(4, -1)
        of_mesh = samples.mesh == i
        vertices = samples.vertex[of_mesh].numpy()
        np.testing.assert_array_equal(samples.target[of_mesh].numpy(), flat[:, vertices].T)
        band = np.flatnonzero((flat[0] > 0) & (flat[0] < 256))
        assert set(band) <= set(vertices)
        assert len(set(vertices)) == len(vertices)
        far = flat[0, vertices[len(band) :]]
        assert set(far) == {0, 256}
    again = draw(volumes, 1)
    assert not torch.equal(samples.vertex, again.vertex)


def test_a_latent_says_which_sphere():
    """Three radii in one network; a fourth between them by its latent alone."""
    radii = [0.5, 0.65, 0.8]
    architecture = Architecture(32, 24, 4)
    tensors, symbols = fit_set(draw(volumes_of(radii), 0), 3, architecture, Schedule(400, 512, 1e-2), seed=0)
    autodecoder = Autodecoder.of(architecture, weights.quantised(tensors, "range", 8))
    added = fit_latent(
        autodecoder, draw(volumes_of([0.72]), 0), symbols, Schedule(100, 1024, 0.02), seed=0
    )  # fmt: skip
    grid = Grid(32)
    for radius, latent in zip([*radii, 0.72], [*symbols, added], strict=True):
        vertices, faces = extract(torch.from_numpy(autodecoder.volume(latent)), grid)
        assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
        distance = np.linalg.norm(vertices.numpy(), axis=1) - radius
        assert np.abs(distance).mean() < 0.25 * grid.spacing


# --- The codec --------------------------------------------------------------------------------------------------------


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


def test_a_seed_decides_every_byte(stream, meshes):
    assert QuantDeepSdf(latent=8, epochs=20, objective="none").encode_set(meshes, TINY, Context()) == stream
    samples = draw(volumes_of([0.6]), 0)
    schedule = Schedule(3, 64)
    one, other = (fit_set(samples, 1, SMALL, schedule, seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(one[0], other[0])


def test_stopped_work_goes_on_to_the_same_bytes(stream, meshes, tmp_path, monkeypatch):
    codec, steps = QuantDeepSdf(latent=8, epochs=20, objective="none"), []
    monkeypatch.setattr(autodecoder, "train", partial(autodecoder.train, checkpoint_s=0))
    loss = autodecoder._loss

    def counted(*of):
        def step(where, quantise):
            steps.append(len(where))
            if len(steps) == 25:
                raise InterruptedError
            return real(where, quantise)

        real = loss(*of)
        return step

    monkeypatch.setattr(autodecoder, "_loss", counted)
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


def test_a_kill_in_the_middle_costs_what_was_left_and_nothing_else(stream, meshes, tmp_path, monkeypatch, caplog):
    codec, steps = QuantDeepSdf(latent=8, epochs=20, objective="none"), []
    loss = autodecoder._loss

    def counted(*of):
        real = loss(*of)
        return lambda where, quantise: steps.append(len(where)) or real(where, quantise)

    def kill(done, message):
        if message.startswith("loss") and done > 0.4:
            raise KeyboardInterrupt

    monkeypatch.setattr(autodecoder, "_loss", counted)
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
    far = trimesh.Trimesh(meshes[0].vertices + 5, meshes[0].faces, process=False)
    for bad in (nan, far, trimesh.Trimesh()):
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


def test_a_volume_may_be_stopped():
    def stop():
        raise CodecTimeout

    with pytest.raises(CodecTimeout):
        Autodecoder.of(SMALL, hand_made(SMALL)).volume(latents(1)[0], stop)


def test_a_volume_without_a_surface_is_a_mesh_without_faces(ctx):
    silent = [np.zeros(shape, np.float32) for shape in SMALL.shapes]
    silent[-1][0, 0] = 1.0
    (mesh,) = QuantDeepSdf().decode(write(SMALL, silent, latents(1)), ctx)
    assert len(mesh.faces) == 0


@pytest.mark.slow
def test_dirty_meshes_are_coded(dirty, ctx):
    codec = QuantDeepSdf(epochs=3, objective="none")
    (mesh,) = codec.decode(codec.encode([dirty], TINY, ctx)[0], ctx)
    assert np.isfinite(mesh.vertices).all()


@pytest.mark.slow
def test_sines_and_cosines_are_coded_too(meshes, ctx):
    codec = QuantDeepSdf(encoding="fourier", epochs=20, latent=8, objective="none")
    stream = codec.encode_set(meshes, TINY, ctx)
    assert Reader(stream).architecture.octaves == 4
    for mesh, original in zip(QuantDeepSdf().decode(stream, ctx), meshes, strict=True):
        assert mesh.volume == pytest.approx(original.volume, rel=0.1)
