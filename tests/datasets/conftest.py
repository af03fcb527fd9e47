"""Fixtures of real structure for the dataset tests: mesh files of every format, animations, and a web server."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gcbench.datasets.base import MeshSource


@pytest.fixture
def cube() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Box [0, 4] × [0, 2] × [0, 1]: 8 vertices, 12 triangles."""
    vertices = np.array([[x, y, z] for x in (0.0, 4.0) for y in (0.0, 2.0) for z in (0.0, 1.0)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return vertices, faces


@pytest.fixture
def cube_obj(cube: tuple[NDArray[np.float64], NDArray[np.int64]]) -> bytes:
    vertices, faces = cube
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"f {a} {b} {c}" for a, b, c in faces + 1]
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def source() -> Callable[..., MeshSource]:
    """Write bytes to a file and make a source of it."""

    def make(path: Path, data: bytes, frame: int = 0) -> MeshSource:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return MeshSource("test", path.stem, path, frame)

    return make


@pytest.fixture
def anime_bytes() -> Callable[..., bytes]:
    """Encode frames (f, n, 3) and triangles to the .anime format, from its description and not from the reader."""

    def encode(frames: NDArray[np.float32], faces: NDArray[np.int64]) -> bytes:
        offsets = (frames[1:] - frames[:1]).astype("<f4")
        header = struct.pack("<iii", len(frames), frames.shape[1], len(faces))
        return header + frames[0].astype("<f4").tobytes() + faces.astype("<i4").tobytes() + offsets.tobytes()

    return encode


@dataclass
class Site:
    """What the test server does with a path, and what it was asked."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)  # bytes sent before each of the next responses is cut
    statuses: list[int] = field(default_factory=list)  # of the next responses
    honours_ranges: bool = True
    etag: str = '"v1"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and Range header
    ranges_served: int = 0


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server on this machine that serves well, breaks off, ignores ranges, or answers with an error."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked_range = self.headers.get("Range")
            state.asked.append((self.path, asked_range))
            if state.statuses:
                self._head(state.statuses.pop(0), 0)
                return
            data = state.files.get(self.path.lstrip("/"))
            if data is None:
                self._head(404, 0)
                return
            same_version = self.headers.get("If-Range") in {None, state.etag}
            if asked_range and state.honours_ranges and same_version:
                start = int(asked_range.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self._head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
                    return
                state.ranges_served += 1
                body = data[start:]
                self._head(206, len(body), {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
            else:
                body = data
                self._head(200, len(body))
            if state.break_after:
                body = body[: state.break_after.pop(0)]
            self.wfile.write(body)

        def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(length), "ETag": state.etag, **(headers or {})}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Site(f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
