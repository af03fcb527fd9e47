"""Conformance: check whether a codec or a metric suite keeps the contract of its interface (``bench check``).

In the tests of a codec or a suite::

    from gcbench.bench.conformance import check, check_suite

    report = check("my-codec")
    assert report.ok, report
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gcbench.bench.conformance.checks import CHECKS
from gcbench.bench.conformance.lab import Lab, TrialSettings
from gcbench.bench.conformance.measuring import SuiteClaims
from gcbench.bench.conformance.report import Check, CheckResult, ContractBroken, Report, Unmet, Verdict
from gcbench.bench.conformance.sandbox import Crew, Trouble
from gcbench.bench.conformance.suite_checks import SUITE_CHECKS
from gcbench.bench.conformance.suite_lab import SuiteLab
from gcbench.bench.conformance.trial import CodecClaims
from gcbench.bench.metrics import SUITES
from gcbench.bench.run import machine
from gcbench.bench.run.process import CallLimits
from gcbench.codecs import CODECS
from gcbench.codecs.base import EFFORTS
from gcbench.errors import CodecUnavailable, UsageError
from gcbench.registry import split_address

__all__ = ["CHECKS", "SUITE_CHECKS", "Check", "CheckResult", "Crew", "Report", "Verdict", "check", "check_suite"]

log = logging.getLogger(__name__)
L = TypeVar("L", Lab, SuiteLab)
OnStart = Callable[[Check[Any], int, int], None]  # a check, its number, how many there are

_WITHOUT_RUNNING = frozenset({"available", "parameters", "version", "ladder"})


def check(
    codec: str,
    *,
    effort: str = "quick",
    rates: Sequence[str] = (),
    only: Sequence[str] = (),
    quick: bool = False,
    deadline_s: float = 120.0,
    memory_bytes: int | None = None,
    device: str = "cpu",
    threads: int = 1,
    seed: int = 0,
    mutants: int | None = None,
    streams: Sequence[bytes] = (),
    keep: Path | None = None,
    on_start: OnStart | None = None,
    on_finding: Callable[[CheckResult], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
    crew: Crew | None = None,
) -> Report:
    """Check whether a codec keeps the contract.

    Every call runs in a worker process with a deadline and a memory limit, so a crash or a hang fails one check only.

    Parameters
    ----------
    codec : str
        Address, e.g. ``draco`` or ``necgs[k=64]``.
    effort : {"quick", "standard", "paper"}
        Use the rates of this effort.
    rates : sequence of str
        Only these rate labels; empty is all.
    only : sequence of str
        Only these checks, by their names in ``CHECKS``; empty is all.
    quick : bool
        Fewer meshes and damaged streams, for codecs that take seconds or minutes to encode.
    deadline_s : float
        Limit of each call.
    memory_bytes : int, optional
        Limit of each worker. Default: half of the usable memory.
    mutants : int, optional
        How many mutants the check ``hostile`` decodes, however long it takes. Default: some hundreds, for 30 s at most.
    streams : sequence of bytes
        Streams for the check ``hostile`` to make mutants of. Default: those that the trial encodes.
    keep : Path, optional
        Folder for the streams that fail the check ``hostile``.
    on_start : callable, optional
        Called before each check with the check, its number and the number of checks.
    on_finding : callable, optional
        Called with each result.
    on_progress : callable, optional
        Called with a text that says how far a long check has come.
    crew : Crew, optional
        Processes that several calls share, which saves the seconds that an interpreter takes to start.

    Raises
    ------
    CodecUnavailable
        The codec reports with a reason that it cannot run here, so there is nothing to check.
    UsageError
        No such codec, parameter, effort, rate or check.
    """
    begin = time.perf_counter()
    name, _ = split_address(codec, "codec")
    if name not in CODECS.names():
        CODECS.get(name)  # raises, and says what was perhaps meant
    if effort not in EFFORTS:
        raise UsageError(f"unknown effort '{effort}'; there are {', '.join(EFFORTS)}")
    _refuse_unknown(only, CHECKS)
    settings = TrialSettings(
        effort=effort,
        rates=tuple(rates),
        seed=seed,
        threads=threads,
        device=device,
        deadline_s=deadline_s,
        memory_bytes=memory_bytes or machine.memory_bytes() // 2,
        quick=quick,
        mutants=mutants,
        streams=tuple(streams),
        keep=keep,
    )
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(codec, settings, crew or stack.enter_context(Crew(threads))))
        lab.on_progress = on_progress
        claims = lab.claims()
        if isinstance(claims, Trouble) and claims.kind == "UsageError":
            raise UsageError(claims.message.removeprefix("UsageError: "))
        labels = _labels(lab)
        unavailable = _refusal(claims)
        chosen = [
            one
            for one in CHECKS
            if (one.name in only or not (only or (one.for_sets and not lab.is_set())))
            and (one.name in _WITHOUT_RUNNING or not unavailable)
        ]
        findings = _run(chosen, lab, on_start, on_finding)
    report = Report(
        name=codec,
        version=str(claims.version) if isinstance(claims, CodecClaims) else "",
        kind=str(claims.kind) if isinstance(claims, CodecClaims) else "",
        effort=effort,
        rates=labels,
        findings=findings,
        wall_s=time.perf_counter() - begin,
    )
    if unavailable and report.ok:
        raise unavailable
    return report


def check_suite(
    suite: str,
    *,
    only: Sequence[str] = (),
    deadline_s: float = 120.0,
    memory_bytes: int | None = None,
    on_start: OnStart | None = None,
    on_finding: Callable[[CheckResult], None] | None = None,
    crew: Crew | None = None,
) -> Report:
    """Check whether a metric suite keeps the contract.

    ``only`` has names of ``SUITE_CHECKS``; the other parameters are those of :func:`check`. Raises UsageError for an
    unknown suite or check.
    """
    begin = time.perf_counter()
    if (name := split_address(suite, "metric suite")[0]) not in SUITES.names():
        SUITES.get(name)  # raises, and says what was perhaps meant
    _refuse_unknown(only, SUITE_CHECKS)
    limits = CallLimits(deadline_s, memory_bytes or machine.memory_bytes() // 2)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(SuiteLab(suite, limits, crew or stack.enter_context(Crew())))
        claims = lab.claims()
        if isinstance(claims, Trouble) and claims.kind == "UsageError":
            raise UsageError(claims.message.removeprefix("UsageError: "))
        chosen = [one for one in SUITE_CHECKS if not only or one.name in only]
        findings = _run(chosen, lab, on_start, on_finding)
    said = claims.version if isinstance(claims, SuiteClaims) else ""
    return Report(suite, str(said), "suite", findings, time.perf_counter() - begin)


def _run(
    checks: Sequence[Check[L]],
    lab: L,
    on_start: OnStart | None,
    on_finding: Callable[[CheckResult], None] | None,
) -> tuple[CheckResult, ...]:
    findings = []
    for number, one in enumerate(checks):
        if on_start is not None:
            on_start(one, number, len(checks))
        findings.append(_finding(one, lab))
        if on_finding is not None:
            on_finding(findings[-1])
    if any(finding.status == "fail" for finding in findings):
        log.debug("what the workers printed:\n%s", lab.log.read_text(errors="replace"))
    return tuple(findings)


def _refuse_unknown(names: Sequence[str], checks: Sequence[Check[Any]]) -> None:
    known = [check.name for check in checks]
    for name in names:
        if name not in known:
            raise UsageError(f"unknown check '{name}'; there are {', '.join(known)}")


def _labels(lab: Lab) -> tuple[str, ...]:
    """Labels of the rates to check. Raises UsageError for an unknown label."""
    claims, wanted = lab.claims(), lab.settings.rates
    ladder = claims.ladders.get(lab.settings.effort) if isinstance(claims, CodecClaims) else None
    if not isinstance(ladder, tuple):
        return ()
    labels = [rate.label for rate in ladder]
    for label in wanted:
        if label not in labels:
            raise UsageError(f"{lab.codec} has no rate '{label}' at effort {lab.settings.effort}; it has {labels}")
    return tuple(label for label in labels if not wanted or label in wanted)


def _refusal(claims: CodecClaims | Trouble) -> CodecUnavailable | None:
    """The error for a codec that reports that it cannot run here."""
    if isinstance(claims, Trouble) or not isinstance(claims.available, tuple) or claims.available[0]:
        return None
    return CodecUnavailable(*claims.available[1:])


def _finding(check: Check[L], lab: L) -> CheckResult:
    begin = time.perf_counter()
    try:
        verdict = check.run(lab)
    except ContractBroken as error:
        verdict = Verdict("fail", str(error), error.figures)
    except Unmet as error:
        verdict = Verdict("skip", str(error))
    wall_s = time.perf_counter() - begin
    return CheckResult(check.name, verdict.status, verdict.reason, check.contract, wall_s, dict(verdict.figures))
