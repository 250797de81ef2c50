"""Checkpoints: round trips, Meta's layout, digests, configurations, names and the hub."""

from __future__ import annotations

import json
import reprlib
from typing import ClassVar

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file
from tiny_models import conditions, config_dict, is_weight_normed, model, text_encoder, write_meta_checkpoint

from sam_lsac.errors import CheckpointError
from sam_lsac.model import SAMAudio, load_model, save_checkpoint
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


def test_a_text_encoder_from_elsewhere_is_saved_with_the_checkpoint(saved, tmp_path):
    folder, built = saved
    (folder / "text_encoder").rename(tmp_path / "elsewhere")
    config = json.loads((folder / "config.json").read_text())
    config["text_encoder"]["name"] = str(tmp_path / "elsewhere")
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(folder)
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


def test_the_digest_follows_everything_that_is_computed_with_and_nothing_else(saved, monkeypatch):
    folder, _ = saved
    digest = load_model(folder).checkpoint_digest
    (folder / "notes.txt").write_text("nothing")
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
    monkeypatch.setattr(T5TextEncoder, "commit", "0123abc")  # as of an encoder from the hub
    seen.add(load_model(folder).checkpoint_digest)
    assert len(seen) == 5


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
        ("audio_codec", {"kind": "flac"}, "'flac' is unknown"),
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
