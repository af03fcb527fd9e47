"""Names and messages from outside, as text that can be printed and kept."""

from __future__ import annotations

import io
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench import plain_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é → 漢字", "plain é → 漢字"),
        ("title \x1b]0;owned\x07", "title \\x1b]0;owned\\x07"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("caf\udce9", "caf\\xe9"),
        ("gnp.\u202ejbo", "gnp.\\u202ejbo"),
        ("wide\u3000space", "wide\u3000space"),
        ("\x85", "\\u0085"),
        ("\udcff\ud800", "\\xff\\ud800"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text, shown):
    assert plain_text.visible(text) == shown
    assert plain_text.visible(text).isprintable() or "\u3000" in text


def test_lines_of_a_longer_text_stay():
    assert plain_text.visible("a\n\x1b[2Jb\n", keep="\n") == "a\n\\x1b[2Jb\n"
    assert plain_text.line("two\n  lines\x1b") == "two lines\\x1b"


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
def test_every_file_name_has_a_printable_name_that_leads_back(name):
    path = os.fsdecode(name)
    named = plain_text.name_of_path(path)
    named.encode()
    assert plain_text.visible(named) == named
    assert os.fsencode(plain_text.path_of_name(named)) == name


def test_ordinary_names_are_themselves():
    assert plain_text.name_of_path("parts/Größe 1, new.v2") == "parts/Größe 1, new.v2"


def test_long_names_stay_different():
    long, other = "x" * 3000 + "a" + "x" * 200, "x" * 3000 + "b" + "x" * 200
    assert len(plain_text.name_of_path(long)) <= 400
    assert plain_text.name_of_path(long) != plain_text.name_of_path(other)
    assert len(plain_text.as_file_name("漢" * 300).encode()) < 140
    assert plain_text.as_file_name("a/b") == "a_b"


@pytest.mark.parametrize("name", ["-x", "a b", "it's", "new\nline", "\x1b[31m'\\", "caf\udce9", "--help", "é"])
def test_a_shell_reads_the_path_that_was_quoted(name):
    word = plain_text.shell_word(name)
    assert not word.startswith("-")
    assert "\x1b" not in word
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert said.removeprefix(b"./") == os.fsencode(name)


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("iso-8859-1", "p2s ×10⁻³ → é ≈", b"p2s \xd710^-\xb3 -> \xe9 ~"),
        ("ascii", "p2s ×10⁻³ → é 漢", b"p2s x10^-3 -> e \\u6f22"),
        ("utf-8", "→ \udce9", b"\xe2\x86\x92 \\xe9"),
    ],
)
def test_an_encoding_that_lacks_a_character_is_no_error(monkeypatch, encoding, text, written):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    plain_text.use_plain_streams()
    print(text, end="", flush=True)  # noqa: T201
    assert raw.getvalue() == written
