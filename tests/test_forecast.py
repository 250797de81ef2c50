"""A forecast says what computing then takes: runs, evaluations, FLOPs, bytes; and the command prints it."""

from __future__ import annotations

import pytest

from sam_lsac.__main__ import main
from sam_lsac.caching import LSAC, SAM_AUDIO_SMALL
from sam_lsac.costs import arm_cost, cache_bytes, count_flops, counted_flops
from sam_lsac.costs.sizes import frames, sizes_of
from sam_lsac.errors import CacheError
from sam_lsac.model.transformer import Attention
from sam_lsac.runs import execute, open_store, plan, resolve_arm
from sam_lsac.runs.forecast import forecast, row_bytes
from sam_lsac.solver import Euler
from tests import tiny_runs

SECONDS = 16 * tiny_runs.HOP / tiny_runs.RATE
TOKENS = 4


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


def planned_of(model, *names, n_mixtures=1):
    late = {"solver": "midpoint:4", "edits": ({"kind": "FreezeSelfAttention", "layers": "fast", "step": 3},)}
    return plan(
        tiny_runs.arms(*names, late=late), tiny_runs.mixtures(n_mixtures), model, seeds=(0,), metrics=("si_snr",)
    )


@pytest.mark.parametrize(
    "names",
    [
        ("baseline",),
        ("baseline", "lsac", "freeze-late", "naive"),
        ("lsac-midpoint", "late", "midpoint", "baseline"),
        tuple(tiny_runs.ARMS),
    ],
    ids=["one", "shared", "two evaluations a step", "all"],
)
def test_runs_and_evaluations_are_those_that_computing_takes(model, tmp_path, monkeypatch, names):
    planned = planned_of(model, *names)
    foreseen = forecast(planned.runs, model, seconds=SECONDS, text_tokens=TOKENS)
    counted = []
    real = type(model.transformer).forward
    monkeypatch.setattr(type(model.transformer), "forward", lambda *a, **k: counted.append(1) or real(*a, **k))
    with open_store(tmp_path / "runs.sqlite") as store:
        execute(planned, model, tiny_runs.mixtures(1), store)
        stored = len(store.get([spec.key for spec in planned.runs]))
    assert (foreseen.runs, foreseen.evaluations) == (stored, len(counted))
    assert foreseen.unshared >= foreseen.evaluations


def test_flops_are_those_of_the_arms_less_shared_steps(model):
    def flops(*names):
        return forecast(planned_of(model, *names).runs, model, seconds=SECONDS, text_tokens=TOKENS).flops

    def cost(name):
        arm = resolve_arm(tiny_runs.arms(name)[name], model)
        return arm_cost(name, model, arm.solver, edits=arm.edits, seconds=SECONDS, text_tokens=TOKENS).flops_total

    plain = cost("midpoint")
    assert flops("baseline", "naive") == pytest.approx(flops("baseline") + cost("naive"), rel=1e-12)
    assert flops("baseline", "midpoint") == pytest.approx(flops("baseline") + plain, rel=1e-12)
    # of its 4 steps the late freeze shares 2 with the baseline: half of a plain solve of Euler's, whose cost is half
    late = flops("baseline", "freeze-late") - flops("baseline")
    assert late == pytest.approx(cost("freeze-late") - plain / 4, rel=1e-12)


def test_a_run_that_decides_as_it_runs_is_counted_in_full_and_said(model):
    """Beside an edit that says what it saves, only the rest is counted in full."""
    decides, told = {"kind": "TeaCache", "threshold": 0.1}, {"kind": "FreezeSelfAttention", "layers": "fast", "step": 1}
    more = {"decides": {"edits": (decides,)}, "both": {"edits": (told, decides)}}
    arms = tiny_runs.arms("baseline", "decides", "both", **more)
    runs = plan(arms, tiny_runs.mixtures(1), model, seeds=(0,), metrics=("si_snr",)).runs
    full = count_flops(model, seconds=SECONDS, text_tokens=TOKENS).total
    costs = {}
    for name in arms:
        of_arm = [spec for spec in runs if len(spec.edits) == len(arms[name].edits)]
        foreseen = forecast(of_arm, model, seconds=SECONDS, text_tokens=TOKENS)
        costs[name] = foreseen.flops / full
        assert foreseen.in_full == (name != "baseline")
    assert costs["decides"] == 4
    assert costs["both"] < 4
    assert (forecast(runs, model, seconds=SECONDS, text_tokens=TOKENS) * 3).in_full == 6


def test_runs_without_text_cost_what_their_arm_costs(model):
    foreseen = forecast(planned_of(model, "text-none").runs, model, seconds=SECONDS, text_tokens=TOKENS)
    plain = count_flops(model, seconds=SECONDS, text_tokens=0).total
    assert foreseen.flops == pytest.approx(foreseen.evaluations * plain, rel=1e-12)
    assert plain < count_flops(model, seconds=SECONDS, text_tokens=TOKENS).total


def test_rows_take_about_what_is_foreseen(model, tmp_path):
    planned = planned_of(model, "baseline", "lsac", "naive", "spans", n_mixtures=24)
    foreseen = sum(row_bytes(spec, n_layers=tiny_runs.LAYERS) for spec in planned.runs)
    path = tmp_path / "runs.sqlite"
    with open_store(path) as store:
        execute(planned, model, tiny_runs.mixtures(24), store)
    assert path.stat().st_size == pytest.approx(
        foreseen + 8 * 4096, rel=0.25
    )  # tables and indices begin with a page each


class TestLongAudio:
    """On SAM-Audio-Small's size, without weights."""

    def edit(self, **limits):
        return LSAC.of(SAM_AUDIO_SMALL, level="balanced").edit(**limits)

    @pytest.mark.parametrize("seconds", [10, 30, 60, 120])
    def test_a_cache_over_its_limit_is_refused_before_a_layer_that_it_is_of(self, monkeypatch, seconds):
        n_frames = frames(sizes_of("small"), seconds)
        foreseen = cache_bytes("small", self.edit(), n_frames=n_frames)
        assert foreseen == 7 * 12 * n_frames**2 * 4  # layers, heads, T x T, float32
        ran = []
        forward = Attention.forward
        monkeypatch.setattr(Attention, "forward", lambda *a, **k: ran.append(1) or forward(*a, **k))
        with pytest.raises(CacheError, match="max_bytes"):
            counted_flops("small", seconds=seconds, edits=[self.edit(max_bytes=foreseen - 1)], solver=Euler(16))
        assert len(ran) == 2  # self- and cross-attention of layer 0, of which none is kept, in the first evaluation

    def test_a_cache_within_its_limit_is_not(self):
        foreseen = cache_bytes("small", self.edit(), n_frames=frames(sizes_of("small"), 10))
        allowed = [self.edit(max_bytes=foreseen)]
        on_paper = count_flops("small", seconds=10, edits=allowed, solver=Euler(16)).total
        assert counted_flops("small", seconds=10, edits=allowed, solver=Euler(16)).total == pytest.approx(on_paper)


class TestCommand:
    def run(self, capsys, *options):
        code = main(["plan", *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    def test_every_claim_can_be_planned_for_the_embedded_checkpoint(self, capsys):
        code, out, err = self.run(capsys, "--mixtures-per-tier", "2")
        assert (code, err) == (0, "")
        assert "runs skip what they decide as they run, and are counted in full" in out

    def test_more_mixtures_and_seeds_are_more_runs_in_proportion(self, capsys):
        def runs(*options):
            code, out, _ = self.run(capsys, "--model", "small", "-k", "LS6", *options)
            assert code == 0
            return int(next(line for line in out.splitlines() if line.startswith("runs")).split()[1])

        once = runs("--mixtures-per-tier", "10", "--seeds", "0")
        assert once > 0
        assert runs("--mixtures-per-tier", "10", "--seeds", "0,1,2") == 3 * once
        assert runs("--mixtures-per-tier", "20", "--seeds", "0") > 1.5 * once

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--model", "smal"], "did you mean 'small'"),
            (["-k", "lsac"], "ids begin with DP, SS, GH, LS, FL, FR."),
            (["--seeds", "x"], "--seeds"),
            (["--rate", "-1"], "--rate"),
            (["--rate", "1e12", "--measure"], "leave one of them out"),
            (["--of-peak", "2"], "a part of 1"),
        ],
    )
    def test_a_mistake_is_one_line(self, capsys, options, words):
        code, out, err = self.run(capsys, *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err
