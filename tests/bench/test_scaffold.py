"""``bench new codec`` and ``bench new metric``: what they write installs without a network and passes its check."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import indent

import pytest

from gcbench.bench.scaffold import new_codec, new_metric
from gcbench.errors import StoreError, UsageError


def bench(*arguments: str, code: int = 0, **environment: str) -> str:
    return python("-m", "gcbench.bench.cli", *arguments, code=code, **environment)


def python(*arguments: str, code: int = 0, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_everything_bears_the_new_name(tmp_path):
    written = new_codec("wave-3d-coder", tmp_path / "src")
    folder = tmp_path / "src" / "wave-3d-coder"
    assert sorted(folder.iterdir()) == sorted(written)
    assert {path.name for path in written} == {
        "pyproject.toml",
        "README.md",
        "wave_3d_coder.py",
        "test_wave_3d_coder.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "wave-3d-coder"
    assert project["project"]["entry-points"]["gcbench.codecs"] == {"wave-3d-coder": "wave_3d_coder:Wave3dCoder"}
    assert project["tool"]["setuptools"]["py-modules"] == ["wave_3d_coder"]
    source = (folder / "wave_3d_coder.py").read_text()
    classes = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert classes == ["Wave3dCoder"]
    assert 'b"WV3"' in source
    for path in written:
        assert "example" not in path.read_text().lower()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Codec", "is not a valid name"),
        ("../up", "is not a valid name"),
        ("a_b", "is not a valid name"),
        ("a--b", "is not a valid name"),
        ("3d", "is not a valid name"),
        ("", "is not a valid name"),
        ("json", "Python's own module json"),
        ("class", "Python's own module class"),
        ("numpy", "a module numpy is installed already"),
        ("draco", "there is a codec 'draco' already: gcbench.codecs.draco:Draco"),
        ("test-exact", "there is a codec 'test-exact' already"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, message):
    with pytest.raises(UsageError, match=message):
        new_codec(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "my-codec").mkdir()
    (tmp_path / "my-codec" / "my_codec.py").write_text("years of work")
    with pytest.raises(UsageError, match="exists already"):
        new_codec("my-codec", tmp_path)
    assert [p.read_text() for p in (tmp_path / "my-codec").iterdir()] == ["years of work"]


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        new_codec("my-codec", tmp_path / "file")


def test_the_command_says_what_to_type_next(tmp_path):
    out = bench("new", "codec", "my-codec", "--out", str(tmp_path))
    folder = tmp_path / "my-codec"
    assert out.splitlines() == [
        f"{folder}: pyproject.toml, README.md, my_codec.py, test_my_codec.py",
        f"next: pip install -e {folder}",
        "      bench check my-codec",
        "      bench run --dataset mixed --codec draco,my-codec; bench plot",
    ]
    assert "exists already" in bench("new", "codec", "my-codec", "--out", str(tmp_path), code=2)


def test_everything_of_a_metric_bears_the_new_name(tmp_path):
    written = new_metric("lost-parts", tmp_path)
    assert {path.name for path in written} == {"pyproject.toml", "README.md", "lost_parts.py", "test_lost_parts.py"}
    project = tomllib.loads((tmp_path / "lost-parts" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"] == {"gcbench.metrics": {"lost-parts": "lost_parts:LostParts"}}
    source = (tmp_path / "lost-parts" / "lost_parts.py").read_text()
    classes = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert classes == ["Reference", "LostParts"]
    assert 'name="lost_parts_p95"' in source
    for path in written:
        assert "example" not in path.read_text().lower()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Metric", "'My-Metric' is not a valid name; .*, such as my-metric"),
        ("statistics", "Python's own module statistics"),
        ("scipy", "a module scipy is installed already"),
        ("surface", "there is a metric suite 'surface' already: gcbench.bench.metrics.surface:Surface"),
    ],
)
def test_names_of_metrics_that_cannot_be(tmp_path, name, message):
    with pytest.raises(UsageError, match=message):
        new_metric(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_for_metrics_says_what_to_type_next(tmp_path):
    out = bench("new", "metric", "my-metric", "--out", str(tmp_path))
    folder = tmp_path / "my-metric"
    assert out.splitlines() == [
        f"{folder}: pyproject.toml, README.md, my_metric.py, test_my_metric.py",
        f"next: pip install -e {folder}",
        "      bench check --suite my-metric",
        "      bench run --dataset mixed --codec draco --suite surface,my-metric; bench table",
    ]


def installed(package: Path, site: Path) -> str:
    """PYTHONPATH with a package installed: a wheel into a folder of its own, not into the environment of the tests."""
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), str(package))
    return os.pathsep.join([str(site), os.environ["PYTHONPATH"]])


@pytest.mark.slow
def test_the_metric_installs_and_keeps_the_contract(tmp_path):
    (*_, test) = new_metric("my-metric", tmp_path)
    path = installed(test.parent, tmp_path / "site")
    assert "my-metric 0.1: my_metric:MyMetric" in bench("list", "metrics", PYTHONPATH=path)
    assert "27 checks of my-metric: 27 passed" in bench("check", "--suite", "my-metric", PYTHONPATH=path)
    assert "2 passed" in python("-m", "pytest", "-q", str(test), cwd=tmp_path, PYTHONPATH=path)


@pytest.mark.slow
def test_the_tutorial_for_metrics_can_be_followed(tmp_path):
    """The code of docs/add-a-metric.md, put where it says, keeps the contract."""
    text = (Path(__file__).parents[2] / "docs" / "add-a-metric.md").read_text()
    inside, at_the_end = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (_, _, module, _) = new_metric("my-metric", tmp_path)
    source = module.read_text()
    begin, end = source.index("    columns = ("), source.index("def _samples(")
    module.write_text(source[:begin] + indent(inside, "    ") + "\n\n" + source[end:] + "\n\n" + at_the_end)
    path = installed(module.parent, tmp_path / "site")
    assert "27 checks of my-metric: 27 passed" in bench("check", "--suite", "my-metric", PYTHONPATH=path)
    commands = re.findall(r"^bench (new metric|list|check|run|measure|table)\b", text, re.MULTILINE)
    assert commands == ["new metric", "list", "check", "run", "table", "table", "check", "measure", "table"]


@pytest.mark.slow
def test_the_package_installs_and_keeps_the_contract(tmp_path):
    (*_, test) = new_codec("my-codec", tmp_path)
    path = installed(test.parent, tmp_path / "site")
    assert re.search(r"my-codec +model +my-codec 0\.1: my_codec:MyCodec", bench("list", "codecs", PYTHONPATH=path))
    assert "30 checks of my-codec: 30 passed" in bench("check", "my-codec", PYTHONPATH=path)
    assert "3 passed" in python("-m", "pytest", "-q", str(test), cwd=tmp_path, PYTHONPATH=path)


@pytest.mark.slow
def test_the_tutorial_can_be_followed(tmp_path):
    """The code of docs/add-a-codec.md, put where it says, keeps the contract and spans the rates that it says."""
    text = (Path(__file__).parents[2] / "docs" / "add-a-codec.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    (_, _, module, _) = new_codec("my-codec", tmp_path)
    source = module.read_text()
    begin, end = source.index("    def rates("), source.index("    def decode_mesh(")
    source = source[:begin] + indent(code, "    ") + "\n" + source[end:]
    module.write_text(source.replace("_VERSION = 1", "_VERSION = 2"))
    path = installed(module.parent, tmp_path / "site")
    assert "30 checks of my-codec: 30 passed" in bench("check", "my-codec", PYTHONPATH=path)
    commands = re.findall(r"^bench (new codec|list|check|run|plot)\b", text, re.MULTILINE)
    assert commands[:5] == ["new codec", "list", "check", "run", "plot"]
    assert commands[5:] == ["check", "run", "plot", "run", "run", *["check"] * 3]
