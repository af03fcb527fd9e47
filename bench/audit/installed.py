"""The codecs and suites that are installed here: which version, or why they cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gcbench.bench.metrics import SUITES
from gcbench.codecs import CODECS

T = TypeVar("T")


@dataclass(frozen=True)
class Installed:
    """An installed codec or suite; None and the reason if it cannot be used."""

    here: Any = None
    version: str = ""
    problem: str = ""

    def differs_from(self, recorded: str) -> str:
        """Why results of this version cannot be repeated here; empty if they can."""
        if self.here is None:
            return f"cannot be used here: {self.problem}"
        return "" if recorded == self.version else f"version {recorded} made the run, installed is {self.version}"


def codec(address: str) -> Installed:
    """The codec of an address. Its version is given even if something that the codec needs is missing."""

    def look() -> Installed:
        found = CODECS.create(address)
        available = found.availability()
        problem = "" if available.ok else f"{available.reason}; {available.remedy}"
        return Installed(found if available.ok else None, found.version(), problem)

    return _or_why(look)


def suite(name: str) -> Installed:
    """The suite of a name."""

    def look() -> Installed:
        found = SUITES.create(name)
        return Installed(found, found.version())

    return _or_why(look)


def attempt(call: Callable[[], T]) -> T | Exception:
    """What a call of code of a third party returns, or what the call raises: such code may fail in any way."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  (the one place where any failure of a plugin becomes a value)
        return error


def _or_why(look: Callable[[], Installed]) -> Installed:
    found = attempt(look)
    return Installed(problem=str(found) or type(found).__name__) if isinstance(found, Exception) else found
