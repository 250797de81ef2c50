"""What every codec promises, whichever a configuration names."""

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
