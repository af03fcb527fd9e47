"""Cores, memory and models of this machine, and the kernel's count of processes killed for lack of memory.

Linux control groups count: a container may have a quarter of the cores and of the memory. Every file is looked up below
``root``, so that tests can provide a machine of their own.
"""

from __future__ import annotations

import math
import os
import platform
import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import psutil

_ROOT = Path("/")
_GROUPS = Path("sys/fs/cgroup")


def memory_bytes(root: Path = _ROOT) -> int:
    """Memory for this process and its children: that of the machine, or the limit of the control groups if lower."""
    there = _first_number(root / "proc/meminfo", "MemTotal:", unit=1024) or psutil.virtual_memory().total
    limits = [_number(folder / "memory.max") for folder in _folders("", root)]
    limits += [_number(folder / "memory.limit_in_bytes") for folder in _folders("memory", root)]
    return min([there, *(limit for limit in limits if limit)])


def cores(root: Path = _ROOT) -> int:
    """Cores for this process: those of its affinity mask, or the quota of the control groups if lower."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for folder in _folders("", root):
        quota, period, *_ = [*_words(folder / "cpu.max"), "max", "max"]  # "max 100000" where there is no quota
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    for folder in _folders("cpu", root):
        quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota_us and period_us:  # -1 where there is no quota
            quotas.append(quota_us / period_us)
    return max(1, min([usable, *(math.ceil(quota) for quota in quotas)]))


def oom_kills(root: Path = _ROOT) -> int | None:
    """Processes that the kernel has killed for lack of memory, to be compared between two calls.

    Counted in our control group (version 2: and in the groups below it), else on the whole machine. None if the kernel
    has no count.
    """
    # The first folder is our own group; the root of a hierarchy has no such file.
    counts = [_first_number(folder / "memory.events", "oom_kill") for folder in _folders("", root)[:1]]
    counts += [_first_number(folder / "memory.oom_control", "oom_kill") for folder in _folders("memory", root)[:1]]
    counts.append(_first_number(root / "proc/vmstat", "oom_kill"))
    return next((count for count in counts if count is not None), None)


def cpu_model(root: Path = _ROOT) -> str:
    """Name of the processor."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def gpu_model(root: Path = _ROOT) -> str:
    """Name of the GPU, or "": from torch if it is imported already, else from NVIDIA's driver.

    Importing torch here would take seconds, and GPU memory in a process that only plans.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return ""


def host() -> str:
    """Network name of this machine."""
    return socket.gethostname()


def kind(device: str = "cpu", root: Path = _ROOT) -> str:
    """Kind of machine, such as ``AMD EPYC 9554, 64 cores``; times are comparable only on one kind of machine."""
    parts = [cpu_model(root), f"{os.cpu_count() or 1} cores"]
    if device != "cpu":
        parts.append(gpu_model(root) or f"unknown {device} device")
    return ", ".join(parts)


@lru_cache(maxsize=8)
def _folders(controller: str, root: Path) -> tuple[Path, ...]:
    """Folders of our control group and of the groups above, nearest first; ``controller`` is "" for version 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    return tuple(
        folder
        for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)
        if controller in controllers.split(",")
        for folder in _upwards(root / _GROUPS / controller, path)
    )


def _upwards(top: Path, path: str) -> Iterator[Path]:
    # In a container the path may be that on the host, and our own group is mounted as the top.
    inside = [part for part in path.split("/") if part not in {"", ".."}]
    for depth in range(len(inside), -1, -1):
        folder = top.joinpath(*inside[:depth])
        if folder.is_dir():
            yield folder


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    """The positive number in a file; None if there is no such file or number."""
    words = _words(file)
    return int(words[0]) if words and words[0].isdigit() else None


def _first_number(file: Path, key: str, unit: int = 1) -> int | None:
    """The number after a key, times its unit; None if there is no such key."""
    words = _words(file)
    position = words.index(key) + 1 if key in words else len(words)
    return int(words[position]) * unit if position < len(words) and words[position].isdigit() else None
