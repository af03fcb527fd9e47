"""Checks with two closed meshes: round trip, determinism, other processes, order of rates, sets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.claims import says_unavailable
from gcbench.bench.conformance.lab import Lab, Role, same_meshes
from gcbench.bench.conformance.report import ContractBroken, Unmet, Verdict, passed, warned
from gcbench.bench.conformance.sandbox import Trouble
from gcbench.bench.conformance.trial import DecodeTrialResult, EncodeTrialResult
from gcbench.bench.run.arrays import MeshArrays
from gcbench.codecs import Rate

TOP_DISTANCE, ANY_DISTANCE = 0.05, 0.2
"""Limits of the mean point-to-surface distance for the best rate and for any rate, where the longest side is 2. Random
surfaces in the same box have 0.3; the coarsest rate of the coarsest codec so far (V-PCC at 5 bits) has 0.02."""

BYTES_SLACK, DISTANCE_SLACK, DISTANCE_NOISE = 0.05, 0.10, 1e-5
"""A rate may be 5 % smaller, or 10 % worse, than the next lower rate; distances under 1e-5 (float32 at a size of 2 has
1e-7) count as equal."""

BYTES_DROP, DISTANCE_GROWTH = 0.20, 1.5
"""Rates that fall by more than this are in the wrong order, which is a failure. Between the slack and this there is a
warning: codecs that train vary by tens of per cent on so small a set."""

ELSEWHERE_SLACK = 1e-3
"""A mesh decoded in another process may have twice the distance plus this; `same-mesh` checks for any difference."""


def streams(lab: Lab) -> Verdict:
    """Encode both meshes at each rate."""
    sizes: list[str] = []
    for rate in lab.ladder():
        encoded = lab.encoded(rate)
        if says_unavailable(encoded):
            raise Unmet("the codec cannot run, see the check 'available'")
        if isinstance(encoded, Trouble):
            raise ContractBroken(f"two closed meshes at {rate.label}: {encoded}")
        if encoded.fault:
            raise ContractBroken(encoded.fault)
        if not all(encoded.streams):
            raise ContractBroken(f"a stream at {rate.label} has no bytes: nothing can be in it")
        sizes.append(str(sum(map(len, encoded.streams))))
    return passed(f"{' '.join(sizes)} bytes for {len(lab.meshes)} meshes")


def inputs(lab: Lab) -> Verdict:
    """Compare the meshes before and after encoding."""
    for rate in lab.ladder():
        lab.streams(rate)
        encoded = lab.encoded(rate)
        if isinstance(encoded, EncodeTrialResult) and encoded.touched:
            raise ContractBroken(
                f"encode() at {rate.label} changed the vertices or faces of {len(encoded.touched)} input meshes"
            )
    return passed("the input meshes are as they were")


def _distances(lab: Lab, rate: Rate) -> list[float]:
    distances = []
    for original, decoded in zip(lab.meshes, lab.decoded(rate, by=lab.home), strict=True):
        distance = lab.distance(original, decoded)
        if isinstance(distance, Trouble):
            raise Unmet(f"at {rate.label}: {distance}")
        distances.append(distance)
    return distances


def round_trip(lab: Lab) -> Verdict:
    """Decode at each rate, and measure the distance."""
    ladder, worst = lab.ladder(), []
    for rate in ladder:
        lab.streams(rate)
        try:
            worst.append(max(_distances(lab, rate)))
        except Unmet as error:  # this check reports the failure that later checks skip
            raise ContractBroken(error) from None
        limit = TOP_DISTANCE if rate == ladder[-1] else ANY_DISTANCE
        if worst[-1] > limit:
            raise ContractBroken(
                f"at {rate.label} a closed mesh comes back {worst[-1]:.2g} away; the limit is {limit:g}"
            )
    return passed(f"mean point-to-surface distance {' '.join(f'{d:.2g}' for d in worst)}", best=min(worst))


def fresh_process(lab: Lab) -> Verdict:
    """Decode in a process that did not encode."""
    for rate in lab.ladder():
        in_place = lab.decoded(rate, by=lab.home)
        for reading in lab.readings(rate):
            if isinstance(reading, DecodeTrialResult) and reading.read:
                raise ContractBroken(f"decoding opens a file that encoding wrote: {min(reading.read)}")
            if isinstance(reading, Trouble):
                raise ContractBroken(f"at {rate.label}, where it was not encoded: {reading}")
        try:
            elsewhere = lab.decoded(rate)
        except Unmet as error:
            raise ContractBroken(error) from None
        if same_meshes(in_place, elsewhere):
            continue
        for original, here, there in zip(lab.meshes, in_place, elsewhere, strict=True):
            near, far = lab.distance(original, here), lab.distance(original, there)
            if isinstance(near, Trouble) or isinstance(far, Trouble):
                raise ContractBroken(
                    f"at {rate.label} the mesh cannot be measured: {far if isinstance(far, Trouble) else near}"
                )
            if far > 2 * near + ELSEWHERE_SLACK:
                raise ContractBroken(
                    f"at {rate.label} the mesh is {near:.2g} away where it was encoded, and {far:.2g} elsewhere"
                )
    return passed("decoded from the bytes alone, by name, in an empty folder")


def same_bytes(lab: Lab) -> Verdict:
    """Encode again, here and in another interpreter."""
    rate = lab.ladder()[0]
    first = lab.streams(rate)
    tries: dict[Role, str] = {"author": "again", "stranger": "in another process"}
    if lab.settings.quick:
        del tries["author"]
    for by, where in tries.items():
        again = lab.encode(lab.meshes, rate, by=by)
        if isinstance(again, Trouble):
            raise ContractBroken(f"encoding {where}: {again}")
        if again.streams != first:
            raise ContractBroken(f"encoding {where} gives other bytes ({_difference(first, again.streams)})")
    return passed(f"encoding {' and '.join(tries.values())} gives the same bytes")


def _difference(a: tuple[bytes, ...], b: tuple[bytes, ...]) -> str:
    for one, other in zip(a, b, strict=False):
        if len(one) != len(other):
            return f"{len(one)} and {len(other)}"
        if one != other:
            where = next(i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y)
            return f"the first at {where} of {len(one)}"
    return "another number of streams"


def same_mesh(lab: Lab) -> Verdict:
    """Decode again, here and in another interpreter."""
    rate = lab.ladder()[0]
    first = lab.decoded(rate)
    tries: dict[Role, str] = {"reader": "again", "stranger": "in another process"}
    if lab.settings.quick:
        del tries["reader"]
    for by, where in tries.items():
        again: list[MeshArrays] = []
        for stream in lab.streams(rate):
            decoded = lab.decode(stream, by=by)
            if isinstance(decoded, Trouble):
                raise ContractBroken(f"decoding {where}: {decoded}")
            again += decoded.meshes
        if not same_meshes(first, again):
            raise ContractBroken(f"decoding a stream {where} gives another mesh")
    return passed(f"decoding {' and '.join(tries.values())} gives the same mesh, bit for bit")


def monotone(lab: Lab) -> Verdict:
    """Compare bytes and distances of neighbouring rates."""
    ladder = lab.ladder()
    if len(ladder) < 2:
        raise Unmet("one rate is no ladder")
    sizes = [sum(map(len, lab.streams(rate))) for rate in ladder]
    distances = [max(float(np.mean(_distances(lab, rate))), DISTANCE_NOISE) for rate in ladder]
    odd: list[str] = []
    for low, high in [*pairwise(range(len(ladder))), (0, len(ladder) - 1)]:
        step = f"from {ladder[low].label} to {ladder[high].label}"
        smaller, worse = sizes[high] / sizes[low], distances[high] / distances[low]
        fewer = f"{step} bytes fall from {sizes[low]} to {sizes[high]}"
        further = f"{step} the distance grows from {distances[low]:.2g} to {distances[high]:.2g}"
        if smaller < 1 - BYTES_DROP:
            raise ContractBroken(fewer)
        if worse > DISTANCE_GROWTH:
            raise ContractBroken(further)
        odd += [fewer] * (smaller < 1 - BYTES_SLACK) + [further] * (worse > 1 + DISTANCE_SLACK)
    figures = {"bytes_ratio": sizes[-1] / sizes[0], "distance_ratio": distances[0] / distances[-1]}
    if odd:
        return warned(odd[0], **figures)
    if sizes[-1] <= sizes[0] or distances[-1] >= distances[0]:
        return warned("the ladder does not rise: its ends have the same bytes or the same distance", **figures)
    rise = "bytes rise {bytes_ratio:.1f}×, the distance falls {distance_ratio:.1f}×"
    return passed(rise.format(**figures), **figures)


def order(lab: Lab) -> Verdict:
    """See which decoded mesh is closest to which input."""
    decoded = lab.decoded(lab.ladder()[-1])
    table = [[lab.distance(original, mesh) for mesh in decoded] for original in lab.meshes]
    for i, row in enumerate(table):
        own = row[i]
        if isinstance(own, Trouble):
            raise Unmet(str(own))
        if any(not isinstance(other, Trouble) and other < own for other in row):
            raise ContractBroken("the meshes come back in another order than they went in")
    return passed("the meshes come back in the order in which they went in")


def layout(lab: Lab) -> Verdict:
    """Add up the layout of each stream."""
    if not lab.is_set():
        raise Unmet("for set codecs")
    what = ""
    for rate in lab.ladder():
        (stream,), encoded = lab.streams(rate), lab.encoded(rate)
        assert isinstance(encoded, EncodeTrialResult)
        layout = encoded.layout
        if isinstance(layout, Raised):
            raise ContractBroken(f"layout(): {layout}")
        if layout is None:
            raise Unmet("the codec says that it is a set codec, and is no SetCodec")
        if len(layout.mesh_bytes) != len(lab.meshes):
            raise ContractBroken(f"layout() speaks of {len(layout.mesh_bytes)} meshes, {len(lab.meshes)} went in")
        total = layout.shared_bytes + sum(layout.mesh_bytes)
        if total != len(stream) or min(layout.shared_bytes, *layout.mesh_bytes) < 0:
            raise ContractBroken(f"layout() adds up to {total} bytes, the stream has {len(stream)}")
        what = f"{layout.shared_bytes} bytes shared, {' and '.join(map(str, layout.mesh_bytes))} for one mesh each"
    return passed(what)


def set_of(count: int, what: str) -> Callable[[Lab], Verdict]:
    """Make a check that codes the first mesh ``count`` times as one set."""

    def run(lab: Lab) -> Verdict:
        if not lab.is_set():
            raise Unmet("for set codecs")
        lab.decoded(lab.ladder()[0])  # skip if two meshes fail: an earlier check reports that
        meshes = (lab.meshes[0],) * count
        encoded = lab.encode(meshes, lab.ladder()[0])
        if isinstance(encoded, Trouble) or encoded.fault:
            refused = isinstance(encoded, Trouble) and encoded.meant
            if refused and not count:
                return passed(f"refused: {encoded}")
            raise ContractBroken(encoded if isinstance(encoded, Trouble) else encoded.fault)
        decoded = lab.decode(encoded.streams[0])
        if isinstance(decoded, Trouble) or decoded.fault:
            raise ContractBroken(decoded if isinstance(decoded, Trouble) else decoded.fault)
        if len(decoded.meshes) != count:
            raise ContractBroken(f"{len(decoded.meshes)} meshes come back of {count}")
        for mesh in decoded.meshes:
            distance = lab.distance(lab.meshes[0], mesh)
            if isinstance(distance, Trouble) or distance > ANY_DISTANCE:
                raise ContractBroken(
                    f"a mesh comes back {distance if isinstance(distance, Trouble) else f'{distance:.2g} away'}"
                )
        return passed(f"{what}: {len(encoded.streams[0])} bytes")

    return run
