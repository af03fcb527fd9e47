"""Training lowers the loss, is the same again, and goes on where it was cut off as if it had not been."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gcbench.codecs.pcgcv2 import patches, training
from gcbench.codecs.pcgcv2.command import app
from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.codecs.pcgcv2.patches import batch
from gcbench.codecs.pcgcv2.training import LAMBDAS, Settings, occupancy_bits, train, validate
from gcbench.codecs.pcgcv2.weights import load_weights, read_tensors
from gcbench.errors import CodecUnavailable, UsageError
from gcbench.training import checkpoints, loop
from gcbench.training.sparse.voxels import SparseTensor, Voxels

pytestmark = pytest.mark.long

SMALL = Settings(steps=6, warm_share=0.5, patch_voxels=24, patches=4, made_up=3, built_in=False, validate_every=3)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training of two rates, not cut off, and what it reported: rate, step, steps, and three means."""
    out = tmp_path_factory.mktemp("run")
    return out, reported(out, ["r5", "r6"], SMALL)


def reported(out, rates, settings, **options):
    reports = []

    def progress(done, message):
        found = re.fullmatch(
            r"(r\d) (\d+)/(\d+): occupancy (\S+) bits, (\S+) bits/point, loss (\S+), \d+:\d\d left", message
        )
        rate, step, steps, *means = found.groups()
        reports.append((done, rate, int(step), int(steps), *map(float, means)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_EVERY_S", 0.0)
        assert train(out, rates, settings, progress=progress, **options)
    return reports


def test_occupancy_loss_is_the_cross_entropy_in_bits():
    candidates = Voxels(torch.arange(8))
    scores = SparseTensor(candidates, torch.linspace(-3, 3, 8)[:, None])
    truth = Voxels(torch.tensor([1, 5, 6]))
    p = 1 / (1 + np.exp(-np.linspace(-3, 3, 8)))
    occupied = np.isin(np.arange(8), [1, 5, 6])
    expected = -np.log2(np.where(occupied, p, 1 - p)).mean()
    assert occupancy_bits(scores, truth).item() == pytest.approx(expected, rel=1e-5)


def test_patches_of_a_batch_do_not_see_one_another():
    torch.manual_seed(0)
    model, rng = PCGCv2().eval(), np.random.default_rng(0)
    patches = [np.unique(rng.integers(0, 20, (200, 3)), axis=0).astype(np.int32) for _ in range(3)]
    together = model.encoder(batch(patches, 20), torch.float32).features
    apart = torch.cat([model.encoder(batch([patch], 20), torch.float32).features for patch in patches])
    torch.testing.assert_close(together.sort(0).values, apart.sort(0).values, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_twenty_steps_lower_the_loss(tmp_path):
    settings = dataclasses.replace(SMALL, steps=20, validate_every=20)
    means = [report[-1] for report in reported(tmp_path, ["r6"], settings)]
    last = means[-2] + (means[-1] - means[-2]) / training.RECENT
    assert last < 0.7 * means[0]


def test_rates_go_from_the_middle_outwards_and_start_from_one_another(finished):
    out, reports = finished
    assert [report[1:4] for report in reports] == [
        *(("r5", i, 6) for i in range(1, 7)),
        *(("r6", i, 3) for i in range(1, 4)),
    ]
    assert [reports[i][0] for i in (2, 5, 8)] == [0.25, 0.5, 1.0]
    (*_, occupancy, rate, loss), (*_, warm_occupancy, warm_rate, warm_loss) = reports[0], reports[6]
    assert loss == pytest.approx(occupancy + training.FIRST_LAMBDA * rate, rel=1e-3)
    assert warm_loss == pytest.approx(warm_occupancy + LAMBDAS["r6"] * warm_rate, rel=1e-3)
    for label, start in (("r5", ""), ("r6", "r5")):
        assert checkpoints.read(out / f"{label}.checkpoint.safetensors")[1]["start"] == start
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(row["rate"], row["step"]) for row in rows] == [("r5", 3), ("r5", 6), ("r6", 3)]
    assert [row["lambda"] for row in rows] == [LAMBDAS["r5"], LAMBDAS["r5"], LAMBDAS["r6"]]
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_cut_off_training_goes_on_to_the_same_weights(finished, tmp_path):
    out, _ = finished
    calls = 0
    while not train(tmp_path, ["r6", "r5"], SMALL, minutes=0):
        calls += 1
        assert calls < 20
    assert calls == 7  # one step a call for each rate that it works on
    for name in ("r6.safetensors", "r5.safetensors"):
        mine, yours = read_tensors(tmp_path / name)[0], read_tensors(out / name)[0]
        assert mine.keys() == yours.keys()
        assert all(torch.equal(mine[key], yours[key]) for key in mine)


@pytest.mark.slow
def test_a_training_may_start_from_an_earlier_one(finished, tmp_path):
    out, _ = finished
    settings = dataclasses.replace(SMALL, first_rate="r7", steps=2)
    reports = reported(tmp_path, ["r7"], settings, earlier=out)
    assert [report[1:4] for report in reports] == [("r7", 1, 2), ("r7", 2, 2)]
    _, state = checkpoints.read(tmp_path / "r7.checkpoint.safetensors")
    assert (state["continued"], state["start"]) == (True, "")
    trained, untrained = load_weights(out / "r6.safetensors")[0], PCGCv2()
    mine = load_weights(tmp_path / "r7.safetensors")[0]
    name = "encoder.conv1.weight"

    def distance(other):
        return (mine.state_dict()[name] - other.state_dict()[name]).norm().item()

    assert distance(trained) < 0.1 * distance(untrained)
    with pytest.raises(UsageError, match="has no weights to start from"):
        train(tmp_path / "other", ["r7"], settings, earlier=tmp_path / "nowhere")


def test_other_settings_and_unknown_rates_are_refused(finished, tmp_path):
    out, _ = finished
    with pytest.raises(UsageError, match="other settings"):
        train(out, ["r6"], dataclasses.replace(SMALL, seed=1))
    with pytest.raises(UsageError, match=r"r6\.checkpoint\.safetensors is a checkpoint of other inputs or settings"):
        train(out, ["r6"], dataclasses.replace(SMALL, steps=7))
    with pytest.raises(UsageError, match="no such rate: r99"):
        train(tmp_path, ["r99"], SMALL)


def test_perfect_reconstruction_has_no_error(monkeypatch):
    """A decoder that is told the truth: the harness of the validation itself."""
    voxels = np.argwhere(np.random.default_rng(0).random((16, 16, 16)) < 0.1).astype(np.int32)
    truth = Voxels.from_coordinates(torch.from_numpy(voxels))
    model = PCGCv2()

    def told(y, counts):
        levels = [truth.parent.parent, truth.parent, truth]
        assert list(counts) == [len(level) for level in levels]
        return truth, [SparseTensor(level, torch.full((len(level), 1), 50.0)) for level in levels]

    monkeypatch.setattr(model.decoder, "forward", told)
    result = validate(model, [voxels])
    assert result.occupancy_bits == pytest.approx((0, 0, 0), abs=1e-12)
    assert result.d1_psnr == pytest.approx(10 * math.log10(3 * 1023**2 / 1e-12))


def test_weights_come_back(finished, tmp_path):
    out, _ = finished
    model, metadata = load_weights(out / "r6.safetensors")
    assert json.loads(metadata["state"])["label"] == "r6"
    assert not model.training
    stored = read_tensors(out / "r6.safetensors")[0]
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert all(torch.equal(value, stored[name].float()) for name, value in model.state_dict().items())
    with pytest.raises(CodecUnavailable, match=r"file of weights none\.safetensors is not there"):
        load_weights(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CodecUnavailable, match="is not a whole safetensors file"):
        load_weights(tmp_path / "junk.safetensors")
    with pytest.raises(CodecUnavailable, match=r"has (no|a) tensor"):
        load_weights(out / "r6.checkpoint.safetensors")


def test_command(tmp_path, monkeypatch):
    """With patches that are smaller than the command makes them, in this process, for what it takes to start one."""
    monkeypatch.setattr(training, "Settings", functools.partial(Settings, patch_voxels=24))

    def train(*arguments):
        done = CliRunner().invoke(app, ["--out", str(tmp_path / "run"), *arguments])
        assert done.exit_code == 0, done.output
        return done.stderr

    small = ("--rate", "r6", "--steps", "2", "--patches", "2")
    assert "stopped; the same command goes on" in train(*small, "--minutes", "0")
    said = train(*small)
    assert "100 % r6 2/2: occupancy" in said
    assert "0:00 left" in said
    assert f"GCBENCH_PCGCV2_WEIGHTS={tmp_path / 'run/rates'}" in said
    assert sorted(path.name for path in (tmp_path / "run/rates").iterdir()) == ["r6.safetensors"]


def test_ladder_is_ascending():
    assert list(LAMBDAS) == [f"r{i}" for i in range(1, len(LAMBDAS) + 1)]
    assert sorted(LAMBDAS.values(), reverse=True) == list(LAMBDAS.values())
    assert patches.GAP >= 24
