"""Meshes that the tests of the design ``sparse`` share."""

from __future__ import annotations

import pytest
import trimesh
from capsules import shape


@pytest.fixture(scope="module")
def shapes() -> list[trimesh.Trimesh]:
    return [shape(seed) for seed in range(4)]
