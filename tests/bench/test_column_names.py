"""Nothing outside the suites names a column of theirs: sources are searched for every name and every floor."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import gcbench
from gcbench.bench.metrics import columns, floors

BENCH = Path(gcbench.__file__).parent / "bench"
SOURCES = [
    path for path in sorted(BENCH.rglob("*.py")) if not {"metrics", "templates"} & {*path.relative_to(BENCH).parts}
]
SCRIPTS = sorted(BENCH.rglob("*.js"))


def literals(path: Path) -> set[str]:
    """Texts in quotes, whole; in scripts also names behind a point."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        constants = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        return {value for value in constants if isinstance(value, str)}
    quoted = re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'|`([^`\n]*)`|\.(\w+)\b", text)
    return {one for found in quoted for one in found}


def test_no_source_names_a_column():
    names = {*columns(), *floors()}
    assert len(SOURCES) > 40
    assert len(SCRIPTS) > 8
    named = {f"{path.relative_to(BENCH)}: {name}" for path in [*SOURCES, *SCRIPTS] for name in literals(path) & names}
    assert not named


def test_the_search_finds_what_it_looks_for(tmp_path):
    python, script = tmp_path / "a.py", tmp_path / "a.js"
    python.write_text('x = rows["cd"]  # "nc"\n"""cd_p2s is in a text."""\n')
    script.write_text("const x = p.cd, y = ['nc', \"f1_001\"];")
    assert literals(python) & set(columns()) == {"cd"}
    assert literals(script) & set(columns()) == {"cd", "nc", "f1_001"}
