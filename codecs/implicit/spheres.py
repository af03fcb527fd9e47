"""Chooses key spheres of a mesh (inside, tangent to the surface, spread over the shape) and codes them as bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from gcbench.entropy.container import Fields, Writer
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.geometry.signed_distance import Field

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

CENTRE_BITS = 8  # of a coordinate; the published files have 7
CENTRE_STEP = 2.0 ** (1 - CENTRE_BITS)  # from -1 on
RADIUS_STEP = 2.0**-8  # a quarter of the step in the published files
MOST = 4096  # spheres of a mesh
_RADIUS_LEVELS = 512  # a radius is below 2
_TOP = (1 << CENTRE_BITS) - 1  # highest level of a coordinate
_CODES = 1 << 3 * CENTRE_BITS
_CANDIDATES = 4096
_SHRINKINGS = 16
_WITNESSES = 8192
_LARGE = 4.0  # distances between witnesses; witnesses shrink balls of a larger radius, faces shrink smaller balls
_INWARDS = 1e-4  # distance from the surface at which its inner side is tested
_SETTLED = 0.99  # a ball is final when its radius shrinks to more than this share
# If the centre sees two points of contact under a smaller angle, they show facets and noise, not the shape.
_SMALLEST_ANGLE = np.pi / 6
_MOST_RICE = 3 * CENTRE_BITS


def extract(field: Field, count: int, seed: int) -> NDArray[np.float32]:
    """Choose spheres that lie inside a surface, touch it, and are spread over the shape.

    Candidates are balls of the medial axis; :func:`spread` chooses. A radius is the distance from the stored (rounded)
    centre to the surface, to half of :data:`RADIUS_STEP`.

    If there are fewer candidates than `count`, because a shape is thinner than the steps or has no inside, spheres with
    centres on the surface fill up, with the distance from the rounded centre as radius, at least one step. If these are
    too few as well, spheres repeat.

    Parameters
    ----------
    field : Field
        Signed distance to a mesh, which should lie in [-1, 1]³; centres of spheres always lie there.
    count : int
        Spheres, 1 to :data:`MOST`.
    seed : int
        Seed of the points of the surface from which candidates are found.

    Returns
    -------
    (count, 4) float32
        Centre and radius, rounded and sorted as :func:`pack` stores them.

    Source: S. Zhang et al., "SN-Graph: a minimalist 3D object representation for classification", ICME 2021 (order of
    choice).
    """
    rng = np.random.default_rng(seed)
    on, face = field.surface.sample_stratified(_CANDIDATES, rng)
    levels = _distinct_levels(medial_centres(field, on, field.surface.normals[face], rng))
    radius = -field(_positions(levels)).astype(np.float64)
    inside = radius >= RADIUS_STEP / 2
    levels, radius = levels[inside], radius[inside]
    if len(levels) < count:
        others = _distinct_levels(on)
        levels = np.concatenate([levels, others])
        radius = np.concatenate([radius, np.abs(field(_positions(others)))])
    radius_levels = np.clip(np.rint(radius / RADIUS_STEP), 1, _RADIUS_LEVELS - 1).astype(np.int64)
    stepped = (radius_levels * RADIUS_STEP).astype(np.float64)
    chosen = np.resize(spread(_positions(levels), stepped, count), count)
    return _spheres(*_ordered(levels[chosen], radius_levels[chosen]))


def medial_centres(field: Field, on: Floats, normals: Floats, rng: np.random.Generator) -> Floats:
    """Centres of balls inside a surface that touch the surface at given points and mostly at another point too.

    A ball that is too large is shrunk repeatedly, each time until it passes through the surface point nearest to its
    centre.

    Parameters
    ----------
    field : Field
        Signed distance.
    on, normals : (n, 3) float
        Points of the surface and the normals there, of either orientation.
    rng : numpy.random.Generator
        Draws the points that stand for the surface while balls are large.

    Returns
    -------
    (n, 3) float64
        On the normals, inside. A point with no inside near it gets an arbitrary centre.

    Source: J. Ma, S. W. Bae, S. Choi, "3D medial axis point approximation using nearest neighbors and the normal
    field", The Visual Computer 28, 2012, section 3.
    """
    surface = field.surface
    witnesses, _ = surface.sample_stratified(_WITNESSES, rng)
    tree = KDTree(witnesses)
    large = _LARGE * np.sqrt(surface.area / _WITNESSES)
    inwards = np.where(field.inside(on - _INWARDS * normals)[:, None], -normals, normals)
    # No inscribed ball is wider than the narrowest side of the bounding box.
    radius = np.full(len(on), float(np.ptp(surface.vertices, axis=0).min()) / 2)
    active = np.arange(len(on))
    for _ in range(_SHRINKINGS):
        centre = on[active] + radius[active, None] * inwards[active]
        # For a centre with many faces at equal distance, the nearest face takes a hundred times longer to find.
        foot = witnesses[tree.query(centre)[1]]
        small = radius[active] < large
        if small.any():
            foot[small], _, _ = surface.closest(centre[small])
        chord = foot - on[active]
        squared = np.square(chord).sum(1)
        settled = squared <= np.square(2 * np.sin(_SMALLEST_ANGLE / 2) * radius[active])
        if settled.any():  # a centre far outside sees all points under a small angle, but is not final
            settled[settled] = field.inside(centre[settled])
        depth = np.einsum("nx,nx->n", chord, inwards[active])
        active, squared, depth = (values[~settled & (depth > 0)] for values in (active, squared, depth))
        smaller = squared / (2 * depth)
        moving = smaller < _SETTLED * radius[active]
        radius[active] = np.minimum(smaller, radius[active])
        active = active[moving]
        if not len(active):
            break
    centres: Floats = on + radius[:, None] * inwards
    return centres


def spread(centres: Floats, radius: Floats, count: int) -> Ints:
    """Choose spheres: first the largest, then always the one with the largest sum of its radius and its distance.

    The distance is from the sphere's centre to the nearest sphere chosen before.

    Parameters
    ----------
    centres : (n, 3) float
        Centres of the candidates, n at least 1.
    radius : (n,) float
        Radii of the candidates.
    count : int
        Spheres to choose; the result has min(count, n) indices.
    """
    chosen = [int(radius.argmax())]
    reach = np.full(len(centres), np.inf)
    while len(chosen) < min(count, len(centres)):
        last = chosen[-1]
        np.minimum(reach, np.linalg.norm(centres - centres[last], axis=1) - radius[last], out=reach)
        reach[last] = -np.inf
        chosen.append(int((reach + radius).argmax()))
    return np.array(chosen)


def pack(spheres: NDArray[np.float32]) -> bytes:
    """Code spheres along a Z-order curve, by Rice codes of the steps in position and the differences in radius.

        number of spheres (LEB128) · Rice parameter of positions (1) · of radii (1) · codes, sphere by sphere

    The order of spheres has no meaning. A known order saves log2(N!) bits: 0.7 bytes for each of 128 spheres.

    Parameters
    ----------
    spheres : (N, 4) float32
        As :func:`extract` returns them, in any order.

    Source: G. M. Morton, 1966 (Z-order); R. F. Rice, JPL Publication 79-22, 1979.
    """
    levels = np.rint((spheres[:, :3].astype(np.float64) + 1) / CENTRE_STEP).astype(np.int64)
    levels, radius = _ordered(levels, np.rint(spheres[:, 3].astype(np.float64) / RADIUS_STEP).astype(np.int64))
    steps = np.diff(_morton(levels), prepend=0)
    change = np.diff(radius, prepend=0)
    folded = np.where(change < 0, -2 * change - 1, 2 * change)
    parameters = [min(range(_MOST_RICE + 1), key=partial(_rice_bits, values)) for values in (steps, folded)]
    pairs = zip(steps.tolist(), folded.tolist(), strict=True)
    bits = "".join(_rice(step, parameters[0]) + _rice(turn, parameters[1]) for step, turn in pairs)
    filled = bits + "0" * (-len(bits) % 8)
    codes = int(filled, 2).to_bytes(len(filled) // 8, "big")
    return Writer().number(len(spheres)).byte(*parameters).raw(codes).data()


def unpack(data: bytes) -> NDArray[np.float32]:
    """Inverse of :func:`pack`: (N, 4) float32.

    Raises
    ------
    BitstreamError
        The bytes end too soon or too late, or a sphere's position or radius is out of range.
    """
    fields = Fields(data)
    count = fields.number("number of spheres", 1, MOST)
    if count > 4 * fields.left:  # a sphere takes at least two bits
        raise BitstreamError(f"{count} spheres are declared in {fields.left} bytes")
    parameters = [fields.byte("Rice parameter", 0, _MOST_RICE) for _ in range(2)]
    bits = "".join(f"{byte:08b}" for byte in fields.rest())
    place = code = radius = 0
    codes, radii = np.empty(count, np.int64), np.empty(count, np.int64)
    for index in range(count):
        step, place = _read_rice(bits, place, parameters[0])
        folded, place = _read_rice(bits, place, parameters[1])
        code += step
        radius += -(folded + 1) // 2 if folded % 2 else folded // 2
        if code >= _CODES or not 0 < radius < _RADIUS_LEVELS:
            raise BitstreamError("a sphere lies outside its range")
        codes[index], radii[index] = code, radius
    if len(bits) - place >= 8 or "1" in bits[place:]:
        raise BitstreamError("bytes after the last sphere")
    return _spheres(_unmorton(codes), radii)


def count_of(data: bytes) -> int:
    """Number of spheres in the bytes of :func:`pack`.

    Raises
    ------
    BitstreamError
        The number is out of range.
    """
    return Fields(data).number("number of spheres", 1, MOST)


def _distinct_levels(points: Floats) -> Ints:
    """Rounded coordinates (n, 3) of points as integer levels, without duplicates."""
    return _unmorton(np.unique(_morton(np.clip(np.rint((points + 1) / CENTRE_STEP), 0, _TOP).astype(np.int64))))


def _positions(levels: Ints) -> Floats:
    return levels.astype(np.float64) * CENTRE_STEP - 1


def _ordered(levels: Ints, radius: Ints) -> tuple[Ints, Ints]:
    order = np.lexsort((radius, _morton(levels)))
    return levels[order], radius[order]


def _spheres(levels: Ints, radius: Ints) -> NDArray[np.float32]:
    return np.column_stack([_positions(levels), radius * RADIUS_STEP]).astype(np.float32)


def _morton(levels: Ints) -> Ints:
    """Morton codes (n,): the interleaved bits of three coordinates."""
    codes = np.zeros(len(levels), np.int64)
    for bit in range(CENTRE_BITS):
        for axis in range(3):
            codes |= ((levels[:, axis] >> bit) & 1) << (3 * bit + axis)
    return codes


def _unmorton(codes: Ints) -> Ints:
    levels = np.zeros((len(codes), 3), np.int64)
    for bit in range(CENTRE_BITS):
        for axis in range(3):
            levels[:, axis] |= ((codes >> (3 * bit + axis)) & 1) << bit
    return levels


def _rice(value: int, parameter: int) -> str:
    """Rice code of a number: value // 2^parameter ones, a zero, and the remainder in ``parameter`` bits."""
    rest = f"{value % (1 << parameter):0{parameter}b}" if parameter else ""
    return "1" * (value >> parameter) + "0" + rest


def _rice_bits(values: Ints, parameter: int) -> int:
    return int((values >> parameter).sum()) + len(values) * (1 + parameter)


def _read_rice(bits: str, place: int, parameter: int) -> tuple[int, int]:
    stop = bits.find("0", place)
    end = stop + 1 + parameter
    if stop < 0 or end > len(bits):
        raise BitstreamError("the spheres end too soon")
    return ((stop - place) << parameter) + int(bits[stop + 1 : end] or "0", 2), end
