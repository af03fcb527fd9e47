"""Files of a run are opened without following links; what is written is whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gcbench.bench.store import safe_files
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError

USERS = b"of the user"


@pytest.fixture
def users(tmp_path) -> Path:
    path = tmp_path / "users"
    path.write_bytes(USERS)
    return path


ODD = {
    "link": lambda path, users: path.symlink_to(users),
    "hard link": lambda path, users: path.hardlink_to(users),
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
    "device": lambda path, _: path.symlink_to("/dev/zero"),
    "dangling": lambda path, users: path.symlink_to(users.with_name("new")),
}


@pytest.mark.parametrize("name", ["lock", "codings.jsonl", "measurements.jsonl", "sessions.jsonl"])
@pytest.mark.parametrize("odd", ODD)
def test_a_run_is_not_written_through_a_link(tmp_path, users, name, odd):
    with Run(tmp_path / "run").writing():
        pass
    (tmp_path / "run" / name).unlink(missing_ok=True)
    ODD[odd](tmp_path / "run" / name, users)
    with pytest.raises(StoreError, match=name), Run(tmp_path / "run").writing() as run:
        run.note("s", started="now")
    assert users.read_bytes() == USERS
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["streams", "spool", "work", "logs"])
def test_a_folder_of_a_run_is_no_link(tmp_path, name):
    (tmp_path / "users").mkdir()
    with Run(tmp_path / "run").writing():
        pass
    (tmp_path / "run" / name).symlink_to(tmp_path / "users")
    with pytest.raises(StoreError, match=f"{name}: it is a link, not a folder; remove it"):
        Run(tmp_path / "run").writing()


def test_links_among_checkpoints_and_logs_are_removed_and_what_they_lead_to_stays(tmp_path, users, caplog):
    with Run(tmp_path / "run").writing():
        pass
    work = tmp_path / "run" / "work" / "key"
    work.mkdir(parents=True)
    (work / "checkpoint").symlink_to(users)
    (work / "deep").symlink_to(tmp_path)
    (work / "mine").write_text("stays")
    with Run(tmp_path / "run").writing():
        pass
    assert [path.name for path in work.iterdir()] == ["mine"]
    assert users.read_bytes() == USERS
    assert "checkpoint was a link" in caplog.text


@pytest.mark.parametrize("content", [b"", b"not ours", b'{"key": 1}\nand a line without an end'])
def test_a_folder_that_is_no_run_is_refused_and_stays_as_it_is(tmp_path, content):
    (tmp_path / "codings.jsonl").write_bytes(content)
    with pytest.raises(StoreError, match=r"is no run: it holds 'codings.jsonl' and no gcbench-run.json"):
        Run(tmp_path).writing()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"codings.jsonl": content}


def test_an_empty_folder_becomes_a_run_and_a_marker_that_was_cut_short_is_written_again(tmp_path):
    with Run(tmp_path).writing():
        marker = (tmp_path / safe_files.MARKER).read_bytes()
    (tmp_path / safe_files.MARKER).write_bytes(b"")
    with Run(tmp_path).writing():
        pass
    assert (tmp_path / safe_files.MARKER).read_bytes() == marker


@pytest.mark.parametrize("odd", ["link", "hard link", "dangling", "pipe"])
def test_what_is_written_in_one_step_replaces_a_link(tmp_path, users, odd):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "report.html"
    ODD[odd](path, users)
    safe_files.write_file(path, b"report")
    assert path.read_bytes() == b"report"
    assert not path.is_symlink()
    assert users.read_bytes() == USERS
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def test_a_linked_folder_inside_a_run_is_not_followed_and_outside_it_is(tmp_path):
    (tmp_path / "users").mkdir()
    with Run(tmp_path / "run").writing():
        pass
    for folder in (tmp_path / "run" / "figures", tmp_path / "figures"):
        folder.symlink_to(tmp_path / "users")
    with pytest.raises(StoreError, match="figures: it is a link"):
        safe_files.write_file(tmp_path / "run" / "figures" / "rd.png", b"")
    assert not list((tmp_path / "users").iterdir())
    safe_files.write_file(tmp_path / "figures" / "rd.png", b"")
    assert (tmp_path / "users" / "rd.png").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    real, left = os.write, [3]

    def full(fd, data):
        if left[0] <= 0:
            raise OSError(28, "No space left on device")
        left[0] -= 3
        return real(fd, bytes(data)[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"cannot write .*file: No space left on device"):
        safe_files.write_file(path, b"something new")
    monkeypatch.undo()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize("name", ["../../dev/zero", "/dev/zero", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_of_a_stream_is_no_path(tmp_path, name):
    with pytest.raises(StoreError, match="64 hexadecimal digits"):
        Run(tmp_path).stream(name)


def test_a_stream_has_the_size_that_its_coding_says(tmp_path):
    name = "0" * 64
    path = tmp_path / "streams" / "00" / name
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(StoreError, match="its coding says 7"):
        Run(tmp_path).stream(name, 7)
    with pytest.raises(StoreError, match="at most"):
        Run(tmp_path).stream(name)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="links in a run are not followed"):
        Run(tmp_path).stream(name)
