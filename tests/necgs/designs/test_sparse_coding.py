"""Latents of ``sparse`` in streams: references between meshes, their limits, and what they save."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest

from gcbench.entropy.range_coder import RangeCoder
from gcbench.errors import BitstreamError
from gcbench.necgs import designs
from gcbench.necgs.bitstream import Contents, Reader, append, write
from gcbench.necgs.designs.base import Design, FeatureCoding, Parameters, Present, Symbols
from gcbench.necgs.designs.sparse_coding import TreeCoding, references

SHAPE = (6, 4, 4, 4)
LATENTS = Symbols(SHAPE, 63)


@dataclass(frozen=True)
class Latents(Design[None]):
    """A design of latents alone."""

    name = "latents"
    tag = 201
    ladder = MappingProxyType({})

    @classmethod
    def plan(cls, effort, **_):
        return cls(), None

    def write(self, writer):
        pass

    @classmethod
    def read(cls, _fields):
        return cls()

    def tensors(self):
        return {}

    def features(self):
        return LATENTS

    def feature_coding(self):
        return TreeCoding

    def describe(self):
        return "latents"

    def train(self, meshes, training, job):
        raise NotImplementedError

    def add(self, parameters, present, meshes, training, job):
        raise NotImplementedError

    def decoder(self, parameters, device="cpu"):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def design(monkeypatch):
    monkeypatch.setitem(designs.DESIGNS, "latents", Latents)


def symbols(values):
    return (np.clip(np.rint(values), -31, 31) + 31).astype(np.int16)


def unlike(meshes, seed=0):
    scales = np.array([5, 3, 2, 1, 0.5, 0.1])[:, None, None, None]
    return symbols(np.random.default_rng(seed).laplace(0, scales, (meshes, *SHAPE)))


def sequence(meshes, seed=0, step=0.25):
    rng = np.random.default_rng(seed)
    scales = np.array([5, 3, 2, 1, 0.5, 0.1])[:, None, None, None]
    steps = rng.normal(0, step * scales, (meshes, *SHAPE))
    steps[0] = rng.laplace(0, scales, SHAPE)
    return symbols(np.cumsum(steps, axis=0))


def contents(features):
    return Contents(Latents(), Parameters({}), features)


def assert_holds(stream, features):
    """Every mesh, each read by a reader of its own: no other mesh was decoded before."""
    for i, expected in enumerate(features):
        reader = Reader(stream)
        np.testing.assert_array_equal(reader.features(i), expected)
        needs = reader.needs(i)
        assert i not in needs
        assert len(needs) <= TreeCoding.most_references


def bits(coding, features):
    return np.array(
        [RangeCoder().length_bits(sink) for sink in coding.encode_all(features, RangeCoder().sink, Present())]
    )


SETS = {
    "one": unlike(1),
    "two": np.repeat(unlike(1), 2, axis=0),
    "unlike": unlike(20),
    "sequence": sequence(70),
    "shuffled": sequence(40)[np.random.default_rng(0).permutation(40)],
    "equal": np.repeat(unlike(1), 12, axis=0),
    "zeros": symbols(np.zeros((5, *SHAPE))),
    "extremes": (np.random.default_rng(1).integers(2, size=(6, *SHAPE)) * 62).astype(np.int16),
    "any": np.random.default_rng(2).integers(63, size=(4, *SHAPE)).astype(np.int16),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("coder", ["range", "huffman"])
def test_round_trip(name, coder):
    stream = write(contents(SETS[name]), coder)
    assert_holds(stream, SETS[name])
    assert write(contents(SETS[name]), coder) == stream


def test_huffman_codes_each_mesh_by_itself():
    reader = Reader(write(contents(SETS["sequence"]), "huffman"))
    assert not any(reader.needs(i) for i in range(70))


# --- What it saves ----------------------------------------------------------------------------------------------------


def test_a_sequence_takes_far_less_than_its_meshes_by_themselves():
    independent = FeatureCoding.fit(RangeCoder(), LATENTS, SETS["sequence"])
    tree = TreeCoding.fit(RangeCoder(), LATENTS, SETS["sequence"])
    assert bits(tree, SETS["sequence"]).sum() < 0.6 * bits(independent, SETS["sequence"]).sum()


def test_a_shuffled_sequence_takes_about_as_much():
    features = sequence(70)
    shuffled = features[np.random.default_rng(0).permutation(70)]
    first, second = (bits(TreeCoding.fit(RangeCoder(), LATENTS, each), each).sum() for each in (features, shuffled))
    assert second < first + 70 * 2 * 6  # longer differences between the numbers of meshes


def test_meshes_without_likeness_take_a_byte_more_at_most():
    features = unlike(100)
    independent = FeatureCoding.fit(RangeCoder(), LATENTS, features)
    tree = TreeCoding.fit(RangeCoder(), LATENTS, features)
    assert bits(tree, features).mean() < bits(independent, features).mean() + 8
    assert RangeCoder().model_bits(tree) < RangeCoder().model_bits(independent) + 8 * 100


def test_a_mesh_between_its_parents_takes_almost_nothing():
    first, last = sequence(2, step=2.0).astype(int)
    middle = (first + last) // 2
    features = np.stack([first, middle, last] * 6).astype(np.int16)
    taken = bits(TreeCoding.fit(RangeCoder(), LATENTS, features), features)
    assert np.sort(taken)[:12].max() < 100  # copies and means
    assert taken.max() > 500


# --- References -------------------------------------------------------------------------------------------------------


def test_references_are_those_of_the_stream():
    features = SETS["sequence"]
    found = references(LATENTS, features)
    reader = Reader(write(contents(features)))
    for i, parents in enumerate(found.parents):
        assert set(parents) <= reader.needs(i)
        assert reader.needs(i) == set(parents).union(*(reader.needs(j) for j in parents))
    assert sum(len(parents) == 2 for parents in found.parents) > 20
    taken = bits(TreeCoding.fit(RangeCoder(), LATENTS, features), features)
    np.testing.assert_allclose(found.bits.mean(), taken.mean(), rtol=0.05)


def test_predictions_are_near():
    features = SETS["sequence"]
    found = references(LATENTS, features)
    values = features - 31.0
    predicted = np.stack([found.mean] * len(values))
    for i, parents in enumerate(found.parents):
        if parents:
            weight = found.weights[i][:, None, None, None]
            predicted[i] += weight * (values[list(parents)].mean(axis=0) - found.mean)
    assert np.abs(values - predicted).mean() < 0.5 * np.abs(values - values.mean(axis=0)).mean()


def test_a_mesh_decodes_only_what_it_needs():
    features = SETS["sequence"]
    stream = bytearray(write(contents(features)))
    reader = Reader(bytes(stream))
    mesh = max(range(70), key=lambda i: len(reader.needs(i)))
    needs = reader.needs(mesh)
    assert len(needs) >= 4
    shared, sizes = reader.layout()
    starts = shared + np.cumsum([0, *sizes])
    for i in set(range(70)) - needs - {mesh}:
        stream[starts[i + 1] - 4 : starts[i + 1]] = bytes(4)
    np.testing.assert_array_equal(Reader(bytes(stream)).features(mesh), features[mesh])
    needed = min(needs)
    stream[starts[needed + 1] - 4 : starts[needed + 1]] = bytes(4)
    with pytest.raises(BitstreamError, match=f"mesh {needed}"):
        Reader(bytes(stream)).features(mesh)


def test_a_changed_result_changes_no_other_mesh():
    stream = write(contents(SETS["equal"]))
    reader = Reader(stream)
    for i in range(12):
        reader.features(i)[:] = 0
    for i in range(12):
        np.testing.assert_array_equal(reader.features(i), SETS["equal"][i])


# --- Adding -----------------------------------------------------------------------------------------------------------


def test_appended_meshes_refer_to_those_present():
    features = sequence(60)
    first = write(contents(features[::2]))
    longer = append(first, features[1::2])
    assert longer.startswith(first[:50])
    expected = np.concatenate([features[::2], features[1::2]])
    assert_holds(longer, expected)
    reader = Reader(longer)
    assert sum(bool(reader.needs(i)) for i in range(30, 60)) > 25
    alone = append(write(contents(unlike(30))), features[1::2])
    assert len(longer) - len(first) < 0.8 * (len(alone) - len(write(contents(unlike(30)))))


def test_appended_meshes_refer_to_each_other():
    stream = write(contents(unlike(10)))
    added = sequence(30, seed=5)
    one = append(stream, added[:1])
    longer = append(one, added[1:])
    assert_holds(longer, np.concatenate([unlike(10), added]))
    reader = Reader(longer)
    assert sum(bool(reader.needs(i)) for i in range(11, 40)) > 20


def test_appended_in_turns():
    features = sequence(40)
    stream = write(contents(features[:1]))
    for each in features[1:]:
        stream = append(stream, each[None])
    assert_holds(stream, features)


def test_appended_meshes_without_likeness():
    stream = write(contents(sequence(40)))
    added = unlike(10, seed=9)
    longer = append(stream, added)
    assert_holds(longer, np.concatenate([sequence(40), added]))
    independent = FeatureCoding.fit(RangeCoder(), LATENTS, unlike(100))
    assert 8 * (len(longer) - len(stream)) < bits(independent, added).sum() + 10 * 8 * (7 + 4 + 12)


# --- What a reader refuses --------------------------------------------------------------------------------------------


def every_mesh(stream):
    reader = Reader(stream)
    return [reader.features(i) for i in range(reader.mesh_count)]


def test_every_flipped_bit_is_noticed():
    stream = write(contents(SETS["sequence"][:6]))
    for bit in range(0, 8 * len(stream), 37):
        broken = bytearray(stream)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            every_mesh(bytes(broken))


@pytest.mark.parametrize("seed", range(8))
def test_bodies_of_noise(seed):
    """Behind a right checksum: an error of the stream, or symbols within their range; never another error."""
    reader = Reader(write(contents(SETS["sequence"])))
    rng = np.random.default_rng(seed)
    bodies = [b"\0" + rng.bytes(4 * int(rng.integers(1, 40))) for _ in range(3)]
    forged = Reader(reader.blocks.with_added(bodies))
    for i in range(70, 73):
        with pytest.raises(BitstreamError):
            forged.features(i)


def _forged(present, offsets):
    """A stream with a mesh more, which has these differences to its parents."""
    reader = Reader(present)
    coding = reader.feature_coding
    sink = RangeCoder().sink()
    kind = len(offsets)
    number = coding._head.kinds.index(kind)
    coding.model.encode(np.full((1, 1, 1), number), sink)
    for offset in offsets:
        coding._write_offset(offset, sink)
    zeros = np.zeros((6, 64), np.int64)
    coding._head.models[number].encode(zeros, zeros, coding._head.reference(np.zeros((kind, 6, 64), np.int64)), sink)
    return reader.blocks.with_added([b"\0" + RangeCoder().finish(sink)])


@pytest.mark.parametrize("offsets", [[71], [-1], [1, 71], [-(2**19), 1], [2**20 - 1], [-3, -4]])
def test_parents_that_are_not_there(offsets):
    forged = Reader(_forged(write(contents(SETS["sequence"])), offsets))
    with pytest.raises(BitstreamError, match="not there"):
        forged.features(70)


def test_chains_that_are_too_long():
    stream = write(contents(symbols(np.zeros((1, *SHAPE)))))
    for _ in range(40):
        stream = _forged(stream, [1])
    assert len(Reader(stream).needs(16)) == 16
    for mesh in (17, 18, 40):
        with pytest.raises(BitstreamError, match="too far"):
            Reader(stream).features(mesh)
    reader = Reader(stream)  # what was decoded before makes no difference
    for mesh in range(17):
        reader.features(mesh)
    with pytest.raises(BitstreamError, match="too far"):
        reader.features(17)


def test_circles():
    stream = write(contents(symbols(np.zeros((1, *SHAPE)))))
    stream = _forged(_forged(stream, [-1]), [1])  # 1 refers to 2, 2 to 1
    for mesh in (1, 2):
        with pytest.raises(BitstreamError, match="too far or is not there"):
            Reader(stream).features(mesh)


def test_heads_of_noise():
    coder = RangeCoder()
    refused = 0
    for seed in range(200):
        source = coder.source(np.random.default_rng(seed).bytes(400))
        try:
            TreeCoding.read(coder, LATENTS, source)
        except BitstreamError:
            refused += 1
    assert refused > 190
