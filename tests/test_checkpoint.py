"""Checkpoints: round trips, Meta's layout, digests, configurations, names and the hub."""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import conditions, config_dict, is_weight_normed, model, text_encoder, write_meta_checkpoint

from sam_lsac.errors import CheckpointError, ModelError
from sam_lsac.model import SAMAudio, checkpoint, load_model, save_checkpoint
from sam_lsac.model.checkpoint import KNOWN_MODELS
from sam_lsac.model.config import MDCTConfig, SAMAudioConfig
from sam_lsac.model.text import T5TextEncoder


def velocity(built, **options):
    given, state = conditions(**options)
    return built(state, time=torch.full((3,), 0.37), **given.as_kwargs())


def weights_of(built):
    return {name: value for name, value in built.state_dict().items() if not name.startswith("text_encoder.")}


@pytest.fixture
def saved(tmp_path):
    built = model()
    built.layer_classes = {"stable": [1], "moderate": [], "fast": [0]}
    save_checkpoint(built, tmp_path / "checkpoint")
    return tmp_path / "checkpoint", built


@pytest.fixture
def metas(tmp_path):
    built = model()
    return tmp_path, built, write_meta_checkpoint(tmp_path, built)


# --- Our own layout.


def test_a_saved_model_is_loaded_bit_by_bit(saved):
    folder, built = saved
    loaded = load_model(folder)
    for name, value in weights_of(built).items():
        assert torch.equal(loaded.state_dict()[name], value), name
    torch.testing.assert_close(velocity(loaded), velocity(built))
    waves = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    for one, other in zip(
        loaded.conditions(waves, ["man", "dog"]).as_kwargs().values(),
        built.conditions(waves, ["man", "dog"]).as_kwargs().values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_loaded_model_says_where_it_comes_from(saved):
    folder, built = saved
    loaded = load_model(str(folder))
    assert loaded.name == "checkpoint"
    assert loaded.layer_classes == built.layer_classes
    assert loaded.config == built.config
    assert sorted(loaded.load_report.loaded) == sorted(weights_of(built))
    assert loaded.load_report.skipped == ()
    assert loaded.load_report.kept_bytes == sum(value.nbytes for value in weights_of(built).values())


def test_a_loaded_model_is_for_inference(saved):
    loaded = load_model(saved[0])
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(value.is_meta for value in [*loaded.parameters(), *loaded.buffers()])


def test_the_transform_codec_survives_the_round_trip(tmp_path):
    codec = MDCTConfig()
    config = SAMAudioConfig.from_dict(
        config_dict(out_channels=2 * codec.n_channels)
        | {"audio_codec": {"kind": "mdct"}, "in_channels": 6 * codec.n_channels}
    )
    built = SAMAudio(config, text_encoder()).eval()
    save_checkpoint(built, tmp_path)
    loaded, wave = load_model(tmp_path), torch.randn(1, 1, 999, generator=torch.Generator().manual_seed(0))
    assert loaded.config == config
    assert torch.equal(loaded.audio_codec(wave), built.audio_codec(wave))


def test_half_precision_storage_is_loaded_in_float32(saved):
    folder, built = saved
    size = (folder / "model.safetensors").stat().st_size
    save_checkpoint(built, folder, dtype=torch.float16)
    assert (folder / "model.safetensors").stat().st_size < 0.6 * size
    loaded = load_model(folder)
    assert {value.dtype for value in weights_of(loaded).values()} == {torch.float32}
    assert torch.equal(loaded.proj.weight, built.proj.weight.half().float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_type_holds_for_the_transformer_and_not_for_codec_and_text(saved, dtype):
    folder, built = saved
    loaded = load_model(folder, dtype=dtype)
    assert {value.dtype for name, value in weights_of(loaded).items() if not name.startswith("audio_codec.")} == {dtype}
    for part in (loaded.audio_codec, loaded.text_encoder):
        assert {value.dtype for value in part.parameters()} == {torch.float32}
    assert torch.equal(loaded.proj.weight, built.proj.weight.to(dtype))
    exact = velocity(built)
    assert (velocity(loaded) - exact).norm() / exact.norm() < 2e-2


def test_a_text_encoder_from_the_hub_is_saved_with_the_checkpoint(saved, tmp_path, hub):
    folder, built = saved
    hub.answer = (folder / "text_encoder").rename(tmp_path / "elsewhere")
    config = json.loads((folder / "config.json").read_text())
    config["text_encoder"]["name"] = "google-t5/t5-small"
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(folder)
    assert [name for name, _ in hub.calls] == ["google-t5/t5-small"]
    save_checkpoint(loaded, tmp_path / "copy")
    again = load_model(tmp_path / "copy")
    assert again.config.text_encoder.name == "text_encoder"
    torch.testing.assert_close(again.text_encoder(["man"]), built.text_encoder(["man"]))


def test_saving_over_the_files_of_a_loaded_model_keeps_it_intact(saved):
    folder, _ = saved
    loaded = load_model(folder)
    before = velocity(loaded)
    save_checkpoint(model(seed=1), folder)
    assert torch.equal(velocity(loaded), before)
    assert not torch.equal(velocity(load_model(folder)), before)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "layer_classes.json",
        "model.safetensors",
        "text_encoder",
    ]


def test_all_files_of_a_checkpoint_can_be_read_by_the_same_people(saved, tmp_path):
    (tmp_path / "plain").touch()
    files = [path for path in saved[0].rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(tmp_path / "plain").stat().st_mode}


def test_the_digest_follows_everything_that_is_computed_with_and_nothing_else(saved):
    folder, _ = saved
    digest = load_model(folder).checkpoint_digest
    (folder / "notes.txt").write_text("nothing")
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"not read beside safetensors")
    (folder / "layer_classes.json").unlink()
    assert load_model(folder).checkpoint_digest == digest
    seen = {digest}
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"embed_anchors.gate": weights["embed_anchors.gate"] + 1}, folder / "model.safetensors")
    seen.add(load_model(folder).checkpoint_digest)
    config = json.loads((folder / "config.json").read_text())
    config["transformer"]["norm_eps"] = 1e-3
    (folder / "config.json").write_text(json.dumps(config))
    seen.add(load_model(folder).checkpoint_digest)
    text_encoder(seed=1).save(folder / "text_encoder")
    seen.add(load_model(folder).checkpoint_digest)
    tokenizer = json.loads((folder / "text_encoder/tokenizer_config.json").read_text())
    (folder / "text_encoder/tokenizer_config.json").write_text(json.dumps(tokenizer | {"eos_token": "<pad>"}))
    seen.add(load_model(folder).checkpoint_digest)
    assert len(seen) == 5


def test_two_loads_of_one_folder_are_bit_equal_and_draw_nothing(saved):
    before = torch.get_rng_state()
    one, other = load_model(saved[0]), load_model(saved[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert one.checkpoint_digest == other.checkpoint_digest
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_one_weight_of_the_text_encoder_makes_another_checkpoint(saved):
    folder, _ = saved
    digest = load_model(folder).checkpoint_digest
    path = folder / "text_encoder/model.safetensors"
    for name, weight in load_file(path).items():
        changed = weight.clone()
        changed.view(-1)[-1] += 1e-3
        save_file(load_file(path) | {name: changed}, path, metadata={"format": "pt"})
        assert digest != (digest := load_model(folder).checkpoint_digest), name


def test_a_hub_encoder_counts_by_its_files(saved, tmp_path, hub):
    folder, _ = saved
    hub.answer = (folder / "text_encoder").rename(tmp_path / "elsewhere")
    config = json.loads((folder / "config.json").read_text())
    config["text_encoder"]["name"] = "t5-small"
    (folder / "config.json").write_text(json.dumps(config))
    digest = load_model(folder).checkpoint_digest
    assert load_model(folder).checkpoint_digest == digest
    text_encoder(seed=1).save(tmp_path / "elsewhere")
    assert load_model(folder).checkpoint_digest != digest


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors"]
)
@pytest.mark.parametrize("change", ["written", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_loaded_is_refused(saved, monkeypatch, name, change):
    path = saved[0] / name
    fill_buffers = checkpoint.fill_buffers

    def change_it(*args):  # after the weights are read, before the digest is taken
        fill_buffers(*args)
        path.replace(path.with_suffix(".old"))
        if change != "removed":
            path.write_bytes(path.with_suffix(".old").read_bytes())
        if change == "written":
            path.write_bytes(path.read_bytes() + b" ")

    monkeypatch.setattr(checkpoint, "fill_buffers", change_it)
    if name.startswith("text_encoder"):  # those are read after it
        monkeypatch.setattr(checkpoint, "fill_buffers", fill_buffers)
        eval_ = T5TextEncoder.eval
        monkeypatch.setattr(T5TextEncoder, "eval", lambda self: change_it(torch.nn.Module(), None) or eval_(self))
    with pytest.raises(CheckpointError, match=f"{path.name} changed while it was loaded; load it again"):
        load_model(saved[0])


def test_a_model_that_encodes_no_prompts_has_the_digest_of_the_whole(saved):
    whole, counting = load_model(saved[0]), load_model(saved[0], encodes_prompts=False)
    assert counting.checkpoint_digest == whole.checkpoint_digest
    assert {name for name, _ in whole.named_parameters() if not name.startswith("text_encoder.")} == {
        name for name, _ in counting.named_parameters()
    }
    assert counting.text_encoder.n_tokens(["man"]).tolist() == [4]
    path = saved[0] / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert load_model(saved[0], encodes_prompts=False).checkpoint_digest != whole.checkpoint_digest
    with pytest.raises(CheckpointError, match="could not be read as weights"):
        load_model(saved[0])


@pytest.mark.parametrize(
    "content",
    [
        [1],
        "stable",
        {"stable": [0]},
        {"stable": [0], "moderate": [0], "fast": []},
        {"stable": [2], "moderate": [], "fast": []},
        {"stable": [0], "moderate": [], "fast": []},
        {"stable": [0], "moderate": [True], "fast": []},
        {"stable": [0], "moderate": [], "fast": [-1]},
        {"stable": [0], "moderate": [], "fast": ["1"]},
        {"stable": [0], "moderate": [], "fast": "1"},
        {"stable": [0], "moderate": [], "fast": [1.0]},
        {"stable": [0], "moderate": [], "fast": [10**30]},
        {"stable": [0], "moderate": [], "fast": list(range(1, 10_000))},
        {"stable": [], "moderate": [], "fast": []},
        {"stable": [0], "moderate": [], "fast": [1], "rate": [0.1, 0.2]},
        *({"stable": [], "moderate": [], "fast": junk} for junk in ([None], [[0]], [{}], None, 0, {"0": 0})),
    ],
    ids=reprlib.repr,
)
def test_malformed_layer_classes_are_refused(saved, content):
    (saved[0] / "layer_classes.json").write_text(json.dumps(content))
    with pytest.raises(
        CheckpointError, match=r"layer_classes\.json.*python -m sam_lsac calibrate|did you mean"
    ) as found:
        load_model(saved[0])
    assert len(str(found.value)) < 500 + 4 * len(str(saved[0]))


def test_layer_classes_with_their_measurements_are_read(saved):
    content = {"stable": [0], "moderate": [], "fast": [1], "rates": [0.1, 1], "entropy": [[2.5, 3]], "n_mixtures": 8}
    (saved[0] / "layer_classes.json").write_text(json.dumps(content))
    assert load_model(saved[0]).layer_classes == {"stable": [0], "moderate": [], "fast": [1]}


def test_layer_classes_that_are_no_text_are_refused(saved):
    (saved[0] / "layer_classes.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"layer_classes\.json"):
        load_model(saved[0])


# --- Meta's layout.


def test_metas_checkpoint_gives_the_same_model_and_lists_what_it_skipped(metas):
    folder, built, stored = metas
    loaded = load_model(folder)
    torch.testing.assert_close(velocity(loaded, video="some"), velocity(built, video="some"))
    wave = 0.1 * torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.audio_codec(wave), built.audio_codec(wave), rtol=1e-4, atol=1e-4)
    report = loaded.load_report
    assert report.skipped == ("vision_encoder.model.weight", "span_predictor.bias")
    assert report.skipped_parts == {"vision_encoder": 1, "span_predictor": 1}
    assert {*report.loaded, *report.skipped} == set(stored)
    assert len(report.folded) == sum(is_weight_normed(name) for name in weights_of(built)) == 62


@pytest.mark.parametrize("layout", ["one", "shards", "both"])
def test_safetensors_are_read_too_and_preferred(metas, layout):
    folder, _, stored = metas
    if layout == "both":
        stored |= {"proj.bias": stored["proj.bias"] + 1}
    names = list(stored)
    if layout == "shards":
        save_file({name: stored[name] for name in names[:99]}, folder / "model-00001-of-00002.safetensors")
        save_file({name: stored[name] for name in names[99:]}, folder / "model-00002-of-00002.safetensors")
    else:
        save_file(stored, folder / "model.safetensors")
    if layout != "both":
        (folder / "checkpoint.pt").unlink()
    loaded = load_model(folder)
    assert torch.equal(loaded.proj.bias, stored["proj.bias"])
    assert len(loaded.load_report.loaded) == len(stored) - 2


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("transfromer", {}, "unknown key 'transfromer'.*'transformer'"),
        ("transformer", {"n_head": 2}, "transformer: unknown key 'n_head'.*'n_heads'"),
        ("transformer", {"n_layers": 3}, "Missing"),
        ("transformer", {"dim": 30}, "multiple of n_heads"),
        ("audio_codec", {"kind": "flac"}, "unknown kind 'flac': choose from dacvae, mdct"),
    ],
)
def test_options_that_this_version_cannot_reproduce_are_refused(metas, key, value, message):
    config = config_dict()
    config[key] = {**config.get(key, {}), **value}
    (metas[0] / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_model(metas[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "has no config.json"),
        ("checkpoint.pt", "has no weights; it needs model.safetensors or checkpoint.pt"),
    ],
)
def test_a_missing_file_is_named(metas, name, message):
    (metas[0] / name).unlink()
    with pytest.raises(CheckpointError, match=message):
        load_model(metas[0])


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not valid JSON"), ("[]", "one JSON object"), ("\xff", "not valid JSON")]
)
def test_a_damaged_configuration_is_a_clear_error(metas, content, message):
    (metas[0] / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=message):
        load_model(metas[0])


# --- Hostile and damaged configurations. The file is read as the one of a stranger.


EMBEDDED = json.loads((Path(__file__).parents[1] / "fixtures/embedded/checkpoint/config.json").read_text())


def places(value, path=()):
    """The path of every value in plain data, but of the first two items alone of a list."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from places(inner, (*path, index))


def replaced(value, path, junk):
    """A copy of plain data with another value at a path."""
    if not path:
        return junk
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], junk) if path[1:] else junk
    return copy


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        *(("transformer", "n_heads", value) for value in (0, -1, 10**6, 2.0, "8", True, None, [8])),
        *(("transformer", "n_layers", value) for value in (0, 10**6, 10**30)),
        *(("transformer", "max_positions", value) for value in (0, 10**9)),
        *(("transformer", "norm_eps", value) for value in (0, -1e-5, 1e-300, 1e300)),
        *(("transformer", "dim", value) for value in (0, -32, 10**9, 32.5)),
        *(("transformer", "ffn_dim_multiplier", value) for value in (0, -1, 1e9)),
        *(("transformer", name, 10**9) for name in ("ffn_exp", "multiple_of", "out_channels", "in_channels")),
        *(("transformer", name, "mish") for name in ("non_linearity", "t_block_non_linearity")),
        *(("transformer", "qk_norm", value) for value in (0, 1, "true")),
        *(("text_encoder", "max_length", value) for value in (0, -1, 10**9, 3.5)),
        *(("text_encoder", "pad_mode", value) for value in ("never", True)),
        *(("text_encoder", "name", value) for value in (5, None, ["a"])),
        *(("audio_codec", "sample_rate", value) for value in (0, -8000, 48, 10**9)),
        *(("audio_codec", name, 1e39) for name in ("mean", "std")),
        *(("audio_codec", "std", value) for value in (0, -1.0)),
        *(
            ("audio_codec", "encoder_rates", value)
            for value in ([], [1, 1920], [2] * 99, [0, 8, 10, 12], 1920, [-2, 960])
        ),
        *(("audio_codec", "codebook_dim", value) for value in (-1, 10**9)),
        *(("audio_codec", "decoder_dim", value) for value in (0, 95)),
        *((None, name, value) for name in ("in_channels", "video_dim", "anchor_embedding_dim") for value in (0, 10**9)),
        *((None, "num_anchors", value) for value in (2, -1)),
        *(
            (None, name, value)
            for name in ("transformer", "text_encoder", "audio_codec")
            for value in (5, [], "", False)
        ),
        (None, "vision_encoder", [1]),
    ],
)
def test_a_value_of_another_type_or_beyond_its_bounds_is_an_error_with_its_key_and_a_remedy(part, key, value):
    config = config_dict()
    (config if part is None else config[part])[key] = value
    with pytest.raises(CheckpointError) as caught:
        SAMAudioConfig.from_dict(config)
    assert key in str(caught.value)
    assert "restore config.json" in str(caught.value) or "choose from" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("scale", [value] + [1.0] * 31) for value in (0, -1, 1e-30, 1e39, True, "1")),
        *(("mean", [value] + [0.0] * 31) for value in (1e39, -1e39, None)),
        *(("floor", value) for value in (0, -1e-6, 1e-60, 2)),
        *(("shape_power", value) for value in (-0.1, 1.1)),
        *(("hop_length", value) for value in (0, 10**6)),
        *(("gain_widths", value) for value in ([], [0] * 24, [-1, 65], [64, 65], [1.5])),
    ],
)
def test_statistics_and_sizes_of_the_transform_codec_have_bounds(key, value):
    config = {
        **config_dict(out_channels=192),
        "audio_codec": {"kind": "mdct", "gain_widths": [2] * 16, "hop_length": 64},
    }
    config["transformer"]["out_channels"], config["in_channels"] = 96, 288
    SAMAudioConfig.from_dict(config)  # as it stands it is fine
    config["audio_codec"][key] = value
    with pytest.raises(CheckpointError, match=rf"{key}.*restore config\.json"):
        SAMAudioConfig.from_dict(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_channels": 6}, "out_channels = 6, but 4 codec channels need 8"),
        ({"context_dim": 64}, "context_dim = 64 must be transformer.dim = 32"),
        ({"context_dim": 16}, "context_dim = 16 must be transformer.dim = 32"),
        ({"dim": 36, "n_heads": 4, "context_dim": 36}, "dim / n_heads = 9"),
        (
            {"max_positions": 10**6, "dim": 2048, "n_heads": 8, "context_dim": 2048},
            "max_positions = 1000000 is too many",
        ),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        SAMAudioConfig.from_dict(config_dict(**change))


@pytest.mark.parametrize("value", [10**5000, nested(5000)], ids=["digits", "levels"])
@pytest.mark.parametrize(
    "path", [("transformer", "dim"), ("audio_codec", "kind"), ("vision_encoder",), ("in_channels",)]
)
def test_a_value_that_python_itself_cannot_show_is_refused_too(path, value):
    with pytest.raises(CheckpointError, match=r"^config\.json: .*restore config\.json"):
        SAMAudioConfig.from_dict(replaced(config_dict(), path, value))


def test_the_released_sizes_lie_within_the_bounds():
    for dim, n_heads, n_layers in ((1536, 12, 12), (2048, 16, 16), (2816, 22, 22)):
        sizes = {"dim": dim, "n_heads": n_heads, "n_layers": n_layers, "context_dim": dim}
        config = SAMAudioConfig.from_dict({"transformer": sizes, "vision_encoder": {"dim": 1024}})
        assert (config.transformer.dim, config.audio_codec.hop_length, config.video_dim) == (dim, 1920, 1024)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"transformer": ' + b"[" * 500 + b"]" * 500 + b"}", "transformer|recursion"),
        (b'{"in_channels": NaN}', "NaN is no number of JSON"),
        (b'{"in_channels": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"in_channels": \x00}', "not valid JSON"),
        (b'{"in_channels": 24\x00', "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"in_channels": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (b'{"text_encoder": {"name": "\\ud800"}}', "cannot be read"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_files_name(metas, content, message):
    (metas[0] / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"(?s)config\.json.*({message})"):
        load_model(metas[0])


def test_an_enormous_file_is_refused_unread(metas):
    with (metas[0] / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match="larger than"):
        load_model(metas[0])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([10**9, 10**4000, 1e308, -0.0, "\x00", "\ud800", "../..", "/", "mdct", nested(90), nested(900)])
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("config", [EMBEDDED, config_dict()], ids=["embedded", "meta"])
def test_any_junk_in_a_configuration_is_read_or_refused_within_two_seconds(config):
    every = [path for path in places(config) if path]

    @settings(max_examples=600, deadline=2000, derandomize=True, database=None)
    @given(st.sampled_from(every), JUNK)
    def check(path, junk):
        try:
            found = SAMAudioConfig.from_dict(replaced(config, path, junk))
        except CheckpointError:
            return
        assert isinstance(found, SAMAudioConfig)
        assert found.transformer.n_layers <= 512

    check()


# --- Names and the hub.


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("embeded", "'embedded'"),
        ("sam-audio-smal", "'facebook/sam-audio-small'"),
        ("sam-audio-large-tv", "'facebook/sam-audio-large-tv'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(CheckpointError, match=rf"no model or folder '{name}'\. Did you mean {near}\?"):
        load_model(name)


def test_a_missing_folder_is_not_looked_for_on_the_hub(tmp_path, hub):
    for name in (tmp_path / "nothing", "./nothing", "../a/b"):
        with pytest.raises(CheckpointError, match="There is no model or folder"):
            load_model(name)
    assert not hub.calls


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "/" + "x" * 5000, "~nobody-of-this-name/model", "a/..", ""])
def test_a_name_that_no_folder_can_have_is_refused(name, hub):
    hub.answer = ValueError("not a repository id")
    with pytest.raises(CheckpointError):
        load_model(name)


def test_a_file_is_not_a_checkpoint_folder(saved):
    with pytest.raises(CheckpointError, match="is a file; give the checkpoint folder"):
        load_model(saved[0] / "model.safetensors")


def test_a_revision_of_a_folder_is_refused(saved):
    with pytest.raises(CheckpointError, match="revision = 'main' belongs to hub repositories"):
        load_model(saved[0], revision="main")


class Hub:
    """Stands for ``huggingface_hub.snapshot_download``."""

    def __init__(self):
        self.calls = []
        self.answer = None

    def __call__(self, name, **options):
        self.calls.append((name, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


@pytest.fixture
def hub(monkeypatch):
    stand_in = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in)
    return stand_in


@pytest.mark.parametrize("name", [name for name in KNOWN_MODELS if name != "embedded"] + ["someone/their-model"])
def test_a_hub_repository_is_fetched_in_the_asked_revision_and_only_in_needed_files(metas, hub, name):
    hub.answer = metas[0]
    loaded = load_model(name, revision="0123abc")
    ((asked, options),) = hub.calls
    assert (asked, options["revision"], loaded.name) == (name, "0123abc", name)
    assert {"config.json", "checkpoint.pt"} <= set(options["allow_patterns"])
    assert not any(pattern in ("*", "**", "*.bin", "*.py") for pattern in options["allow_patterns"])


class _Response:
    headers: ClassVar[dict[str, str]] = {}
    request = None


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        (
            GatedRepoError("403", response=_Response()),
            ["gated", "ask for it", "hf auth login", "huggingface.co/facebook/sam-audio-smll"],
        ),
        (
            RepositoryNotFoundError("404", response=_Response()),
            ["no hub repository", "'facebook/sam-audio-small'", "hf auth login"],
        ),
        (RevisionNotFoundError("404", response=_Response()), ["no revision 'v9'"]),
        (
            ConnectionError("offline mode is enabled\nmore"),
            ["could not be fetched", "offline mode", "hf auth login", "'facebook/sam-audio-small'"],
        ),
        (RuntimeError(""), ["could not be fetched", "RuntimeError"]),
    ],
)
def test_a_failed_download_says_what_to_do(hub, error, messages):
    hub.answer = error
    with pytest.raises(CheckpointError) as caught:
        load_model("facebook/sam-audio-smll", revision="v9")
    for message in messages:
        assert message in str(caught.value)


def test_offline_mode_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # what the variable of that name sets
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"'facebook/sam-audio-small' is not a folder.*hf auth login"):
        load_model("facebook/sam-audio-small")


# --- Devices and types.


@pytest.mark.parametrize(
    "device", ["x", "", "meta", "xla", "cpu:1", "cuda:99", "CPU", "cuda:-1", "vulkan", "cuda:x", torch.device("meta")]
)
def test_a_device_that_is_not_here_is_an_error_before_anything_is_read(device, tmp_path):
    with pytest.raises(ModelError, match=r'There is no device .* here; give one of: "cpu"'):
        load_model(tmp_path / "nothing", device=device)


@pytest.mark.parametrize("device", [None, 3.5, ["cpu"], 99])
def test_what_is_no_device_at_all_is_an_error_too(device):
    with pytest.raises(ModelError, match="There is no device"):
        load_model("embedded", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda")])
def test_cuda_is_refused_where_there_is_none(device):
    with pytest.raises(ModelError, match="install the PyTorch that fits"):
        load_model("embedded", device=device)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_processor_is_always_here(saved, device):
    assert load_model(saved[0], device=device).proj.weight.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn, "float32"])
def test_a_type_that_nothing_computes_in_is_refused(saved, dtype):
    with pytest.raises(ModelError, match=r"none that the model runs in; give torch\.float32"):
        load_model(saved[0], dtype=dtype)
