"""Meta's codec: a second implementation of encoder, decoder and watermark; names of its checkpoint; messages."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import CHANNELS, TINY_DACVAE, fill, is_weight_normed

from sam_lsac.errors import CheckpointError, InputError
from sam_lsac.model.config import DACVAEConfig
from sam_lsac.model.dacvae import DACVAE, CausalConv1d, CausalConvTranspose1d

HOP = 1920


def codec(**options):
    built = DACVAE(DACVAEConfig(**{**TINY_DACVAE, **options}))
    fill(built)
    return built.eval().requires_grad_(False)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def message(batch, seed=0):
    return torch.randint(0, 2, (batch, 16), generator=torch.Generator().manual_seed(seed))


def relative(a, b):
    return float((a - b).norm() / b.norm())


# --- A second implementation, float64, by the stored names; layers that Meta numbers in one list are walked by number.


class Reference:
    def __init__(self, built):
        self.w = {name: tensor.double() for name, tensor in built.state_dict().items()}
        self.config = built

    def conv(self, x, name, *, stride=1, dilation=1, left, right):
        return F.conv1d(F.pad(x, (left, right)), self.w[name + ".weight"], self.w[name + ".bias"], stride, 0, dilation)

    def same(self, x, name, dilation=1):
        half = (self.w[name + ".weight"].shape[2] - 1) * dilation // 2
        return self.conv(x, name, dilation=dilation, left=half, right=half)

    def causal(self, x, name, stride=1):
        return self.conv(x, name, stride=stride, left=self.w[name + ".weight"].shape[2] - stride, right=0)

    def spread(self, x, name, stride, trim_left, trim_right):
        """A transposed convolution as an addition of scaled kernels."""
        weight = self.w[name + ".weight"]  # [in, out, k]
        out = x.new_zeros(len(x), weight.shape[1], (x.shape[2] - 1) * stride + weight.shape[2])
        for n in range(x.shape[2]):
            out[:, :, n * stride : n * stride + weight.shape[2]] += torch.einsum("bi,iok->bok", x[:, :, n], weight)
        return out[..., trim_left : out.shape[2] - trim_right] + self.w[name + ".bias"][None, :, None]

    def snake(self, x, name):
        alpha = self.w[name + ".alpha"]
        return x + torch.sin(alpha * x) ** 2 / (alpha + 1e-9)

    def unit(self, x, name, dilation):
        hidden = self.same(self.snake(x, name + ".block.0"), name + ".block.1", dilation)
        return x + self.same(self.snake(hidden, name + ".block.2"), name + ".block.3")

    def causal_unit(self, x, name):
        return x + self.causal(F.elu(self.causal(F.elu(x), name + ".block.1")), name + ".block.3")

    def lstm(self, x, name):
        frames = x.permute(2, 0, 1)
        hidden = frames
        for layer in (0, 1):
            w, r, b, c = (
                self.w[f"{name}.lstm.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h = cell = frames.new_zeros(frames.shape[1:])
            outputs = []
            for frame in hidden:
                i, f, g, o = (frame @ w.T + b + h @ r.T + c).chunk(4, dim=1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                h = o.sigmoid() * cell.tanh()
                outputs.append(h)
            hidden = torch.stack(outputs)
        return (hidden + frames).permute(1, 2, 0)

    def encode(self, wave, rates):
        x = self.same(wave, "encoder.block.0")
        for number, stride in enumerate(rates, start=1):
            name = f"encoder.block.{number}.block"
            for unit, dilation in enumerate((1, 3, 9)):
                x = self.unit(x, f"{name}.{unit}", dilation)
            x = self.conv(self.snake(x, f"{name}.3"), f"{name}.4", stride=stride, left=stride // 2, right=stride // 2)
        x = self.same(self.snake(x, f"encoder.block.{len(rates) + 1}"), f"encoder.block.{len(rates) + 2}")
        return self.same(x, "quantizer.in_proj").chunk(2, dim=1)[0]

    def decode(self, latents, bits, rates):
        x = self.same(self.same(latents, "quantizer.out_proj"), "decoder.model.0")
        blocks = [f"decoder.model.{number}.block" for number in (1, 2, 3, 4)]
        for name, stride in zip(blocks, rates, strict=True):
            x = self.spread(
                self.snake(x, f"{name}.0"), f"{name}.1", stride, (stride + 1) // 2, (stride + 1) // 2 - stride % 2
            )
            x = self.unit(self.unit(x, f"{name}.4", 1), f"{name}.5", 3)
            x = self.unit(x, f"{name}.8", 9)
        mark = "decoder.wm_model"
        wave = self.same(self.snake(x, f"{mark}.encoder_block.pre.0"), f"{mark}.encoder_block.pre.1").tanh()
        h = self.causal(wave, f"{mark}.encoder_block.pre.3")
        for name, stride in reversed(list(zip(blocks, (8, 5, 4, 2), strict=True))):
            h = self.causal(F.elu(self.causal_unit(h, f"{name}.7")), f"{name}.11", stride)
        h = self.causal(F.elu(self.lstm(h, f"{mark}.encoder_block.post.0")), f"{mark}.encoder_block.post.2")
        table = self.w[f"{mark}.msg_processor.msg_processor.weight"]
        h = h + sum(table[2 * k + bits[:, k]] for k in range(16))[:, :, None]
        h = self.lstm(self.causal(h, f"{mark}.decoder_block.pre.0"), f"{mark}.decoder_block.pre.1")
        for name, stride in zip(blocks, (8, 5, 4, 2), strict=True):
            h = self.causal_unit(self.spread(F.elu(h), f"{name}.3", stride, 0, stride), f"{name}.6")
        return wave, self.causal(F.elu(h), f"{mark}.decoder_block.post.1")


@pytest.mark.parametrize("rates", [(2, 8, 10, 12), (2, 4, 8, 10), (8, 10, 4, 3)])
def test_encoding_equals_the_second_implementation(rates):
    built = codec(encoder_rates=rates, decoder_rates=rates[::-1])
    wave = draw(2, 1, 3 * math.prod(rates))
    latents = built(wave)
    assert latents.shape[:2] == (2, CHANNELS)
    assert relative(latents.double(), Reference(built).encode(wave.double(), rates)) < 1e-5


@pytest.mark.parametrize("rates", [(12, 10, 8, 2), (10, 8, 4, 2), (3, 4, 10, 8)])
def test_decoding_and_its_watermark_equal_the_second_implementation(rates):
    built = codec(encoder_rates=rates[::-1], decoder_rates=rates).double()
    latents, bits = draw(2, CHANNELS, 3).double(), message(2)
    wave, mark = Reference(built).decode(latents, bits, rates)
    decoded = built.decode(latents, bits)
    assert relative(decoded, wave + built.decoder.alpha * mark) < 1e-10
    built.decoder.alpha = 0.0
    assert relative(decoded - built.decode(latents, bits), 2 / 128 * mark) < 1e-10  # alpha is channels / 128


@pytest.mark.meta
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")  # how Meta's package writes its convolutions
def test_encoding_and_decoding_equal_metas():
    meta = pytest.importorskip("dacvae", reason="Meta's dacvae package is not installed")
    theirs = meta.DACVAE(64, [2, 8, 10, 12], 1024, 1536, [12, 10, 8, 2], 16, 1024, 128, False, 48_000).eval()
    fill(theirs)
    for parameter in theirs.decoder.wm_model.parameters():
        parameter.data *= 1.5  # the watermark is small at random
    folded = {}
    for module_name, module in theirs.named_modules():
        if hasattr(module, "weight_g"):
            folded[module_name + ".weight"] = torch._weight_norm(module.weight_v, module.weight_g, 0).detach()
    built = DACVAE(DACVAEConfig()).eval().requires_grad_(False)
    built.load_state_dict(
        {k: folded.get(k, v) for k, v in theirs.state_dict().items() if k[-2:] not in ("_g", "_v")} | folded
    )
    wave, latents, bits = draw(1, 1, 3 * HOP + 77), draw(1, 128, 3), message(1)
    with torch.no_grad():
        mean = theirs.quantizer.in_proj(theirs.encoder(theirs._pad(wave))).chunk(2, dim=1)[0]
        assert relative(built(wave), mean) < 1e-4
        decoded = theirs.decoder(theirs.quantizer.out_proj(latents), message=bits)
        assert relative(built.decode(latents, bits), decoded) < 1e-4


# --- Names and shapes of Meta's checkpoint.


def test_names_and_shapes_are_those_of_metas_checkpoint():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in DACVAE(DACVAEConfig()).state_dict().items()}
    stored = sum(2 if is_weight_normed("audio_codec." + name) else 1 for name in shapes)
    assert (len(shapes), stored) == (255, 317)
    known = {
        "encoder.block.0.weight": (64, 1, 7),
        "encoder.block.4.block.4.weight": (1024, 512, 24),
        "encoder.block.6.weight": (1024, 1024, 3),
        "quantizer.in_proj.weight": (256, 1024, 1),
        "quantizer.out_proj.weight": (1024, 128, 1),
        "decoder.model.0.weight": (1536, 1024, 7),
        "decoder.model.1.block.0.alpha": (1, 1536, 1),
        "decoder.model.1.block.1.weight": (1536, 768, 24),
        "decoder.model.1.block.3.weight": (512, 256, 16),
        "decoder.model.1.block.6.block.1.weight": (128, 256, 3),
        "decoder.model.1.block.11.weight": (512, 256, 16),
        "decoder.model.4.block.8.block.3.bias": (96,),
        "decoder.wm_model.encoder_block.pre.1.weight": (1, 96, 7),
        "decoder.wm_model.encoder_block.pre.3.weight": (32, 1, 7),
        "decoder.wm_model.encoder_block.post.0.lstm.weight_hh_l1": (2048, 512),
        "decoder.wm_model.encoder_block.post.2.weight": (128, 512, 7),
        "decoder.wm_model.msg_processor.msg_processor.weight": (32, 128),
        "decoder.wm_model.decoder_block.pre.0.weight": (512, 128, 7),
        "decoder.wm_model.decoder_block.post.1.weight": (1, 32, 7),
    }
    assert {name: shapes[name] for name in known} == known


def test_the_watermark_is_weighted_as_in_metas_codec():
    with torch.device("meta"):
        assert DACVAE(DACVAEConfig()).decoder.alpha == 32 / 128


# --- Messages.


def test_the_same_message_gives_the_same_bytes_and_another_message_another_wave():
    built, latents = codec(), draw(2, CHANNELS, 2)
    first = built.decode(latents, message(2))
    assert first.shape == (2, 1, 2 * HOP)
    assert torch.equal(built.decode(latents, message(2)), first)
    assert not torch.equal(built.decode(latents, message(2, seed=1)), first)


def test_each_example_carries_its_own_message():
    built, latents, bits = codec(), draw(1, CHANNELS, 2).expand(2, -1, -1), message(2)
    both = built.decode(latents, bits)
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(built.decode(latents[1:], bits[1:]), both[1:], rtol=1e-4, atol=1e-5)


def test_without_a_message_zeros_are_written_and_no_generator_is_touched():
    built, latents = codec(), draw(1, CHANNELS, 2)
    before = torch.get_rng_state()
    unnamed = built.decode(latents)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(unnamed, built.decode(latents, torch.zeros(1, 16)))


@pytest.mark.parametrize(
    "bits", [torch.zeros(2, 16), torch.zeros(1, 8), torch.full((1, 16), 2), torch.full((1, 16), 0.5)]
)
def test_a_malformed_message_is_refused(bits):
    with pytest.raises(InputError, match=r"message must be \[1, 16\] of 0 and 1"):
        codec().decode(draw(1, CHANNELS, 2), bits)


# --- Padding, layers, settings.


def test_an_odd_length_is_reflected_to_whole_frames():
    built, wave = codec(), draw(1, 1, 2 * HOP + 700)
    padded = torch.cat([wave, wave[..., -1 - (HOP - 700) : -1].flip(-1)], dim=-1)
    assert built.n_frames(wave.shape[-1]) == 3
    assert torch.equal(built(wave), built(padded))


def test_a_wave_too_short_to_reflect_is_refused():
    with pytest.raises(InputError, match=r"900 samples.*at least 961"):
        codec()(draw(1, 1, 900))
    assert codec()(draw(1, 1, 961)).shape[-1] == 1


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_causal_layers_see_no_later_sample_and_keep_whole_frames(stride):
    down, up = CausalConv1d(2, 3, 2 * stride, stride), CausalConvTranspose1d(2, 3, 2 * stride, stride)
    x = draw(1, 2, 6 * stride)
    changed = x.clone()
    changed[..., 3 * stride :] += 1
    assert down(x).shape[-1] == 6
    assert up(x).shape[-1] == 6 * stride * stride
    for layer, first in ((down, 3), (up, 3 * stride * stride)):
        difference = (layer(x) - layer(changed)).abs().amax(dim=(0, 1))
        assert difference[:first].max() == 0
        assert difference[first] > 0


def test_decoding_in_the_codecs_own_type():
    assert codec().decode(draw(1, CHANNELS, 2).bfloat16()).dtype == torch.float32


def test_the_convolution_settings_are_put_back():
    before = (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32)
    codec()(draw(1, 1, HOP))
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32) == before


def test_rates_that_do_not_agree_or_do_not_fit_the_watermark_are_refused():
    with pytest.raises(CheckpointError, match="encoder_rates multiply to 1920, decoder_rates to 960"):
        codec(decoder_rates=(12, 10, 8, 1))
    with pytest.raises(CheckpointError, match="do not fit the watermark's strides"):
        codec(encoder_rates=(2, 4, 8), decoder_rates=(8, 4, 2))
    with pytest.raises(CheckpointError, match="do not fit the watermark's strides"):
        codec(encoder_rates=(2, 3, 5, 7), decoder_rates=(7, 5, 3, 2))


def test_every_parameter_takes_part():
    built, latents, bits = codec().requires_grad_(True), draw(2, CHANNELS, 2), message(2)
    mean = built(draw(2, 1, 2 * HOP))
    (mean.square().sum() + built.decode(latents, bits).square().sum()).backward()
    gradients = {name: parameter.grad for name, parameter in built.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
