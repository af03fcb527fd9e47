"""Training on small volumes of spheres and boxes: repeatable to the bit, resumable, refusing what is foreign."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from gcbench.errors import CodecFailed, UsageError
from gcbench.geometry.grid import Grid
from gcbench.necgs.designs import convolution_training as module
from gcbench.necgs.designs.base import Trained
from gcbench.necgs.designs.convolution import Convolution, Training
from gcbench.necgs.designs.convolution_network import Decoder, decode
from gcbench.necgs.designs.convolution_training import fit_features, train
from gcbench.necgs.job import Job
from gcbench.necgs.loss import regression_loss
from gcbench.training import checkpoints, loop, straight_through
from gcbench.training.ranks import ALONE

SMALL = Convolution(resolution=32, widths=(8, 6, 4))
SHORT = Training(epochs=6, batch=2)

DISTRIBUTED = """
import sys
from pathlib import Path
import numpy as np
import torch
from gcbench.necgs.designs.convolution import Convolution, Training
from gcbench.necgs.designs.convolution_training import train
from gcbench.necgs.job import Job

folder = Path(sys.argv[1])
torch.set_num_threads(1)
volumes = np.load(folder / "volumes.npy")
design = Convolution(resolution=32, widths=(8, 6, 4))
training = Training(epochs=8, batch=5, mask_weight=0.0, precision="float32")
for attempt in ("first", "again"):
    trained = train(volumes, design, training, Job(seed=3, work=folder))
    rank = torch.distributed.get_rank()
    arrays = {"losses": trained.losses, "features": trained.features, **trained.parameters.tensors}
    np.savez(folder / f"{attempt}{rank}.npz", **arrays)
"""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def volumes() -> np.ndarray:
    """Five volumes, (5, 4, 32, 32, 32): spheres and boxes, with a deformation along the axes near the surface."""
    grid = Grid(32)
    points = np.stack(np.meshgrid(*[grid.axis()] * 3, indexing="ij"))
    rng = np.random.default_rng(0)
    made = []
    for i in range(5):
        centred = points - rng.uniform(-0.2, 0.2, (3, 1, 1, 1))
        size = rng.uniform(0.3, 0.6)
        distance = np.linalg.norm(centred, axis=0) - size if i % 2 else np.abs(centred).max(0) - size
        tsdf = np.clip(distance / grid.truncation, -1, 1)
        made.append(np.concatenate([tsdf[None], 0.5 * np.sin(5 * centred) * (np.abs(tsdf) < 1)]))
    return np.array(made, dtype=np.float32)


@pytest.fixture(scope="module")
def decoder(volumes) -> Decoder:
    """A decoder that was trained on the first three volumes."""
    trained = train(volumes[:3], SMALL, Training(epochs=100, batch=1, learning_rate=5e-3), Job())
    return Decoder.from_symbols(SMALL, trained.parameters.tensors)


def same(a: Trained, b: Trained) -> bool:
    return (
        np.array_equal(a.losses, b.losses)
        and np.array_equal(a.features, b.features)
        and all(np.array_equal(symbols, b.parameters.tensors[name]) for name, symbols in a.parameters.tensors.items())
    )


class StoppedError(Exception):
    pass


def stop_after(reports: int):
    left = [reports]

    def progress(_done: float, _message: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise StoppedError

    return progress


class TestTrain:
    def test_what_it_leaves(self, volumes):
        trained = train(volumes, SMALL, SHORT, Job())
        assert {name: array.shape for name, array in trained.parameters.tensors.items()} == SMALL.parameter_shapes()
        assert trained.features.shape == (5, *SMALL.feature_shape)
        assert all(a.dtype == np.int16 and a.min() >= 0 and a.max() <= 256 for a in trained.parameters.tensors.values())
        assert trained.features.dtype == np.int16
        assert trained.losses.shape == (6,)

    @pytest.mark.slow
    def test_learns(self, volumes):
        training = Training(epochs=100, batch=2, learning_rate=1e-2)
        trained = train(volumes[:2], SMALL, training, Job())
        assert trained.losses[-1] < 0.6 * trained.losses[0]
        decoder = Decoder.from_symbols(SMALL, trained.parameters.tensors)
        for features, volume in zip(trained.features, volumes, strict=False):
            inside = volume[0] < 0
            found = decode(decoder, features)[0] < 0
            assert (inside & found).sum() / (inside | found).sum() > 0.8

    @pytest.mark.parametrize(("encoder", "precision"), [("auto-decoder", "bfloat16"), ("autoencoder", "float32")])
    def test_repeatable_to_the_bit(self, volumes, encoder, precision):
        training = replace(SHORT, encoder=encoder, precision=precision, epochs=2)
        first = train(volumes, SMALL, training, Job(seed=1))
        torch.manual_seed(99)
        assert same(first, train(volumes, SMALL, training, Job(seed=1)))
        assert not same(first, train(volumes, SMALL, training, Job(seed=2)))

    def test_symbols_do_for_volumes(self, volumes):
        symbols = straight_through.symbols(torch.from_numpy(volumes), SMALL.bits)
        levels = straight_through.values(symbols, SMALL.bits)
        assert same(train(symbols.numpy(), SMALL, SHORT, Job()), train(levels.numpy(), SMALL, SHORT, Job()))

    def test_plain_tsdf(self, volumes):
        trained = train(volumes[:, :1], replace(SMALL, deformation=False), SHORT, Job())
        assert trained.losses[-1] < trained.losses[0]

    def test_random_state_is_left_alone(self, volumes):
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        train(volumes[:1], SMALL, replace(SHORT, epochs=1), Job())
        assert torch.equal(torch.rand(3), expected)

    def test_progress_tells_loss_and_time(self, volumes, monkeypatch):
        monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
        reports = []
        job = Job(progress=lambda done, message: reports.append((done, message)))
        train(volumes, SMALL, replace(SHORT, epochs=2), job)
        assert [done for done, _ in reports] == pytest.approx([i / 6 for i in range(1, 7)])
        assert all("loss " in message and "left" in message for _, message in reports)

    def test_not_finite(self, volumes):
        broken = volumes.copy()
        broken[0, 0, 5, 5, 5] = np.nan
        with pytest.raises(CodecFailed, match="diverged"):
            train(broken, SMALL, SHORT, Job())

    @pytest.mark.parametrize("shape", [(0, 4, 32, 32, 32), (2, 1, 32, 32, 32), (2, 4, 16, 16, 16)])
    def test_volumes_of_another_shape(self, shape):
        with pytest.raises(ValueError, match="volumes of shape"):
            train(np.zeros(shape, dtype=np.float32), SMALL, SHORT, Job())

    def test_volumes_of_another_type(self, volumes):
        with pytest.raises(ValueError, match="float64"):
            train(volumes.astype(np.float64), SMALL, SHORT, Job())


def test_a_gradient_is_shortened_to_a_multiple_of_its_usual_length(volumes):
    run = module._Run(volumes, SMALL, replace(SHORT, clip=2.0), 0, ALONE)

    def norm_after(length: float) -> float:
        for parameter in run.shared:
            parameter.grad = torch.zeros_like(parameter)
        run.shared[1].grad.view(-1)[0] = length
        run._clip()
        return float(run.shared[1].grad.norm())

    assert norm_after(1.0) == pytest.approx(1)
    assert norm_after(1.5) == pytest.approx(1.5), "shorter than twice the usual"
    usual = run.usual_norm
    assert norm_after(1e6) == pytest.approx(2 * usual)
    assert run.usual_norm == pytest.approx(usual * 1.02), "what was cut off does not count"


@pytest.mark.long
def test_a_training_that_lost_its_way_goes_back_and_brakes(volumes, caplog):
    """All parameters are wrecked after five epochs, as by steps that are far too long."""
    training = Training(epochs=40, batch=1, learning_rate=5e-3)

    def wreck(run: module._Run) -> None:
        with torch.no_grad():
            for parameter in run.shared:
                parameter.fill_(-1)

    run = module._Run(volumes[:3], SMALL, training, 0, ALONE)
    while run.step < run.steps:
        run.advance()
        if run.step == 15:
            wreck(run)
    assert "going back, with half the learning rate" in caplog.text
    assert run.brake == 0.5
    assert run.losses[5] > 1.6 * run.losses[4], "the wreck counts"
    assert run.losses[-1] < 0.9 * min(run.losses[:5]), "and from there it went on"


class TestCheckpoint:
    # Stopped in the first epoch, in the middle of one, at the end of one.
    @pytest.mark.parametrize(
        ("encoder", "reports"),
        [
            pytest.param("auto-decoder", 1, marks=pytest.mark.slow),
            ("auto-decoder", 4),
            pytest.param("auto-decoder", 9, marks=pytest.mark.slow),
            ("autoencoder", 4),
        ],
    )
    def test_goes_on_to_the_same_end(self, volumes, tmp_path, monkeypatch, encoder, reports):
        monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
        training = replace(SHORT, encoder=encoder, epochs=4, clip=1.05, feature_speed=3.0)
        whole = train(volumes, SMALL, training, Job(seed=5))
        with pytest.raises(StoppedError):
            train(volumes, SMALL, training, Job(seed=5, work=tmp_path, progress=stop_after(reports)))
        seen = []
        job = Job(seed=5, work=tmp_path, progress=lambda done, _message: seen.append(done))
        assert same(whole, train(volumes, SMALL, training, job))
        assert seen[0] == pytest.approx((reports + 1) / 12)
        assert [p.name for p in tmp_path.iterdir()] == ["training.safetensors"]

    def test_finished_training_is_not_done_again(self, volumes, tmp_path):
        first = train(volumes, SMALL, SHORT, Job(work=tmp_path))
        seen = []
        job = Job(work=tmp_path, progress=lambda *report: seen.append(report))
        assert same(first, train(volumes, SMALL, SHORT, job))
        assert not seen

    @pytest.mark.parametrize("change", ["volumes", "training", "design", "seed"])
    def test_foreign_is_refused(self, volumes, tmp_path, change):
        path = tmp_path / "training.safetensors"
        train(volumes[:2], SMALL, replace(SHORT, epochs=1), Job(work=tmp_path))
        before = path.read_bytes()
        other = volumes[:2].copy()
        training, design, seed = replace(SHORT, epochs=1), SMALL, 0
        if change == "volumes":
            other[1, 2, 3, 4, 5] += 0.01
        elif change == "training":
            training = replace(training, ssim_weight=0.0)
        elif change == "design":
            design = replace(SMALL, widths=(8, 6, 5))
        else:
            seed = 1
        with pytest.raises(UsageError, match="other inputs or settings"):
            train(other, design, training, Job(seed=seed, work=tmp_path))
        assert path.read_bytes() == before

    def test_a_part_is_refused_or_where_asked_replaced(self, volumes, tmp_path, caplog):
        path, training = tmp_path / "training.safetensors", replace(SHORT, epochs=1)
        whole = train(volumes, SMALL, training, Job(work=tmp_path))
        identity, state = checkpoints.read(path)
        checkpoints.write(path, identity, state | {"features": state["features"][:1]})
        with pytest.raises(UsageError, match="does not fit"):
            train(volumes, SMALL, training, Job(work=tmp_path))
        assert same(whole, train(volumes, SMALL, training, Job(work=tmp_path, anew=True)))
        assert "training starts anew" in caplog.text
        assert same(whole, train(volumes, SMALL, training, Job(work=tmp_path)))


@pytest.mark.slow  # the decoder is trained for eight seconds; `add` in ../test_compression.py is of the same features
class TestFitFeatures:
    def test_each_mesh_apart_from_its_batch(self, volumes, decoder):
        training = Training(batch=1, precision="float32", adding_steps=10)
        start = np.full(SMALL.feature_shape, 128, np.int16)
        both = fit_features(volumes[3:], decoder, training, Job(), start=start)
        second = fit_features(volumes[4:], decoder, training, Job(), start=start)
        assert np.array_equal(both[1], second[0])

    def test_finds_features_for_a_frozen_decoder(self, volumes, decoder):
        target = torch.from_numpy(volumes[3:])

        def loss(steps: int) -> float:
            features = fit_features(volumes[3:], decoder, Training(adding_steps=steps), Job())
            assert features.shape == (2, *SMALL.feature_shape)
            assert features.dtype == np.int16
            decoded = torch.from_numpy(np.stack([decode(decoder, f) for f in features]))
            return regression_loss(decoded, target, 5.0, 10.0).item()

        assert loss(60) < 0.85 * loss(0)
        few = [fit_features(volumes[3:], decoder, Training(adding_steps=4), Job()) for _ in range(2)]
        assert np.array_equal(*few)

    def test_not_finite(self, volumes, decoder):
        with pytest.raises(CodecFailed, match="diverged"):
            fit_features(volumes[:1] * np.float32(np.nan), decoder, Training(), Job())


@pytest.mark.slow
def test_two_processes_do_what_one_does(volumes, tmp_path):
    np.save(tmp_path / "volumes.npy", volumes)
    (tmp_path / "distributed.py").write_text(DISTRIBUTED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "distributed.py", str(tmp_path)], cwd=tmp_path, env=environment, check=True, timeout=300)
    training = Training(epochs=8, batch=5, mask_weight=0.0, precision="float32")
    alone = train(volumes, SMALL, training, Job(seed=3))
    results = {name: np.load(tmp_path / f"{name}.npz") for name in ("first0", "first1", "again0", "again1")}
    for result in results.values():  # every process has all, and goes on from the checkpoint to the same
        assert all(np.array_equal(result[name], results["first0"][name]) for name in result.files)
    found = results["first0"]
    assert found["losses"] == pytest.approx(alone.losses, rel=1e-4)
    assert (np.abs(found["features"] - alone.features) <= 1).mean() > 0.99
    for name, symbols in alone.parameters.tensors.items():
        assert (np.abs(found[name] - symbols) <= 1).mean() > 0.99
