"""The cached mixtures and the laws that every mixture obeys."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.corpus.packages import PackageError, Row, read_manifest
from fixtures.corpus.prompts import Prompts
from fixtures.mixing import build as mixing
from fixtures.mixing import sources
from fixtures.mixing.notice import with_audio_credits
from fixtures.mixing.plan import PlanningError, plan_mixtures
from fixtures.mixing.sources import SAMPLE_RATE, Recording, sound_recordings, speech_recordings
from sam_lsac.errors import InputError
from sam_lsac.mixtures import Mixture, fixture, load_mixtures
from sam_lsac.mixtures.activity import active_level_db, active_share, active_spans, choose_excerpt
from sam_lsac.mixtures.audio import on_grid, resample
from sam_lsac.mixtures.scene import Scene, balance, mix

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
FOLDER = FIXTURES / "mixtures"
TIERS = ("clean", "noisy", "env")
SOURCES, ENTRIES = fixture.read_manifests()
BY_ID = {entry.id: entry for entry in ENTRIES}


@pytest.fixture(scope="module")
def claims() -> dict[str, Mixture]:
    """All mixtures of the claims, whole."""
    return {mixture.id: mixture for mixture in load_mixtures(per_tier=48)}


@pytest.fixture(scope="module")
def excerpts() -> dict[str, Mixture]:
    """The default selection as the embedded checkpoint hears it."""
    return {mixture.id: mixture for mixture in load_mixtures(sample_rate=8000, duration_s=2.0)}


def bursts(seed: int, *, n_samples: int = 16_000, starts: tuple[int, ...] = (0,), length: int = 6000) -> np.ndarray:
    """Noise that is on for a while and then off: its activity is known."""
    wave = np.zeros(n_samples)
    for start in starts:
        wave[start : start + length] = np.random.default_rng(seed).normal(0.0, 0.05, n_samples)[start : start + length]
    return wave


def make_mixture(seed: int = 0, *, n_samples: int = 16_000, sample_rate: int = 8000) -> Mixture:
    """A mixture of two bursts of noise."""
    target = on_grid(bursts(seed, n_samples=n_samples, starts=(1600, 9600), length=4800))
    residual = on_grid(bursts(seed + 1, n_samples=n_samples, length=n_samples))
    spans = tuple(("+", start, end) for start, end in active_spans(target.astype(np.float64), sample_rate))
    return Mixture(
        id="one",
        tier="user",
        target=target,
        residual=residual,
        sample_rate=sample_rate,
        prompt="dog barking",
        residual_prompt=None,
        spans=spans,
        group="dog",
        credits=(),
    )


class TestCachedMixtures:
    def test_every_tier_has_48_mixtures_for_claims_and_8_for_calibration(self) -> None:
        counted = Counter((entry.tier, entry.subset) for entry in ENTRIES)
        assert counted == {(tier, subset): n for tier in TIERS for subset, n in (("claims", 48), ("calibration", 8))}

    def test_sources_are_5_s_at_16_khz(self, claims: dict[str, Mixture]) -> None:
        assert {(one.sample_rate, one.target.size) for one in claims.values()} == {(16_000, 80_000)}

    def test_target_and_residual_sum_to_the_wave_exactly(self, claims: dict[str, Mixture]) -> None:
        for one in claims.values():
            exact = one.target.astype(np.float64) + one.residual.astype(np.float64)
            assert np.array_equal(one.wave.astype(np.float64), exact), one.id
            assert np.max(np.abs(one.wave)) < 1.0, one.id

    def test_noise_lies_5_db_below_the_clean_mixture(self, claims: dict[str, Mixture]) -> None:
        for number in range(48):
            assert_snr(claims[f"clean-{number:03d}"], claims[f"noisy-{number:03d}"])

    def test_noise_lies_5_db_below_what_the_embedded_checkpoint_hears(self, excerpts: dict[str, Mixture]) -> None:
        for number in range(24):
            assert_snr(excerpts[f"clean-{number:03d}"], excerpts[f"noisy-{number:03d}"])

    def test_noise_differs_between_mixtures_and_is_white(self, claims: dict[str, Mixture]) -> None:
        noises = [claims[f"noisy-{n:03d}"].residual - claims[f"clean-{n:03d}"].residual for n in (0, 1)]
        assert abs(np.corrcoef(noises)[0, 1]) < 0.02
        spectrum = np.abs(np.fft.rfft(noises[0])[1:]) ** 2
        assert np.allclose(spectrum.reshape(8, -1).mean(axis=1) / spectrum.mean(), 1.0, atol=0.1)

    def test_noisy_is_clean_with_noise(self) -> None:
        for number in range(48):
            clean, noisy = BY_ID[f"clean-{number:03d}"], BY_ID[f"noisy-{number:03d}"]
            kept = {
                "id": noisy.id,
                "tier": "noisy",
                "snr_db": 5.0,
                "noise_seed": noisy.noise_seed,
                "sha256": noisy.sha256,
            }
            assert replace(clean, **kept) == noisy

    def test_levels_differ_as_the_manifest_says(self, claims: dict[str, Mixture]) -> None:
        differences = []
        for one in claims.values():
            if one.tier == "noisy":
                continue
            levels = [active_level_db(wave.astype(np.float64), one.sample_rate) for wave in (one.target, one.residual)]
            assert levels[0] - levels[1] == pytest.approx(BY_ID[one.id].level_difference_db, abs=0.01), one.id
            differences.append(levels[0] - levels[1])
        assert -5.01 <= min(differences) < -3
        assert 3 < max(differences) <= 5.01
        assert np.std(differences) > 2.0

    def test_clean_pairs_are_of_opposite_sex_and_both_are_targets(self) -> None:
        targets = Counter()
        for entry in (one for one in ENTRIES if one.tier == "clean" and one.subset == "claims"):
            prompts = {SOURCES[entry.target].prompt, SOURCES[entry.residual].prompt}
            assert prompts == {"man speaking", "woman speaking"}
            targets[SOURCES[entry.target].group, SOURCES[entry.residual].group] += 1
        assert len(targets) == 8
        assert set(targets.values()) == {6}

    def test_env_crosses_domains(self) -> None:
        kinds = Counter()
        for entry in (one for one in ENTRIES if one.tier == "env" and one.subset == "claims"):
            target, residual = SOURCES[entry.target], SOURCES[entry.residual]
            assert target.prompt != residual.prompt, entry.id
            kinds["speaking" in target.prompt, "speaking" in residual.prompt] += 1
        assert kinds == {(True, False): 18, (False, True): 18, (False, False): 12}

    def test_no_recording_serves_twice_within_a_tier(self) -> None:
        for tier in TIERS:
            files = [file for one in ENTRIES if one.tier == tier for file in (one.target, one.residual)]
            assert len(files) == len(set(files))

    def test_claims_and_calibration_share_no_clip(self) -> None:
        clips = {
            subset: {
                clip
                for entry in ENTRIES
                if entry.subset == subset
                for file in (entry.target, entry.residual)
                for clip in SOURCES[file].clips
            }
            for subset in ("claims", "calibration")
        }
        assert clips["claims"]
        assert clips["calibration"]
        assert not clips["claims"] & clips["calibration"]

    def test_every_prefix_is_the_beginning_of_the_whole(self, claims: dict[str, Mixture]) -> None:
        for per_tier in (1, 5, 24):
            some = load_mixtures(per_tier=per_tier)
            assert [one.id for one in some] == [f"{tier}-{n:03d}" for tier in TIERS for n in range(per_tier)]
            assert [one.digest for one in some] == [claims[one.id].digest for one in some]

    def test_speakers_are_balanced_in_the_default_selection(self) -> None:
        for tier in ("clean", "noisy"):
            targets = Counter(one.group for one in load_mixtures(tiers=[tier]))
            assert len(targets) == 4
            assert set(targets.values()) == {6}

    def test_calibration_is_another_selection(self) -> None:
        chosen = load_mixtures(subset="calibration", per_tier=8)
        assert len(chosen) == 24
        assert not {one.digest for one in chosen} & {entry.sha256 for entry in ENTRIES if entry.subset == "claims"}

    def test_prompts_and_credits_are_there(self, claims: dict[str, Mixture]) -> None:
        for one in claims.values():
            assert one.prompt == one.prompt.lower()
            assert len(one.prompt.split()) == 2
            assert one.residual_prompt
            assert len(one.credits) == 2
            assert all(one.credits)

    def test_digests_are_those_of_the_manifest(self, claims: dict[str, Mixture]) -> None:
        assert {one.id: one.digest for one in claims.values()} == {id_: BY_ID[id_].sha256 for id_ in claims}

    def test_spans_are_where_the_target_is_active(self, claims: dict[str, Mixture]) -> None:
        for one in claims.values():
            expected = active_spans(one.target.astype(np.float64), one.sample_rate)
            assert_spans_close(one, expected)
            assert all(after[1] - before[2] >= 0.2 - 1e-9 for before, after in pairwise(one.spans))

    def test_both_sources_are_active_in_the_excerpt(self, excerpts: dict[str, Mixture]) -> None:
        for one in excerpts.values():
            assert one.sample_rate == 8000
            assert one.target.size == 16_000
            entry = BY_ID[one.id]
            residual, rate = soundfile.read(FOLDER / entry.residual)
            shares = [
                active_share(spans, entry.excerpt_start_s, entry.excerpt_start_s + 2.0)
                for spans in (entry.spans, active_spans(residual, rate))
            ]
            assert shares[0] >= 0.4, one.id
            assert shares[1] >= 0.6, one.id

    def test_excerpts_repeat_bit_by_bit(self, excerpts: dict[str, Mixture]) -> None:
        again = load_mixtures(sample_rate=8000, duration_s=2.0)
        assert [one.digest for one in again] == [one.digest for one in excerpts.values()]

    def test_more_than_there_are_is_refused(self) -> None:
        with pytest.raises(InputError, match="clean tier has 8 calibration mixtures, not 9; ask for fewer"):
            load_mixtures(subset="calibration", per_tier=9)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"tiers": ("clean", "loud")}, "clean, noisy, env"),
            ({"tiers": "clean"}, "sequence of"),
            ({"per_tier": 0}, "at least 1"),
            ({"subset": "training"}, "'claims' or 'calibration'"),
            ({"seed": -1}, "seed must lie between"),
            ({"sample_rate": 0}, "0 Hz cannot be"),
            ({"sample_rate": -8000}, "-8000 Hz cannot be"),
            ({"sample_rate": 2**40}, "give one of"),
            ({"duration_s": 6.0}, "choose an excerpt inside it"),
            ({"duration_s": 0.0}, "0.0 s cannot be"),
            ({"duration_s": float("nan")}, "nan s cannot be"),
            ({"source": "nowhere"}, "no folder nowhere; give 'embedded'"),
        ],
    )
    def test_bad_arguments_name_the_remedy(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(InputError, match=message):
            load_mixtures(**{"per_tier": 1, **arguments})  # type: ignore[arg-type]

    def test_a_higher_rate_keeps_the_noise_of_the_recordings_band(self) -> None:
        high = load_mixtures(tiers=["noisy"], per_tier=1, sample_rate=48_000)[0]
        low = load_mixtures(tiers=["noisy"], per_tier=1)[0]
        assert high.target.size == 240_000
        assert np.mean(high.residual**2) == pytest.approx(np.mean(low.residual**2), rel=0.1)


def assert_snr(clean: Mixture, noisy: Mixture) -> None:
    """Measure the SNR from the two mixtures alone."""
    assert np.array_equal(clean.target, noisy.target)
    noise = noisy.residual.astype(np.float64) - clean.residual
    snr_db = 10.0 * np.log10(np.mean(clean.wave.astype(np.float64) ** 2) / np.mean(noise**2))
    assert snr_db == pytest.approx(5.0, abs=0.01), noisy.id


def assert_spans_close(mixture: Mixture, expected: tuple[tuple[float, float], ...]) -> None:
    """Compare spans within one frame of the detector."""
    assert len(mixture.spans) == len(expected), mixture.id
    for (sign, start, end), (expected_start, expected_end) in zip(mixture.spans, expected, strict=True):
        assert sign == "+"
        assert start == pytest.approx(expected_start, abs=0.0201), mixture.id
        assert end == pytest.approx(expected_end, abs=0.0201), mixture.id


class TestFiles:
    def test_every_file_has_the_digest_of_its_manifest(self) -> None:
        for file, source in SOURCES.items():
            assert hashlib.sha256((FOLDER / file).read_bytes()).hexdigest() == source.sha256, file

    def test_no_file_is_left_over_and_none_unused(self) -> None:
        present = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.flac")}
        assert present == set(SOURCES) == {file for one in ENTRIES for file in (one.target, one.residual)}

    def test_all_files_together_stay_below_40_mb(self) -> None:
        assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 40e6

    def test_recordings_are_16_bit_clean_and_at_one_level(self) -> None:
        for file in SOURCES:
            assert soundfile.info(FOLDER / file).subtype == "PCM_16"
            wave, rate = soundfile.read(FOLDER / file)
            assert rate == 16_000
            assert wave.shape == (80_000,)
            assert active_level_db(wave, rate) == pytest.approx(-25.0, abs=0.05), file
            assert np.max(np.abs(wave)) < 0.991, file
            power = np.abs(np.fft.rfft(wave)) ** 2
            assert power[: 30 * 5].sum() < 0.005 * power.sum(), f"{file} has rumble below 30 Hz"

    def test_recordings_can_be_heard_at_8_khz(self) -> None:
        for file in SOURCES:
            wave, _ = soundfile.read(FOLDER / file)
            power = np.abs(np.fft.rfft(wave)) ** 2
            assert power[: 3000 * 5].sum() > 0.25 * power.sum(), file

    def test_clips_are_of_the_test_split_and_licences_permit(self) -> None:
        rows = {row.origin: row for row in read_manifest(FIXTURES / "corpus" / "packages.tsv")}
        for file, source in SOURCES.items():
            for clip in source.clips:
                row = rows[clip]
                assert row.split == "test"
                assert row.licence == source.licence
                assert row.package == source.package
                if file.startswith("cc-by-sa/"):
                    assert row.licence == "CC-BY-SA-3.0"
                else:
                    assert row.licence in {"CC0", "CC0-1.0", "MIT", "CC-BY-3.0", "BSD-like (Edinburgh)"}
                assert "loop_amen" not in clip

    def test_share_alike_mixtures_are_all_in_their_folder(self) -> None:
        for name, is_share_alike in (("manifest.toml", False), ("cc-by-sa/manifest.toml", True)):
            tables = tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))
            for entry in tables["mixture"]:
                licences = {SOURCES[entry[role]].licence for role in ("target", "residual")}
                assert ("CC-BY-SA-3.0" in licences) is is_share_alike, entry["id"]
        assert "every mixture of this folder's manifest.toml" in (FOLDER / "cc-by-sa" / "LICENSE").read_text().replace(
            "\n", " "
        )

    def test_notice_credits_every_recording_and_is_not_stale(self) -> None:
        notice = (FIXTURES.parent / "NOTICE").read_text(encoding="utf-8")
        for file, source in SOURCES.items():
            assert f"  {file}\n    {source.credit}; {source.licence}\n" in notice, file
        assert with_audio_credits(notice, SOURCES.values()) == notice

    def test_prompts_cover_the_whole_corpus_in_broad_classes(self) -> None:
        prompts = Prompts.read()
        rows = read_manifest(FIXTURES / "corpus" / "packages.tsv")
        named = {prompts.of(row.path) for row in rows}
        assert all(prompt == prompt.lower() and len(prompt.split()) == 2 for prompt in named)
        assert 20 <= len(named) <= 32
        trained = {prompts.of(row.path) for row in rows if row.split == "train"}
        assert {source.prompt for source in SOURCES.values()} <= trained, "a prompt that training never saw"
        assert {source.prompt for source in SOURCES.values()} <= named

    def test_a_corrupted_recording_is_named(self, copied: Path) -> None:
        file = BY_ID["clean-000"].target
        content = bytearray((copied / file).read_bytes())
        content[-10] ^= 1
        (copied / file).write_bytes(bytes(content))
        with pytest.raises(InputError, match=rf"{file} is not the file .* git checkout"):
            load_mixtures(tiers=["clean"], per_tier=1)

    def test_a_missing_recording_is_named(self, copied: Path) -> None:
        (copied / BY_ID["clean-000"].residual).unlink()
        with pytest.raises(
            InputError, match=rf"{BY_ID['clean-000'].residual} is missing; restore it with: git checkout"
        ):
            load_mixtures(tiers=["clean"], per_tier=1)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "level_difference_db = ",
                "level_difference_dB = ",
                "unknown key 'level_difference_dB': did you mean 'level_difference_db'",
            ),
            ("gains_db = [", "gains_db = [0.5, ", r"gains_db: .* at most 2 items.* restore it"),
            ("[[mixture]]", "[[mixture]", "manifest.toml is no TOML"),
            ("excerpt_start_s = ", "# excerpt_start_s = ", r"mixture\[0\]: excerpt_start_s is missing"),
            ('target = "speech/', 'target = "elsewhere/', "no manifest .* describes elsewhere"),
            ("noise_seed = 0\n", "noise_seed = 1\n", "noisy-000 is not the one of its manifest"),
        ],
    )
    def test_a_changed_manifest_is_noticed(self, copied: Path, old: str, new: str, message: str) -> None:
        path = copied / "manifest.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_mixtures(per_tier=1)

    def test_a_missing_manifest_is_named(self, copied: Path) -> None:
        (copied / "cc-by-sa" / "manifest.toml").unlink()
        with pytest.raises(InputError, match=r"manifest.toml is missing; restore it with git checkout"):
            load_mixtures(per_tier=1)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the first mixtures of each tier, which the library then reads."""
    needed = {"manifest.toml", "cc-by-sa/manifest.toml"}
    needed |= {file for tier in TIERS for file in (BY_ID[f"{tier}-000"].target, BY_ID[f"{tier}-000"].residual)}
    for name in needed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    monkeypatch.setattr(fixture, "MIXTURES_FOLDER", tmp_path)
    return tmp_path


class TestMixture:
    @given(index=st.integers(0, 15_999), of_target=st.booleans())
    @settings(deadline=None)
    def test_digest_changes_with_any_one_sample(self, index: int, of_target: bool) -> None:
        mixture = make_mixture()
        name = "target" if of_target else "residual"
        changed = getattr(mixture, name).copy()
        changed[index] += 2.0**-20
        assert replace(mixture, **{name: changed}).digest != mixture.digest

    @pytest.mark.parametrize(
        "change",
        [
            {"prompt": "cat purring"},
            {"residual_prompt": "rain falling"},
            {"sample_rate": 8001},
            {"spans": (("+", 0.1, 0.2),)},
        ],
    )
    def test_digest_changes_with_what_a_model_is_told(self, change: dict[str, object]) -> None:
        mixture = make_mixture()
        assert replace(mixture, **change).digest != mixture.digest  # type: ignore[arg-type]

    def test_digest_ignores_names(self) -> None:
        mixture = make_mixture()
        renamed = replace(mixture, id="two", tier="env", group="wolf", residual_group="owl", credits=("somebody",))
        renamed = replace(renamed, excerpt_start_s=0.3)
        assert renamed.digest == mixture.digest

    def test_swapped_sources_are_another_mixture(self) -> None:
        mixture = make_mixture()
        assert replace(mixture, target=mixture.residual, residual=mixture.target).digest != mixture.digest

    @given(start=st.integers(0, 12_000), n_samples=st.integers(800, 4000))
    @settings(deadline=None)
    def test_excerpts_cut_waves_and_spans_alike(self, start: int, n_samples: int) -> None:
        mixture = make_mixture()
        excerpt = mixture.excerpt(start / 8000, n_samples / 8000)
        assert np.array_equal(excerpt.wave, mixture.wave[start : start + n_samples])
        assert np.array_equal(is_told(excerpt), is_told(mixture)[start : start + n_samples])

    @given(rate=st.sampled_from([4000, 7999, 11_025, 16_000, 44_100, 48_000]))
    @settings(deadline=None)
    def test_resampling_keeps_duration_spans_and_sum(self, rate: int) -> None:
        mixture = make_mixture()
        other = mixture.at(rate)
        assert other.target.size == other.residual.size == round(2.0 * rate)
        assert np.allclose(as_numbers(other.spans), as_numbers(mixture.spans), atol=1 / rate)
        exact = other.target.astype(np.float64) + other.residual
        assert np.array_equal(other.wave, exact)
        measured = active_spans(other.target.astype(np.float64), rate)
        assert np.allclose(measured, as_numbers(mixture.spans), atol=0.0201)

    def test_resampling_up_and_down_again_loses_next_to_nothing(self) -> None:
        wave = resample(bursts(3, starts=(4000,), length=8000), 8000, 4000)
        back = resample(resample(wave, 4000, 16_000), 16_000, 4000)
        inner = slice(100, -100)
        error = np.mean((back - wave)[inner] ** 2) / np.mean(wave**2)
        assert back.size == wave.size
        assert error < 0.06

    def test_resampling_does_not_delay(self) -> None:
        time = np.arange(16_000) / 16_000
        low = resample(np.sin(2 * np.pi * 440 * time), 16_000, 8000)
        assert np.allclose(low[200:-200], np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)[200:-200], atol=1e-4)

    def test_the_same_rate_is_the_same_mixture(self) -> None:
        mixture = make_mixture()
        assert mixture.at(8000) is mixture

    def test_waves_are_read_only(self) -> None:
        mixture = make_mixture()
        with pytest.raises(ValueError, match="read-only"):
            mixture.target[0] = 1.0

    def test_the_callers_array_stays_writable(self) -> None:
        wave = np.ones(100, dtype=np.float32)
        replace(make_mixture(), target=wave, residual=wave, spans=())
        assert wave.flags.writeable

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"target": np.zeros(15_999, dtype=np.float32)}, "one shape"),
            ({"target": np.zeros((2, 8000), dtype=np.float32)}, "one shape"),
            ({"target": np.full(16_000, np.nan, dtype=np.float32)}, "NaN"),
            ({"residual": np.full(16_000, np.inf, dtype=np.float32)}, "infinite"),
            ({"sample_rate": 0}, "0 Hz"),
            ({"prompt": " "}, "prompt is empty"),
            ({"residual_prompt": ""}, "prompt is empty"),
            ({"spans": (("+", 1.0, 1.0),)}, "seconds from the start"),
            ({"spans": (("+", 1.0, 2.1),)}, "within 0 to 2.0 s"),
            ({"spans": (("x", 1.0, 1.5),)}, "is not"),
        ],
    )
    def test_what_no_run_could_use_is_refused(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(InputError, match=message):
            replace(make_mixture(), **change)  # type: ignore[arg-type]

    def test_other_precisions_are_refused(self) -> None:
        with pytest.raises(Exception, match="float32"):  # where types are checked at run time, that check comes first
            replace(make_mixture(), target=np.zeros(16_000))

    @pytest.mark.parametrize(("start_s", "duration_s"), [(-0.1, 1.0), (1.5, 1.0), (0.0, 2.1), (0.0, 0.0), (0.5, -0.2)])
    def test_excerpts_outside_are_refused(self, start_s: float, duration_s: float) -> None:
        with pytest.raises(InputError, match="choose an excerpt inside it"):
            make_mixture().excerpt(start_s, duration_s)


def is_told(mixture: Mixture) -> np.ndarray:
    """For every sample, whether a span covers it."""
    told = np.zeros(mixture.target.size, dtype=bool)
    for _, start, end in mixture.spans:
        told[round(start * mixture.sample_rate) : round(end * mixture.sample_rate)] = True
    return told


def as_numbers(spans: tuple[tuple[str, float, float], ...]) -> list[tuple[float, float]]:
    """Spans without their sign."""
    return [(start, end) for _, start, end in spans]


class TestActivity:
    @given(
        first=st.integers(0, 20),
        length=st.integers(5, 60),
        gap=st.integers(1, 30),
        rate=st.sampled_from([8000, 16_000, 44_100]),
    )
    @settings(deadline=None)
    def test_bursts_are_found_and_short_gaps_filled(self, first: int, length: int, gap: int, rate: int) -> None:
        frame = rate // 50
        wave = np.zeros((first + 2 * length + gap + 7) * frame)
        noise = np.random.default_rng(first).normal(0.0, 0.1, length * frame)
        second = first + length + gap
        wave[first * frame : (first + length) * frame] = noise
        wave[second * frame : (second + length) * frame] = noise
        end = second + length
        frames = [(first, first + length), (second, end)] if gap >= 10 else [(first, end)]
        assert np.allclose(active_spans(wave, rate), [(a * 0.02, b * 0.02) for a, b in frames], atol=1e-6)

    @given(gain=st.floats(1e-3, 1e3))
    @settings(deadline=None)
    def test_spans_do_not_depend_on_level_but_the_level_does(self, gain: float) -> None:
        wave = bursts(5, starts=(800, 8000))
        assert active_spans(gain * wave, 8000) == active_spans(wave, 8000)
        assert active_level_db(gain * wave, 8000) == pytest.approx(active_level_db(wave, 8000) + 20 * np.log10(gain))

    def test_the_level_leaves_gaps_out(self) -> None:
        wave = bursts(6, n_samples=32_000, starts=(1600,), length=8000)
        assert active_level_db(wave, 8000) == pytest.approx(10 * np.log10(np.mean(wave[1600:9600] ** 2)))

    def test_excerpts_prefer_a_target_that_pauses(self) -> None:
        target = bursts(7, n_samples=40_000, starts=(0, 20_000), length=16_000)  # 0-2 s, 2.5-4.5 s at 8 kHz
        residual = bursts(8, n_samples=40_000, length=40_000)
        start = choose_excerpt(target, residual, sample_rate=8000, duration_s=2.0)
        assert active_share(active_spans(target, 8000), start, start + 2.0) == pytest.approx(0.75, abs=0.03)

    def test_excerpts_avoid_a_residual_that_is_elsewhere(self) -> None:
        target = bursts(9, n_samples=40_000, length=40_000)
        residual = bursts(10, n_samples=40_000, starts=(24_000,), length=16_000)  # from 3 s on
        start = choose_excerpt(target, residual, sample_rate=8000, duration_s=2.0)
        assert active_share(active_spans(residual, 8000), start, start + 2.0) >= 0.6

    def test_excerpts_avoid_a_tail(self) -> None:
        target = bursts(11, n_samples=40_000, length=40_000)
        target[28_000:32_000] = 0.0  # the excerpt from 2.0 s would be active for just 75 % ...
        target[19_200:] *= 0.1  # ... but from 2.4 s on the target is 20 dB down
        residual = bursts(12, n_samples=40_000, length=40_000)
        assert choose_excerpt(target, residual, sample_rate=8000, duration_s=2.0) == 1.9

    def test_an_excerpt_longer_than_the_wave_starts_at_0(self) -> None:
        assert choose_excerpt(bursts(1), bursts(2), sample_rate=8000, duration_s=10.0) == 0.0

    @pytest.mark.parametrize("wave", [np.zeros(8000), np.ones(100), np.zeros(0)])
    def test_silence_and_single_samples_are_refused(self, wave: np.ndarray) -> None:
        with pytest.raises(InputError, match=r"shorter than 0.02 s or silent"):
            active_spans(wave, 8000)


class TestMixing:
    @given(difference_db=st.floats(-20, 20), loudness=st.floats(-60, 10))
    @settings(deadline=None)
    def test_balance_sets_the_level_difference_without_clipping(self, difference_db: float, loudness: float) -> None:
        waves = [10 ** (loudness / 20) * bursts(1), bursts(2, starts=(4000,))]
        gains = balance(*waves, sample_rate=8000, level_difference_db=difference_db)
        scaled = [10 ** (gain / 20) * wave for gain, wave in zip(gains, waves, strict=True)]
        levels = [active_level_db(wave, 8000) for wave in scaled]
        assert levels[0] - levels[1] == pytest.approx(difference_db, abs=0.002)
        assert np.max(np.abs(scaled[0] + scaled[1])) < 0.9901

    @given(snr_db=st.floats(-10, 30), seed=st.integers(0, 2**31 - 1), rate=st.sampled_from([None, 4000, 8000]))
    @settings(deadline=None)
    def test_noise_has_its_snr_at_any_lower_rate(self, snr_db: float, seed: int, rate: int | None) -> None:
        quiet = mix(make_scene(None, seed), sample_rate=rate, duration_s=0.5)
        noisy = mix(make_scene(snr_db, seed), sample_rate=rate, duration_s=0.5)
        noise = noisy.residual.astype(np.float64) - quiet.residual
        measured = 10 * np.log10(np.mean(quiet.wave.astype(np.float64) ** 2) / np.mean(noise**2))
        assert measured == pytest.approx(snr_db, abs=0.01)
        assert np.array_equal(noisy.target, quiet.target)

    def test_mixing_is_deterministic_and_the_seed_matters(self) -> None:
        assert mix(make_scene(5.0, 1)).digest == mix(make_scene(5.0, 1)).digest != mix(make_scene(5.0, 2)).digest

    def test_the_noise_stream_is_the_one_of_old(self) -> None:
        noisy, quiet = (mix(make_scene(snr, 0)) for snr in (5.0, None))
        noise = noisy.residual.astype(np.float64) - quiet.residual
        expected = [1.764052345967664, 0.4001572083672233, 0.9787379841057392]  # MT19937, seed 0, since NumPy 1.0
        assert np.allclose(noise[:3] / noise[0] * expected[0], expected, rtol=1e-3)

    def test_the_whole_is_cut_after_resampling_the_whole(self) -> None:
        scene = replace(make_scene(None, 0), excerpt_start_s=0.3)
        whole = mix(scene, sample_rate=4000)
        part = mix(scene, sample_rate=4000, duration_s=0.5)
        assert np.array_equal(part.wave, whole.wave[1200:3200])

    @given(values=st.lists(st.floats(-8, 8), min_size=2, max_size=2))
    @settings(deadline=None)
    def test_sums_on_the_grid_are_exact(self, values: list[float]) -> None:
        first, second = (on_grid(np.array([value])) for value in values)
        assert float((first + second)[0]) == float(first[0]) + float(second[0])
        assert abs(float(first[0]) - values[0]) <= 2.0**-21


def make_scene(snr_db: float | None, seed: int) -> Scene:
    """A scene of two bursts at 8 kHz, 2 s long."""
    return Scene(
        id="scene",
        tier="user",
        target=bursts(1, starts=(1600,), length=9000),
        residual=bursts(2, length=16_000),
        sample_rate=8000,
        prompt="dog barking",
        residual_prompt=None,
        group="dog",
        credits=(),
        snr_db=snr_db,
        noise_seed=seed,
    )


def make_row(path: str, *, split: str = "test", licence: str = "CC-BY-3.0", seconds: float = 2.0) -> Row:
    """A row of the manifest of clips."""
    return Row(
        path=path,
        split=split,
        seconds=seconds,
        orig_hz=16_000,
        package="some 1.0",
        licence=licence,
        credit="Somebody",
        origin=f"some/{path}",
    )


@pytest.fixture
def fake_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the packages: every clip is noise that depends on its name alone."""

    def decode(row: Row, cache: Path, sample_rate: int) -> np.ndarray:
        seed = int(hashlib.sha256(row.path.encode()).hexdigest()[:8], 16)
        return np.random.default_rng(seed).normal(0.0, 0.1, round(row.seconds * sample_rate)).astype(np.float32)

    monkeypatch.setattr(sources, "decode", decode)


@pytest.mark.usefixtures("fake_decode")
class TestBuilding:
    def speech_rows(self, n_clips: int = 8) -> list[Row]:
        licences = {"june_fr__f": "CC-BY-SA-3.0"}
        return [
            make_row(f"speech/{speaker}/{number}.wav", licence=licences.get(speaker, "CC-BY-3.0"))
            for speaker in sources.SPEAKERS
            for number in range(n_clips)
        ]

    def test_the_same_clips_give_the_same_bytes(self, tmp_path: Path) -> None:
        made = [
            [
                mixing._encode(one.samples)
                for one in speech_recordings(self.speech_rows(), tmp_path, n_claims=1, n_calibration=1)
            ]
            for _ in range(2)
        ]
        assert made[0] == made[1]
        assert len(set(made[0])) == 8

    def test_short_clips_are_joined_with_a_pause_and_used_once(self, tmp_path: Path) -> None:
        recordings = speech_recordings(self.speech_rows(), tmp_path, n_claims=1, n_calibration=1)
        clips = [clip for one in recordings for clip in one.clips]
        assert len(clips) == len(set(clips))
        for one in recordings:
            assert one.samples.dtype == np.int16
            assert one.samples.shape == (80_000,)
            spans = active_spans(one.samples / 32768.0, SAMPLE_RATE)
            gaps = [after[0] - before[1] for before, after in pairwise(spans)]
            assert len(one.clips) == 3
            assert len(gaps) == 2
            assert all(0.26 <= gap <= 0.34 for gap in gaps)
            assert one.file.startswith("cc-by-sa/") == (one.licence == "CC-BY-SA-3.0")

    def test_short_sounds_are_repeated_and_long_ones_cut(self, tmp_path: Path) -> None:
        selection = tmp_path / "sounds.toml"
        selection.write_text(
            '[[claims]]\nclip = "env/rain/a__long.wav"\nstarts_s = [0.0, 5.0]\n'
            '[[calibration]]\nclip = "env/cow/short.wav"\n'
        )
        rows = [make_row("env/rain/a__long.wav", seconds=12.0), make_row("env/cow/short.wav", seconds=1.0)]
        first, second, cow = sound_recordings(rows, tmp_path, selection)
        assert [one.file for one in (first, second, cow)] == [
            "sounds/rain-long-00s.flac",
            "sounds/rain-long-05s.flac",
            "sounds/cow-short.flac",
        ]
        assert [one.subset for one in (first, cow)] == ["claims", "calibration"]
        assert not np.array_equal(first.samples, second.samples)
        assert len(active_spans(cow.samples / 32768.0, SAMPLE_RATE)) == 4
        for one in (first, second, cow):
            assert active_level_db(one.samples / 32768.0, SAMPLE_RATE) == pytest.approx(-25.0, abs=0.01)

    @pytest.mark.parametrize("change", [{"licence": "GPL-2"}, {"split": "train"}, {"licence": "CC-BY-SA-3.0"}])
    def test_clips_that_may_not_be_published_are_refused(self, tmp_path: Path, change: dict[str, str]) -> None:
        selection = tmp_path / "sounds.toml"
        selection.write_text('[[claims]]\nclip = "env/cow/short.wav"\n')
        with pytest.raises(PackageError, match=r"may not be in sounds/cow-short.flac; choose another clip"):
            sound_recordings([make_row("env/cow/short.wav", **change)], tmp_path, selection)

    def test_a_sound_that_the_corpus_lacks_is_named(self, tmp_path: Path) -> None:
        selection = tmp_path / "sounds.toml"
        selection.write_text('[[claims]]\nclip = "env/cow/none.wav"\n')
        with pytest.raises(PackageError, match=r"names env/cow/none.wav, which packages.tsv lacks"):
            sound_recordings([], tmp_path, selection)

    def test_too_few_recordings_are_refused(self) -> None:
        with pytest.raises(PlanningError, match="need 24 recordings of every speaker"):
            plan_mixtures([], [])

    def test_check_compares_and_writes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(mixing, "MIXTURES_FOLDER", tmp_path / "mixtures")
        monkeypatch.setattr(mixing, "NOTICE", tmp_path / "NOTICE")
        monkeypatch.setattr(mixing, "build", lambda cache: {"speech/a.flac": b"1", "NOTICE": b"2"})
        arguments = ["--cache", str(tmp_path)]
        assert mixing.main([*arguments, "--check"]) == 1
        assert not (tmp_path / "NOTICE").exists()
        assert mixing.main(arguments) == 0
        assert mixing.main([*arguments, "--check"]) == 0
        (tmp_path / "mixtures" / "speech" / "stray.flac").write_bytes(b"3")
        capsys.readouterr()
        assert mixing.main([*arguments, "--check"]) == 1
        assert "differs: speech/stray.flac" in capsys.readouterr().err
        assert mixing.main(arguments) == 0
        assert not (tmp_path / "mixtures" / "speech" / "stray.flac").exists()

    def test_what_the_lead_wrote_into_notice_is_kept(self) -> None:
        notice = with_audio_credits("Our own words.\n", SOURCES.values())
        assert notice.startswith("Our own words.\n")
        assert with_audio_credits(notice, SOURCES.values()) == notice


def test_the_manifest_of_a_build_reads_back(tmp_path: Path) -> None:
    names = ("sources", "entries")
    listed = dict(zip(names, (list(SOURCES.values()), ENTRIES), strict=True))
    text = mixing._write_manifest(listed["sources"], listed["entries"])
    (tmp_path / "cc-by-sa").mkdir()
    (tmp_path / "manifest.toml").write_text(text, encoding="utf-8")
    (tmp_path / "cc-by-sa" / "manifest.toml").write_text("source = []\nmixture = []\n", encoding="utf-8")
    assert fixture.read_manifests(tmp_path) == (SOURCES, ENTRIES)


def test_recordings_of_a_plan_are_described() -> None:
    empty = np.zeros(1, dtype=np.int16)
    recording = Recording(
        file="speech/a.flac",
        samples=empty,
        group="a",
        prompt="",
        licence="MIT",
        credit="B",
        package="p 1",
        clips=("p/c",),
        subset="claims",
    )
    source = mixing._describe(recording, b"content")
    assert source.sha256 == hashlib.sha256(b"content").hexdigest()
    assert source.clips == ("p/c",)
