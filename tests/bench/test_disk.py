"""Full disks, folders that cannot be written, runs with nothing in them: one line, and an exit code that says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = ("-d", "shapes", "-c", "test-exact", "--rate", "d1", "--suite", "surface")


@pytest.fixture
def small(tmp_path):
    """A function that mounts a file system of some kilobytes."""
    mounted = []

    def mount(kilobytes: int, *, source: Path | None = None) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        if source is None:
            command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        else:
            command = ["mount", "--bind", str(source), str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not permitted")
        mounted.append(place)
        if source is not None:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def kept(bench, folder, tmp_path) -> Path:
    """A finished run."""
    bench("run", *RUN, "--run", "./kept")
    return tmp_path / "kept"


def test_a_full_disk_is_one_line(bench, kept, folder, small):
    disk = small(32)
    commands = (
        ("plot", "./kept", "-o", disk / "figures"),
        ("report", "./kept", "--no-meshes", "-o", disk / "report.html"),
        ("merge", "./kept", "-o", disk / "merged"),
        ("run", *RUN, "--run", disk / "run"),
        ("decode", "./kept", "--mesh", "shape0", "-o", disk / "meshes"),
        ("encode", "shapes/shape0.ply", "-c", "test-exact", "--rate", "d1", "-o", disk / "streams"),
    )
    for command in commands:
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (disk / "full").write_bytes(bytes(32 << 10))
        said = bench(*command, code=3).stderr
        assert said.splitlines()[-1].startswith("error: "), said
        assert "No space left on device" in said
        assert str(disk) in said


def test_a_run_resumes_when_there_is_room(bench, folder, small):
    disk = small(40)
    bench("run", *RUN, "--run", disk / "run", code=3)
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert "0 failed, 1 bad input" in bench("run", *RUN, "--run", disk / "run").stdout
    assert "3/4" in bench("table", disk / "run").stdout


def test_a_run_that_cannot_be_written(bench, kept, folder, small):
    disk = small(0, source=kept)
    assert "3/4" in bench("table", disk).stdout
    assert "all checks pass" in bench("verify", disk, "--jobs", "1").stdout
    bench("choose", disk, "--max-kb", "1000")
    for command in (("plot", disk), ("report", disk, "--no-meshes"), ("run", *RUN, "--run", disk)):
        said = bench(*command, code=3).stderr
        assert said.splitlines()[-1].startswith("error: "), said
        assert "Read-only file system" in said


def test_output_that_nobody_can_write(tmp_path):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gcbench.bench.cli", "list", "metrics"],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("error: the system says: No space left on device"), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_reader_of_a_run_that_ends_early_is_no_traceback(folder, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gcbench.bench.cli", "run", *RUN]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_where_no_mesh_can_be_used(bench, folder, tmp_path):
    for path in folder.glob("*.ply"):
        path.unlink()
    done = bench("run", *RUN, code=3)
    assert "next:" not in done.stdout
    assert "error: none of the 1 meshes can be used; the reasons: bench table shapes-all-standard" in done.stderr
    assert json.loads(bench("run", *RUN, "-f", "json", code=3).stdout)["bad_input"] == 1
    said = bench("choose", "--max-kb", "5", code=1).stderr
    assert "has no coding that is ok, so there is nothing to choose from" in said
    assert json.loads(bench("choose", "--max-kb", "5", "-f", "json", code=1).stdout) == []
    assert "no measured record" in bench("plot", code=2).stderr
    assert "broken" in bench("table", "--failures").stdout


def test_a_run_where_every_coding_failed(bench, folder):
    done = bench("run", "-d", "shapes", "-c", "test-bad", "--rate", "enc-raise", "--suite", "topology", code=1)
    assert "error: no coding is ok" in done.stderr
    assert "next:" not in done.stdout
    assert "nothing to choose from" in bench("choose", "--max-kb", "5", code=1).stderr


def test_choose_with_one_dataset_where_nothing_is_ok(bench, folder, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.obj").write_text("no mesh")
    bench("run", *("-d", "shapes,bad"), *RUN[2:])
    chosen = bench("choose", "--max-kb", "1000").stdout
    assert "shapes, split all" in chosen
    assert "\nnext: bench encode MESH -c " in chosen
