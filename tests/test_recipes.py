"""CONTRIBUTING's recipes for a metric and for a kind of claim: their very lines, from a row to the table."""

from __future__ import annotations

import math
import re
import shutil
import sys
import tomllib
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_lsac.claims import KINDS, Ledger, Views, headline, judge, parse_claims
from sam_lsac.claims.collect import ledger as ledger_of
from sam_lsac.claims.wording import metric_name, unit_of
from sam_lsac.errors import ClaimError, InputError, PlanError
from sam_lsac.metrics import DEFAULT_METRICS, METRICS, column, measure, registry
from sam_lsac.report import arms_table, build_report, verdict_table
from sam_lsac.runs import Arm, execute, open_store, plan
from tests import claim_worlds, test_claims_kinds, tiny_runs
from tests.claim_worlds import losing, make_context, rows_of
from tests.report_sample import simulated_environment
from tests.suite.rig import CLAIMS, make_rig

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BENCH = tomllib.loads((ROOT / "bench" / "claims.toml").read_text(encoding="utf-8"))
RATE = 8000


def blocks(section, language):
    """The blocks of one language in a section, in their order."""
    text = TEXT.split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


METRIC, METRIC_ROWS = blocks("Add a metric", "python")
(METRIC_ROW,) = re.findall(r"^    Metric\(\n.*^    \),\n", METRIC_ROWS, flags=re.DOTALL | re.MULTILINE)
METRIC_FLOOR, METRIC_CLAIM = blocks("Add a metric", "toml")
KIND, WORLDS = blocks("Add a kind of claim", "python")
(KIND_CLAIM,) = blocks("Add a kind of claim", "toml")
(POLICY,) = blocks("Add a caching policy", "python")


def everywhere(monkeypatch, name, new):
    """Put a registry in the place of the old one in every module of the package that has it."""
    for module in [one for key, one in sys.modules.items() if key.split(".")[0] == "sam_lsac"]:
        if name in vars(module):
            monkeypatch.setattr(module, name, types.MappingProxyType(new))


def parsed(rows, **more):
    """A book of these claims, with the settings and arms of the house's; few bootstrap draws."""
    floors = BENCH["settings"]["smallest_effects"] | tomllib.loads(METRIC_FLOOR)["settings"]["smallest_effects"]
    settings = BENCH["settings"] | {"bootstrap_resamples": 49, "smallest_effects": floors}
    return parse_claims({"settings": settings, "arms": BENCH["arms"], "claims": tomllib.loads(rows)["claims"]} | more)


def simulated(losses, *, metric, higher_is_better, n=24, tiers=("clean", "noisy")):
    """A ledger in which arms lose by (mean, sd), as falls of a metric or as rises of it."""
    sign = 1 if higher_is_better else -1
    rows = []
    for place, tier in enumerate(tiers):
        drawn = losing(metric, **losses)(np.random.default_rng([1, place]), n)
        rows += rows_of(
            {(arm.replace("_", "-"), one): sign * values for (arm, one), values in drawn.items()}, tier=tier
        )
    return Ledger(tuple(rows))


def shown(book, ledger):
    """The report of every claim of a book."""
    context = make_context()
    verdicts = [judge(claim, ledger, context) for claim in book.claims]
    return build_report(book, verdicts, ledger, context, environment=simulated_environment(context))


class TestMetric:
    @pytest.fixture
    def distance(self, monkeypatch):
        """The module, and the row in the namespace of the registry, as the section says."""
        space = {"__name__": "sam_lsac.metrics.lsd"}
        exec(compile(METRIC, "CONTRIBUTING.md", "exec"), space)  # noqa: S102  # the text under test
        names = {**vars(registry), "lsd": space["lsd"]}
        row = eval(METRIC_ROW.strip().removesuffix(","), names)  # noqa: S307
        everywhere(monkeypatch, "METRICS", METRICS | {row.name: row})
        return space["lsd"]

    def test_the_name_is_unknown_before_its_row(self):
        with pytest.raises(ClaimError, match="unknown metric 'lsd'"):
            parsed(METRIC_CLAIM)
        with pytest.raises(PlanError, match="unknown metric 'lsd'"):
            plan(tiny_runs.arms("baseline"), tiny_runs.mixtures(1), tiny_runs.model(), seeds=[0], metrics=["lsd"])

    def test_known_distances(self, distance):
        wave = np.random.default_rng(0).standard_normal(RATE)
        assert distance(wave, wave).value == 0.0
        assert distance(0.01 * wave, wave).value == pytest.approx(0.0, abs=1e-6)
        slight, strong = (distance(wave + size * np.roll(wave, 999), wave).value for size in (0.1, 1.0))
        assert 0.0 < slight < strong
        louder = np.fft.irfft(np.fft.rfft(wave) * np.where(np.arange(RATE // 2 + 1) < RATE // 4, 2.0, 1.0))
        step = 20 * math.log10(2.0)  # between the halves; the common level is taken out, so each half is off by a part
        low, high = (10 * math.log10(gain / 2.5) for gain in (4.0, 1.0))
        assert high - low == pytest.approx(-step)
        assert distance(louder, wave).value == pytest.approx(math.sqrt((low**2 + high**2) / 2), rel=0.03)

    @pytest.mark.parametrize(
        ("estimate", "reason"),
        [(np.zeros(900), "estimate is silent"), (np.full(900, np.nan), "NaN or infinite"), (np.ones(1), "")],
    )
    def test_a_score_that_cannot_be_is_nan_with_its_reason(self, distance, estimate, reason):
        wave = np.random.default_rng(0).standard_normal(900)
        if not reason:
            with pytest.raises(InputError, match="must have one length"):
                distance(estimate, wave)
            return
        score = distance(estimate, wave)
        assert math.isnan(score.value)
        assert reason in score.reason
        assert score.failed
        assert "needs 512" in distance(wave[:511], wave[:511]).reason

    def test_it_is_measured_where_it_is_named_and_nowhere_else(self, distance):
        rng = np.random.default_rng(1)
        waves = {name: rng.standard_normal(RATE) for name in ("target", "residual")}
        estimate = waves["target"] + 0.3 * waves["residual"]
        found = measure(estimate, **waves, sample_rate=RATE, metrics=("si_snr", "lsd"))
        assert found["lsd"] == distance(estimate, waves["target"])
        assert found["lsd"].value > 0
        assert "lsd" not in measure(estimate, **waves, sample_rate=RATE)
        assert "lsd" not in DEFAULT_METRICS

    def test_from_a_plan_to_a_verdict(self, distance, tmp_path):
        (claim,) = parsed(METRIC_CLAIM).claims
        model, mixtures = tiny_runs.model(), tiny_runs.mixtures(3)
        rows = {"baseline": "euler:6", "lsac-safe": "euler:6", "naive-10": "euler:2"}
        edits = {"lsac-safe": ({"kind": "LSAC", "level": "safe"},)}
        arms = {name: Arm(name=name, solver=solver, edits=edits.get(name, ())) for name, solver in rows.items()}
        planned = plan(arms, mixtures, model, seeds=(0,), metrics=("lsd",))
        with open_store(tmp_path / "runs.sqlite") as store:
            execute(planned, model, mixtures, store)
            ledger = ledger_of(store, planned)
        rows = [row for row in ledger.rows if "/" not in row.metric]  # the others compare with the baseline's output
        scores = {arm: np.array([row.value for row in rows if row.arm == arm]) for arm in arms}
        assert {row.metric for row in rows} == {"lsd"}
        assert all(np.isfinite(one).all() for one in scores.values())
        verdict = judge(claim, ledger, make_context(), tiers=["clean"])
        losses = [one for one in verdict.findings if one.quantity == "loss"]
        assert {one.arm for one in losses} == {"lsac-safe", "naive-10"}
        for finding in losses:
            worse = float((scores[finding.arm] - scores["baseline"]).mean())
            assert worse != 0.0
            assert finding.estimate == pytest.approx(worse)  # more distance than the baseline's is a loss

    def test_the_claim_is_judged_with_the_right_sign(self, distance):
        (claim,) = parsed(METRIC_CLAIM).claims
        world = {"lsac_safe": (0.0, 0.1), "naive_10": (2.0, 0.5)}
        rises = simulated(world, metric="lsd", higher_is_better=False)
        assert judge(claim, rises, make_context()).status == "supported"
        falls = simulated(world, metric="lsd", higher_is_better=True)
        assert judge(claim, falls, make_context()).status == "refuted"  # the shorter solve would be the better one

    def test_tables_have_its_label_its_unit_and_the_sign_of_its_loss(self, distance):
        book = parsed(METRIC_CLAIM)
        book = replace(book, views=Views(metric="lsd"))
        world = {"lsac_safe": (0.2, 0.1), "naive_10": (2.0, 0.5), "freeze_fast_8": (1.0, 0.3)}
        report = shown(book, simulated(world, metric="lsd", higher_is_better=False))
        assert (metric_name("lsd"), unit_of("lsd"), column("lsd").higher_is_better) == ("LSD", "dB", False)
        assert re.search(r"mildest naive-10 on \w+ [12]\.\d+ dB", " ".join(verdict_table(report).split()))
        table = " ".join(arms_table(report).split())
        assert "mean |LSD deviation|" in table
        for row in report.tables.arms:
            assert [cell.n for cell in row.cells] == [24, 24, 0]
            assert all(cell.loss > 0 and cell.d > 0 for cell in row.cells if cell.n)
        assert {row.arm for row in report.tables.arms} == {"lsac-safe", "naive-10"}
        assert [point.estimate > 0 for point in report.tables.freezing] == [True, True]  # a curve's point a tier


class TestKind:
    @pytest.fixture
    def kind(self, monkeypatch):
        """The module, registered as the section says."""
        module = types.ModuleType("sam_lsac.claims.kinds.majority")
        exec(compile(KIND, "CONTRIBUTING.md", "exec"), module.__dict__)  # noqa: S102  # the text under test
        everywhere(monkeypatch, "KINDS", KINDS | {module.KIND.name: module.KIND})
        return module.KIND

    @pytest.fixture
    def worlds(self, kind, monkeypatch):
        """The row of worlds, registered as the section says."""
        rows = eval(f"{{{WORLDS}}}", dict(vars(claim_worlds)))  # noqa: S307  # the text under test
        monkeypatch.setattr(test_claims_kinds, "CASES", rows)
        (name,) = rows
        assert name == kind.name
        return name

    def test_the_name_is_unknown_before_its_row(self):
        with pytest.raises(ClaimError, match="unknown kind 'majority'"):
            parsed(KIND_CLAIM)

    def test_it_has_the_fields_that_it_names_and_no_others(self, kind):
        (claim,) = parsed(KIND_CLAIM).claims
        assert claim.n_contradictions == 2  # one arm, one metric, two tiers
        with pytest.raises(ClaimError, match="no smallest effect of si_snr"):
            parsed(KIND_CLAIM, settings=BENCH["settings"] | {"smallest_effects": {"sar": 0.1}})
        with pytest.raises(ClaimError, match="rivals is missing"):
            parsed(KIND_CLAIM.replace('rivals = ["naive-10"]\n', ""))
        with pytest.raises(ClaimError, match="unknown key 'margin'"):
            parsed(KIND_CLAIM + "margin = 1.0\n")
        with pytest.raises(ClaimError, match="one to one"):
            parsed(KIND_CLAIM.replace('rivals = ["naive-10"', 'rivals = ["naive-10", "naive-12"'))

    @pytest.mark.parametrize(
        "law",
        [
            test_claims_kinds.test_a_true_claim_is_supported_and_a_false_one_refuted,
            test_claims_kinds.test_errors_stay_at_the_stated_rate,
            test_claims_kinds.test_too_few_mixtures_are_inconclusive_not_supported,
        ],
        ids=lambda law: law.__name__.removeprefix("test_"),
    )
    def test_the_laws_of_every_kind_hold_in_its_worlds(self, worlds, law):
        law(worlds)

    @pytest.mark.parametrize(
        ("safe", "naive", "status"),
        [
            ((0.0, 0.2), (1.0, 0.3), "supported"),
            ((1.0, 0.3), (0.0, 0.2), "refuted"),
            ((0.5, 0.3), (0.5, 0.3), "inconclusive"),
            ((0.5, 0.0), (0.5, 0.0), "inconclusive"),  # nothing but ties
        ],
    )
    def test_from_the_row_to_a_verdict_and_the_table(self, kind, safe, naive, status):
        book = parsed(KIND_CLAIM)
        ledger = simulated({"lsac_safe": safe, "naive_10": naive}, metric="si_snr", higher_is_better=True)
        report = shown(book, ledger)
        verdict = report.verdict("MJ1")
        assert verdict.status == status
        assert {one.status for one in verdict.findings} == {status}
        first = ledger.paired("si_snr", arm="lsac-safe", baseline="naive-10", tier="clean")
        better = int((first.first - first.second >= book["MJ1"].smallest("si_snr")).sum())  # nearer ones are ties
        assert headline(book["MJ1"], verdict)[0] == f"clean lsac-safe better in {better} of 24 mixtures"
        assert f"better in {better} of 24" in " ".join(verdict_table(report, width=140).split())

    @pytest.mark.parametrize(("way", "status"), [(1, "supported"), (-1, "refuted")])
    def test_the_p_value_is_that_of_a_sign_test(self, kind, way, status):
        """Of 24 mixtures 20 differ one way: the chance of a coin, written out; there are two contradictions."""
        (claim,) = parsed(KIND_CLAIM).claims
        naive = np.full(24, 9.0)
        safe = naive + way * np.where(np.arange(24) < 20, 1.0, -4.5)  # the mean has almost no side
        columns = {("baseline", "si_snr"): 0 * naive, ("lsac-safe", "si_snr"): safe, ("naive-10", "si_snr"): naive}
        ledger = Ledger(tuple(row for tier in claim.tiers for row in rows_of(columns, tier=tier)))
        chance = sum(math.comb(24, k) for k in range(20, 25)) / 2**24
        verdict = judge(claim, ledger, make_context())
        assert verdict.status == status
        for finding in verdict.findings:
            assert finding.p == pytest.approx(chance)
            assert finding.p_adjusted == pytest.approx(chance * (1 if way > 0 else 2))

    def test_differences_that_are_of_no_interest_are_ties(self, kind):
        (claim,) = parsed(KIND_CLAIM).claims
        naive = np.ones(24)
        safe = naive + np.where(np.arange(24) < 6, 1.0, -0.05)  # 6 of 6 are better, and the rest as good
        columns = {("baseline", "si_snr"): 0 * naive, ("lsac-safe", "si_snr"): safe, ("naive-10", "si_snr"): naive}
        ledger = Ledger(tuple(row for tier in claim.tiers for row in rows_of(columns, tier=tier)))
        for finding in judge(claim, ledger, make_context()).findings:
            assert finding.p == pytest.approx(0.5**6)


def inserted(path, before, lines):
    """Write lines into a file in front of the one place that reads `before`."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has {before!r} {text.count(before)} times"
    path.write_text(text.replace(before, f"{lines}{before}"), encoding="utf-8")


ENDS = """
[arms.hold]
solver = "euler:4"
edits = [{ kind = "HoldCrossAttention", step = 2 }]

[[claims]]
id = "ONE"
section = "1"
quote = "Held cross-attention stays within the margin in spectra"
paper = ""
kind = "equivalent"
applies_to = "any"
arms = ["hold"]
metrics = ["lsd"]
tiers = ["clean", "noisy"]
margin = 200.0
family = "one"

[[claims]]
id = "TWO"
section = "1"
quote = "Most are nearer than three steps, or are not; three mixtures cannot tell"
paper = ""
kind = "majority"
applies_to = "any"
arms = ["hold"]
rivals = ["naive"]
metrics = ["lsd"]
tiers = ["clean", "noisy"]
family = "two"

[views]
metric = "lsd"
"""
TESTS = '''\
"""Claims that need all three recipes."""

import pytest


@pytest.mark.claims("ONE", "TWO")
def test_ours(verdict) -> None:
    assert verdict.status == "supported", verdict.reason
'''


@pytest.mark.slow
def test_the_places_that_the_recipes_name_are_all_that_there_is_to_them(tmp_path):
    """A copy of the package with the three recipes in the places that they name judges claims that need all of them."""
    package = tmp_path / "copy" / "sam_lsac"
    shutil.copytree(ROOT / "sam_lsac", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "caching" / "hold.py").write_text(POLICY, encoding="utf-8")
    arms = package / "runs" / "arms.py"
    inserted(arms, "from sam_lsac.errors import", "from sam_lsac.caching.hold import HoldCrossAttention\n")
    inserted(arms, '    "HijackGate": HijackGate,\n', '    "HoldCrossAttention": HoldCrossAttention,\n')
    (package / "metrics" / "lsd.py").write_text(METRIC, encoding="utf-8")
    registry_file = package / "metrics" / "registry.py"
    inserted(registry_file, "from sam_lsac.metrics.snr import", "from sam_lsac.metrics.lsd import lsd\n")
    inserted(registry_file, ')\n"""The registry of metrics', METRIC_ROW)
    (package / "claims" / "kinds" / "majority.py").write_text(KIND, encoding="utf-8")
    inserted(package / "claims" / "kinds" / "__init__.py", "    negligible_loss,\n    no_loss", "    majority,\n")
    inserted(package / "claims" / "kinds" / "__init__.py", "            negligible_loss,\n", "            majority,\n")
    claims = CLAIMS.replace("{ si_snr = 0.1 }", "{ si_snr = 0.1, lsd = 0.5 }") + ENDS
    rig = make_rig(tmp_path / "house", claims=claims, tests=TESTS)
    path = {"PYTHONPATH": f"{package.parent}:{rig.folder}"}
    finished = rig.pytest(env=path, fresh=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "2 passed, 2 skipped" in finished.stdout
    assert {key: one for key, one in rig.statuses().items() if not key.startswith("MY")} == {
        "ONE": "supported",
        "TWO": "inconclusive",
    }
    assert "mean |LSD deviation|" in finished.stdout
    assert "of 3 mixtures" in finished.stdout
    costs = {row["arm"]: row["flops_saved"] for row in rig.report_data()["tables"]["arms"]}
    assert 0 < costs["hold"] < 0.5
