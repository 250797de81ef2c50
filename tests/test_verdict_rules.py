"""The numbered rules of docs/verdicts.md, each by a ledger on which a rule that is broken says something else."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sam_lsac.claims import KINDS, Ledger, judge
from sam_lsac.claims.reach import UNRESTRICTED
from sam_lsac.mixtures.corpora import PROMPTS, Clip
from sam_lsac.mixtures.pairing import _speaker_pairs, _take_turns
from sam_lsac.statistics import contrast_test, effect_size
from tests.claim_worlds import (
    CASES,
    PAIRED,
    TWICE,
    losing,
    make_claim,
    make_context,
    make_family,
    make_ledger,
    quickly,
    rows_of,
    solvers,
)
from tests.paper_worlds import BOOK, CLAIMS, judged, paper_context, paper_effect, world

RIVAL = PAIRED | {"rivals": ["r"]}
MATCHED = RIVAL | {"matched": {"a": "r"}}
LESS = RIVAL | {"kind": "smaller-loss", "score": "loss"}
NO_LOSS = MATCHED | {"kind": "no-loss"}
SOLVERS = {"arms": ["a", "b"], "rivals": ["r", "s"], "baselines": ["baseline", "own-baseline"], "kind": "complementary"}


def standard(rng, n=24):
    """Return n figures of mean 0 and standard deviation 1, exactly."""
    noise = rng.standard_normal(n)
    return (noise - noise.mean()) / noise.std(ddof=1)


def figures(columns, **fields):
    """Return the verdict on columns {arm: loss [n]} of SI-SNR, against a baseline that varies."""
    base = 10.0 + 4.0 * np.random.default_rng(99).standard_normal(len(next(iter(columns.values()))))
    table = {("baseline", "si_snr"): base} | {(arm, "si_snr"): base - loss for arm, loss in columns.items()}
    return judge(make_claim(**fields), make_ledger(table), make_context())


def decided(verdict):
    return [one for one in verdict.findings if one.status]


# ---------------------------------------------------------------------------------------------------- 1: one-sided test


@pytest.mark.parametrize("sign", [1, -1])
def test_1_a_contrast_is_tested_on_one_side_and_for_skewness(sign):
    """Of a skewed contrast Student's p is too small on one side; the larger of two decides."""
    skewed = np.random.default_rng(1).lognormal(size=24)
    loss = sign * (skewed - skewed.mean() + sign * 0.6 * skewed.std())
    (finding,) = decided(figures({"a": 0 * loss + 0.3 * standard(np.random.default_rng(2)), "r": loss}, **LESS))
    difference = loss - 0.3 * standard(np.random.default_rng(2))
    student = stats.ttest_1samp(difference, 0.0, alternative="greater").pvalue
    assert finding.p == pytest.approx(contrast_test(difference).p_greater)
    assert finding.p >= student * (1 - 1e-9)


# --------------------------------------------------------------------------------------------------------- 2: the level


def test_2_claims_that_cannot_be_judged_leave_the_count_of_their_family():
    here, there = make_context(), make_context(n_layers=22)
    for claim_id, on_12, on_22 in (("LS1", 7, 8), ("DP1", 3, 4), ("SS3", 4, 4), ("GH2", 5, 5)):
        claim = BOOK[claim_id]
        assert claim.judged_on(here).level == pytest.approx(0.05 / on_12)
        assert claim.judged_on(there).level == pytest.approx(0.05 / on_22)
    small = make_context(is_small=True)
    rows = [LESS | {"applies_to": word} for word in ("any", "small", "22-layers")]
    first = make_family(*rows)[0]
    assert [first.judged_on(one).family_size for one in (here, small, there)] == [1, 2, 2]


def test_2_a_verdict_is_taken_at_the_level_of_its_checkpoint():
    """A p between 0.05 / 3 and 0.05 / 2 is enough where one claim of three cannot be judged."""
    first = make_family(LESS, LESS, LESS | {"applies_to": "22-layers"})[0]
    noise, other = standard(np.random.default_rng(3)), 0.2 * standard(np.random.default_rng(4))
    shift = next(m for m in np.linspace(1, 0, 400) if 0.018 < contrast_test(noise + m).p_greater < 0.024)
    base = np.arange(24.0)
    table = {("baseline", "si_snr"): base, ("a", "si_snr"): base - other, ("r", "si_snr"): base - other - noise - shift}
    ledger = make_ledger(table)
    assert judge(first, ledger, make_context()).status == "supported"
    assert judge(first, ledger, make_context(n_layers=22)).status == "inconclusive"


# ---------------------------------------------------------------------- 3 and 4: intersection of support, union of harm


def test_3_support_needs_every_contrast_at_an_undivided_level():
    rng = np.random.default_rng(5)
    both = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "kind": "smaller-loss", "score": "loss"}
    quiet = {"a": 0.1 * standard(rng), "b": 0.1 * standard(rng)}
    half = figures(quiet | {"r": 5 + 0.1 * standard(rng), "s": 0.1 * standard(rng)}, **both)
    assert [one.status for one in decided(half)] == ["supported", "inconclusive"]
    assert (half.status, half.scope) == ("inconclusive", "")
    noise = standard(rng)
    shift = next(m for m in np.linspace(1, 0, 400) if 0.03 < contrast_test(noise + m).p_greater < 0.045)
    weak = {"r": quiet["a"] + noise + shift, "s": quiet["b"] + noise + shift}
    assert figures(quiet | weak, **both).status == "supported"  # 0.05 of each, though there are two


def test_4_a_refutation_takes_one_contradiction_at_a_divided_level():
    rng = np.random.default_rng(6)
    noise, own = standard(rng), 0.1 * standard(rng)
    shift = next(m for m in np.linspace(1, 0, 400) if 0.03 < contrast_test(noise + m).p_greater < 0.045)
    lost = {"a": own + noise + shift, "r": own}
    assert figures(lost, **LESS).status == "refuted"
    both = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "kind": "smaller-loss", "score": "loss"}
    other = {"b": own, "s": 5 + own + 0.1 * standard(rng)}
    assert figures(lost | other, **both).status == "inconclusive"  # one of two contradictions, at 0.05 / 2
    worse = lost | {"a": own + noise + 1.5}
    assert figures(worse | other, **both).status == "refuted"  # and one is enough


# -------------------------------------------------------------------------------------------------- 5: smallest effects


@pytest.mark.parametrize(("size", "above"), [(0.11, True), (0.09, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_5_a_difference_below_the_smallest_effect_says_nothing_either_way(size, above, sign):
    rng = np.random.default_rng(7)
    own = 0.3 * standard(rng)
    verdict = figures({"a": own, "r": own + sign * size + 0.01 * standard(rng)}, **LESS)
    assert verdict.status == (("supported" if sign > 0 else "refuted") if above else "inconclusive")


@pytest.mark.parametrize(("factor", "above"), [(1.105, True), (1.095, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_5_deviations_are_compared_as_factors(factor, above, sign):
    rng = np.random.default_rng(8)
    one = (2.0 + 0.3 * standard(rng)) * np.where(np.arange(24) % 2, 1, -1)
    more = one * (factor + 0.001 * standard(rng))
    arm, rival = (one, more) if sign > 0 else (more, one)
    verdict = figures({"a": arm, "r": rival}, **(LESS | {"score": "deviation"}))
    assert verdict.status == (("supported" if sign > 0 else "refuted") if above else "inconclusive")


@pytest.mark.parametrize(("factor", "above"), [(1.12, True), (1.08, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_5_positive_quantities_are_compared_as_factors(factor, above, sign):
    rng = np.random.default_rng(9)
    base = np.exp(standard(rng))
    table = {("baseline", "block_ratio/L01"): base}
    table["a", "block_ratio/L01"] = base * factor**sign * np.exp(0.01 * standard(rng))
    fields = PAIRED | {"metrics": ["block_ratio/L01"], "kind": "ratio-change", "direction": "increase"}
    verdict = judge(make_claim(**fields), make_ledger(table), make_context())
    assert verdict.status == (("supported" if sign > 0 else "refuted") if above else "inconclusive")


# ----------------------------------------------------------------------------------------------------------- 6: no loss


@pytest.mark.parametrize(("share", "status"), [(0.35, "supported"), (0.65, "inconclusive")])
@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_6_no_loss_is_a_share_of_the_rivals_deviation_and_not_a_margin(share, status, scale):
    """The verdict is the same at a tenth of a decibel and at twenty: what counts is the matched rival."""
    rng = np.random.default_rng(10)
    rival = 2.0 * scale * (1.0 + 0.1 * standard(rng))
    arm = share * np.abs(rival) * np.where(np.arange(24) % 2, 1, -1)  # no loss on average
    verdict = figures({"a": arm, "r": rival}, **NO_LOSS)
    assert verdict.findings[0].status == status
    assert verdict.status == status
    margin = "shown to be within 0.1 dB" if share * scale < 0.1 else "not shown to be within 0.1 dB"
    assert verdict.findings[1].note.startswith(margin)
    assert verdict.findings[1].status is None


def test_6_no_loss_is_not_the_absence_of_significance():
    rng = np.random.default_rng(11)
    verdict = figures({"a": 3.0 * standard(rng), "r": 2.0 + 0.3 * standard(rng)}, **NO_LOSS)
    assert verdict.findings[1].p > 0.1
    assert verdict.status == "inconclusive"


# ------------------------------------------------------------------------------------------------------------ 7: labels


@pytest.mark.parametrize("d", [0.3, 0.9, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("family", [1, 30])
def test_7_a_label_is_judged_by_the_bounds_of_d(d, family):
    values = d + standard(np.random.default_rng(12))
    claim = replace(make_claim(kind="labelled-loss", label="large", **PAIRED), relatives=("any",) * family)
    base = np.arange(24.0)
    ledger = make_ledger({("baseline", "si_snr"): base, ("a", "si_snr"): base - values})
    label = judge(claim, ledger, make_context()).findings[1]
    level = 0.05 / family
    inside = effect_size(values, level=1 - 2 * level)
    outside = effect_size(values, level=1 - 2 * level / 3)  # a gain, d below, d above
    assert (label.status == "supported") == (inside.low > 0.8)
    assert (label.status == "refuted") == (outside.high < 0.8)


# --------------------------------------------------------------------------------------------------------- 8: idle arms


@pytest.mark.parametrize(("idle", "status"), [(11, "supported"), (12, "inconclusive"), (24, "inconclusive")])
@pytest.mark.parametrize("score", ["loss", "deviation"])
def test_8_an_arm_that_equals_its_baseline_on_half_of_the_mixtures_is_no_evidence(idle, status, score):
    rng = np.random.default_rng(13)
    own = np.where(np.arange(24) < idle, 0.0, 0.05 + 0.01 * standard(rng))
    verdict = figures({"a": own, "r": 2.0 + 0.2 * standard(rng)}, **(LESS | {"score": score}))
    assert verdict.status == status
    assert ("changed nothing" in verdict.reason) == (status == "inconclusive")


@pytest.mark.parametrize(("size", "still"), [(0.9e-5, True), (1.1e-5, False)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("fields", [LESS, LESS | {"score": "deviation"}, PAIRED | {"kind": "equivalent"}])
def test_8_a_ten_thousandth_of_the_smallest_effect_is_rounding_and_no_change(fields, size, sign, still):
    """Of SI-SNR, whose smallest effect is 0.1 dB: 0.00001 dB."""
    verdict = figures({"a": np.full(24, sign * size), "r": 2.0 + 0.2 * standard(np.random.default_rng(13))}, **fields)
    assert verdict.status == ("inconclusive" if still else "supported")
    assert ("a changed nothing on 24 of 24" in verdict.reason) == still


@pytest.mark.parametrize(("size", "still"), [(0.9, True), (1.1, False)])
def test_8_a_factor_is_still_within_a_ten_thousandth_of_the_smallest_factors_logarithm(size, still):
    base = np.exp(standard(np.random.default_rng(9)))
    table = {("baseline", "block_ratio/L01"): base}
    table["a", "block_ratio/L01"] = base * np.exp(size * 1e-4 * math.log(1.1))
    fields = PAIRED | {"metrics": ["block_ratio/L01"], "kind": "ratio-change", "direction": "increase"}
    verdict = judge(make_claim(**fields), make_ledger(table), make_context())
    assert (verdict.status, "changed nothing" in verdict.reason) == ("inconclusive", still)


def test_8_a_rival_that_changes_nothing_is_no_evidence_either():
    verdict = figures({"a": 2.0 + 0.2 * standard(np.random.default_rng(13)), "r": np.zeros(24)}, **LESS)
    assert (verdict.status, "r changed nothing" in verdict.reason) == ("inconclusive", True)


# ---------------------------------------------------------------------------------------------------------- 9: failures


def silenced(ledger, arm, n):
    """Return the ledger with the first n outputs of an arm silent."""
    rows = []
    for row in ledger.rows:
        silent = row.arm == arm and int(row.mixture[-3:]) < n
        rows.append(replace(row, value=math.nan, reason="the output is silent", failed=True) if silent else row)
    return Ledger(tuple(rows))


RIVALLED = [name for name, case in CASES.items() if "rivals" in case.claim and case.claim.get("direction") is None]


@pytest.mark.parametrize("name", RIVALLED)
def test_9_outputs_that_are_silent_are_failures_and_no_claim_survives_them(name):
    case = CASES[name]
    claim, context = make_claim(kind=name.split(",")[0], **case.claim), make_context(**case.context)
    ledger = make_ledger(case.true(np.random.default_rng(14), 24))
    with quickly():
        whole = judge(claim, ledger, context)
        failed = judge(claim, silenced(ledger, "a", 22), context)
    assert failed.status != "supported"
    assert (whole.n_failed, failed.n_failed, failed.n) == (0, 22, 24)


def test_9_a_failed_mixture_has_the_worst_figure_of_the_tier():
    ledger = make_ledger(losing(a=(0, 0.1), r=(1, 0.2))(np.random.default_rng(15), 24))
    verdict = judge(make_claim(**NO_LOSS), silenced(ledger, "a", 1), make_context())
    values = [row.value for row in ledger.rows]
    base = next(row.value for row in ledger.rows if (row.arm, row.mixture) == ("baseline", "clean-000"))
    worst = next(one for one in verdict.findings if one.quantity == "worst loss")
    assert worst.estimate == pytest.approx(base - min(values))
    assert (worst.harm.mixture, worst.n_failed) == ("clean-000", 1)


@pytest.mark.parametrize(("missing", "status"), [(2, "supported"), (3, "inconclusive")])
def test_9_more_than_a_tenth_of_a_cell_missing_decides_nothing(missing, status):
    columns = dict(losing(a=(0, 0.1), r=(2, 0.2))(np.random.default_rng(16), 24))
    columns["a", "si_snr"] = np.where(np.arange(24) < missing, np.nan, columns["a", "si_snr"])
    verdict = judge(make_claim(**NO_LOSS), make_ledger(columns), make_context())
    assert verdict.status == status
    assert (verdict.n_dropped == missing) or (f"{missing} of 24 mixtures lack" in verdict.reason)


@pytest.mark.parametrize(("without", "status"), [(12, "supported"), (13, "inconclusive")])
def test_9_mixtures_on_which_the_figure_does_not_exist_are_left_out_up_to_a_half(without, status):
    columns = losing(a=(0, 0.05), r=(3, 0.1))(np.random.default_rng(17), 24)
    gone = {key: np.where(np.arange(24) < without, np.nan, values) for key, values in columns.items()}
    verdict = judge(make_claim(**NO_LOSS), make_ledger(gone), make_context())
    assert verdict.status == status
    if status == "supported":
        assert {one.n_excluded for one in verdict.findings} == {without}
    else:
        assert "does not exist on 13 mixtures" in verdict.reason


# ---------------------------------------------------------------------------------------------------- 10: rare failures


def with_failures(rng, n, *, size):
    """Return losses [n] of mean 0 in which 4 % of the mixtures lose `size` dB."""
    values = np.where(np.arange(n) % 25 == 3, size, 0.0)
    return values - values.mean() + 0.02 * standard(rng, n)


@pytest.mark.parametrize("kind", ["no-loss", "negligible-loss", "effect-table", "complementary"])
def test_10_a_rare_failure_is_not_averaged_away(kind):
    n, rng = 400, np.random.default_rng(18)
    rival = 0.9 + 0.1 * standard(rng, n)
    for size, wanted in ((1.3, "inconclusive"), (0.5, "supported")):  # ten smallest effects are 1 dB
        losses = {"a": with_failures(rng, n, size=size), "r": rival}
        if kind == "complementary":
            table = solvers((0, 0.05), (0, 0.05), r=(0.9, 0.1))(rng, n)
            table["a", "si_snr"] = table["baseline", "si_snr"] - losses["a"]
            verdict = judge(make_claim(**(PAIRED | SOLVERS)), make_ledger(table), make_context(costs=TWICE))
        else:
            matched = {} if kind == "negligible-loss" else {"matched": {"a": "r"}}
            verdict = figures(losses, **(RIVAL | matched | {"kind": kind}))
        assert verdict.status == wanted, verdict.reason
        first = next(one for one in verdict.findings if one.quantity == "worst loss")
        assert first.status == wanted
        assert first.harm.worst == pytest.approx(losses["a"].max())
        assert first.harm.share == pytest.approx(np.mean(losses["a"] > 0.1))
        assert first.harm.share_low < first.harm.share < first.harm.share_high
        assert int(first.harm.mixture[-3:]) == losses["a"].argmax()
        others = [one.status for one in verdict.findings if one.status and one.quantity != "worst loss"]
        assert set(others) == {"supported"}  # only the failures withhold


def test_10_a_failure_that_the_rival_has_too_withholds_nothing():
    n, rng = 400, np.random.default_rng(19)
    losses = {"a": with_failures(rng, n, size=1.3), "r": 0.9 + 0.1 * standard(rng, n)}
    losses["r"][7] = 2.0
    assert figures(losses, **NO_LOSS).status == "supported"


def test_10_a_verdict_says_which_failure_rate_was_not_ruled_out():
    verdict = judge(
        make_claim(**NO_LOSS), make_ledger(CASES["no-loss"].true(np.random.default_rng(20), 24)), make_context()
    )
    (harm,) = [one for one in verdict.findings if one.quantity == "worst loss"]
    assert "no rare failure among 24; up to 12% of mixtures may still fail unseen" in harm.note
    assert round(1 - 0.05 ** (1 / 24), 2) == 0.12


# ------------------------------------------------------------------------------------------------------------ 11: scope


def grouped(name, pairs, *, seed=21, world="true"):
    """Return the verdict on a world of a kind, whose mixtures have these (target, residual) groups."""
    case = CASES[name]
    claim, context = make_claim(kind=name.split(",")[0], **case.claim), make_context(**case.context)
    columns = getattr(case, world)(np.random.default_rng(seed), len(pairs))
    rows = [
        replace(row, group=pairs[int(row.mixture[-3:])][0], residual_group=pairs[int(row.mixture[-3:])][1])
        for row in make_ledger(columns).rows
    ]
    return judge(claim, Ledger(tuple(rows)), context)


def turns(n, targets, residuals):
    return [(f"t{i % targets}", f"r{(i + i // targets) % residuals}") for i in range(n)]


SCOPED = [name for name in CASES if CASES[name].n == 24]


@pytest.mark.parametrize("name", SCOPED)
def test_11_four_voices_never_speak_for_voices_at_large(name):
    for targets, residuals in ((4, 4), (24, 4), (4, 24), (24, 7)):
        verdict = grouped(name, turns(48, targets, residuals))
        assert verdict.status == "supported"
        fewest = min(targets, residuals)
        assert verdict.scope == f"new recordings of these voices and sounds ({fewest} groups or more a tier)"
    assert grouped(name, turns(48, 24, 24)).scope == UNRESTRICTED


@pytest.mark.parametrize("name", CASES)
def test_11_a_refutation_says_what_it_speaks_of_too(name):
    for targets, residuals in ((4, 4), (24, 7), (24, 24)):
        verdict = grouped(name, turns(48, targets, residuals), world="false")
        assert verdict.status == "refuted"
        fewest = min(targets, residuals)
        few = f"new recordings of these voices and sounds ({fewest} groups or more a tier)"
        assert verdict.scope == (UNRESTRICTED if fewest >= 8 else few)


def test_11_a_refutation_that_compares_no_mixtures_speaks_of_none():
    verdict = judge(make_claim(kind="sign", direction="negative"), Ledger(()), make_context(gate=0.1))
    assert (verdict.status, verdict.scope) == ("refuted", "")


def test_11_labels_pass_the_test_over_groups_of_what_they_say():
    """A negligible loss is one whose d is below a bound over groups too, and not one that is above zero."""
    for name in ("negligible-loss", "effect-table"):
        verdict = grouped(name, turns(400, 24, 24), seed=1)
        assert (verdict.status, verdict.scope) == ("supported", UNRESTRICTED)


@pytest.mark.parametrize(("d", "label"), [(3.0, "small"), (0.3, "large")])
def test_11_a_label_that_is_refuted_is_asked_of_voices_at_large_on_the_side_where_d_lies(d, label):
    pairs = turns(400, 24, 24)
    base, values = np.arange(400.0), d + standard(np.random.default_rng(12), 400)
    rows = [
        replace(row, group=pairs[int(row.mixture[-3:])][0], residual_group=pairs[int(row.mixture[-3:])][1])
        for row in make_ledger({("baseline", "si_snr"): base, ("a", "si_snr"): base - values}).rows
    ]
    verdict = judge(make_claim(kind="labelled-loss", label=label, **PAIRED), Ledger(tuple(rows)), make_context())
    assert (verdict.status, verdict.scope) == ("refuted", UNRESTRICTED)


def test_11_a_few_voices_that_carry_an_effect_are_not_enough():
    """Of 24 voices three lose four decibels: shown over mixtures, and not over voices."""
    pairs = turns(96, 24, 24)
    rng = np.random.default_rng(22)
    carried = np.asarray([8.0 if target in ("t0", "t1", "t2") else 0.0 for target, _ in pairs])
    base = np.arange(96.0)
    own = 0.2 * standard(rng, 96)
    table = {("baseline", "si_snr"): base, ("a", "si_snr"): base - own}
    table["r", "si_snr"] = base - own - carried - 0.05 * standard(rng, 96)
    rows = [
        replace(row, group=pairs[int(row.mixture[-3:])][0], residual_group=pairs[int(row.mixture[-3:])][1])
        for row in make_ledger(table).rows
    ]
    verdict = judge(replace(make_claim(**LESS), relatives=("any",) * 2), Ledger(tuple(rows)), make_context())
    assert verdict.status == "supported"
    (gate,) = [one.groups for one in verdict.findings if one.groups]
    assert gate.p_targets > 0.025
    assert verdict.scope.startswith("new recordings of these voices")


def test_11_one_contradiction_over_voices_at_large_is_enough_for_a_refutation():
    """Three voices of 24 carry the loss of "a"; where "b" loses in every voice, the refutation speaks of all."""
    pairs = turns(96, 24, 24)
    rng = np.random.default_rng(22)
    carried = np.asarray([8.0 if target in ("t0", "t1", "t2") else 0.0 for target, _ in pairs])
    fields = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "kind": "smaller-loss", "score": "loss"}
    base, own, noise = np.arange(96.0), 0.2 * standard(rng, 96), 0.05 * standard(rng, 96)
    for everywhere, words in ((2.0, UNRESTRICTED), (-2.0, "new recordings of these voices")):
        losses = {"a": own + carried + noise, "r": own, "b": own + everywhere + noise, "s": own}
        table = {("baseline", "si_snr"): base} | {(arm, "si_snr"): base - loss for arm, loss in losses.items()}
        rows = [
            replace(row, group=pairs[int(row.mixture[-3:])][0], residual_group=pairs[int(row.mixture[-3:])][1])
            for row in make_ledger(table).rows
        ]
        verdict = judge(make_claim(**fields), Ledger(tuple(rows)), make_context())
        assert [one.status for one in decided(verdict)] == ["refuted", "refuted" if everywhere > 0 else "supported"]
        assert verdict.scope.startswith(words)


def test_11_a_folder_of_many_readers_gives_the_full_verdict():
    """Mixtures are paired as those of a LibriSpeech folder are: 40 readers, five recordings each."""
    clips = [
        Clip(path=Path(f"{reader}-{i}.flac"), group=f"reader-{reader:02d}", prompt=prompt, credit="", is_voice=True)
        for reader, prompt in enumerate(list(PROMPTS.values()) * 20)
        for i in range(5)
    ]
    pairs = [(one.group, other.group) for one, other in list(_speaker_pairs(_take_turns(clips, 0)))[:48]]
    assert min(len({pair[side] for pair in pairs}) for side in (0, 1)) >= 24
    assert grouped("no-loss", pairs).scope == UNRESTRICTED
    few = [clip for clip in clips if clip.group in ("reader-00", "reader-01", "reader-02", "reader-03")]
    four = [(one.group, other.group) for one, other in list(_speaker_pairs(_take_turns(few, 0)))[:24]]
    assert grouped("no-loss", four * 2).scope != UNRESTRICTED


def test_11_a_ledger_without_residual_groups_is_not_unrestricted():
    verdict = grouped("no-loss", [(target, "") for target, _ in turns(48, 24, 24)])
    assert verdict.status == "supported"
    assert verdict.scope.startswith("new recordings of these voices")


# --------------------------------------------------------------------------------------------------------- 12: how many


def test_12_the_number_of_mixtures_is_that_of_a_brute_force():
    """Two tiers, two contrasts each, of normal figures: drawn anew, so many mixtures show all four in 80 % of draws."""
    rng = np.random.default_rng(23)
    fields = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "tiers": ["clean", "env"], "score": "loss"}
    claim = make_claim(kind="smaller-loss", **fields)
    rows, moments = [], []
    for tier, d in (("clean", 0.45), ("env", 0.6)):
        one, two = standard(rng, 16), standard(rng, 16)
        differences = np.stack([d + one, d + 0.6 * one + 0.8 * two])
        base = np.arange(16.0)
        own = 0.2 * standard(rng, 16)
        columns = {("baseline", "si_snr"): base, ("a", "si_snr"): base - own, ("b", "si_snr"): base - own}
        columns |= {(rival, "si_snr"): base - own - values for rival, values in zip("rs", differences, strict=True)}
        rows += rows_of(columns, tier=tier)
        moments.append((differences.mean(axis=1), np.cov(differences)))
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    assert verdict.status == "inconclusive"
    needed = verdict.pairs_needed
    assert f"About {needed} mixtures a tier" in verdict.reason

    def power(n, draws=400):
        shown = 0
        for _ in range(draws):
            samples = [rng.multivariate_normal(mean, cov, size=n).T for mean, cov in moments]
            shown += all(contrast_test(values).p_greater < 0.05 for tables in samples for values in tables)
        return shown / draws

    assert power(needed) == pytest.approx(0.8, abs=0.08)
    assert power(needed // 2) < 0.65


def test_12_what_lies_on_the_other_side_cannot_be_shown():
    rng = np.random.default_rng(24)
    own = 0.2 * standard(rng)
    for shift in (-0.2, 0.05):  # the other side; smaller than what is of interest
        verdict = figures({"a": own, "r": own + shift + standard(rng)}, **LESS)
        assert (verdict.status, verdict.pairs_needed) == ("inconclusive", None)
        assert "cannot be shown with such mixtures" in verdict.reason
    possible = figures({"a": own, "r": own + 0.2 + standard(rng)}, **LESS)
    assert (possible.status, possible.pairs_needed > 24) == ("inconclusive", True)


def test_12_only_an_inconclusive_verdict_asks_for_more():
    for name in ("no-loss", "pareto"):
        case = CASES[name]
        for world_ in (case.true, case.false):
            ledger = make_ledger(world_(np.random.default_rng(25), 24))
            verdict = judge(make_claim(kind=name, **case.claim), ledger, make_context())
            assert (verdict.pairs_needed, "mixtures a tier would" in verdict.reason) == (None, False)


# ------------------------------------------------------------------------------------------------------------ 13: shown


def test_13_arithmetic_and_tables_are_shown_and_not_judged():
    assert {claim.id for claim in BOOK.claims if KINDS[claim.kind].shows} == {"LS2", "DP5"}
    for claim_id in ("LS2", "DP5"):
        verdict = judged(BOOK[claim_id], world(paper_effect, 0, n=6))
        assert (verdict.status, {one.status for one in verdict.findings}) == ("shown", {None})
        assert verdict.scope == ""


# --------------------------------------------------------------------------------------------------- the paper as truth


def test_the_papers_own_effects_refute_no_claim_more_often_than_its_level():
    """24 mixtures a tier and the paper's effects as truth: a family errs in at most one draw of 20."""
    draws, refuted = 4, []
    claims = [claim for claim in CLAIMS if claim.family and claim.columns]
    for seed in range(draws):
        tiers = world(paper_effect, 200 + seed)
        with quickly():
            refuted += [claim.id for claim in claims if judged(claim, tiers).status == "refuted"]
    assert len(refuted) <= 1, refuted  # four families at 0.05 each: 0.8 of 4 draws at most


def test_a_paper_that_is_right_and_large_is_supported():
    """The same effects without their spread: every claim that compares runs can be shown with 24 mixtures."""

    def clear(arm, place):
        mean, sd = paper_effect(arm, place)
        truncated = arm.startswith("naive")
        size = {"15": 0.3, "14": 0.8, "12": 1.6, "10": 3.0}[arm[6:8]] if truncated else mean
        return (size, 0.1) if truncated else (mean, 0.1 * sd)

    claims = [BOOK[one] for one in ("LS1", "LS3", "LS4", "LS5", "LS6", "LS9", "DP1", "DP2", "DP3", "GH3", "SS3")]
    for claim in claims:
        verdict = judged(claim, world(clear, 5), context=paper_context(claim))
        assert verdict.status == "supported", (claim.id, verdict.reason)
