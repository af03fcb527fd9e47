"""Imports plugins and says what they are: the child of `plugins.py`, which may hang, end or crash.

Run as ``python -m gcbench.plugin_child FD REQUEST``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from gcbench.errors import UsageError
from gcbench.plugins import TEXT, Answer, Question, import_directly
from gcbench.registry import Registry


def _found(path: str) -> Any:
    module, _, attribute = path.partition(":")
    found = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return found


def _answer(imported: Callable[[], Any], facts: Callable[[Any], Mapping[str, Any]] | None) -> bytes:
    """One line: what the plugin says, or what went wrong, which may be anything."""
    step = "fails to import"
    try:
        plugin = imported()
        step = "fails when it is asked about itself"
        return json.dumps(asdict(Answer(facts=facts(plugin()) if facts else None))).encode()
    except BaseException as error:  # noqa: BLE001 (a plugin may fail in any way)
        said, trace = type(error).__name__, ""
        with contextlib.suppress(BaseException):  # an exception may have a broken text
            said = " ".join(f"{said}: {error}".split())
            trace = "".join(traceback.format_exception(error.__cause__ or error))
        # The registry's own errors are sentences already.
        own = isinstance(error, UsageError) and step == "fails to import"
        answer = Answer((str(error) if own else f"{step}: {said}")[:TEXT], trace[:TEXT])
        return json.dumps(asdict(answer)).encode()


def main(argv: Sequence[str]) -> None:
    """Import the plugins that were named, and write one line for each; never returns."""
    import_directly()
    pipe, (asked, *names) = int(argv[0]), json.loads(argv[1])
    ours = os.getpid()
    try:
        question = Question(**asked)
        registry: Registry[Any] = Registry(_found(question.base), question.noun, {}, question.group)
        facts = _found(question.facts) if question.facts else None
        for name in names:
            line = _answer(partial(registry.imported, name), facts) + b"\n"
            if os.getpid() != ours:  # the plugin forked, and this is the other process
                os._exit(0)
            while line:
                line = line[os.write(pipe, line) :]
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
