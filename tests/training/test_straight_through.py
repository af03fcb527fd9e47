import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.entropy.tensors import quantised
from gcbench.training import straight_through
from gcbench.training.quantise import dequantise, quantise


@given(arrays(np.float32, 64, elements=st.floats(-1.5, 1.5, width=32)), st.integers(2, 12))
def test_as_on_arrays(values, bits):
    tensor = torch.from_numpy(values)
    symbols = quantise(values, bits)
    levels = dequantise(symbols, bits)
    np.testing.assert_array_equal(straight_through.symbols(tensor, bits), symbols)
    np.testing.assert_array_equal(straight_through.values(torch.from_numpy(symbols), bits), levels)
    np.testing.assert_array_equal(straight_through.nearest(tensor, bits), levels)
    np.testing.assert_array_equal(straight_through.quantise(tensor, bits), levels)


def test_the_gradient_is_that_of_the_clamp():
    values = torch.tensor([-1.5, -1.0, 0.3, 1.0, 1.01], requires_grad=True)
    torch.autograd.backward((straight_through.quantise(values, 4) * torch.arange(1.0, 6)).sum())
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]


def test_the_loop_sees_what_the_stream_holds():
    tensors = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    looped = straight_through.quantise_in_loop(tensors, 6)
    for one, inside in zip(tensors.detach().numpy(), looped.detach().numpy(), strict=True):
        np.testing.assert_allclose(inside, quantised([one], "range", 6)[0], rtol=0, atol=1e-6)
    looped.sum().backward()
    assert (tensors.grad == 1).all()
