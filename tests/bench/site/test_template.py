"""Placeholders and blocks of a template, and errors that name their line."""

from __future__ import annotations

import pytest

from gcbench.bench.site.template import expand
from gcbench.errors import UsageError


def call(name, arguments):
    if name == "bad":
        raise ValueError("the sentence is no longer true")
    return f"<{name}:{'|'.join(arguments)}>"


def made(text, sets=("a1", "b2")):
    return expand(text, sets, call, "t.md")


def test_a_placeholder_has_a_name_and_arguments():
    assert made("x {{ bd a1 draco }} y {{says b2}}") == "x <bd:a1|draco> y <says:b2>"


def test_a_block_stands_once_for_each_set():
    text = "start\n<!-- each set -->\n## SET, not SETS\n{{ says SET }}\n<!-- end -->\nend"
    assert made(text) == "start\n## a1, not SETS\n<says:a1>\n## b2, not SETS\n<says:b2>\nend"


@pytest.mark.parametrize(
    ("mark", "there"),
    [("if a1", True), ("if a1 b2", True), ("if a1 c", False), ("unless c", True), ("unless c b2", False)],
)
def test_a_block_depends_on_the_sets_that_exist(mark, there):
    text = f"<!-- {mark} -->\n{{{{ says a1 }}}}\n<!-- end -->"
    assert made(text) == ("<says:a1>" if there else "")


def test_what_is_left_out_is_not_computed():
    assert made("<!-- if c -->\n{{ bad c }}\n<!-- end -->\nx") == "x"


def test_blocks_stand_in_one_another():
    text = "<!-- each set -->\n<!-- if a1 -->\nSET\n<!-- end -->\n<!-- unless a1 -->\nno\n<!-- end -->\n<!-- end -->"
    assert made(text) == "a1\nb2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n{{ bad a1 }}", "t.md:2: {{ bad a1 }}: the sentence is no longer true"),
        ("x\n<!-- each set -->\ny", "t.md:2: no <!-- end -->"),
        ("x\n<!-- end -->", "t.md:2: <!-- end --> without a beginning"),
    ],
)
def test_an_error_names_its_line(text, message):
    with pytest.raises(UsageError) as caught:
        made(text)
    assert str(caught.value) == message


def test_other_comments_stay():
    assert made("<!-- a note -->\nx") == "<!-- a note -->\nx"
