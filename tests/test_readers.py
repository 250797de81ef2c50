"""Folders of a user's own: stems, LibriSpeech, ESC-50 and FSD50K, through `load_mixtures`."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_lsac.errors import InputError
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.mixtures.activity import active_level_db

RATE = 16_000


def write_wave(
    path: Path, *, seconds: float = 2.5, rate: int = RATE, channels: int = 1, lead_s: float = 0.0
) -> np.ndarray:
    """Write a file of noise that depends on its name; return the samples."""
    seed = zlib.crc32(f"{path.parent.name}/{path.name}".encode())
    shape = (round(seconds * rate), channels)
    wave = np.random.default_rng(seed).normal(0.0, 0.05, shape)
    wave[: round(lead_s * rate)] = 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="PCM_16")
    return wave


def make_librispeech(folder: Path, *, n_utterances: int = 8) -> Path:
    """Two men and two women, with the published layout."""
    lines = ["; Speaker table", ";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for speaker, sex, name in (
        ("61", "M", "Paul-Gabriel W."),
        ("121", "F", "Nikolle D."),
        ("237", "F", "rachelellen"),
        ("260", "M", "Brad B."),
    ):
        lines.append(f"{speaker:<5}| {sex} | test-clean       | 8.08  | {name}")
        for number in range(n_utterances):
            chapter = folder / "test-clean" / speaker / "70968"
            write_wave(chapter / f"{speaker}-70968-{number:04d}.flac", seconds=1.0 + 0.5 * number)
            (chapter / f"{speaker}-70968.trans.txt").write_text("WORDS")
    (folder / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")
    return folder


def make_esc50(folder: Path, *, n_clips: int = 4) -> Path:
    """Four categories at 44.1 kHz, with the published layout."""
    rows = []
    for target, category in enumerate(("dog", "rain", "crying_baby", "door_wood_knock")):
        for number in range(n_clips):
            name = f"1-{number}{target}032-A-{target}.wav"
            write_wave(folder / "audio" / name, rate=44_100, seconds=5.0 if number else 1.0)
            rows.append([name, 1, target, category, "False", f"{number}{target}032", "A"])
    (folder / "meta").mkdir()
    with (folder / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "fold", "target", "category", "esc10", "src_file", "take"], *rows])
    return folder


def make_fsd50k(folder: Path, *, parts: tuple[str, ...] = ("dev", "eval"), n_clips: int = 4) -> Path:
    """Several labels a clip, one of them a voice, with the published layout."""
    (folder / "FSD50K.ground_truth").mkdir(parents=True)
    labels = ("Bark,Dog,Animal", "Acoustic_guitar,Guitar,Music", "Male_speech_and_man_speaking,Speech", "Rain")
    for part in ("dev", "eval"):
        columns = ["fname", "labels", "mids"] + (["split"] if part == "dev" else [])
        rows = [
            [f"{index}{number}{len(part)}", label, "/m/0", "train"][: len(columns)]
            for index, label in enumerate(labels)
            for number in range(n_clips)
        ]
        with (folder / "FSD50K.ground_truth" / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        for row in rows if part in parts else []:
            write_wave(folder / f"FSD50K.{part}_audio" / f"{row[0]}.wav", rate=44_100)
    return folder


def make_stems(
    folder: Path, name: str, *, notes: dict[str, object] | None = None, prompt: str | None = "dog barking"
) -> Path:
    """One mixture of two stems."""
    for stem in ("target", "residual"):
        write_wave(folder / name / f"{stem}.wav")
    if notes is not None:
        (folder / name / "mixture.json").write_text(json.dumps(notes))
    elif prompt is not None:
        (folder / name / "prompt.txt").write_text(prompt + "\n")
    return folder / name


def assert_sound(mixtures: list[Mixture]) -> None:
    """What holds for every mixture of a corpus."""
    for one in mixtures:
        assert np.array_equal(one.wave, one.target + one.residual)
        assert one.target.any()
        assert one.residual.any()
        assert one.target.size <= 5 * one.sample_rate
        assert one.spans
        assert one.spans[0][1] == 0.0
        assert one.prompt != one.residual_prompt
        assert one.prompt == one.prompt.lower()
        assert len(one.credits) == 2
    assert len({one.digest for one in mixtures}) == len(mixtures)


class TestStems:
    def test_prompt_in_a_text_file(self, tmp_path: Path) -> None:
        folder = make_stems(tmp_path, "barks")
        (one,) = load_mixtures(tmp_path)
        target, _ = soundfile.read(folder / "target.wav", dtype="float32")
        residual, _ = soundfile.read(folder / "residual.wav", dtype="float32")
        assert np.array_equal(one.target, target)
        assert np.array_equal(one.residual, residual)
        assert (one.id, one.tier, one.prompt, one.residual_prompt) == ("barks", "user", "dog barking", None)
        assert (one.sample_rate, one.group, one.credits) == (RATE, "dog barking", ())
        assert one.spans == (("+", 0.0, 2.5),)

    def test_everything_in_a_json_file(self, tmp_path: Path) -> None:
        notes = {
            "prompt": "guitar playing",
            "target": "guitar.wav",
            "residual_prompt": "drum playing",
            "spans": [[0.5, 1.0], [1.5, 2]],
            "group": "band",
            "credits": ["A. Player (CC0)"],
            "tier": "env",
        }
        folder = make_stems(tmp_path, "song", notes=notes)
        waves = {name: write_wave(folder / f"{name}.wav")[:, 0] for name in ("guitar", "drums")}
        waves |= {name: soundfile.read(folder / f"{name}.wav")[0] for name in ("target", "residual", "drums")}
        write_wave(folder / "mixture.wav")  # taken for the sum
        (one,) = load_mixtures(tmp_path)
        assert np.allclose(one.residual, waves["target"] + waves["residual"] + waves["drums"], atol=1e-6)
        assert np.allclose(one.target, waves["guitar"], atol=2**-15)
        assert one.spans == (("+", 0.5, 1.0), ("+", 1.5, 2.0))
        assert (one.tier, one.group, one.residual_prompt) == ("env", "band", "drum playing")
        assert one.credits == ("A. Player (CC0)",)

    def test_stereo_stems_become_mono(self, tmp_path: Path) -> None:
        folder = make_stems(tmp_path, "wide")
        stereo = write_wave(folder / "target.wav", channels=2)
        (one,) = load_mixtures(tmp_path)
        assert np.allclose(one.target, stereo.mean(axis=1), atol=2**-15)

    def test_excerpt_and_rate_are_those_of_the_model(self, tmp_path: Path) -> None:
        make_stems(tmp_path, "barks")
        (one,) = load_mixtures(tmp_path, sample_rate=8000, duration_s=1.0)
        assert (one.sample_rate, one.target.size) == (8000, 8000)

    def test_tiers_subsets_and_numbers_select(self, tmp_path: Path) -> None:
        for number in range(3):
            make_stems(tmp_path, f"clean-{number}", notes={"prompt": "man speaking", "tier": "clean"})
            make_stems(tmp_path, f"mine-{number}")
        make_stems(tmp_path, "held-out", notes={"prompt": "man speaking", "subset": "calibration"})
        (tmp_path / "documents").mkdir()
        assert [one.id for one in load_mixtures(tmp_path, per_tier=2)] == ["clean-0", "clean-1", "mine-0", "mine-1"]
        assert [one.id for one in load_mixtures(tmp_path, tiers=["env"])] == ["mine-0", "mine-1", "mine-2"]
        assert [one.id for one in load_mixtures(tmp_path, subset="calibration")] == ["held-out"]

    def test_a_subset_without_mixtures_is_named(self, tmp_path: Path) -> None:
        make_stems(tmp_path, "barks")
        with pytest.raises(InputError, match=r'"subset": "calibration"'):
            load_mixtures(tmp_path, subset="calibration")

    @pytest.mark.parametrize(
        ("notes", "message"),
        [
            ({"prompts": "dog barking"}, "unknown key 'prompts': did you mean 'prompt'"),
            ({}, "prompt is missing: its keys are prompt, target"),
            ({"prompt": "  "}, "no prompt; name the target"),
            ({"prompt": "a", "target": "voice.wav"}, r"one target \(named voice.wav\)"),
            ({"prompt": "a", "spans": [[1.0]]}, r"spans\[0\]"),
            ({"prompt": "a", "spans": [[1.0, 9.0]]}, "within 0 to 2.5 s"),
            ({"prompt": "a", "subset": "test"}, r"unknown subset 'test': .*claims, calibration"),
            ([1, 2], "must be an object"),
            ({"prompt": "a", "group": 5}, "group: must be a valid string, got 5"),
            ({"prompt": "a", "credits": ["b", 5]}, r"credits\[1\]: must be a valid string, got 5"),
            ({"prompt": "a", "credits": "b"}, "credits: must be a valid array"),
            ({"prompt": "a", "tier": "cleann"}, "unknown tier 'cleann': did you mean 'clean'"),
            ({"prompt": "a", "spans": [[0.0, math.nan]]}, r"spans\[0\]\[1\]: must be a finite number"),
        ],
    )
    def test_notes_that_cannot_be_used_are_named(self, tmp_path: Path, notes: object, message: str) -> None:
        folder = make_stems(tmp_path, "barks", prompt=None)
        (folder / "mixture.json").write_text(json.dumps(notes))
        with pytest.raises(InputError, match=message):
            load_mixtures(tmp_path)

    def test_broken_json_is_named(self, tmp_path: Path) -> None:
        (make_stems(tmp_path, "barks", prompt=None) / "mixture.json").write_text("{")
        with pytest.raises(InputError, match=r"barks/mixture.json is no JSON"):
            load_mixtures(tmp_path)

    def test_a_mixture_without_notes_beside_others_is_named(self, tmp_path: Path) -> None:
        make_stems(tmp_path, "barks")
        make_stems(tmp_path, "unnamed", prompt=None)
        with pytest.raises(InputError, match=r"unnamed has neither mixture.json nor prompt.txt; write"):
            load_mixtures(tmp_path)

    @pytest.mark.parametrize(("seconds", "rate"), [(2.0, RATE), (5.0, 8000)])
    def test_stems_that_do_not_fit_are_named(self, tmp_path: Path, seconds: float, rate: int) -> None:
        folder = make_stems(tmp_path, "barks")
        write_wave(folder / "residual.wav", seconds=seconds, rate=rate)
        with pytest.raises(InputError, match=r"residual.wav has \d+ samples at \d+ Hz, .* one rate and length"):
            load_mixtures(tmp_path)

    def test_a_missing_stem_is_named(self, tmp_path: Path) -> None:
        folder = make_stems(tmp_path, "barks")
        (folder / "residual.wav").unlink()
        with pytest.raises(InputError, match=r"barks needs one target .* add target.wav and residual.wav"):
            load_mixtures(tmp_path)


class TestBadAudio:
    def load_with(self, tmp_path: Path, samples: np.ndarray | bytes) -> list[Mixture]:
        path = make_stems(tmp_path, "barks") / "target.wav"
        if isinstance(samples, bytes):
            path.write_bytes(samples)
        else:
            soundfile.write(path, samples, RATE, subtype="FLOAT")
        return load_mixtures(tmp_path)

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            (np.zeros(0), r"target.wav is empty; replace the file or leave it out"),
            (np.zeros(40_000), r"target.wav is silent; replace"),
            (np.full(40_000, 1e-7), r"target.wav is silent; replace"),
            (np.full(40_000, np.nan), r"target.wav holds NaN or infinite samples; replace"),
            (np.full(40_000, -np.inf), r"target.wav holds NaN or infinite samples; replace"),
            (np.ones(100), r"target.wav lasts less than 0.1 s; replace"),
            (b"RIFF but not really", r"target.wav does not decode as audio"),
            (b"", r"target.wav does not decode as audio"),
        ],
    )
    def test_bad_audio_is_named_with_a_remedy(self, tmp_path: Path, samples: np.ndarray | bytes, message: str) -> None:
        with pytest.raises(InputError, match=message):
            self.load_with(tmp_path, samples)

    def test_a_truncated_file_is_named(self, tmp_path: Path) -> None:
        path = make_librispeech(tmp_path, n_utterances=2)
        for file in path.rglob("*.flac"):
            file.write_bytes(file.read_bytes()[:60])
        with pytest.raises(InputError, match=r"\.flac (does not decode|is empty|lasts)"):
            load_mixtures(path, tiers=["clean"])

    def test_a_file_of_the_table_that_is_missing_is_named(self, tmp_path: Path) -> None:
        folder = make_esc50(tmp_path)
        for file in (folder / "audio").iterdir():
            file.unlink()
        with pytest.raises(InputError, match=r"audio/1-.*\.wav is missing; replace"):
            load_mixtures(folder, tiers=["env"])


class TestLibriSpeech:
    def test_pairs_cross_gender_and_speakers_take_turns(self, tmp_path: Path) -> None:
        mixtures = load_mixtures(make_librispeech(tmp_path), tiers=["clean"], per_tier=8)
        assert_sound(mixtures)
        assert [one.id for one in mixtures] == [f"clean-{number:03d}" for number in range(8)]
        assert {frozenset((one.prompt, one.residual_prompt)) for one in mixtures} == {
            frozenset(("man speaking", "woman speaking"))
        }
        assert Counter(one.prompt for one in mixtures) == {"man speaking": 4, "woman speaking": 4}
        assert {one.group for one in mixtures} <= {"61", "121", "237", "260"}
        assert any("rachelellen, LibriSpeech reader 237 (CC-BY-4.0)" in one.credits for one in mixtures)

    def test_noisy_has_the_pairs_of_clean_with_noise(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        mixtures = load_mixtures(folder, tiers=["clean", "noisy"], per_tier=4)
        for clean, noisy in zip(mixtures[:4], mixtures[4:], strict=True):
            assert np.array_equal(clean.target, noisy.target)
            noise = noisy.residual.astype(np.float64) - clean.residual
            snr_db = 10 * np.log10(np.mean(clean.wave.astype(np.float64) ** 2) / np.mean(noise**2))
            assert snr_db == pytest.approx(5.0, abs=0.01)

    def test_levels_differ_by_up_to_5_db(self, tmp_path: Path) -> None:
        differences = []
        for one in load_mixtures(make_librispeech(tmp_path), tiers=["clean"], per_tier=24):
            levels = [active_level_db(wave.astype(np.float64), RATE) for wave in (one.target, one.residual)]
            differences.append(levels[0] - levels[1])
        assert max(np.abs(differences)) < 5.05
        assert np.std(differences) > 1.5

    def test_the_seed_decides_and_prefixes_agree(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        first = [one.digest for one in load_mixtures(folder, tiers=["clean"], per_tier=12)]
        assert [one.digest for one in load_mixtures(folder, tiers=["clean"], per_tier=5)] == first[:5]
        assert [one.digest for one in load_mixtures(folder, tiers=["clean"], per_tier=12, seed=1)] != first

    def test_a_subset_of_the_corpus_is_enough(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        inner = load_mixtures(folder / "test-clean", tiers=["clean"], per_tier=3)
        assert [one.digest for one in inner] == [
            one.digest for one in load_mixtures(folder, tiers=["clean"], per_tier=3)
        ]

    def test_calibration_has_other_recordings(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        halves = [
            {
                source.tobytes()
                for one in load_mixtures(folder, tiers=["clean"], per_tier=200, subset=subset)
                for source in sources_of(one)
            }
            for subset in ("claims", "calibration")
        ]
        assert all(halves)
        assert not halves[0] & halves[1]

    def test_there_are_at_most_as_many_as_pairs(self, tmp_path: Path) -> None:
        mixtures = load_mixtures(make_librispeech(tmp_path, n_utterances=1), tiers=["clean"], per_tier=100)
        assert len(mixtures) == 4  # two men, two women
        assert_sound(mixtures)
        assert len({frozenset(source.tobytes() for source in sources_of(one)) for one in mixtures}) == 4

    def test_silence_at_the_start_is_dropped(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        for file in folder.rglob("*.flac"):
            write_wave(file, seconds=3.0, lead_s=1.0)
        for one in load_mixtures(folder, tiers=["clean"], per_tier=3):
            assert one.duration_s == pytest.approx(2.0)

    def test_a_reader_that_the_table_lacks_is_named(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        write_wave(folder / "test-clean" / "999" / "1" / "999-1-0000.flac")
        with pytest.raises(InputError, match=r"SPEAKERS.TXT does not tell the sex .* add a row for '999'"):
            load_mixtures(folder, tiers=["clean"])

    def test_env_without_sounds_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no env mixture .* add sounds, such as ESC-50 or FSD50K"):
            load_mixtures(make_librispeech(tmp_path))

    def test_only_one_sex_is_refused(self, tmp_path: Path) -> None:
        folder = make_librispeech(tmp_path)
        table = folder / "SPEAKERS.TXT"
        table.write_text(table.read_text().replace("| F |", "| M |"))
        with pytest.raises(InputError, match=r"no clean mixture .* a man and a woman"):
            load_mixtures(folder, tiers=["clean"])

    def test_a_folder_without_audio_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "SPEAKERS.TXT").write_text("1 | F | dev | 1 | A\n")
        with pytest.raises(InputError, match="none of the recordings; unpack"):
            load_mixtures(tmp_path, tiers=["clean"])


def sources_of(mixture: Mixture) -> list[np.ndarray]:
    """The sources at one level and on a coarse grid, so that gains do not matter."""
    return [
        np.round(wave[:1000] / np.sqrt(np.mean(wave[:1000].astype(np.float64) ** 2)), 2) + 0.0
        for wave in (mixture.target, mixture.residual)
    ]


class TestSounds:
    def test_esc50_gives_pairs_of_labels(self, tmp_path: Path) -> None:
        mixtures = load_mixtures(make_esc50(tmp_path), tiers=["env"], per_tier=6)
        assert_sound(mixtures)
        assert len(mixtures) == 6
        named = {one.prompt for one in mixtures} | {one.residual_prompt for one in mixtures}
        assert named <= {"dog", "rain", "crying baby", "door wood knock"}
        assert len(named) == 4
        assert {one.sample_rate for one in mixtures} == {44_100}
        assert all("freesound.org/s/" in credit for one in mixtures for credit in one.credits)

    def test_all_pairs_of_labels_are_of_two(self, tmp_path: Path) -> None:
        mixtures = load_mixtures(make_esc50(tmp_path, n_clips=2), tiers=["env"], per_tier=100, sample_rate=8000)
        assert_sound(mixtures)
        assert (
            36 <= len(mixtures) <= 48
        )  # ordered pairs of 7 clips, one being kept for calibration, without equal labels

    def test_fsd50k_takes_the_first_label(self, tmp_path: Path) -> None:
        mixtures = load_mixtures(make_fsd50k(tmp_path), tiers=["env"], per_tier=8)
        assert_sound(mixtures)
        named = {one.prompt for one in mixtures} | {one.residual_prompt for one in mixtures}
        assert named <= {"bark", "acoustic guitar", "male speech and man speaking", "rain"}

    @pytest.mark.parametrize("part", ["dev", "eval"])
    def test_one_part_of_fsd50k_is_enough(self, tmp_path: Path, part: str) -> None:
        assert len(load_mixtures(make_fsd50k(tmp_path, parts=(part,)), tiers=["env"], per_tier=3)) == 3

    def test_fsd50k_without_audio_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="none of the recordings; unpack its audio"):
            load_mixtures(make_fsd50k(tmp_path, parts=()), tiers=["env"])

    def test_a_table_without_its_columns_is_named(self, tmp_path: Path) -> None:
        folder = make_esc50(tmp_path)
        table = folder / "meta" / "esc50.csv"
        table.write_text(table.read_text().replace("category", "class", 1))
        with pytest.raises(InputError, match=r"esc50.csv has no column 'category'; put the corpus's own"):
            load_mixtures(folder, tiers=["env"])

    def test_a_missing_table_is_named(self, tmp_path: Path) -> None:
        folder = make_fsd50k(tmp_path)
        (folder / "FSD50K.ground_truth" / "dev.csv").unlink()
        with pytest.raises(InputError, match=r"dev.csv is missing; put"):
            load_mixtures(folder, tiers=["env"])

    def test_speech_and_noise_tiers_need_speakers(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no clean mixture .* such as LibriSpeech"):
            load_mixtures(make_esc50(tmp_path))


class TestSeveralCorpora:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        make_librispeech(tmp_path / "LibriSpeech")
        make_fsd50k(tmp_path / "FSD50K")
        return tmp_path

    def test_env_crosses_speech_with_sounds(self, folder: Path) -> None:
        mixtures = load_mixtures(folder, tiers=["env"], per_tier=16)
        assert_sound(mixtures)
        voices = ("man speaking", "woman speaking")
        kinds = Counter((one.prompt in voices, one.residual_prompt in voices) for one in mixtures)
        assert kinds[True, False] + kinds[False, True] == 12
        assert kinds[False, False] == 4
        assert abs(kinds[True, False] - kinds[False, True]) <= 4
        assert kinds[True, True] == 0
        spoken = [one for one in mixtures if {one.prompt, one.residual_prompt} & set(voices)]
        assert not any("speech" in f"{one.prompt} {one.residual_prompt}" for one in spoken)
        assert {one.sample_rate for one in spoken} == {
            RATE
        }  # the lower of both, or a model could tell them by their band

    def test_all_tiers_come_from_one_folder(self, folder: Path) -> None:
        mixtures = load_mixtures(folder, per_tier=2)
        assert [one.tier for one in mixtures] == ["clean", "clean", "noisy", "noisy", "env", "env"]

    def test_rate_and_duration_apply(self, folder: Path) -> None:
        for one in load_mixtures(folder, per_tier=1, sample_rate=8000, duration_s=0.5):
            assert (one.sample_rate, one.target.size) == (8000, 4000)

    def test_recordings_shorter_than_the_duration_are_refused(self, folder: Path) -> None:
        with pytest.raises(InputError, match="choose an excerpt inside it"):
            load_mixtures(folder, per_tier=1, duration_s=5.5)


class TestUnknownLayouts:
    def test_accepted_layouts_are_named(self, tmp_path: Path) -> None:
        write_wave(tmp_path / "some" / "wave.wav")
        with pytest.raises(InputError, match=r"no known layout; accepted are stems .* LibriSpeech .* ESC-50 .* FSD50K"):
            load_mixtures(tmp_path)

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no known layout"):
            load_mixtures(str(tmp_path))

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        write_wave(tmp_path / "wave.wav")
        with pytest.raises(InputError, match=r"there is no folder .*wave.wav; give 'embedded'"):
            load_mixtures(tmp_path / "wave.wav")
