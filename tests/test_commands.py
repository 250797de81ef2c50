"""The commands: what they write and print, and that an error is one line, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_lsac import files, windows
from sam_lsac.__main__ import main
from sam_lsac.caching import LSAC
from sam_lsac.commands.main import command_line
from sam_lsac.costs import count_flops
from sam_lsac.errors import CacheError
from sam_lsac.mixtures.audio import resample
from sam_lsac.model import load_model
from sam_lsac.model.checkpoint import save_checkpoint
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.model.sam_audio import SAMAudio
from sam_lsac.separate import separate
from sam_lsac.solver import AB2, Euler
from tests import tiny_models, tiny_runs

ROOT = Path(__file__).resolve().parents[1]
RATE = tiny_runs.RATE
PROMPT = "dog barking"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(tiny_runs.model(), folder)
    return folder


@pytest.fixture
def recording(tmp_path):
    """Write noise to a file: seconds, rate, channels."""

    def write(seconds=0.5, sample_rate=RATE, channels=1, name="in.wav"):
        wave = np.random.default_rng(0).normal(0.0, 0.1, (round(seconds * sample_rate), channels))
        soundfile.write(tmp_path / name, wave, sample_rate, subtype="FLOAT" if name.endswith("wav") else "PCM_16")
        return tmp_path / name

    return write


@pytest.fixture
def command(checkpoint, tmp_path, capsys):
    """Run ``separate``; exit code, standard output and standard error."""

    def run(path, *options, model=checkpoint, prompt=PROMPT):
        out = ["--out", str(tmp_path / "out")]
        code = main(["separate", str(path), "--model", str(model), "--prompt", prompt, *out, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def written(folder, name="in"):
    return [soundfile.read(folder / f"{name}.{part}.wav", always_2d=True) for part in ("target", "residual")]


class TestSeparate:
    def test_a_file_of_one_window_holds_what_separate_gives(self, command, recording, checkpoint, tmp_path):
        path = recording()
        span = ("+", 0.1, 0.3)
        code, *_ = command(path, "--solver", "ab2:3", "--seed", "4", "--span", "+", "0.1", "0.3")
        wave = soundfile.read(path)[0]
        wanted = separate(
            load_model(checkpoint), wave, sample_rate=RATE, prompt=PROMPT, spans=[span], solver=AB2(3), seed=4
        )
        assert code == 0
        for (found, rate), whole in zip(written(tmp_path / "out"), (wanted.target, wanted.residual), strict=True):
            assert rate == RATE
            np.testing.assert_array_equal(found[:, 0], whole)

    @pytest.mark.parametrize(
        ("name", "sample_rate", "channels"),
        [("in.wav", 44100, 2), ("in.flac", 16000, 1), ("in.wav", 22050, 3), ("in.wav", 8000, 2)],
    )
    @pytest.mark.parametrize("how", ["each", "mix"])
    def test_any_rate_length_and_number_of_channels(
        self, command, recording, tmp_path, name, sample_rate, channels, how
    ):
        path = recording(1.0371, sample_rate, channels, name)
        options = ("--solver", "euler:1", "--channels", how, "--window", "0.4", "--overlap", "0.1")
        code, out, _ = command(path, *options)
        n_samples = soundfile.info(path).frames
        assert code == 0
        assert [found.shape for found, _ in written(tmp_path / "out")] == [
            (n_samples, 1 if how == "mix" else channels)
        ] * 2
        assert {rate for _, rate in written(tmp_path / "out")} == {sample_rate}
        assert f"{1 if how == 'mix' else channels} x 4 windows" in out

    def test_each_channel_is_separated_by_itself_from_the_same_noise(self, command, recording, tmp_path):
        path = recording(channels=2)
        wave = soundfile.read(path)[0]
        command(path, "--solver", "euler:2")
        both = written(tmp_path / "out")[0][0]
        for channel in (0, 1):
            soundfile.write(tmp_path / "one.wav", wave[:, channel], RATE, subtype="FLOAT")
            command(tmp_path / "one.wav", "--solver", "euler:2", "--overwrite")
            np.testing.assert_array_equal(written(tmp_path / "out", "one")[0][0][:, 0], both[:, channel])

    def test_the_mix_is_the_mean_of_the_channels(self, command, recording, tmp_path):
        path = recording(channels=2)
        soundfile.write(tmp_path / "one.wav", soundfile.read(path)[0].mean(axis=1), RATE, subtype="DOUBLE")
        command(path, "--solver", "euler:2", "--channels", "mix")
        command(tmp_path / "one.wav", "--solver", "euler:2")
        np.testing.assert_array_equal(written(tmp_path / "out")[0][0], written(tmp_path / "out", "one")[0][0])

    def test_lsac_acts_and_its_saving_is_counted(self, command, recording, checkpoint, tmp_path):
        path, model = recording(), load_model(checkpoint)
        command(path, "--solver", "euler:8")
        plain = written(tmp_path / "out")[0][0]
        code, out, _ = command(path, "--solver", "euler:8", "--lsac", "aggressive", "--overwrite")
        cached = written(tmp_path / "out")[0][0]
        assert code == 0
        assert 0 < np.abs(cached - plain).max() < np.abs(plain).max()
        tokens = int(model.text_encoder([PROMPT])[1].sum())
        edits = [LSAC.aggressive(model, n_steps=8).edit()]
        totals = [
            count_flops(model, seconds=0.5, text_tokens=tokens, edits=one, solver=Euler(8)).total for one in (edits, [])
        ]
        assert f"{totals[0] / 1e9:.1f} GFLOPs, {1 - totals[0] / totals[1]:.1%} saved" in out
        assert totals[0] < totals[1]

    def test_compile_is_asked_of_the_layers(self, command, recording, monkeypatch):
        compiled = []
        monkeypatch.setattr(SAMAudio, "compile_layers", lambda model: compiled.append(len(model.transformer.layers)))
        assert command(recording(), "--solver", "euler:1", "--compile")[0] == 0
        assert compiled == [tiny_runs.LAYERS]

    def test_a_cuda_graph_on_a_processor_is_refused_and_nothing_is_written(self, command, recording, tmp_path):
        code, out, err = command(recording(), "--solver", "euler:2", "--cuda-graph")
        assert (code, out) == (2, "")
        assert "CUDA graphs need a CUDA device, and the model is on cpu" in err
        assert not list(tmp_path.glob("out/*"))

    def test_the_real_time_factor_is_work_over_audio(self, command, recording, monkeypatch):
        clock = iter([10.0, 11.0])
        monkeypatch.setattr(files.time, "perf_counter", lambda: next(clock))
        _, out, _ = command(recording(0.5), "--solver", "euler:1")
        assert "0.50 s of audio, 1 x 1 windows, in 1.0 s: real-time factor 2.00" in out

    def test_progress_counts_every_solver_step(self, checkpoint, recording, tmp_path):
        counts = {"ahead": 0, "done": 0}
        files.separate_file(
            load_model(checkpoint),
            recording(1.0, channels=2),
            tmp_path / "out",
            prompt=PROMPT,
            solver=Euler(3),
            window_s=0.4,
            overlap_s=0.1,
            on_start=lambda n: counts.update(ahead=n),
            on_step=lambda: counts.update(done=counts["done"] + 1),
        )
        assert counts == {"ahead": 2 * 3 * 3, "done": 2 * 3 * 3}


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            (["--solver", "rk4:3"], r"write a method and its steps"),
            (["--span", "*", "0", "0.2"], r"must be .* correct it or leave it out"),
            (["--span", "+", "0", "x"], r"such as --span \+ 0.5 1.2"),
            (["--span", "+", "0.2", "0.9"], r"the end of the wave"),
            (["--span", "+", "nan", "0.2"], r"correct it or leave it out"),
            (["--seed", "-1"], r"such as 0"),
            (["--seed", str(2**63)], r"from 0 to 2 \*\* 63 - 1"),
            (["--seed", "9" * 5000], r"from 0 to 2 \*\* 63 - 1"),
            (["--cache-mb", "5"], r"name a level of --lsac too"),
            (["--lsac", "safe", "--cache-mb", "0"], r"megabytes above 0"),
            (["--lsac", "safe", "--cache-mb", "inf"], r"megabytes above 0"),
            (["--lsac", "safe", "--cache-mb", "nan"], r"megabytes above 0"),
            (["--lsac", "safe", "--cache-mb", "0.0001"], r"or raise max_bytes"),
            (["--lsac", "safe", "--solver", "euler:1"], r"use more steps"),
            (["--lsac", "reckless"], r"choose from"),
            (["--window", "0"], r"seconds above 0"),
            (["--window", "inf"], r"seconds above 0"),
            (["--window", "nan"], r"seconds above 0"),
            (["--window", "1e-9"], r"use longer windows"),
            (["--overlap", "-1"], r"seconds above 0"),
            (["--overlap", "5", "--window", "6"], r"at most half of a window"),
            (["--device", "meta"], r"use cpu, or cuda with CUDA"),
            (["--device", ""], r"use cpu, or cuda with CUDA"),
            (["--schedule", "a\0b"], r"give a path"),
            (["--prompt", "dog\udc80"], r"give a lower-case noun and verb"),
            (["--no-such-option"], r"--help says more"),
            (["--out", "/proc/no-such"], r"cannot be written .*; name another folder"),
            (["--out", "a\0b"], r"give a path"),
            (["--out", "x" * 5000], r"File name too long"),
        ],
        ids=lambda value: (
            " ".join(value)[:30].encode("ascii", "replace").decode().replace("\0", "0")
            if isinstance(value, list)
            else ""
        ),
    )
    def test_options_that_cannot_work_leave_nothing_behind(self, command, recording, tmp_path, options, match):
        path, before = recording(), sorted(tmp_path.rglob("*"))
        code, out, err = command(path, *options)
        assert (code, out) == (2, "")
        assert re.search(match, err)
        (line,) = err.splitlines()
        assert line.startswith("sam_lsac: " if "--no-such-option" in options else "sam_lsac separate: ")
        assert len(line) < 500
        assert sorted(tmp_path.rglob("*")) == [path] == before

    @pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["separate"], ["store"], ["report", "--compare"]])
    def test_a_command_line_that_cannot_be_read_is_one_line(self, capsys, arguments):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sam_lsac")
        assert line.endswith("--help says more.")

    @pytest.mark.parametrize("window", ["1e9", "1e300"])
    def test_a_window_beyond_all_files_takes_the_memory_of_the_file(self, command, recording, tmp_path, window):
        path = recording()
        assert command(path, "--solver", "euler:1")[0] == 0
        whole = written(tmp_path / "out")[0][0]
        assert command(path, "--solver", "euler:1", "--window", window, "--overwrite")[0] == 0
        np.testing.assert_array_equal(written(tmp_path / "out")[0][0], whole)

    def test_the_file_is_looked_at_before_a_model_is_loaded(self, command, tmp_path, monkeypatch):
        monkeypatch.setattr("sam_lsac.model.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
        (tmp_path / "bad.wav").write_bytes(b"no audio")
        for path, words in ((tmp_path / "bad.wav", "does not decode"), (tmp_path / "none.wav", "is missing")):
            code, _, err = command(path)
            assert (code, words in err) == (2, True)

    def test_escape_codes_of_a_name_do_not_reach_the_terminal(self, command, tmp_path):
        code, _, err = command(tmp_path / "\x1b[2J\x07.wav")
        assert (code, err.isprintable() or err[:-1].isprintable()) == (2, True)

    def test_an_empty_prompt(self, command, recording):
        assert command(recording(), prompt=" ")[0] == 2

    @pytest.mark.parametrize(
        ("wave", "match"),
        [
            (None, "is missing; correct the path"),
            (b"no audio", "convert it to WAV or FLAC"),
            (np.zeros(4000), "is silent or empty"),
            (np.zeros(0), "is silent or empty"),
            (np.r_[np.ones(9000), np.nan], "holds NaN"),
            (np.random.default_rng(0).normal(size=200), "give at least 0.1 s"),
        ],
    )
    def test_files_that_cannot_be_separated(self, command, tmp_path, wave, match):
        path = tmp_path / "bad.wav"
        if isinstance(wave, bytes):
            path.write_bytes(wave)
        elif wave is not None:
            soundfile.write(path, wave, RATE, subtype="FLOAT")
        code, _, err = command(path)
        assert code == 2
        assert match in err

    def test_a_wave_that_only_its_mean_is_silent_of_is_separated_by_channels(self, command, tmp_path):
        wave = np.random.default_rng(0).normal(0.0, 0.1, 4000)
        soundfile.write(tmp_path / "in.wav", np.stack([wave, -wave], axis=1), RATE, subtype="FLOAT")
        assert command(tmp_path / "in.wav", "--solver", "euler:1", "--channels", "mix")[0] == 2
        assert command(tmp_path / "in.wav", "--solver", "euler:1")[0] == 0

    def test_a_folder_that_cannot_be_made(self, command, recording, tmp_path):
        (tmp_path / "out").write_text("a file")
        code, _, err = command(recording(), "--solver", "euler:1")
        assert (code, "is a file; name a folder" in err) == (2, True)

    def test_outputs_that_are_there_are_kept(self, command, recording, tmp_path):
        path = recording()
        assert command(path, "--solver", "euler:1")[0] == 0
        before = written(tmp_path / "out")[0][0]
        code, _, err = command(path, "--solver", "euler:2")
        assert code == 2
        assert "is already there; name another folder" in err
        np.testing.assert_array_equal(written(tmp_path / "out")[0][0], before)

    def test_a_fault_halfway_leaves_neither_file_and_what_was_there(self, command, recording, tmp_path, monkeypatch):
        path = recording(1.0)
        assert command(path, "--solver", "euler:1")[0] == 0
        before = written(tmp_path / "out")[0][0]
        n_solved = 0

        def failing(*args, **options):
            nonlocal n_solved
            n_solved += 1
            if n_solved == 3:
                raise CacheError("full")
            return separate(*args, **options)

        monkeypatch.setattr(windows, "separate", failing)
        options = ("--window", "0.4", "--overlap", "0.1", "--overwrite")
        assert command(path, *options)[0] == 2
        assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["in.residual.wav", "in.target.wav"]
        np.testing.assert_array_equal(written(tmp_path / "out")[0][0], before)

    def test_more_than_a_wav_file_holds(self, command, recording, monkeypatch):
        monkeypatch.setattr(files, "_LARGEST_WAV", 100)
        code, _, err = command(recording())
        assert (code, "cut it into parts" in err) == (2, True)

    def test_an_unknown_model(self, command, recording):
        code, _, err = command(recording(), model="no-such-model")
        assert code == 2
        assert "no-such-model" in err


class TestCalibrate:
    @pytest.mark.parametrize(
        ("n_layers", "ways", "sizes"),
        [(4, ["--ways", "2"], [2, 0, 2]), (4, ["--ways", "3"], [1, 1, 2]), (4, [], [1, 1, 2]), (22, [], [11, 0, 11])],
    )
    def test_it_writes_classes_rates_and_entropy(self, tmp_path, n_layers, ways, sizes):
        config = tiny_models.config_dict(n_layers=n_layers, out_channels=2 * tiny_runs.CHANNELS, max_positions=512)
        config |= {"audio_codec": {"kind": "mdct", "gain_widths": list(tiny_runs.BANDS), "floor": 1e-4}}
        config |= {"in_channels": 6 * tiny_runs.CHANNELS}
        model = SAMAudio(SAMAudioConfig.from_dict(config), tiny_models.text_encoder())
        tiny_models.fill(model)
        save_checkpoint(model, tmp_path / "model")
        out = tmp_path / "classes.json"
        options = ["--model", str(tmp_path / "model"), "--mixtures-per-tier", "1", "--out", str(out), *ways]
        assert main(["calibrate", *options]) == 0
        found = json.loads(out.read_text())
        assert [len(found[name]) for name in ("stable", "moderate", "fast")] == sizes
        assert sorted(found["stable"] + found["moderate"] + found["fast"]) == list(range(n_layers))
        highest = max(found["rates"][layer] for layer in found["stable"])
        assert all(found["rates"][layer] >= highest for layer in found["fast"])
        assert (len(found["entropy"]), len(found["entropy"][0]), found["n_mixtures"]) == (n_layers, 16, 3)

    @pytest.mark.parametrize("command", ["calibrate", "tune"])
    @pytest.mark.parametrize(
        ("out", "match"),
        [
            ("none/file", "make it, or name another"),
            ("", "name a file in it"),
            ("file/below", "cannot be written"),
            ("/proc/no-such", "cannot be written"),
            ("a\0b", "give a path"),
        ],
    )
    def test_where_nothing_can_be_written_nothing_is_computed(self, tmp_path, capsys, monkeypatch, command, out, match):
        monkeypatch.setattr("sam_lsac.model.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
        (tmp_path / "file").touch()
        assert main([command, "--out", f"{tmp_path}/{out}" if not out.startswith("/") else out]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert match in line
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            (["--mixtures-per-tier", "0"], "at least 1"),
            (["--mixtures-per-tier", "9" * 5000], "at least 1"),
            (["--saved", "nan"], "below 1"),
            (["--saved", "1"], "below 1"),
            (["--most-fits", "0"], "at least 1"),
            (["--seed", str(2**63)], "2 ** 63 - 1"),
            (["--reference", "euler:1000000000"], "too many"),
            (["--device", "xla"], "use cpu"),
        ],
    )
    def test_figures_that_cannot_be(self, tmp_path, capsys, options, match):
        assert main(["tune", "--out", str(tmp_path / "out.toml"), *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert match in line
        assert not list(tmp_path.iterdir())


def test_the_rate_of_the_model_does_not_show_in_the_file(command, recording, tmp_path, checkpoint):
    """A file at another rate than the model's comes back at its own, as what separate gives for it."""
    path = recording(0.5, 16000)
    command(path, "--solver", "euler:2")
    wave = soundfile.read(path)[0]
    whole = separate(load_model(checkpoint), wave, sample_rate=16000, prompt=PROMPT, solver=Euler(2))
    found = written(tmp_path / "out")[0][0][:, 0]
    inside = slice(400, -400)  # streams and one piece differ at the ends
    scale = np.abs(whole.target).max()
    assert np.abs(found[inside] - whole.target[inside]).max() < 0.05 * scale
    assert np.abs(resample(found, 16000, RATE)).max() > 0.1 * scale


def shown_on(path: Path) -> list[str]:
    """The commands that a page shows in lines of their own."""
    lines = re.findall(r"^    (?:\$ )?python -m sam_lsac (.*)$", path.read_text("utf-8"), flags=re.MULTILINE)
    return [line.split("  #")[0] for line in lines]


@pytest.mark.parametrize("page", ["README.md", "docs/scale.md"])
def test_the_commands_of_a_page_are_accepted(page):
    found = shown_on(ROOT / page)
    assert len(found) > 1
    for line in found:
        command_line().parse_args(shlex.split(line))


@pytest.mark.parametrize(("more", "accepted"), [("0", True), ("2", True), ("-1", False), ("1.5", False)])
def test_tune_takes_no_further_evaluation_or_some(more, accepted, capsys):
    asked = ["tune", "--out", "x.toml", f"--more={more}"]
    if accepted:
        assert command_line().parse_args(asked).more == int(more)
    else:
        assert main(asked) == 2
        assert "at least 0, such as 1" in capsys.readouterr().err
