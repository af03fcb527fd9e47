"""What a check is, the verdict that it gives, and the report on all checks of a codec or a metric suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

L = TypeVar("L")
CheckStatus = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Verdict:
    """How a check ended: a reason in one line, and the numbers behind it."""

    status: CheckStatus
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check(Generic[L]):
    """One check; ``L`` is the lab that it works in."""

    name: str  # for --only
    contract: str  # the rule that every codec, or every metric suite, must keep
    run: Callable[[L], Verdict]
    for_sets: bool = False  # applies to set codecs only


def passed(reason: str, **figures: float) -> Verdict:
    """The verdict of a check that passes."""
    return Verdict("pass", reason, figures)


def warned(reason: str, **figures: float) -> Verdict:
    """The verdict of a check that passes with a warning."""
    return Verdict("warn", reason, figures)


class ContractBroken(Exception):
    """Raised by a check that fails."""

    def __init__(self, reason: object, **figures: float) -> None:
        super().__init__(str(reason))
        self.figures = figures


class Unmet(Exception):
    """The check has nothing to look at: it is about other codecs, or what it needs has failed in an earlier check."""


@dataclass(frozen=True)
class CheckResult:
    """The verdict of a check, with the name and rule of the check, and the seconds that the check took."""

    check: str
    status: CheckStatus
    reason: str
    contract: str
    wall_s: float
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        line = f"{self.status.upper() if self.status == 'fail' else self.status}  {self.check:20} {self.reason}"
        return f"{line}\n      {'':20} the contract: {self.contract}" if self.status == "fail" else line


@dataclass(frozen=True)
class Report:
    """All results for one codec or one metric suite."""

    name: str  # address of the codec, or name of the suite
    version: str
    kind: str  # "model", "set" or "suite"
    findings: tuple[CheckResult, ...]
    wall_s: float
    effort: str = ""  # for a codec
    rates: tuple[str, ...] = ()  # labels of a codec's rates that were checked

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """Checks that failed."""
        return self._of("fail")

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """Checks that passed with a warning."""
        return self._of("warn")

    def __getitem__(self, check: str) -> CheckResult:
        """The result of a check. Raises KeyError if the check was not run."""
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)

    def summary(self) -> str:
        """``27 checks of draco: 25 passed, 1 warning, 1 skipped; 6.2 s``."""
        count = Counter(finding.status for finding in self.findings)
        parts = [f"{count['pass']} passed"]
        parts += [f"{count['fail']} FAILED"] if count["fail"] else []
        parts += [f"{count['warn']} warning{'s' if count['warn'] > 1 else ''}"] if count["warn"] else []
        parts += [f"{count['skip']} skipped"] if count["skip"] else []
        return f"{len(self.findings)} checks of {self.name}: {', '.join(parts)}; {self.wall_s:.1f} s"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), self.summary()])

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``json.dump``."""
        return {**asdict(self), "ok": self.ok}

    def _of(self, status: CheckStatus) -> tuple[CheckResult, ...]:
        return tuple(finding for finding in self.findings if finding.status == status)
