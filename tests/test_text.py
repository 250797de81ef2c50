"""The text encoder: masks, padding, truncation, folders, and clear errors, all without a network."""

import pytest
import torch
from tiny_models import TEXT_DIM, text_encoder

from sam_lsac.errors import CheckpointError
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


def test_an_encoder_that_is_not_there_is_a_clear_error(folder, capsys):
    with pytest.raises(CheckpointError, match=r"'no-such-encoder' could not be loaded.*checkpoint folder"):
        load(folder, name="no-such-encoder")
    assert capsys.readouterr() == ("", "")


def test_loading_and_saving_print_nothing(folder, tmp_path, capsys):
    load(folder).save(tmp_path / "copy")
    assert capsys.readouterr() == ("", "")
