"""Laws of every reader: the target is the recording that the prompt names, and nothing is moved by a sample."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate, firwin, resample_poly

from fixtures.corpus.packages import read_manifest
from sam_lsac.mixtures import Mixture, fixture, load_mixtures
from sam_lsac.separate import separate
from tests import tiny_runs
from tests.test_readers import make_esc50, make_fsd50k, make_librispeech, make_stems, write_wave

RATE = 16_000
CLIPS = Path(__file__).resolve().parents[1] / "fixtures" / "corpus" / "packages.tsv"
Named = dict[str, str]  # file of a recording, below the corpus, to what it is asked for by


def band_limited(path: Path, *, rate: int, seconds: float, seed: int) -> None:
    """Noise below 1.5 kHz, so that every rate holds all of it, loud from the first sample."""
    noise = np.random.default_rng(seed).normal(0.0, 1.0, round(seconds * rate))
    wave = np.convolve(noise, firwin(301, 1500, fs=rate), mode="same")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.05 * wave / wave.std(), rate, subtype="PCM_16")


def recording(path: Path, rate: int) -> np.ndarray:
    """The file at another rate, by another resampler than the library's, without delay."""
    wave, from_hz = soundfile.read(path)
    return resample_poly(wave, rate, from_hz, window=("kaiser", 12.0))


def lag(wave: np.ndarray, reference: np.ndarray) -> tuple[int, float]:
    """By how many samples a wave comes later than a reference, and how like it is there."""
    n = min(wave.size, reference.size)
    wave, reference = wave[:n].astype(np.float64), reference[:n]
    product = correlate(wave, reference, method="fft")
    peak = int(product.argmax())
    return peak - (n - 1), float(product[peak] / np.linalg.norm(wave) / np.linalg.norm(reference))


def librispeech(folder: Path) -> Named:
    make_librispeech(folder, n_utterances=3)
    sexes = {"61": "man speaking", "121": "woman speaking", "237": "woman speaking", "260": "man speaking"}
    return {str(path.relative_to(folder)): sexes[path.parts[-3]] for path in folder.rglob("*.flac")}


def esc50(folder: Path) -> Named:
    make_esc50(folder, n_clips=3)
    with (folder / "meta" / "esc50.csv").open(newline="") as file:
        return {f"audio/{row['filename']}": row["category"].replace("_", " ") for row in csv.DictReader(file)}


def fsd50k(folder: Path) -> Named:
    make_fsd50k(folder, parts=("eval",), n_clips=3)
    with (folder / "FSD50K.ground_truth" / "eval.csv").open(newline="") as file:
        first = {row["fname"]: row["labels"].split(",")[0] for row in csv.DictReader(file)}
    return {f"FSD50K.eval_audio/{name}.wav": label.lower().replace("_", " ") for name, label in first.items()}


def stems(folder: Path) -> Named:
    named = {}
    for name, prompt in (("a", "dog barking"), ("b", "rain falling")):
        make_stems(folder, name, notes={"prompt": prompt, "residual_prompt": f"not {prompt}"})
        named |= {f"{name}/target.wav": prompt, f"{name}/residual.wav": f"not {prompt}"}
    return named


@pytest.mark.parametrize("make", [librispeech, esc50, fsd50k, stems], ids=lambda make: make.__name__)
@pytest.mark.parametrize("rate", [None, 8000])
def test_each_source_is_the_recording_that_its_prompt_names(
    tmp_path: Path, make: Callable[[Path], Named], rate: int | None
) -> None:
    named = make(tmp_path / "corpus")
    tiers = ["clean", "noisy"] if make is librispeech else ["env"]
    mixtures = load_mixtures(tmp_path / "corpus", tiers=tiers, per_tier=6, sample_rate=rate)
    assert len(mixtures) >= 2
    for one in mixtures:
        found, groups = {}, []
        for what, source in (("target", one.target), ("residual", one.residual)):
            likeness = {file: lag(source, recording(tmp_path / "corpus" / file, one.sample_rate)) for file in named}
            best = max(likeness, key=lambda file: likeness[file][1])
            found[what] = named[best]
            groups.append(Path(best).parts[1] if make is librispeech else named[best])
            assert likeness[best][1] > 0.5, one.id  # others are below 0.1; the residual of Noisy has noise in it
            assert likeness[best][0] == 0, one.id
        assert found == {"target": one.prompt, "residual": one.residual_prompt}, one.id
        assert groups == [one.group, one.residual_group], one.id


def test_the_cached_mixtures_have_the_recordings_of_their_prompts() -> None:
    sources, entries = fixture.read_manifests()
    by_id = {entry.id: entry for entry in entries}
    for one in load_mixtures(per_tier=8):
        entry = by_id[one.id]
        target = soundfile.read(fixture.MIXTURES_FOLDER / entry.target)[0]
        assert lag(one.target, target)[0] == 0
        assert lag(one.target, target)[1] > 0.9999
        assert one.prompt == sources[entry.target].prompt
        assert one.residual_prompt == sources[entry.residual].prompt


def test_the_groups_of_the_cached_mixtures_are_those_of_their_clips() -> None:
    of_clip = {row.origin: row.group for row in read_manifest(CLIPS)}
    of_file = {file: {of_clip[clip] for clip in source.clips} for file, source in fixture.read_manifests()[0].items()}
    entries = {entry.id: entry for entry in fixture.read_manifests()[1]}
    mixtures = [*load_mixtures(per_tier=48), *load_mixtures(per_tier=8, subset="calibration")]
    assert {one.id for one in mixtures} == set(entries)
    for one in mixtures:
        entry = entries[one.id]
        assert [{one.group}, {one.residual_group}] == [of_file[entry.target], of_file[entry.residual]], one.id


def test_a_mixture_with_its_sources_exchanged_has_its_groups_exchanged(tmp_path: Path) -> None:
    notes = {"prompt": "dog barking", "residual_prompt": "rain falling", "group": "rex", "residual_group": "monsoon"}
    swapped = {"prompt": "rain falling", "residual_prompt": "dog barking", "group": "monsoon", "residual_group": "rex"}
    make_stems(tmp_path, "a", notes=notes)
    exchanged = shutil.copytree(tmp_path / "a", tmp_path / "b")
    (exchanged / "mixture.json").write_text(json.dumps({**swapped, "target": "residual"}))
    one, other = load_mixtures(tmp_path)
    assert np.array_equal(one.target, other.residual)
    assert (one.group, one.residual_group) == (other.residual_group, other.group) == ("rex", "monsoon")


@pytest.mark.parametrize(
    ("more", "group"), [({}, ""), ({"residual_prompt": "rain"}, "rain"), ({"residual_group": "monsoon"}, "monsoon")]
)
def test_a_residual_that_nothing_names_has_no_group(tmp_path: Path, more: dict[str, str], group: str) -> None:
    make_stems(tmp_path, "a", notes={"prompt": "dog barking", **more})
    (one,) = load_mixtures(tmp_path)
    assert one.residual_group == group
    assert one.excerpt(0.0, 0.5).residual_group == one.at(8000).residual_group == group


@pytest.mark.parametrize("wanted_hz", [None, 8000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_recordings_of_different_rates_stay_aligned_to_the_sample(tmp_path: Path, wanted_hz: int | None) -> None:
    make_librispeech(tmp_path / "LibriSpeech", n_utterances=2)
    make_esc50(tmp_path / "ESC-50", n_clips=2)
    files = [*tmp_path.rglob("*.flac"), *tmp_path.rglob("*.wav")]
    for seed, path in enumerate(files):
        band_limited(path, rate=RATE if path.suffix == ".flac" else 44_100, seconds=2.0, seed=seed)

    mixtures = load_mixtures(tmp_path, tiers=["env"], per_tier=4, sample_rate=wanted_hz)

    assert any({one.prompt, one.residual_prompt} & {"man speaking", "woman speaking"} for one in mixtures)
    for one in mixtures:
        assert np.array_equal(one.wave, one.target + one.residual)
        for source in (one.target, one.residual):
            found = [lag(source, recording(path, one.sample_rate)) for path in files]
            by, likeness = max(found, key=lambda pair: pair[1])
            assert by == 0, one.id
            assert likeness > 0.999, one.id


@pytest.mark.parametrize(("from_hz", "to_hz"), [(16_000, 8000), (44_100, 16_000), (16_000, 44_100), (8000, 11_025)])
def test_all_three_waves_of_a_mixture_move_together(tmp_path: Path, from_hz: int, to_hz: int) -> None:
    make_stems(tmp_path, "one")
    for seed, name in enumerate(("target", "residual")):
        band_limited(tmp_path / "one" / f"{name}.wav", rate=from_hz, seconds=2.0, seed=seed)
    (before,) = load_mixtures(tmp_path)

    after = before.at(to_hz)

    assert np.array_equal(after.wave, after.target + after.residual)
    for name in ("target", "residual", "wave"):
        reference = resample_poly(getattr(before, name).astype(np.float64), to_hz, from_hz, window=("kaiser", 12.0))
        by, likeness = lag(getattr(after, name), reference)
        assert by == 0, name
        assert likeness > 0.9999, name


def test_trimming_moves_a_recording_by_its_silence_alone(tmp_path: Path) -> None:
    folder = make_librispeech(tmp_path, n_utterances=1)
    for path in folder.rglob("*.flac"):
        write_wave(path, seconds=2.5, lead_s=0.5)

    for one in load_mixtures(folder, tiers=["clean"], per_tier=4):
        for source in (one.target, one.residual):
            found = [lag(source, soundfile.read(path)[0][RATE // 2 :]) for path in folder.rglob("*.flac")]
            assert max(found, key=lambda pair: pair[1])[0] == 0


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a model's text encoder is given."""
    texts: list[str] = []
    encoder = type(tiny_runs.model().text_encoder)
    original = encoder.forward

    def spy(self: object, given: list[str], *rest: object, **more: object) -> object:
        texts.extend(given)
        return original(self, given, *rest, **more)

    monkeypatch.setattr(encoder, "forward", spy)
    return texts


def in_runs(mixture: Mixture, folder: Path) -> None:
    """All arms of the tiny bench, spans and shuffled spans among them."""
    from sam_lsac.runs import execute, open_store, plan

    model = tiny_runs.model()
    planned = plan(tiny_runs.arms(), [mixture], model, seeds=(0,), metrics=("si_snr",))
    with open_store(folder / "runs.sqlite") as store:
        execute(planned, model, [mixture], store)


def by_itself(mixture: Mixture, folder: Path) -> None:
    separate(tiny_runs.model(), mixture.wave, sample_rate=mixture.sample_rate, prompt=mixture.prompt)


@pytest.mark.parametrize("run", [in_runs, by_itself], ids=lambda run: run.__name__)
def test_a_residual_prompt_never_reaches_the_model(
    tmp_path: Path, heard: list[str], run: Callable[[Mixture, Path], None]
) -> None:
    mixture = replace(tiny_runs.mixture(0), residual_prompt="the other source")

    run(mixture, tmp_path)

    assert set(heard) <= {mixture.prompt, ""}
    assert mixture.prompt in heard
