"""The authors' checkpoints: every name and shape of their architecture, and the order of kernels by brute force.

The files themselves could not be had. The table below restates autoencoder.py, entropy_model.py and pcc_model.py of
github.com/NJUVISION/PCGCv2: what ``PCCModel().state_dict()`` holds with MinkowskiEngine 0.5.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gcbench.codecs.pcgcv2 import ladder
from gcbench.codecs.pcgcv2.checkpoints import import_checkpoints, load_checkpoint, translate, z_fastest
from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.errors import CodecUnavailable
from gcbench.training.sparse.voxels import SparseTensor, Voxels, conv3, down2, up2

# Layer, side of the kernel, channels in and out. Kernels of side 1 are stored as matrices.
LAYERS = [
    ("encoder.conv0", 3, 1, 16),
    ("encoder.down0", 2, 16, 32),
    ("encoder.conv1", 3, 32, 32),
    ("encoder.down1", 2, 32, 64),
    ("encoder.conv2", 3, 64, 64),
    ("encoder.down2", 2, 64, 32),
    ("encoder.conv3", 3, 32, 8),
    ("decoder.up0", 2, 8, 64),
    ("decoder.conv0", 3, 64, 64),
    ("decoder.conv0_cls", 3, 64, 1),
    ("decoder.up1", 2, 64, 32),
    ("decoder.conv1", 3, 32, 32),
    ("decoder.conv1_cls", 3, 32, 1),
    ("decoder.up2", 2, 32, 16),
    ("decoder.conv2", 3, 16, 16),
    ("decoder.conv2_cls", 3, 16, 1),
]
# Three Inception-ResNet units after each change of scale: 3³ C → C/4 → C/2, and 1³, 3³, 1³ C → C/4 → C/4 → C/2.
BLOCKS = {
    "encoder.block0": 32,
    "encoder.block1": 64,
    "encoder.block2": 32,
    "decoder.block0": 64,
    "decoder.block1": 32,
    "decoder.block2": 16,
}
UNIT = [("conv0_0", 3, 1, 4), ("conv0_1", 3, 4, 2), ("conv1_0", 1, 1, 4), ("conv1_1", 3, 4, 4), ("conv1_2", 1, 4, 2)]
# Widths 1, 3, 3, 3, 1 for each of 8 channels.
BOTTLENECK = [(3, 1), (3, 3), (3, 3), (1, 3)]


def published_shapes() -> dict[str, tuple[int, ...]]:
    layers = list(LAYERS)
    for block, channels in BLOCKS.items():
        for unit, (name, side, narrow, wide) in itertools.product(range(3), UNIT):
            layers.append((f"{block}.{unit}.{name}", side, channels // narrow, channels // wide))
    shapes: dict[str, tuple[int, ...]] = {}
    for name, side, c_in, c_out in layers:
        shapes[f"{name}.kernel"] = (c_in, c_out) if side == 1 else (side**3, c_in, c_out)
        shapes[f"{name}.bias"] = (1, c_out)
    for i, (wide, narrow) in enumerate(BOTTLENECK):
        shapes[f"entropy_bottleneck._matrices.{i}"] = (8, wide, narrow)
        shapes[f"entropy_bottleneck._biases.{i}"] = (8, wide, 1)
        shapes[f"entropy_bottleneck._factors.{i}"] = (8, wide, 1)
    # The attributes matrix, bias and factor are left at the last layer's.
    shapes["entropy_bottleneck.matrix"] = (8, 1, 3)
    shapes["entropy_bottleneck.bias"] = shapes["entropy_bottleneck.factor"] = (8, 1, 1)
    return shapes


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    """A state like a published one, of numbers that tell every entry from every other."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in published_shapes().items()}


def test_parameters_are_as_many_as_published():
    repeated = {"entropy_bottleneck.matrix", "entropy_bottleneck.bias", "entropy_bottleneck.factor"}
    assert sum(int(np.prod(shape)) for name, shape in published_shapes().items() if name not in repeated) == 778_487


def test_every_name_and_shape_agrees_with_our_network(published):
    ours = {name: tuple(value.shape) for name, value in PCGCv2().state_dict().items()}
    assert {name: tuple(value.shape) for name, value in translate(published).items()} == ours


def test_values_arrive_where_they_belong(published):
    model = PCGCv2()
    model.load_state_dict(translate(published))
    torch.testing.assert_close(model.encoder.conv3.bias.data, published["encoder.conv3.bias"][0])
    torch.testing.assert_close(
        model.decoder.block1[2].conv1_0.weight.data[0], published["decoder.block1.2.conv1_0.kernel"]
    )
    torch.testing.assert_close(model.bottleneck.factors[3].data, published["entropy_bottleneck._factors.3"])
    # Offset (+1, −1, 0) is place 2 + 3·0 + 9·1 with x fastest, 2·9 + 0·3 + 1 with z fastest.
    torch.testing.assert_close(model.encoder.conv1.weight.data[19], published["encoder.conv1.kernel"][11])
    # The child (1, 0, 0) is place 1 with x fastest, 4 with z fastest.
    torch.testing.assert_close(model.decoder.up0.weight.data[4], published["decoder.up0.kernel"][1])


@pytest.mark.parametrize("shape", [(1, 2, 3), (8, 2, 3), (27, 2, 3)])
def test_reordering_twice_changes_nothing(shape):
    kernel = torch.randn(shape)
    torch.testing.assert_close(z_fastest(z_fastest(kernel)), kernel, rtol=0, atol=0)


def x_fastest(side: int) -> list[tuple[int, int, int]]:
    """Offsets of MinkowskiEngine's kernels: the first axis runs fastest; odd sides are centred, even start at 0."""
    first = -(side // 2) if side % 2 else 0
    axis = range(first, first + side)
    return [(x, y, z) for z in axis for y in axis for x in axis]


@pytest.fixture
def cloud(rng) -> tuple[np.ndarray, torch.Tensor]:
    points = np.unique(rng.integers(0, 6, (90, 3)), axis=0)
    return points, torch.from_numpy(rng.normal(size=(len(points), 2))).float()


def in_rows(points: np.ndarray, features: torch.Tensor) -> SparseTensor:
    """Features in the order of our voxels."""
    voxels = Voxels.from_coordinates(torch.from_numpy(points))
    rows = {tuple(point): i for i, point in enumerate(points.tolist())}
    return SparseTensor(voxels, features[[rows[tuple(p)] for p in voxels.coordinates.tolist()]])


def as_dictionary(x: SparseTensor) -> dict[tuple[int, ...], torch.Tensor]:
    return dict(zip(map(tuple, x.voxels.coordinates.tolist()), x.features, strict=True))


@pytest.mark.parametrize("side", [2, 3])
def test_convolutions_as_minkowski_engine_defines_them(side, cloud, rng):
    points, features = cloud
    kernel = torch.from_numpy(rng.normal(size=(side**3, 2, 4))).float()
    given = {tuple(point): feature for point, feature in zip(points.tolist(), features, strict=True)}
    stride = 2 if side == 2 else 1
    convolve = down2 if side == 2 else conv3
    result = as_dictionary(convolve(in_rows(points, features), z_fastest(kernel), torch.zeros(4)))
    assert set(result) == {tuple(c // stride for c in point) for point in given}
    for centre, value in result.items():
        expected = torch.zeros(4)
        for offset, weight in zip(x_fastest(side), kernel, strict=True):
            neighbour = tuple(stride * c + o for c, o in zip(centre, offset, strict=True))
            if neighbour in given:
                expected += given[neighbour] @ weight
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_generative_transposed_convolution_as_minkowski_engine_defines_it(cloud, rng):
    points, features = cloud
    kernel = torch.from_numpy(rng.normal(size=(8, 2, 4))).float()
    result = as_dictionary(up2(in_rows(points, features), z_fastest(kernel), torch.zeros(4)))
    assert len(result) == 8 * len(points)
    for point, feature in zip(points.tolist(), features, strict=True):
        for offset, weight in zip(x_fastest(2), kernel, strict=True):
            child = tuple(2 * c + o for c, o in zip(point, offset, strict=True))
            torch.testing.assert_close(result[child], feature @ weight, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_file_is_read(published, tmp_path):
    torch.save({"model": published, "epoch": 3}, tmp_path / "r3_0.10bpp.pth")
    model = load_checkpoint(tmp_path / "r3_0.10bpp.pth")
    assert not model.training
    for name, value in translate(published).items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_imported_checkpoints_are_rates_of_the_codec(published, tmp_path, monkeypatch):
    source, folder = tmp_path / "ckpts", tmp_path / "rates"
    source.mkdir()
    for name in ("r1_0.025bpp.pth", "r2_0.05bpp.pth"):
        torch.save({"model": published}, source / name)
    torch.save({}, source / "other.pth")
    assert [path.name for path in import_checkpoints(source, folder)] == ["r1.safetensors", "r2.safetensors"]
    monkeypatch.setenv(ladder.ENVIRONMENT, str(folder))
    assert list(ladder.files()) == ["r1", "r2"]
    weights = ladder.load(ladder.files()["r2"])
    torch.testing.assert_close(weights.model.encoder.conv0.bias.data, published["encoder.conv0.bias"][0])


@pytest.mark.parametrize(
    "change",
    [
        {"encoder.conv0.kernel": torch.zeros(26, 1, 16)},
        {"encoder.conv0.kernel": torch.zeros(8, 1, 16)},
        {"encoder.conv9.kernel": torch.zeros(27, 1, 16)},
        {"decoder.conv0_cls.bias": torch.zeros(1, 2)},
    ],
)
def test_another_architecture_is_refused(published, tmp_path, change):
    torch.save({"model": {**published, **change}}, tmp_path / "r1.pth")
    with pytest.raises(CodecUnavailable, match=r"r1\.pth"):
        load_checkpoint(tmp_path / "r1.pth")


def test_what_is_no_checkpoint_is_refused(published, tmp_path):
    with pytest.raises(CodecUnavailable, match="cannot read"):
        load_checkpoint(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(CodecUnavailable, match="cannot read"):
        load_checkpoint(tmp_path / "text.pth")
    torch.save({"state": published}, tmp_path / "bare.pth")
    with pytest.raises(CodecUnavailable, match="no entry"):
        load_checkpoint(tmp_path / "bare.pth")
    incomplete = {name: value for name, value in published.items() if "block2" not in name}
    torch.save({"model": incomplete}, tmp_path / "part.pth")
    with pytest.raises(CodecUnavailable, match="not of PCGCv2"):
        load_checkpoint(tmp_path / "part.pth")
    torch.save({"model": published, "code": print}, tmp_path / "code.pth")
    with pytest.raises(CodecUnavailable, match="cannot read"):
        load_checkpoint(tmp_path / "code.pth")
    with pytest.raises(CodecUnavailable, match="no checkpoint"):
        import_checkpoints(tmp_path, tmp_path / "out")
