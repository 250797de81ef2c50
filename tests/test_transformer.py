"""The transformer against a second implementation in NumPy, against Meta's where it is installed, and its laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import CHANNELS, DIM, INPUTS, conditions, config_dict, fill, model
from torch import nn

from sam_lsac.errors import CheckpointError, InputError
from sam_lsac.model.config import SAMAudioConfig, TransformerConfig
from sam_lsac.model.transformer import Attention, DiT, RMSNorm, RotaryEmbedding

VARIANTS = {
    "as in the checkpoints": {},
    "one head": {"n_heads": 1},
    "sixteen heads": {"n_heads": 16},
    "no qk norm": {"qk_norm": False},
    "biases": {"fc_bias": True},
    "no time bias": {"t_block_bias": False},
    "context norm": {"context_norm": True},
    "no rotation": {"use_rope": False},
    "theta from positions": {"max_positions": 8000},
    "odd time embedding": {"frequency_embedding_dim": 25},
    "other widths": {"ffn_exp": 2, "ffn_dim_multiplier": 1.3, "multiple_of": 16},
    "eps": {"norm_eps": 1e-2},
    **{f"feed-forward {kind}": {"non_linearity": kind} for kind in ("relu", "gelu", "approx_gelu", "srelu", "silu")},
    "time gelu": {"timestep_non_linearity": "gelu"},
    "time block relu": {"t_block_non_linearity": "relu"},
    "context srelu": {"context_non_linearity": "srelu"},
}


def relative(a, b):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def times(value, like):
    return torch.full((like.size(0),), value)


# --- A second implementation: float64, one example and one head at a time, complex rotations, explicit convolutions.


def silu(x):
    return x / (1 + np.exp(-x))


NON_LINEARITIES = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "approx_gelu": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "srelu": lambda x: np.maximum(x, 0) ** 2,
    "silu": silu,
}


class Reference:
    """SAM Audio's velocity of one example, written from the paper's and the checkpoint's facts."""

    def __init__(self, built):
        self.w = {name: tensor.double().numpy() for name, tensor in built.state_dict().items()}
        self.c = built.config.transformer

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)

    def rms(self, x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.c.norm_eps) * self.w[name + ".weight"]

    def two_layers(self, x, name, kind):
        hidden = self.linear(x, name + ".w1")
        if kind == "swiglu":
            return self.linear(silu(hidden) * self.linear(x, name + ".w3"), name + ".w2")
        return self.linear(NON_LINEARITIES[kind](hidden), name + ".w2")

    def waves(self, time, count, pad):
        angles = time * 10000.0 ** (-np.arange(count) / count)
        return np.concatenate([np.cos(angles), np.sin(angles), np.zeros(pad)])

    def rotate(self, x):
        theta = max(10000, 2 * self.c.max_positions)
        frequencies = theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
        turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * np.arange(len(x))[:, None] * frequencies)
        return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)

    def attention(self, x, source, keep, name, rotated):
        q, k, v = self.linear(x, name + ".wq"), self.linear(source, name + ".wk"), self.linear(source, name + ".wv")
        heads = []
        for head in range(self.c.n_heads):  # channel c belongs to head c mod H
            qh, kh, vh = (part[:, head :: self.c.n_heads] for part in (q, k, v))
            if self.c.qk_norm:
                qh, kh = self.rms(qh, name + ".q_norm"), self.rms(kh, name + ".k_norm")
            if rotated:
                qh, kh = self.rotate(qh), self.rotate(kh)
            scores = np.where(keep[None], qh @ kh.T / math.sqrt(qh.shape[1]), -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ vh)
        return self.linear(np.concatenate(heads, axis=1), name + ".wo")

    def convolve(self, x, name):
        x = silu(
            (x - x.mean()) / np.sqrt(x.var() + 1e-5) * self.w[name + ".groupnorm.weight"]
            + self.w[name + ".groupnorm.bias"]
        )
        padded = np.pad(x, ((1, 1), (0, 0)))
        kernel = self.w[name + ".project.weight"]  # [out, in, 3]
        return sum(padded[i : i + len(x)] @ kernel[:, :, i].T for i in range(3)) + self.w[name + ".project.bias"]

    def aligned(self, state, features, video, ids, alignment):
        x = self.linear(np.concatenate([state, 0 * features, features], axis=1), "proj")
        if video is not None:
            added = (
                video.T @ self.w["align_masked_video.conv.weight"][:, :, 0].T + self.w["align_masked_video.conv.bias"]
            )
            added = (added - added.mean(-1, keepdims=True)) / np.sqrt(added.var(-1, keepdims=True) + 1e-5)
            added = (
                added * self.w["align_masked_video.layer_norm.weight"] + self.w["align_masked_video.layer_norm.bias"]
            )
            x = x + np.tanh(self.w["align_masked_video.gate"]) * added
        if ids is not None:
            embedded = self.w["embed_anchors.embed.weight"][ids[alignment]]
            x = x + np.tanh(self.w["embed_anchors.gate"]) * self.linear(embedded, "embed_anchors.proj")
        return x

    def __call__(self, state, time, features, text, text_keep, video, ids, alignment, keep):
        dim, t = self.c.dim, "transformer."
        x = self.aligned(state, features, video, ids, alignment)
        h = x + self.convolve(self.convolve(x, t + "x_embedder.block.block1"), t + "x_embedder.block.block2")
        size = self.c.frequency_embedding_dim
        embedded = self.two_layers(
            self.waves(time, size // 2, size % 2), t + "t_embedder.projection", self.c.timestep_non_linearity
        )
        biases = self.linear(NON_LINEARITIES[self.c.t_block_non_linearity](embedded), t + "t_block").reshape(6, dim)
        memory = self.waves(time, dim // 2, 0)[None] + (0.0 if text is None else self.linear(text, "memory_proj"))
        memory = self.rms(memory, t + "y_embedder.norm") if self.c.context_norm else memory
        memory = self.two_layers(memory, t + "y_embedder.projection", self.c.context_non_linearity)
        for layer in range(self.c.n_layers):
            name = f"{t}layers.{layer}"
            shift, scale, gate, shift_ff, scale_ff, gate_ff = biases + self.w[name + ".scale_shift_table"]
            normed = self.rms(h, name + ".attention_norm") * (1 + scale) + shift
            h = h + gate * self.attention(normed, normed, keep, name + ".attention", self.c.use_rope)
            h = h + self.attention(h, memory, text_keep, name + ".cross_attention", False)
            normed = self.rms(h, name + ".ffn_norm") * (1 + scale_ff) + shift_ff
            h = h + gate_ff * self.two_layers(normed, name + ".feed_forward", self.c.non_linearity)
        shift, scale = embedded + self.w[t + "final_layer_scale_shift_table"]
        return self.linear(self.rms(h, t + "norm") * (1 + scale) + shift, t + "output")


def reference(built, given, state, time):
    """Run the second implementation over a batch."""
    rows = []
    for i in range(state.size(0)):
        row = {
            name: None
            if value is None
            else (value[i].numpy() if value.dtype in (torch.bool, torch.long) else value[i].double().numpy())
            for name, value in given.as_kwargs().items()
        }
        n_tokens = 1 if row["text_features"] is None else len(row["text_features"])
        rows.append(
            Reference(built)(
                state[i].double().numpy(),
                time,
                row["audio_features"],
                row["text_features"],
                np.ones(n_tokens, bool) if row["text_mask"] is None else row["text_mask"],
                row["masked_video_features"],
                row["anchor_ids"],
                row["anchor_alignment"],
                np.ones(state.size(1), bool) if row["audio_pad_mask"] is None else row["audio_pad_mask"],
            )
        )
    return np.stack(rows)


@pytest.mark.parametrize("inputs", INPUTS)
def test_the_forward_equals_the_second_implementation(inputs):
    built, (given, state) = model(), conditions(**INPUTS[inputs])
    assert (
        relative(built(state, time=times(0.37, state), **given.as_kwargs()), reference(built, given, state, 0.37))
        < 2e-6
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forward_equals_the_second_implementation_in_every_option(variant):
    built, (given, state) = model(**VARIANTS[variant]), conditions(video="some")
    assert (
        relative(built(state, time=times(0.81, state), **given.as_kwargs()), reference(built, given, state, 0.81))
        < 2e-6
    )


def test_bfloat16_stays_within_its_own_error():
    built, (given, state) = model(), conditions()
    exact = built(state, time=times(0.5, state), **given.as_kwargs())
    rounded = built.bfloat16()(state, time=times(0.5, state), **given.as_kwargs())
    assert rounded.dtype == torch.float32  # the state's
    assert 1e-4 < relative(rounded, exact) < 2e-2


@pytest.mark.meta
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forward_equals_metas(variant):
    meta = pytest.importorskip("sam_audio.model.model", reason="Meta's sam_audio package is not installed")
    from sam_audio.model.config import TransformerConfig as MetaConfig
    from sam_audio.model.transformer import DiT as MetaDiT

    config = config_dict(**VARIANTS[variant])
    theirs = nn.Module.__new__(meta.SAMAudio)
    nn.Module.__init__(theirs)
    theirs.transformer = MetaDiT(MetaConfig(**config["transformer"]))
    theirs.proj = nn.Linear(config["in_channels"], DIM)
    theirs.align_masked_video = meta.AlignModalities(config["vision_encoder"]["dim"], DIM)
    theirs.embed_anchors = meta.EmbedAnchors(3, 128, DIM)
    theirs.memory_proj = nn.Linear(config["text_encoder"]["dim"], DIM)
    theirs.timestep_emb = meta.SinusoidalEmbedding(DIM)
    built = model(**VARIANTS[variant])
    theirs.load_state_dict = lambda *args, **kwargs: nn.Module.load_state_dict(theirs, *args, **kwargs)
    state_dict = {k: v for k, v in built.state_dict().items() if not k.startswith(("audio_codec.", "text_encoder."))}
    theirs.load_state_dict(state_dict)
    for inputs in INPUTS.values():
        given, state = conditions(**inputs)
        arguments = {"noisy_audio": state, "time": times(0.37, state), **given.as_kwargs()}
        with torch.no_grad():
            assert relative(built(**arguments), theirs.eval()(**arguments)) < 2e-5


# --- Laws of the parts.


def attention_of(**options):
    layer = Attention(TransformerConfig(dim=DIM, n_heads=4, **options))
    fill(layer)
    return layer.requires_grad_(False)


def test_masked_keys_have_no_influence():
    layer, x = attention_of(), torch.randn(2, 9, DIM, generator=torch.Generator().manual_seed(0))
    keep = torch.arange(9)[None] < torch.tensor([[9], [4]])
    other = torch.where(keep[:, :, None], x, 7.0)
    source = x.clone()
    torch.testing.assert_close(
        layer(x, cross_x=source, key_padding_mask=keep), layer(x, cross_x=other, key_padding_mask=keep)
    )
    assert not torch.allclose(layer(x, cross_x=source), layer(x, cross_x=other))


def test_an_unmasked_batch_equals_one_with_a_mask_that_keeps_everything():
    layer, x = attention_of(), torch.randn(2, 9, DIM, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), layer(x, key_padding_mask=torch.ones(2, 9, dtype=torch.bool)))


def test_rotated_products_depend_on_the_distance_alone():
    rope = RotaryEmbedding(theta=10000, head_dim=8, max_seqlen=40)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(8, generator=generator), torch.randn(8, generator=generator)
    queries, keys = (rope(vector.expand(1, 1, 40, 8), bhle=True)[0, 0] for vector in (q, k))
    products = queries @ keys.T
    for distance in (0, 3, -11):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)
    assert products[0].std() > 0.1


def test_both_layouts_rotate_alike():
    rope = RotaryEmbedding(theta=10000, head_dim=8, max_seqlen=20)
    x = torch.randn(2, 3, 11, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rope(x.transpose(1, 2)).transpose(1, 2), rope(x, bhle=True))


def test_more_frames_than_positions_are_refused():
    with pytest.raises(InputError, match="21 frames are more than the model's 20 positions"):
        RotaryEmbedding(theta=10000, head_dim=8, max_seqlen=20)(torch.zeros(1, 1, 21, 8), bhle=True)


def test_the_norm_is_computed_in_float32():
    norm, x = RMSNorm(64).bfloat16(), (torch.randn(5, 64, generator=torch.Generator().manual_seed(0)) * 100).bfloat16()
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert torch.equal(norm(x), exact.bfloat16())


@pytest.mark.parametrize(
    "part", ["non_linearity", "timestep_non_linearity", "context_non_linearity", "t_block_non_linearity"]
)
def test_an_unknown_non_linearity_is_refused(part):
    with pytest.raises(CheckpointError, match="'mish' is unknown"):
        DiT(TransformerConfig(dim=8, n_heads=2, n_layers=1, context_dim=8, **{part: "mish"}))


def test_the_codec_has_the_channels_that_the_configuration_needs():
    with pytest.raises(CheckpointError, match="in_channels = 23"):
        SAMAudioConfig.from_dict({**config_dict(), "in_channels": 6 * CHANNELS - 1})
