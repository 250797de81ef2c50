"""Entropy and Block Ratio on matrices whose values are known, and what `Record` sees in a solve."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_lsac.caching import DeepCache
from sam_lsac.errors import EditError
from sam_lsac.interventions import (
    HijackGate,
    Record,
    ShuffleSpans,
    attach,
    attention_entropy,
    block_ratio,
    entropy_rates,
    first_acting_step,
)
from sam_lsac.solver import Euler, Midpoint
from tests.standin import BUILDERS, LAYERS, attention_by_hand, network

SOLVER = Euler(4)


@pytest.fixture(params=BUILDERS)
def net(request):
    return network(request.param)


def record(net, *edits, solver=SOLVER):
    """Solve with the edits; the outcome of the last one, and the result."""
    with net.attached(*edits, solver=solver) as run:
        result = net.solve(solver)
    return run.outcomes, result


def random_weights(seed, shape=(2, 3, 7, 7)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).pow(3).softmax(-1)


# Entropy


@pytest.mark.parametrize("length", [1, 2, 12, 250])
def test_uniform_attention_has_the_entropy_of_its_length(length):
    weights = torch.full((2, 3, 5, length), 1 / length, dtype=torch.float64)
    torch.testing.assert_close(attention_entropy(weights), torch.full((2,), math.log(length), dtype=torch.float64))


def test_attention_to_one_frame_has_none():
    assert not attention_entropy(torch.eye(6).expand(2, 3, 6, 6)).any()


def test_entropy_is_the_mean_over_heads_and_queries_in_nats():
    weights = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.5, 0.5]]]], dtype=torch.float64)
    third = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert attention_entropy(weights).item() == pytest.approx((math.log(2) + 0 + third + math.log(2)) / 4, abs=1e-15)


@settings(deadline=None)
@given(seed=st.integers(0, 999))
def test_padded_queries_do_not_count(seed):
    weights = random_weights(seed)
    keep = torch.arange(7)[None] < torch.tensor([7, 4])[:, None]
    torch.testing.assert_close(attention_entropy(weights, keep)[0], attention_entropy(weights)[0])
    torch.testing.assert_close(attention_entropy(weights, keep)[1:], attention_entropy(weights[1:, :, :4]))


def test_rates_are_mean_absolute_changes():
    entropy = torch.tensor([[[1.0, 2.0], [1.5, 2.0], [1.0, 2.0]], [[3.0, 3.0], [3.0, 3.0], [3.0, 3.0]]])
    assert entropy_rates(entropy).tolist() == [0.25, 0.0]
    with pytest.raises(EditError, match="at least two steps"):
        entropy_rates(entropy[:, :1])


# Block Ratio


@settings(deadline=None)
@given(span=st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda s: len(set(s)) == 2))
def test_uniform_attention_has_block_ratio_one(span):
    length = len(span)
    ratio, _ = block_ratio(torch.full((1, length, length), 1 / length, dtype=torch.float64), torch.tensor([span]))
    assert ratio.item() == pytest.approx(1, abs=1e-10)


def test_block_ratio_of_a_known_matrix():
    span = torch.tensor([[False, True, True, False]])  # segments {0}, {1, 2}, {3}: 6 pairs inside, 10 across
    weights = torch.full((1, 4, 4), 0.1, dtype=torch.float64)
    for i, j in ((0, 0), (1, 1), (1, 2), (2, 1), (2, 2), (3, 3)):
        weights[0, i, j] = 0.3
    mean_form, sum_form = block_ratio(weights, span)
    assert mean_form.item() == pytest.approx(3.0, abs=1e-9)
    assert sum_form.item() == pytest.approx(6 * 0.3 / (10 * 0.1), abs=1e-9)


@settings(deadline=None)
@given(
    seed=st.integers(0, 999), span=st.lists(st.booleans(), min_size=7, max_size=7).filter(lambda s: len(set(s)) == 2)
)
def test_block_ratio_is_its_definition_pair_by_pair(seed, span):
    weights = random_weights(seed).mean(dim=1)[:1]
    segment = [0]
    for before, now in pairwise(span):
        segment.append(segment[-1] + (before != now))
    inside, across = [], []
    for i in range(7):
        for j in range(7):
            (inside if segment[i] == segment[j] else across).append(weights[0, i, j].item())
    mean_form, sum_form = block_ratio(weights, torch.tensor([span]))
    assert mean_form.item() == pytest.approx((sum(inside) / len(inside)) / (sum(across) / len(across)))
    assert sum_form.item() == pytest.approx(sum(inside) / sum(across))


def test_block_ratio_is_the_same_for_a_span_and_its_complement():
    weights, span = random_weights(0).mean(dim=1), torch.tensor([[True, False, False, True, True, False, True]] * 2)
    for one, other in zip(block_ratio(weights, span), block_ratio(weights, ~span), strict=True):
        assert torch.equal(one, other)


def test_padding_does_not_count_in_the_block_ratio():
    weights, span = random_weights(1).mean(dim=1), torch.tensor([[True, True, False, False, False, False, False]] * 2)
    keep = torch.arange(7).expand(2, 7) < 4
    for padded, cut in zip(
        block_ratio(weights, span, keep=keep), block_ratio(weights[:, :4, :4], span[:, :4]), strict=True
    ):
        torch.testing.assert_close(padded, cut)


def test_an_example_of_one_segment_has_no_block_ratio():
    weights, span = random_weights(2).mean(dim=1), torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    for form in block_ratio(weights, span):
        assert form.isnan().tolist() == [True, False]


# Record


@pytest.mark.parametrize("solver", [Euler(4), Midpoint(4)])
def test_recording_changes_no_bit(net, solver):
    (outcome,), result = record(net, Record(block_ratio=True, maps=((1, 2),)), solver=solver)
    assert torch.equal(result, net.solve(solver))
    assert outcome.layers == tuple(range(LAYERS))
    assert outcome.steps == (1, 2, 3, 4)
    assert outcome.entropy.shape == outcome.block_ratio.shape == outcome.block_ratio_sum.shape == (LAYERS, 4, 2)


@pytest.mark.parametrize("solver", [Euler(4), Midpoint(4)])
def test_a_recording_is_of_the_matrices_of_the_solve(net, solver):
    (outcome,), _ = record(net, Record(block_ratio=True, maps=[(3, 1), (0, 4)]), solver=solver)
    with attention_by_hand(solver) as matrices:
        net.solve(solver)
    keep = net.conditions["audio_pad_mask"]
    span = net.conditions["anchor_alignment"] == 2
    for layer in range(LAYERS):
        for step in outcome.steps:
            weights = matrices[layer, step * solver.evaluations_per_step - 1]  # the last evaluation of the step
            index = layer, step - 1
            torch.testing.assert_close(outcome.entropy[index], attention_entropy(weights, keep), rtol=1e-4, atol=1e-5)
            ratio, ratio_sum = block_ratio(weights.mean(dim=1), span, keep=keep)
            torch.testing.assert_close(outcome.block_ratio[index], ratio, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(outcome.block_ratio_sum[index], ratio_sum, rtol=1e-3, atol=1e-5)
    assert set(outcome.maps) == {(3, 1), (0, 4)}
    reference = matrices[3, solver.evaluations_per_step - 1].mean(dim=1)
    torch.testing.assert_close(outcome.maps[3, 1], reference, rtol=1e-3, atol=1e-5)


def test_chosen_layers_and_steps_are_recorded(net):
    (whole,), _ = record(net, Record())
    edit = Record(layers=(2, 0), steps=(4, 2))
    assert first_acting_step([edit]) == 2
    (some,), _ = record(net, edit)
    assert (some.layers, some.steps) == ((0, 2), (2, 4))
    assert torch.equal(some.entropy, whole.entropy[[0, 2]][:, [1, 3]])
    assert some.block_ratio is None


def test_only_maps_are_recorded_where_only_maps_are_asked_for(net):
    (outcome,), _ = record(net, Record(entropy=False, maps=((1, 3),)))
    assert outcome.entropy is None
    assert list(outcome.maps) == [(1, 3)]
    torch.testing.assert_close(outcome.maps[1, 3].sum(dim=-1), torch.ones(2, 12))


def test_spans_are_those_that_reach_the_probe(net):
    shuffle, probe = ShuffleSpans(seed=1), Record(entropy=False, block_ratio=True, maps=((0, 1),))
    (_, true), _ = record(net, shuffle, probe)
    (shuffled, _), _ = record(net, probe, shuffle)
    assert torch.equal(true.maps[0, 1], shuffled.maps[0, 1])  # one and the same attention
    span = net.conditions["anchor_alignment"] == 2
    against_true, _ = block_ratio(true.maps[0, 1], span, keep=net.conditions["audio_pad_mask"])
    torch.testing.assert_close(true.block_ratio[0, 0], against_true)
    assert not torch.allclose(shuffled.block_ratio[0, 0], against_true)


def test_a_hijacked_gate_is_seen(net):
    (plain,), _ = record(net, Record(block_ratio=True))
    (_, forced), _ = record(net, HijackGate(value=1.0), Record(block_ratio=True))
    assert not torch.allclose(plain.block_ratio, forced.block_ratio)


@pytest.mark.parametrize("kind", BUILDERS)
def test_bfloat16_is_measured_in_float32(kind):
    (reference,), _ = record(network(kind), Record(steps=(1,)))
    (low,), _ = record(network(kind, dtype=torch.bfloat16), Record(steps=(1,)))
    assert low.entropy.dtype == torch.float64
    torch.testing.assert_close(low.entropy, reference.entropy, rtol=0.1, atol=0.1)


def test_a_block_ratio_without_spans_is_an_error(net):
    net.conditions["anchor_ids"] = net.conditions["anchor_alignment"] = None
    with pytest.raises(EditError, match="needs a solve with spans"):
        record(net, Record(block_ratio=True))


def test_a_value_that_another_edit_hides_is_an_error(net):
    with pytest.raises(EditError, match=r"no entropy of layer 1 at step 2.*skipped the layer"):
        record(net, Record(), DeepCache(interval=2))
    (some, _), _ = record(net, Record(steps=(1, 3)), DeepCache(interval=2))
    assert some.entropy.shape == (LAYERS, 2, 2)


def test_a_map_that_was_not_reached_is_an_error(net):
    with (
        pytest.raises(EditError, match=r"no map of \(layer, step\) = \(0, 3\)"),
        attach(net.model, [Record(entropy=False, maps=((0, 3),))], nfe=4),
    ):
        net.velocity(0.0, net.noise)


@pytest.mark.parametrize(
    "kwargs",
    [{"entropy": False}, {"layers": ()}, {"layers": (-1,)}, {"steps": ()}, {"steps": (0,)}, {"maps": ((1, 0),)}],
)
def test_malformed_probes_are_refused(kwargs):
    with pytest.raises(EditError):
        Record(**kwargs)


@pytest.mark.parametrize("edit", [Record(steps=(5,)), Record(maps=((0, 5),))])
def test_steps_beyond_the_solve_are_refused(net, edit):
    with pytest.raises(EditError, match="name steps of 1 to 4"), attach(net.model, [edit], nfe=4):
        pass
