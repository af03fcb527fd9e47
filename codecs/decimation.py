"""What codecs that decimate share: their ladders, and the search for the cheapest pair of faces and bits.

Decimation to a face budget and quantisation to a number of bits both cost quality and save bytes. At the smallest
stream of a given distance the two errors have a certain relation, which depends on the mesh: a part of flat faces needs
few faces and many bits, an animal more faces and fewer bits. So the encoder searches for each mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gcbench.codecs.base import Context, Effort, Rate
from gcbench.errors import BadMesh, BitstreamError, CodecFailed, UsageError
from gcbench.geometry.surface import Surface

if TYPE_CHECKING:
    import trimesh

Ladder = Literal["distance", "faces"]
Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]

# Targets in units of 10⁻⁵, where the longest side of a mesh is 2.
_DISTANCES = (1600, 800, 400, 280, 200, 140, 100, 70, 50, 25, 12)
_QUICK_DISTANCES = frozenset({1600, 400, 200, 100, 25})
# (face budget, quantisation bits)
_FACES = (
    (250, 8),
    (500, 8),
    (1000, 8),
    (1500, 8),
    (2500, 8),
    (2500, 10),
    (5000, 10),
    (5000, 12),
    (10000, 12),
    (20000, 12),
)
_QUICK_FACES = frozenset({(250, 8), (1000, 8), (2500, 8), (5000, 10), (10000, 12)})

_FEWEST_FACES, _BUDGETS_PER_DOUBLING = 12, 4
_FEWEST_BITS, _MOST_BITS = 6, 16
# Quantisation alone moves the surface by 0.163 steps in the mean (Draco at 6 to 14 bits, 16 meshes). The smallest
# streams spend 0.6 to 0.85 of the distance on it, so the search looks at the fewest bits below 0.85, and at one more.
_MOVED_STEPS, _SHARE, _TRIED_BITS = 0.163, 0.85, 2
_FACES_TIMES_DISTANCE = 2.5  # of AMA frames, where the longest side is 2: the first guess of the search
_SAMPLES = 10_000


def as_ladder(name: str) -> Ladder:
    """Check the name of a ladder. Raises UsageError for an unknown name."""
    for ladder in ("distance", "faces"):
        if ladder == name:
            return ladder
    raise UsageError(f"unknown ladder '{name}'; known: distance, faces")


def rates(ladder: Ladder, effort: Effort) -> list[Rate]:
    """``d1600`` to ``d0012``, targets of distance; or ``f00250q08`` to ``f20000q12``, pairs of faces and bits."""
    if ladder == "distance":
        chosen = [d for d in _DISTANCES if effort != "quick" or d in _QUICK_DISTANCES]
        return [Rate(f"d{distance:04d}", {"distance": distance * 1e-5}) for distance in chosen]
    return [
        Rate(f"f{faces:05d}q{bits:02d}", {"face_budget": faces, "quantization_bits": bits})
        for faces, bits in _FACES
        if effort != "quick" or (faces, bits) in _QUICK_FACES
    ]


def encode(
    mesh: trimesh.Trimesh,
    rate: Rate,
    ctx: Context,
    *,
    decimate: Callable[[int], Arrays],
    code: Callable[[Arrays, int], bytes],
    decode: Callable[[bytes], trimesh.Trimesh],
) -> bytes:
    """The stream of a mesh at a rate of either ladder.

    Parameters
    ----------
    mesh : trimesh.Trimesh
    rate : Rate
    ctx : Context
    decimate : callable
        Face budget → vertices and faces.
    code : callable
        Vertices and faces, and bits → stream.
    decode : callable
        Stream → mesh.

    Raises
    ------
    CodecFailed
        As `decimate` and `code`.
    CodecTimeout
        The deadline passed during the search.
    """
    if "distance" not in rate.params:
        return code(decimate(int(rate.params["face_budget"])), int(rate.params["quantization_bits"]))
    try:
        surface = Surface.of(mesh)
    except (BadMesh, ValueError):  # nothing that could be measured
        return code(decimate(len(mesh.faces)), 12)
    half_side = float(np.ptp(surface.vertices, axis=0).max()) / 2
    target = float(rate.params["distance"]) * half_side
    return _Search(surface, target, _Steps(decimate, code, decode), ctx).cheapest(
        _first_bits(float(rate.params["distance"]))
    )


def _first_bits(distance: float) -> int:
    """The fewest bits whose quantisation alone stays clearly below a distance, where the longest side is 2."""
    bits = _FEWEST_BITS
    while bits < _MOST_BITS and _MOVED_STEPS * 2 / (2**bits - 1) > _SHARE * distance:
        bits += 1
    return bits


@dataclass(frozen=True)
class _Steps:
    """The steps that a codec adds to the search, as :func:`encode` takes them."""

    decimate: Callable[[int], Arrays]
    code: Callable[[Arrays, int], bytes]
    decode: Callable[[bytes], trimesh.Trimesh]


@dataclass(frozen=True)
class _Tried:
    """A budget (place on the grid) and bits that were tried."""

    place: int
    stream: bytes
    distance: float


class _Search:
    """The smallest budget on a geometric grid that meets a target distance, at two or more numbers of bits."""

    def __init__(self, surface: Surface, target: float, steps: _Steps, ctx: Context) -> None:
        self._surface, self._target, self._steps, self._ctx = surface, target, steps, ctx
        self._points = surface.sample_stratified(_SAMPLES, np.random.default_rng(0))[0]
        self._decimated: dict[int, Arrays] = {}
        doublings = max(0.0, np.log2(len(surface.faces) / _FEWEST_FACES))
        grid = _FEWEST_FACES * 2 ** (np.arange(doublings * _BUDGETS_PER_DOUBLING) / _BUDGETS_PER_DOUBLING)
        self._budgets: list[int] = sorted({*np.rint(grid).astype(int).tolist(), len(surface.faces)})
        half_side = float(np.ptp(surface.vertices, axis=0).max()) / 2
        self._expected = int(np.searchsorted(self._budgets, _FACES_TIMES_DISTANCE * half_side / target))

    def cheapest(self, bits: int) -> bytes:
        """The smallest stream that was found to meet the target; the most exact one if none does."""
        last = len(self._budgets) - 1
        whole = self._try(last, bits)
        while whole.distance > self._target and bits < _MOST_BITS:
            bits += 1
            whole = self._try(last, bits)
        if whole.distance > self._target:
            return whole.stream
        least = self._least(bits, whole)
        best = least.stream
        for more in range(1, _TRIED_BITS):
            same = self._try(least.place, bits + more)
            if same.distance <= self._target:
                least = self._least(bits + more, same, below=1)
                best = min(best, least.stream, key=len)
        return best

    def _least(self, bits: int, best: _Tried, below: int = 0) -> _Tried:
        """The smallest budget that meets the target, given one that does.

        The first three places are guesses, because the distance falls with the number of faces; then the bracket is
        halved. With more bits the target is met by budgets that are a little smaller: `below` is by how many places.
        """
        low, guesses, guess = -1, 3, best.place - below if below else self._expected
        while best.place - low > 1:
            place = min(max(guess, low + 1), best.place - 1) if guesses > 0 else (low + best.place) // 2
            tried = self._try(place, bits)
            if tried.distance <= self._target:
                best = tried
            else:
                low = place
            guesses -= 1
            ratio = min(max(tried.distance / self._target, 2.0**-9), 2.0**9)
            guess = place + round(_BUDGETS_PER_DOUBLING * np.log2(ratio))
        return best

    def _try(self, place: int, bits: int) -> _Tried:
        self._ctx.check_deadline()
        if place not in self._decimated:
            with self._ctx.stage("decimation"):
                self._decimated[place] = self._steps.decimate(self._budgets[place])
        try:
            stream = self._steps.code(self._decimated[place], bits)
        except CodecFailed:
            if place == len(self._budgets) - 1 and bits == _MOST_BITS:
                raise
            return _Tried(place, b"", np.inf)  # so coarse that no face has an area
        with self._ctx.stage("search"):
            try:
                return _Tried(place, stream, self._distance(self._steps.decode(stream)))
            except (BitstreamError, BadMesh, ValueError):  # nothing that could be measured
                return _Tried(place, stream, np.inf)

    def _distance(self, mesh: trimesh.Trimesh) -> float:
        """Mean distance between the surfaces, in both directions."""
        decoded = Surface.of(mesh)
        back = decoded.sample_stratified(_SAMPLES, np.random.default_rng(1))[0]
        threads = self._ctx.threads
        there = decoded.distance(self._points, threads).mean()
        return 0.5 * float(there + self._surface.distance(back, threads).mean())
