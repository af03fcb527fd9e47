"""The checks of codecs, in their order: each a name, a sentence of the contract, and a function."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.bench.conformance import claims, coding, damage, robustness
from gcbench.bench.conformance.contract import Check
from gcbench.bench.conformance.lab import Lab
from gcbench.bench.conformance.shapes import HARD_MESHES


def _all() -> Iterator[Check[Lab]]:
    yield Check(
        "available",
        "availability() is cheap, never raises, and is right; a no comes with reason and remedy",
        claims.available,
    )
    yield Check("parameters", "constructor parameters have defaults of type bool, int, float or str", claims.parameters)
    yield Check("version", "version() identifies what decides the bytes: a text, everywhere the same", claims.version)
    yield Check(
        "ladder", "labels are keys: unique, and with one meaning for ever; parameters are plain JSON", claims.ladder
    )
    yield Check("streams", "encode() returns bytes: one stream for each mesh, or one for the set", coding.streams)
    yield Check("inputs", "encode() leaves its input meshes as they are", coding.inputs)
    yield Check("round-trip", "a closed mesh comes back; the best rate is close to it", coding.round_trip)
    yield Check(
        "fresh-process",
        "decode() needs the bytes and nothing else: no parameters, no files, no memory",
        coding.fresh_process,
    )
    yield Check(
        "same-bytes", "all randomness derives from ctx.seed: the same input gives the same bytes", coding.same_bytes
    )
    yield Check("same-mesh", "a stream means one mesh", coding.same_mesh)
    yield Check("monotone", "rates() goes from low to high quality, and quality costs bytes", coding.monotone)
    yield Check("order", "meshes come back in the order in which they went in", coding.order)
    for name, contract, run in (
        ("layout", "layout() divides the whole stream among the shared part and every mesh", coding.layout),
        (
            "set-of-none",
            "an empty set is a set, or is refused with one of gcbench's errors",
            coding.set_of(0, "no mesh"),
        ),
        ("set-of-one", "a single mesh is a set", coding.set_of(1, "one mesh")),
        (
            "set-of-twins",
            "a set may hold a mesh twice, and then both come back",
            coding.set_of(2, "the same mesh twice"),
        ),
    ):
        yield Check(name, contract, run, for_sets=True)
    for hard in HARD_MESHES:
        yield Check(
            f"mesh-{hard.name}",
            "any mesh gives a mesh or one of gcbench's errors, before the deadline",
            robustness.hard(hard),
        )
    never = "a damaged stream raises BitstreamError or decodes to some mesh; never another error, a crash or a hang"
    yield Check("damaged-cut", never, robustness.damaged("cut", damage.cuts))
    yield Check("damaged-changed", never, robustness.damaged("changed", damage.changes))
    yield Check("foreign", "what is not a stream of the codec raises BitstreamError", robustness.foreign)
    yield Check(
        "deadline",
        "a call past its deadline ends, raises CodecTimeout, or is killed with all that it started",
        robustness.deadline,
    )


CHECKS: tuple[Check[Lab], ...] = tuple(_all())
