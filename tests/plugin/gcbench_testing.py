"""Codecs that behave well or badly on purpose. An installed third-party package as far as gcbench can tell."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import trimesh

from gcbench.codecs import Availability, ModelCodec, Rate, SetCodec, StreamLayout
from gcbench.errors import BitstreamError


def pack(mesh: trimesh.Trimesh, digits: int) -> bytes:
    vertices = np.round(mesh.vertices, digits).astype("<f4")
    return struct.pack("<II", len(vertices), len(mesh.faces)) + vertices.tobytes() + mesh.faces.astype("<i4").tobytes()


def unpack(data: bytes) -> trimesh.Trimesh:
    v, f = struct.unpack_from("<II", data)
    if len(data) != 8 + 12 * (v + f):
        raise BitstreamError("wrong length")
    vertices = np.frombuffer(data, "<f4", 3 * v, 8).reshape(-1, 3)
    faces = np.frombuffer(data, "<i4", 3 * f, 8 + 12 * v).reshape(-1, 3)
    return trimesh.Trimesh(vertices, faces, process=False)


class Exact(ModelCodec):
    """Rounds coordinates and stores them: fast and well-behaved."""

    name = "test-exact"

    def __init__(self, digits: int = 4) -> None:
        self.digits = digits

    def version(self):
        return "1"

    def rates(self, effort):
        ladder = [Rate(f"d{d}", {"digits": d}) for d in (1, 2, 3)]
        return ladder[:2] if effort == "quick" else ladder

    def encode_mesh(self, mesh, rate, ctx):
        assert not list(ctx.scratch.iterdir())
        assert Path.cwd() == ctx.scratch.resolve()
        return pack(mesh, int(rate.params["digits"]))

    def decode_mesh(self, stream, ctx):
        assert not list(Path.cwd().iterdir())
        return unpack(stream)


class WholeSet(SetCodec):
    """All meshes in one stream, behind a header that they share."""

    name = "test-set"

    def version(self):
        return "1"

    def rates(self, effort):
        return [Rate("only")]

    def encode_set(self, meshes, rate, ctx):
        parts = [pack(mesh, 4) for mesh in meshes]
        return struct.pack(f"<I{len(parts)}I", len(parts), *map(len, parts)) + b"".join(parts)

    def decode_set(self, stream, ctx):
        meshes, at = [], 4 + 4 * len(self._sizes(stream))
        for size in self._sizes(stream):
            meshes.append(unpack(stream[at : at + size]))
            at += size
        return meshes

    def layout(self, stream):
        sizes = self._sizes(stream)
        return StreamLayout(4 + 4 * len(sizes), sizes)

    def _sizes(self, stream):
        (count,) = struct.unpack_from("<I", stream)
        return struct.unpack_from(f"<{count}I", stream, 4)


class Bad(Exact):
    """Misbehaves in the way its rate says, while encoding or decoding."""

    name = "test-bad"

    def rates(self, effort):
        ways = (
            "leave",
            "litter",
            "raise",
            "hang",
            "segv",
            "eat",
            "nothing",
            "nan",
            "text",
            "program",
            "corrupt",
            "exit",
            "full",
        )
        return [Rate(f"{stage}-{way}") for stage in ("enc", "dec") for way in ways]

    def encode_mesh(self, mesh, rate, ctx):
        stage, way = rate.label.split("-")
        if stage == "enc":
            return self._misbehave(way, encoding=True)
        return way.encode()

    def decode_mesh(self, stream, ctx):
        return self._misbehave(stream.decode(), encoding=False)

    def _misbehave(self, way, *, encoding):
        if way == "raise":
            raise ValueError("a bug\nover two lines")
        if way == "leave":  # die, while a child of ours holds everything open
            if os.fork() == 0:
                time.sleep(60)
            os.kill(os.getpid(), signal.SIGSEGV)
        if way == "litter":
            Path("huge").write_bytes(b"x" * 1000)
            os._exit(7)
        if way == "hang":
            time.sleep(600)
        if way == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        if way == "exit":
            os._exit(7)
        if way == "full":
            raise OSError(28, "No space left on device")
        if way == "eat":
            held = []
            while True:
                held.append(np.ones(1 << 22))
        if way == "program":  # a program that would outlive us
            command = [sys.executable, "-c", "import time; time.sleep(600)", str(Path.cwd())]
            subprocess.run(command, check=False)
        if way == "corrupt":
            raise BitstreamError("bad magic")
        if way == "text":
            return "not what it should be"
        if way == "nan":
            return b"" if encoding else trimesh.Trimesh(np.full((3, 3), np.nan), [[0, 1, 2]], process=False)
        return None


class Absent(Exact):
    """Cannot run anywhere."""

    name = "test-absent"

    def availability(self):
        return Availability(False, "needs a program that nobody has", "write it")


class NoWeights(Exact):
    """Has a constructor that fails."""

    name = "test-no-weights"

    def __init__(self):
        Path("weights.bin").read_bytes()
