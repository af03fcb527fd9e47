"""The checks of the conformance suite, in the order in which they run: a name, a sentence of the contract, a function.

A check looks at a codec through the lab only. What it cannot look at because an earlier one failed, it skips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gcbench.bench.conformance import damage
from gcbench.bench.conformance.lab import Lab, Role, Trouble, Unmet, same_meshes
from gcbench.bench.conformance.report import Verdict
from gcbench.bench.conformance.shapes import HARD_MESHES, HardMesh
from gcbench.bench.conformance.trial import Decoded, Encoded, Facts, Raised
from gcbench.bench.process import Limits
from gcbench.bench.stages import MeshArrays
from gcbench.codecs import Rate, StreamLayout
from gcbench.registry import split_address

AVAILABILITY_LIMIT_S = 10.0
"""What "cheap" means, on a busy machine too: importing a framework is allowed, loading weights or training is not."""

TOP_DISTANCE, ANY_DISTANCE = 0.05, 0.2
"""Mean point-to-surface distances that the best and any rate must keep, where the longest side is 2. Of random surfaces
in the same box it is 0.3; the coarsest rate of the coarsest codec measured so far (V-PCC at 5 bits) has 0.02."""

BYTES_SLACK, DISTANCE_SLACK, DISTANCE_NOISE = 0.05, 0.10, 1e-5
"""A rate may be 5 % smaller, or 10 % worse, than the one below it and still count as a step of the ladder; distances
under 1e-5 (float32 at a size of 2 has 1e-7) are all the same."""

FAR_OFF = 0.25
"""A decoded mesh further away than that, of one half of the longest side, is another shape."""

_UNAVAILABLE = frozenset({"CodecUnavailable", "ImportError", "ModuleNotFoundError", "SystemLibraryMissing"})
_DAMAGED = {"cut": 40, "changed": 120}
_DAMAGED_QUICK = {"cut": 10, "changed": 30}
_DAMAGED_BUDGET_S, _DAMAGED_BUDGET_QUICK_S = 30.0, 10.0
_FEWEST_DAMAGED = 6
_DAMAGED_MEMORY_BYTES = 1 << 30  # over what decoding the good stream took
_BROKEN_ENOUGH = 3  # of damaged streams: each may hang until the deadline
_QUICK_MESHES = frozenset({"empty", "one-triangle", "nan", "open", "degenerate"})


@dataclass(frozen=True)
class Check:
    """One check.

    Parameters
    ----------
    name : str
        Stable; what ``--only`` takes.
    contract : str
        What every codec must do.
    run : callable
        Gives the verdict.
    for_sets : bool
        Says nothing of a codec that codes each mesh by itself.
    """

    name: str
    contract: str
    run: Callable[[Lab], Verdict]
    for_sets: bool = False


def passed(reason: str, **figures: float) -> Verdict:
    """Make the verdict of a check that the codec passes."""
    return Verdict("pass", reason, figures)


def warned(reason: str, **figures: float) -> Verdict:
    """Make the verdict of a check that is passed, with something to know."""
    return Verdict("warn", reason, figures)


class Broken(Exception):
    """The codec does not keep the contract: the verdict of a check that fails."""

    def __init__(self, reason: object, **figures: float) -> None:
        super().__init__(str(reason))
        self.figures = figures


def _facts(lab: Lab) -> Facts:
    facts = lab.facts()
    if isinstance(facts, Trouble):
        raise Unmet("the codec cannot be created")
    return facts


def _available(lab: Lab) -> Verdict:
    facts = lab.facts()
    if isinstance(facts, Trouble):
        raise Broken(f"the codec cannot be created: {facts}")
    if isinstance(facts.available, Raised):
        raise Broken(f"availability() raises {facts.available}")
    took = f"{1000 * facts.availability_s:.0f} ms"
    ok, reason, remedy = facts.available
    if not ok:
        if not reason.strip() or not remedy.strip():
            raise Broken(f"availability() says no without a {'reason' if not reason.strip() else 'remedy'}")
        return passed(f"says no: {reason}; {remedy}")
    if facts.availability_s > AVAILABILITY_LIMIT_S:
        raise Broken(f"availability() takes {took}")
    encoded = lab.encoded(lab.ladder()[0])
    if isinstance(encoded, Trouble) and (encoded.kind in _UNAVAILABLE or "prepare() " in encoded.message):
        raise Broken(f"says yes, and then: {encoded}")
    return passed(f"says yes, in {took}")


def _parameters(lab: Lab) -> Verdict:
    facts = _facts(lab)
    if facts.parameters:
        raise Broken(f"constructor parameter {facts.parameters[0]}")
    _, given = split_address(lab.codec, "codec")
    return passed(f"created with {', '.join(given)}; its decoder without" if given else "created without any")


def _version(lab: Lab) -> Verdict:
    facts = _facts(lab)
    if isinstance(facts.version, Raised):
        raise Broken(f"version() raises {facts.version}")
    if not isinstance(facts.version, str) or not facts.version.strip():
        raise Broken(f"version() returns {facts.version!r}")
    if facts.kind not in {"model", "set"}:
        raise Broken(f"kind is {facts.kind!r}, not 'model' or 'set'")
    if type(facts.decoder_bytes) is not int or facts.decoder_bytes < 0:
        raise Broken(f"decoder_bytes is {facts.decoder_bytes!r}, not a number of bytes")
    elsewhere = lab.facts_elsewhere()
    if isinstance(elsewhere, Facts) and elsewhere.version != facts.version:
        raise Broken(f"version() is {facts.version!r} in one process and {elsewhere.version!r} in another")
    return passed(facts.version)


def _ladder(lab: Lab) -> Verdict:
    facts = _facts(lab)
    if facts.problems:
        raise Broken(facts.problems[0])
    meaning: dict[str, Rate] = {}
    for effort, rates in facts.ladders.items():
        if isinstance(rates, Raised):
            raise Broken(f"rates({effort!r}) raises {rates}")
        labels = [rate.label for rate in rates]
        if not labels:
            raise Broken(f"rates({effort!r}) is empty")
        for label in labels:
            if not isinstance(label, str) or not label or not label.isprintable() or set(label) & set(", "):
                raise Broken(f"the label {label!r} cannot be typed in --rates: no commas, no spaces")
            if labels.count(label) > 1:
                raise Broken(f"rates({effort!r}) has the label {label!r} twice")
        for rate in rates:
            if meaning.setdefault(rate.label, rate).params != rate.params:
                one, other = dict(meaning[rate.label].params), dict(rate.params)
                raise Broken(f"the label {rate.label!r} means {one} at one effort and {other} at another")
    elsewhere = lab.facts_elsewhere()
    if isinstance(elsewhere, Facts) and elsewhere.ladders != facts.ladders:
        raise Broken("rates() answers differently in another process")
    counts = ", ".join(f"{effort} {len(rates)}" for effort, rates in facts.ladders.items() if isinstance(rates, tuple))
    return passed(f"{len(meaning)} labels; {counts}")


def _streams(lab: Lab) -> Verdict:
    sizes: list[str] = []
    for rate in lab.ladder():
        encoded = lab.encoded(rate)
        if isinstance(encoded, Trouble):
            raise Broken(f"two closed meshes at {rate.label}: {encoded}")
        if encoded.fault:
            raise Broken(encoded.fault)
        if not all(encoded.streams):
            raise Broken(f"a stream at {rate.label} has no bytes: nothing can be in it")
        sizes.append(str(sum(map(len, encoded.streams))))
    return passed(f"{' '.join(sizes)} bytes for {len(lab.meshes)} meshes")


def _inputs(lab: Lab) -> Verdict:
    for rate in lab.ladder():
        lab.streams(rate)
        encoded = lab.encoded(rate)
        if isinstance(encoded, Encoded) and encoded.touched:
            raise Broken(
                f"encode() at {rate.label} changed the vertices or faces of {len(encoded.touched)} input meshes"
            )
    return passed("the input meshes are as they were")


def _distances(lab: Lab, rate: Rate) -> list[float]:
    distances = []
    for original, decoded in zip(lab.meshes, lab.decoded(rate, by="author"), strict=True):
        distance = lab.distance(original, decoded)
        if isinstance(distance, Trouble):
            raise Unmet(f"at {rate.label}: {distance}")
        distances.append(distance)
    return distances


def _round_trip(lab: Lab) -> Verdict:
    ladder, worst = lab.ladder(), []
    for rate in ladder:
        lab.streams(rate)
        try:
            worst.append(max(_distances(lab, rate)))
        except Unmet as error:  # here it is the codec's failure, not that of an earlier check
            raise Broken(error) from None
        limit = TOP_DISTANCE if rate == ladder[-1] else ANY_DISTANCE
        if worst[-1] > limit:
            raise Broken(f"at {rate.label} a closed mesh comes back {worst[-1]:.2g} away; the limit is {limit:g}")
    return passed(f"mean point-to-surface distance {' '.join(f'{d:.2g}' for d in worst)}", best=min(worst))


def _fresh_process(lab: Lab) -> Verdict:
    for rate in lab.ladder():
        in_place, encoded = lab.decoded(rate, by="author"), lab.encoded(rate)
        assert isinstance(encoded, Encoded)
        meshes: list[MeshArrays] = []
        for stream in encoded.streams:
            decoded = lab.decode(stream, written=encoded.written)
            if isinstance(decoded, Decoded) and decoded.read:
                raise Broken(f"decoding opens a file that encoding wrote: {min(decoded.read)}")
            if isinstance(decoded, Trouble):
                raise Broken(f"at {rate.label}, where it was not encoded: {decoded}")
            if decoded.fault:
                raise Broken(decoded.fault)
            meshes += decoded.meshes
        if len(meshes) != len(in_place):
            raise Broken(f"{len(meshes)} meshes are decoded of {len(in_place)}")
        for original, here, there in zip(lab.meshes, in_place, meshes, strict=True):
            near, far = lab.distance(original, here), lab.distance(original, there)
            if isinstance(near, Trouble) or isinstance(far, Trouble):
                raise Broken(
                    f"at {rate.label} the mesh cannot be measured: {far if isinstance(far, Trouble) else near}"
                )
            if far > 2 * near + 1e-3:
                raise Broken(
                    f"at {rate.label} the mesh is {near:.2g} away where it was encoded, and {far:.2g} elsewhere"
                )
    return passed("decoded from the bytes alone, by name, in an empty folder")


def _same_bytes(lab: Lab) -> Verdict:
    rate = lab.ladder()[0]
    first = lab.streams(rate)
    tries: dict[Role, str] = {"author": "again", "stranger": "in another process"}
    if lab.settings.quick:
        del tries["author"]
    for by, where in tries.items():
        again = lab.encode(lab.meshes, rate, by=by)
        if isinstance(again, Trouble):
            raise Broken(f"encoding {where}: {again}")
        if again.streams != first:
            raise Broken(f"encoding {where} gives other bytes ({_difference(first, again.streams)})")
    return passed("encoding again" + (" and" if len(tries) > 1 else ",") + " in another process gives the same bytes")


def _difference(a: tuple[bytes, ...], b: tuple[bytes, ...]) -> str:
    for one, other in zip(a, b, strict=False):
        if len(one) != len(other):
            return f"{len(one)} and {len(other)}"
        if one != other:
            where = next(i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y)
            return f"the first at {where} of {len(one)}"
    return "another number of streams"


def _same_meshes(lab: Lab) -> Verdict:
    rate = lab.ladder()[0]
    first = lab.decoded(rate)
    tries: dict[Role, str] = {"reader": "again", "stranger": "in another process"}
    for by, where in tries.items():
        again: list[MeshArrays] = []
        for stream in lab.streams(rate):
            decoded = lab.decode(stream, by=by)
            if isinstance(decoded, Trouble):
                raise Broken(f"decoding {where}: {decoded}")
            again += decoded.meshes
        if not same_meshes(first, again):
            raise Broken(f"decoding a stream {where} gives another mesh")
    return passed("decoding again and in another process gives the same mesh, bit for bit")


def _monotone(lab: Lab) -> Verdict:
    ladder = lab.ladder()
    if len(ladder) < 2:
        return Verdict("skip", "one rate is no ladder")
    sizes = [sum(map(len, lab.streams(rate))) for rate in ladder]
    distances = [max(float(np.mean(_distances(lab, rate))), DISTANCE_NOISE) for rate in ladder]
    for k in range(1, len(ladder)):
        step = f"{ladder[k - 1].label} to {ladder[k].label}"
        if sizes[k] < sizes[k - 1] * (1 - BYTES_SLACK):
            raise Broken(f"from {step} bytes fall from {sizes[k - 1]} to {sizes[k]}")
        if distances[k] > distances[k - 1] * (1 + DISTANCE_SLACK):
            raise Broken(f"from {step} the distance grows from {distances[k - 1]:.2g} to {distances[k]:.2g}")
    if sizes[-1] <= sizes[0] or distances[-1] >= distances[0]:
        return warned(
            f"the ladder does not rise: {sizes[0]} to {sizes[-1]} bytes, {distances[0]:.2g} to {distances[-1]:.2g}"
        )
    return passed(
        f"bytes rise {sizes[-1] / sizes[0]:.1f}×, the distance falls {distances[0] / distances[-1]:.1f}×",
        bytes_ratio=sizes[-1] / sizes[0],
        distance_ratio=distances[0] / distances[-1],
    )


def _order(lab: Lab) -> Verdict:
    decoded = lab.decoded(lab.ladder()[-1])
    table = [[lab.distance(original, mesh) for mesh in decoded] for original in lab.meshes]
    for i, row in enumerate(table):
        own = row[i]
        if isinstance(own, Trouble):
            raise Unmet(str(own))
        if any(not isinstance(other, Trouble) and other < own for other in row):
            raise Broken("the meshes come back in another order than they went in")
    return passed("the meshes come back in the order in which they went in")


def _layout(lab: Lab) -> Verdict:
    if not lab.is_set():
        raise Unmet("for set codecs")
    what = ""
    for rate in lab.ladder():
        (stream,), encoded = lab.streams(rate), lab.encoded(rate)
        assert isinstance(encoded, Encoded)
        layout = encoded.layout
        if isinstance(layout, Raised):
            raise Broken(f"layout() raises {layout}")
        if not isinstance(layout, StreamLayout):
            raise Broken(f"layout() returns {type(layout).__name__}, not StreamLayout")
        if len(layout.mesh_bytes) != len(lab.meshes):
            raise Broken(f"layout() speaks of {len(layout.mesh_bytes)} meshes, {len(lab.meshes)} went in")
        total = layout.shared_bytes + sum(layout.mesh_bytes)
        if total != len(stream) or min(layout.shared_bytes, *layout.mesh_bytes) < 0:
            raise Broken(f"layout() adds up to {total} bytes, the stream has {len(stream)}")
        what = f"{layout.shared_bytes} bytes shared, {' and '.join(map(str, layout.mesh_bytes))} for one mesh each"
    return passed(what)


def _set_of(count: int, what: str) -> Callable[[Lab], Verdict]:
    def run(lab: Lab) -> Verdict:
        if not lab.is_set():
            raise Unmet("for set codecs")
        lab.streams(lab.ladder()[0])  # a codec that codes nothing has failed before
        meshes = (lab.meshes[0],) * count
        encoded = lab.encode(meshes, lab.ladder()[0])
        if isinstance(encoded, Trouble) or encoded.fault:
            refused = isinstance(encoded, Trouble) and encoded.meant
            if refused and not count:
                return passed(f"refused: {encoded}")
            raise Broken(encoded if isinstance(encoded, Trouble) else encoded.fault)
        decoded = lab.decode(encoded.streams[0])
        if isinstance(decoded, Trouble) or decoded.fault:
            raise Broken(decoded if isinstance(decoded, Trouble) else decoded.fault)
        if len(decoded.meshes) != count:
            raise Broken(f"{len(decoded.meshes)} meshes come back of {count}")
        for mesh in decoded.meshes:
            distance = lab.distance(lab.meshes[0], mesh)
            if isinstance(distance, Trouble) or distance > ANY_DISTANCE:
                raise Broken(
                    f"a mesh comes back {distance if isinstance(distance, Trouble) else f'{distance:.2g} away'}"
                )
        return passed(f"{what}: {len(encoded.streams[0])} bytes")

    return run


def _hard(hard: HardMesh) -> Callable[[Lab], Verdict]:
    def run(lab: Lab) -> Verdict:
        if lab.settings.quick and hard.name not in _QUICK_MESHES:
            return Verdict("skip", "left out by --quick")
        rate, mesh = lab.ladder()[0], hard.make()
        lab.streams(rate)  # a codec that codes nothing has failed before
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
        return passed(coded) if without_area else warned(f"{coded}, and cannot be measured: {distance}")
    if distance > FAR_OFF:
        return warned(f"{coded}, and comes back as another shape ({distance:.2g} away)", distance=distance)
    return passed(f"{coded}, {distance:.2g} away", distance=distance)


def _damaged(kind: str, make: Callable[[bytes, int], list[bytes]]) -> Callable[[Lab], Verdict]:
    def run(lab: Lab) -> Verdict:
        rate = lab.ladder()[0]
        good = lab.streams(rate)[0]
        before = lab.decode(good)
        if isinstance(before, Trouble) or before.fault:
            raise Unmet("a good stream does not decode")
        settings = lab.settings
        most = (_DAMAGED_QUICK if settings.quick else _DAMAGED)[kind]
        budget_s = _DAMAGED_BUDGET_QUICK_S if settings.quick else _DAMAGED_BUDGET_S
        count = int(min(most, max(_FEWEST_DAMAGED, budget_s / max(before.wall_s, 1e-4))))
        limits = Limits(
            min(settings.deadline_s, 10 + 20 * before.wall_s),
            min(settings.memory_bytes, before.peak_rss_bytes + _DAMAGED_MEMORY_BYTES),
        )
        tried = silent = 0
        broken: list[str] = []
        for stream in make(good, count):
            tried += 1
            after = lab.decode(stream, limits=limits)
            if isinstance(after, Trouble):
                if after.kind != "BitstreamError":
                    broken.append(str(after))
            elif after.fault:
                broken.append(after.fault)
            elif not same_meshes(before.meshes, after.meshes):
                silent += 1
            if len(broken) == _BROKEN_ENOUGH:
                break
        figures = {"tried": tried, "silent": silent, "broken": len(broken)}
        if broken:
            raise Broken(f"{len(broken)} of {tried} streams: {broken[0]}", **figures)
        again = lab.decode(good)
        if isinstance(again, Trouble) or not same_meshes(before.meshes, again.meshes):
            raise Broken("after a damaged stream, a good one no longer decodes as before", **figures)
        if silent:
            share = 100 * silent / tried
            return warned(f"{silent} of {tried} ({share:.0f} %) decode to another mesh without complaint", **figures)
        return passed(f"{tried} streams, none decodes to another mesh", **figures)

    return run


def _foreign(lab: Lab) -> Verdict:
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


def _deadline(lab: Lab) -> Verdict:
    rate = lab.ladder()[0]
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


def _all() -> Iterator[Check]:
    yield Check(
        "available",
        "availability() is cheap, never raises, and is right; a no comes with reason and remedy",
        _available,
    )
    yield Check("parameters", "constructor parameters have defaults of type bool, int, float or str", _parameters)
    yield Check("version", "version() identifies what decides the bytes: a text, everywhere the same", _version)
    yield Check("ladder", "labels are keys: unique, and with one meaning for ever; parameters are plain JSON", _ladder)
    yield Check("streams", "encode() returns bytes: one stream for each mesh, or one for the set", _streams)
    yield Check("inputs", "encode() leaves its input meshes as they are", _inputs)
    yield Check("round-trip", "a closed mesh comes back; the best rate is close to it", _round_trip)
    yield Check(
        "fresh-process", "decode() needs the bytes and nothing else: no parameters, no files, no memory", _fresh_process
    )
    yield Check("same-bytes", "all randomness derives from ctx.seed: the same input gives the same bytes", _same_bytes)
    yield Check("same-mesh", "a stream means one mesh", _same_meshes)
    yield Check("monotone", "rates() goes from low to high quality, and quality costs bytes", _monotone)
    yield Check("order", "meshes come back in the order in which they went in", _order)
    for name, contract, run in (
        ("layout", "layout() divides the whole stream among the shared part and every mesh", _layout),
        ("set-of-none", "an empty set is a set, or is refused with one of gcbench's errors", _set_of(0, "no mesh")),
        ("set-of-one", "a single mesh is a set", _set_of(1, "one mesh")),
        ("set-of-twins", "a set may hold a mesh twice, and then both come back", _set_of(2, "the same mesh twice")),
    ):
        yield Check(name, contract, run, for_sets=True)
    for hard in HARD_MESHES:
        yield Check(
            f"mesh-{hard.name}", "any mesh gives a mesh or one of gcbench's errors, before the deadline", _hard(hard)
        )
    never = "a damaged stream raises BitstreamError or decodes to some mesh; never another error, a crash or a hang"
    yield Check("damaged-cut", never, _damaged("cut", damage.cuts))
    yield Check("damaged-changed", never, _damaged("changed", damage.changes))
    yield Check("foreign", "what is not a stream of the codec raises BitstreamError", _foreign)
    yield Check(
        "deadline",
        "a call past its deadline ends, raises CodecTimeout, or is killed with all that it started",
        _deadline,
    )


CHECKS: tuple[Check, ...] = tuple(_all())
