from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gcbench.bench.run import stages
from gcbench.bench.run.arrays import MeshArrays, pack
from gcbench.bench.run.stages import CallSettings
from gcbench.datasets.normalise import content_sha256
from gcbench.errors import CodecFailed


def calls(monkeypatch, long_call_s: float) -> tuple[int, int]:
    monkeypatch.setattr(stages, "LONG_CALL_S", long_call_s)
    seen = []
    _, cost = stages._timed(seen.append, CallSettings(warm_up=1, repeats=3))
    return len(seen), cost.repeats


def test_a_call_is_warmed_up_and_repeated(monkeypatch):
    assert calls(monkeypatch, 60) == (4, 3)


def test_a_call_as_long_as_training_is_made_once(monkeypatch):
    assert calls(monkeypatch, 0) == (1, 1)


def test_stages_of_a_call_are_medians_over_its_repeats(monkeypatch):
    seconds = iter([9.0, 1.0, 5.0, 2.0])  # the first is the warm-up

    def call(ctx) -> None:
        ctx.stage_s = {"coding": next(seconds)}

    _, cost = stages._timed(call, CallSettings(warm_up=1, repeats=3))
    assert cost.stage_s == {"coding": 2.0}


def test_stages_add_up_within_a_call_and_start_anew_with_the_next():
    def call(ctx) -> None:
        assert not ctx.stage_s
        for _ in range(2):
            with ctx.stage("coding"):
                time.sleep(0.02)

    _, cost = stages._timed(call, CallSettings(repeats=2))
    assert 0.04 <= cost.stage_s["coding"] <= cost.wall_s


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be reset on Linux only")
def test_memory_that_an_earlier_call_freed_counts_again():
    kept = []

    def takes_60_mb(ctx) -> None:
        blocks = [bytearray(60_000) for _ in range(1000)]
        kept.append(bytearray(60_000))  # on top of the heap, so that what lies below is not given back by itself
        del blocks

    settings = CallSettings(warm_up=0, repeats=1)
    added = [stages._timed(takes_60_mb, settings)[1].added_bytes for _ in range(3)]
    # The first finds what other tests left in the heap, in pieces that cannot be given back.
    assert all(50e6 < bytes_ < 70e6 for bytes_ in added[1:]), added


class Cuda:
    """What the engine asks torch.cuda for."""

    def __init__(self, peaks) -> None:
        self.peaks, self.calls = iter(peaks), []

    def is_available(self):
        return True

    def reset_peak_memory_stats(self, device):
        self.calls.append(f"reset {device}")

    def synchronize(self, device):
        self.calls.append(f"wait {device}")

    def max_memory_allocated(self, device):
        return next(self.peaks)


def test_gpu_memory_is_the_peak_of_the_calls_that_count(monkeypatch):
    cuda = Cuda([99, 3, 7, 5])  # the first is the warm-up
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    settings = CallSettings(device="cuda:1", warm_up=1, repeats=3)
    _, cost = stages._timed(lambda ctx: cuda.calls.append("call"), settings)
    assert cost.gpu_bytes == 7
    assert cuda.calls == ["reset cuda:1", "wait cuda:1", "call", "wait cuda:1"] * 4


def test_no_gpu_memory_is_recorded_on_the_cpu_or_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda([])))
    assert stages._timed(lambda ctx: None, CallSettings())[1].gpu_bytes is None
    monkeypatch.delitem(sys.modules, "torch")
    assert stages._timed(lambda ctx: None, CallSettings(device="cuda"))[1].gpu_bytes is None


def test_faces_keep_all_their_bits_on_the_way_to_the_spool():
    """Indices beyond int32 wrapped around, and seemed to point at vertices."""
    far = np.array([[0, 1, 2**40]], np.int64)
    assert stages._arrays(SimpleNamespace(vertices=np.eye(3), faces=far)).faces.tolist() == far.tolist()
    small = stages._arrays(SimpleNamespace(vertices=np.eye(3, dtype=np.float32), faces=far.astype(np.uint8)))
    assert (small.vertices.dtype, small.faces.dtype) == (np.float64, np.int64)
    for faces in (np.array([[0, 1, 2**63]], np.uint64), np.array([[0.0, 1.0, 2.0]])):
        with pytest.raises(CodecFailed, match="not integers"):
            stages._arrays(SimpleNamespace(vertices=np.eye(3), faces=faces))
    with pytest.raises(CodecFailed, match="not trimesh"):
        stages._arrays("text")


def test_inputs_of_another_machine_are_read_by_their_hash_only(tmp_path):
    vertices, faces = np.eye(3), np.array([[0, 1, 2]])
    name = content_sha256(vertices, faces)
    assert stages.cached_input(tmp_path, name) is None
    (tmp_path / name).write_bytes(pack(MeshArrays(vertices, faces)))
    np.testing.assert_array_equal(stages.cached_input(tmp_path, name).vertices, vertices)
    (tmp_path / name).write_bytes(pack(MeshArrays(2 * vertices, faces)))
    assert stages.cached_input(tmp_path, name) is None
    (tmp_path / name).write_bytes(b"torn")
    assert stages.cached_input(tmp_path, name) is None


def test_a_worker_whose_folder_is_gone_still_works(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with stages._scratch(tmp_path) as scratch:
        assert Path.cwd() == scratch
    assert not scratch.exists()
