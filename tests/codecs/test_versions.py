"""The version of a codec is made from the modules that decide its bytes and meshes: from all of them, and no others.

What a codec imports is read from the source here, by a walk of its own; what its version is made from is what the
helper is seen to read.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import gcbench
from gcbench import versions
from gcbench.codecs import CODECS

ROOT = Path(gcbench.__file__).parent
NAMES = list(CODECS.builtins)
# Modules that codecs import and that decide neither bytes nor meshes.
NO_PART = versions.NEUTRAL
# Distributions that codecs import and that are no part of a version.
NO_PART_PACKAGES = {
    "numpy": "arrays; in the provenance of every run, and a new patch release must not make every result stale",
    "trimesh": "holds arrays as they are; in the provenance of every run",
    "safetensors": "files of tensors as they are",
    "nvdiffrast": "on a GPU only, where results agree within a band anyway; not on PyPI",
}
DISTRIBUTIONS = {"igl": "libigl", "skimage": "scikit-image"}


def file_of(module: str) -> Path | None:
    package, *inner = module.split(".")
    path = ROOT.joinpath(*inner)
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file() and package == "gcbench":
            return candidate
    return None


@cache
def imports(module: str) -> frozenset[str]:
    """Modules and packages that a module imports anywhere, but not for type checking alone."""
    tree = ast.parse(file_of(module).read_bytes())
    only_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for statement in branch.body
        for node in ast.walk(statement)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in only_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if file_of(name) else node.module for name in whole}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):  # those with a computed name only warm up what is imported elsewhere
                found.add(argument.value)
        elif ast.unparse(node) == "native.shared_library":
            continue  # of the system: a codec has its version as a program
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("native."):
            found.add(node.attr)
    return frozenset(found)


def reached(name: str) -> tuple[set[str], set[str]]:
    """Modules of gcbench that a codec's class reaches by imports, and distributions; not through what is no part."""
    seen, packages = set(), set()
    left = [CODECS.origin(name).partition(":")[0]]
    while left:
        module = left.pop()
        if module in seen or module in NO_PART:
            continue
        if file_of(module):
            seen.add(module)
            left += imports(module)
        else:
            packages.add(module.split(".")[0])
    outside = packages - set(sys.stdlib_module_names) - {"gcbench"}
    return seen, {DISTRIBUTIONS.get(package, package) for package in outside}


@pytest.fixture(autouse=True)
def _without_programs(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.mark.parametrize("name", NAMES)
def test_the_version_follows_the_same_imports_as_the_walk_here(name):
    home = CODECS.origin(name).partition(":")[0]
    followed = {module for module in versions.imported((home,)) if not module.endswith(".__init__")}
    modules, _ = reached(name)
    assert followed == {module for module in modules if file_of(module).name != "__init__.py"}


@pytest.mark.parametrize("name", NAMES)
def test_every_package_that_decides_is_named(name):
    codec = CODECS.create(name)
    _, packages = reached(name)
    assert packages - set(NO_PART_PACKAGES) <= set(codec.packages)
    assert set(codec.packages) <= packages, "named, and not imported"
    for package in codec.packages:
        assert f"+{package}-{versions.installed(package)}" in codec.version()


def test_exceptions_are_of_use():
    assert all(file_of(module) for module in NO_PART)
    every = {found for name in NAMES for module in reached(name)[0] for found in imports(module)}
    assert set(NO_PART_PACKAGES) <= {found.split(".")[0] for found in every}


KERNELS = [
    "gcbench.entropy.range_coder",
    "gcbench.geometry.tsdf",
    "gcbench.geometry.deformable_marching_cubes",
    "gcbench.geometry.clouds.voxels_kernels",
    "gcbench.geometry.clouds.normals_kernels",
    "gcbench.training.fused_kernels",
    "gcbench.training.networks",
    "gcbench.entropy.mixing",
    "gcbench.codecs.draco",
    "gcbench.entropy.container",
]


@pytest.fixture(scope="module")
def unchanged():
    """Version of every codec, and functions of ``versions``: as they are, and such as remember the files of now."""
    versions.forget()
    real = {name: getattr(versions, name) for name in ("_tree", "_imports", "file_digest")}
    with pytest.MonkeyPatch.context() as patch:
        for name, function in real.items():
            patch.setattr(versions, name, cache(function))
        remembering = {name: getattr(versions, name) for name in real}
        yield {name: CODECS.create(name).version() for name in NAMES}, real, remembering
    versions.forget()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_changed_kernel_is_another_version_of_every_codec_on_it_and_of_no_other(kernel, monkeypatch, unchanged):
    before, real, remembering = unchanged
    path = file_of(kernel)

    def digest(file):
        return (real if file.samefile(path) else remembering)["file_digest"](file)

    monkeypatch.setattr(versions, "file_digest", digest)
    for more, changes in ((b"\n# a remark\n", False), (b"\nNUMBER = 12\n", True)):
        tree = ast.parse(versions.read(path) + more)

        def parsed(file, tree=tree):
            return tree if file.samefile(path) else remembering["_tree"](file)

        monkeypatch.setattr(versions, "_tree", parsed)
        for remembered in (versions._version, versions.imported, versions.module_digest):
            remembered.cache_clear()
        after = {name: CODECS.create(name).version() for name in NAMES}
        changed = {name for name in NAMES if after[name] != before[name]}
        on_it = {name for name in NAMES if kernel in reached(name)[0]}
        assert changed == (on_it if changes else set())
        assert on_it


def test_who_stands_on_the_range_coder():
    """By hand, so that the walk itself is held to something."""
    on_it = {name for name in NAMES if "gcbench.entropy.range_coder" in reached(name)[0]}
    networks = {"necgs", "ni", "keyspheres", "pruned-mlp", "nglod", "pcgcv2", "sirsnc", "quantdeepsdf"}
    assert on_it == {*networks, "blendshapes"}
    on_draco = {name for name in NAMES if "gcbench.codecs.draco" in reached(name)[0]}
    assert on_draco == {"draco", "draco-qem", "blendshapes"}


def test_training_and_command_lines_are_no_part():
    assert "gcbench.codecs.pcgcv2.training" not in reached("pcgcv2")[0]
    assert "gcbench.codecs.pcgcv2.command" not in reached("pcgcv2")[0]
    assert "gcbench.codecs.sirsnc.training" not in reached("sirsnc")[0]
    assert "gcbench.necgs.cli" not in reached("necgs")[0]
