from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gcbench.bench.run import machine

GIB = 1 << 30


@pytest.fixture
def root(tmp_path):
    """A machine of 64 GiB without control groups."""
    write(tmp_path / "proc/meminfo", f"MemTotal:       {64 * GIB // 1024} kB\nMemFree:   1000 kB\n")
    write(tmp_path / "proc/self/cgroup", "")
    write(tmp_path / "proc/vmstat", "nr_free_pages 12\noom_kill 41\npgfault 3\n")
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast: 9000 @ 3 GHz\nprocessor\t: 1\n")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def second_version(root: Path, path: str) -> Path:
    write(root / "proc/self/cgroup", f"0::{path}\n")
    folder = root / "sys/fs/cgroup" / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def first_version(root: Path, controllers: str, path: str) -> Path:
    write(root / "proc/self/cgroup", f"9:name=systemd:/\n4:{controllers}:{path}\n0::/\n")
    return root / "sys/fs/cgroup" / controllers.partition(",")[0] / path.strip("/")


def test_without_groups_there_is_the_whole_machine(root):
    assert machine.memory_bytes(root) == 64 * GIB
    assert machine.cores(root) == len(os.sched_getaffinity(0))
    assert machine.oom_kills(root) == 41


def test_this_machine():
    assert 0 < machine.memory_bytes() <= psutil.virtual_memory().total
    assert 1 <= machine.cores() <= os.cpu_count()
    assert machine.cpu_model()
    assert machine.kind() == f"{machine.cpu_model()}, {os.cpu_count()} cores"
    assert machine.host() == socket.gethostname()


def test_a_system_without_any_of_these_files(tmp_path):
    assert machine.memory_bytes(tmp_path) == psutil.virtual_memory().total
    assert machine.cores(tmp_path) >= 1
    assert machine.oom_kills(tmp_path) is None
    assert machine.cpu_model(tmp_path)


@pytest.mark.parametrize(
    ("inner", "outer", "gib"), [("max", "max", 64), ("max", 8, 8), (4, 8, 4), (8, 4, 4), (999, 99, 64)]
)
def test_memory_of_the_second_version_is_the_least_of_the_hierarchy(root, inner, outer, gib):
    folder = second_version(root, "/system.slice/job.scope")
    for place, limit in ((folder, inner), (folder.parent, outer)):
        write(place / "memory.max", f"{limit if limit == 'max' else limit * GIB}\n")
    assert machine.memory_bytes(root) == gib * GIB


@pytest.mark.parametrize(("limit", "gib"), [(9223372036854771712, 64), (3 * GIB, 3)])
def test_memory_of_the_first_version(root, limit, gib):
    write(first_version(root, "memory", "/docker/abc") / "memory.limit_in_bytes", f"{limit}\n")
    assert machine.memory_bytes(root) == gib * GIB


def test_in_a_container_our_own_group_may_be_mounted_as_the_top(root):
    write(first_version(root, "memory", "/") / "memory.limit_in_bytes", f"{2 * GIB}\n")
    write(root / "proc/self/cgroup", "4:memory:/docker/of-the-host\n")
    assert machine.memory_bytes(root) == 2 * GIB
    write(root / "sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n")
    assert machine.oom_kills(root) == 6


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("max", 8)],
)
def test_a_quota_of_cores_is_rounded_up(root, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    write(second_version(root, "/pod").parent / "cpu.max", "max 100000\n")
    write(second_version(root, "/pod") / "cpu.max", quota + "\n")
    assert machine.cores(root) == cores


@pytest.mark.parametrize(("quota_us", "cores"), [(-1, 8), (250_000, 3), (1000, 1)])
def test_a_quota_of_the_first_version(root, monkeypatch, quota_us, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    folder = first_version(root, "cpu,cpuacct", "/a/b")
    write(folder.parent / "cpu.cfs_quota_us", f"{quota_us}\n")
    write(folder.parent / "cpu.cfs_period_us", "100000\n")
    write(folder / "cpu.cfs_quota_us", "-1\n")
    write(folder / "cpu.cfs_period_us", "100000\n")
    assert machine.cores(root) == cores


def test_the_nearest_count_of_kills_is_taken(root):
    folder = second_version(root, "/user.slice/session")
    write(folder.parent / "memory.events", "oom 5\noom_kill 9\noom_group_kill 0\n")
    write(folder / "memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\noom_group_kill 0\n")
    assert machine.oom_kills(root) == 1


def test_an_old_kernel_that_counts_no_kills_in_groups(root):
    write(first_version(root, "memory", "/a") / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")
    assert machine.oom_kills(root) == 41


def test_the_name_of_the_processor(root):
    assert machine.cpu_model(root) == "Fast: 9000 @ 3 GHz"


def test_the_gpu_is_what_torch_says_and_else_the_driver(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert machine.gpu_model(root) == ""
    assert machine.kind("cuda", root).endswith("unknown cuda device")
    write(root / "proc/driver/nvidia/gpus/0000:04:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 3\n")
    assert machine.kind("cuda", root) == f"Fast: 9000 @ 3 GHz, {os.cpu_count()} cores, NVIDIA H100 80GB HBM3"
    assert "NVIDIA" not in machine.kind("cpu", root)
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "Other")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert machine.gpu_model(root) == "Other"
    cuda.is_available = lambda: False
    assert machine.gpu_model(root) == "NVIDIA H100 80GB HBM3"
