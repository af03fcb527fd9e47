"""The model of residuals: golden bytes, what fitting finds, and what it costs."""

import hashlib

import numpy as np
import pytest

from gcbench.entropy.range_coder import RangeCoder
from gcbench.entropy.tables import LOCATION_STEPS
from gcbench.errors import BitstreamError
from gcbench.necgs.designs.sparse_model import ONE, Reference, ResidualModel, fit_model

CODER = RangeCoder()
DIMS = (3, 8)


def hashed(name, low, high, shape=DIMS):
    data = hashlib.shake_128(name.encode()).digest(4 * int(np.prod(shape)))
    return np.frombuffer(data, "<u4").reshape(shape).astype(np.int64) % (high - low) + low


def a_model():
    return ResidualModel(
        zero=20,
        weights=np.array([16, 11, 0]),
        shape=5,
        scale=18,
        channels=np.array([4, 0, -6]),
        places=hashed("places", -3, 4, 8),
        gaps=np.array([-4, 0, 1, 2, 3, 4, 5]),
    )


GOLDEN = (52, "abd0d51324850c2f")


def test_golden_bytes():
    """Bytes that this model gave once: they change with the format's version alone."""
    latents, mean = hashed("latents", -20, 21), hashed("mean", -160, 161)
    reference = Reference(hashed("reference", -160, 161), hashed("gaps", 0, 40))
    sink = CODER.sink()
    a_model().write(sink)
    a_model().encode(latents, mean, reference, sink)
    data = CODER.finish(sink)
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == GOLDEN
    source = CODER.source(data)
    model = ResidualModel.read(source, 20, *DIMS)
    np.testing.assert_array_equal(model.weights, [16, 11, 0])
    np.testing.assert_array_equal(model.decode(mean, reference, source), latents)
    CODER.check_exhausted(source)


def taken(model, latents, mean, reference):
    sink = CODER.sink()
    for i, each in enumerate(latents):
        model.encode(each, mean, Reference(reference.latents[i], reference.gaps[i]), sink)
    return CODER.length_bits(sink)


@pytest.mark.parametrize("spread", [0.05, 0.4, 3.0, 8.0])
def test_bits_are_those_of_coding(spread):
    rng = np.random.default_rng(0)
    latents = np.clip(np.rint(rng.laplace(0, spread, (40, 4, 27))), -50, 50).astype(np.int64)
    mean = rng.integers(-8, 9, (4, 27))
    reference = Reference(rng.integers(-40, 41, latents.shape), rng.integers(0, 30, latents.shape))
    model = fit_model(50, latents, mean, reference)
    assert model.bits(latents, mean, reference).sum() == pytest.approx(taken(model, latents, mean, reference), rel=2e-3)


def test_fitting_comes_near_the_entropy_of_known_scales():
    """Laplace residuals whose scales are products over channels, places and gaps: the model has this very form."""
    rng = np.random.default_rng(1)
    shape = (300, 4, 16)
    gaps = rng.choice([0, 1, 4], shape)
    scales = np.array([4, 2, 1, 0.5])[:, None] * np.exp2(rng.integers(-1, 2, 16)) * np.array([1, 2, 0, 0, 4.0])[gaps]
    predicted = rng.integers(-200, 200, shape)
    latents = np.rint(rng.laplace(predicted / LOCATION_STEPS, scales)).astype(np.int64)
    latents = np.clip(latents, -120, 120)
    model = fit_model(120, latents, np.zeros(shape[1:], np.int64), Reference(predicted, gaps))
    assert model.shape == 4
    np.testing.assert_array_equal(model.weights, ONE)
    np.testing.assert_allclose(np.diff(model.channels), -4, atol=1)
    assert model.gaps[1] - model.gaps[0] == pytest.approx(4, abs=1)
    symbols = np.arange(-400, 401)
    away = np.abs(symbols - predicted[..., None] % LOCATION_STEPS / LOCATION_STEPS) / scales[..., None]
    chances = np.exp(-away)
    chances /= chances.sum(-1, keepdims=True)
    entropy = -(chances * np.log2(np.maximum(chances, 1e-300))).sum()
    bits = model.bits(latents, np.zeros(shape[1:], np.int64), Reference(predicted, gaps)).sum()
    assert bits == pytest.approx(entropy, rel=0.02)


def test_weights_are_those_of_the_references():
    rng = np.random.default_rng(2)
    mean = rng.integers(-80, 81, (2, 64))
    reference = mean + rng.integers(-80, 81, (50, 2, 64))
    half = np.array([[0.5], [1.0]])
    latents = np.rint((mean + half * (reference - mean)) / LOCATION_STEPS + rng.normal(0, 0.3, reference.shape))
    model = fit_model(60, latents.astype(np.int64), mean, Reference(reference, np.zeros_like(reference)))
    np.testing.assert_array_equal(model.weights, [ONE // 2, ONE])


def test_channels_that_are_always_zero_take_nothing():
    zeros = np.zeros((30, 4, 64), np.int64)
    reference = Reference(zeros, zeros)
    model = fit_model(127, zeros, zeros[0], reference)
    assert taken(model, zeros, zeros[0], reference) / 30 < 1


def test_models_out_of_bounds_are_refused():
    for shape, scale in ((9, 0), (0, 64)):
        sink = CODER.sink()
        sink.put_bytes(shape, scale)
        with pytest.raises(BitstreamError):
            ResidualModel.read(CODER.source(CODER.finish(sink) + bytes(64)), 20, *DIMS)
