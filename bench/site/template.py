"""Text with placeholders: ``{{ name argument ... }}``, and blocks that stand for each set, or for sets that exist.

    <!-- each set -->           once for each set; SET in its placeholders and its text is the name of the set
    <!-- if ama40 animals40 --> only if all of these sets exist
    <!-- unless ama342 -->      only if none of these sets exists
    <!-- end -->

A block marker stands alone on its line. Blocks may stand in one another. A placeholder that fails is an error with its
line, so a sentence whose number no longer has the sign that the sentence says stops the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from gcbench.errors import UsageError

Call = Callable[[str, Sequence[str]], str]
_MARK = re.compile(r"<!-- (each set|if|unless|end)((?: [\w.+-]+)*) -->$")
_PLACE = re.compile(r"\{\{ *(.*?) *\}\}")


def expand(text: str, sets: Collection[str], call: Call, where: str = "template") -> str:
    """Fill in a template.

    Parameters
    ----------
    text : str
        The template.
    sets : collection of str
        Names of sets, in order.
    call : callable
        Gets the name and the arguments of a placeholder, returns its text; may raise ValueError.
    where : str
        Names the template in errors.

    Raises
    ------
    UsageError
        A marker is not closed, or a placeholder failed.
    """
    lines = list(enumerate(text.split("\n"), start=1))
    chosen, rest = _block(lines, 0, sets, where)
    if rest < len(lines):
        raise UsageError(f"{where}:{lines[rest][0]}: <!-- end --> without a beginning")

    def filled(number: int, line: str) -> str:
        return _PLACE.sub(lambda found: _fill(found[1], call, f"{where}:{number}"), line)

    return "\n".join(filled(number, line) for number, line in chosen)


Lines = list[tuple[int, str]]


def _block(lines: Lines, start: int, sets: Collection[str], where: str) -> tuple[Lines, int]:
    """The lines from ``start`` up to the end of their block, and the place of that end."""
    found: Lines = []
    place = start
    while place < len(lines):
        number, line = lines[place]
        mark = _MARK.match(line)
        if mark is None:
            found.append((number, line))
        elif mark[1] == "end":
            break
        else:
            body, place = _block(lines, place + 1, sets, where)
            if place == len(lines):
                raise UsageError(f"{where}:{number}: no <!-- end -->")
            found += _chosen(mark[1], mark[2].split(), body, sets)
        place += 1
    return found, place


def _chosen(kind: str, names: Sequence[str], body: Lines, sets: Collection[str]) -> Lines:
    if kind == "each set":
        return [(number, re.sub(r"\bSET\b", one, line)) for one in sets for number, line in body]
    there = [name in sets for name in names]
    return body if (all(there) if kind == "if" else not any(there)) else []


def _fill(inner: str, call: Call, where: str) -> str:
    name, *arguments = inner.split()
    try:
        return call(name, arguments)
    except (ValueError, TypeError, UsageError) as error:
        raise UsageError(f"{where}: {{{{ {inner} }}}}: {error}") from None
