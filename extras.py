"""Packages that only some codecs need: the extra of gcbench that brings each, and what to type if one is missing.

``pip install gcbench`` brings Draco, decimation, meshoptimizer, metrics, figures and reports. ``gcbench[networks]``
adds what codecs with a network need. Modules outside of an extra can be imported without the packages of that extra.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec

EXTRA_OF = {
    "distributed": "cluster",
    "safetensors": "networks",
    "torch": "networks",
}
"""Package, as Python imports it → the smallest extra that brings it. pyproject.toml has the versions."""


def is_installed(package: str) -> bool:
    """Whether a package of an extra, or any distribution by the name that pip has for it, is installed."""
    try:
        if package in EXTRA_OF:
            return find_spec(package) is not None
        metadata.version(package)
    except (ImportError, ValueError):
        return False
    return True


def first_missing(packages: Iterable[str]) -> tuple[str, str] | None:
    """What is missing, and what to type; None if every package is installed.

    Example: ``("the package torch is not installed", 'pip install "gcbench[networks]"')``.
    """
    for package in packages:
        if not is_installed(package):
            return f"the package {package} is not installed", remedy(package)
    return None


def remedy(package: str) -> str:
    """The command that installs a package."""
    extra = EXTRA_OF.get(package)
    return f'pip install "gcbench[{extra}]"' if extra else f"pip install {package}"


def explained(error: ImportError) -> str | None:
    """One line for an import that failed because an extra is not installed; None for any other reason."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF or is_installed(package):
        return None
    return f"the package {package} is not installed; {remedy(package)}"
