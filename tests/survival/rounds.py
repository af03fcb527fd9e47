"""One round of each kind: disturb a run, resume it until it is done, and compare it with an undisturbed one."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .site import LIMIT_S, Site, whole_lines

_MOST_STARTS = 12
_ORPHANS_END_S = 45.0  # Dask workers wait 30 s for their scheduler
CLOCK = Path(__file__).parent / "clock.c"
JUMPS_S = (3600.0, -3600.0, 86400.0, -86400.0, 3.2e8, -3.2e8)


@dataclass
class Round:
    """What happened in a round."""

    kind: str  # "kill", "disk" or "clock"
    scenario: str
    disturbed: list[str] = field(default_factory=list)  # such as "runner", or "run folder full"
    wrong: list[str] = field(default_factory=list)  # what was lost, doubled or changed; tracebacks
    left: list[str] = field(default_factory=list)  # files that are of no use
    wall_s: float = 0.0


def kill_round(site: Site, scenario: str, name: str, rng: random.Random) -> Round:
    """``kill -9`` of a runner, a worker, a template or a node at one to three random times."""
    made, run = Round("kill", scenario), site.root / name
    wall_s, kills = site.reference(scenario).wall_s, rng.choice((1, 1, 2, 3))
    with _checked(made, site, run):
        for _ in range(_MOST_STARTS):
            if run.exists() and not made.disturbed:  # it was done before it was killed
                shutil.rmtree(run)
                wall_s /= 2
            process = site.start(scenario, run)
            while kills and process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.1, 0.9 * wall_s))
                if process.poll() is None:
                    kills -= 1
                    made.disturbed.append(_kill(process, rng, made, run))
            if _ended(process, made) == 0 and made.disturbed:
                break
    return made


def disk_round(site: Site, scenario: str, name: str, rng: random.Random) -> Round:
    """A run folder, or a folder for temporary files, on a file system that fills up and then grows."""
    which = rng.choice(("run folder", "temporary files"))
    made = Round("disk", scenario, [f"{which} full"])
    place = site.root / f"{name}-disk"
    run = place / "run" if which == "run folder" else site.root / name
    place.mkdir()
    pages = max(8, site.reference(scenario).bytes // 4096)
    small = rng.randrange(4, pages) if which == "run folder" else rng.randrange(1, 8)
    _mount(place, small * 4096)
    try:
        with _checked(made, site, run):
            temporary = {} if which == "run folder" else {"TMPDIR": str(place)}
            first = site.start(scenario, run, **temporary)
            code = _ended(first, made)
            made.disturbed.append(f"exit code {code}")
            said = site.said(run).read_text()
            if code not in {0, 3}:
                made.wrong.append(f"exit code {code} on a full disk: {said[-300:]}")
            before = whole_lines(run)
            _mount(place, 1 << 28, "remount,")
            if _ended(site.start(scenario, run, **temporary), made):
                made.wrong.append(f"cannot resume: {site.said(run).read_text()[-300:]}")
            _kept(before, run, made)
    finally:
        subprocess.run(["umount", str(place)], check=False)
    return made


def clock_round(site: Site, scenario: str, name: str, rng: random.Random) -> Round:
    """A time of day that jumps by an hour, a day and ten years, forward and back, while a run goes on."""
    made, run = Round("clock", scenario), site.root / name
    offset = site.root / f"{name}.offset"
    offset.write_bytes(struct.pack("d", 0.0))
    library = _clock_library(site)
    with _checked(made, site, run), offset.open("r+b", buffering=0) as file:
        process = site.start(scenario, run, LD_PRELOAD=str(library), CLOCK_OFFSET=str(offset))
        end = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < end:
            time.sleep(rng.uniform(0.1, 1.0))
            jump = rng.choice(JUMPS_S)
            file.seek(0)
            file.write(struct.pack("d", jump))
            made.disturbed.append(f"{jump:+g} s")
        if code := _ended(process, made):
            made.wrong.append(f"exit code {code}")
    return made


@contextlib.contextmanager
def _checked(made: Round, site: Site, run: Path) -> Iterator[None]:
    """Compare the run after the round, and remove it if nothing is wrong."""
    begin = time.monotonic()
    site.reference(made.scenario)
    yield
    if run.exists():
        made.wrong += site.differences(made.scenario, run)
        made.left += site.left_behind(run)
    else:
        made.wrong.append("there is no run")
    said = site.said(run).read_text()
    if "Traceback" in said:
        made.wrong.append("a traceback: " + said[said.index("Traceback") :][:900])
    made.wall_s = time.monotonic() - begin
    if not made.wrong:
        for folder in (run, site.temporary(run)):
            shutil.rmtree(folder, ignore_errors=True)
        site.said(run).unlink()


def _ended(process: subprocess.Popen[str], made: Round) -> int:
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        made.wrong.append(f"a command did not end in {LIMIT_S:g} s")
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        return process.wait()


def _kill(process: subprocess.Popen[str], rng: random.Random, made: Round, run: Path) -> str:
    """Kill the runner or one of its processes; returns which. Checks that a killed runner leaves no process."""
    family = _family(process.pid)
    what = rng.choice([role for role in ("runner", "worker", "template", "node") if family.get(role)])
    if what != "runner":
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(family[what]).kill()
        return what
    process.kill()
    process.wait()
    before = whole_lines(run)
    orphans = [one for role, members in family.items() if role != "runner" for one in members]
    if made.scenario == "cluster" and rng.random() < 0.7:  # mostly, resume while the nodes of the killed run still live
        return what
    _, alive = psutil.wait_procs(orphans, _ORPHANS_END_S)
    if alive:
        made.wrong.append(f"{len(alive)} processes outlive the runner: {[one.pid for one in alive]}")
    if whole_lines(run) != before:
        made.wrong.append("somebody wrote to the run after its runner was killed")
    return what


def _family(pid: int) -> dict[str, list[psutil.Process]]:
    """The processes of a run by their role."""
    found: dict[str, list[psutil.Process]] = {"runner": [], "worker": [], "template": [], "node": []}
    with contextlib.suppress(psutil.NoSuchProcess):
        runner = psutil.Process(pid)
        found["runner"].append(runner)
        for one in runner.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                line, above = " ".join(one.cmdline()), " ".join(one.parent().cmdline())
                module = "gcbench.bench.run.worker"
                role = "node" if "dask_worker" in line else "template" if module not in above else "worker"
                if module in line or role == "node":
                    found[role].append(one)
    return found


def _kept(before: dict[str, bytes], run: Path, made: Round) -> None:
    """No complete line of a run may change later."""
    for name, content in whole_lines(run).items():
        if not content.startswith(before[name]):
            made.wrong.append(f"lines of {name} were changed or lost")


def _mount(place: Path, size: int, how: str = "") -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", str(place)], check=True)


def can_mount() -> bool:
    """Whether this user may mount file systems."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        subprocess.run(["umount", folder], capture_output=True, check=False)
    return mounted.returncode == 0


def _clock_library(site: Site) -> Path:
    library = site.root / "clock.so"
    if not library.exists():
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(CLOCK), "-ldl"]
        subprocess.run(command, check=True)
    return library
