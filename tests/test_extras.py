"""What is missing is named with the extra that brings it; that gcbench works without its extras: `light/`."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from gcbench import extras, native
from gcbench.codecs import CODECS, ModelCodec
from gcbench.datasets.minis import mini_sources
from gcbench.errors import BenchError, DatasetMissing, SystemLibraryMissing

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def test_the_table_is_that_of_pyproject():
    found = {}
    for extra in ("cluster", "networks"):
        for requirement in PROJECT["optional-dependencies"][extra]:
            name = requirement.split(">=")[0]
            if not name.startswith("gcbench"):
                found[name] = extra
    assert found == extras.EXTRA_OF
    always = {requirement.split(">=")[0].split("=")[0] for requirement in PROJECT["dependencies"]}
    assert not always & set(found)


def test_codecs_need_packages_that_something_brings():
    """Otherwise a fresh installation has a codec that never runs."""
    brought = {*extras.EXTRA_OF, *(r.split(">=")[0].split("=")[0] for r in PROJECT["dependencies"])}
    for name in CODECS.builtins:
        assert set(CODECS.get(name).packages) <= brought, name


def test_what_is_missing(monkeypatch):
    assert extras.first_missing(("numpy", "torch")) is None
    monkeypatch.setitem(sys.modules, "torch", None)
    assert extras.first_missing(("numpy", "torch")) == (
        "the package torch is not installed",
        'pip install "gcbench[networks]"',
    )
    assert extras.first_missing(("their-package",)) == (
        "the package their-package is not installed",
        "pip install their-package",
    )


def test_an_import_is_explained_only_if_the_package_is_missing(monkeypatch):
    for name in ("torch.nn", "gcbench.nowhere", "torch", None):
        assert extras.explained(ModuleNotFoundError("no module", name=name)) is None
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError) as caught:
        import torch.nn  # noqa: F401
    assert extras.explained(caught.value) == 'the package torch is not installed; pip install "gcbench[networks]"'


def test_a_codec_is_unavailable_without_its_packages():
    class Their(ModelCodec):
        name, packages = "their", ("numpy", "their-package")
        version = rates = encode_mesh = decode_mesh = None

    found = Their().availability()
    assert (found.ok, found.reason) == (False, "the package their-package is not installed")


def test_all_missing_libraries_are_named_at_once(monkeypatch):
    def missing(name):
        if name in {"libGL.so.1", "libOpenGL.so.0"}:
            raise OSError(name)

    monkeypatch.setattr(native.ctypes, "CDLL", missing)
    with pytest.raises(SystemLibraryMissing) as caught:
        native._load("pymeshlab")
    assert str(caught.value) == (
        "pymeshlab needs the system libraries libGL.so.1 and libOpenGL.so.0; "
        "on Debian or Ubuntu: apt-get install libgl1 libopengl0"
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            "libGL.so.1: cannot open shared object file: No such file",
            "libGL.so.1; on Debian or Ubuntu: apt-get install",
        ),
        ("libnew-2.so.7: cannot open shared object file", "libnew-2.so.7; install the package that has it"),
    ],
)
def test_a_library_that_an_import_misses(monkeypatch, error, says):
    def fails(_name):
        raise ImportError(error)

    monkeypatch.setattr(native, "_NEEDS", {})
    monkeypatch.setattr(native.importlib, "import_module", fails)
    with pytest.raises(SystemLibraryMissing, match=says):
        native._load("pymeshlab")


def test_no_folder_for_compiled_loops(monkeypatch, tmp_path):
    """In a container whose user owns neither the packages nor a home, numba would end the first import."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    native.require_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(native, "_can_write", lambda _folder: False)
    monkeypatch.delenv("GCBENCH_CACHE", raising=False)
    with pytest.raises(BenchError, match="let GCBENCH_CACHE name a folder"):
        native.require_cache()
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(native.os, "environ", dict(os.environ))
        native.require_cache()
        assert native.os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "numba")


def test_whether_a_folder_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert native._can_write(tmp_path / "new" / "inner")
    assert not native._can_write(tmp_path / "file")
    assert not native._can_write(Path("/proc/self/new"))


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    def refused(**_where):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with pytest.raises(DatasetMissing, match=r"cannot be kept in .*humans: Permission denied; let GCBENCH_CACHE name"):
        mini_sources("ama", tmp_path)
