"""What each intervention does, held against models and attention kernels that are changed by hand."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_lsac.errors import EditError
from sam_lsac.interventions import (
    FreezeSelfAttention,
    HijackGate,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
    attach,
)
from sam_lsac.solver import AB2, Euler, Midpoint
from tests.standin import BUILDERS, LAYERS, assert_near, attention_by_hand, network

SOLVER = Euler(5)


@pytest.fixture(params=BUILDERS)
def net(request):
    return network(request.param)


def solve_edited(net, *edits, solver=SOLVER):
    return net.solve_edited(*edits, solver=solver)


def with_changed_copy(net, change):
    """Solve with a copy of the model that ``change`` has altered."""
    other = copy.copy(net)
    other.model = copy.deepcopy(net.model)
    with torch.no_grad():
        change(other.model)
    return other.solve(SOLVER)


def test_zeroed_additive_is_a_zero_projection(net):
    def zero(model):
        model.memory_proj.weight.zero_()
        model.memory_proj.bias.zero_()

    assert torch.equal(solve_edited(net, ZeroAdditive()), with_changed_copy(net, zero))


def test_zeroed_additive_leaves_nothing_of_the_text(net):
    edited = solve_edited(net, ZeroAdditive())
    net.conditions["text_features"], net.conditions["text_mask"] = None, None
    assert_near(edited, net.solve(SOLVER))  # tokens that all carry the time alone are one token


def test_zeroed_additive_keeps_the_time(net):
    with attach(net.model, [ZeroAdditive()], nfe=2):
        early, late = net.velocity(0.1, net.noise), net.velocity(0.9, net.noise)
    assert not torch.allclose(early, late)


@pytest.mark.parametrize("layers", [None, (1,), (0, 3)])
def test_zeroed_cross_attention_is_the_branch_removed(net, layers):
    def remove(model):
        for layer in range(LAYERS) if layers is None else layers:
            model.transformer.layers[layer].cross_attention.wo.weight.zero_()

    edited = solve_edited(net, ZeroCrossAttention(layers=layers))
    assert torch.equal(edited, with_changed_copy(net, remove))
    assert not torch.allclose(edited, net.solve(SOLVER))


def test_uniform_cross_attention_is_the_mean_over_unmasked_values(net):
    with attention_by_hand(SOLVER, uniform=True):
        by_hand = net.solve(SOLVER)
    edited = solve_edited(net, UniformCrossAttention())
    assert_near(edited, by_hand)
    assert not torch.allclose(edited, net.solve(SOLVER))


def test_uniform_cross_attention_of_some_layers_composes_to_all(net):
    some, rest = UniformCrossAttention(layers=(0, 2)), UniformCrossAttention(layers=[3, 1])
    assert rest.layers == (1, 3)
    assert torch.equal(solve_edited(net, some, rest), solve_edited(net, UniformCrossAttention()))


def test_uniform_cross_attention_without_a_mask(net):
    net.conditions["text_mask"] = None
    with attention_by_hand(SOLVER, uniform=True):
        by_hand = net.solve(SOLVER)
    assert_near(solve_edited(net, UniformCrossAttention()), by_hand)


@pytest.mark.parametrize("solver", [Euler(5), Midpoint(5), AB2(5)])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_freezing_is_the_hand_written_loop(net, solver, step):
    with attention_by_hand(solver, freeze_steps={1: step, 2: step}):
        by_hand = net.solve(solver)
    edited = solve_edited(net, FreezeSelfAttention(layers=(1, 2), step=step), solver=solver)
    assert_near(edited, by_hand)
    assert not torch.allclose(edited, net.solve(solver))


def test_the_hand_written_kernel_is_the_networks_own(net):
    with attention_by_hand(SOLVER):
        by_hand = net.solve(SOLVER)
    assert_near(by_hand, net.solve(SOLVER))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gate_hijacked_to_its_own_value_is_bit_equal(net, dtype):
    net = network("ours" if hasattr(net.model, "config") else "meta-like", dtype=dtype)
    own = net.model.embed_anchors.gate.tanh().item()
    assert torch.equal(solve_edited(net, HijackGate(value=own)), net.solve(SOLVER))


@pytest.mark.parametrize("value", [-0.9, 0.0, 0.5])
def test_a_hijacked_gate_is_that_gate(net, value):
    edited = solve_edited(net, HijackGate(value=value))
    assert_near(edited, with_changed_copy(net, lambda model: model.embed_anchors.gate.fill_(math.atanh(value))))


def test_a_gate_hijacked_to_zero_ignores_the_spans(net):
    shut = solve_edited(net, HijackGate(value=0.0))
    net.conditions["anchor_ids"] = net.conditions["anchor_alignment"] = None
    assert_near(shut, net.solve(SOLVER))


def test_a_gate_without_span_inputs_cannot_be_hijacked(net):
    net.conditions["anchor_ids"] = net.conditions["anchor_alignment"] = None
    with pytest.raises(EditError, match="needs a solve with span inputs"):
        solve_edited(net, HijackGate())


class Gate:
    """Catches what reaches the span gate."""

    def __init__(self, net):
        self.alignments = []
        self.handle = net.model.embed_anchors.embed.register_forward_pre_hook(
            lambda module, args: self.alignments.append(args[0])
        )


def test_shuffled_spans_keep_their_duty_cycle_and_the_padding(net):
    gate = Gate(net)
    solve_edited(net, ShuffleSpans(seed=3))
    ids, alignment = net.conditions["anchor_ids"], net.conditions["anchor_alignment"]
    before = ids.gather(1, alignment)
    for after in gate.alignments:
        assert torch.equal(after, gate.alignments[0])  # one permutation for the whole solve
        assert torch.equal(after.sort(dim=1).values, before.sort(dim=1).values)
        assert torch.equal(after == 3, before == 3)
        assert not torch.equal(after, before)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_shuffling_is_a_function_of_its_seed(seed):
    net = network("meta-like")
    gate = Gate(net)
    for each in (seed, seed, seed + 1):
        with attach(net.model, [ShuffleSpans(seed=each)], nfe=1):
            net.velocity(0.0, net.noise)
    first, again, other = gate.alignments
    assert torch.equal(first, again)
    assert not torch.equal(first, other)  # by chance they are equal once in 60,000 seeds


def test_shuffling_does_not_depend_on_the_batch(net):
    together = Gate(net)
    solve_edited(net, ShuffleSpans(seed=5))
    together.handle.remove()
    net.conditions = {name: tensor[1:] for name, tensor in net.conditions.items()}
    net.noise = net.noise[1:]
    alone = Gate(net)
    solve_edited(net, ShuffleSpans(seed=5))
    assert torch.equal(alone.alignments[0][0], together.alignments[0][1])


def test_shuffling_does_not_depend_on_the_padding():
    row, edit = torch.tensor([0, 0, 2, 2, 2, 0, 3, 3, 0]), ShuffleSpans(seed=5)
    alone = edit._permute(row, torch.ones(9, dtype=torch.bool))
    padded = edit._permute(torch.cat([row, torch.ones(5, dtype=torch.long)]), torch.arange(14) < 9)
    assert not torch.equal(alone, row)
    assert torch.equal(padded, torch.cat([alone, torch.ones(5, dtype=torch.long)]))


def test_shuffling_without_spans_is_an_error(net):
    net.conditions["anchor_alignment"] = (net.conditions["anchor_alignment"] == 1).long()
    with pytest.raises(EditError, match="changed nothing"):
        solve_edited(net, ShuffleSpans())
    net.conditions["anchor_ids"] = net.conditions["anchor_alignment"] = None
    with pytest.raises(EditError, match="none to permute"):
        solve_edited(net, ShuffleSpans())


@pytest.mark.parametrize(
    "edits",
    [
        (ZeroAdditive(),),
        (ZeroCrossAttention(),),
        (UniformCrossAttention(),),
        (HijackGate(value=0.5), ShuffleSpans()),
        (FreezeSelfAttention(layers=(0, 1, 2, 3), step=2),),
    ],
    ids=lambda edits: type(edits[0]).__name__,
)
@pytest.mark.parametrize("kind", BUILDERS)
def test_bfloat16_stays_near_float32(kind, edits):
    reference = solve_edited(network(kind), *edits)
    low = solve_edited(network(kind, dtype=torch.bfloat16), *edits)
    assert low.dtype == torch.bfloat16
    plain_error = (network(kind, dtype=torch.bfloat16).solve(SOLVER).float() - network(kind).solve(SOLVER)).norm()
    assert (low.float() - reference).norm() < 3 * plain_error


@pytest.mark.parametrize("layers", [(), (-1,), (1, 1), (True,), (1.0,), ("1",)])
@pytest.mark.parametrize("edit", [ZeroCrossAttention, UniformCrossAttention, FreezeSelfAttention])
def test_malformed_layers_are_refused(edit, layers):
    kwargs = {"step": 2} if edit is FreezeSelfAttention else {}
    with pytest.raises(EditError, match=r"whole numbers from 0|named twice"):
        edit(layers=layers, **kwargs)


@pytest.mark.parametrize("step", [0, -1, 1.5, True])
def test_malformed_steps_are_refused(step):
    with pytest.raises(EditError, match="whole numbers from 1"):
        FreezeSelfAttention(layers=(1,), step=step)


def test_malformed_values_and_seeds_are_refused():
    with pytest.raises(EditError, match="finite"):
        HijackGate(value=math.nan)
    with pytest.raises(EditError, match="whole number from 0"):
        ShuffleSpans(seed=-1)


def test_edits_are_values():
    assert FreezeSelfAttention(layers=[9, 1, 6], step=4) == FreezeSelfAttention(layers=(1, 6, 9), step=4)
    assert len({ZeroAdditive(), ZeroAdditive(), HijackGate(), HijackGate(value=0.5)}) == 3
