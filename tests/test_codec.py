"""What every codec promises, whichever a configuration names."""

import math

import pytest
import torch
from tiny_models import TINY_DACVAE, fill

from sam_lsac.errors import InputError
from sam_lsac.model.codec import MDCTCodec, build_codec
from sam_lsac.model.config import DACVAEConfig, MDCTConfig
from sam_lsac.model.dacvae import DACVAE

CONFIGS = {"mdct": MDCTConfig(), "dacvae": DACVAEConfig(**TINY_DACVAE)}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def codec(config):
    built = build_codec(config)
    fill(built)
    return built.eval().requires_grad_(False)


def draw(*shape):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_configuration_names_the_codec():
    assert isinstance(build_codec(CONFIGS["mdct"]), MDCTCodec)
    assert isinstance(build_codec(CONFIGS["dacvae"]), DACVAE)


@pytest.mark.parametrize("extra", [0, 1, 63])
def test_shapes(codec, config, extra):
    n_samples = 4 * codec.hop_length + extra
    latents = codec(draw(2, 1, n_samples))
    n_frames = 4 + bool(extra)
    assert latents.shape == (2, config.n_channels, n_frames)
    assert codec.n_frames(n_samples) == n_frames
    assert codec.decode(latents).shape == (2, 1, n_frames * codec.hop_length)


def test_rate_and_hop_are_the_configurations(codec, config):
    assert (codec.sample_rate, codec.hop_length) == (config.sample_rate, config.hop_length)


def test_both_ways_are_deterministic_and_draw_nothing(codec):
    wave = draw(1, 1, 3 * codec.hop_length)
    before = torch.get_rng_state()
    latents = codec(wave)
    assert torch.equal(codec(wave), latents)
    assert torch.equal(codec.decode(latents), codec.decode(latents))
    assert torch.equal(torch.get_rng_state(), before)


def test_examples_of_a_batch_do_not_mix(codec):
    waves = draw(3, 1, 3 * codec.hop_length)
    latents = codec(waves)
    torch.testing.assert_close(codec(waves[1:2]), latents[1:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codec.decode(latents[1:2]), codec.decode(latents)[1:2], rtol=1e-3, atol=1e-4)


def test_padding_is_a_reflection(codec):
    missing = codec.hop_length // 3
    wave = draw(1, 1, 3 * codec.hop_length - missing)
    padded = torch.cat([wave, wave[..., -1 - missing : -1].flip(-1)], dim=-1)
    assert torch.equal(codec(wave), codec(padded))


def test_a_wave_too_short_to_reflect_is_refused(codec):
    with pytest.raises(InputError, match="too few to reflect"):
        codec(draw(1, 1, codec.hop_length // 3))


def test_a_message_has_as_many_bits_as_the_codec_says(codec):
    latents = codec(draw(2, 1, 2 * codec.hop_length))
    bits = torch.ones(2, codec.message_bits)
    if codec.message_bits:
        assert not torch.equal(codec.decode(latents, bits), codec.decode(latents))
    else:
        with pytest.raises(InputError, match="no watermark"):
            codec.decode(latents, bits)


# -------------------------------------------------------------------------------------- the transform codec's own laws

HOP = 16


def transform_codec(**options):
    return MDCTCodec(MDCTConfig(**{"hop_length": HOP, "gain_widths": (4, 12), "floor": 1e-9, **options}))


def atom(frame, k, n_frames=9, hop=HOP):
    """The wave whose transform is one coefficient: bin k of the frame that ends the pair (frame - 1, frame)."""
    n = torch.arange(2 * hop, dtype=torch.float64)
    window = torch.sin(math.pi * (n + 0.5) / (2 * hop))
    values = math.sqrt(2 / hop) * window * torch.cos(math.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
    wave = torch.zeros(n_frames, hop, dtype=torch.float64)
    wave[frame - 1] += values[:hop]
    wave[frame] += values[hop:]
    return wave.reshape(1, 1, -1).float()


@pytest.mark.parametrize(("frame", "k", "band"), [(4, 2, 0), (4, 9, 1), (1, 0, 0), (7, 15, 1), (0, 5, 1), (8, 3, 0)])
def test_gains_pool_a_frame_with_one_on_either_side(frame, k, band):
    codec = transform_codec()
    gains = codec(atom(frame, k))[0, -2:]  # [2, 9]; the frame axis is circular
    energy = torch.zeros(2, 9)
    energy[band, [(frame + step) % 9 for step in (-1, 0, 1)]] = 1 / 3 / codec.config.gain_widths[band]
    torch.testing.assert_close(gains.exp() - codec.config.floor, energy, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("frame", "k"), [(4, 2), (0, 5), (8, 15)])
def test_a_shape_is_one_coefficient_of_its_frame_and_the_one_before(frame, k):
    found = transform_codec(shape_power=0.0)(atom(frame, k))[0, :HOP]
    expected = torch.zeros(HOP, 9)
    expected[k, frame] = 1.0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_the_transform_codec_is_exact_where_it_keeps_every_bin(power):
    statistics = {"mean": (0.1,) * 18, "scale": (0.5,) * 16 + (2.0,) * 2}
    for options in ({}, statistics):
        codec = transform_codec(shape_power=power, **options)
        wave = draw(2, 1, 11 * HOP)
        torch.testing.assert_close(codec.decode(codec(wave)), wave, rtol=1e-4, atol=1e-5)


def test_what_it_drops_is_above_the_kept_bins():
    codec = transform_codec(gain_widths=(4, 4))
    kept, dropped = codec.decode(codec(atom(4, 7))), codec.decode(codec(atom(4, 8)))
    torch.testing.assert_close(kept, atom(4, 7), rtol=1e-4, atol=1e-5)
    assert dropped.abs().max() < 1e-5
