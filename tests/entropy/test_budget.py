"""The budget of a stream: amounts add up, except triangles, and every amount has its own limit."""

from __future__ import annotations

import pytest

from gcbench.entropy.budget import Budget, Work, check_budget
from gcbench.entropy.container import Container, resealed
from gcbench.errors import BitstreamError


def test_one_amount():
    check_budget("voxels", 8, 8)
    with pytest.raises(BitstreamError, match="declares 9 voxels; the limit is 8"):
        check_budget("voxels", 9, 8)


@pytest.mark.parametrize("what", ["memory", "voxels", "multiply_adds", "meshes"])
def test_amounts_add_up(what):
    work = Work(Budget(**{what: 10}))
    work.spend(**{what: 6})
    work.spend(**{what: 4})
    with pytest.raises(BitstreamError, match=r"11 .*; the limit is 10"):
        work.spend(**{what: 1})


def test_triangles_are_of_one_mesh():
    work = Work(Budget(triangles=10))
    for _ in range(3):
        work.spend(triangles=10)
    with pytest.raises(BitstreamError, match="11 triangles; the limit is 10"):
        work.spend(triangles=11)


def test_the_fields_of_a_container_have_its_budget():
    container = Container(b"BGT", 1, "budgeted", Budget(voxels=5))
    fields = container.open(container.pack(b"x"))
    with pytest.raises(BitstreamError, match="6 voxels"):
        fields.work.spend(voxels=6)


def test_a_repaired_checksum():
    container = Container(b"BGT", 1, "budgeted", Budget(voxels=5))
    stream = container.pack(b"body")
    changed = stream[:-1] + b"Y"
    with pytest.raises(BitstreamError, match="checksum"):
        container.open(changed)
    again = resealed(changed)
    assert again is not None
    assert container.open(again).rest() == b"bodY"
    assert resealed(stream) == stream
    assert resealed(b"???" + stream[3:]) is None
    assert resealed(stream[:7]) is None
