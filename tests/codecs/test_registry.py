"""Names of codecs: lazy built-ins, packages that pip installed, and what is said when something is wrong with them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gcbench.codecs import CODECS, Codec
from gcbench.codecs.draco import Draco
from gcbench.errors import UsageError
from gcbench.registry import BrokenPlugin, Registry, split_address, split_addresses

CODEC_SOURCE = '''
from gcbench.codecs import ModelCodec, Rate
from gcbench.codecs.raw_zstd import RawZstd


class Tunable(RawZstd):
    """raw-zstd with parameters."""

    name = "their-codec"

    def __init__(self, level: int = 3, factor: float = 0.5, fast: bool = False, mode: str = "plain") -> None:
        self.params = (level, factor, fast, mode)


class Unfinished(ModelCodec):
    name = "their-unfinished"

    def version(self) -> str:
        return "1"


class Misnamed(RawZstd):
    pass


def not_a_class() -> None:
    pass
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with entry points on sys.path as pip would lay it out; return a registry that sees it."""
    modules: list[str] = []

    def put(package: str, entries: dict[str, str], source: str = CODEC_SOURCE, builtins=CODECS.builtins) -> Registry:
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[gcbench.codecs]\n{lines}")
        (site / f"{package}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        modules.append(package)
        importlib.invalidate_caches()
        return Registry(base=Codec, noun="codec", builtins=builtins, group="gcbench.codecs")

    yield put
    for module in modules:
        sys.modules.pop(module, None)


def ours(names: list[str]) -> list[str]:
    """Leave out the plugin that the whole test run has on its path."""
    return [name for name in names if not name.startswith("test-")]


def test_builtins_come_first_in_their_order():
    assert CODECS.names()[:4] == ["raw-zstd", "draco", "draco-qem", "meshopt"]
    assert list(CODECS) == CODECS.names()
    assert all(CODECS.is_builtin(name) and CODECS.get(name).name == name for name in CODECS.builtins)
    assert CODECS.origin("draco") == "gcbench.codecs.draco:Draco"


def test_names_import_nothing_heavy():
    code = (
        "import sys; from gcbench.codecs import CODECS; CODECS.names()\n"
        "heavy = {'numpy', 'trimesh', 'DracoPy', 'pymeshlab', 'zstandard', 'gcbench.codecs.draco'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_package_that_pip_installed_is_found_and_runs(tmp_path):
    project, target = tmp_path / "project", tmp_path / "target"
    (project / "src").mkdir(parents=True)
    (project / "src" / "their_codecs.py").write_text(CODEC_SOURCE)
    (project / "pyproject.toml").write_text(
        textwrap.dedent(
            """
            [build-system]
            requires = ["setuptools"]
            build-backend = "setuptools.build_meta"
            [project]
            name = "their-codecs"
            version = "2.5"
            [project.entry-points."gcbench.codecs"]
            their-codec = "their_codecs:Tunable"
            [tool.setuptools]
            package-dir = { "" = "src" }
            py-modules = ["their_codecs"]
            """
        )
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(project)], timeout=120, check=True)
    code = """
        import sys, trimesh
        from gcbench.codecs import CODECS, Context
        assert "their-codec" in CODECS.names(), CODECS.names()
        assert not CODECS.is_builtin("their-codec")
        assert CODECS.origin("their-codec") == "their-codecs 2.5: their_codecs:Tunable", CODECS.origin("their-codec")
        codec = CODECS.create("their-codec[level=7,fast=yes]")
        assert codec.params == (7, 0.5, True, "plain"), codec.params
        mesh = trimesh.creation.box()
        (stream,) = codec.encode([mesh], codec.rates("quick")[0], Context())
        (back,) = CODECS.create("their-codec").decode(stream, Context())
        assert back.volume == mesh.volume
    """
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_refresh_finds_what_was_installed_since(install):
    registry = Registry(base=Codec, noun="codec", builtins=CODECS.builtins, group="gcbench.codecs")
    assert "their-codec" not in registry.names()
    install("late_codecs", {"their-codec": "late_codecs:Tunable"})
    assert "their-codec" not in registry.names()
    registry.refresh()
    assert registry.get("their-codec").name == "their-codec"


def test_a_collision_with_a_builtin_names_both(install):
    registry = install("rude_codecs", {"draco": "rude_codecs:Tunable"})
    with pytest.raises(UsageError) as caught:
        registry.names()
    assert "gcbench.codecs.draco:Draco" in str(caught.value)
    assert "rude_codecs 1.0: rude_codecs:Tunable" in str(caught.value)
    assert registry.get("draco") is Draco, "a built-in can still be asked for by name"


def test_a_collision_of_two_packages_names_both(install):
    install("first_codecs", {"their-codec": "first_codecs:Tunable"})
    registry = install("second_codecs", {"their-codec": "second_codecs:Tunable"})
    with pytest.raises(UsageError) as caught:
        registry.get("their-codec")
    assert "first_codecs 1.0: first_codecs:Tunable" in str(caught.value)
    assert "second_codecs 1.0: second_codecs:Tunable" in str(caught.value)


def test_broken_plugins_are_reported_and_the_rest_goes_on(install):
    install("import_fails", {"import-fails": "import_fails:Codec"}, source="def oops(): 1 / 0\noops()\n")
    install("exits", {"no-attribute": "exits:Missing", "no-module": "no_such_module:Codec"})
    registry = install(
        "wrong_kind",
        {
            "their-function": "wrong_kind:not_a_class",
            "their-dict": "builtins:dict",
            "their-unfinished": "wrong_kind:Unfinished",
            "other-name": "wrong_kind:Misnamed",
            "their-codec": "wrong_kind:Tunable",
        },
    )
    broken = {
        plugin.name: plugin
        for plugin in registry.asked().values()
        if isinstance(plugin, BrokenPlugin) and not plugin.name.startswith("test-")
    }
    reasons = {
        "import-fails": "fails to import: ZeroDivisionError",
        "no-attribute": "fails to import: AttributeError",
        "no-module": "fails to import: ModuleNotFoundError",
        "their-function": "is not a Codec class",
        "their-dict": "is not a Codec class",
        "their-unfinished": "does not define decode_mesh, encode_mesh, rates",
        "other-name": "calls itself 'raw-zstd'",
    }
    assert broken.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in broken[name].reason
        assert broken[name].origin in broken[name].reason
        assert "\n" not in broken[name].reason
    assert "in oops" in broken["import-fails"].traceback
    assert broken["other-name"].origin == "wrong_kind 1.0: wrong_kind:Misnamed"
    assert ours(registry.names()) == [*CODECS.builtins, *sorted([*reasons, "their-codec"])]
    assert registry.create("their-codec").name == "their-codec"
    with pytest.raises(UsageError, match=r"codec 'no-module' from exits 1\.0: no_such_module:Codec fails to import"):
        registry.create("no-module")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("drako", r"unknown codec 'drako'; did you mean draco"),
        ("draco_qem", r"did you mean draco-qem or draco"),
        ("xyzzy", r"unknown codec 'xyzzy'; known: raw-zstd, draco, draco-qem, meshopt"),
        ("draco[bits=3]", r"codec 'draco' has no parameter 'bits'; it takes none"),
        ("draco[bits]", r"'bits' in 'draco\[bits\]' is not param=value"),
        ("draco[", r"is not a codec address"),
        ("", r"is not a codec address"),
        ("../draco", r"is not a codec address"),
    ],
)
def test_wrong_addresses_of_builtins(address, message):
    with pytest.raises(UsageError, match=message):
        CODECS.create(address)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("", (3, 0.5, False, "plain")),
        ("level=19", (19, 0.5, False, "plain")),
        ("factor=2, fast=ON ,mode=a b", (3, 2.0, True, "a b")),
        ("fast=0,level=-1,factor=1e-3", (-1, 0.001, False, "plain")),
    ],
)
def test_parameters_have_the_type_of_their_defaults(install, params, expected):
    registry = install("typed_codecs", {"their-codec": "typed_codecs:Tunable"})
    assert registry.create(f"their-codec[{params}]").params == expected


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("level=2.5", "parameter 'level': '2.5' is not of type int"),
        ("factor=big", "parameter 'factor': 'big' is not of type float"),
        ("fast=maybe", "parameter 'fast': 'maybe' is not true or false"),
        ("lvl=2", "has no parameter 'lvl'; did you mean level"),
        ("level=1,level=2", "parameter 'level' is given twice"),
        ("=1", "'=1' in .* is not param=value"),
    ],
)
def test_wrong_parameters_are_explained(install, params, message):
    registry = install("typed_codecs", {"their-codec": "typed_codecs:Tunable"})
    with pytest.raises(UsageError, match=message):
        registry.create(f"their-codec[{params}]")


def test_addresses_split_at_commas_outside_brackets():
    assert split_addresses("draco, a[x=1,y=2],b") == ["draco", "a[x=1,y=2]", "b"]
    assert split_addresses("a[],,b,") == ["a[]", "b"]
    assert split_address("a.b-c_1[x=1, y = z]", "codec") == ("a.b-c_1", {"x": "1", "y": "z"})
    assert split_address(" a ", "codec") == ("a", {})


def test_built_in_modules_are_where_the_registry_says():
    for address in CODECS.builtins.values():
        module, _, attribute = address.partition(":")
        path = Path(importlib.import_module(module).__file__ or "")
        assert path.is_file()
        assert f"class {attribute}(" in path.read_text(encoding="utf-8")
