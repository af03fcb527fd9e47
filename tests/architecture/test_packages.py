"""The wheel holds every package: a folder that pyproject.toml forgets is missing only where gcbench is installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import gcbench

ROOT = Path(__file__).parents[2]


def test_every_folder_with_modules_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    home = Path(gcbench.__file__).parent
    tops = {name.split(".")[1] for name in listed if "." in name}
    folders = {
        ".".join(("gcbench", *file.parent.relative_to(ROOT).parts))
        for top in tops
        for file in (ROOT / top).rglob("__init__.py")
        if "templates" not in file.parts
    }
    assert sorted(listed) == sorted(folders | {"gcbench"})
    assert all((home / Path(*name.split(".")[1:]) / "__init__.py").exists() for name in listed)
