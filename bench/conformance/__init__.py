"""What every codec and every metric suite must do, ours and those of others, tried out in processes that may be killed.

As the tests of a codec, or of a suite, use it::

    from gcbench.bench.conformance import check, check_suite

    report = check("my-codec")
    assert report.ok, report
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gcbench.bench.conformance.calls import Trouble
from gcbench.bench.conformance.checks import CHECKS
from gcbench.bench.conformance.contract import Broken, Check
from gcbench.bench.conformance.lab import Crew, Lab, Settings, Unmet
from gcbench.bench.conformance.measuring import SuiteFacts
from gcbench.bench.conformance.report import Finding, Report, Verdict
from gcbench.bench.conformance.suite_checks import SUITE_CHECKS
from gcbench.bench.conformance.suite_lab import SuiteLab, SuiteSettings
from gcbench.bench.conformance.trial import Facts
from gcbench.bench.metrics import SUITES
from gcbench.bench.run import machine
from gcbench.codecs import CODECS
from gcbench.codecs.base import EFFORTS
from gcbench.errors import CodecUnavailable, UsageError
from gcbench.registry import split_address

__all__ = ["CHECKS", "SUITE_CHECKS", "Check", "Crew", "Finding", "Report", "Verdict", "check", "check_suite"]

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
    on_start: OnStart | None = None,
    on_finding: Callable[[Finding], None] | None = None,
    crew: Crew | None = None,
) -> Report:
    """Try out whether a codec keeps the contract.

    Every call of the codec is in a worker process with a deadline and a memory limit: a codec that crashes or hangs
    fails a check, and the others go on.

    Parameters
    ----------
    codec : str
        Address, e.g. ``draco`` or ``necgs[k=64]``.
    effort : {"quick", "standard", "paper"}
        Whose ladder is tried.
    rates : sequence of str
        Keep only these labels of the ladder; empty keeps all.
    only : sequence of str
        Run only these checks; empty runs all. The names are those in ``CHECKS``.
    quick : bool
        Fewer meshes and damaged streams, for codecs that take seconds or minutes to encode.
    deadline_s : float
        For each single call.
    memory_bytes : int, optional
        For each worker. Default: half of the memory that is to be had.
    on_start : callable, optional
        Told of each check before it runs, with its number and how many there are.
    on_finding : callable, optional
        Told of each finding.
    crew : Crew, optional
        Shared by several calls, which saves each of them the seconds that an interpreter takes to start.

    Raises
    ------
    CodecUnavailable
        The codec says, with a reason, that it cannot run here: there is nothing to check.
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
    settings = Settings(
        effort=effort,
        rates=tuple(rates),
        seed=seed,
        threads=threads,
        device=device,
        deadline_s=deadline_s,
        memory_bytes=memory_bytes or machine.memory_bytes() // 2,
        quick=quick,
    )
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(codec, settings, crew or stack.enter_context(Crew(threads))))
        facts = lab.facts()
        if isinstance(facts, Trouble) and facts.kind == "UsageError":
            raise UsageError(facts.message.removeprefix("UsageError: "))
        labels = _labels(lab)
        unavailable = _refusal(facts)
        chosen = [
            one
            for one in CHECKS
            if (one.name in only or not (only or (one.for_sets and not lab.is_set())))
            and (one.name in _WITHOUT_RUNNING or not unavailable)
        ]
        findings = _run(chosen, lab, on_start, on_finding)
    report = Report(
        name=codec,
        version=str(facts.version) if isinstance(facts, Facts) else "",
        kind=str(facts.kind) if isinstance(facts, Facts) else "",
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
    on_finding: Callable[[Finding], None] | None = None,
    crew: Crew | None = None,
) -> Report:
    """Try out whether a metric suite keeps the contract.

    Parameters
    ----------
    suite : str
        Name, e.g. ``surface``.
    only : sequence of str
        Run only these checks; empty runs all. The names are those in ``SUITE_CHECKS``.
    deadline_s, memory_bytes, on_start, on_finding, crew
        As of :func:`check`.

    Raises
    ------
    UsageError
        No such suite or check.
    """
    begin = time.perf_counter()
    if (name := split_address(suite, "metric suite")[0]) not in SUITES.names():
        SUITES.get(name)  # raises, and says what was perhaps meant
    _refuse_unknown(only, SUITE_CHECKS)
    settings = SuiteSettings(deadline_s, memory_bytes or machine.memory_bytes() // 2)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(SuiteLab(suite, settings, crew or stack.enter_context(Crew())))
        facts = lab.facts()
        if isinstance(facts, Trouble) and facts.kind == "UsageError":
            raise UsageError(facts.message.removeprefix("UsageError: "))
        chosen = [one for one in SUITE_CHECKS if not only or one.name in only]
        findings = _run(chosen, lab, on_start, on_finding)
    said = facts.version if isinstance(facts, SuiteFacts) else ""
    return Report(suite, str(said), "suite", findings, time.perf_counter() - begin)


def _run(
    checks: Sequence[Check[L]],
    lab: L,
    on_start: OnStart | None,
    on_finding: Callable[[Finding], None] | None,
) -> tuple[Finding, ...]:
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
    """Labels of the rates that will be tried.

    Raises
    ------
    UsageError
        One was asked for that is not there.
    """
    facts, wanted = lab.facts(), lab.settings.rates
    ladder = facts.ladders.get(lab.settings.effort) if isinstance(facts, Facts) else None
    if not isinstance(ladder, tuple):
        return ()
    labels = [rate.label for rate in ladder]
    for label in wanted:
        if label not in labels:
            raise UsageError(f"{lab.codec} has no rate '{label}' at effort {lab.settings.effort}; it has {labels}")
    return tuple(label for label in labels if not wanted or label in wanted)


def _refusal(facts: Facts | Trouble) -> CodecUnavailable | None:
    """What an honest codec that cannot run says."""
    if isinstance(facts, Trouble) or not isinstance(facts.available, tuple) or facts.available[0]:
        return None
    return CodecUnavailable(*facts.available[1:])


def _finding(check: Check[L], lab: L) -> Finding:
    begin = time.perf_counter()
    try:
        verdict = check.run(lab)
    except Broken as error:
        verdict = Verdict("fail", str(error), error.figures)
    except Unmet as error:
        verdict = Verdict("skip", str(error))
    wall_s = time.perf_counter() - begin
    return Finding(check.name, verdict.status, verdict.reason, check.contract, wall_s, dict(verdict.figures))
