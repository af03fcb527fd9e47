"""Metric suites for tests of the engine: one counts, in a version that the environment gives; the others misbehave."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from gcbench.bench.metrics import Column, Suite
from gcbench.errors import BadMesh, CodecFailed


def note(line: str) -> None:
    """Append a line to the log that tests read, which lies in the folder GCBENCH_TEST_LOG; in one write."""
    if folder := os.environ.get("GCBENCH_TEST_LOG"):
        with (Path(folder) / "log").open("a") as log:
            log.write(line + "\n")


def column(name: str) -> Column:
    return Column(name, name, "a number for tests", "count", better=None)


class Counts(Suite):
    """Counts faces. Says which process measured, and takes a moment, so that two slots both get something to do."""

    name = "test-counts"
    columns = (column("test_faces_before"), column("test_faces_after"), column("test_x"))

    def version(self):
        return os.environ.get("GCBENCH_TEST_SUITE_VERSION", "1")

    def reference(self, mesh, *, seed, threads):
        return len(mesh.faces)

    def measure(self, reference, decoded):
        note(f"measure {self.name} {os.getpid()}")
        time.sleep(0.05)
        x = float(decoded.vertices[:, 0].sum())
        return {"test_faces_before": reference, "test_faces_after": len(decoded.faces), "test_x": x}


class Raises(Suite):
    """Has a bug."""

    name = "test-raises"
    columns = (column("test_raises"),)

    def version(self):
        return "1"

    def reference(self, mesh, *, seed, threads):
        return None

    def measure(self, reference, decoded):
        note(f"measure {self.name} {os.getpid()}")
        raise IndexError("a bug")


class Crashes(Raises):
    """Takes the process with it."""

    name = "test-crashes"
    columns = (column("test_crashes"),)

    def measure(self, reference, decoded):
        os._exit(3)


class Hangs(Raises):
    """Never ends."""

    name = "test-hangs"
    columns = (column("test_hangs"),)

    def measure(self, reference, decoded):
        note(f"measure {self.name} {os.getpid()}")
        time.sleep(600)


class Infinite(Raises):
    """Returns what is no number."""

    name = "test-infinite"
    columns = (column("test_infinite"),)

    def measure(self, reference, decoded):
        return {"test_infinite": math.inf}


class Blames(Raises):
    """Says that the codec is at fault."""

    name = "test-blames"
    columns = (column("test_blames"),)

    def measure(self, reference, decoded):
        raise CodecFailed("no faces left")


class Refuses(Raises):
    """Says that nothing can be compared with the original."""

    name = "test-refuses"
    columns = (column("test_refuses"),)

    def reference(self, mesh, *, seed, threads):
        raise BadMesh("not closed")
