"""Versions made from source: what changes them, and what does not."""

from __future__ import annotations

import importlib
import py_compile
import re
import sys
from importlib import metadata

import pytest

from gcbench import versions
from gcbench.errors import UsageError
from gcbench.versions import source_version

SOURCE = '''\
"""A module."""
import math
from fractions import Fraction as F

SIDE = 3  # of a cube
"""Documented where it stands."""


class Cube:
    """A cube."""

    side: int = SIDE
    """Its side."""

    def volume(self, *, scale: float = -1.5e3) -> float:
        """Volume."""
        # why
        match self.side:
            case 0 | 1 as small if small:
                return 0.0
            case [*_, {"a": x, **rest}]:
                return lambda: (x, rest)
        return f"{self.side!r:>{SIDE}} \\N{SNOWMAN} é \\x00" if (y := 2 ** self.side) else not b"x" < y


async def empty():
    """Nothing."""
'''
SAME = {
    "docstrings": (r'"""A cube\."""', '"""Something else."""'),
    "a docstring of an attribute": (r'    """Its side\."""\n', ""),
    "comments": (r"  # of a cube|        # why\n", ""),
    "quotes": ('b"x"', "b'x'"),
    "layout": (
        r"\(self, \*, scale: float = -1\.5e3\)",
        "(\n        self,\n        *,\n        scale: float = -1500.,\n    )",
    ),
    "blank lines": ("\n\n", "\n"),
    "how a letter is written": ("é", r"\\xe9"),
    "the end of lines": ("\n", "\r\n"),
}
OTHER = {
    "a number": ("-1.5e3", "-1.25e3"),
    "a name": ("def volume", "def size"),
    "an operator": ("2 ** self", "2 * self"),
    "a string": ("SNOWMAN", "COMET"),
    "a type": ('b"x"', '"x"'),
    "a conversion": ("!r", "!s"),
    "an order": ("0 | 1", "1 | 0"),
    "an import": ("import math\n", ""),
    "a sign": ("-1.5e3", "1.5e3"),
    "a statement": ("    def volume", "    pass\n\n    def volume"),
}


@pytest.fixture(autouse=True)
def _forget():
    versions.forget()
    yield
    versions.forget()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two modules, which must not be imported."""
    name = f"house{abs(hash(tmp_path))}"
    folder = tmp_path / name
    (folder / "rooms").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "rooms" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "rooms" / "hall.py").write_text(SOURCE, encoding="utf-8")
    (folder / "door.py").write_text("WIDE = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return folder


def of(*modules: str) -> str:
    versions.forget()
    return source_version(1, *modules)


def test_it_is_short_and_readable_and_names_packages(package):
    version = source_version("2b", f"{package.name}.door", packages=("numpy", "no-such-package", "numpy"))
    assert re.fullmatch(
        rf"2b\+[0-9a-f]{{8}}\+numpy-{re.escape(metadata.version('numpy'))}\+no-such-package-missing", version
    )
    assert source_version(3) == "3"
    assert source_version(3, packages=("no-such-package",)) == "3+no-such-package-missing"
    assert not [name for name in sys.modules if name.startswith(package.name)], "nothing is imported"


@pytest.mark.parametrize("change", SAME)
def test_text_changes_nothing(package, change):
    hall = package / "rooms" / "hall.py"
    before = of(f"{package.name}.rooms.hall")
    text = re.sub(*SAME[change], SOURCE)
    assert text != SOURCE
    hall.write_bytes(text.encode())
    assert of(f"{package.name}.rooms.hall") == before


@pytest.mark.parametrize("change", OTHER)
def test_a_statement_changes_it(package, change):
    hall = package / "rooms" / "hall.py"
    before = of(f"{package.name}.rooms.hall")
    text = SOURCE.replace(*OTHER[change])
    assert text != SOURCE
    hall.write_text(text, encoding="utf-8")
    assert of(f"{package.name}.rooms.hall") != before


def test_it_is_the_same_in_every_python(package):
    """The literal was computed by Python 3.11, 3.12 and 3.13."""
    assert versions.file_digest(package / "rooms" / "hall.py").hex()[:16] == "e42f151ba856658d"


def test_what_later_pythons_add_is_as_if_it_were_not_there(tmp_path):
    """``type_params`` of 3.12 is an empty list on every function; here it is put on one by hand."""
    import ast

    tree = ast.parse("def f(): return None")
    plain = versions._said(tree)
    tree.body[0]._fields = (*tree.body[0]._fields, "of_the_future", "and_empty")
    tree.body[0].of_the_future, tree.body[0].and_empty = None, []
    assert versions._said(tree) == plain


def test_a_package_is_all_that_is_under_it(package):
    name = package.name
    assert len({of(name), of(f"{name}.rooms"), of(f"{name}.door"), of(f"{name}.rooms.hall")}) == 4
    before, rooms = of(name), of(f"{name}.rooms")
    (package / "rooms" / "hall.py").write_text("x = 1")
    assert of(name) != before
    assert of(f"{name}.rooms") != rooms
    before, rooms = of(name), of(f"{name}.rooms")
    (package / "window.py").write_text("")
    assert of(name) != before
    assert of(f"{name}.rooms") == rooms
    before = of(name)
    (package / "notes.txt").write_text("x")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "door.cpython-311.pyc").write_bytes(b"x")
    assert of(name) == before


def test_order_does_not_matter_and_modules_do_not_stand_for_each_other(package):
    one, other = f"{package.name}.door", f"{package.name}.rooms.hall"
    assert of(one, other) == of(other, one, one)
    assert of(one, other) != of(one)
    before = of(one, other)
    hall, door = package / "rooms" / "hall.py", package / "door.py"
    contents = hall.read_bytes(), door.read_bytes()
    door.write_bytes(contents[0])
    hall.write_bytes(contents[1])
    assert of(one, other) != before


def test_without_source_the_bytes_count(package):
    source = package / "door.py"
    compiled = package / "door.pyc"
    py_compile.compile(str(source), cfile=str(compiled))
    source.unlink()
    importlib.invalidate_caches()
    module = f"{package.name}.door"
    before, whole = of(module), of(package.name)
    contents = bytearray(compiled.read_bytes())
    contents[-1] ^= 1
    compiled.write_bytes(contents)
    assert of(module) != before
    assert of(package.name) != whole


def test_what_comes_compiled_has_a_version():
    assert re.fullmatch(r"1\+[0-9a-f]{8}", of("zstandard.backend_c"))


def test_files_are_read_once(package, monkeypatch):
    read, real = [], versions.read
    monkeypatch.setattr(versions, "read", lambda path: read.append(path.name) or real(path))
    for revision in (1, 2, 1):
        source_version(revision, f"{package.name}.door", f"{package.name}.rooms.hall")
    assert sorted(read) == ["door.py", "hall.py"]


@pytest.mark.parametrize(
    "module", ["nowhere", "nowhere.at_all", "gcbench.nowhere", "gcbench.errors.x", "sys", "", ".x"]
)
def test_a_module_that_is_not_there_is_refused(module):
    with pytest.raises(UsageError, match="module"):
        source_version(1, module)
