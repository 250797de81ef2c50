"""What the embedded checkpoint is trained on: where its states come from, and how estimates are judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fixtures.training.flow_loss import FlowLoss, log_noise_to_signal
from sam_lsac.mixtures import load_mixtures
from sam_lsac.model.codec import MDCTCodec
from sam_lsac.model.config import MDCTConfig

CODEC = MDCTCodec(MDCTConfig())
ROLLOUT = {"rollout_steps": 3, "rollout_power": 2.0}


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    """Clean states [2, T, 2 C] of the sources of two cached mixtures."""
    mixtures = load_mixtures(tiers=["clean"], per_tier=2, sample_rate=8000, duration_s=2.0)
    waves = torch.from_numpy(np.stack([[one.target, one.residual] for one in mixtures]))
    return torch.cat([CODEC(waves[:, source, None]).transpose(1, 2) for source in (0, 1)], dim=2)


def test_the_loss_on_coefficients_is_the_signal_to_noise_ratio_of_the_waves(latents: torch.Tensor) -> None:
    estimate = latents + 0.1 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    ratios = []
    for found, wanted in zip(estimate.chunk(2, dim=2), latents.chunk(2, dim=2), strict=True):
        waves = [CODEC.decode(state.transpose(1, 2)) for state in (found, wanted)]
        ratios.append((waves[0] - waves[1]).square().sum((1, 2)) / waves[1].square().sum((1, 2)))
    expected = torch.log(torch.cat(ratios) + 0.05).mean()
    torch.testing.assert_close(log_noise_to_signal(CODEC, estimate, latents), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("judge", ["on_path", "on_rollout"])
def test_the_loss_on_coefficients_is_added_with_its_weight(latents: torch.Tensor, judge: str) -> None:
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    wrong = latents + 0.1 * noise
    found = []
    for weight in (0.0, 1.0, 2.0):
        loss = FlowLoss(codec=CODEC, snr_weight=weight, time_power=1.0, **ROLLOUT)
        generator = torch.Generator().manual_seed(0)
        found.append(getattr(loss, judge)(lambda *_: wrong, noise, latents, generator))
    expected = log_noise_to_signal(CODEC, wrong, latents)
    torch.testing.assert_close(found[1] - found[0], expected)
    torch.testing.assert_close(found[2] - found[0], 2 * expected)


def test_a_rollout_follows_its_own_estimates_and_is_judged_by_each() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, x1, *given = (torch.randn(3, 4, 6, generator=generator, requires_grad=True) for _ in range(5))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def estimate(state: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        seen.append((state, times))
        return given[len(seen) - 1]

    loss = FlowLoss(codec=CODEC, snr_weight=0.0, time_power=1.0, **ROLLOUT).on_rollout(estimate, x0, x1, generator)
    (first, begin), (second, middle), (third, end) = seen
    assert torch.all((begin == 0) & (begin < middle) & (middle < end) & (end < 1))
    assert len(set(middle.tolist())) == 3
    assert first is x0
    velocity = given[0] - x0
    torch.testing.assert_close(second, x0 + middle[:, None, None] * velocity)
    velocity = (given[1] - second) / (1 - middle[:, None, None])
    torch.testing.assert_close(third, second + (end - middle)[:, None, None] * velocity)
    errors = torch.stack([(one - x1).square().mean() for one in given])
    torch.testing.assert_close(loss, errors.mean() / (x1 - x0).square().mean())
    gradients = torch.autograd.grad(third.sum(), given, allow_unused=True)
    assert gradients == (None, None, None)


@pytest.mark.parametrize(("steps", "power", "means"), [(3, 2.0, (0.0, 6 / 20, 12 / 20)), (2, 3.0, (0.0, 2 / 5))])
def test_times_of_a_rollout_are_powers_of_sorted_uniform_ones(steps: int, power: float, means: Sequence[float]) -> None:
    # of n sorted uniform numbers the k-th has the mean square k (k + 1) / ((n + 1) (n + 2)); the last to the power p
    # has the mean n / (n + p)
    x0, x1 = torch.zeros(20_000, 1, 2), torch.ones(20_000, 1, 2)
    times: list[torch.Tensor] = []
    loss = FlowLoss(codec=CODEC, snr_weight=0.0, time_power=1.0, rollout_steps=steps, rollout_power=power)
    loss.on_rollout(lambda _, at: times.append(at) or x1, x0, x1, torch.Generator().manual_seed(0))
    assert [float(at.mean()) for at in times] == pytest.approx(means, abs=0.01)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_the_path_loss_is_the_velocity_error_over_its_variance(power: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, x1, velocity = (torch.randn(20_000, 1, 2, generator=generator) for _ in range(3))
    seen: list[torch.Tensor] = []

    def estimate(state: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(state, x0 + times[:, None, None] * (x1 - x0))
        seen.append(times)
        return state + (1 - times[:, None, None]) * velocity

    loss = FlowLoss(codec=CODEC, snr_weight=0.0, time_power=power, **ROLLOUT).on_path(estimate, x0, x1, generator)
    wanted = x1 - x0
    torch.testing.assert_close(loss, (velocity - wanted).square().mean() / wanted.square().mean(), rtol=1e-3, atol=1e-3)
    assert float(seen[0].mean()) == pytest.approx(1 / (power + 1), abs=0.01)
