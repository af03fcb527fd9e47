"""Tables as values, and their forms, on a table that has one of everything."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.bench.tabular import FORMATS, Column, Table, render
from gcbench.bench.tabular import table as module
from gcbench.bench.tabular.table import plain
from gcbench.bench.tabular.terminal import print_to, render_to_fit

CODEC = Column("codec", "codec", key=True)
CD = Column("cd", "CD ×10⁻³", "number", lambda value: f"{value * 1000:.1f}")
BYTES = Column("bytes", kind="integer")


def one_of_everything(**more) -> Table:
    values = {
        "codec": ["necgs[a=1]_x", "<b>&|é"],
        "cd": [0.0012345678901234567, math.nan],
        "bytes": [1234.0, 0.5],
        "ok": ["1/2", "2/2"],
    }
    columns = [CODEC, CD, BYTES, Column("ok", "ok", "number", data=False)]
    return Table("a & b", columns, values, ("50 % of <all>",), {"cd": ["~", ""]}, **more)


def text(tables, format_="text") -> str:
    return "".join(render(tables, format_))


def test_text_to_the_letter():
    assert text([one_of_everything()]) == (
        "a & b\n"
        "\n"
        "codec         CD ×10⁻³    ok\n"
        "────────────  ─────────  ───\n"
        "necgs[a=1]_x       1.2~  1/2\n"
        "<b>&|é               –   2/2\n"
        "\n"
        "50 % of <all>\n"
    )


def test_markdown_to_the_letter():
    assert text([one_of_everything()], "markdown") == (
        "### a &amp; b\n"
        "\n"
        "| codec | CD ×10⁻³ | ok |\n"
        "| --- | --: | --: |\n"
        "| necgs[a=1]_x | 1.2~ | 1/2 |\n"
        "| &lt;b>&amp;\\|é | – | 2/2 |\n"
        "\n"
        "50 % of &lt;all>\n"
    )
    folded = text([one_of_everything(details="open")], "markdown")
    assert folded.startswith("<details open><summary>a &amp; b</summary>\n\n| codec |")
    assert folded.endswith("\n\n</details>\n")


def test_latex_escapes_what_it_takes_for_commands():
    columns = [Column("a", "a"), Column("b", "b"), CD]
    values = {"a": ["necgs[a=1]_x"], "b": ["50 %"], "cd": [-0.0015]}
    assert text([Table("t", columns, values, ("n",), {"cd": ["~"]})], "latex").splitlines() == [
        "% t",
        r"\begin{tabular}{llr}",
        r"\toprule",
        r"a & b & CD $\times$10$^{-3}$ \\",
        r"\midrule",
        r"necgs[a=1]\_x & 50 \% & $-$1.5$\sim$ \\",
        r"\bottomrule",
        r"\end{tabular}",
        "% n",
    ]


def test_html_is_well_formed_and_can_be_read_aloud():
    tree = ET.fromstring(f"<div>{text([one_of_everything()], 'html')}</div>")
    assert tree.find("table/caption").text == "a & b"
    assert [(th.text, th.get("scope"), th.get("class")) for th in tree.iterfind("table/thead/tr/th")] == [
        ("codec", "col", None),
        ("CD ×10⁻³", "col", "number"),
        ("ok", "col", "number"),
    ]
    first, second = tree.iterfind("table/tbody/tr")
    assert [(cell.tag, cell.get("scope"), "".join(cell.itertext())) for cell in first] == [
        ("th", "row", "necgs[a=1]_x"),
        ("td", None, "1.2~"),
        ("td", None, "1/2"),
    ]
    assert first.find("td/span").get("class") == "mark"
    assert second.find("th").text == "<b>&|é"
    assert tree.find("ul/li").text == "50 % of <all>"
    folded = ET.fromstring(text([one_of_everything(details="closed")], "html"))
    assert (folded.tag, folded.find("summary").text, folded.find("table/caption")) == ("details", "a & b", None)


def test_csv_and_json_have_names_every_digit_and_nothing_that_is_for_people():
    assert text([one_of_everything()], "csv") == (
        "codec,cd,bytes\nnecgs[a=1]_x,0.0012345678901234567,1234\n<b>&|é,,0.5\n"
    )
    assert json.loads(text([one_of_everything()], "json")) == [
        {"codec": "necgs[a=1]_x", "cd": 0.0012345678901234567, "bytes": 1234},
        {"codec": "<b>&|é", "cd": None, "bytes": 0.5},
    ]


def test_programs_get_the_rows_of_all_tables_as_one_and_people_get_what_has_a_label():
    people = Table("p", [Column("x", "x", data=False)], {"x": [1]})
    programs = Table("q", [Column("a"), Column("b")], {"a": [1], "b": [[1, 2]]})
    more = Table("r", [Column("b", "b"), Column("c")], {"b": ["x"], "c": [None]})
    assert text([people, programs, more], "csv") == "a,b,c\n1,1; 2,\n,x,\n"
    assert json.loads(text([people, programs, more], "json")) == [{"a": 1, "b": [1, 2]}, {"b": "x", "c": None}]
    assert text([people, programs, more]) == "p\n\nx\n─\n1\n\nr\n\nb\n─\nx\n"


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing(format_):
    empty = Table("only a title", [CODEC, CD], {"codec": [], "cd": []}, ("and a note",))
    said = {"csv": ("", "codec,cd\n"), "json": ("[]\n", "[]\n")}
    nothing, no_rows = text([], format_), text([empty], format_)
    if format_ in said:
        assert (nothing, no_rows) == said[format_]
    else:
        assert nothing == "nothing to show\n"
        assert "only a title" in no_rows
        assert "and a note" in no_rows
        assert "codec" not in no_rows


def test_values_are_plain_python_values_whatever_holds_them():
    missing = [None, None]
    assert plain(pd.Series([1.5, math.nan, math.inf])) == [1.5, *missing]
    assert plain(pd.Series([3.0, math.nan, math.inf]), "integer") == [3, *missing]
    assert plain(pd.Series([1, 2])) == [1, 2]
    assert plain(pd.Series([1, None, None], dtype="Int64")) == [1, *missing]
    assert plain(pd.Series(["a", None], dtype="category")) == ["a", None]
    assert plain(pd.Series(["a", None], dtype="str")) == ["a", None]
    assert plain(pd.Series([True, None, math.nan], dtype=object), "flag") == [True, *missing]
    assert plain(pd.Series([1.0, 0.0, math.nan]), "flag") == [True, False, None]
    assert plain([np.float64(2.5), np.int64(2), pd.NA, pd.NaT, math.nan, "x"]) == [2.5, 2, None, None, None, "x"]
    kinds = [type(value) for value in plain(pd.Series([1.0, 2.5, 2.0**60]), "integer")]
    assert kinds == [int, float, int]
    assert [type(value) for value in plain(pd.Series([np.int64(1)], dtype=object))] == [int]


def test_many_rows_are_written_in_pieces(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr("gcbench.bench.tabular.csv.CHUNK", 7)
    monkeypatch.setattr("gcbench.bench.tabular.json.CHUNK", 7)
    rows = list(range(100))
    table = Table("", [Column("n", kind="integer")], {"n": pd.Series(rows, dtype=float)})
    pieces = list(render([table], "csv"))
    assert len(pieces) > 10
    assert [int(n) for (n,) in list(csv.reader(io.StringIO("".join(pieces))))[1:]] == rows
    assert [row["n"] for row in json.loads(text([table], "json"))] == rows


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(20, 60))
def test_no_name_can_break_a_row(names, width):
    table = Table("", [CODEC, CD], {"codec": names, "cd": [1.0] * len(names)})
    said = text([table])
    assert said.isprintable() or set(said) - {"\n"} == {c for c in said if c.isprintable()}
    assert said.count("\n") == len(names) + 2
    assert text([table], "markdown").count("\n") == len(names) + 2
    ET.fromstring(text([table], "html"))
    _, *rows = csv.reader(io.StringIO(text([table], "csv"), newline=""))
    assert [row[0] for row in rows] == names
    assert all("\x1b" not in line for line in render_to_fit(table, width).splitlines())


def test_wide_characters_are_aligned():
    table = Table("", [CODEC, CD], {"codec": ["骨", "ab"], "cd": [1.0, 1.0]})
    lines = text([table]).splitlines()
    assert lines[2].index("1") + 1 == lines[3].index("1")  # 骨 is two columns wide


def test_a_table_that_fits_a_terminal_is_as_it_is_elsewhere():
    assert render_to_fit(one_of_everything(), 120) == text([one_of_everything()])


def test_long_texts_are_folded_on_a_terminal():
    error = "ValueError: the mesh has no faces that could be coded by this codec, " + "x" * 40
    columns = [CODEC, Column("error", "error"), Column("n", "n", "integer")]
    table = Table("t", columns, {"codec": ["a", "b"], "error": [error, "short"], "n": [1, 22]}, ("a note " * 9,))
    said = render_to_fit(table, 40)
    lines = said.splitlines()
    assert max(map(len, lines)) <= 40
    words = "".join(line[7:35] for line in lines[4:-3] if not line.startswith("b")).replace(" ", "")
    assert words.startswith(error.replace(" ", "")[:60])
    assert lines[4].endswith("  1")
    assert any(line.startswith("b      short") and line.endswith("22") for line in lines)


def test_columns_that_do_not_fit_a_terminal_stand_below_with_their_keys():
    columns = [CODEC, *(Column(f"c{i}", f"column {i}", "number") for i in range(8))]
    table = Table("t", columns, {"codec": ["a", "b"], **{f"c{i}": [10 * i, 10 * i + 1] for i in range(8)}})
    said = render_to_fit(table, 45)
    assert said == (
        "t\n\n"
        "codec  column 0  column 1  column 2  column 3\n"
        "─────  ────────  ────────  ────────  ────────\n"
        "a             0        10        20        30\n"
        "b             1        11        21        31\n"
        "\n"
        "codec  column 4  column 5  column 6  column 7\n"
        "─────  ────────  ────────  ────────  ────────\n"
        "a            40        50        60        70\n"
        "b            41        51        61        71\n"
    )


def test_a_terminal_gets_bold_headings_and_nobody_else_gets_colours():
    from rich.console import Console

    shown = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    print_to(shown, [one_of_everything()])
    said = shown.file.getvalue()
    assert "\x1b[1mcodec" in said
    piped = Console(file=io.StringIO(), width=80)
    print_to(piped, [one_of_everything(), one_of_everything()])
    assert piped.file.getvalue() == text([one_of_everything(), one_of_everything()])


def test_the_values_and_forms_import_neither_pandas_nor_rich():
    code = (
        "import sys; from gcbench.bench.tabular import FORMATS, Column, Table, render; "
        "t = Table('t', [Column('a', 'a')], {'a': ['x']}); [''.join(render([t], f)) for f in FORMATS]; "
        "print(sorted({'pandas', 'numpy', 'rich', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
