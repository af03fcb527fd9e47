"""Checks of what a codec does with what it should not get: hard meshes, damaged and foreign streams, no time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from gcbench.bench.conformance import damage
from gcbench.bench.conformance.calls import Trouble
from gcbench.bench.conformance.contract import Broken, passed, warned
from gcbench.bench.conformance.lab import Lab, Unmet, same_meshes
from gcbench.bench.conformance.report import Verdict
from gcbench.bench.conformance.shapes import HardMesh
from gcbench.bench.conformance.trial import Decoded, Encoded
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.process import Limits

FAR_OFF = 0.25
"""A decoded mesh further away than that, where the longest side is 2, is another shape."""

_DAMAGED = {"cut": 40, "changed": 120}
_DAMAGED_QUICK = {"cut": 10, "changed": 30}
_DAMAGED_BUDGET_S, _DAMAGED_BUDGET_QUICK_S = 30.0, 10.0
_FEWEST_DAMAGED = 6
_DAMAGED_MEMORY_BYTES = 1 << 30  # over what decoding the good stream took
_BROKEN_ENOUGH = 3  # of damaged streams, to say what is wrong
_QUICK_MESHES = frozenset({"empty", "one-triangle", "nan", "open", "degenerate"})


def hard(hard: HardMesh) -> Callable[[Lab], Verdict]:
    """Make a check that codes one mesh at the lowest rate, as a set of its own if need be."""

    def run(lab: Lab) -> Verdict:
        if lab.settings.quick and hard.name not in _QUICK_MESHES:
            return Verdict("skip", "left out by --quick")
        rate, mesh = lab.ladder()[0], hard.make()
        lab.decoded(rate)  # a codec that cannot do good meshes has failed before
        encoded = lab.encode([mesh], rate)
        if isinstance(encoded, Trouble):
            if encoded.meant:
                return passed(f"refused: {encoded}")
            raise Broken(f"{hard.what}: encode() {encoded}")
        if encoded.fault:
            raise Broken(f"{hard.what}: {encoded.fault}")
        decoded = lab.decode(encoded.streams[0])
        if isinstance(decoded, Trouble):
            if decoded.meant:
                return warned(f"coded, and then the stream is refused: {decoded}")
            raise Broken(f"{hard.what}: decode() {decoded}")
        if decoded.fault:
            raise Broken(f"{hard.what}: {decoded.fault}")
        return _judged(lab, mesh, decoded.meshes[0] if len(decoded.meshes) == 1 else None, len(encoded.streams[0]))

    return run


def _judged(lab: Lab, mesh: MeshArrays, decoded: MeshArrays | None, stream_bytes: int) -> Verdict:
    """What a mesh is that went in hard and came back."""
    coded = f"coded in {stream_bytes} bytes"
    if decoded is None:
        raise Broken("one mesh went in, another number came back")
    if not len(mesh.faces):
        if len(decoded.faces):
            raise Broken("nothing went in, and a surface came back")
        return passed(coded)
    if not np.isfinite(mesh.vertices).all():
        return warned(f"{coded}: the coordinate that is no number was replaced in silence")
    distance = lab.distance(mesh, decoded)
    if isinstance(distance, Trouble):
        without_area = distance.kind in {"BadMesh", "ValueError"}  # the input's: there is nothing to compare with
        if without_area:
            return passed(coded)
        if not len(decoded.faces):
            raise Broken("a surface went in, and none came back")
        return warned(f"{coded}, and cannot be measured: {distance}")
    if distance > FAR_OFF:
        return warned(f"{coded}, and comes back as another shape ({distance:.2g} away)", distance=distance)
    return passed(f"{coded}, {distance:.2g} away", distance=distance)


def damaged(kind: str, make: Callable[[bytes, int], list[bytes]]) -> Callable[[Lab], Verdict]:
    """Make a check that decodes damaged streams: fewer of them where decoding is slow."""

    def run(lab: Lab) -> Verdict:
        rate, quick = lab.ladder()[0], lab.settings.quick
        lab.decoded(rate)  # a codec that cannot do good streams has failed before
        good, before = lab.streams(rate)[0], lab.readings(rate)[0]
        assert isinstance(before, Decoded)
        limits = Limits(
            min(lab.settings.deadline_s, 10 + 20 * before.wall_s),
            min(lab.settings.memory_bytes, before.peak_rss_bytes + _DAMAGED_MEMORY_BYTES),
        )
        end = time.monotonic() + (_DAMAGED_BUDGET_QUICK_S if quick else _DAMAGED_BUDGET_S)
        tried = silent = 0
        broken: list[str] = []
        for stream in make(good, (_DAMAGED_QUICK if quick else _DAMAGED)[kind]):
            tried += 1
            after = lab.decode(stream, limits=limits)
            if isinstance(after, Decoded) and not after.fault:
                silent += not same_meshes(before.meshes, after.meshes)
            elif isinstance(after, Decoded) or after.kind != "BitstreamError":
                broken.append(after.fault if isinstance(after, Decoded) else str(after))
            hangs = isinstance(after, Trouble) and after.what == "timeout"  # the next one would take as long
            if hangs or len(broken) == _BROKEN_ENOUGH or (tried >= _FEWEST_DAMAGED and time.monotonic() > end):
                break
        figures = {"tried": tried, "silent": silent, "broken": len(broken)}
        if broken:
            raise Broken(f"{len(broken)} of {tried} streams: {broken[0]}", **figures)
        _still_decodes(lab, good, before)
        if silent:
            share = 100 * silent / tried
            return warned(f"{silent} of {tried} ({share:.0f} %) decode to another mesh without complaint", **figures)
        return passed(f"{tried} streams, none decodes to another mesh", **figures)

    return run


def _still_decodes(lab: Lab, good: bytes, before: Decoded) -> None:
    """See whether the reader came through all that damage."""
    after = lab.decode(good)
    if isinstance(after, Trouble):
        raise Broken(f"after a damaged stream, a good one: {after}")
    if same_meshes(before.meshes, after.meshes):
        return
    again = lab.decode(good)
    if isinstance(again, Decoded) and same_meshes(after.meshes, again.meshes):
        raise Broken("after a damaged stream, a good one decodes to another mesh than before")
    raise Unmet("a good stream does not decode to the same mesh twice, see the check 'same-mesh'")


def foreign(lab: Lab) -> Verdict:
    """Decode what is not a stream."""
    lab.streams(lab.ladder()[0])
    things = list(damage.foreign())
    other = "draco" if lab.decoder == "raw-zstd" else "raw-zstd"
    things.append((f"a stream of {other}", lab.stream_of(other)))
    for what, stream in things:
        after = lab.decode(stream, limits=Limits(min(lab.settings.deadline_s, 20.0), lab.settings.memory_bytes))
        if isinstance(after, Decoded):
            raise Broken(f"{what}: decoded to {len(after.meshes)} meshes")
        if after.kind != "BitstreamError":
            raise Broken(f"{what}: {after}")
    return passed(f"{len(things)} things that are no streams are refused")


def deadline(lab: Lab) -> Verdict:
    """Encode and decode with no time left."""
    rate = lab.ladder()[0]
    lab.decoded(rate)  # with time it works
    first, encoded = lab.streams(rate), lab.encoded(rate)
    assert isinstance(encoded, Encoded)
    # The codec is told that its time is up; if it goes on, it is killed after half the time that it takes.
    limits = Limits(max(0.5, encoded.wall_s / 2), lab.settings.memory_bytes)
    for what, after in (
        ("encode", lab.encode(lab.meshes, rate, seconds=0.0, limits=limits)),
        ("decode", lab.decode(first[0], seconds=0.0, limits=limits)),
    ):
        if isinstance(after, Trouble) and after.what != "timeout" and after.kind != "CodecTimeout":
            raise Broken(f"{what}() past its deadline: {after}")
        if what == "encode":
            how = _how_it_ended(after)
    left = [process.name() for process in lab.left_running()]
    if left:
        raise Broken(f"programs run on after their codec was killed: {', '.join(left)}")
    return passed(how)


def _how_it_ended(after: Encoded | Decoded | Trouble) -> str:
    if not isinstance(after, Trouble):
        return f"done in {after.wall_s:.2g} s, before it had to be killed"
    return "killed, and nothing of it runs on" if after.what == "timeout" else "ends with CodecTimeout by itself"
