"""Checks of what a codec says of itself: whether it can run, its version, its ladder. Only the first one encodes."""

from __future__ import annotations

from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.calls import Trouble
from gcbench.bench.conformance.contract import Broken, passed
from gcbench.bench.conformance.lab import Lab, Unmet
from gcbench.bench.conformance.report import Verdict
from gcbench.bench.conformance.trial import Facts
from gcbench.codecs import Rate
from gcbench.registry import split_address

AVAILABILITY_LIMIT_S = 10.0
"""What "cheap" means, on a busy machine too: importing a framework is allowed, loading weights or training is not."""

_UNAVAILABLE = frozenset({"CodecUnavailable", "ImportError", "ModuleNotFoundError", "SystemLibraryMissing"})


def says_unavailable(outcome: object) -> bool:
    """Whether a call failed for what ``availability()`` should have said."""
    return isinstance(outcome, Trouble) and (outcome.kind in _UNAVAILABLE or "prepare() " in outcome.message)


def _facts(lab: Lab) -> Facts:
    facts = lab.facts()
    if isinstance(facts, Trouble):
        raise Unmet("the codec cannot be created")
    return facts


def available(lab: Lab) -> Verdict:
    """Ask whether it can run; if so, it has to encode."""
    facts = lab.facts()
    if isinstance(facts, Trouble):
        raise Broken(f"the codec cannot be created: {facts}")
    if isinstance(facts.available, Raised):
        raise Broken(f"availability(): {facts.available}")
    took = f"{1000 * facts.availability_s:.0f} ms"
    ok, reason, remedy = facts.available
    if not ok:
        if not reason.strip() or not remedy.strip():
            raise Broken(f"availability() says no without a {'reason' if not reason.strip() else 'remedy'}")
        return passed(f"says no: {reason}; {remedy}")
    if facts.availability_s > AVAILABILITY_LIMIT_S:
        raise Broken(f"availability() takes {took}")
    encoded = lab.encoded(lab.ladder()[0])
    if says_unavailable(encoded):
        raise Broken(f"says yes, and then: {encoded}")
    return passed(f"says yes, in {took}")


def parameters(lab: Lab) -> Verdict:
    """Look at the constructor."""
    facts = _facts(lab)
    if facts.parameters:
        raise Broken(f"constructor parameter {facts.parameters[0]}")
    _, given = split_address(lab.codec, "codec")
    return passed(f"created with {', '.join(given)}; its decoder without" if given else "created without any")


def version(lab: Lab) -> Verdict:
    """Ask for the version, here and in another interpreter."""
    facts = _facts(lab)
    if isinstance(facts.version, Raised):
        raise Broken(f"version(): {facts.version}")
    if facts.kind not in {"model", "set"}:
        raise Broken(f"kind is {facts.kind!r}, not 'model' or 'set'")
    if facts.decoder_bytes < 0:
        raise Broken("decoder_bytes is not a number of bytes")
    elsewhere = lab.facts("stranger")
    if isinstance(elsewhere, Facts) and elsewhere.version != facts.version:
        raise Broken(f"version() is {facts.version!r} in one process and {elsewhere.version!r} in another")
    return passed(facts.version)


def ladder(lab: Lab) -> Verdict:
    """Ask for the ladders of all efforts, here and in another interpreter."""
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
    elsewhere = lab.facts("stranger")
    if isinstance(elsewhere, Facts) and elsewhere.ladders != facts.ladders:
        raise Broken("rates() answers differently in another process")
    counts = ", ".join(f"{effort} {len(rates)}" for effort, rates in facts.ladders.items() if isinstance(rates, tuple))
    return passed(f"{len(meaning)} labels; {counts}")
