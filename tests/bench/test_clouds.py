"""Clouds coded and compared: D1 by closed forms and against scipy, the sweep with a codec that is easy to predict."""

from __future__ import annotations

import csv
import sys
import types

import numpy as np
import pytest
import scipy.spatial
import trimesh
from typer.testing import CliRunner

from gcbench.bench.cli import app
from gcbench.bench.clouds import CodedCloud, bd_rates, code_clouds, d1_psnr
from gcbench.bench.sweep import plan
from gcbench.codecs import CODECS, Rate
from gcbench.codecs.points.codec import PointCodec
from gcbench.errors import CodecFailed, UsageError


class Coarse(PointCodec):
    """Drops ``n`` bits of each coordinate of a grid of 2^7, and writes what is left as it is."""

    name = "coarse"
    magic = b"CRS"

    def __init__(self, *, padding: int = 0) -> None:
        self._padding = padding

    def version(self) -> str:
        return "1"

    def rates(self, effort):
        return [Rate(f"n{n}", {"n": n, "bits": 7}) for n in (4, 3, 2, 1, 0)]

    def encode_points(self, voxels, bits, rate, ctx):
        n = int(rate.params["n"])
        if n == 4 and self._padding == 3:
            raise CodecFailed("not at this rate")
        kept = np.unique(voxels >> n, axis=0).astype(np.uint8)
        return bytes([n]) + kept.tobytes() * (1 + self._padding)

    def decode_points(self, stream, bits, ctx):
        assert self._padding == 0, "a decoder has no parameters"
        cells = np.unique(np.frombuffer(stream, np.uint8, offset=1).reshape(-1, 3), axis=0)
        return (cells + 0.5) * 2 ** stream[0]


@pytest.fixture
def coarse(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "coarse_codec", types.SimpleNamespace(Coarse=Coarse))
    monkeypatch.setattr(CODECS, "builtins", {**CODECS.builtins, "coarse": "coarse_codec:Coarse"})


@pytest.fixture
def shapes(tmp_path):
    path = tmp_path / "shapes"
    path.mkdir()
    trimesh.creation.icosphere(3).export(path / "sphere.ply")
    trimesh.creation.torus(2, 0.5).export(path / "torus.ply")
    return path


def test_d1_of_a_shifted_lattice_is_the_shift():
    lattice = np.argwhere(np.ones((6, 6, 6), bool)) * 10.0
    for shift in (1.0, 2.5):
        expected = 10 * np.log10(3 * 1023**2 / shift**2)
        assert d1_psnr(lattice, lattice + [0, shift, 0], 1023) == pytest.approx(expected, abs=1e-9)


def test_d1_is_that_of_the_worse_direction():
    line = np.arange(100.0)[:, None] * [1, 0, 0]
    outlier = np.concatenate([line, [[50, 30, 0]]])
    expected = 10 * np.log10(3 * 255**2 / (30**2 / 101))
    assert d1_psnr(line, outlier, 255) == pytest.approx(expected, abs=1e-9)
    assert d1_psnr(outlier, line, 255) == pytest.approx(expected, abs=1e-9)


def test_d1_against_scipy(rng):
    a, b = rng.uniform(0, 100, (500, 3)), rng.uniform(0, 100, (400, 3))
    there, back = (scipy.spatial.cKDTree(y).query(x)[0] for x, y in ((a, b), (b, a)))
    expected = 10 * np.log10(3 * 1023**2 / max((there**2).mean(), (back**2).mean()))
    assert d1_psnr(a, b, 1023) == pytest.approx(expected, abs=1e-9)


def test_every_mesh_codec_and_rate_is_coded(coarse, shapes):
    steps = []
    clouds = list(code_clouds(plan(str(shapes), ["coarse"], effort="paper"), progress=steps.append))
    assert len(clouds) == len(steps) == 2 * 5
    assert steps[0].startswith("coarse n4 on ")
    assert {cloud.mesh for cloud in clouds} == {"sphere", "torus"}
    for cloud in clouds:
        assert (cloud.codec, cloud.codec_version, cloud.bits, cloud.problem) == ("coarse", "1", 7, "")
        assert cloud.stream_bytes == 5 + 1 + 3 * cloud.decoded_points
        assert cloud.bits_per_point == 8 * cloud.stream_bytes / cloud.points
        assert min(cloud.sampling_s, cloud.encode_s, cloud.decode_s) > 0
    sphere = [cloud for cloud in clouds if cloud.mesh == "sphere"]
    assert len({cloud.points for cloud in sphere}) == 1
    assert [cloud.rate for cloud in sphere] == ["n4", "n3", "n2", "n1", "n0"]
    assert all(np.diff([cloud.d1_psnr for cloud in sphere]) > 3)
    assert sphere[-1].d1_psnr == sphere[-1].d1_psnr_voxels > 300, "all voxels are there"
    # Of eight points around a cell's centre each is (½, ½, ½) away, in the nearest voxel of the eight it is 0 to √3.
    assert sphere[-2].d1_psnr == pytest.approx(10 * np.log10(3 * 127**2 / 0.75), abs=0.3)
    assert sphere[-2].d1_psnr_voxels < sphere[-2].d1_psnr - 1


def test_bd_rate_of_more_bytes_at_the_same_quality(coarse, shapes):
    clouds = list(code_clouds(plan(str(shapes), ["coarse", "coarse[padding=1]"], effort="paper", limit=1)))
    (delta,) = bd_rates(clouds, "coarse", "coarse[padding=1]").values()
    assert delta.percent == pytest.approx(100, abs=1), "twice the bytes, headers apart"
    (back,) = bd_rates(clouds, "coarse[padding=1]", "coarse").values()
    assert back.percent == pytest.approx(-50, abs=0.5)


def test_a_codec_that_fails_is_a_row_with_the_reason(coarse, shapes):
    clouds = list(code_clouds(plan(str(shapes), ["coarse[padding=3]"], effort="paper", limit=1)))
    assert [cloud.problem for cloud in clouds] == ["not at this rate", "", "", "", ""]
    assert np.isnan(clouds[0].d1_psnr)


def test_codecs_of_meshes_are_refused(coarse, shapes):
    with pytest.raises(UsageError, match="raw-zstd: not codecs of points"):
        next(code_clouds(plan(str(shapes), ["coarse", "raw-zstd"], effort="quick")))


def test_without_a_common_quality_there_is_no_number():
    clouds = [
        CodedCloud("d", "m", codec, "1", f"r{i}", 7, 9, 9, 9, 0.1 * (i + 1), base + i, base + i)
        for codec, base in (("a", 30.0), ("b", 70.0))
        for i in range(5)
    ]
    (delta,) = bd_rates(clouds, "a", "b").values()
    assert delta.percent is None
    assert "overlap" in str(delta)


def test_the_command(coarse, shapes, tmp_path):
    out = tmp_path / "clouds.csv"
    addresses = "coarse,coarse[padding=1]"
    result = CliRunner().invoke(app, ["points", "-d", str(shapes), "-c", addresses, "--limit", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert float(rows[0]["bits_per_point"]) == 8 * int(rows[0]["stream_bytes"]) / int(rows[0]["points"])
    assert "BD-rate of coarse[padding=1] against coarse, points as decoded: +" in result.output
    failing = CliRunner().invoke(app, ["points", "-d", str(shapes), "-c", "coarse[padding=3]", "--limit", "1"])
    assert failing.exit_code == 1
    assert "not at this rate" in failing.output
