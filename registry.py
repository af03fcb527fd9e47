"""A registry of named classes: built-in ones are imported at first use, plugins are found by entry point.

A plugin is imported in a child process first (`plugins.py`). Only a plugin that survives is imported in this process.

Source: the shape follows lm-evaluation-harness ``api/registry.py``.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from gcbench import plugins
from gcbench.errors import UsageError

T = TypeVar("T")
_ADDRESS = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)(\[(?P<params>[^\[\]]*)\])?$")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used."""

    name: str
    origin: str  # "package-name: module:Class"
    reason: str  # one line
    traceback: str


@dataclass
class Registry(Generic[T]):
    """Names → classes of one kind, created with parameters from an address such as ``necgs[k=64]``."""

    base: type[T]  # every class is a concrete subclass, with its registered name in the attribute ``name``
    noun: str  # word for an entry in messages, such as "codec"
    builtins: Mapping[str, str]  # name → "module:Class"
    group: str  # entry-point group of plugins
    _plugins: dict[str, EntryPoint] | None = field(default=None, init=False, repr=False)
    _answers: dict[str, plugins.Answer] = field(default_factory=dict, init=False, repr=False)
    _imported: dict[str, type[T]] = field(default_factory=dict, init=False, repr=False)
    _importing: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def names(self) -> list[str]:
        """Every name: built-in ones first, then those of plugins, sorted."""
        return [*self.builtins, *sorted(self._third_party())]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def origin(self, name: str) -> str:
        """Where a class is: ``gcbench.codecs.draco:Draco``, or ``their-package 1.0: module:Class``."""
        if name in self.builtins:
            return self.builtins[name]
        return _origin(self._third_party()[name])

    def is_builtin(self, name: str) -> bool:
        """Whether the entry ships with gcbench."""
        return name in self.builtins

    def get(self, name: str) -> type[T]:
        """Import and return a class.

        Raises
        ------
        UsageError
            The name is unknown, or the class cannot be imported or is not valid.
        """
        if name in self.builtins:
            module, _, attribute = self.builtins[name].partition(":")
            return self._checked(name, getattr(importlib.import_module(module), attribute))
        entries = self._third_party()
        if name not in entries:
            raise UsageError(f"unknown {self.noun} '{name}'{_did_you_mean(name, self.names())}")
        if not plugins.imports_directly() and (answer := self._answer(name)).error:
            raise UsageError(self._says(name, answer))
        return self.imported(name)

    def imported(self, name: str) -> type[T]:
        """Import a plugin in this process, whatever happens. Raises UsageError as :meth:`get`."""
        with self._importing:
            if name not in self._imported:
                self._imported[name] = self._checked(name, self._load(self._third_party()[name]))
            return self._imported[name]

    def _load(self, entry: EntryPoint) -> object:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output may be JSON that another program reads
                return entry.load()
        except BaseException as error:  # a plugin may fail in any way; `bench list` shows the traceback
            if isinstance(error, KeyboardInterrupt) and not plugins.imports_directly():
                raise
            raise UsageError(f"{self._called(entry.name)} fails to import: {error!r}") from error

    def create(self, address: str) -> T:
        """Instantiate ``name`` or ``name[param=value,...]``.

        Raises
        ------
        UsageError
            The name or a parameter is unknown, or a value has the wrong type.
        """
        name, params = split_address(address, self.noun)
        cls = self.get(name)
        return cls(**typed(cls, params, f"{self.noun} '{name}'"))

    def asked(self, facts: str = "") -> dict[str, BrokenPlugin | Mapping[str, Any]]:
        """What every plugin says about itself, or why it cannot be used; by name. Asked in child processes.

        Parameters
        ----------
        facts : str
            ``module:function`` to call with an instance of each class; returns JSON values.
        """
        found: dict[str, BrokenPlugin | Mapping[str, Any]] = {}
        for entries in self._together():
            question = self._question(facts)
            answers = plugins.ask(question, entries) if facts else plugins.usable(question, entries)
            for name, answer in answers.items():
                broken = BrokenPlugin(name, self.origin(name), self._says(name, answer), answer.traceback)
                found[name] = broken if answer.error else (answer.facts or {})
        return dict(sorted(found.items()))

    def refresh(self) -> None:
        """Read the entry points again, after a package was installed."""
        self._plugins = None
        self._answers.clear()
        self._imported.clear()

    def _question(self, facts: str = "") -> plugins.Question:
        base = f"{self.base.__module__}:{self.base.__qualname__}"
        return plugins.Question(base, self.noun, self.group, facts)

    def _together(self) -> list[list[EntryPoint]]:
        """Plugins by module: one child imports those of one module."""
        of: dict[str, list[EntryPoint]] = {}
        for _, entry in sorted(self._third_party().items()):
            of.setdefault(entry.module, []).append(entry)
        return list(of.values())

    def _answer(self, name: str) -> plugins.Answer:
        if name not in self._answers:
            together = next(entries for entries in self._together() if name in {entry.name for entry in entries})
            self._answers |= plugins.usable(self._question(), together)
        return self._answers[name]

    def _called(self, name: str) -> str:
        return f"{self.noun} '{name}' from {self.origin(name)}"

    def _says(self, name: str, answer: plugins.Answer) -> str:
        begins = f"{self.noun} '{name}' "
        return answer.error if answer.error.startswith(begins) else f"{self._called(name)} {answer.error}"

    def _third_party(self) -> dict[str, EntryPoint]:
        if self._plugins is None:
            found: dict[str, EntryPoint] = {}
            for entry in entry_points(group=self.group):
                other = self.builtins.get(entry.name) or (_origin(found[entry.name]) if entry.name in found else None)
                # A distribution may be listed twice (an editable install beside its metadata), which is no collision.
                if other is not None and other != _origin(entry):
                    raise UsageError(
                        f"two {self.noun}s are called '{entry.name}': {other} and {_origin(entry)}; uninstall one"
                    )
                found[entry.name] = entry
            self._plugins = found
        return self._plugins

    def _checked(self, name: str, loaded: object) -> type[T]:
        if not (inspect.isclass(loaded) and issubclass(loaded, self.base)):
            raise UsageError(f"{self.noun} '{name}' ({self.origin(name)}) is not a {self.base.__name__} class")
        if inspect.isabstract(loaded):
            missing = ", ".join(sorted(getattr(loaded, "__abstractmethods__", ())))
            raise UsageError(f"{self.noun} '{name}' ({self.origin(name)}) does not define {missing}")
        # Results are stored under the class's own name, so it must equal the registered name.
        own = getattr(loaded, "name", None)
        if own != name:
            raise UsageError(f"{self.noun} '{name}' ({self.origin(name)}) calls itself {own!r}")
        return loaded


def split_address(address: str, noun: str) -> tuple[str, dict[str, str]]:
    """``"necgs[k=64,ssim=0]"`` → ``("necgs", {"k": "64", "ssim": "0"})``."""
    match = _ADDRESS.match(address.strip())
    if not match:
        raise UsageError(f"'{address}' is not a {noun} address; write name or name[param=value,...]")
    params: dict[str, str] = {}
    for item in filter(None, (match["params"] or "").split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"'{item}' in '{address}' is not param=value")
        if key.strip() in params:
            raise UsageError(f"parameter '{key.strip()}' is given twice in '{address}'")
        params[key.strip()] = value.strip()
    return match["name"], params


def split_addresses(text: str) -> list[str]:
    """Split a comma-separated list of addresses at commas outside brackets: ``"a,b[x=1,y=2]"``."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def typed(make: Callable[..., object], params: Mapping[str, str], where: str) -> dict[str, Any]:
    """Parameters of an address in the types of the defaults that a class or a function has for them.

    Raises
    ------
    UsageError
        There is no such parameter, or a value is not of its type.
    """
    known = {
        name: p for name, p in inspect.signature(make).parameters.items() if p.default is not inspect.Parameter.empty
    }
    typed: dict[str, Any] = {}
    for name, text in params.items():
        if name not in known:
            hint = _did_you_mean(name, list(known)) if known else "; it takes none"
            raise UsageError(f"{where} has no parameter '{name}'{hint}")
        typed[name] = _parse(text, known[name].default, f"{where}, parameter '{name}'")
    return typed


def _parse(text: str, default: object, where: str) -> object:
    """Convert a text to the type of the parameter's default."""
    if isinstance(default, bool):
        if text.lower() in {"1", "true", "yes", "on"}:
            return True
        if text.lower() in {"0", "false", "no", "off"}:
            return False
        raise UsageError(f"{where}: '{text}' is not true or false")
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except ValueError:
        raise UsageError(f"{where}: '{text}' is not of type {type(default).__name__}") from None
    return text


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known: {', '.join(known)}" if known else ""


def _origin(entry: EntryPoint) -> str:
    dist = entry.dist
    package = f"{dist.name} {dist.version}: " if dist else ""
    return f"{package}{entry.value}"
