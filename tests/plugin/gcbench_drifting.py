"""Codecs that get worse on demand: the file ``drift`` in the folder GCBENCH_TEST_LOG says in which way."""

from __future__ import annotations

import os
import random
import struct
import time
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
from gcbench_testing import unpack

from gcbench.codecs import ModelCodec, Rate
from gcbench.errors import BitstreamError, CodecFailed


def drift() -> tuple[str, float]:
    """What gets worse, and by which fraction: ``bytes:0.01``."""
    file = Path(os.environ["GCBENCH_TEST_LOG"]) / "drift"
    what, _, by = (file.read_text() if file.exists() else "").partition(":")
    return what, float(by or 0)


class Drifting(ModelCodec):
    """Rounds coordinates. Drifts in bytes, p2s (exactly: every displacement grows), time, or fails."""

    name = "test-drift"
    packages = ("numpy",)

    def version(self):
        return f"1+numpy-{installed_version('numpy')}"

    def rates(self, effort):
        return [Rate(f"d{d}", {"digits": d}) for d in (1, 2)]

    def encode_mesh(self, mesh, rate, ctx):
        what, by = drift()
        if what == "fail":
            raise CodecFailed("drifted away")
        if what == "slow":
            end = time.process_time() + by
            while time.process_time() < end:
                pass
        vertices = np.asarray(mesh.vertices)
        displacement = np.round(vertices, int(rate.params["digits"])) - vertices
        moved = vertices + displacement * (1 + by if what == "p2s" else 1)
        stream = struct.pack("<II", len(moved), len(mesh.faces)) + moved.astype("<f4").tobytes()
        stream += mesh.faces.astype("<i4").tobytes()
        size = 1.1 * len(stream) * (1 + by if what == "bytes" else 1) * self._noise()  # a tenth of it is nothing
        return stream.ljust(round(size), b"\0")

    def decode_mesh(self, stream, ctx):
        if drift()[0] == "undecodable":
            raise BitstreamError("drifted away")
        v, f = struct.unpack_from("<II", stream)
        return unpack(stream[: 8 + 12 * (v + f)])

    def _noise(self):
        return 1.0


class Trained(Drifting):
    """The same, but every encoding takes another number of bytes, ± 0.2 %, as if it were trained."""

    name = "test-trained"
    deterministic = False

    def _noise(self):
        return random.SystemRandom().uniform(0.998, 1.002)
