"""What a model is told, frame by frame: spans, padding, the mixture twice, and which prompt is whose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.model import SAMAudio
from sam_lsac.model.sam_audio import ANCHOR_IDS
from tests import tiny_runs

N_FRAMES = 20
FRAME_S = tiny_runs.HOP / tiny_runs.RATE  # 16 ms
PLUS, MINUS, NULL, PAD = (ANCHOR_IDS[name] for name in ("+", "-", "<null>", "<pad>"))


@pytest.fixture(scope="module")
def model() -> SAMAudio:
    return tiny_runs.model()


@pytest.fixture(scope="module")
def waves() -> Tensor:
    return 0.1 * torch.randn(2, N_FRAMES * tiny_runs.HOP, generator=torch.Generator().manual_seed(0))


def marks(ids: Tensor, alignment: Tensor) -> list[list[int]]:
    """Which id holds at each frame."""
    return ids.gather(1, alignment).tolist()


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (4.0, 8.0, range(4, 8)),  # on the borders of frames
        (5.1, 8.5, range(6, 9)),  # a frame counts from where its beginning lies in the span
        (5.9, 9.1, range(6, 10)),
        (0.0, 0.5, range(1)),
        (19.2, 19.9, range(0)),
        (3.2, 3.8, range(0)),
    ],
)
def test_a_span_marks_the_frames_that_begin_in_it(model: SAMAudio, start: float, end: float, frames: range) -> None:
    """As in Meta's processor, which rounds both ends up to whole frames."""
    keep = torch.ones(1, N_FRAMES, dtype=torch.bool)
    found = marks(*model.anchors([[("+", start * FRAME_S, end * FRAME_S)]], keep))
    assert found == [[PLUS if frame in frames else NULL for frame in range(N_FRAMES)]]


def test_each_example_has_its_own_spans_and_the_last_one_holds(model: SAMAudio) -> None:
    keep = torch.ones(3, N_FRAMES, dtype=torch.bool)
    spans = [[("+", 0.0, 8 * FRAME_S), ("-", 4 * FRAME_S, 6 * FRAME_S)], None, [("-", 17.5 * FRAME_S, 20 * FRAME_S)]]
    first, second, third = marks(*model.anchors(spans, keep))
    assert first == [PLUS] * 4 + [MINUS] * 2 + [PLUS] * 2 + [NULL] * 12
    assert second == [NULL] * N_FRAMES
    assert third == [NULL] * 18 + [MINUS] * 2


def test_spans_that_are_none_and_lists_that_do_not_fit_are_refused(model: SAMAudio) -> None:
    keep = torch.ones(2, N_FRAMES, dtype=torch.bool)
    for span in (("?", 0.0, 1.0), ("+", 1.0, 1.0), ("+", -0.1, 1.0)):
        with pytest.raises(InputError, match="start < end"):
            model.anchors([[span], None], keep)
    with pytest.raises(InputError, match="1 span lists for 2 mixtures"):
        model.anchors([None], keep)


def test_frames_beyond_an_examples_samples_are_padding(model: SAMAudio, waves: Tensor) -> None:
    sizes = torch.tensor([N_FRAMES * tiny_runs.HOP, 7 * tiny_runs.HOP + 1])
    found = model.conditions(waves, ["dog", "cat"], [[("+", 0.0, 1.0)], [("+", 0.0, 2 * FRAME_S)]], sizes)
    assert found.audio_pad_mask is not None
    assert found.audio_pad_mask.sum(dim=1).tolist() == [N_FRAMES, 8]
    assert found.audio_pad_mask[1].tolist() == [True] * 8 + [False] * 12
    assert found.anchor_ids is not None
    assert found.anchor_alignment is not None
    assert marks(found.anchor_ids, found.anchor_alignment)[1] == [PLUS] * 2 + [NULL] * 6 + [PAD] * 12
    whole = model.conditions(waves, ["dog", "cat"], None, torch.tensor([N_FRAMES * tiny_runs.HOP, 8 * tiny_runs.HOP]))
    assert whole.audio_pad_mask is not None
    assert whole.audio_pad_mask.sum(dim=1).tolist() == [N_FRAMES, 8]


def test_the_mixture_stands_in_both_places_and_each_example_has_its_prompt(model: SAMAudio, waves: Tensor) -> None:
    found = model.conditions(waves, ["dog", "a longer prompt"])
    latents = model.audio_codec(waves.unsqueeze(1)).transpose(1, 2)
    assert torch.equal(found.audio_features, torch.cat([latents, latents], dim=2))
    assert found.text_features is not None
    assert found.text_mask is not None
    for index, prompt in enumerate(("dog", "a longer prompt")):
        alone, kept = model.text_encoder([prompt])
        mine = found.text_features[index][found.text_mask[index]]
        torch.testing.assert_close(mine, alone[0][kept[0]], rtol=1e-4, atol=1e-5)
    assert found.masked_video_features is not None
    assert not found.masked_video_features.any()
