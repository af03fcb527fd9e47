"""The decoder against plain torch modules, and the straight-through quantiser against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gcbench.necgs.designs.convolution import Convolution
from gcbench.necgs.designs.convolution_encoder import Encoder, strides
from gcbench.necgs.designs.convolution_network import Decoder, decode, pixel_shuffle
from gcbench.training import straight_through
from gcbench.training.quantise import dequantise
from gcbench.training.quantise import quantise as quantise_array

SMALL = Convolution(resolution=32, widths=(6, 4, 3))


def random_features(design: Convolution, batch: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(batch, *design.feature_shape, generator=torch.Generator().manual_seed(seed)) / 3
    return straight_through.quantise(drawn, design.bits)


class TestStraightThrough:
    @given(
        hnp.arrays(np.float32, 50, elements=st.floats(-2, 2, width=32)),
        st.integers(2, 12),
    )
    def test_agrees_with_numpy_bit_for_bit(self, array, bits):
        tensor = torch.from_numpy(array)
        found = straight_through.symbols(tensor, bits)
        assert found.dtype == torch.int16
        assert np.array_equal(found.numpy(), quantise_array(array, bits))
        levels = straight_through.quantise(tensor, bits).numpy()
        assert levels.tobytes() == dequantise(found.numpy(), bits).tobytes()
        assert levels.tobytes() == straight_through.values(found, bits).numpy().tobytes()

    @pytest.mark.parametrize("bits", [2, 8, 12])
    def test_ties_go_to_even_and_zero_is_a_level(self, bits):
        step = 2.0 / 2**bits
        halves = torch.tensor([-1 + 0.5 * step, -1 + 1.5 * step, 0.0])
        assert straight_through.symbols(halves, bits).tolist() == [0, 2, 2 ** (bits - 1)]
        assert straight_through.quantise(torch.zeros(1), bits).item() == 0.0

    def test_levels_stay_what_they_are(self):
        levels = straight_through.values(torch.arange(2**12 + 1, dtype=torch.int16), 12)
        assert torch.equal(straight_through.quantise(levels, 12), levels)

    def test_gradient_is_one_within_and_zero_outside(self):
        inputs = torch.tensor([-1.5, -1.0, -0.3, 0.0, 0.999, 1.0, 1.001], requires_grad=True)
        (straight_through.quantise(inputs, 8) * torch.arange(7)).sum().backward()
        assert inputs.grad.tolist() == [0, 1, 2, 3, 4, 5, 0]


class TestDecoder:
    @pytest.mark.parametrize(
        "design",
        [Convolution(), SMALL, Convolution(resolution=32, widths=(5, 4), feature_resolution=8, deformation=False)],
    )
    def test_state_is_what_settings_say(self, design):
        state = {name: tuple(tensor.shape) for name, tensor in Decoder(design).state_dict().items()}
        assert list(state.items()) == list(design.parameter_shapes().items())

    def test_pixel_shuffle(self):
        inputs = torch.arange(2 * 24 * 2 * 3 * 4, dtype=torch.float32).view(2, 24, 2, 3, 4)
        shuffled = pixel_shuffle(inputs)
        assert shuffled.shape == (2, 3, 4, 6, 8)
        for child in range(8):
            x, y, z = child // 4, child // 2 % 2, child % 2
            assert torch.equal(shuffled[:, :, x::2, y::2, z::2], inputs[:, 3 * child : 3 * child + 3])

    def test_forward_is_the_paper_s_network(self):
        decoder = Decoder(SMALL, torch.Generator().manual_seed(1))
        features = random_features(SMALL, 2)
        x = features
        state = {name: straight_through.quantise(p, SMALL.bits) for name, p in decoder.state_dict().items()}
        for i, width in enumerate(SMALL.widths):
            x = torch.nn.functional.conv3d(x, state[f"upsampling.{i}.weight"], state[f"upsampling.{i}.bias"], padding=1)
            shuffled = torch.empty(2, width, *[2 * x.shape[-1]] * 3)
            for child in range(8):
                children = x[:, width * child : width * (child + 1)]
                shuffled[:, :, child // 4 :: 2, child // 2 % 2 :: 2, child % 2 :: 2] = children
            x = torch.nn.functional.gelu(shuffled)
        x = torch.nn.functional.conv3d(x, state["last.weight"], state["last.bias"], padding=1)
        assert torch.allclose(decoder(features), x, atol=1e-6)

    def test_start_is_that_of_torch(self):
        weight = Decoder(Convolution(), torch.Generator().manual_seed(0)).upsampling[1].weight
        bound = (64 * 27) ** -0.5
        assert weight.abs().max().item() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)

    def test_symbols_rebuild_the_decoder(self):
        decoder = Decoder(SMALL, torch.Generator().manual_seed(2))
        symbols = decoder.symbols()
        assert list(symbols) == list(SMALL.parameter_shapes())
        again = Decoder.from_symbols(SMALL, symbols)
        assert not any(p.requires_grad for p in again.parameters())
        assert all(np.array_equal(a, b) for a, b in zip(symbols.values(), again.symbols().values(), strict=True))
        features = random_features(SMALL, 1)
        assert torch.equal(again(features), decoder(features))

    @pytest.mark.parametrize("change", ["missing", "shape", "extra"])
    def test_foreign_parameters_are_refused(self, change):
        symbols = Decoder(SMALL).symbols()
        if change == "missing":
            del symbols["last.bias"]
        elif change == "shape":
            symbols["last.bias"] = symbols["last.bias"][:-1]
        else:
            symbols["more"] = symbols["last.bias"]
        with pytest.raises(ValueError, match="not those of the design"):
            Decoder.from_symbols(SMALL, symbols)

    def test_bfloat16_is_close(self):
        decoder = Decoder(SMALL, torch.Generator().manual_seed(3))
        features = random_features(SMALL, 2)
        exact, coarse = decoder(features), decoder(features, torch.bfloat16)
        assert coarse.dtype == torch.float32
        assert (exact - coarse).abs().max() < 0.02 * exact.abs().max()

    def test_gradients_reach_every_parameter(self):
        decoder = Decoder(SMALL, torch.Generator().manual_seed(4))
        features = random_features(SMALL, 1).requires_grad_()
        decoder(features).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in [features, *decoder.parameters()])

    def test_decode_is_repeatable_and_in_range(self):
        decoder = Decoder.from_symbols(SMALL, Decoder(SMALL, torch.Generator().manual_seed(5)).symbols())
        features = straight_through.symbols(random_features(SMALL, 1)[0] * 3, SMALL.bits).numpy()
        volume = decode(decoder, features)
        assert volume.shape == (4, 32, 32, 32)
        assert volume.dtype == np.float32
        assert np.abs(volume).max() <= 1
        assert volume.tobytes() == decode(decoder, features).tobytes()

    def test_decode_clips(self):
        decoder = Decoder(SMALL, torch.Generator().manual_seed(5))
        with torch.no_grad():
            decoder.last.weight.fill_(1.0)
        features = np.full(SMALL.feature_shape, 2**SMALL.bits, dtype=np.int16)
        volume = decode(decoder, features)
        assert np.abs(volume).max() == 1


class TestEncoder:
    @pytest.mark.parametrize(
        ("resolution", "widths", "expected"),
        [(32, (2,) * 3, (4, 2)), (64, (2,) * 4, (4, 2, 2)), (128, (2,) * 5, (4, 2, 2, 2))],
    )
    def test_strides(self, resolution, widths, expected):
        assert strides(Convolution(resolution=resolution, widths=widths)) == expected

    @pytest.mark.parametrize("deformation", [True, False])
    def test_shape(self, deformation):
        design = Convolution(resolution=32, widths=(2,) * 3, deformation=deformation)
        encoder = Encoder(design, torch.Generator().manual_seed(0))
        volumes = torch.randn(2, design.channels, 32, 32, 32)
        assert encoder(volumes).shape == (2, *design.feature_shape)
