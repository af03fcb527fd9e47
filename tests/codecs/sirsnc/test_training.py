"""The fit is that of least squares; training is the same again, and goes on where it was cut off."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh
from common import torus
from typer.testing import CliRunner

from gcbench.codecs.sirsnc import command, samples, training, weights
from gcbench.codecs.sirsnc.blocks import blocks_of
from gcbench.codecs.sirsnc.fit import count_tables, fit
from gcbench.codecs.sirsnc.network import Linear, SirSnc, distance_loss, quantised, with_one
from gcbench.codecs.sirsnc.samples import batch
from gcbench.codecs.sirsnc.training import Settings, train
from gcbench.errors import UsageError
from gcbench.training.sparse.features import ESCAPE
from gcbench.training.sparse.voxels import SparseTensor
from gcbench.training.weights import read

SMALL = Settings(steps=6, made_up=6, least_blocks=50, built_in=False, validate_every=3)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few(monkeypatch):
    """Coarse samples of which two validate."""
    monkeypatch.setattr(samples, "RESOLUTIONS", ((32, 1.0),))
    monkeypatch.setattr(samples, "HELD_OUT", 2)


@pytest.fixture(scope="module")
def batches():
    meshes = [trimesh.creation.icosphere(3), torus()]
    return [batch([blocks_of(mesh, 48)]) for mesh in meshes]


def test_quantiser_needs_six_tenths():
    values = torch.tensor([0.0, 0.59, 0.61, -0.59, -0.61, 1.59, -1.61, 7.0])
    assert quantised(values).tolist() == [0, 0, 1, 0, -1, 1, -2, 7]


def test_loss_counts_only_the_side_far_from_the_surface():
    target = torch.tensor([3.0, -3.0, 0.0, 0.0])
    assert distance_loss(torch.tensor([9.0, -2.5, 0.0, 0.0]), target).item() == 0
    assert distance_loss(torch.tensor([-1.0, -2.5, 0.0, 0.0]), target).item() > 0.1
    close = distance_loss(torch.tensor([3.0, -3.0, 1.0, 0.0]), target).item()
    assert close == pytest.approx(((1 + 0.05**2) ** 0.5 - 0.05) / 2.2, rel=1e-5)


def test_fit_is_least_squares_and_its_components_are_orthonormal(batches):
    linear = Linear(2)
    fit(linear, batches, [4.0, 0.25])
    gram = linear.analysis.t() @ linear.analysis
    torch.testing.assert_close(gram, torch.eye(16), atol=1e-4, rtol=0)
    together = torch.cat([with_one(b.around) for b in batches]), torch.cat([b.values for b in batches])
    by_hand = torch.linalg.lstsq(together[0].double(), together[1].double(), driver="gelsd").solution.float()
    residual = (together[1] - together[0] @ by_hand).square().mean()
    ours = together[0] @ linear.expected
    wanted = together[0] @ by_hand @ linear.analysis
    assert (ours - wanted).square().mean() < 0.02 * residual


@torch.no_grad()
def test_finer_steps_err_less(batches):
    linear = Linear(2)
    fit(linear, batches, [4.0, 0.25])
    errors = []
    for rate in (0, 1):
        y = quantised(linear.encode(batches[0].values, batches[0].around, rate))
        decoded = linear.decode(SparseTensor(batches[0].voxels, y), batches[0].around, rate)
        errors.append((decoded - batches[0].values).square().mean().item())
    assert errors[1] < 0.3 * errors[0]


def test_tables_are_the_counts(batches):
    linear = Linear(1)
    fit(linear, batches, [1.0])
    tables = count_tables(linear, batches, 0)
    assert tables.shape == (16, ESCAPE + 1)
    assert (tables.sum(1, dtype=np.int64) == 1 << 16).all()
    with torch.no_grad():
        first = torch.cat([quantised(linear.encode(b.values, b.around, 0)) for b in batches])[:, 0]
    share = (first == 1).float().mean().item()
    assert tables[0, 128 + 1] / 65536 == pytest.approx(share, abs=0.02)


def test_the_correction_starts_as_nothing(batches):
    torch.manual_seed(0)
    model = SirSnc(2)
    fit(model.linear, batches, [4.0, 1.0])
    one = batches[0]
    with torch.no_grad():
        y = SparseTensor(one.voxels, quantised(model.linear.encode(one.values, one.around, 1)))
        decoded = model.reconstruct(y, one.around, rate=1, count=100, dtype=torch.float32)
        linear = model.linear.decode(y, one.around, 1)
    assert torch.equal(decoded.values.reshape(linear.shape), linear)
    assert decoded.keep.sum() == 100
    kept = decoded.values.abs().amin(1)
    assert kept[decoded.keep].max() <= kept[~decoded.keep].min()


def test_a_training_that_was_cut_off_ends_with_the_same_weights(few, tmp_path):
    messages = []
    assert train(tmp_path / "whole", SMALL, progress=lambda _done, message: messages.append(message))
    assert any("distances of 5 of 6 shapes" in message for message in messages)
    assert not train(tmp_path / "cut", SMALL, minutes=0)
    assert train(tmp_path / "cut", SMALL)
    whole, cut = (read(tmp_path / name / "weights.safetensors")[0] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, cut[name]), name
    rows = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert set(rows[0]["held_out"]) == set(weights.LABELS)
    with pytest.raises(UsageError, match="other settings"):
        train(tmp_path / "whole", Settings(made_up=7, built_in=False))
    with pytest.raises(UsageError, match="are too few"):
        train(tmp_path / "few", Settings(made_up=2, built_in=False))


def test_trained_weights_code(few, tmp_path, monkeypatch):
    from gcbench.codecs import CODECS, Context, Rate

    train(tmp_path, SMALL)
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights.safetensors"))
    codec = CODECS.create("sirsnc")
    stream = codec.encode_mesh(trimesh.creation.icosphere(3), Rate("", {"resolution": 32, "step": "q4"}), Context())
    assert codec.decode_mesh(stream, Context()).is_watertight


def test_command(monkeypatch, tmp_path):
    seen = {}

    def fake(out, settings, **options):
        seen.update(out=out, settings=settings, **options)
        if seen.get("ends"):
            raise seen["ends"]
        return True

    monkeypatch.setattr(training, "train", fake)
    runner = CliRunner()
    done = runner.invoke(command.app, ["-o", str(tmp_path), "--steps", "9", "--seed", "3", "--minutes", "2"])
    assert done.exit_code == 0
    assert (seen["settings"].steps, seen["settings"].seed, seen["settings"].built_in, seen["minutes"]) == (
        9,
        3,
        False,
        2,
    )
    assert f"GCBENCH_SIRSNC_WEIGHTS={tmp_path / 'weights.safetensors'}" in done.output
    trimesh.creation.box().export(tmp_path / "box.ply")
    runner.invoke(command.app, ["-o", str(tmp_path), "--meshes", str(tmp_path)])
    assert [name for name, *_ in seen["meshes"]()] == ["box"]
    seen["ends"] = KeyboardInterrupt()
    done = runner.invoke(command.app, ["-o", str(tmp_path)])
    assert done.exit_code == 130
    assert "the same command goes on" in done.output
