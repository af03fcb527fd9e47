"""How the latents of ``sparse`` are entropy coded: by themselves, or as residuals to one or two meshes of the stream.

The head has the mean of the set, and models of residuals: one for meshes without parents, which are residuals to the
mean, and some for meshes with one and with two parents. A mesh has the number of its model, the numbers of its parents
as differences to its own, and its residuals. The encoder chooses what takes few bits.

``sparse_references`` finds the parents, ``sparse_model`` codes residuals. Training asks :func:`references` for parents
and predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gcbench.entropy.range_coder import RangeCoder, RangeSink, RangeSource, categorical
from gcbench.entropy.tables import LOCATION_STEPS, frequencies
from gcbench.errors import BitstreamError
from gcbench.necgs.designs.base import Array, FeatureCoding, Present
from gcbench.necgs.designs.sparse_model import ONE, Reference, ResidualModel, fit_model
from gcbench.necgs.designs.sparse_references import Likeness, Parents, find

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.entropy.coder import Coder as EntropyCoder
    from gcbench.entropy.coder import Model
    from gcbench.necgs.designs.base import Known, Symbols

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_MEAN_STEP = 2  # of the stored mean, in eighths of a level
_SPLITS = ((1, 2), (2, 3))  # models for meshes with one and with two parents that the encoder tries, besides (1, 1)
_MOST_MODELS = 3
_TURNS = 2
_BLOCK = 64  # meshes whose bits are computed at once
_NARROWER = 4  # steps of the scale: half
_OFFSET_BITS = 20  # of the difference of two numbers of meshes
_CHUNK_BITS = 10


@dataclass(frozen=True, eq=False)
class References:
    """What the meshes of a set refer to.

    Parameters
    ----------
    parents : list of n tuples of int
        None, one or two.
    weights : (n, channels) float64
        The prediction of a mesh is mean + weight · (mean of its parents - mean).
    mean : (channels, ...) float64
        Of the set, as stored, in levels; the symbol in the middle is 0.
    bits : (n,) float64
        Of each mesh.
    """

    parents: list[Parents]
    weights: Floats
    mean: Floats
    bits: Floats


def references(features: Symbols, symbols: Array) -> References:
    """Find the references that the encoder chooses for a set of symbols, (n, *features.shape)."""
    head, plan = _fit(_zero(features), _latents(features, symbols))
    weights = np.stack([head.models[k].weights * (head.kinds[k] > 0) for k in plan.models]) / ONE
    return References(plan.parents, weights, (head.mean / LOCATION_STEPS).reshape(features.shape), plan.bits)


class TreeCoding(FeatureCoding):
    """Latents as residuals to predictions from other meshes.

    Parameters
    ----------
    features : Symbols
        An odd number of levels; the one in the middle is 0.
    head : _Head
    uses, offsets : Model
        Of the numbers of models, and of classes of differences between numbers of meshes.
    """

    most_references: ClassVar[int] = 16

    def __init__(self, features: Symbols, head: _Head, uses: Model[Any, Any], offsets: Model[Any, Any]) -> None:
        super().__init__(features, uses)
        self._head = head
        self._offsets = offsets
        self._planned: tuple[Array, _Plan] | None = None

    @classmethod
    def fit(cls, coder: EntropyCoder[Any, Any], features: Symbols, symbols: Array) -> FeatureCoding:
        """The coding that suits a set. Huffman coding codes each mesh by itself."""
        if not isinstance(coder, RangeCoder):
            return FeatureCoding.fit(coder, features, symbols)
        head, plan = _fit(_zero(features), _latents(features, symbols))
        classes = [_offset_class(i - j)[0] for i, parents in enumerate(plan.parents) for j in parents]
        coding = cls(
            features,
            head,
            coder.fit(plan.models.reshape(-1, 1, 1, 1), len(head.models), open_set=True),
            coder.fit(np.array(classes or [0, 1]).reshape(-1, 1, 1, 1), 2 * _OFFSET_BITS, open_set=True),
        )
        coding._planned = symbols, plan
        return coding

    @classmethod
    def read(cls, coder: EntropyCoder[Any, Any], features: Symbols, source: Any) -> FeatureCoding:
        """Read what :meth:`write` wrote."""
        if not isinstance(coder, RangeCoder):
            return FeatureCoding.read(coder, features, source)
        head = _Head.read(source, _zero(features), *_two_axes(features))
        uses = coder.read(source, (1, 1, 1), len(head.models), open_set=True)
        return cls(features, head, uses, coder.read(source, (1, 1, 1), 2 * _OFFSET_BITS, open_set=True))

    def write(self, sink: Any) -> None:
        """Write what all meshes share."""
        self._head.write(sink)
        self.model.write(sink)
        self._offsets.write(sink)

    def encode_all(self, symbols: Array, new_sink: Callable[[], Any], present: Present) -> Iterator[Any]:
        """Sinks with the latents of meshes that follow those present, one by one."""
        old = [present.known(i) for i in range(present.count)]
        latents = _latents(self.features, np.stack([*old, *symbols]))
        plan = self._plan(symbols, latents, present)
        for i, parents in enumerate(plan.parents, present.count):
            number = int(plan.models[i - present.count])
            sink: RangeSink = new_sink()
            self.model.encode(np.full((1, 1, 1), number), sink)
            for j in parents:
                self._write_offset(i - j, sink)
            model = self._head.models[number]
            model.encode(latents[i], self._head.mean, self._head.reference(latents[list(parents)]), sink)
            yield sink

    def decode(self, i: int, source: Any, known: Known) -> Array:
        """Read the latents of mesh *i*."""
        number = int(self.model.decode(source).item())
        parents = [i - self._read_offset(source) for _ in range(self._head.kinds[number])]
        model = self._head.models[number]
        reference = self._head.reference([_latents(self.features, known(j)[None])[0] for j in parents])
        latents = model.decode(self._head.mean, reference, source)
        return (latents + _zero(self.features)).astype(np.int16).reshape(self.features.shape)

    def _plan(self, symbols: Array, latents: Ints, present: Present) -> _Plan:
        if self._planned is not None and not present.count and np.array_equal(symbols, self._planned[0]):
            return self._planned[1]
        parents = find(Likeness(latents, self._head.mean), present.count, present.needs, self.most_references)
        return _choose(self._head, latents, parents)

    def _write_offset(self, offset: int, sink: RangeSink) -> None:
        which, rest = _offset_class(offset)
        self._offsets.encode(np.full((1, 1, 1), which), sink)
        for low, bits in _chunks(which // 2):
            sink.put(np.array([rest >> low & ((1 << bits) - 1)]), _uniform(bits))

    def _read_offset(self, source: RangeSource) -> int:
        which = int(self._offsets.decode(source).item())
        rest = 1 << which // 2
        for low, bits in _chunks(which // 2):
            rest += int(source.get(1, _uniform(bits))[0]) << low
        return -rest if which % 2 else rest


# --- The head ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Head:
    """What all meshes share.

    Parameters
    ----------
    mean : (channels, places) int64
        Of the set, in eighths of a level, a multiple of ``_MEAN_STEP``.
    stored : tuple of three tuples of ResidualModel
        Models for meshes with none, one and two parents; one for none.
    """

    mean: Ints
    stored: tuple[tuple[ResidualModel, ...], ...]

    @cached_property
    def models(self) -> tuple[ResidualModel, ...]:
        """All models. Where none is stored, because no mesh of the set has so many parents, it is a narrower first."""
        alone = self.stored[0][0]
        weights = np.full_like(alone.weights, ONE)
        narrower = replace(alone, weights=weights, scale=max(alone.scale - _NARROWER, 0))
        return tuple(model for models in self.stored for model in models or (narrower,))

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """How many parents each model is for."""
        return tuple(kind for kind, models in enumerate(self.stored) for _ in models or (None,))

    def reference(self, latents: Sequence[Ints] | Ints) -> Reference:
        """What a mesh refers to whose parents have these latents."""
        if len(latents) == 0:
            return Reference(self.mean, np.zeros_like(self.mean))
        if len(latents) == 1:
            eighths = LOCATION_STEPS * latents[0]
            return Reference(eighths, np.abs(eighths - self.mean) // LOCATION_STEPS)
        return Reference(LOCATION_STEPS // 2 * (latents[0] + latents[1]), np.abs(latents[0] - latents[1]))

    def references(self, latents: Ints, parents: Sequence[Parents]) -> Reference:
        """The same of n meshes with these parents."""
        found = [self.reference(latents[list(each)]) for each in parents]
        return Reference(np.stack([each.latents for each in found]), np.stack([each.gaps for each in found]))

    def write(self, sink: RangeSink) -> None:
        """Write the mean, if it is not 0, and the stored models."""
        zero = self.stored[0][0].zero
        steps = self.mean // _MEAN_STEP
        bound = zero * LOCATION_STEPS // _MEAN_STEP
        sink.put_bytes(int(steps.any()), len(self.stored[1]), len(self.stored[2]))
        if steps.any():
            model = RangeCoder().fit((steps + bound)[None, :, None], 2 * bound + 1)
            model.write(sink)
            model.encode((steps + bound)[:, None], sink)
        for models in self.stored:
            for each in models:
                each.write(sink)

    @classmethod
    def read(cls, source: RangeSource, zero: int, channels: int, places: int) -> _Head:
        """Read what :meth:`write` wrote."""
        has_mean, *counts = source.get_bytes(3)
        if has_mean > 1 or max(counts) > _MOST_MODELS:
            raise BitstreamError("a head of latents that cannot be")
        mean = np.zeros((channels, places), np.int64)
        if has_mean:
            bound = zero * LOCATION_STEPS // _MEAN_STEP
            model = RangeCoder().read(source, (channels, 1, places), 2 * bound + 1)
            mean = _MEAN_STEP * (model.decode(source)[:, 0].astype(np.int64) - bound)
        read = ResidualModel.read
        return cls(mean, tuple(tuple(read(source, zero, channels, places) for _ in range(n)) for n in (1, *counts)))


# --- Choosing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Plan:
    """Parents, number of the model and bits of each mesh."""

    parents: list[Parents]
    models: Ints
    bits: Floats


def _fit(zero: int, latents: Ints) -> tuple[_Head, _Plan]:
    """Mean, models and parents that suit a set."""
    mean = np.rint(LOCATION_STEPS * latents.mean(axis=0)).astype(np.int64)
    parents = find(Likeness(latents, mean), 0, Present().needs, TreeCoding.most_references)
    coarse = _MEAN_STEP * np.rint(mean / _MEAN_STEP).astype(np.int64)
    kinds = np.array([len(each) for each in parents])
    start = _Plan(parents, kinds, kinds.astype(float))
    found = [
        _improve(zero, latents, each, parents, plan=start, counts=(1, 1)) for each in (np.zeros_like(mean), coarse)
    ]
    found = [min(found, key=_total_bits)]
    head, plan = found[0]
    found += [_improve(zero, latents, head.mean, parents, plan=plan, counts=counts) for counts in _SPLITS]
    return min(found, key=_total_bits)


def _total_bits(found: tuple[_Head, _Plan]) -> float:
    sink = RangeSink()
    found[0].write(sink)
    return sink.information_bits() + float(found[1].bits.sum())


def _improve(
    zero: int, latents: Ints, mean: Ints, parents: list[Parents], *, plan: _Plan, counts: tuple[int, int]
) -> tuple[_Head, _Plan]:
    """So many models for meshes with one and two parents: fit them, and choose the model of each mesh, in turns.

    At first, a model gets those of the meshes that take about as many bits.
    """
    kinds = np.array([len(each) for each in plan.parents])
    groups = []
    for kind, count in enumerate((1, *counts)):
        rows = np.flatnonzero(kinds == kind)
        groups += np.array_split(rows[np.argsort(plan.bits[rows], kind="stable")], count)
    for _ in range(_TURNS):
        head = _fit_models(zero, latents, mean, plan.parents, groups)
        plan = _choose(head, latents, parents)
        groups = [np.flatnonzero(plan.models == k) for k in range(len(head.models))]
    return head, plan


def _fit_models(zero: int, latents: Ints, mean: Ints, parents: list[Parents], groups: list[Ints]) -> _Head:
    """A model for each group of meshes with the same number of parents."""
    stored: tuple[list[ResidualModel], ...] = ([], [], [])
    blank = _Head(mean, ())
    for rows in groups:
        if len(rows):
            wanted = blank.references(latents, [parents[i] for i in rows])
            stored[len(parents[rows[0]])].append(fit_model(zero, latents[rows], mean, wanted))
    if not stored[0]:
        stored[0].append(fit_model(zero, latents, mean, blank.references(latents, [()] * len(latents))))
    return _Head(mean, tuple(map(tuple, stored)))


def _choose(head: _Head, latents: Ints, parents: Sequence[Parents]) -> _Plan:
    """The cheapest model for each of the last meshes: with both its parents, with one of them, or with none."""
    first = len(latents) - len(parents)
    choices = [(i, c) for i, p in enumerate(parents, first) for c in dict.fromkeys([p, p[:1], p[1:], ()])]
    bits = np.full(len(choices), np.inf)
    models = np.zeros(len(choices), np.int64)
    for kind in range(3):
        of_kind = [row for row, (_, c) in enumerate(choices) if len(c) == kind]
        for start in range(0, len(of_kind), _BLOCK):
            rows = of_kind[start : start + _BLOCK]
            wanted = latents[[choices[row][0] for row in rows]]
            reference = head.references(latents, [choices[row][1] for row in rows])
            for number, model in enumerate(head.models):
                if head.kinds[number] == kind:
                    found = model.bits(wanted, head.mean, reference)
                    models[rows] = np.where(found < bits[rows], number, models[rows])
                    bits[rows] = np.minimum(found, bits[rows])
    bits += [sum(2 * abs(i - j).bit_length() for j in c) for i, c in choices]
    best: dict[int, int] = {}
    for row in np.argsort(bits, kind="stable").tolist():
        best.setdefault(choices[row][0], row)
    chosen = [best[i] for i in range(first, len(latents))]
    return _Plan([choices[row][1] for row in chosen], models[chosen], bits[chosen])


# --- Numbers ----------------------------------------------------------------------------------------------------------


def _zero(features: Symbols) -> int:
    return features.levels // 2


def _two_axes(features: Symbols) -> tuple[int, int]:
    """Channels and places."""
    return features.shape[0], prod(features.shape[1:])


def _latents(features: Symbols, symbols: Array) -> Ints:
    """Integers around 0 of meshes: (n, channels, places)."""
    return symbols.reshape(-1, *_two_axes(features)).astype(np.int64) - _zero(features)


def _offset_class(offset: int) -> tuple[int, int]:
    """Class of an offset that is not 0: its sign, and the length of its magnitude; and what is left of it."""
    length = abs(offset).bit_length() - 1
    return 2 * length + (offset < 0), abs(offset) - (1 << length)


def _chunks(bits: int) -> list[tuple[int, int]]:
    """Position and length of the parts in which so many bits are coded."""
    return [(low, min(_CHUNK_BITS, bits - low)) for low in range(0, bits, _CHUNK_BITS)]


@lru_cache(maxsize=_CHUNK_BITS)
def _uniform(bits: int) -> Any:
    return categorical(frequencies(np.ones(1 << bits, np.int64)))
