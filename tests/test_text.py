"""The text encoder: masks, padding, truncation, folders, and clear errors, all without a network."""

import json
import pickle

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TEXT_DIM, text_encoder
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

from sam_lsac.errors import CheckpointError, InputError
from sam_lsac.model.config import TextEncoderConfig
from sam_lsac.model.text import T5TextEncoder, load_text_encoder


def load(folder, **options):
    config = TextEncoderConfig(**{"name": "text_encoder", "dim": TEXT_DIM, **options})
    return load_text_encoder(config, folder, local_files_only=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    text_encoder().save(path / "text_encoder")
    return path


def test_the_mask_is_true_on_tokens_and_false_on_padding(folder):
    features, mask = load(folder)(["dog barking", "man"])
    assert features.shape == (2, 12, TEXT_DIM)  # eleven bytes and the end token
    assert mask.dtype == torch.bool
    assert mask.sum(dim=1).tolist() == [12, 4]
    assert mask[1].tolist() == [True] * 4 + [False] * 8


def test_padding_does_not_change_a_prompt(folder):
    encoder = load(folder)
    together, _ = encoder(["man", "somebody speaking far away"])
    alone, _ = encoder(["man"])
    torch.testing.assert_close(together[:1, :4], alone, rtol=1e-5, atol=1e-6)


def test_different_prompts_differ(folder):
    features, _ = load(folder)(["man", "dog"])
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_a_loaded_encoder_equals_the_saved_one(folder):
    loaded, saved = load(folder), text_encoder()
    for one, other in zip(loaded(["man speaking"]), saved(["man speaking"]), strict=True):
        torch.testing.assert_close(one, other)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_saving_over_the_folder_of_a_loaded_encoder_keeps_it_intact(folder):
    loaded = load(folder)
    before, _ = loaded(["man"])
    loaded.save(folder / "text_encoder")
    assert torch.equal(loaded(["man"])[0], before)
    assert torch.equal(load(folder)(["man"])[0], before)
    assert [path.name for path in folder.iterdir()] == ["text_encoder"]  # nothing temporary is left


def test_a_stored_half_precision_encoder_is_loaded_in_float32(tmp_path):
    encoder = text_encoder()
    T5TextEncoder(encoder.model.half(), encoder.tokenizer, encoder.config).save(tmp_path / "text_encoder")
    assert load(tmp_path)(["man"])[0].dtype == torch.float32


def test_max_length_truncates_and_pad_mode_pads(folder):
    assert load(folder, max_length=5)(["somebody speaking"])[0].shape[1] == 5
    features, mask = load(folder, max_length=9, pad_mode="max_length")(["man"])
    assert features.shape[1] == 9
    assert mask.sum() == 4


def test_another_width_is_refused(folder):
    with pytest.raises(CheckpointError, match=f"width {TEXT_DIM}, config.json says 99"):
        load(folder, dim=99)


# --- Nothing is filled in: every weight, option and piece is the file's.


@pytest.fixture
def own(tmp_path):
    """A checkpoint folder that a test may spoil, and the weights of its encoder."""
    text_encoder().save(tmp_path / "text_encoder")
    return tmp_path, load_file(tmp_path / "text_encoder/model.safetensors")


def store(folder, weights):
    save_file(weights, folder / "text_encoder/model.safetensors", metadata={"format": "pt"})


def test_every_single_weight_that_is_missing_is_named(own):
    folder, weights = own
    for name in weights:
        store(folder, {key: value for key, value in weights.items() if key != name})
        with pytest.raises(CheckpointError, match=rf"Missing \(1\): {name}\."):
            load(folder)


def test_every_single_weight_that_is_misnamed_is_named(own):
    folder, weights = own
    for name in weights:
        store(folder, {key + ("s" if key == name else ""): value for key, value in weights.items()})
        with pytest.raises(CheckpointError, match=rf"Missing \(1\): {name}\. Unknown \(1\): {name}s\..*looks like"):
            load(folder)


def test_surplus_weights_are_named(own):
    folder, weights = own
    store(
        folder, weights | {"encoder.block.1.layer.0.SelfAttention.extra": torch.zeros(1), "head.bias": torch.zeros(1)}
    )
    with pytest.raises(
        CheckpointError, match=r"Unknown \(2\): encoder\.block\.1\.layer\.0\.SelfAttention\.extra, head"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weight: weight[:, :-1], r"shared\.weight is \[384, 15\], not \[384, 16\]"),
        (lambda weight: weight.long(), r"shared\.weight is torch\.int64"),
        (lambda weight: weight.index_fill(0, torch.tensor([5]), float("nan")), r"not finite \(1\): shared\.weight"),
    ],
    ids=["shape", "type", "NaN"],
)
def test_a_weight_of_another_shape_or_type_or_that_is_not_finite_is_named(own, spoil, message):
    folder, weights = own
    store(folder, weights | {"shared.weight": spoil(weights["shared.weight"]).contiguous()})
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_a_whole_t5_gives_its_encoder_as_transformers_reads_it(own):
    folder, _ = own
    size = T5Config(vocab_size=384, d_model=TEXT_DIM, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    torch.manual_seed(3)
    whole = T5ForConditionalGeneration(size).eval()
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    assert {"decoder", "lm_head", "encoder", "shared"} == {name.split(".")[0] for name in state}
    assert "encoder.embed_tokens.weight" in state
    store(folder, state)
    loaded = load(folder)
    prompt = loaded.tokenizer(["man speaking"], return_tensors="pt")
    with torch.no_grad():
        expected = T5EncoderModel.from_pretrained(folder / "text_encoder").eval()(**prompt).last_hidden_state
    assert torch.equal(loaded(["man speaking"])[0], expected)
    store(folder, state | {"encoder.embed_tokens.weight": state["shared.weight"] + 1})
    with pytest.raises(CheckpointError, match=r"encoder\.embed_tokens\.weight and shared\.weight are one weight"):
        load(folder)


def test_shards_and_plain_pickles_are_read_too(own):
    folder, weights = own
    place = folder / "text_encoder"
    expected = load(folder)(["man"])[0]
    (place / "model.safetensors").unlink()
    names = list(weights)
    for number, part in ((1, names[:5]), (2, names[5:])):
        save_file({name: weights[name] for name in part}, place / f"model-0000{number}-of-00002.safetensors")
    assert torch.equal(load(folder)(["man"])[0], expected)
    (place / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="Missing"):
        load(folder)
    (place / "model-00001-of-00002.safetensors").unlink()
    torch.save(weights, place / "pytorch_model.bin")
    assert torch.equal(load(folder)(["man"])[0], expected)
    (place / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights; it needs model\.safetensors or pytorch_model\.bin"):
        load(folder)


class Writes:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("kind", ["bare", "zip", "legacy", "among tensors"])
def test_nothing_in_a_pickle_is_executed(own, kind):
    folder, weights = own
    (folder / "text_encoder/model.safetensors").unlink()
    path, bomb = folder / "text_encoder/pytorch_model.bin", Writes(folder / "written")
    if kind == "bare":
        path.write_bytes(pickle.dumps(bomb))
    else:
        content = weights | {"shared.weight": bomb} if kind == "among tensors" else bomb
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin could not be read as weights.*executable"):
        load(folder)
    assert not (folder / "written").exists()
    pickle.loads(pickle.dumps(bomb)).close()  # noqa: S301  the bomb is live
    assert (folder / "written").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("num_layers", value) for value in (0, 10**6, "1", 1.0, None, True)),
        *(("d_model", value) for value in (0, -16, 10**9)),
        *(("num_heads", value) for value in (0, 10**6)),
        *(("vocab_size", value) for value in (0, 10**9)),
        *(("layer_norm_epsilon", value) for value in (0, -1e-6, 1e9)),
        *(("feed_forward_proj", value) for value in ("mish", "gated", 5)),
        *(("relative_attention_num_buckets", value) for value in (0, 1, 10**9)),
        ("relative_attention_max_distance", 8),
        ("model_type", "bert"),
        ("model_type", None),
    ],
)
def test_options_of_another_type_or_size_are_refused(own, key, value):
    path = own[0] / "text_encoder/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=key):
        load(own[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (name, content)
        for name in ("config.json", "tokenizer_config.json", "added_tokens.json")
        for content in (b"", b"[]", b"\xff", b'{"model_type": NaN}', b"[" * 100_000, b"5")
        if name != "added_tokens.json" or content not in (b"[]", b"5")  # this tokenizer's pieces are in the other file
    ],
)
def test_a_damaged_file_of_options_or_pieces_is_refused(own, name, content):
    (own[0] / "text_encoder" / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="text_encoder"):
        load(own[0])


def test_a_tokenizer_that_is_missing_is_not_replaced_by_an_empty_one(own):
    for name in ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"):
        (own[0] / "text_encoder" / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"does not know the letters of 'man speaking'.*Restore them"):
        load(own[0])


def test_a_tokenizer_with_more_pieces_than_the_encoder_is_refused(own):
    path, size = own[0] / "text_encoder/config.json", 383
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": size}))
    store(own[0], own[1] | {"shared.weight": own[1]["shared.weight"][:size].contiguous()})
    with pytest.raises(CheckpointError, match="has 384 pieces, the encoder an embedding for 383"):
        load(own[0])


def test_a_tokenizer_that_reads_outside_of_its_folder_is_refused(own, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "vocab.txt"
    secret.write_text("a")
    path = own[0] / "text_encoder/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_file": str(secret)}))
    with pytest.raises(CheckpointError, match=r"vocab\.txt, outside of its folder; copy it there"):
        load(own[0])


# --- Names stay inside the checkpoint folder, or are the hub's.


@pytest.fixture
def no_hub(monkeypatch):
    calls = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: calls.append(args) or 1 / 0)
    return calls


@pytest.mark.parametrize(
    "name",
    [
        *("../elsewhere", "text_encoder/../../elsewhere", "ABSOLUTE", "link", "~"),
        *(".", "", "./", "..", "a/..", "a/b/c", "a b", "-a", "http://a/b"),
        *("a\0b", "x" * 5000 + "/", "\ud800"),
        *("someone/t5-base", "t5-basse", "google-t5/t5-base/"),  # of the hub, but nobody's that we know
    ],
)
def test_a_name_that_leads_out_of_the_checkpoint_is_refused_without_a_look(own, tmp_path_factory, no_hub, name):
    folder = own[0]
    elsewhere = folder.parent / "elsewhere"
    text_encoder().save(elsewhere)
    (folder / "link").symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match=r"text_encoder\.name = .*(no folder inside|cannot be read)"):
        load(folder, name=str(elsewhere) if name == "ABSOLUTE" else name)
    assert not no_hub


@pytest.mark.parametrize("name", ["text_encoder", "./text_encoder", "inner/encoder", "linked"])
def test_a_name_inside_the_checkpoint_is_read(own, no_hub, name):
    text_encoder().save(own[0] / "inner/encoder")
    (own[0] / "linked").symlink_to("text_encoder")
    assert load(own[0], name=name)(["man"])[0].shape[2] == TEXT_DIM
    assert not no_hub


def test_a_checkpoint_behind_a_link_is_read(own, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "checkpoint"
    link.symlink_to(own[0])
    assert load(link)(["man"])[0].shape[2] == TEXT_DIM


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_id_is_fetched_and_pickles_only_where_there_is_nothing_else(own, monkeypatch, file):
    place, calls = (own[0] / "text_encoder").rename(own[0] / "cache"), []
    if file == "pytorch_model.bin":
        (place / "model.safetensors").unlink()
        torch.save(own[1], place / file)

    def answer(name, **options):
        calls.append((name, *options["allow_patterns"]))
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    assert load(own[0], name="google-t5/t5-base")(["man"])[0].shape[2] == TEXT_DIM
    assert {call[0] for call in calls} == {"google-t5/t5-base"}
    assert [any("bin" in pattern for pattern in call) for call in calls] == [False, True][
        : 1 + (file != "model.safetensors")
    ]


def test_an_encoder_that_is_not_there_is_a_clear_error(folder, capsys):
    with pytest.raises(CheckpointError, match=r"'t5-large' could not be loaded.*checkpoint folder"):
        load(folder, name="t5-large")
    assert capsys.readouterr() == ("", "")


def test_loading_and_saving_print_nothing(folder, tmp_path, capsys):
    load(folder).save(tmp_path / "copy")
    assert capsys.readouterr() == ("", "")


def test_prompts_are_counted_as_they_are_encoded(folder):
    prompts = ["dog barking", "man", "x" * 600]  # the last is cut
    for options in ({}, {"max_length": 8}, {"pad_mode": "max_length"}):
        encoder = load(folder, **options)
        assert encoder.n_tokens(prompts).tolist() == encoder(prompts)[1].sum(dim=1).tolist()


def test_an_encoder_that_only_counts_needs_no_network_and_says_so(folder, tmp_path):
    config = TextEncoderConfig(name="text_encoder", dim=TEXT_DIM)
    counting = load_text_encoder(config, folder, local_files_only=True, encodes=False)
    assert list(counting.parameters()) == []
    assert counting.n_tokens(["man"]).tolist() == [4]
    for use in (lambda: counting(["man"]), lambda: counting.save(tmp_path / "text_encoder")):
        with pytest.raises(InputError, match="without encodes_prompts=False"):
            use()
