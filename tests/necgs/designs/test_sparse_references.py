"""Which meshes refer to which: short chains, no circles, the same for every numbering."""

import numpy as np
import pytest

from gcbench.necgs.designs.base import Present
from gcbench.necgs.designs.sparse_references import ROUNDS, Likeness, find, needs_of

MOST = 16


def latents(walk):
    return np.rint(walk).astype(np.int64).reshape(len(walk), 4, -1)


def walk(meshes, seed=0):
    return latents(np.cumsum(np.random.default_rng(seed).normal(0, 1, (meshes, 4 * 64)), axis=0))


def parents_of(values, present=0, needs=None, most=MOST):
    needs = needs or Present().needs
    return find(Likeness(values, np.rint(8 * values.mean(axis=0)).astype(np.int64)), present, needs, most)


def all_needs(parents):
    """By another way than the code's: follow references until nothing new comes."""
    found = []
    for i in range(len(parents)):
        seen, front = set(), set(parents[i])
        for _ in range(len(parents)):
            seen |= front
            front = {k for j in front for k in parents[j]} - seen
        assert i not in seen
        found.append(seen)
    return found


def depth(parents, i):
    return 1 + max(depth(parents, j) for j in parents[i]) if parents[i] else 0


@pytest.mark.parametrize("meshes", [1, 2, 3, 30, 300])
def test_no_circles_and_short_chains(meshes):
    parents = parents_of(walk(meshes))
    assert max(map(len, all_needs(parents))) <= MOST
    assert max(depth(parents, i) for i in range(meshes)) <= ROUNDS


@pytest.mark.parametrize("most", [0, 1, 3])
def test_bounds_are_kept(most):
    parents = parents_of(walk(100), most=most)
    assert max(map(len, all_needs(parents))) == most


def test_a_frame_of_a_sequence_refers_to_frames_before_and_behind():
    parents = parents_of(walk(129))
    two = [(i, p) for i, p in enumerate(parents) if len(p) == 2]
    assert len(two) > 100
    assert np.mean([min(p) < i < max(p) for i, p in two]) > 0.95
    assert sum(max(abs(i - j) for j in p) == 1 for i, p in two) > 40  # of the 64 that leave first


def test_numbers_play_no_part():
    values = walk(60)
    order = np.random.default_rng(0).permutation(60)
    shuffled = parents_of(values[order])
    same = [{int(order[j]) for j in p} for p in shuffled]
    here = parents_of(values)
    # a few differ, where two parents are as good as two others
    assert sum(same[i] == set(here[order[i]]) for i in range(60)) > 45


def test_meshes_without_likeness_refer_to_none():
    values = latents(np.random.default_rng(0).normal(0, 4, (40, 4 * 256)))
    assert sum(bool(p) for p in parents_of(values)) == 0


def test_present_meshes_are_parents_and_get_none():
    values = walk(61)
    values = np.concatenate([values[::2], values[1::2]])
    parents = parents_of(values, 31, lambda _: frozenset())
    assert len(parents) == 30
    assert sum(set(p) == {i, i + 1} for i, p in enumerate(parents)) > 25


def test_needs_of_present_meshes_count():
    values = walk(3)
    values = np.concatenate([values, values])
    full = {0: frozenset(range(100, 116)), 1: frozenset(range(100, 115)), 2: frozenset()}
    parents = parents_of(values, 3, full.__getitem__)
    assert all(len(needs_of(p, full.__getitem__)) <= MOST for p in parents[:1] if set(p) <= {0, 1, 2})
    assert not any(0 in p for p in parents)
