"""What a field of a line may hold: type, range, length. The tables of the lines are in `records.py`.

A kind of field does two things, and a test compares them. ``take`` checks a JSON value and returns it as the
dataclasses hold it. ``pattern`` is a regular expression for the text of values that ``take`` accepts, as `Run` writes
them: a line that matches, and that is JSON, needs no other check. So large runs are read fast (`line_tables.py`). The
expression may miss odd ways to write a value, such as an escaped character; then ``take`` decides.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

LINE_BYTES = 64 << 20  # of one line: a set of 100 000 meshes takes half of it
_PLAIN = r'[^"\\\x00-\x1f\x7f-\xff]'  # a character of a JSON text without escapes, in ASCII


class Kind(Protocol):
    """What a value must be."""

    @property
    def pattern(self) -> str:
        """Matches the usual texts of values that :meth:`take` accepts, and no others."""

    def take(self, value: Any) -> Any:
        """The value as a dataclass holds it. Raises ValueError with the reason."""


_HALF = re.compile("[\ud800-\udfff]")
_HALF_IN_PATHS = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Text:
    """A text of at most ``most`` characters.

    In a ``path``, the characters U+DC80 to U+DCFF stand for bytes of file names that are no UTF-8 (PEP 383). In other
    texts no half of a surrogate pair is possible.
    """

    most: int = 1000
    least: int = 0
    path: bool = False

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        return f'"{_PLAIN}{{{self.least},{self.most}}}+"'

    def take(self, value: Any) -> str:
        """See :class:`Kind`."""
        if type(value) is not str:
            raise ValueError(f"is {_said(value)}, not a text")
        if not self.least <= len(value) <= self.most:
            raise ValueError(f"is a text of {len(value)} characters; possible are {self.least} to {self.most}")
        if "\x00" in value or "\x1f" in value:  # DuckDB ends a text at the first; the second parts a key of a table
            raise ValueError("is a text with the character 0 or 31")
        if not value.isascii() and (_HALF_IN_PATHS if self.path else _HALF).search(value):
            raise ValueError("is a text with half of a surrogate pair, which is no character")
        return value


@dataclass(frozen=True)
class Sha256:
    """64 hexadecimal digits; with ``empty``, also the empty text."""

    empty: bool = False

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        return '"(?:[0-9a-f]{64})?"' if self.empty else '"[0-9a-f]{64}"'

    def take(self, value: Any) -> str:
        """See :class:`Kind`."""
        if type(value) is str and (re.fullmatch("[0-9a-f]{64}", value) or (self.empty and not value)):
            return value
        raise ValueError(f"is {_said(value)}, not a SHA-256 of 64 hexadecimal digits")


@dataclass(frozen=True)
class OneOf:
    """One of some texts."""

    names: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        return f'"(?:{"|".join(map(re.escape, self.names))})"'

    def take(self, value: Any) -> str:
        """See :class:`Kind`."""
        if type(value) is str and value in self.names:
            return value
        raise ValueError(f"is {_said(value)}; possible are {', '.join(self.names)}")


@dataclass(frozen=True)
class Whole:
    """A whole number from 0 to ``high``."""

    high: int = 2**53

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        return rf"\d{{1,{len(str(self.high)) - 1}}}+"

    def take(self, value: Any) -> int:
        """See :class:`Kind`."""
        if type(value) is not int or not 0 <= value <= self.high:
            raise ValueError(f"is {_said(value)}, not a whole number from 0 to {self.high}")
        return value


@dataclass(frozen=True)
class Real:
    """A number from 0 to ``high``."""

    high: float

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        digits = int(math.log10(self.high))  # one less than a number over the limit may have
        return rf"\d{{1,{digits}}}+(?:\.\d{{1,30}}+)?(?:e-\d\d)?"

    def take(self, value: Any) -> float:
        """See :class:`Kind`."""
        if type(value) not in {int, float} or not 0 <= value <= self.high:
            raise ValueError(f"is {_said(value)}, not a number from 0 to {self.high:g}")
        checked: float = value
        return checked


@dataclass(frozen=True)
class Value:
    """What a suite measures: true, false, or a finite number."""

    pattern: str = r"(?:-?\d{1,15}+(?:\.\d{1,30}+)?(?:e[-+]\d\d)?|true|false)"

    def take(self, value: Any) -> float | int | bool:
        """See :class:`Kind`."""
        if type(value) is bool or (type(value) is int and abs(value) <= 2**53):
            return value
        if type(value) is float and math.isfinite(value):
            return value
        raise ValueError(f"is {_said(value)}, not a finite number")


@dataclass(frozen=True)
class Several:
    """A list of at most ``most`` values of one kind."""

    kind: Kind
    most: int
    least: int = 0

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        one = self.kind.pattern
        return rf"\[{one}(?:, {one}){{0,{self.most - 1}}}+\]"

    def take(self, value: Any) -> tuple[Any, ...]:
        """See :class:`Kind`."""
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            raise ValueError(f"is {_said(value)}, not a list of {self.least} to {self.most} values")
        return tuple([_named(f"{place + 1}", self.kind, one) for place, one in enumerate(value)])


@dataclass(frozen=True)
class Named:
    """An object of at most ``most`` values of one kind, under any names."""

    kind: Kind
    most: int
    name: Text = Text(200, 1)

    @property
    def pattern(self) -> str:
        """See :class:`Kind`."""
        one = f"{self.name.pattern}: {self.kind.pattern}"
        return rf"\{{{one}(?:, {one}){{0,{self.most - 1}}}+\}}"

    def take(self, value: Any) -> dict[str, Any]:
        """See :class:`Kind`."""
        if not isinstance(value, dict) or len(value) > self.most:
            raise ValueError(f"is {_said(value)}, not an object of at most {self.most} values")
        return {self.name.take(name): _named(repr(name[:50]), self.kind, one) for name, one in value.items()}


@dataclass(frozen=True)
class Part:
    """The fields of a dataclass; other fields, of a newer gcbench, are ignored, and null is a field that is missing."""

    of: type[Any]
    kinds: Mapping[str, Kind]
    needed: frozenset[str]

    @property
    def pattern(self) -> str:
        """Fields in their order; the first is always written."""
        first, *rest = self.kinds
        written = {name: f'"{name}": {kind.pattern}' for name, kind in self.kinds.items()}
        others = "".join(f"(?:, {written[name]})" + ("" if name in self.needed else "?+") for name in rest)
        return rf"\{{{written[first]}{others}\}}"

    def take(self, value: Any) -> Any:
        """See :class:`Kind`."""
        if not isinstance(value, Mapping):
            raise ValueError(f"is {_said(value)}, not an object")
        values = {}
        for name, kind in self.kinds.items():
            one = value.get(name)
            if one is not None:
                values[name] = _named(name, kind, one)
            elif name in self.needed:
                raise ValueError(f"has no '{name}'")
        return self.of(**values)


def read_line(line: bytes) -> Any:
    """The JSON value of a line. Raises ValueError for what is no JSON in UTF-8, has NaN, or a name twice."""
    if len(line) > LINE_BYTES:
        raise ValueError(f"the line has {len(line)} bytes; at most {LINE_BYTES} are possible")
    try:
        return _JSON.decode(line.decode("utf-8"))
    except RecursionError:
        raise ValueError("the line is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the line is no JSON from character {error.pos + 1} on") from None
    except ValueError as error:
        if str(error).startswith("the line"):
            raise
        raise ValueError("the line has a number of too many digits") from None


def require_shallow(value: Any, most: int = 20) -> None:
    """Raise ValueError for a JSON value that is nested more deeply: what prints it could fail."""
    if most < 0:
        raise ValueError("the line is nested too deeply")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        require_shallow(one, most - 1)


def _named(name: str, kind: Kind, value: Any) -> Any:
    try:
        return kind.take(value)
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{name}: {text}") from None


def _said(value: Any) -> str:
    """A value, for a message: short, and without characters that move the cursor."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} values"
    if isinstance(value, int) and abs(value) > 10**18 and not isinstance(value, bool):
        return "a huge number"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("the line has a name twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"the line has {name}, which is no number")


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
