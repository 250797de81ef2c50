"""Training of the embedded checkpoint: the examples, the starting values, and the resume."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyroomacoustics
import pytest
import soundfile
import torch
from scipy.signal import lfilter
from torch import Tensor

from fixtures.corpus.build import Corpus
from fixtures.corpus.prompts import Prompts
from fixtures.training.ahead import Ahead, training_sampler
from fixtures.training.data import VALIDATION_SPEAKERS, Examples, Sampler
from fixtures.training.evaluate import validation_mixtures
from fixtures.training.flow_loss import FlowLoss
from fixtures.training.grow import grow, kept_channels
from fixtures.training.initialise import build_model, fit_codec, tell_prompts_apart
from fixtures.training.recipe import Recipe, learning_rate_at
from fixtures.training.repitch import repitched
from fixtures.training.rooms import room_responses
from fixtures.training.train import _SOLVED, Run, _estimator, _separated, main
from sam_lsac.model import load_model
from sam_lsac.model.checkpoint import save_checkpoint
from sam_lsac.model.codec import MDCTCodec
from sam_lsac.model.config import MDCTConfig
from sam_lsac.model.sam_audio import SAMAudio
from sam_lsac.model.text import T5TextEncoder

SOURCES = Path(__file__).parents[1] / "fixtures" / "mixtures"
RATE = 8_000
SMALL = Recipe(n_bins=64, dim=96, n_heads=2, mixtures_per_step=2, seconds=0.512, warmup_steps=2, bf16=False)

GROUPS = {  # real recordings from the cached mixtures, under the names of a corpus
    "carlo_it__m": ("speech", ["speech/carlo_it__m-00.flac", "speech/carlo_it__m-01.flac"]),
    "shmyrev_ru__m": ("speech", ["speech/shmyrev_ru__m-01.flac"]),
    "ivrvoice_ru__f": ("speech", ["speech/ivrvoice_ru__f-00.flac"]),
    "june_fr__f": ("speech", ["cc-by-sa/june_fr__f-00.flac"]),
    "rain": ("env", ["sounds/rain-StereoRain-00s.flac"]),
    "cow": ("env", ["sounds/cow-37.flac"]),
    VALIDATION_SPEAKERS[0]: ("speech", ["speech/shmyrev_ru__m-00.flac"]),
    VALIDATION_SPEAKERS[1]: ("speech", ["speech/ivrvoice_ru__f-01.flac"]),
}


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """The command flushes them for the whole process, which other tests must not notice."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module", autouse=True)
def _prompts_told_apart_once() -> Iterator[None]:
    """Every run of a seed teaches the same text encoder the same prompts, the longest part of its start."""
    known: dict[tuple[Any, ...], list[tuple[Tensor, Tensor | None]]] = {}

    def once(encoder: T5TextEncoder, prompts: Sequence[str]) -> None:
        parameters = list(encoder.parameters())
        start = (*prompts, *(one.detach().numpy().tobytes() for one in parameters))
        if start not in known:
            tell_prompts_apart(encoder, prompts)
            known[start] = [(one.detach().clone(), one.grad) for one in parameters]
        for one, (value, gradient) in zip(parameters, known[start], strict=True):
            one.data.copy_(value)
            one.grad = None if gradient is None else gradient.clone()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fixtures.training.train.tell_prompts_apart", once)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of a few recordings, in the layout that fixtures/corpus/build.py writes."""
    folder = tmp_path_factory.mktemp("corpus")
    rows, waves, offset = ["path\tkind\tgroup\tsplit\tlicence\tpackage\toffset\tn_samples"], [], 0
    for group, (kind, files) in GROUPS.items():
        for file in files:
            wave = soundfile.read(SOURCES / file, dtype="float32")[0][::2]  # 16 to 8 kHz; aliasing does not matter here
            rows.append(
                f"{kind}/{group}/{Path(file).stem}.wav\t{kind}\t{group}\ttrain\tCC0\tpackage 1\t{offset}\t{wave.size}"
            )
            waves.append((wave * 32767).astype("<i2"))
            offset += wave.size
    samples = np.concatenate(waves)
    samples.tofile(folder / "audio.i16")
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")
    summary = {"sample_rate": RATE, "n_samples": int(samples.size), "sha256": "not compared on opening"}
    (folder / "corpus.json").write_text(json.dumps(summary))
    return Corpus.open(folder)


def test_each_mixture_gives_both_of_its_sources_as_targets(corpus: Corpus) -> None:
    batch = Sampler(corpus, Prompts.read(), n_samples=4000, scenes={"speakers": 1.0}).draw(3, (0, 1))
    first, second = batch.target[:3], batch.target[3:]
    np.testing.assert_array_equal(batch.residual[:3], second)
    np.testing.assert_array_equal(batch.residual[3:], first)
    assert batch.prompts == ("man speaking",) * 3 + ("woman speaking",) * 3


def test_a_mixture_may_give_one_of_its_sources_with_its_own_prompt_and_spans(corpus: Corpus) -> None:
    options = {"n_samples": 4000, "scenes": {"noisy speakers": 1.0}, "gaps": 1.0}
    both = Sampler(corpus, Prompts.read(), **options).draw(32, (0, 1))
    one = Sampler(corpus, Prompts.read(), prompts_per_mixture=1, **options).draw(32, (0, 1))
    sides = [0 if np.array_equal(one.target[index], both.target[index]) else 1 for index in range(32)]
    assert 8 < sum(sides) < 24
    places = [index + 32 * side for index, side in enumerate(sides)]
    np.testing.assert_array_equal(one.target, both.target[places])
    np.testing.assert_array_equal(one.residual, both.residual[places])
    assert one.prompts == tuple(both.prompts[place] for place in places)
    assert one.spans == tuple(both.spans[place] for place in places)


def test_the_same_seed_gives_the_same_examples_and_another_does_not(corpus: Corpus) -> None:
    sampler = Sampler(corpus, Prompts.read(), n_samples=4000)
    np.testing.assert_array_equal(sampler.draw(2, (0, 7)).target, sampler.draw(2, (0, 7)).target)
    assert not np.array_equal(sampler.draw(2, (0, 7)).target, sampler.draw(2, (0, 8)).target)


def test_noise_goes_to_the_residual_of_both(corpus: Corpus) -> None:
    batch = Sampler(corpus, Prompts.read(), n_samples=4000, scenes={"noisy speakers": 1.0}).draw(2, (0, 1))
    noise = batch.residual[:2] - batch.target[2:]
    np.testing.assert_allclose(batch.residual[2:] - batch.target[:2], noise, atol=1e-6)
    snr_db = 10 * np.log10(np.mean((batch.target[:2] + batch.target[2:]) ** 2, 1) / np.mean(noise**2, 1))
    assert np.all((snr_db > 1.5) & (snr_db < 12.5))


def test_held_out_speakers_are_never_drawn_for_training(corpus: Corpus) -> None:
    scenes = {"speakers": 1.0}
    training = Sampler(corpus, Prompts.read(), n_samples=4000, scenes=scenes)
    held_out = Sampler(corpus, Prompts.read(), n_samples=4000, scenes=scenes, validation=True)
    assert not set(training._men + training._women) & set(VALIDATION_SPEAKERS)
    assert set(held_out._men + held_out._women) == set(VALIDATION_SPEAKERS) & set(GROUPS)


def test_a_voice_is_drawn_as_often_as_the_root_of_its_length(corpus: Corpus) -> None:
    sampler, rng = Sampler(corpus, Prompts.read(), n_samples=4000), np.random.default_rng(0)
    lengths = [sum(clip.n_samples for clip in corpus.clips if clip.group == name) for name in sampler._men]
    share = np.mean([sampler._choose(sampler._men, rng) == sampler._men[0] for _ in range(4000)])
    assert share == pytest.approx(np.sqrt(lengths[0]) / np.sqrt(lengths).sum(), abs=0.03)
    assert abs(share - lengths[0] / sum(lengths)) > 0.04 < abs(share - 0.5)


def test_validation_mixtures_are_of_held_out_speakers_each_source_once_the_target(corpus: Corpus) -> None:
    for kind in ("speakers", "moved", "gaps", "noisy"):
        found = validation_mixtures(corpus, kind, 2)
        assert [one.prompt for one in found] == ["man speaking"] * 2 + ["woman speaking"] * 2
        assert [one.residual_prompt for one in found] == ["woman speaking"] * 2 + ["man speaking"] * 2
        assert {one.duration_s for one in found} == {2.0}
        np.testing.assert_allclose(found[0].wave, found[2].wave, atol=1e-6)
        silence = [sum(end - start for _, start, end in one.spans) < 1.95 for one in found]
        assert kind != "gaps" or all(silence)
    for kind, seed, held_out in (("speakers", (0, 0), True), ("heard", (0, 6), False)):
        sampler = Sampler(corpus, Prompts.read(), n_samples=2 * RATE, validation=held_out, scenes={"speakers": 1.0})
        for one, target in zip(validation_mixtures(corpus, kind, 2), sampler.draw(2, seed).target, strict=True):
            np.testing.assert_array_equal(one.target, target)
    scene, same, other = (validation_mixtures(corpus, "speakers", 1, seed=seed)[0].digest for seed in (0, 0, 1))
    assert scene == same != other


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_a_voice_at_another_pitch_keeps_its_formant_and_its_length(factor: float) -> None:
    pitch, formant, pole = 120.0, 600.0, 0.97  # a pulse train through one resonance, as a vowel is
    pulses = (np.diff(np.floor(np.arange(2 * RATE + 1) * pitch / RATE)) > 0).astype(float)
    vowel = 0.1 * lfilter([1.0], [1.0, -2 * pole * np.cos(2 * np.pi * formant / RATE), pole**2], pulses)
    found = repitched(vowel, factor, sample_rate=RATE)
    assert found.shape == vowel.shape
    energy = np.abs(np.fft.rfft(found[2000:14_000] * np.hanning(12_000))) ** 2
    hertz = np.fft.rfftfreq(12_000, 1 / RATE)
    harmonics = np.abs((hertz / (factor * pitch) + 0.5) % 1 - 0.5) < 0.1  # a fifth of the axis
    assert energy[harmonics].sum() > 0.95 * energy.sum()
    near = np.abs(hertz - formant) < 150
    assert energy[near].sum() > 0.5 * energy.sum()


def test_only_voices_are_moved_in_pitch_and_only_where_it_is_wanted(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[float] = []

    def spy(wave: np.ndarray, factor: float, **_: int) -> np.ndarray:
        factors.append(factor)
        return wave

    monkeypatch.setattr("fixtures.training.data.repitched", spy)
    for share, scene, expected in (
        (0.0, "speakers", [0]),
        (0.5, "speakers", range(8, 25)),  # of 32 voices; three standard deviations around a half
        (1.0, "speakers", [32]),
        (1.0, "sounds", [0]),
    ):
        factors.clear()
        Sampler(corpus, Prompts.read(), n_samples=4000, scenes={scene: 1.0}, repitch=share).draw(16, (0, 1))
        assert len(factors) in expected
        assert all(0.75 <= factor <= 1.5 for factor in factors)


def test_a_gap_silences_a_source_for_a_while_and_its_span_leaves_it_out(corpus: Corpus) -> None:
    options = {"n_samples": RATE, "scenes": {"speakers": 1.0}}
    before, plain, gapped = (
        Sampler(corpus, Prompts.read(), **options, **more).draw(16, (0, 1))
        for more in ({}, {"gaps": 0.0}, {"gaps": 1.0})
    )
    np.testing.assert_array_equal(plain.target, before.target)
    n_silent = [int((wave == 0).sum()) for wave in gapped.target]
    assert max((wave == 0).sum() for wave in plain.target) < 0.02 * RATE
    assert np.mean([silent > 0.05 * RATE for silent in n_silent]) > 0.8  # a gap half outside is half as long
    assert max(n_silent) <= 0.6 * RATE
    for wave, spans in zip(gapped.target, gapped.spans, strict=True):
        inside = np.zeros(RATE, bool)
        for _, start, end in spans or ():
            inside[round(start * RATE) : round(end * RATE)] = True
        if spans and (wave == 0).sum() > 0.3 * RATE:
            assert (wave[inside] == 0).mean() < 0.1
            assert np.square(wave[inside]).sum() > 0.98 * np.square(wave).sum()


def test_a_gap_never_takes_all_that_sounds(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixtures.training.data._gap", lambda n_samples, *_: np.zeros(n_samples, np.float32))
    batch = Sampler(corpus, Prompts.read(), n_samples=4000, gaps=1.0).draw(4, (0, 1))
    assert np.all(np.square(batch.target).mean(1) > 0)


def test_alike_speakers_have_one_prompt_and_spans_tell_them_apart(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(corpus, Prompts.read(), n_samples=16_384, scenes={"alike": 1.0})
    drawn: list[str] = []
    source = sampler._source
    monkeypatch.setattr(sampler, "_source", lambda group, *rest: drawn.append(group) or source(group, *rest))
    batch = sampler.draw(12, (0, 1))
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    assert all(one != other and one[-1] == other[-1] for one, other in pairs)
    assert {one[-1] for one, _ in pairs} == {"m", "f"}
    assert batch.prompts[:12] == batch.prompts[12:]
    assert all(spans is not None for spans in batch.spans)
    assert all(spans[:12] != spans[12:] for spans in [batch.spans])
    assert np.mean([np.max(np.convolve(wave == 0, np.ones(800), "valid")) == 800 for wave in batch.target]) > 0.8


def test_alike_speakers_need_two_of_either_sex(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="two men and two women; make a corpus with more"):
        Sampler(corpus, Prompts.read(), n_samples=4000, scenes={"alike": 1.0}, validation=True)


def test_sounds_and_voices_change_speed_in_ranges_of_their_own(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(corpus, Prompts.read(), n_samples=4000, scenes={"speech and sound": 1.0})
    draws = []
    for sounds in (1.0, 1.001):
        monkeypatch.setattr("fixtures.training.data._VOICE_SPEED", (1.0, 1.0))
        monkeypatch.setattr("fixtures.training.data._SOUND_SPEED", (sounds, sounds))
        draws.append(sampler.draw(4, (0, 1)).target)
    np.testing.assert_array_equal(draws[0][:4], draws[1][:4])
    assert not np.any(np.all(draws[0][4:] == draws[1][4:], axis=1))


def test_a_room_answers_at_once_at_unit_energy_and_fades() -> None:
    responses = room_responses(24, sample_rate=RATE, seed=(0,))
    again, others = (room_responses(24, sample_rate=RATE, seed=(seed,)) for seed in (0, 1))
    for response, same, other in zip(responses, again, others, strict=True):
        np.testing.assert_array_equal(response, same)
        assert response.shape != other.shape or not np.allclose(response, other)
        assert np.square(response).sum() == pytest.approx(1.0)
        assert abs(response[0]) > 0.09 * np.abs(response).max()
        energy = np.square(response).cumsum()
        assert energy[int(0.03 * RATE)] > 0.3
        assert energy[: int(0.2 * RATE)][-1] > 0.9 > energy[0]
    times = [pyroomacoustics.experimental.measure_rt60(response, fs=RATE, decay_db=20) for response in responses]
    assert min(times) < 0.25
    assert 0.3 < max(times) < 0.9


@pytest.mark.parametrize(("share", "expected"), [(0.0, [0]), (0.5, range(8, 25)), (1.0, [32])])
def test_as_many_sources_sound_in_a_room_as_are_wanted(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, share: float, expected: Sequence[int]
) -> None:
    used = []
    monkeypatch.setattr("fixtures.training.data.oaconvolve", lambda wave, room: used.append(room) or wave)
    Sampler(corpus, Prompts.read(), n_samples=4000, reverberation=share).draw(16, (0, 1))
    assert len(used) in expected
    assert len({len(room) for room in used}) > 1 or not used


def test_a_source_is_what_its_room_makes_of_it(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixtures.training.data._VOICE_SPEED", (1.0, 1.0))
    sampler = Sampler(corpus, Prompts.read(), n_samples=4000, scenes={"speakers": 1.0}, reverberation=1.0)
    waves = []
    for room in ([1.0], [0.0, 0.0, 0.0, 1.0]):  # a room without walls, near and far
        monkeypatch.setattr(sampler, "_rooms", [np.array(room)])
        waves.append(sampler.draw(4, (0, 1)).target)
    error = np.square(waves[1][:, 100:] - waves[0][:, 97:-3]).sum(1) / np.square(waves[0]).sum(1)
    assert np.all(error < 0.02)
    assert np.all(np.square(waves[1] - waves[0]).sum(1) > 0.1 * np.square(waves[0]).sum(1))


def test_the_codec_is_fitted_to_the_wanted_scale(corpus: Corpus) -> None:
    waves = torch.from_numpy(Sampler(corpus, Prompts.read(), n_samples=8192).draw(8, (0, 1)).target)
    config = fit_codec(waves, MDCTConfig(), shape_std=3.0, gain_std=4.0)
    latents = build_model(config, dim=96, n_heads=2, latent_std=3.0, seed=0).audio_codec(waves[:, None])
    shapes, gains = latents.split([config.n_bins, len(config.gain_widths)], dim=1)
    assert float(shapes.square().mean().sqrt()) == pytest.approx(3.0, rel=1e-3)
    assert float(gains.std()) == pytest.approx(4.0, rel=1e-2)
    assert float(gains.mean()) == pytest.approx(0.0, abs=1e-2)


def test_the_loss_on_coefficients_is_added_and_trained_on(corpus: Corpus) -> None:
    losses, velocities = [], []
    for weight in (0.0, 1.0, 2.0):
        run = Run(replace(SMALL, snr_weight=weight), corpus)
        losses.append(run.train_step(1e-3))
        x1, conditions = run._encode(run.model, run._validation.draw(1, (0, 2)))
        with torch.no_grad():
            velocities.append(run.model(noisy_audio=x1, time=torch.zeros(x1.size(0)), **conditions))
    assert losses[1] != losses[0]
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-3)
    assert not torch.equal(velocities[0], velocities[1])


def test_an_estimate_is_where_the_line_along_the_velocity_ends(corpus: Corpus) -> None:
    run = Run(SMALL, corpus)
    x1, conditions = run._encode(run.model, run._validation.draw(1, (0, 2)))
    times = torch.tensor([0.25, 0.5])
    with torch.no_grad():
        velocity = run.model(noisy_audio=x1, time=times, **conditions)
        found = _estimator(run.model, conditions)(x1, times)
    torch.testing.assert_close(found, x1 + velocity * torch.tensor([0.75, 0.5])[:, None, None])


def test_what_is_logged_of_a_solve_is_its_first_estimate_its_end_and_its_obedience(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(SMALL, corpus)
    assert not {"first_estimate_improvement_db", "obedience"} & set(run.validate(solve=False, n_mixtures=2))
    seen: list[torch.Tensor] = []

    def spy(codec: MDCTCodec, final: torch.Tensor, _: Examples) -> tuple[float, float]:
        seen.append(final)
        return float(len(seen)), 0.1 * len(seen)

    monkeypatch.setattr("fixtures.training.train._separated", spy)
    found = run.validate(solve=True, n_mixtures=2)
    assert [found[name] for name in _SOLVED] == [1.0, 2.0, 0.2]
    x1, conditions = run._encode(run.average, run._validation.draw(2, (SMALL.seed, 2)))
    x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(SMALL.seed))
    with torch.no_grad():
        velocity = run.average.eval()(noisy_audio=x0, time=torch.zeros(x1.size(0)), **conditions)
    torch.testing.assert_close(seen[0], x0 + velocity)
    assert not torch.equal(seen[0], seen[1])


def test_an_improvement_is_of_the_target_over_the_mixture(corpus: Corpus) -> None:
    run = Run(replace(SMALL, n_bins=128, dim=192, n_heads=4), corpus)  # all bins: the codec loses nothing
    examples = run._validation.draw(2, (0, 2))
    x1, conditions = run._encode(run.model, examples)
    target, residual = x1.chunk(2, dim=2)
    nothing = torch.cat([conditions["audio_features"][..., : target.size(2)]] * 2, dim=2)
    codec = run.model.audio_codec
    men = replace(examples, target=examples.target[:2], residual=examples.residual[:2])  # not as loud as the women
    assert _separated(codec, nothing[:2], men)[0] == pytest.approx(0.0, abs=0.05)
    assert _separated(codec, x1, examples)[0] > 40
    assert _separated(codec, x1, examples)[1] == 1.0
    assert _separated(codec, torch.cat([residual, target], dim=2), examples)[1] == 0.0


@pytest.mark.parametrize(("share", "expected"), [(0.0, [0]), (0.5, range(3, 14)), (1.0, [16])])
def test_as_many_steps_are_rolled_out_as_are_wanted(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, share: float, expected: Sequence[int]
) -> None:
    run = Run(replace(SMALL, mixtures_per_step=1, rollouts=share), corpus)
    rolled = []
    monkeypatch.setattr(
        FlowLoss, "on_rollout", lambda loss, *given: rolled.append(given) or FlowLoss.on_path(loss, *given)
    )
    for _ in range(16):
        run.train_step(1e-3)
    assert len(rolled) in expected


def test_what_a_recipe_says_of_batches_and_rollouts_is_done(corpus: Corpus) -> None:
    run = Run(replace(SMALL, prompts_per_mixture=1, rollout_steps=2, rollout_power=5.0), corpus)
    assert len(run._sampler.draw(3, (0, 1)).target) == 3
    assert (run._loss.rollout_steps, run._loss.rollout_power) == (2, 5.0)


def test_the_starting_model_copies_its_mixture_to_both_outputs(corpus: Corpus) -> None:
    run = Run(SMALL, corpus)
    examples = run._validation.draw(4, (0, 2))
    x1, conditions = run._encode(run.model, examples)
    mixture = conditions["audio_features"]
    with torch.no_grad():
        velocity = run.model(noisy_audio=torch.zeros_like(x1), time=torch.zeros(x1.size(0)), **conditions)
    correlation = torch.nn.functional.cosine_similarity(velocity.flatten(), mixture.flatten(), dim=0)
    assert float(correlation) > 0.9


_ALL = {"rollouts": 0.5, "reverberation": 0.5, "repitch": 0.5, "gaps": 0.5, "prompts_per_mixture": 1}


@pytest.mark.parametrize("more", [{}, _ALL])
def test_an_interrupted_run_continues_to_the_bit(corpus: Corpus, tmp_path: Path, more: dict[str, float]) -> None:
    recipe = replace(SMALL, **more)
    whole, first = Run(recipe, corpus), Run(recipe, corpus)
    losses = [whole.train_step(1e-3) for _ in range(4)]
    resumed_losses = [first.train_step(1e-3) for _ in range(2)]
    first.save(tmp_path / "snapshot.pt")
    second = Run(recipe, corpus)
    second.load(tmp_path / "snapshot.pt")
    resumed_losses += [second.train_step(1e-3) for _ in range(2)]
    assert losses == resumed_losses
    for model in ("model", "average"):
        wanted, found = getattr(whole, model).state_dict(), getattr(second, model).state_dict()
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_other_processes_draw_the_same_examples_and_in_the_same_order(corpus: Corpus) -> None:
    recipe = replace(SMALL, **_ALL)
    sampler = training_sampler(recipe, corpus)
    here, ahead = Ahead(recipe, sampler, workers=0), Ahead(recipe, sampler, workers=1)
    try:
        for step in (0, 1, 2, 7, 8):  # from 2 to 7 where a snapshot was loaded
            own, others = here.take(step), ahead.take(step)
            assert np.array_equal(own.target, others.target)
            assert np.array_equal(own.residual, others.residual)
            assert (own.prompts, own.spans) == (others.prompts, others.spans)
    finally:
        ahead.close()


@pytest.mark.parametrize("more", [{"rollouts": 0.0}, {"rollouts": 1.0, "snr_weight": 0.1}])
def test_all_that_a_step_computes_is_on_the_device_of_its_run(corpus: Corpus, more: dict[str, float]) -> None:
    """The meta device refuses tensors of another one as CUDA does, and has no numbers, so that no draw may be there."""
    run = Run(replace(SMALL, **more), corpus, device="meta")
    encoder = Run(SMALL, corpus).model.text_encoder
    assert encoder is not None
    # somebody else's, and it looks at its mask's values
    run.model.text_encoder.forward = lambda texts: tuple(part.detach().to("meta") for part in encoder(texts))  # type: ignore[union-attr,method-assign]
    loss = run.loss_of_step()
    loss.backward()
    assert loss.is_meta
    assert all(parameter.grad is None or parameter.grad.is_meta for parameter in run.model.parameters())
    assert sum(parameter.grad is not None for parameter in run.model.parameters()) > 100


def test_longer_text_padding_changes_nothing(corpus: Corpus) -> None:
    run = Run(SMALL, corpus)
    examples = run._validation.draw(1, (0, 2))
    x1, padded = run._encode(run.model, examples)
    plain = run.model.conditions(
        torch.from_numpy(examples.target + examples.residual), examples.prompts, examples.spans
    )
    assert padded["text_mask"].size(1) > plain.text_mask.size(1)
    with torch.no_grad():
        run.model.transformer.layers[0].cross_attention.wo.weight.normal_(std=0.1)  # closed at the start
        found, wanted = (
            run.model(noisy_audio=x1, time=torch.zeros(x1.size(0)), **given) for given in (padded, plain.as_kwargs())
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def _trained(corpus: Corpus, folder: Path, recipe: Recipe = SMALL) -> Run:
    """A small network that is no longer as it began: all of its weights are moved."""
    run = Run(recipe, corpus)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in run.average.named_parameters():
            if not name.startswith("text_encoder."):
                value.add_(0.05 * torch.randn(value.shape, generator=generator))
        for gated in (run.average.embed_anchors, run.average.align_masked_video):
            gated.gate.fill_(0.8)
    save_checkpoint(run.average, folder)
    return run


def test_a_wider_run_starts_as_the_same_network(corpus: Corpus, tmp_path: Path) -> None:
    first, wider = _trained(corpus, tmp_path / "small"), Run(replace(SMALL, dim=144, n_heads=3), corpus)
    wider.start_from([tmp_path / "small"])
    for seed, time in ((2, 0.0), (4, 0.3)):  # other examples than those on which the norms were measured
        x1, conditions = first._encode(first.average, first._validation.draw(2, (0, seed)))
        state = torch.lerp(torch.randn(x1.shape, generator=torch.Generator().manual_seed(seed)), x1, time)
        times = torch.full((x1.size(0),), time)
        with torch.no_grad():
            wanted = first.average(noisy_audio=state, time=times, **conditions)
            found = wider.model(noisy_audio=state, time=times, **conditions)
        error = (found - wanted).square().mean() / wanted.square().mean()
        assert float(error) < 2e-6, time


def test_a_run_with_more_bins_starts_with_the_old_ones_separated_and_the_new_ones_copied(
    corpus: Corpus, tmp_path: Path
) -> None:
    first, wider = _trained(corpus, tmp_path / "small"), Run(replace(SMALL, n_bins=128, dim=192, n_heads=4), corpus)
    wider.start_from([tmp_path / "small"])
    examples = first._validation.draw(2, (0, 2))
    waves = []
    for run in (first, wider):
        x1, conditions = run._encode(run.average, examples)
        with torch.no_grad():
            velocity = run.average(noisy_audio=torch.zeros_like(x1), time=torch.zeros(x1.size(0)), **conditions)
            waves.append(run.average.audio_codec.decode(velocity.chunk(2, dim=2)[0].transpose(1, 2))[:, 0])
    spectra = [torch.fft.rfft(wave) for wave in waves]
    middle = spectra[0].size(1) // 2  # 2 kHz
    low = slice(0, int(0.95 * middle))
    error = (spectra[1] - spectra[0])[:, low].abs().square().sum() / spectra[0][:, low].abs().square().sum()
    assert float(error) < 0.02
    high = slice(int(1.05 * middle), int(1.9 * middle))
    mixture = torch.fft.rfft(torch.from_numpy(examples.target + examples.residual))
    correlation = (spectra[1].conj() * mixture)[:, high].sum().real.abs()
    assert float(correlation / (spectra[1][:, high].norm() * mixture[:, high].norm())) > 0.9


def test_all_that_was_added_learns(corpus: Corpus, tmp_path: Path) -> None:
    _trained(corpus, tmp_path / "small")
    wider = Run(replace(SMALL, n_bins=128, dim=192, n_heads=4, learning_rate=1e-3), corpus)
    wider.start_from([tmp_path / "small"])
    before = {name: value.clone() for name, value in wider.model.named_parameters()}
    for _ in range(4):
        wider.train_step(1e-3)
    width = 2 * wider.model.config.audio_codec.n_channels
    for name, value in wider.model.named_parameters():
        if value.ndim == 1 or name.startswith(("text_encoder.", "embed_anchors.embed.", "align_masked_video.conv.")):
            continue  # copied as they are, or fed with zeros
        moved = (value - before[name]).abs() > 1e-6 + 2e-5 * before[name].abs()  # more than weight decay does
        if name == "proj.weight":  # as is the middle of its input
            moved = torch.cat([moved[:, :width], moved[:, 2 * width :]], dim=1)
        assert float(moved.float().mean()) > 0.95, name


@pytest.mark.parametrize(
    ("small", "large", "reason"),
    [
        ({}, {"dim": 144, "n_heads": 2}, "keep the head size"),
        ({"dim": 144, "n_heads": 3}, {"n_bins": 128, "dim": 192, "n_heads": 4}, "raise dim"),  # 72 more channels
    ],
)
def test_what_a_network_cannot_grow_into_is_refused(
    corpus: Corpus, tmp_path: Path, small: dict[str, int], large: dict[str, int], reason: str
) -> None:
    _trained(corpus, tmp_path / "small", replace(SMALL, **small))
    with pytest.raises(ValueError, match=reason):
        Run(replace(SMALL, **large), corpus).start_from([tmp_path / "small"])


def test_a_codec_of_another_hop_is_no_larger_one() -> None:
    with pytest.raises(ValueError, match="its own rate, hop"):
        kept_channels(MDCTConfig(), MDCTConfig(hop_length=64, gain_widths=(1,) * 64))


def test_a_run_at_another_scale_starts_as_the_same_network(corpus: Corpus, tmp_path: Path) -> None:
    first, larger = Run(SMALL, corpus), Run(replace(SMALL, shape_std=16.0, gain_std=20.0), corpus)
    save_checkpoint(first.average, tmp_path / "checkpoint")
    larger.start_from([tmp_path / "checkpoint"])
    examples = first._validation.draw(1, (0, 2))
    (x1, conditions), (x1_larger, conditions_larger) = (run._encode(run.average, examples) for run in (first, larger))
    noise, time = torch.randn(x1.shape, generator=torch.Generator().manual_seed(0)), torch.full((x1.size(0),), 0.3)
    with torch.no_grad():
        plain = first.average(noisy_audio=torch.lerp(noise / 2, x1, 0.3), time=time, **conditions)
        scaled = larger.average(noisy_audio=torch.lerp(noise, x1_larger, 0.3), time=time, **conditions_larger)
    torch.testing.assert_close(scaled, 2 * plain, rtol=1e-3, atol=1e-3)


def test_a_run_may_start_from_the_mean_of_two(corpus: Corpus, tmp_path: Path) -> None:
    run, mean = Run(SMALL, corpus), Run(SMALL, corpus)
    folders, weights = [tmp_path / "first", tmp_path / "second"], []
    for folder in folders:
        run.train_step(1e-3)
        save_checkpoint(run.model, folder)
        weights.append({name: value.clone() for name, value in run.model.state_dict().items()})
    mean.start_from(folders)
    for model in (mean.model, mean.average):
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, (weights[0][name] + weights[1][name]) / 2)


def test_another_recipe_does_not_resume(corpus: Corpus, tmp_path: Path) -> None:
    run = Run(SMALL, corpus)
    run.save(tmp_path / "snapshot.pt")
    with pytest.raises(ValueError, match="same options"):
        Run(replace(SMALL, seed=1), corpus).load(tmp_path / "snapshot.pt")


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"n_bins": 70}, "64, 72"),
        ({"n_bins": 128, "dim": 144}, "choose 168 or more"),
        ({"prompts_per_mixture": 3}, "1 or 2"),
        ({"rollout_steps": 0}, "1 or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        replace(SMALL, **changes)


def test_the_learning_rate_warms_up_stays_and_cools_down() -> None:
    recipe = Recipe(learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate_at(step, recipe, steps=100, cooldown=20) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert all(before >= after for before, after in pairwise(rates[80:]))
    assert rates[-1] == pytest.approx(0.05)


def test_the_command_trains_resumes_and_exports_a_checkpoint_that_loads(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(SAMAudio, "compile_layers", lambda _, **options: compiled.append(options))
    run, out = tmp_path / "run", tmp_path / "checkpoint"
    options = ["--corpus", str(corpus.directory), "--run", str(run), "--every", "2", "--dim", "96", "--n-heads", "2"]
    options += ["--n-bins", "64"]
    options += ["--mixtures-per-step", "1", "--seconds", "0.512", "--no-bf16", "--cooldown", "2"]
    options += ["--validation-mixtures", "1"]
    assert main([*options, "--steps", "2"]) == 0
    assert not compiled
    again = ["--steps", "4", "--start-from", "not read, for the run has a snapshot", "--compile"]
    assert main([*options, *again, "--export", str(out)]) == 0
    assert compiled == [{"dynamic": False}]
    assert (run / "log.csv").read_text().count("\n") == 4  # header, start, step 2, step 4
    model = load_model(str(out))
    assert model.sample_rate == RATE
    assert len(model.transformer.layers) == 12


def test_what_growing_makes_on_the_way_lies_where_the_weights_do(corpus: Corpus, tmp_path: Path) -> None:
    """Whatever the default device is, as the processor is to a run on a GPU."""
    _trained(corpus, tmp_path / "small")
    wider = Run(replace(SMALL, n_bins=128, dim=192, n_heads=4), corpus)
    wider.start_from([tmp_path / "small"])
    wanted = {name: value.clone() for name, value in wider.model.state_dict().items()}
    old, examples = load_model(tmp_path / "small"), wider._sampler.draw(8, (wider.recipe.seed, 3))
    x1, conditions = wider._encode(old, examples)
    example = {"noisy_audio": torch.zeros_like(x1), "time": x1.new_zeros(x1.size(0)), **conditions}
    with torch.device("meta"):
        found = grow(old, wider.model, example, latent_std=wider.recipe.shape_std)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
