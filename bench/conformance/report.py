"""What the conformance suite found: one verdict for each check, and what they come to. Knows no codec and no suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Verdict:
    """How a check ended, in one line; ``figures`` are the numbers behind it."""

    status: Status
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """The verdict of one check.

    Parameters
    ----------
    check : str
        Name of the check, stable.
    contract : str
        What the contract demands.
    wall_s : float
        How long the check took.
    """

    check: str
    status: Status
    reason: str
    contract: str
    wall_s: float
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        line = f"{self.status.upper() if self.status == 'fail' else self.status}  {self.check:20} {self.reason}"
        return f"{line}\n      {'':20} the contract: {self.contract}" if self.status == "fail" else line


@dataclass(frozen=True)
class Report:
    """All findings on one codec or one metric suite.

    Parameters
    ----------
    name : str
        Address of the codec, name of the suite.
    version : str
        As it says.
    kind : str
        As a codec says, ``model`` or ``set``; or ``suite``.
    effort : str
        Of a codec.
    rates : tuple of str
        Labels of a codec's rates that were tried.
    """

    name: str
    version: str
    kind: str
    findings: tuple[Finding, ...]
    wall_s: float
    effort: str = ""
    rates: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no check failed; warnings and skipped checks are no failures."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings of checks that failed."""
        return self._of("fail")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that a user should know of, though the contract allows them."""
        return self._of("warn")

    def __getitem__(self, check: str) -> Finding:
        """Return the finding of a check.

        Raises
        ------
        KeyError
            It was not run.
        """
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

    def _of(self, status: Status) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status == status)
