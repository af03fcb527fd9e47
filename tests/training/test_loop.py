"""The loop, around a training of one number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gcbench.errors import BenchError, CodecFailed, UsageError
from gcbench.training import checkpoints, loop
from gcbench.training.loop import run

DISTRIBUTED = """
import sys
from pathlib import Path
import torch
from gcbench.training.loop import run
from gcbench.training.ranks import Ranks
sys.path.insert(0, sys.argv[1])
from test_loop import Toy

ranks, told = Ranks.join("cpu"), []

class Shared(Toy):
    def state(self):
        gathered = ranks.gather(torch.tensor([[float(ranks.rank)]]), ranks.count)
        return super().state() | {"ranks": gathered.flatten().tolist()}

options = {"checkpoint": Path("kept"), "ranks": ranks, "progress": lambda *report: told.append(report)}
try:  # a checkpoint that only the second process finds to be due
    run(Shared(stop_at=6), every_s=0.0 if ranks.rank == 1 else 1e9, **options)
except InterruptedError:
    toy = Shared()
assert run(toy, **options)
assert toy.advanced == 6
assert bool(told) == (ranks.rank == 0)
Path(f"value{ranks.rank}").write_text(toy.value.item().hex())
"""


class Toy:
    """A number that grows by a tenth and a random number; a step fails, or has a loss that is none, where told to."""

    def __init__(self, stop_at: int = -1, broken_at: int = -1) -> None:
        self.step, self.steps, self.advanced = 0, 12, 0
        self.value = torch.ones(1)
        self.generator = torch.Generator().manual_seed(0)
        self.stop_at, self.broken_at = stop_at, broken_at

    def advance(self) -> torch.Tensor:
        if self.step == self.stop_at:
            raise InterruptedError
        self.value = 1.1 * self.value + torch.rand(1, generator=self.generator)
        self.step += 1
        self.advanced += 1
        return torch.tensor([2.0, torch.nan if self.step == self.broken_at else 3.0])

    def state(self) -> checkpoints.State:
        return {"step": self.step, "value": self.value, "generator": self.generator.get_state()}

    def restore(self, state: checkpoints.State) -> None:
        self.step = state["step"]
        self.generator.set_state(state["generator"])
        checkpoints.fill(self.value, state["value"])


@pytest.fixture(scope="module")
def whole() -> float:
    toy = Toy()
    assert run(toy)
    assert toy.advanced == 12
    return toy.value.item()


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)


def cut_off(path: Path, stop_at: int = 5, identity: str = "toy") -> None:
    with pytest.raises(InterruptedError):
        run(Toy(stop_at), identity, checkpoint=path, every_s=0)


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, whole, stop_at):
    path = tmp_path / "deep" / "toy.safetensors"
    cut_off(path, stop_at)
    toy = Toy()
    assert run(toy, "toy", checkpoint=path)
    assert (toy.value.item(), toy.advanced) == (whole, 12 - stop_at)
    again, told = Toy(), []
    assert run(again, "toy", checkpoint=path, progress=lambda *report: told.append(report))
    assert (again.value.item(), again.advanced, told) == (whole, 0, [])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("reports", [1, 7, 12])
def test_what_progress_stops_is_kept(tmp_path, whole, reports):
    def stop(done: float, _message: str) -> None:
        if done >= reports / 12:
            raise TimeoutError

    path = tmp_path / "toy.safetensors"
    with pytest.raises(TimeoutError):
        run(Toy(), checkpoint=path, progress=stop)
    toy = Toy()
    run(toy, checkpoint=path)
    assert (toy.value.item(), toy.advanced) == (whole, 12 - reports)


@pytest.mark.usefixtures("often")
def test_progress_tells_loss_and_time(monkeypatch):
    toy, told = Toy(), []
    monkeypatch.setattr(time, "monotonic", lambda: 20.0 * toy.step)
    run(toy, progress=lambda done, message: told.append((done, message)))
    assert [done for done, _ in told] == [i / 12 for i in range(1, 13)]
    assert [told[i][1] for i in (0, 9, 11)] == ["loss 2.5, 3:40 left", "loss 2.5, 0:40 left", "loss 2.5, 0:00 left"]


def test_progress_is_told_once_a_second(monkeypatch):
    toy, told = Toy(), []
    monkeypatch.setattr(time, "monotonic", lambda: 0.3 * toy.step)
    run(toy, progress=lambda done, _message: told.append(round(12 * done)))
    assert told == [1, 5, 9, 12]


def test_checkpoints_are_as_far_apart_as_they_are_asked_to_be(tmp_path, monkeypatch):
    toy, written = Toy(), []
    monkeypatch.setattr(time, "monotonic", lambda: 10.0 * toy.step)
    monkeypatch.setattr(checkpoints, "write", lambda _path, _identity, state: written.append(state["step"]))
    run(toy, checkpoint=tmp_path / "toy")
    assert written == [3, 6, 9, 12]
    toy.step, every = 0, []
    monkeypatch.setattr(checkpoints, "write", lambda _path, _identity, state: every.append(state["step"]))
    run(toy, checkpoint=tmp_path / "toy", every_s=50)
    assert every == [5, 10, 12]


def test_a_deadline_keeps_at_least_one_step(tmp_path, whole):
    path, calls = tmp_path / "toy.safetensors", 1
    while not run(toy := Toy(), checkpoint=path, deadline=time.monotonic()):
        assert toy.advanced == 1
        calls += 1
    assert (calls, toy.value.item()) == (12, whole)


@pytest.mark.usefixtures("often")
def test_a_training_that_diverges_fails_and_keeps_no_such_state(tmp_path):
    path = tmp_path / "toy.safetensors"
    with pytest.raises(CodecFailed, match="diverged: the loss of network 1 of 2 is nan at step 7"):
        run(Toy(broken_at=7), checkpoint=path, every_s=0)
    assert checkpoints.read(path)[1]["step"] == 6


def test_a_last_loss_is_always_looked_at():
    with pytest.raises(CodecFailed, match="at step 12"):
        run(Toy(broken_at=12))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "not a whole checkpoint"),
        ("half", "not a whole checkpoint"),
        ("most", "not a whole checkpoint"),
        ("bytes", "not a whole checkpoint"),
        ("foreign", "other inputs or settings"),
        ("other shape", "does not fit"),
        ("part", "does not fit"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_or_replaced(tmp_path, caplog, whole, kind, said):
    path = tmp_path / "toy.safetensors"
    cut_off(path, identity="other" if kind == "foreign" else "toy")
    contents = path.read_bytes()
    if kind in {"other shape", "part"}:  # the step is restored before the other tensor is found to be wrong
        identity, state = checkpoints.read(path)
        checkpoints.write(path, identity, state | {"value": torch.ones(3)} if kind == "other shape" else {"step": 5})
    elif kind != "foreign":
        torn = {"empty": b"", "half": contents[: len(contents) // 2], "most": contents[:-1], "bytes": bytes(99)}
        path.write_bytes(torn[kind])
    refused = path.read_bytes()
    with pytest.raises(UsageError, match=said):
        run(Toy(), "toy", checkpoint=path)
    assert path.read_bytes() == refused
    toy = Toy()
    assert run(toy, "toy", checkpoint=path, anew=True)
    assert (toy.value.item(), toy.advanced) == (whole, 12)
    assert "training starts anew" in caplog.text


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BenchError, match="cannot write"):
        run(Toy(), checkpoint=tmp_path / "file" / "toy.safetensors")


@pytest.mark.slow
def test_processes_save_together(tmp_path, whole):
    (tmp_path / "distributed.py").write_text(DISTRIBUTED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "distributed.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(Path(__file__).parent)], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert [(tmp_path / f"value{rank}").read_text() for rank in (0, 1)] == [whole.hex()] * 2
    assert checkpoints.read(tmp_path / "kept")[1]["ranks"] == [0.0, 1.0]
