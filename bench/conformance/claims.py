"""Checks of what a codec claims: availability, constructor parameters, version, rates. Only `available` encodes."""

from __future__ import annotations

from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.lab import Lab
from gcbench.bench.conformance.report import ContractBroken, Unmet, Verdict, passed
from gcbench.bench.conformance.sandbox import Trouble
from gcbench.bench.conformance.trial import CodecClaims
from gcbench.codecs import Rate
from gcbench.registry import split_address

AVAILABILITY_LIMIT_S = 10.0
"""availability() may take this long, even on a busy machine: enough to import a framework, not to load weights."""

_UNAVAILABLE = frozenset({"CodecUnavailable", "ImportError", "ModuleNotFoundError", "SystemLibraryMissing"})


def says_unavailable(outcome: object) -> bool:
    """Whether a call failed for a reason that ``availability()`` should have reported."""
    return isinstance(outcome, Trouble) and (outcome.kind in _UNAVAILABLE or "prepare() " in outcome.message)


def _claims(lab: Lab) -> CodecClaims:
    claims = lab.claims()
    if isinstance(claims, Trouble):
        raise Unmet("the codec cannot be created")
    return claims


def available(lab: Lab) -> Verdict:
    """Ask whether the codec can run; if so, the codec must encode."""
    claims = lab.claims()
    if isinstance(claims, Trouble):
        raise ContractBroken(f"the codec cannot be created: {claims}")
    if isinstance(claims.available, Raised):
        raise ContractBroken(f"availability(): {claims.available}")
    took = f"{1000 * claims.availability_s:.0f} ms"
    ok, reason, remedy = claims.available
    if not ok:
        if not reason.strip() or not remedy.strip():
            raise ContractBroken(f"availability() says no without a {'reason' if not reason.strip() else 'remedy'}")
        return passed(f"says no: {reason}; {remedy}")
    if claims.availability_s > AVAILABILITY_LIMIT_S:
        raise ContractBroken(f"availability() takes {took}")
    encoded = lab.encoded(lab.ladder()[0])
    if says_unavailable(encoded):
        raise ContractBroken(f"says yes, and then: {encoded}")
    return passed(f"says yes, in {took}")


def parameters(lab: Lab) -> Verdict:
    """Look at the constructor."""
    claims = _claims(lab)
    if claims.parameters:
        raise ContractBroken(f"constructor parameter {claims.parameters[0]}")
    _, given = split_address(lab.codec, "codec")
    return passed(f"created with {', '.join(given)}; its decoder without" if given else "created without any")


def version(lab: Lab) -> Verdict:
    """Ask for the version, here and in another interpreter."""
    claims = _claims(lab)
    if isinstance(claims.version, Raised):
        raise ContractBroken(f"version(): {claims.version}")
    if claims.kind not in {"model", "set"}:
        raise ContractBroken(f"kind is {claims.kind!r}, not 'model' or 'set'")
    if claims.decoder_bytes < 0:
        raise ContractBroken("decoder_bytes is not a number of bytes")
    elsewhere = lab.claims("stranger")
    if isinstance(elsewhere, CodecClaims) and elsewhere.version != claims.version:
        raise ContractBroken(f"version() is {claims.version!r} in one process and {elsewhere.version!r} in another")
    return passed(claims.version)


def ladder(lab: Lab) -> Verdict:
    """Ask for the ladders of all efforts, here and in another interpreter."""
    claims = _claims(lab)
    if claims.problems:
        raise ContractBroken(claims.problems[0])
    meaning: dict[str, Rate] = {}
    for effort, rates in claims.ladders.items():
        if isinstance(rates, Raised):
            raise ContractBroken(f"rates({effort!r}) raises {rates}")
        labels = [rate.label for rate in rates]
        if not labels:
            raise ContractBroken(f"rates({effort!r}) is empty")
        for label in labels:
            if not isinstance(label, str) or not label or not label.isprintable() or set(label) & set(", "):
                raise ContractBroken(f"the label {label!r} cannot be typed in --rate: no commas, no spaces")
            if labels.count(label) > 1:
                raise ContractBroken(f"rates({effort!r}) has the label {label!r} twice")
        for rate in rates:
            if meaning.setdefault(rate.label, rate).params != rate.params:
                one, other = dict(meaning[rate.label].params), dict(rate.params)
                raise ContractBroken(f"the label {rate.label!r} means {one} at one effort and {other} at another")
    elsewhere = lab.claims("stranger")
    if isinstance(elsewhere, CodecClaims) and elsewhere.ladders != claims.ladders:
        raise ContractBroken("rates() answers differently in another process")
    counts = ", ".join(f"{effort} {len(rates)}" for effort, rates in claims.ladders.items() if isinstance(rates, tuple))
    return passed(f"{len(meaning)} labels; {counts}")
