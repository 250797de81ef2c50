"""What to ship: the cheapest setting that holds on every tier, within every margin; and the frontier beside it."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import sam_lsac as sl
from sam_lsac.caching.peers import PEERS
from sam_lsac.claims import ArmCost, Ledger, load_claims, parse_claims
from sam_lsac.claims.collect import seconds
from sam_lsac.claims.wording import NOTHING
from sam_lsac.costs.memory import cache_bytes
from sam_lsac.errors import ClaimError
from sam_lsac.interventions import FreezeSelfAttention
from sam_lsac.metrics import Score
from sam_lsac.report import build_report, from_json, terminal_text, to_html, to_json, to_markdown
from sam_lsac.report.advice import advise
from sam_lsac.report.figures import signs_of
from sam_lsac.report.frontier import frontier
from sam_lsac.report.markdown import summary
from sam_lsac.report.settings import code_of, shippable
from sam_lsac.report.shipping import HEADING, caching_text
from sam_lsac.runs import Arm, Plan, RunResult, open_store, resolve_arm
from sam_lsac.runs.arms import describe_edit, schedule_of
from sam_lsac.solver import parse_solver
from sam_lsac.statistics import contrast_test, mean_interval
from sam_lsac.suite.kept import kept_bytes, schedule_files
from tests import tiny_runs
from tests.claim_worlds import COMMON, SETTINGS, make_context, rows_of
from tests.report_sample import CLAIMS, simulated_environment
from tests.test_plan import SPEC
from tests.test_timings import TIME

TIERS = ("clean", "noisy", "env")
QUALITY = {"si_snr": 10.0, "stoi": 0.8}
MISSING = "Not computed: run it."
ARMS = {
    "full": {"solver": "euler:16"},
    "half": {"solver": "euler:8"},
    "quarter": {"solver": "ab2:4"},
    "cached": {"solver": "euler:16", "edits": [{"kind": "DeepCache", "interval": 2}]},
    "ablated": {"solver": "euler:8", "edits": [{"kind": "ZeroAdditive"}]},
    "mute": {"solver": "euler:4", "text": False},
}
SAVED = {"full": 0.0, "half": 0.5, "quarter": 0.75, "cached": 0.4, "ablated": 0.9, "mute": 0.95}
N = 24


def book(**advice):
    view = {"levels": [30.0, 40.0], "fidelity": "fidelity/full", "metrics": list(QUALITY), "missing": MISSING} | advice
    views = {"reference": "full", "advice": view, "frontier": {"metrics": ["fidelity/full"]}}
    claim = COMMON | {"kind": "equivalent", "arms": ["half"], "baselines": ["full"], "metrics": ["si_snr"]}
    claim |= {"tiers": ["clean"], "family": "f"}
    return parse_claims({"settings": SETTINGS, "arms": ARMS, "claims": [claim], "views": views})


def context(saved=SAVED, **fields):
    costs = {
        arm: ArmCost(arm=arm, layer_steps_saved=share / 2, flops_total=1e12 * (1 - share), flops_saved=share)
        for arm, share in saved.items()
    }
    return make_context(costs=costs, **fields)


def world(fidelity, *, loss=(), spread=0.5, tiers=TIERS):
    """A ledger of arms with these fidelities, in dB, or one a tier; `loss` by (arm, metric, tier)."""
    rng = np.random.default_rng(5)
    rows = []
    for place, tier in enumerate(tiers):
        columns = {}
        level = {metric: mean * (1.0 + 0.1 * rng.standard_normal(N)) for metric, mean in QUALITY.items()}
        for arm in ("full", *fidelity):
            for metric, values in level.items():
                noise = 0.01 * SETTINGS["smallest_effects"][metric] * rng.standard_normal(N)
                columns[(arm, metric)] = values - dict(loss).get((arm, metric, tier), 0.0) - noise
        for arm, means in fidelity.items():
            mean = means if np.isscalar(means) else means[place]
            columns[(arm, "fidelity/full")] = mean + spread * rng.standard_normal(N)
        rows += rows_of(columns, tier=tier)
    return Ledger(tuple(rows))


def chosen(ledger, *, of=None, saved=SAVED, **advice):
    found = advise(book(**advice) if of is None else of, ledger, context(saved))
    return [level.setting and level.setting.arm for level in found.levels]


# ------------------------------------------------------------------------------------------------------------- choosing


def test_the_cheapest_that_holds_is_chosen_at_each_level():
    assert chosen(world({"half": 50.0, "quarter": 33.0, "cached": 60.0})) == ["quarter", "half"]
    assert chosen(world({"half": 50.0, "quarter": 45.0, "cached": 60.0})) == ["quarter", "quarter"]


@pytest.mark.parametrize("place", range(3))
def test_one_tier_below_the_level_excludes(place):
    poor = [33.0, 33.0, 33.0]
    poor[place] = 29.0
    assert chosen(world({"half": 50.0, "quarter": poor})) == ["half", "half"]


def test_a_mean_above_the_level_is_not_enough():
    """The bound decides, at alpha over the number of candidates."""
    ledger = world({"half": 50.0, "quarter": 30.3}, spread=1.0)
    values = [ledger.abreast("fidelity/full", arm="quarter", rival="quarter", tier=t).first for t in TIERS]
    assert all(one.mean() > 30.0 for one in values)
    assert max(contrast_test(one - 30.0).p_greater for one in values) > 0.05 / 2
    assert chosen(ledger) == ["half", "half"]


def test_more_candidates_ask_for_more():
    """The same figures hold among two settings, and not where their level is shared by many."""
    ledger = world({"half": 50.0, "quarter": 30.6}, spread=1.0)
    values = [ledger.abreast("fidelity/full", arm="quarter", rival="quarter", tier=t).first for t in TIERS]
    p = max(contrast_test(one - 30.0).p_greater for one in values)
    few = book()
    assert p < 0.05 / 2
    assert chosen(ledger, of=few) == ["quarter", "half"]
    strict = replace(few, settings=replace(few.settings, alpha=p))
    assert chosen(ledger, of=strict) == ["half", "half"]
    assert advise(few, ledger, context()).alpha == pytest.approx(0.05 / 2)
    named = book(candidates=["half", "quarter", "cached"])
    assert advise(named, ledger, context()).alpha == pytest.approx(0.05 / 3)  # also of those that were not run


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("metric", list(QUALITY))
def test_a_metric_that_is_not_shown_within_its_margin_excludes(tier, sign, metric):
    beyond = {("quarter", metric, tier): sign * SETTINGS["smallest_effects"][metric]}
    ledger = world({"half": 50.0, "quarter": 45.0}, loss=beyond)
    assert chosen(ledger) == ["half", "half"]
    (why,) = advise(book(), ledger, context()).levels[0].cheaper
    assert re.match(rf"quarter \(75.0 %.*{tier} is not shown within", why)
    within = {place: 0.5 * size for place, size in beyond.items()}
    assert chosen(world({"half": 50.0, "quarter": 45.0}, loss=within)) == ["quarter", "quarter"]


def test_of_equal_cost_the_more_faithful_is_chosen():
    saved = SAVED | {"quarter": 0.5}
    assert chosen(world({"half": 45.0, "quarter": 50.0}), saved=saved) == ["quarter", "quarter"]
    assert chosen(world({"half": 50.0, "quarter": 45.0}), saved=saved) == ["half", "half"]


def test_where_nothing_holds_it_is_said_with_what_each_lacks():
    found = advise(book(), world({"half": 20.0, "quarter": 10.0}), context())
    assert [level.setting for level in found.levels] == [None, None]
    assert [[why.split(" ")[0] for why in level.cheaper] for level in found.levels] == [["quarter", "half"]] * 2
    assert caching_text(found.levels[0]) == ""


def test_what_takes_a_model_apart_or_hears_no_prompt_is_no_setting():
    names = ("half", "quarter", "cached", "ablated", "mute")
    assert shippable(book(), context()) == ("half", "quarter", "cached")
    assert chosen(world(dict.fromkeys(names, 60.0))) == ["quarter", "quarter"]
    assert shippable(book(), context(SAVED | {"quarter": -0.5, "half": 0.0})) == ("cached",)


def test_a_tier_that_was_not_run_leaves_no_advice():
    for ledger in (world({"half": 50.0}, tiers=TIERS[:2]), world({}), Ledger(())):
        found = advise(book(), ledger, context())
        assert (found.levels, found.missing) == ((), MISSING)
    assert advise(book(levels=[]), world({"half": 50.0}), context()) is None


@pytest.mark.parametrize(("gone", "holds"), [(2, True), (3, False)])
def test_too_many_missing_figures_exclude(gone, holds):
    ledger = world({"half": 50.0, "quarter": 45.0})
    lost = {f"env-{i:03d}" for i in range(gone)}
    rows = [
        replace(row, value=np.nan, reason="gone")
        if row.arm == "quarter" and row.mixture in lost and row.metric == "si_snr"
        else row
        for row in ledger.rows
    ]
    assert chosen(Ledger(tuple(rows)))[0] == ("quarter" if holds else "half")


def test_a_failed_run_counts_as_the_worst_figure():
    ledger = world({"half": 50.0, "quarter": 45.0, "cached": -400.0})
    rows = [
        replace(row, value=np.nan, reason="silent", failed=True)
        if row.arm == "quarter" and row.mixture == "env-000" and row.metric == "fidelity/full"
        else row
        for row in ledger.rows
    ]
    found = advise(book(levels=[30.0]), Ledger(tuple(rows)), context())
    assert found.levels[0].setting.arm == "half"
    assert "Fidelity to full on env is not shown beyond 30" in found.levels[0].cheaper[0]


def test_what_is_better_when_lower_is_chosen_as_its_mirror_image_is():
    """A distance of 100 less the fidelity, at levels of 100 less those: the same choice, bounds and worst mixtures."""
    distance = {"fidelity": "log_spectral_distance/full"}
    for saved, fidelity in (
        (SAVED, {"half": 50.0, "quarter": 33.0, "cached": 60.0}),
        (SAVED | {"quarter": 0.5}, {"half": 45.0, "quarter": [50.0, 50.0, 47.0]}),
        (SAVED | {"cached": 0.5}, {"half": 50.0, "cached": 55.0}),
    ):
        ledger = world(fidelity, loss={("cached", "si_snr", "env"): 1.0})
        rows = [
            replace(row, metric=distance["fidelity"], value=100.0 - row.value) if row.metric == "fidelity/full" else row
            for row in ledger.rows
        ]
        plain = advise(book(), ledger, context(saved))
        mirrored = advise(book(levels=[70.0, 60.0], **distance), Ledger(tuple(rows)), context(saved))
        for one, other in zip(plain.levels, mirrored.levels, strict=True):
            assert (other.setting.arm, other.better) == (one.setting.arm, one.better)
            for here, there in zip(one.setting.tiers, other.setting.tiers, strict=True):
                wanted = (100 - here.mean, 100 - here.bound, 100 - here.worst)
                assert (there.mean, there.bound, there.worst) == pytest.approx(wanted)


def loosened(of, alpha):
    return replace(of, settings=replace(of.settings, alpha=alpha))


def test_every_test_of_quality_shares_the_level():
    """A p value of equivalence holds at a level of a little more, and not where two candidates share it."""
    ledger = world({"half": 50.0, "quarter": 45.0}, loss={("quarter", "si_snr", "env"): 0.0984})
    pairs = ledger.losses("si_snr", arm="quarter", baseline="full", tier="env")
    p = contrast_test(0.1 - (pairs.first - pairs.second)).p_greater
    assert 0.001 < p < 0.2
    assert chosen(ledger, of=loosened(book(), 2.5 * p)) == ["quarter", "quarter"]
    assert chosen(ledger, of=loosened(book(), 1.5 * p)) == ["half", "half"]


def test_a_cache_is_better_at_the_shared_level():
    loss = {("cached", "si_snr", "env"): 1.0}
    ledger = world({"half": 50.0, "cached": 50.5}, loss=loss)
    pairs = [ledger.abreast("fidelity/full", arm="cached", rival="half", tier=tier) for tier in TIERS]
    p = max(contrast_test(one.first - one.second).p_greater for one in pairs)
    assert 0.001 < p < 0.2
    for alpha, better in ((2.5 * p, ("cached",)), (1.5 * p, ())):
        found = advise(loosened(book(levels=[30.0]), alpha), ledger, context(SAVED | {"cached": 0.5}))
        assert (found.levels[0].setting.arm, found.levels[0].better) == ("half", better)


def changed(ledger, n, **fields):
    """The first n mixtures of env without a fidelity of "quarter"."""
    return Ledger(tuple(
        replace(row, value=np.nan, reason="why", **fields)
        if (row.arm, row.metric, row.tier) == ("quarter", "fidelity/full", "env") and int(row.mixture[-3:]) < n
        else row
        for row in ledger.rows
    ))  # fmt: skip


@pytest.mark.parametrize(("gone", "holds"), [(12, True), (13, False)])
def test_a_fidelity_that_does_not_exist_on_most_mixtures_excludes(gone, holds):
    found = advise(book(), changed(world({"half": 50.0, "quarter": 45.0}), gone), context())
    assert found.levels[0].setting.arm == ("quarter" if holds else "half")
    if not holds:
        assert "does not exist on 13 mixtures" in found.levels[0].cheaper[0]


def test_failed_runs_of_a_setting_are_counted():
    """A failed run has the worst figure of the tier, which holds the level here."""
    found = advise(book(), changed(world({"half": 50.0, "quarter": 45.0}), 2, failed=True), context())
    tiers = {one.tier: one for one in found.levels[0].setting.tiers}
    assert found.levels[0].setting.arm == "quarter"
    assert {name: (one.n, one.n_failed) for name, one in tiers.items()} == {
        "clean": (N, 0), "noisy": (N, 0), "env": (N, 2)
    }  # fmt: skip


def test_a_setting_answers_the_references_question_with_caches_alone():
    more = {
        "spanned": {"solver": "euler:4", "spans": True},
        "mixed": {"solver": "euler:4", "edits": [*ARMS["cached"]["edits"], *ARMS["ablated"]["edits"]]},
        "fitted": {"solver": "schedule:half"},
    }
    claim = COMMON | {"kind": "equivalent", "arms": ["half"], "baselines": ["full"], "metrics": ["si_snr"]}
    views = {"reference": "full"}
    claims = [claim | {"tiers": ["clean"], "family": "f"}]
    wide = parse_claims({"settings": SETTINGS, "arms": ARMS | more, "claims": claims, "views": views})
    assert shippable(wide, context(SAVED | dict.fromkeys(more, 0.7))) == ("half", "quarter", "cached")


# ------------------------------------------------------------------------------------------------- caching, code, costs


@pytest.mark.parametrize(
    ("fidelity", "saved", "better", "words"),
    [
        ({"half": 50.0, "cached": 55.0}, 0.5, (), "It has a cache itself, and no other"),
        ({"half": 50.0, "cached": 55.0}, 0.4, (), "no setting with a cache saves as much (1 were run)"),
        ({"half": 50.0}, 0.4, (), "is open: no setting with a cache was run"),
        (
            {"quarter": 33.0, "cached": [35.0, 35.0, 31.0]},
            0.75,
            (),
            "no setting with a cache that saves as much (1 of 1)",
        ),
    ],
    ids=["it is the cache", "saves less", "none was run", "poorer on one tier"],
)
def test_whether_caching_adds_anything_on_top(fidelity, saved, better, words):
    level = advise(book(levels=[30.0]), world(fidelity), context(SAVED | {"cached": saved})).levels[0]
    assert (level.better, words in caching_text(level)) == (better, True)


def test_a_cache_that_saves_as_much_and_is_nearer_is_named():
    """It is poorer in a metric of quality, or it would itself be the advice."""
    ledger = world({"half": 50.0, "cached": 55.0}, loss={("cached", "si_snr", "env"): 1.0})
    level = advise(book(levels=[30.0]), ledger, context(SAVED | {"cached": 0.5})).levels[0]
    assert (level.setting.arm, level.better) == ("half", ("cached",))
    assert caching_text(level) == "Caching adds to it: cached saves as much at a fidelity shown to be higher."


def test_bounds_are_those_of_the_deciding_test():
    found = advise(book(levels=[30.0]), world({"half": 50.0, "quarter": 33.0}), context())
    ledger = world({"half": 50.0, "quarter": 33.0})
    for cell in found.levels[0].setting.tiers:
        values = ledger.abreast("fidelity/full", arm="quarter", rival="quarter", tier=cell.tier).first
        assert contrast_test(values - cell.bound).p_greater == pytest.approx(found.alpha, rel=1e-4)
        assert (cell.mean, cell.worst, cell.n) == (pytest.approx(values.mean()), values.min(), N)


def test_costs_are_those_of_the_context_and_a_dash_where_it_has_none():
    ledger = world({"half": 50.0})
    given = context(seconds={"half": 0.0123}, cache_bytes={"half": 25_000_000})
    setting = advise(book(), ledger, given).levels[0].setting
    assert (setting.evaluations, setting.flops_saved, setting.flops_total) == (8, 0.5, 0.5e12)
    for known, words in ((given, "12.30 ms a solve, 0.025 GB"), (context(), f"{NOTHING} ms a solve, {NOTHING} GB")):
        assert words in " ".join(terminal_text(report_of(ledger, known)).split())


def test_a_time_that_was_measured_beside_the_full_solves_is_told_with_its_interval():
    ledger = world({"half": 50.0})
    given = context(seconds={"half": 0.0123}, times={"half": TIME})
    setting = advise(book(), ledger, given).levels[0].setting
    assert (setting.time.ratio, setting.time.n_pairs, setting.time.peak_bytes) == (0.5, 3, 7)
    for text in (terminal_text(report_of(ledger, given)), to_markdown(report_of(ledger, given))):
        words = " ".join(text.split())
        assert "x0.50 [0.45, 0.55]" in words
        assert "Of the full time: 3 pairs measured in turn on a processor (processor time), 95 % interval." in words
    assert "full time" not in terminal_text(report_of(ledger, context()))
    assert from_json(to_json(report_of(ledger, given))).advice == report_of(ledger, given).advice


def timed(solver="euler:4", *, wall_s, device="one", **fields):
    """A stored run of one seed that took so long."""
    run = replace(SPEC, solver=solver, metrics=("si_snr",), **fields)
    scores, there = {"si_snr": Score(1.0)}, {"device": device, "machine": "x"}
    return RunResult(spec=run, scores=scores, noise_digest="d" * 64, wall_s=wall_s, environment=there)


def test_seconds_are_medians_of_runs_that_did_all_of_their_work(tmp_path):
    late = FreezeSelfAttention(layers=(1,), step=3)
    assert late.first_acting_step > 1
    runs = {
        "plain": [timed(wall_s=one, seed=seed) for seed, one in enumerate((0.3, 0.1, 0.9))],
        "from a prefix": [timed(wall_s=0.2, edits=(late,))],
        "probed": [timed(wall_s=0.2, seed=7, record=("entropy",))],
        "two machines": [timed("ab2:4", wall_s=0.2), timed("ab2:4", wall_s=0.2, seed=1, device="two")],
        "failed": [timed("ab2:8", wall_s=0.0)],
    }
    with open_store(tmp_path / "runs.sqlite") as store:
        store.put([run for of in runs.values() for run in of])
        planned = Plan(arms={arm: tuple(run.spec for run in of) for arm, of in runs.items()})
        assert seconds(store, planned) == {"plain": 0.3}


def test_bytes_are_those_that_caches_keep_and_none_where_edits_do_not_say():
    small = tiny_runs.model()
    arms = ("naive", "lsac", "deepcache", "zero-additive")
    given = SimpleNamespace(arms=tiny_runs.arms(*arms))
    length = 16 * tiny_runs.HOP / tiny_runs.RATE
    found = kept_bytes(given, small, arms=arms, seconds=length)
    assert (set(found), found["naive"]) == ({"naive", "lsac", "deepcache"}, 0)
    for arm in ("lsac", "deepcache"):
        (edit,) = resolve_arm(given.arms[arm], small).edits
        assert found[arm] == cache_bytes(small, edit, n_frames=16) > 0
    assert kept_bytes(given, small, arms=["lsac"], seconds=2 * length)["lsac"] == 4 * found["lsac"]  # T x T


def test_a_schedule_is_found_where_it_was_read_from(tmp_path):
    arms = {name: Arm(name=name, solver=solver) for name, solver in (("a", "schedule:50"), ("b", "euler:4"))}
    home = SimpleNamespace(folder=tmp_path)
    assert schedule_files(arms, home, given={}) == {"a": 'model.folder / "schedules/50.toml"'}
    assert schedule_files(arms, home, given={"50": tmp_path / "x.toml"}) == {"a": json.dumps(str(tmp_path / "x.toml"))}
    assert schedule_files(arms, SimpleNamespace(folder=None), given={}) == {}


@pytest.fixture(scope="module")
def model():
    return sl.load_model("embedded")


def test_the_line_of_code_makes_the_arm_of_the_book(model):
    """Of every setting of the claims file that needs no schedule, and of those of the checkpoint's folder."""
    claims = load_claims(CLAIMS)
    for name, arm in claims.arms.items():
        if (schedule := schedule_of(arm)) is not None:
            if not (model.folder / "schedules" / f"{schedule}.toml").exists():
                continue
            arm = replace(arm, solver=sl.load_schedule(model.folder / "schedules" / f"{schedule}.toml").solver.text)
            line = code_of(arm, parse_solver(arm.solver), schedule=f'model.folder / "schedules/{schedule}.toml"')
            assert line == f'solver=sl.load_schedule(model.folder / "schedules/{schedule}.toml").solver'
        else:
            line = code_of(arm, parse_solver(arm.solver))
        made = eval(f"dict({line}\n)", {"sl": sl, "model": model, "PEERS": PEERS})  # noqa: S307 - our own line
        wanted = resolve_arm(arm, model)
        solver = made["solver"]
        assert (parse_solver(solver) if isinstance(solver, str) else solver) == wanted.solver, name
        assert list(map(describe_edit, made.get("edits", ()))) == list(map(describe_edit, wanted.edits)), name


# ---------------------------------------------------------------------------------------------------------------- forms


def report_of(ledger, known=None, **advice):
    known = context() if known is None else known
    return build_report(book(**advice), [], ledger, known, environment=simulated_environment(known))


@pytest.fixture(scope="module")
def report():
    return report_of(world({"half": 50.0, "quarter": 33.0, "cached": 60.0}))


@pytest.mark.parametrize("form", [lambda r: terminal_text(r, width=200), to_markdown, summary, to_html])
def test_every_form_says_what_to_ship_before_the_arms(report, form):
    text = form(report)
    assert HEADING in text
    for level, setting in (("30 dB", "quarter"), ("40 dB", "half")):
        assert level in text
        assert setting in text
    assert 'solver="ab2:4"' in text.replace("&#34;", '"')
    bare = form(report_of(Ledger(())))
    assert MISSING in bare
    assert "30 dB" not in bare
    assert HEADING not in form(replace(report, advice=None, tables=replace(report.tables, frontier=())))
    nothing = form(report_of(world({"half": 20.0})))
    assert "nothing that was run holds it" in nothing


def test_json_carries_the_advice(report):
    data = json.loads(to_json(report))
    assert [level["setting"]["arm"] for level in data["advice"]["levels"]] == ["quarter", "half"]
    assert from_json(to_json(report)) == report
    assert from_json(to_json(replace(report, advice=None))).advice is None


@pytest.mark.parametrize(
    ("advice", "words"),
    [
        ({"candidates": ["hal"]}, "advice.candidates: unknown arm 'hal': did you mean 'half'"),
        ({"metrics": ["stio"]}, "advice.metrics: unknown metric 'stio'"),
        ({"metrics": ["si_snri"]}, "no smallest effect of si_snri: add it to"),
        ({"fidelity": "fidelty/full"}, "advice.fidelity: unknown metric"),
        ({"level": [3.0]}, "unknown key 'level': did you mean 'levels'"),
    ],
)
def test_a_view_that_cannot_be_used_is_an_error(advice, words):
    with pytest.raises(ClaimError, match=re.escape(words)):
        book(**advice)


# ------------------------------------------------------------------------------------------------------------- frontier


def test_the_frontier_has_every_setting_on_every_tier_with_its_mean():
    ledger = world({"half": 50.0, "quarter": 33.0, "cached": 60.0, "ablated": 5.0})
    points = list(frontier(book(), ledger, context()))
    assert [(one.tier, one.arm, one.saved) for one in points] == [
        (tier, arm, SAVED[arm]) for tier in TIERS for arm in ("half", "quarter", "cached")
    ]
    for one in points:
        values = ledger.abreast(one.metric, arm=one.arm, rival=one.arm, tier=one.tier).first
        mean = mean_interval(values, level=0.95)
        assert (one.estimate, one.low, one.high) == pytest.approx((values.mean(), mean.low, mean.high))


def test_no_two_families_share_colour_and_marker():
    names = [f"family{i}" for i in range(64)]
    signs = signs_of(names)
    assert list(signs) == names
    assert len({(ink, marker) for ink, marker, _ in signs.values()}) == 64
    assert len({ink for ink, _, _ in list(signs.values())[:8]}) == len({sign for *_, sign in list(signs.values())[:8]})
    assert len({ink for ink, _, _ in list(signs.values())[:8]}) == 8


def test_the_frontier_is_drawn_a_panel_a_tier_with_the_settings_named(report):
    page = to_html(report)
    label = r'aria-label="Fidelity to full, dB against total FLOPs saved[^"]* on (\w+)"'
    drawn = re.findall(rf'<svg role="img" {label}', page)
    assert drawn == list(TIERS)
    section = page.split('<section id="frontier">')[1].split("</section>")[0]
    for arm in ("half", "quarter", "cached"):
        assert len(re.findall(rf">{arm}</text>", section)) == len(TIERS)
