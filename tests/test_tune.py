"""Schedules: what `tune` expects is measured, files are read back to the bit, another checkpoint is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from sam_lsac.__main__ import main
from sam_lsac.caching import CacheBranch, FittedBranch, WrappedSolve
from sam_lsac.calibration_set import Examples
from sam_lsac.claims import load_claims
from sam_lsac.commands import tune as command
from sam_lsac.costs import count_flops, counted_flops
from sam_lsac.errors import EditError, InputError, ModelError, PlanError
from sam_lsac.interventions import ZeroAdditive, attach
from sam_lsac.metrics import si_snr
from sam_lsac.model import load_model
from sam_lsac.model.checkpoint import save_checkpoint
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.report.settings import code_of
from sam_lsac.runs import Arm, resolve_arm
from sam_lsac.runs.compute import Batch
from sam_lsac.schedule import Rival, find_schedule, load_schedule, own_names
from sam_lsac.separate import decode, separate, solve_batch
from sam_lsac.solver import Euler, Fitted, Midpoint
from sam_lsac.solver.fitting import Fitter
from sam_lsac.solver.refining import refine
from sam_lsac.suite import gather, planning
from sam_lsac.tune import Search, tune
from tests import tiny_runs
from tests.standin import LAYERS, assert_near, network

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = Euler(8)


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def found(model):
    return tune(model, tiny_runs.mixtures(), saved=0.5, reference=REFERENCE, seed=3, most_fits=6, more=0)


@pytest.fixture
def file(found, tmp_path):
    found.save(tmp_path / "schedule.toml")
    return tmp_path / "schedule.toml"


def solved(model, mixtures, seeds, solver, edits=()):
    """Latents and target waves, one mixture at a time, on the way that runs take."""
    latents, waves = [], []
    for mixture, seed in zip(mixtures, seeds, strict=True):
        batch = Batch(model, [mixture], [seed])
        conditions = batch.conditions(text=True, spans=False)
        latents.append(solve_batch(model, conditions, batch.noise, solver=solver, edits=edits))
        waves.append(decode(model, latents[-1], seeds=[seed])[0][0, : mixture.target.size].double().numpy())
    return torch.cat(latents).double(), waves


def test_what_is_expected_is_what_is_measured_on_the_calibration_set(model, found):
    given = found.provenance.seeds
    assert given == (3, 4, 5)
    ours, our_waves = solved(model, tiny_runs.mixtures(), given, found.solver)
    full, full_waves = solved(model, tiny_runs.mixtures(), given, REFERENCE)
    errors = (ours - full).square().sum(dim=(1, 2)) / full.square().sum(dim=(1, 2))
    assert found.expected.error == pytest.approx(float(errors.mean()), rel=0.01)
    assert found.expected.worst_error == pytest.approx(float(errors.max()), rel=0.01)
    fidelity = [si_snr(one, other).value for one, other in zip(our_waves, full_waves, strict=True)]
    assert found.expected.fidelity_db == pytest.approx(np.median(fidelity), abs=0.05)
    assert found.expected.worst_fidelity_db == pytest.approx(min(fidelity), abs=0.05)


def test_it_is_nearer_to_the_reference_than_plain_solvers_of_the_cost(model, found):
    full, _ = solved(model, tiny_runs.mixtures(), found.provenance.seeds, REFERENCE)
    plain, _ = solved(model, tiny_runs.mixtures(), found.provenance.seeds, Euler(4))
    errors = (plain - full).square().sum(dim=(1, 2)) / full.square().sum(dim=(1, 2))
    assert found.expected.error < 0.1 * float(errors.mean())


def test_the_best_fit_is_moved_towards_the_waves_of_the_reference(model, found):
    examples = Examples(model, tiny_runs.mixtures(), seeds=(3, 4, 5), batch_size=8)
    with torch.inference_mode():
        fitter = Fitter(REFERENCE, examples.velocity, examples.noise)
        fit = fitter.search(4, most_fits=6)
        towards = examples.velocity, examples.noise, fitter.final
        moved = refine(fit.solver, *towards, output=examples.waves)
        assert found.solver == moved.solver
        assert moved.gain_db > 0.2
        assert found.solver != refine(fit.solver, *towards).solver
        assert found.expected.error == pytest.approx(fitter.measured(moved.solver, moved.state).error)


def test_provenance_says_what_it_was_fitted_on(model, found):
    given = found.provenance
    assert given.mixtures == tuple(mixture.digest for mixture in tiny_runs.mixtures())
    assert (given.dtype, given.device, given.n_fits) == ("float32", "cpu", 6)


@pytest.mark.parametrize(
    ("reference", "saved", "n_evaluations"),
    [
        (Euler(8), 0.5, 4),
        (Euler(8), 0.51, 3),
        (Euler(8), 0.875, 1),
        (Euler(8), 0, 8),
        (Midpoint(4), 0.75, 2),
        (Midpoint(4), 0.25, 6),
    ],
)
def test_at_least_the_part_asked_for_is_saved(model, reference, saved, n_evaluations):
    found = tune(model, tiny_runs.mixtures(2), saved=saved, reference=reference, most_fits=1, more=0)
    assert found.rival is None
    assert found.solver.nfe == n_evaluations
    assert found.evaluations_saved >= saved
    costs = [count_flops(model, solver=solver).total for solver in (found.solver, reference)]
    assert 1 - costs[0] / costs[1] == pytest.approx(found.evaluations_saved)


def test_half_steps_of_midpoint_are_kept_in_a_file_of_their_own_version(model, tmp_path):
    """In the first version nodes were steps; where these are not all the places, none is read as the other."""
    found = tune(model, tiny_runs.mixtures(2), saved=0.25, reference=Midpoint(4), most_fits=1, more=0)
    path = tmp_path / "schedule.toml"
    found.save(path)
    assert any(node % 2 == 0 for node in found.solver.nodes)
    assert load_schedule(path) == found
    text = path.read_text()
    assert "version = 2" in text
    path.write_text(text.replace("version = 2", "version = 1"))
    with pytest.raises(InputError, match="version 1 counts the nodes of midpoint:4 otherwise; tune anew"):
        load_schedule(path)


def test_saving_nothing_changes_nothing(model):
    found = tune(model, tiny_runs.mixtures(2), saved=0, reference=REFERENCE, most_fits=1, more=1)
    assert (found.expected.error, found.expected.worst_fidelity_db) == (0, None)


def test_mixtures_in_parts_are_fitted_to_as_a_whole(model, found):
    parts = tune(model, tiny_runs.mixtures(), saved=0.5, reference=REFERENCE, seed=3, most_fits=6, more=0, batch_size=2)
    assert parts.solver.nodes == found.solver.nodes
    assert parts.expected.error == pytest.approx(found.expected.error, rel=0.01)


@pytest.mark.parametrize(
    ("mixtures", "options", "hint"),
    [
        ([], {}, "at least one"),
        ([tiny_runs.mixture(0), tiny_runs.mixture(1, n_samples=tiny_runs.HOP * 8)], {}, "one length"),
        (tiny_runs.mixtures(1), {"saved": 0.9}, "leaves none; save at most 0.8750"),
        (tiny_runs.mixtures(1), {"saved": 1}, "no fraction"),
        (tiny_runs.mixtures(1), {"saved": float("nan")}, "no fraction"),
        (tiny_runs.mixtures(1), {"most_fits": 0}, "at least one fit"),
        (tiny_runs.mixtures(1), {"batch_size": 0}, "0 at once"),
        (tiny_runs.mixtures(1), {"more": -1}, "or 0"),
        (tiny_runs.mixtures(1), {"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_fitted_is_refused(model, mixtures, options, hint):
    with pytest.raises(InputError, match=hint):
        tune(model, mixtures, reference=REFERENCE, **options)


def test_metas_class_is_told_what_to_give():
    with pytest.raises(ModelError, match="load_model"):
        tune(network("meta-like").model, tiny_runs.mixtures(1))


class TestFile:
    def test_it_is_read_back_to_the_bit(self, file, found, model):
        assert load_schedule(file) == load_schedule(file, model=model) == found

    def test_none_is_left_out_and_read_back(self, found, tmp_path):
        exact = replace(found, expected=replace(found.expected, fidelity_db=None))
        exact.save(tmp_path / "exact.toml")
        assert load_schedule(tmp_path / "exact.toml") == exact

    def test_another_checkpoint_is_refused(self, file, found):
        other = tiny_runs.model(seed=1)
        with pytest.raises(ModelError, match="fit one to it with `python -m sam_lsac tune`"):
            load_schedule(file, model=other)
        with pytest.raises(ModelError, match=found.provenance.checkpoint[:12]):
            load_schedule(file).check(other)

    @pytest.mark.parametrize(
        ("old", "new", "hint"),
        [
            ("version = 1", "version = 3", "version"),
            ("version = 1", "version = 2", "counts the nodes of euler:8 otherwise"),
            ("[expected]", "[expectd]", "did you mean .expected."),
            ("nodes = [1, ", "nodes = [1.5, ", "nodes"),
            ("nodes = [1, ", "nodes = [2, ", "not among the 8 places"),
            ("euler:8", "eulr:8", "did you mean 'euler'"),
            ('reference = "euler:8"', 'reference = "euler:9"', "not those of fitted:4@euler:8#"),
            ('reference = "euler:8"', 'reference = "fitted:euler:1/1/1.0"', "no method on a grid"),
            ("[FIRST]", "[0.126]", "not those of fitted:4@euler:8#"),
            ("[FIRST]", '["0.125"]', "weights"),
            ("[FIRST]", "[inf]", "finite"),
            ("[FIRST]", "[0.125, 1.0]", "rows of 1, 2"),
            ("n_fits = 6", "n_fits = 6\nn_fist = 6", "did you mean 'n_fits'"),
            ("n_fits = 6", "", "n_fits is missing"),
            ("[solver]", "[solver", "is no TOML"),
        ],
    )
    def test_a_changed_file_is_refused_with_the_place(self, file, found, old, new, hint):
        text = file.read_text()
        old = old.replace("FIRST", repr(found.solver.weights[0][0]))
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=hint):
            load_schedule(file)

    def test_what_is_no_file_of_text_is_refused(self, tmp_path):
        binary = tmp_path / "binary.toml"
        binary.write_bytes(b"\xff\xfe\x00")
        hints = {tmp_path: "cannot be read", tmp_path / "missing.toml": "is missing", binary: "not UTF-8"}
        for path, hint in {**hints, "a\0b": "cannot be read"}.items():
            with pytest.raises(InputError, match=f"{hint}.*; write one with .python -m sam_lsac tune"):
                load_schedule(path)

    def test_a_place_where_nothing_can_be_written_is_refused(self, found, tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            found.save(tmp_path)

    def test_a_file_that_was_given_comes_before_one_of_the_checkpoints_folder(self, found, tmp_path):
        save_checkpoint(tiny_runs.model(), tmp_path / "checkpoint")
        model = load_model(tmp_path / "checkpoint")
        other = replace(found, provenance=replace(found.provenance, checkpoint=checkpoint_digest(model), n_fits=99))
        (model.folder / "schedules").mkdir()
        other.save(model.folder / "schedules" / "half.toml")
        (model.folder / "schedules" / "half.txt").write_text("no schedule")
        assert own_names(model) == ("half",)
        assert find_schedule("half", model, given={}) == other
        mine = replace(other, provenance=replace(other.provenance, n_fits=1))
        mine.save(tmp_path / "mine.toml")
        assert find_schedule("half", model, given={"half": tmp_path / "mine.toml"}) == mine
        replace(found, provenance=replace(found.provenance, checkpoint="f" * 64)).save(tmp_path / "foreign.toml")
        with pytest.raises(ModelError, match="fitted to the checkpoint ffffffffffff"):
            find_schedule("half", model, given={"half": tmp_path / "foreign.toml"})
        with pytest.raises(InputError, match=r"no schedule 'third'.* or write it to schedules/third\.toml"):
            find_schedule("third", model, given={"half": tmp_path / "mine.toml"})


EDITS = (
    FittedBranch(part="feed_forward", weights={1: {3: (1.25, -0.5)}, 3: {2: (0.75,), 4: (1e-07, 1.0)}}, n_steps=4),
    CacheBranch(part="cross_attention", steps=(2, 4), layers=(0, 1)),
    CacheBranch(part="matrix", steps=(3,), order=1),
)


class TestEdits:
    @pytest.fixture
    def cached(self, found):
        return replace(found, edits=EDITS, expected=replace(found.expected, flops_saved=0.625))

    @pytest.fixture
    def file(self, cached, tmp_path):
        cached.save(tmp_path / "cached.toml")
        return tmp_path / "cached.toml"

    def test_they_are_read_back_to_the_bit(self, file, cached, model):
        assert load_schedule(file, model=model) == cached
        assert (cached.evaluations_saved, cached.flops_saved) == (0.5, 0.625)

    def test_a_file_without_them_is_as_it_was(self, found, tmp_path):
        replace(found, expected=replace(found.expected, flops_saved=None)).save(tmp_path / "plain.toml")
        text = (tmp_path / "plain.toml").read_text()
        assert "edits" not in text
        assert "flops_saved" not in text
        assert load_schedule(tmp_path / "plain.toml").flops_saved == found.evaluations_saved

    @pytest.mark.parametrize(
        ("old", "new", "hint"),
        [
            ("3 = [1.25, -0.5]", "3 = [1.25, -0.6]", "not those that the solver was fitted with"),
            ('part = "matrix"', 'part = "attention"', "not those that the solver was fitted with"),
            ("edits_digest = ", "# edits_digest = ", "not those that the solver was fitted with"),
            (
                'kind = "CacheBranch"\npart = "matrix"',
                'kind = "CashBranch"\npart = "matrix"',
                "did you mean 'CacheBranch'",
            ),
            ('part = "matrix"', 'prat = "matrix"', "did you mean 'part'"),
        ],
    )
    def test_a_changed_one_is_refused(self, file, old, new, hint):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=hint):
            load_schedule(file)

    def test_what_no_file_could_name_is_not_dropped_in_silence(self, found, tmp_path):
        class Nameless(ZeroAdditive):
            pass

        with pytest.raises(PlanError, match="no class that a plan knows"):
            replace(found, edits=(Nameless(),)).save(tmp_path / "schedule.toml")
        assert not list(tmp_path.iterdir())

    def test_an_arm_that_names_it_has_them_before_its_own(self, cached, model):
        arm = Arm(name="a", solver="schedule:given", edits=({"kind": "ZeroAdditive"},))
        resolved = resolve_arm(cached.run_by(arm), model)
        assert resolved.solver == cached.solver
        assert resolved.edits == (*EDITS, ZeroAdditive())

    def test_the_suite_and_its_plan_run_them(self, cached, tmp_path, monkeypatch):
        model, book = tiny_runs.model(), load_claims(ROOT / "bench" / "claims.toml")
        monkeypatch.setattr(model, "folder", tmp_path)
        (tmp_path / "schedules").mkdir()
        cached.save(tmp_path / "schedules" / "50.toml")
        planned, _ = planning._with_schedules(book, model)
        gathered, absent = gather._with_schedules(book, model, SimpleNamespace(schedules={}))
        for one in (planned, gathered):
            assert one.arms["schedule-50"] == cached.run_by(book.arms["schedule-50"])
            assert len(one.arms["schedule-50"].edits) == len(EDITS)
        assert "schedule-62" in absent

    def test_the_line_of_code_has_them(self, cached):
        left_out = replace(cached, edits=EDITS[:1])
        arm = left_out.run_by(Arm(name="a", solver="schedule:given", edits=({"kind": "DeepCache", "interval": 2},)))
        code = code_of(arm, cached.solver, schedule='"x.toml"')
        assert code == (
            'solver=sl.load_schedule("x.toml").solver, '
            'edits=[*sl.load_schedule("x.toml").edits, sl.DeepCache(interval=2)]'
        )

    def test_metas_separate_does_the_solve_with_them(self):
        net, solver = network("meta-like"), TestWrappedSolve.SOLVER
        wrapped = WrappedSolve(solver=solver)
        edits = [CacheBranch(part="feed_forward", steps=(3,), order=1), CacheBranch(part="attention", steps=(2,))]
        with attach(net.model, [wrapped, *edits], nfe=3) as run:
            theirs = net.model.separate(net.conditions, net.noise, wrapped.ode_opt)
        assert sum(run.hits.values()) == 2 * LAYERS
        assert_near(theirs, net.solve_edited(*edits, solver=solver))
        assert (theirs - net.solve(solver)).abs().max() > 0.01


@pytest.fixture(scope="module")
def idle():
    """A model whose branches give nothing, so that they may be left out at no loss."""
    built = tiny_runs.model()
    for layer in built.transformer.layers:
        for last in (layer.attention.wo, layer.cross_attention.wo, layer.feed_forward.w2):
            last.weight.zero_()
    built.checkpoint_digest = None
    return built


@pytest.fixture(scope="module")
def left_out(idle):
    return tune(idle, tiny_runs.mixtures(), saved=0.5, reference=REFERENCE, seed=3, most_fits=4, more=1, batch_size=2)


class TestBranchesLeftOut:
    def test_what_gives_nothing_is_left_out_for_another_evaluation(self, idle, left_out):
        examples = Examples(idle, tiny_runs.mixtures(), seeds=(3, 4, 5), batch_size=2)
        with torch.inference_mode():
            whole = Fitter(REFERENCE, examples.velocity, examples.noise).search(5, most_fits=4)
        assert left_out.solver.nodes == whole.solver.nodes
        assert left_out.expected.error == pytest.approx(whole.error, rel=0.01)
        assert left_out.n_left_out > 0
        assert (left_out.rival.cached, left_out.rival.evaluations, left_out.rival.expected.flops_saved) == (
            False,
            4,
            0.5,
        )
        assert left_out.rival.expected.error > left_out.expected.error

    def test_the_part_asked_for_is_saved_on_paper_and_executed(self, idle, left_out):
        assert 0.5 <= left_out.flops_saved < 0.52
        assert left_out.evaluations_saved == 0.375
        costs = [
            count(idle, seconds=0.256, text_tokens=1, edits=left_out.edits, solver=left_out.solver).total
            for count in (count_flops, partial(counted_flops, device="cpu"))
        ]
        assert costs[0] == costs[1]
        assert 1 - costs[0] / count_flops(idle, seconds=0.256, text_tokens=1, solver=REFERENCE).total >= 0.5

    def test_what_is_expected_is_what_is_measured_with_the_edits(self, model):
        examples = Examples(model, tiny_runs.mixtures(), seeds=(3, 4, 5), batch_size=2)
        searched = Search(examples, REFERENCE, progress=lambda _: None).cached(5, saved=0.5, most_fits=1)
        assert searched.edits
        ours, _ = solved(model, tiny_runs.mixtures(), (3, 4, 5), searched.solver, edits=searched.edits)
        full, _ = solved(model, tiny_runs.mixtures(), (3, 4, 5), REFERENCE)
        errors = (ours - full).square().sum(dim=(1, 2)) / full.square().sum(dim=(1, 2))
        assert searched.expected.error == pytest.approx(float(errors.mean()), rel=0.01)
        assert searched.expected.worst_error == pytest.approx(float(errors.max()), rel=0.01)

    def test_they_are_written_and_read_back(self, left_out, tmp_path):
        left_out.save(tmp_path / "left-out.toml")
        assert load_schedule(tmp_path / "left-out.toml") == left_out


class TestWrappedSolve:
    SOLVER = Fitted(reference=Euler(6), nodes=(1, 2, 5), weights=((0.2,), (-0.3, 0.8), (0.1, -0.4, 0.6)))

    HALFWAY = Fitted(reference=Midpoint(3), nodes=(1, 2, 5), weights=SOLVER.weights)  # the same times

    @pytest.mark.parametrize("solver", [SOLVER, HALFWAY])
    def test_metas_separate_does_the_fitted_solve(self, solver):
        net = network("meta-like")
        wrapped = WrappedSolve(solver=solver)
        plain = net.model.separate(net.conditions, net.noise, wrapped.ode_opt)
        with attach(net.model, [wrapped], nfe=3) as run:
            theirs = net.model.separate(net.conditions, net.noise, wrapped.ode_opt)
        assert run.evaluations == 3
        assert_near(theirs, net.solve(self.SOLVER))
        assert (theirs - plain).abs().max() > 0.01
        assert torch.equal(net.model.separate(net.conditions, net.noise, wrapped.ode_opt), plain)

    def test_one_solve_leaves_nothing_to_the_next(self):
        net = network("meta-like")
        wrapped = WrappedSolve(solver=self.SOLVER)
        both = []
        for _ in range(2):
            with attach(net.model, [wrapped], nfe=3):
                both.append(net.model.separate(net.conditions, net.noise, wrapped.ode_opt))
        assert torch.equal(*both)

    @pytest.mark.parametrize("counts", [{"nfe": 6}, {"nfe": 3, "evaluations_per_step": 3}])
    def test_a_solve_of_another_length_is_refused(self, counts):
        net = network("meta-like")
        with (
            pytest.raises(EditError, match="attach with nfe=3"),
            attach(net.model, [WrappedSolve(solver=self.SOLVER)], **counts),
        ):
            pass


class TestCommands:
    @pytest.fixture
    def checkpoint(self, tmp_path):
        save_checkpoint(tiny_runs.model(), tmp_path / "checkpoint")
        return tmp_path / "checkpoint"

    @pytest.fixture
    def stems(self, tmp_path):
        """A folder of two mixtures for calibration."""
        for index in range(2):
            mixture = tiny_runs.mixture(index)
            folder = tmp_path / "stems" / str(index)
            folder.mkdir(parents=True)
            for name in ("target", "residual"):
                soundfile.write(folder / f"{name}.wav", getattr(mixture, name), tiny_runs.RATE, subtype="FLOAT")
            (folder / "mixture.json").write_text('{"prompt": "dog barking", "subset": "calibration"}')
        return tmp_path / "stems"

    def run_tune(self, checkpoint, stems, out, *options):
        given = ["--model", str(checkpoint), "--mixtures", str(stems), "--reference", "euler:4", "--out", str(out)]
        return main(["tune", *given, *options])

    def test_a_schedule_is_written_shown_and_used(self, checkpoint, stems, tmp_path, capsys):
        path = tmp_path / "schedule.toml"
        assert self.run_tune(checkpoint, stems, path, "--saved", "0.5") == 0
        out = capsys.readouterr().out
        schedule = load_schedule(path)
        assert schedule.solver.name in out
        assert "50.0%: 2 of 4 evaluations" in out
        assert "caching   adds nothing: no solve with more evaluations comes to this cost" in out
        assert re.search(r"fidelity  -?\d+\.\d dB, worst -?\d+\.\d dB, on the 2 mixtures", out)
        wave = tiny_runs.mixture(0).wave
        soundfile.write(tmp_path / "in.wav", wave, tiny_runs.RATE, subtype="FLOAT")
        command = ["separate", str(tmp_path / "in.wav"), "--model", str(checkpoint), "--prompt", "dog barking"]
        assert main([*command, "--schedule", str(path), "--out", str(tmp_path / "out")]) == 0
        assert ", 50.0% saved" in capsys.readouterr().out  # against the solver that it stands for
        wanted = separate(
            load_model(checkpoint), wave, sample_rate=tiny_runs.RATE, prompt="dog barking", solver=schedule.solver
        )
        written = soundfile.read(tmp_path / "out" / "in.target.wav", dtype="float32")[0]
        np.testing.assert_array_equal(written, wanted.target)

    @pytest.mark.parametrize(("cached", "verdict"), [(True, "adds to it"), (False, "adds nothing")])
    def test_what_caching_comes_to_is_said(self, found, cached, verdict, capsys):
        one = replace(found, edits=EDITS[:1] if cached else ())
        told = Rival(evaluations=5, cached=not cached, expected=replace(found.expected, fidelity_db=None))
        command._print(replace(one, rival=told), "schedule.toml")
        *_, saved, _, caching = capsys.readouterr().out.splitlines()
        assert saved.endswith(", 3 branches of layers left out" if cached else "4 of 8 evaluations")
        other = "all branches" if cached else "branches left out"
        assert caching.startswith(f"caching   {verdict}: 5 evaluations with {other} come to unbounded, worst ")
        assert caching.endswith("at 50.0% saved")

    def test_separate_runs_the_edits_of_a_schedule(self, checkpoint, found, tmp_path, capsys):
        loaded = load_model(checkpoint)
        given = replace(found.provenance, checkpoint=checkpoint_digest(loaded))
        schedule = replace(found, provenance=given, edits=EDITS[:1])
        schedule.save(tmp_path / "cached.toml")
        wave = tiny_runs.mixture(0).wave
        soundfile.write(tmp_path / "in.wav", wave, tiny_runs.RATE, subtype="FLOAT")
        command = ["separate", str(tmp_path / "in.wav"), "--model", str(checkpoint), "--prompt", "dog barking"]
        assert main([*command, "--schedule", str(tmp_path / "cached.toml"), "--out", str(tmp_path / "out")]) == 0
        saved = float(re.search(r", (\d+\.\d)% saved", capsys.readouterr().out)[1])
        assert saved > 50  # more than the evaluations that are not made
        wanted = separate(
            loaded,
            wave,
            sample_rate=tiny_runs.RATE,
            prompt="dog barking",
            solver=found.solver,
            edits=EDITS[:1],
        )
        written = soundfile.read(tmp_path / "out" / "in.target.wav", dtype="float32")[0]
        np.testing.assert_array_equal(written, wanted.target)

    def test_a_word_is_one_of_the_checkpoints_own_schedules(self, checkpoint, found, tmp_path, monkeypatch, capsys):
        soundfile.write(tmp_path / "in.wav", tiny_runs.mixture(0).wave, tiny_runs.RATE, subtype="FLOAT")
        command = ["separate", str(tmp_path / "in.wav"), "--model", str(checkpoint), "--prompt", "dog barking"]
        command += ["--out", str(tmp_path / "out")]
        assert main([*command, "--schedule", "recommended"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "no schedule of this name (it has none); fit one with `python -m sam_lsac tune" in line
        assert str(checkpoint / "schedules" / "recommended.toml") in line
        assert not (tmp_path / "out").exists()
        digest = checkpoint_digest(load_model(checkpoint))
        found = replace(found, provenance=replace(found.provenance, checkpoint=digest))
        (checkpoint / "schedules").mkdir()
        for name in ("recommended", "50"):
            found.save(checkpoint / "schedules" / f"{name}.toml")
            assert main([*command, "--schedule", name, "--overwrite"]) == 0
            assert ", 50.0% saved" in capsys.readouterr().out
        assert main([*command, "--schedule", "51", "--overwrite"]) == 2
        assert "(it has 50, recommended)" in capsys.readouterr().err
        found.save(tmp_path / "51")
        monkeypatch.chdir(tmp_path)
        assert main([*command, "--schedule", "51", "--overwrite"]) == 0  # a file here, where the checkpoint has none

    @pytest.mark.parametrize("options", [["--solver", "euler:4"], ["--lsac", "balanced"]])
    def test_a_schedule_beside_another_way_to_solve_is_refused(self, checkpoint, tmp_path, options, capsys):
        command = ["separate", "in.wav", "--prompt", "dog", "--out", str(tmp_path), "--schedule", "schedule.toml"]
        assert main([*command, *options]) == 2
        assert "leave --solver and --lsac out" in capsys.readouterr().err

    def test_another_checkpoint_is_one_line_and_nothing_written(self, file, checkpoint, tmp_path, capsys):
        changed = tiny_runs.model(seed=2)
        save_checkpoint(changed, tmp_path / "other")
        soundfile.write(tmp_path / "in.wav", tiny_runs.mixture(0).wave, tiny_runs.RATE)
        command = ["separate", str(tmp_path / "in.wav"), "--model", str(tmp_path / "other"), "--prompt", "dog"]
        assert main([*command, "--schedule", str(file), "--out", str(tmp_path / "out")]) == 2
        assert "was fitted to the checkpoint" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("options", "hint"),
        [
            (["--saved", "2"], "give a fraction"),
            (["--reference", "euler:4@swoy"], "did you mean 'sway'"),
            (["--reference", "fitted:euler:1/1/1.0"], "name a method on a grid"),
            (["--most-fits", "0"], "at least 1"),
        ],
    )
    def test_options_that_cannot_be_are_one_line(self, checkpoint, stems, tmp_path, options, hint, capsys):
        assert self.run_tune(checkpoint, stems, tmp_path / "schedule.toml", *options) == 2
        assert hint in capsys.readouterr().err
        assert not (tmp_path / "schedule.toml").exists()

    @pytest.mark.parametrize(("out", "hint"), [("none/schedule.toml", "there is no folder"), ("", "is a folder")])
    def test_a_place_for_the_file_is_asked_for_before_anything_runs(self, tmp_path, out, hint, capsys):
        assert self.run_tune("no-checkpoint", "no-mixtures", tmp_path / out) == 2
        assert hint in capsys.readouterr().err
