"""Codecs that behave well or badly on purpose. An installed third-party package as far as gcbench can tell."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import trimesh

from gcbench.codecs import Availability, ModelCodec, Rate, SetCodec, StreamLayout
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError, CodecFailed, CodecUnavailable


def pack(mesh: trimesh.Trimesh, digits: int) -> bytes:
    vertices = np.round(mesh.vertices, digits).astype("<f4")
    return struct.pack("<II", len(vertices), len(mesh.faces)) + vertices.tobytes() + mesh.faces.astype("<i4").tobytes()


def note(line: str) -> None:
    """Append a line to the log that tests read, which lies in the folder GCBENCH_TEST_LOG; in one write."""
    if folder := os.environ.get("GCBENCH_TEST_LOG"):
        with (Path(folder) / "log").open("a") as log:
            log.write(line + "\n")


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
        note(f"encode {self.name} {rate.label}")
        assert not list(ctx.scratch.iterdir())
        assert Path.cwd() == ctx.scratch.resolve()
        return pack(mesh, int(rate.params["digits"]))

    def decode_mesh(self, stream, ctx):
        note(f"decode {self.name}")
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
        note(f"encode {self.name} {rate.label}")
        parts = [pack(mesh, 4) for mesh in meshes]
        return struct.pack(f"<I{len(parts)}I", len(parts), *map(len, parts)) + b"".join(parts)

    def decode_set(self, stream, ctx):
        note(f"decode {self.name}")
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


class RandomAccess(WholeSet):
    """Decodes one mesh of a set alone."""

    name = "test-random-access"
    random_access = True

    def decode_one(self, stream, index, ctx):
        note(f"decode-one {self.name} {index}")
        sizes = self._sizes(stream)
        at = 4 + 4 * len(sizes) + sum(sizes[:index])
        return unpack(stream[at : at + sizes[index]])


class Resumable(WholeSet):
    """Is stopped by the machine, or hangs, when it encodes for the first time; goes on from its checkpoint then."""

    name = "test-resumable"

    def rates(self, effort):
        return [Rate("stopped"), Rate("hangs")]

    def encode_set(self, meshes, rate, ctx):
        checkpoint = ctx.work / "checkpoint"
        if checkpoint.exists():
            note(f"resume {self.name} {checkpoint.read_text()}")
            return super().encode_set(meshes, rate, ctx)
        checkpoint.write_text("half of it")
        if rate.label == "hangs":
            time.sleep(600)
        raise OSError(28, "No space left on device")


class Idle(ModelCodec):
    """Does nothing with a mesh, for long enough to be looked at from outside."""

    name = "test-idle"

    def version(self):
        return "1"

    def rates(self, effort):
        return [Rate("only")]

    def encode_mesh(self, mesh, rate, ctx):
        time.sleep(0.3)
        return b"idle"

    def decode_mesh(self, stream, ctx):
        return trimesh.Trimesh([[-1, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)


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
            "sulks",
            "eat",
            "nothing",
            "nan",
            "text",
            "program",
            "corrupt",
            "exit",
            "full",
            "wild",
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
        if way == "wild" and not encoding:  # a face points at no vertex
            return trimesh.Trimesh(np.eye(3), [[0, 1, 7]], process=False, validate=False)
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


class Faulty(ModelCodec):
    """Keeps the contract but in one point, which ``fault`` names; keeps all of it without."""

    name = "test-faulty"
    magic = b"FLTY"
    header = struct.Struct("<4sBBII")  # the fault's number twice: a changed bit does not make another fault of it
    remembered: ClassVar[dict[bytes, bytes]] = {}  # of the fault "global"
    offended = False  # of the fault "sulks"

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def version(self):
        return {"version": f"pid {os.getpid()}", "version-int": 1}.get(self.fault, "1")

    def availability(self):
        if self.fault == "availability-raises":
            raise RuntimeError("no idea")
        if self.fault == "availability-bool":
            return True
        return Availability(self.fault != "mute", "cannot" if self.fault == "mute" else "")

    def rates(self, effort):
        digits = {"reversed": (3, 2, 1), "one-label": (1, 1)}.get(self.fault, (1, 2, 3))
        if self.fault == "relabelled" and effort == "paper":
            return [Rate("d1", {"digits": 5})]
        return [Rate(f"d{d}", {"digits": [d] if self.fault == "list" else d}) for d in digits]

    def encode_mesh(self, mesh, rate, ctx):
        self._at_the_deadline(ctx)
        if self.fault == "liar":
            raise CodecUnavailable("the licence has run out", "pay")
        if self.fault == "segv" and not len(mesh.vertices):
            os.kill(os.getpid(), signal.SIGSEGV)
        vertices = np.asarray(mesh.vertices)
        if self.fault != "nan" and not np.isfinite(vertices).all():
            raise CodecFailed("a position is not finite")
        if not len(mesh.faces):
            raise CodecFailed("no faces")
        if self.fault == "in-place":
            mesh.vertices[0] = 0
        if self.fault == "random":
            vertices = vertices + np.random.default_rng().normal(0, 0.01, vertices.shape)
        if self.fault == "far":
            vertices = vertices + [1, 0, 0]
        vertices, faces = np.round(vertices, int(rate.params["digits"])), mesh.faces
        if self.fault == "drops" and len(faces) == len(vertices):
            faces = faces[:0]
        body = zlib.compress(vertices.astype("<f4").tobytes() + faces.astype("<i4").tobytes())
        number = FAULTS.index(self.fault)
        head = self.header.pack(self.magic, number, 255 - number, len(vertices), len(faces))
        if self.fault in {"global", "file"}:  # the stream is a key to what is elsewhere
            key = struct.pack("<I", zlib.crc32(body))
            if self.fault == "global":
                self.remembered[key] = body
            else:
                self._file(key).write_bytes(body)
            body = key
        stream = head + struct.pack("<I", zlib.crc32(head + body)) + body
        return stream.decode("latin-1") if self.fault == "text" else stream

    def decode_mesh(self, stream, ctx):
        if stream[:4] != self.magic:
            if stream.startswith(b"v 0 0 0") and self.accepts_text:
                return trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
            raise BitstreamError("not a stream of test-faulty")
        if len(stream) < self.header.size + 4:
            raise BitstreamError("too short")
        _, number, complement, v, f = self.header.unpack_from(stream)
        fault = FAULTS[number] if number < len(FAULTS) and number + complement == 255 else ""
        if fault == "trusting":
            np.ones((v, 3))
        head, body = stream[: self.header.size], stream[self.header.size + 4 :]
        if struct.pack("<I", zlib.crc32(head + body)) != stream[self.header.size :][:4]:
            if fault == "sulks":
                type(self).offended = True
            if fault == "hangs":
                time.sleep(600)
            if fault == "index" and len(body) < 20:
                body[20]
            if fault == "careless":
                raise CodecFailed("something is wrong")
            raise BitstreamError("checksum")
        if fault == "global":
            body = self.remembered[body]
        if fault == "file":
            body = self._file(body).read_bytes()
        data = zlib.decompress(body)
        if len(data) != 12 * (v + f):
            raise BitstreamError("wrong length")
        vertices = np.frombuffer(data, "<f4", 3 * v).reshape(-1, 3)
        if fault == "noise":
            vertices = vertices + np.random.default_rng().normal(0, 1e-6, vertices.shape)
        if self.offended:
            vertices = vertices[:, [1, 2, 0]]
        return trimesh.Trimesh(vertices, np.frombuffer(data, "<i4", 3 * f, 12 * v).reshape(-1, 3), process=False)

    accepts_text = False

    def _file(self, key):
        folder = Path(os.environ["GCBENCH_CACHE"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"faulty-{key.hex()}.bin"

    def _at_the_deadline(self, ctx):
        if ctx.seconds_left() > 0:
            return
        if self.fault == "late":
            raise CodecFailed("took too long")
        if self.fault == "escapes":  # a program in a session of its own, whose parent is gone, outlives the kill
            command = ["sh", "-c", f"'{sys.executable}' -c 'import time; time.sleep(60)' &"]
            subprocess.run(command, start_new_session=True, check=True)
            time.sleep(60)


FAULTS = (
    "",
    "availability-bool",
    "availability-raises",
    "careless",
    "drops",
    "escapes",
    "far",
    "file",
    "global",
    "hangs",
    "in-place",
    "index",
    "late",
    "liar",
    "list",
    "mute",
    "nan",
    "noise",
    "one-label",
    "random",
    "relabelled",
    "reversed",
    "segv",
    "sulks",
    "text",
    "trusting",
    "version",
    "version-int",
)


class Hostage(ModelCodec):
    """Has a checksum, and trusts what is behind it: each rate in its own way."""

    name = "test-hostage"
    container = Container(b"HST", 1, name)
    ways = ("careful", "raises", "hangs", "grows", "dies", "nan")

    def version(self):
        return "1"

    def rates(self, effort):
        return [Rate(way) for way in self.ways]

    def encode_mesh(self, mesh, rate, ctx):
        return self.container.pack(Writer().choice(rate.label, self.ways).number(3).data())

    def decode_mesh(self, stream, ctx):
        fields = self.container.open(stream)
        way, count = fields.choice("way", self.ways), fields.number("count")
        fields.end()
        vertices = np.eye(3)
        if count != 3 and way == "careful":
            raise BitstreamError("the count is not 3")
        if count > 100:
            if way == "raises":
                vertices[count]
            if way == "hangs":
                time.sleep(600)
            if way == "grows":
                np.ones(50 << 20)
            if way == "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            if way == "nan":
                vertices[0] = np.nan
        return trimesh.Trimesh(vertices, [[0, 1, 2]], process=False)


class Gullible(Faulty):
    """Decodes what is none of its streams, and has a constructor that an address cannot feed."""

    name = "test-gullible"
    accepts_text = True

    def __init__(self, weights=None) -> None:
        super().__init__()


class FaultySet(SetCodec):
    """A set codec that keeps the contract but in one point."""

    name = "test-faulty-set"

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self._mesh = Faulty()

    def version(self):
        return "1"

    def rates(self, effort):
        return self._mesh.rates(effort)

    def encode_set(self, meshes, rate, ctx):
        if self.fault == "pairs" and len(meshes) == 1:
            raise CodecFailed("one is not enough")
        parts = [self._mesh.encode_mesh(mesh, rate, ctx) for mesh in meshes]
        if self.fault == "merges":
            parts = list(dict.fromkeys(parts))
        if self.fault == "shuffles":
            parts = parts[::-1]
        head = struct.pack(f"<4sI{len(parts)}I", b"FSET", len(parts), *map(len, parts))
        return head + struct.pack("<I", zlib.crc32(head)) + b"".join(parts)

    def decode_set(self, stream, ctx):
        meshes, (at, *sizes) = [], self._sizes(stream)
        if at + sum(sizes) != len(stream):
            raise BitstreamError("wrong length")
        for size in sizes:
            meshes.append(self._mesh.decode_mesh(stream[at : at + size], ctx))
            at += size
        return meshes

    def layout(self, stream):
        at, *sizes = self._sizes(stream)
        if self.fault == "layout-none":
            return None
        return StreamLayout(at + (self.fault == "layout"), tuple(sizes))

    def _sizes(self, stream):
        if stream[:4] != b"FSET" or len(stream) < 12:
            raise BitstreamError("not a stream of test-faulty-set")
        (count,) = struct.unpack_from("<I", stream, 4)
        end = 8 + 4 * count
        if len(stream) < end + 4 or struct.unpack_from("<I", stream, end) != (zlib.crc32(stream[:end]),):
            raise BitstreamError("checksum")
        return (end + 4, *struct.unpack_from(f"<{count}I", stream, 8))
