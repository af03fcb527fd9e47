"""What is no regular file is refused at once."""

from __future__ import annotations

import os
import socket

import pytest

from gcbench.datasets.base import MeshSource
from gcbench.datasets.loading import load
from gcbench.datasets.regular import irregular, open_regular, read_regular
from gcbench.errors import BadMesh


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def _link(target):
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_pipe, "is a named pipe, not a file"),
        (_socket, "is a socket, not a file"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (_link("/dev/zero"), "is a device, not a file"),
        (_link("nowhere"), "is a link to nowhere, where there is no file"),
        (_link("x.obj"), "is a link to x.obj, where there is no file"),
    ],
)
def test_a_mesh_file_that_is_no_file_is_bad_input(tmp_path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = tmp_path / "x.obj"
    make(path.relative_to(tmp_path) if make is _socket else path)
    assert irregular(path) == reason
    with pytest.raises(BadMesh, match=rf"^x \(x\.obj\): {reason}$"):
        load(MeshSource("some", "x", path))


def test_files_and_links_to_files_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b") == b"content"
    assert irregular(tmp_path / "b") is None
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "c")
    assert irregular(tmp_path / "c") is None
