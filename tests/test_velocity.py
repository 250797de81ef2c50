"""The velocity that is prepared once for a solve: equal to the forward, and edits act on it as on the forward."""

from dataclasses import replace

import pytest
import torch
from tiny_models import INPUTS, conditions, model

from sam_lsac.interventions import HijackGate, ShuffleSpans, ZeroAdditive, ZeroCrossAttention, attach
from sam_lsac.model.velocity import PreparedVelocity


def relative(a, b):
    return float((a - b).norm() / b.norm())


def times(value, like):
    return torch.full((like.size(0),), value)


@pytest.mark.parametrize("inputs", INPUTS)
def test_the_prepared_velocity_equals_the_forward(inputs):
    built, (given, state) = model(), conditions(**INPUTS[inputs])
    velocity = PreparedVelocity(built, given)
    for time in (0.0, 0.62):
        assert relative(velocity(time, state), built(state, time=times(time, state), **given.as_kwargs())) < 1e-6


def test_the_prepared_velocity_in_bfloat16_keeps_the_state_in_its_type():
    built, (given, state) = model().bfloat16(), conditions()
    velocity = PreparedVelocity(built, given)(0.3, state)
    assert velocity.dtype == torch.float32
    assert relative(velocity, built(state, time=times(0.3, state), **given.as_kwargs())) < 2e-2


def count_calls(module):
    calls = []
    inner = module.forward
    module.forward = lambda *args, **kwargs: (calls.append(1), inner(*args, **kwargs))[1]
    return calls


@pytest.mark.parametrize(
    "part", ["memory_proj", "embed_anchors", "align_masked_video", "embed_anchors.proj", "transformer"]
)
@pytest.mark.parametrize("first", ["edit", "prepare"])
def test_a_wrapper_without_effect_runs_at_every_evaluation_and_changes_no_bit(part, first):
    built, (given, state) = model(), conditions()
    plain = PreparedVelocity(built, given)(0.4, state)
    module = built.get_submodule(part)
    if first == "edit":
        calls = count_calls(module)
        velocity = PreparedVelocity(built, given)
        assert not calls  # preparing is not an evaluation
    else:
        velocity = PreparedVelocity(built, given)
        calls = count_calls(module)
    assert torch.equal(velocity(0.4, state), plain)
    assert torch.equal(velocity(0.4, state), plain)
    assert len(calls) == 2
    del module.forward
    assert torch.equal(velocity(0.4, state), plain)


def test_constant_parts_run_once_and_not_at_all_at_evaluations():
    built, (given, state) = model(), conditions()
    velocity = PreparedVelocity(built, given)
    for name in ("proj", "align_masked_video.conv", "embed_anchors.embed", "memory_proj"):
        weight = built.get_submodule(name).weight
        weight.copy_(torch.full_like(weight, torch.nan))
    assert velocity(0.4, state).isfinite().all()


@pytest.mark.parametrize("part", ["memory_proj", "embed_anchors", "align_masked_video", "proj"])
def test_an_edit_acts_as_on_the_forward(part):
    built, (given, state) = model(), conditions()
    velocity, plain = PreparedVelocity(built, given), PreparedVelocity(built, given)(0.4, state)
    module = built.get_submodule(part)
    inner = module.forward
    module.forward = lambda *args, **kwargs: 2 * inner(*args, **kwargs)
    edited = velocity(0.4, state)
    assert relative(edited, built(state, time=times(0.4, state), **given.as_kwargs())) < 1e-6
    assert relative(edited, plain) > 1e-3


def test_a_forward_hook_acts_too():
    built, (given, state) = model(), conditions()
    velocity = PreparedVelocity(built, given)
    plain = velocity(0.4, state)
    with built.memory_proj.register_forward_hook(lambda module, args, output: 0 * output):
        assert relative(velocity(0.4, state), plain) > 1e-3
    assert torch.equal(velocity(0.4, state), plain)


@pytest.mark.parametrize(
    "edit", [ZeroAdditive(), HijackGate(value=0.3), ShuffleSpans(seed=1), ZeroCrossAttention(layers=(1,))], ids=str
)
def test_the_librarys_edits_act_as_on_the_forward(edit):
    built, (given, state) = model(), conditions()
    plain = PreparedVelocity(built, given)(0.4, state)
    with attach(built, [edit], nfe=2):
        on_the_forward = built(state, time=times(0.4, state), **given.as_kwargs())
        on_the_prepared = PreparedVelocity(built, given)(0.4, state)
    assert relative(on_the_prepared, on_the_forward) < 1e-6
    assert relative(on_the_prepared, plain) > 1e-3


def test_a_mask_that_keeps_everything_is_dropped_without_effect():
    built, (given, state) = model(), conditions()
    full = replace(
        given, audio_pad_mask=torch.ones_like(given.audio_pad_mask), text_mask=torch.ones_like(given.text_mask)
    )
    masks = []
    built.transformer.register_forward_pre_hook(lambda module, args, kwargs: masks.append(kwargs), with_kwargs=True)
    without = PreparedVelocity(built, full)(0.4, state)
    assert masks[0]["padding_mask"] is None
    assert masks[0]["memory_padding_mask"] is None
    torch.testing.assert_close(without, built(state, time=times(0.4, state), **full.as_kwargs()), rtol=1e-4, atol=1e-5)
