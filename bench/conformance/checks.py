"""The list of codec checks, in order: each has a name, a rule of the contract, and a function."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.bench.conformance import claims, coding, damage, hostile, robustness
from gcbench.bench.conformance.lab import Lab
from gcbench.bench.conformance.report import Check
from gcbench.bench.conformance.shapes import HARD_MESHES


def _all() -> Iterator[Check[Lab]]:
    yield Check(
        "available",
        "availability() is fast, never raises, and is correct; if not ok, it has a reason and a remedy",
        claims.available,
    )
    yield Check("parameters", "constructor parameters have defaults of type bool, int, float or str", claims.parameters)
    yield Check(
        "version", "version() is a text that identifies what decides the bytes, equal everywhere", claims.version
    )
    yield Check(
        "ladder", "labels of rates are unique and never change their meaning; parameters are JSON", claims.ladder
    )
    yield Check("streams", "encode() returns bytes: one stream for each mesh, or one for the set", coding.streams)
    yield Check("inputs", "encode() does not change its input meshes", coding.inputs)
    yield Check("round-trip", "a closed mesh is decoded at every rate, and closely at the best", coding.round_trip)
    yield Check(
        "fresh-process",
        "decode() needs only the stream: no parameters, no files, no state of the encoder",
        coding.fresh_process,
    )
    yield Check(
        "same-bytes", "all randomness derives from ctx.seed, so equal input gives equal bytes", coding.same_bytes
    )
    yield Check("same-mesh", "a stream always decodes to the same mesh", coding.same_mesh)
    yield Check("monotone", "rates() goes from low to high quality, with rising bytes", coding.monotone)
    yield Check("order", "meshes are decoded in the order in which they were encoded", coding.order)
    for name, contract, run in (
        ("layout", "layout() divides the whole stream among the shared part and every mesh", coding.layout),
        (
            "set-of-none",
            "an empty set is coded, or refused with one of gcbench's errors",
            coding.set_of(0, "no mesh"),
        ),
        ("set-of-one", "a set of one mesh is coded", coding.set_of(1, "one mesh")),
        (
            "set-of-twins",
            "a set that has a mesh twice is decoded with both",
            coding.set_of(2, "the same mesh twice"),
        ),
    ):
        yield Check(name, contract, run, for_sets=True)
    for hard in HARD_MESHES:
        yield Check(
            f"mesh-{hard.name}",
            "any input mesh gives a decoded mesh or one of gcbench's errors, before the deadline",
            robustness.hard(hard),
        )
    never = "a damaged stream raises BitstreamError or decodes to some mesh; never another error, a crash or a hang"
    yield Check("damaged-cut", never, robustness.damaged("cut", damage.cuts))
    yield Check("damaged-changed", never, robustness.damaged("changed", damage.changes))
    yield Check(
        "hostile",
        "a stream with a right checksum raises BitstreamError, or decodes within the time and memory of a good stream",
        hostile.hostile,
    )
    yield Check("foreign", "bytes that are not a stream of the codec raise BitstreamError", robustness.foreign)
    yield Check(
        "deadline",
        "a call after its deadline ends, raises CodecTimeout, or is killed with all programs that it started",
        robustness.deadline,
    )


CHECKS: tuple[Check[Lab], ...] = tuple(_all())
