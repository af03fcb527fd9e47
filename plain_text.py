r"""Text from outside, such as names of files and messages of codecs, as text that is safe to print and to keep.

A name of a file may hold bytes that are no UTF-8, line ends, and escape sequences that move the cursor or set the title
of a terminal. Such characters are written as escapes: ``caf\xe9``, ``a\x0ab``.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
import shlex
import sys
import unicodedata

ERRORS = "gcbench-plain"
"""Name of the error handler of :func:`use_plain_streams`."""

_NAME_CHARACTERS = 400
#: What stands for characters of ours where the encoding of the terminal lacks them.
_INSTEAD = str.maketrans(
    {
        "→": "->", "←": "<-", "⁻": "^-", "≈": "~", "×": "x", "≤": "<=", "≥": ">=", "−": "-", "–": "-", "—": "-",
        "─": "-", "│": "|", "·": ".", "…": "...", "Σ": "sum", "Δ": "d", "µ": "u", "μ": "u", "∞": "inf", "•": "*",
        "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9",
        "“": '"', "”": '"', "‘": "'", "’": "'", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "━": "-", "╸": "-", "╺": "-",
    }
)  # fmt: skip


def visible(text: str, keep: str = "") -> str:
    r"""Text without characters that a terminal obeys or does not show; each is written as an escape, such as ``\x1b``.

    Escaped are control characters, marks of direction and other invisible characters, and bytes that were no UTF-8
    (lone surrogates). Ordinary and wide spaces stay.

    Parameters
    ----------
    text : str
    keep : str
        Characters that stay, such as the line end of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_shown(c) else _escape(c) for c in text)


def line(text: str) -> str:
    """One visible line; white space is a single space."""
    return text if text.isprintable() and "  " not in text else visible(" ".join(text.split()))


def name_of_path(path: str | os.PathLike[str]) -> str:
    """A path as a name for results: printable, the same on every machine and locale, and different for different paths.

    An ordinary path is its own name. Otherwise, characters as in :func:`visible` are escaped, and backslashes are too.
    A name longer than 400 characters is shortened to its ends, with a hash between them.
    """
    # In the C locale, Python reads "é" as two lone surrogates: the bytes say what the name is.
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    if "\\" in text or not all(map(_is_shown, text)):
        text = "".join(c if _is_shown(c) and c != "\\" else _escape(c) for c in text)
    if len(text) > _NAME_CHARACTERS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        half = (_NAME_CHARACTERS - len(digest) - 2) // 2
        text = f"{text[:half]}~{digest}~{text[-half:]}"
    return text


def as_file_name(name: str, most: int = 120) -> str:
    """A name as a part of the name of one file: no slashes, no odd characters, at most ``most`` bytes (and 13).

    A name that is cut has a hash behind it, so that different names stay different.
    """
    flat = visible(name).replace("/", "_")
    if len(flat.encode()) <= most:
        return flat
    return f"{flat[: most // 4]}-{hashlib.sha256(flat.encode()).hexdigest()[:12]}"


def path_of_name(name: str) -> str:
    """The path that :func:`name_of_path` wrote as a name, unless the name was shortened."""
    found = re.sub(
        rb"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})",
        lambda m: bytes.fromhex(m[1].decode()) if m[1] else chr(int(m[2] or m[3], 16)).encode("utf-8", "replace"),
        os.fsencode(name),
    )
    return os.fsdecode(found)


def shell_word(path: str | os.PathLike[str]) -> str:
    """A path as one word of a shell, for a command that the user may copy; it is never taken for an option."""
    text = os.fspath(path)
    text = f"./{text}" if text.startswith("-") else text
    if visible(text) == text:
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{visible(quoted)}'"  # of bash and zsh


def use_plain_streams() -> None:
    """Let standard output and error print every text, whatever their encoding: what they lack becomes ASCII."""
    codecs.register_error(ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end].translate(_INSTEAD)
    return "".join(c if c.isascii() else _ascii(c) for c in found), error.end


def _ascii(character: str) -> str:
    """``é`` as ``e``; a character without a form in ASCII as an escape."""
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or _escape(character)
