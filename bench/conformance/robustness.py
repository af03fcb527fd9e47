"""Checks with difficult input: hard meshes, damaged streams, streams of other formats, a deadline that has passed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from gcbench.bench.conformance import damage
from gcbench.bench.conformance.lab import Lab, same_meshes
from gcbench.bench.conformance.report import ContractBroken, Unmet, Verdict, passed, warned
from gcbench.bench.conformance.sandbox import Trouble
from gcbench.bench.conformance.shapes import HardMesh
from gcbench.bench.conformance.trial import DecodeTrialResult, EncodeTrialResult
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.process import CallLimits

FAR_OFF = 0.25
"""A decoded mesh with a larger distance, where the longest side is 2, counts as another shape."""

_DAMAGED = {"cut": 40, "changed": 120}
_DAMAGED_QUICK = {"cut": 10, "changed": 30}
_DAMAGED_BUDGET_S, _DAMAGED_BUDGET_QUICK_S = 30.0, 10.0
_FEWEST_DAMAGED = 6
_DAMAGED_MEMORY_BYTES = 1 << 30  # more than decoding the good stream took
_BROKEN_ENOUGH = 3  # failures after which the check stops
_QUICK_MESHES = frozenset({"empty", "one-triangle", "nan", "open", "degenerate"})


def hard(hard: HardMesh) -> Callable[[Lab], Verdict]:
    """Make a check that encodes and decodes one hard mesh at the lowest rate."""

    def run(lab: Lab) -> Verdict:
        if lab.settings.quick and hard.name not in _QUICK_MESHES:
            return Verdict("skip", "left out by --quick")
        rate, mesh = lab.ladder()[0], hard.make()
        lab.decoded(rate)  # skip if good meshes fail: an earlier check reports that
        encoded = lab.encode([mesh], rate)
        if isinstance(encoded, Trouble):
            if encoded.meant:
                return passed(f"refused: {encoded}")
            raise ContractBroken(f"{hard.what}: encode() {encoded}")
        if encoded.fault:
            raise ContractBroken(f"{hard.what}: {encoded.fault}")
        decoded = lab.decode(encoded.streams[0])
        if isinstance(decoded, Trouble):
            if decoded.meant:
                return warned(f"coded, and then the stream is refused: {decoded}")
            raise ContractBroken(f"{hard.what}: decode() {decoded}")
        if decoded.fault:
            raise ContractBroken(f"{hard.what}: {decoded.fault}")
        return _judged(lab, mesh, decoded.meshes[0] if len(decoded.meshes) == 1 else None, len(encoded.streams[0]))

    return run


def _judged(lab: Lab, mesh: MeshArrays, decoded: MeshArrays | None, stream_bytes: int) -> Verdict:
    """The verdict on a decoded hard mesh."""
    coded = f"coded in {stream_bytes} bytes"
    if decoded is None:
        raise ContractBroken("one mesh went in, another number came back")
    if not len(mesh.faces):
        if len(decoded.faces):
            raise ContractBroken("nothing went in, and a surface came back")
        return passed(coded)
    if not np.isfinite(mesh.vertices).all():
        return warned(f"{coded}: the codec replaced a coordinate that is not finite without an error")
    distance = lab.distance(mesh, decoded)
    if isinstance(distance, Trouble):
        return _without_distance(lab, mesh, decoded, distance, coded)
    if distance > FAR_OFF:
        return warned(f"{coded}, and comes back as another shape ({distance:.2g} away)", distance=distance)
    return passed(f"{coded}, {distance:.2g} away", distance=distance)


def _without_distance(lab: Lab, mesh: MeshArrays, decoded: MeshArrays, trouble: Trouble, coded: str) -> Verdict:
    """The verdict on a decoded hard mesh whose distance to the original is not known."""
    if trouble.kind in {"BadMesh", "ValueError"}:  # the original has no surface to compare with
        return passed(coded)
    if len(decoded.faces):
        return warned(f"{coded}, and cannot be measured: {trouble}")
    # Whether a flat mesh of a set keeps a surface may show only after training, too late to refuse that mesh alone.
    if lab.is_set() and np.linalg.matrix_rank(mesh.vertices - mesh.vertices[0]) < 3:
        return warned(f"{coded}, and comes back without a surface: a run records this mesh alone as failed")
    raise ContractBroken("a surface went in, and none came back")


def damaged(kind: str, make: Callable[[bytes, int], list[bytes]]) -> Callable[[Lab], Verdict]:
    """Make a check that decodes damaged streams, fewer if decoding is slow."""

    def run(lab: Lab) -> Verdict:
        rate, quick = lab.ladder()[0], lab.settings.quick
        lab.decoded(rate)  # skip if good streams fail: an earlier check reports that
        good, before = lab.streams(rate)[0], lab.readings(rate)[0]
        assert isinstance(before, DecodeTrialResult)
        limits = CallLimits(
            min(lab.settings.deadline_s, 10 + 20 * before.wall_s),
            min(lab.settings.memory_bytes, before.peak_rss_bytes + _DAMAGED_MEMORY_BYTES),
        )
        end = time.monotonic() + (_DAMAGED_BUDGET_QUICK_S if quick else _DAMAGED_BUDGET_S)
        tried = silent = 0
        broken: list[str] = []
        for stream in make(good, (_DAMAGED_QUICK if quick else _DAMAGED)[kind]):
            tried += 1
            after = lab.decode(stream, limits=limits)
            if isinstance(after, DecodeTrialResult) and not after.fault:
                silent += not same_meshes(before.meshes, after.meshes)
            elif isinstance(after, DecodeTrialResult) or after.kind != "BitstreamError":
                broken.append(after.fault if isinstance(after, DecodeTrialResult) else str(after))
            hangs = isinstance(after, Trouble) and after.what == "timeout"  # others would probably hang too
            if hangs or len(broken) == _BROKEN_ENOUGH or (tried >= _FEWEST_DAMAGED and time.monotonic() > end):
                break
        figures = {"tried": tried, "silent": silent, "broken": len(broken)}
        if broken:
            raise ContractBroken(f"{len(broken)} of {tried} streams: {broken[0]}", **figures)
        _still_decodes(lab, good, before)
        if silent:
            share = 100 * silent / tried
            return warned(f"{silent} of {tried} ({share:.0f} %) decode to another mesh without an error", **figures)
        return passed(f"{tried} streams, none decodes to another mesh", **figures)

    return run


def _still_decodes(lab: Lab, good: bytes, before: DecodeTrialResult) -> None:
    """Check that the worker still decodes a good stream after the damaged ones."""
    after = lab.decode(good)
    if isinstance(after, Trouble):
        raise ContractBroken(f"after a damaged stream, a good one: {after}")
    if same_meshes(before.meshes, after.meshes):
        return
    again = lab.decode(good)
    if isinstance(again, DecodeTrialResult) and same_meshes(after.meshes, again.meshes):
        raise ContractBroken("after a damaged stream, a good one decodes to another mesh than before")
    raise Unmet("a good stream does not decode to the same mesh twice, see the check 'same-mesh'")


def foreign(lab: Lab) -> Verdict:
    """Decode bytes that are not a stream of the codec."""
    lab.streams(lab.ladder()[0])
    things = list(damage.foreign())
    other = "draco" if lab.decoder == "raw-zstd" else "raw-zstd"
    things.append((f"a stream of {other}", lab.stream_of(other)))
    for what, stream in things:
        after = lab.decode(stream, limits=CallLimits(min(lab.settings.deadline_s, 20.0), lab.settings.memory_bytes))
        if isinstance(after, DecodeTrialResult):
            raise ContractBroken(f"{what}: decoded to {len(after.meshes)} meshes")
        if after.kind != "BitstreamError":
            raise ContractBroken(f"{what}: {after}")
    return passed(f"{len(things)} things that are no streams are refused")


def deadline(lab: Lab) -> Verdict:
    """Encode and decode after the deadline."""
    rate = lab.ladder()[0]
    lab.decoded(rate)  # skip if the codec fails even without a deadline
    first, encoded = lab.streams(rate), lab.encoded(rate)
    assert isinstance(encoded, EncodeTrialResult)
    # The deadline in the codec's context has passed. A codec that goes on is killed after half the time that it needs.
    limits = CallLimits(max(0.5, encoded.wall_s / 2), lab.settings.memory_bytes)
    for what, after in (
        ("encode", lab.encode(lab.meshes, rate, seconds=0.0, limits=limits)),
        ("decode", lab.decode(first[0], seconds=0.0, limits=limits)),
    ):
        if isinstance(after, Trouble) and after.what != "timeout" and after.kind != "CodecTimeout":
            raise ContractBroken(f"{what}() past its deadline: {after}")
        if what == "encode":
            how = _how_it_ended(after)
    left = [process.name() for process in lab.left_running()]
    if left:
        raise ContractBroken(f"programs run on after their codec was killed: {', '.join(left)}")
    return passed(how)


def _how_it_ended(after: EncodeTrialResult | DecodeTrialResult | Trouble) -> str:
    if not isinstance(after, Trouble):
        return f"done in {after.wall_s:.2g} s, before it had to be killed"
    return "killed, and nothing of it runs on" if after.what == "timeout" else "ends with CodecTimeout by itself"
