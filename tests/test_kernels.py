"""The fast forms of the arithmetic: equal to the plain ones, taken only where they may be, and blind to no edit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sam_lsac.model.config import TransformerConfig
from sam_lsac.model.kernels import Linear, rms_norm
from sam_lsac.model.transformer import FeedForward
from tests.tiny_models import fill

ROWS = (5, 200, 1100)  # below what oneDNN is asked for, one block, and three of which the last is short


def network(**options):
    built = FeedForward(TransformerConfig(dim=24, n_heads=4, **options))
    fill(built)
    return built.requires_grad_(False)


def plain(built, x):
    """In float64, layer by layer."""
    exact = copy.deepcopy(built).double()
    return exact.w2(F.silu(exact.w1(x.double())) * exact.w3(x.double()))


def draw(rows, width=24):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_feed_forward_network_equals_its_layers(rows, bias):
    built, x = network(fc_bias=bias), draw(rows)
    assert relative(built(x), plain(built, x)) < 1e-6
    assert relative(built(x[None].expand(2, -1, -1))[1], plain(built, x)) < 1e-6


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("layer", ["w1", "w2", "w3"])
def test_an_edited_layer_acts_and_a_hook_sees_what_the_layer_gives(rows, layer):
    built, x, seen = network(), draw(rows), []
    unedited = built(x)
    part = getattr(built, layer)
    with part.register_forward_hook(lambda module, args, output: seen.append((args[0], output))):
        assert relative(built(x), unedited) < 1e-6
    ((given, output),) = seen
    torch.testing.assert_close(output, F.linear(given, part.weight, part.bias), rtol=1e-4, atol=1e-5)
    inner = part.forward
    part.forward = lambda given: 0 * inner(given)
    assert not built(x).any()
    del part.forward
    assert torch.equal(built(x), unedited)


@pytest.mark.parametrize("rows", ROWS)
def test_a_layer_of_another_class_runs_as_it_is_written(rows):
    built, x = network(), draw(rows)
    built.w3 = nn.Sequential(built.w3, nn.Tanh())
    wanted = built.w2(F.silu(built.w1(x)) * torch.tanh(F.linear(x, built.w3[0].weight)))
    assert relative(built(x), wanted) < 1e-6


@pytest.mark.parametrize("rows", ROWS)
def test_gradients_are_those_of_the_layers(rows):
    built, x = network().requires_grad_(True), draw(rows).requires_grad_(True)
    built(x).square().sum().backward()
    exact = copy.deepcopy(built).double()
    exact.zero_grad()
    given = x.detach().double().requires_grad_(True)
    exact.w2(F.silu(exact.w1(given)) * exact.w3(given)).square().sum().backward()
    assert relative(x.grad, given.grad) < 1e-5
    for name, parameter in built.named_parameters():
        assert relative(parameter.grad, exact.get_parameter(name).grad) < 1e-5, name


def test_written_weights_count_at_once():
    built, x = network(), draw(300)
    built(x)
    built.w3.weight.data.mul_(2)
    assert relative(built(x), plain(built, x)) < 1e-6


def test_nothing_that_is_given_is_written_to():
    built, x = network(), draw(300)
    kept = x.clone()
    built(x)
    rms_norm(x, torch.ones(24), 1e-5)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_stay_as_they_are(dtype):
    layer, x = Linear(24, 8).to(dtype).requires_grad_(False), draw(300).to(dtype)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_the_norm_equals_its_definition(size):
    x, weight = draw(300) * size, draw(1)[0]
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight
    assert relative(rms_norm(x, weight, 1e-5), exact) < 1e-6
    assert not rms_norm(torch.zeros(2, 24), weight, 1e-5).any()
