"""Each kind in each direction, with each label, and down each branch: exact ledgers where one answer is right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sam_lsac.claims import KINDS, Ledger, headline, judge
from sam_lsac.claims.kinds._shared import judged
from sam_lsac.metrics import METRICS, Metric
from tests.claim_worlds import (
    HALVED,
    PAIRED,
    TWICE,
    factors,
    fidelities,
    losing,
    make_claim,
    make_context,
    make_ledger,
    register,
    rows_of,
    solvers,
    sweep,
)

RIVAL = PAIRED | {"rivals": ["r"]}


def said(world, *, n=24, seed=0, **fields):
    claim = make_claim(**fields)
    return judge(claim, make_ledger(world(np.random.default_rng(seed), n)), make_context())


def status(world, **fields):
    return said(world, **fields).status


# --------------------------------------------------------------------------------------------- number of contradictions

BLOCKS = {"metrics": ["block_ratio/L01", "block_ratio/L09"]}
TWO, THREE = ["clean", "noisy"], ["clean", "noisy", "env"]
BOTH = PAIRED | {"rivals": ["r", "s"], "arms": ["a", "b"]}
MATCHES = BOTH | {"matched": {"a": "r", "b": "s"}}
LARGEST = PAIRED | {"rivals": ["r", "s"], "direction": "largest"}
N_CONTRADICTIONS = [
    ("pareto", MATCHES, 2, 6),  # each arm deviates more than its rival
    ("saved-share", {"arms": ["a"]}, 0, None),
    ("effect-table", MATCHES, 2 + 1 + 2, 15),  # d of each arm, one step between rivals, each arm loses more
    ("smaller-loss", BOTH | {"score": "loss"}, 2, 6),
    ("no-loss", MATCHES, 4 + 2, 18),  # each arm loses, each loses more than its rival, each rival gains
    ("negligible-loss", BOTH, 2, 6),  # d of each arm beyond
    ("labelled-loss", PAIRED | {"label": "large"}, 3, 9),  # a gain, d below, d above
    ("equivalent", PAIRED | {"arms": ["a", "b"]}, 4, 12),  # beyond on either side
    ("complementary", BOTH | {"baselines": ["baseline", "own-baseline"]}, 2, 6),  # each arm loses and deviates
    ("loss-order", LARGEST, 1 + 2, 9),  # the arm gains, or loses less than one of two
    ("loss-order, smallest", LARGEST | {"direction": "smallest"}, 2, 6),  # a gain is no contradiction here
    ("ratio-change", PAIRED | BLOCKS | {"direction": "increase"}, 2, 6),
    (
        "layer-response",
        PAIRED | BLOCKS | {"margin": 0.1},
        2 + 1 + 1,
        12,
    ),  # beyond on either side, falls, the first more
    ("rank-correlation", PAIRED | BLOCKS | {"arms": ["a", "b"], "direction": "positive"}, 1, 3),
    ("layers-settle", {"family": "f"}, 2, None),  # mixtures, voices
    ("sign", {"direction": "negative"}, 0, None),
    ("count", {"targets": {"flops_per_evaluation": 1.0}, "tolerance": 0.1}, 0, None),
    ("table", {"arms": ["a"], "metrics": ["si_snr"], "tiers": ["clean"]}, 0, 0),
    ("ahead", PAIRED | {"rivals": ["r", "s"]}, 2, 6),  # each rival is the better one
    (
        "at-least",
        PAIRED | {"arms": ["a", "b"], "bound": 1.0, "saves": 0.5},
        2,
        6,
    ),  # each mean below
    ("state-leak", {"arms": ["a", "b"]}, 0, None),
]


def test_the_number_of_contradictions_of_every_kind_is_stated():
    assert {kind.split(",")[0] for kind, *_ in N_CONTRADICTIONS} == set(KINDS)


@pytest.mark.parametrize(("kind", "fields", "one", "three"), N_CONTRADICTIONS, ids=[one[0] for one in N_CONTRADICTIONS])
def test_number_of_contradictions(kind, fields, one, three):
    kind = kind.split(",")[0]
    claim = make_claim(kind=kind, **fields)
    assert (KINDS[kind].n_contradictions(claim), claim.n_contradictions) == (one, max(1, one))
    assert claim.refutation_level == pytest.approx(0.05 / max(1, one))
    if three is not None:
        wide = make_claim(kind=kind, **(fields | {"tiers": THREE}))
        assert (KINDS[kind].n_contradictions(wide), wide.n_contradictions) == (three, max(1, three))


def test_comparisons_between_tiers_are_contradictions_too():
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "kind": "loss-order"}
    for tiers, n in ((TWO, 2 * (1 + 1) + 1), (THREE, 3 * (1 + 1) + 2)):
        assert make_claim(**(fields | {"tiers": tiers, "stronger_tier": "clean"})).n_contradictions == n


# ----------------------------------------------------------------------------------------------------- losses and gains

MATCHED = RIVAL | {"matched": {"a": "r"}}


def all_of(verdict, quantity):
    return [one.status for one in verdict.findings if one.quantity.startswith(quantity)]


@pytest.mark.parametrize(
    ("a", "r", "wanted", "share", "own", "harm", "beaten", "lost"),
    [
        ((0, 0.1), (1, 0.3), "supported", "supported", None, "supported", "supported", "supported"),
        ((1, 0.3), (1, 0.3), "refuted", "inconclusive", "refuted", None, "inconclusive", "supported"),
        # a loss within theta of the rival's is a loss all the same
        ((0.2, 0.05), (1, 0.3), "refuted", "supported", "refuted", "supported", "supported", "supported"),
        # a loss that is smaller than what is of interest refutes nothing
        ((0.05, 0.01), (1, 0.3), "supported", "supported", None, "supported", "supported", "supported"),
        # a gain is no loss, nor little
        ((-1, 0.3), (1, 0.3), "inconclusive", "inconclusive", None, "supported", "supported", "supported"),
        # a rival that gains
        ((0, 0.1), (-1, 0.3), "refuted", "supported", None, "supported", "refuted", "refuted"),
        # a rival that loses nothing is not refuted by a small loss of it
        ((0, 0.05), (0.01, 0.2), "inconclusive", "supported", None, "supported", "inconclusive", "inconclusive"),
        # an arm that loses more than its rival
        ((1, 0.3), (0.3, 0.1), "refuted", "inconclusive", "refuted", None, "refuted", "supported"),
    ],
)
def test_no_loss_down_every_branch(a, r, wanted, share, own, harm, beaten, lost):
    verdict = said(losing(a=a, r=r), kind="no-loss", **MATCHED)
    assert verdict.status == wanted
    found = [one.status for one in verdict.findings]
    assert (found[0], found[1], found[3], found[4]) == (share, own, beaten, lost)
    assert harm in (None, found[2])
    assert "shown" in verdict.findings[1].note  # whether within the smallest effect, which decides nothing


def test_one_of_two_rivals_that_does_not_lose_refutes():
    fields = MATCHED | {"rivals": ["r", "s"], "kind": "no-loss"}
    assert status(losing(a=(0, 0.1), r=(1, 0.3), s=(1, 0.3)), **fields) == "supported"
    assert status(losing(a=(0, 0.1), r=(1, 0.3), s=(-1, 0.3)), **fields) == "refuted"
    assert status(losing(a=(0, 0.1), r=(1, 0.3), s=(0, 0.3)), **fields) == "inconclusive"


LABELS = [("small", 0.35), ("medium", 0.65), ("large", 1.5)]


@pytest.mark.parametrize(("label", "d"), LABELS)
def test_a_label_is_supported_by_its_own_effect_and_refuted_by_others(label, d):
    for size in (0.05, 0.35, 0.65, 1.5):
        wanted = "supported" if size == d else "refuted"
        assert status(exactly(size), n=2000, kind="labelled-loss", label=label, **PAIRED) == wanted
    verdict = said(exactly(-d), n=2000, kind="labelled-loss", label=label, **PAIRED)
    assert [one.status for one in verdict.findings] == ["refuted", "refuted"]
    assert verdict.findings[0].note == "is there a loss"


def test_a_larger_family_leaves_more_room_for_a_label():
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    for world, wanted in ((exactly(-0.3), ["refuted", "inconclusive"]), (exactly(3.0), ["supported", "inconclusive"])):
        ledger = make_ledger(world(np.random.default_rng(0), 24))
        crowded = [replace(claim, relatives=("any",) * size) for size in (1, 1000)]
        assert [judge(one, ledger, make_context()).status for one in crowded] == wanted


def test_a_label_between_two_is_neither_found_nor_ruled_out():
    assert status(exactly(0.5), n=40, kind="labelled-loss", label="large", **PAIRED) == "inconclusive"


def test_an_effect_that_is_smaller_than_what_is_of_interest_refutes_no_label():
    """A d of 3 of a loss of 3 thousandths of a decibel, and of as small a gain, says nothing of a "small" d."""
    for sign in (1, -1):
        verdict = said(exactly(3.0 * sign, scale=0.001), kind="labelled-loss", label="small", **PAIRED)
        assert all_of(verdict, "loss") == ["inconclusive", "inconclusive"]
        assert status(exactly(3.0 * sign), kind="labelled-loss", label="small", **PAIRED) == "refuted"


def exactly(d, *, scale=1.0, r=None):
    """Return a world where the loss of "a" has d_z exactly `d`; with `r`, where "r" loses (mean, sd)."""

    def draw(rng, n):
        noise = rng.standard_normal(n)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        base = 5.0 * rng.standard_normal(n)
        columns = {("baseline", "si_snr"): base, ("a", "si_snr"): base - scale * (d + noise)}
        if r is not None:
            columns[("r", "si_snr")] = base - r[0] - r[1] * rng.standard_normal(n)
        return columns

    return draw


@pytest.mark.parametrize(
    ("d", "scale", "r", "wanted", "share", "label"),
    [
        (0.0, 0.1, (1, 0.3), "supported", "supported", "supported"),
        (3.0, 0.3, (3, 0.3), "refuted", "supported", "refuted"),  # within theta of a loss of 3 dB, and a loss
        (-3.0, 0.3, (3, 0.3), "supported", "supported", "supported"),  # a gain is no loss
        (-3.0, 0.3, (1, 0.3), "inconclusive", "inconclusive", "supported"),  # ... and may be a large deviation
        (3.0, 0.01, (1, 0.3), "inconclusive", "supported", "inconclusive"),  # of 0.03 dB: not of interest
        (0.0, 0.3, (0.3, 0.1), "inconclusive", "inconclusive", "supported"),  # a rival that moves as little
    ],
)
def test_negligible_loss_down_every_branch(d, scale, r, wanted, share, label):
    verdict = said(exactly(d, scale=scale, r=r), n=200, kind="negligible-loss", **RIVAL)
    assert (verdict.status, [one.status for one in verdict.findings[:2]]) == (wanted, [share, label])


@pytest.mark.parametrize(
    ("a", "wanted", "note"),
    [
        ((0, 0.1), "supported", "shown to be within 0.1 dB"),
        ((1, 0.3), "refuted", "shown beyond 0.1 dB"),
        ((-1, 0.3), "refuted", "shown beyond 0.1 dB"),
        ((0.08, 0.5), "inconclusive", "not shown to be within 0.1 dB"),
    ],
)
def test_equivalent_on_both_sides_of_the_margin(a, wanted, note):
    verdict = said(losing(a=a), kind="equivalent", **PAIRED)
    assert verdict.status == wanted
    assert verdict.findings[0].note.startswith(note)


def test_a_claim_may_give_a_margin_of_its_own():
    for margin, wanted in ((0.1, "refuted"), (2.0, "supported")):
        assert status(losing(a=(1, 0.3)), kind="equivalent", margin=margin, **PAIRED) == wanted


SOLVERS = BOTH | {"baselines": ["baseline", "own-baseline"], "kind": "complementary"}


@pytest.mark.parametrize(
    ("a", "b", "r", "wanted"),
    [
        ((0, 0.1), (0, 0.1), (0.8, 0.3), "supported"),
        ((0, 0.1), (0.8, 0.3), (0.8, 0.3), "refuted"),  # one solver of two
        ((0.8, 0.3), (0, 0.1), (0.8, 0.3), "refuted"),
        ((0, 0.1), (-0.8, 0.3), (0.8, 0.3), "inconclusive"),  # a gain as large refutes nothing
        ((0.2, 0.05), (0.2, 0.05), (0.8, 0.3), "supported"),  # a loss within theta of the rival's
        ((0, 0.1), (0, 0.1), (-0.8, 0.3), "supported"),  # a truncation that gains deviates as much
        ((0, 0.2), (0, 0.2), (0, 0.2), "inconclusive"),
    ],
)
def test_complementary_down_every_branch(a, b, r, wanted):
    ledger = make_ledger(solvers(a, b, r=r)(np.random.default_rng(0), 24))
    assert judge(make_claim(**SOLVERS), ledger, make_context(costs=TWICE)).status == wanted


@pytest.mark.parametrize(
    ("share", "wanted"), [(-0.5, "supported"), (-0.48, "refuted"), (-0.52, "refuted"), (0.25, "refuted")]
)
def test_complementary_means_the_same_layer_steps_under_each_solver(share, wanted):
    ledger = make_ledger(solvers((0, 0.1), (0, 0.1), r=(0.8, 0.3))(np.random.default_rng(0), 24))
    costs = dict(TWICE)
    costs["b"] = replace(costs["b"], layer_steps_saved=share)
    verdict = judge(make_claim(**SOLVERS), ledger, make_context(costs=costs))
    assert (verdict.status, verdict.findings[1].status) == (wanted, wanted)
    assert judge(make_claim(**SOLVERS), ledger, make_context(costs={})).status == "not run"


def test_each_arm_is_measured_against_its_own_full_solve():
    """Against the first solver's, the second solver's arm would be half a decibel away."""
    ledger = make_ledger(solvers((0, 0.1), (0, 0.1), r=(0.8, 0.3))(np.random.default_rng(0), 24))
    (own,) = [one for one in judge(make_claim(**SOLVERS), ledger, make_context(costs=TWICE)).findings
              if one.quantity == "loss" and one.arm == "b"]  # fmt: skip
    assert (own.versus, abs(own.estimate) < 0.1) == ("own-baseline", True)


@pytest.mark.parametrize(
    ("score", "a", "r", "wanted"),
    [
        ("loss", (0.1, 0.2), (0.6, 0.2), "supported"),
        ("loss", (0.6, 0.2), (0.1, 0.2), "refuted"),
        ("loss", (-2, 0.2), (0.1, 0.2), "supported"),  # a gain is the smaller loss ...
        ("deviation", (-2, 0.2), (0.1, 0.2), "refuted"),  # ... and the larger deviation
        ("deviation", (0, 0.1), (-2, 0.2), "supported"),
        ("deviation", (0.3, 0.2), (0.3, 0.2), "inconclusive"),
    ],
)
def test_smaller_loss_of_losses_and_gains(score, a, r, wanted):
    verdict = said(losing(a=a, r=r), kind="smaller-loss", score=score, **RIVAL)
    assert verdict.status == wanted
    how = {"supported": "shown to be less", "refuted": "shown to be more", "inconclusive": "not shown to differ"}
    assert how[wanted] in verdict.reason


def test_a_deviation_of_zero_has_no_ratio():
    """Zero on a part of the mixtures; on half of them or more it would be no evidence."""
    base = np.arange(12.0)
    own = base + np.where(base < 5, 0.0, 0.1)
    columns = {("baseline", "si_snr"): base, ("a", "si_snr"): own, ("r", "si_snr"): base + np.linspace(1, 2, 12)}
    fields = RIVAL | {"kind": "smaller-loss", "score": "deviation"}
    verdict = judge(make_claim(**fields), make_ledger(columns), make_context())
    assert (verdict.status, all_of(verdict, "ratio")) == ("supported", [])
    idle = columns | {("a", "si_snr"): base}
    assert judge(make_claim(**fields), make_ledger(idle), make_context()).status == "inconclusive"


def test_arms_and_rivals_are_compared_one_to_one():
    fields = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "kind": "smaller-loss", "score": "loss"}
    world = losing(a=(0, 0.2), r=(1, 0.2), b=(2, 0.2), s=(3, 0.2))  # b loses more than r, which is not its rival
    assert status(world, **fields) == "supported"
    assert status(losing(a=(0, 0.2), r=(1, 0.2), b=(3, 0.2), s=(2, 0.2)), **fields) == "refuted"


# ------------------------------------------------------------------------------------------------- orders and responses


@pytest.mark.parametrize(
    ("direction", "losses", "wanted"),
    [
        ("largest", (2, 1, 0.5), "supported"),
        ("largest", (1, 2, 0.5), "refuted"),
        ("largest", (1, 1, 0.5), "inconclusive"),
        ("smallest", (0.5, 1, 2), "supported"),
        ("smallest", (1, 0.5, 2), "refuted"),
        ("smallest", (1, 1, 2), "inconclusive"),
        ("smallest", (-2, 1, 2), "supported"),  # a gain is the smallest loss
        ("largest", (1, -2, 0.5), "supported"),  # a rival that gains
    ],
)
def test_loss_order_in_both_directions_with_two_rivals(direction, losses, wanted):
    world = losing(**{arm: (mean, 0.3) for arm, mean in zip(("a", "r", "s"), losses, strict=True)})
    fields = PAIRED | {"rivals": ["r", "s"], "kind": "loss-order", "direction": direction}
    assert status(world, seed=3, **fields) == wanted


@pytest.mark.parametrize(("direction", "sign"), [("largest", 1), ("smallest", -1)])
@pytest.mark.parametrize(("env", "wanted"), [(3.0, "supported"), (1.0, "inconclusive"), (0.3, "refuted")])
def test_a_lead_is_stronger_on_one_tier_in_both_directions(direction, sign, env, wanted):
    """The arm leads by 1 on clean, and by `env` on env, over the nearer of two rivals."""
    fields = PAIRED | {"rivals": ["r", "s"], "direction": direction, "tiers": ["clean", "env"], "stronger_tier": "env"}
    claim = make_claim(kind="loss-order", **fields)
    rows = []
    for seed, (tier, lead, far) in enumerate((("clean", 1.0, 6.0), ("env", env, 1.0))):
        world = losing(a=(5 + sign * lead, 0.2), r=(5, 0.2), s=(5 - sign * far, 0.2))
        rows += rows_of(world(np.random.default_rng(seed), 24), tier=tier)
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    between = [one for one in verdict.findings if one.quantity == "lead, tier against tier"]
    assert (verdict.status, [one.status for one in between]) == (wanted, [wanted])
    assert between[0].estimate == pytest.approx(env - 1.0, abs=0.3)


@pytest.mark.parametrize("clean", [1, 24])
def test_a_comparison_of_tiers_does_not_hide_a_refutation_where_one_tier_has_too_little(clean):
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "tiers": ["clean", "env"], "stronger_tier": "env"}
    world = losing(a=(0.3, 0.2), r=(2, 0.2))
    rows = [
        *rows_of(world(np.random.default_rng(0), clean), tier="clean"),
        *rows_of(world(np.random.default_rng(1), 24), tier="env"),
    ]
    verdict = judge(make_claim(kind="loss-order", **fields), Ledger(tuple(rows)), make_context())
    assert (verdict.status, verdict.tiers) == ("refuted", {})


@pytest.mark.parametrize(
    ("direction", "change", "wanted"),
    [
        ("increase", 0.5, "supported"),
        ("increase", -0.5, "refuted"),
        ("decrease", -0.5, "supported"),
        ("decrease", 0.5, "refuted"),
        ("decrease", 0.0, "inconclusive"),
    ],
)
def test_ratio_change_in_both_directions(direction, change, wanted):
    fields = PAIRED | {"metrics": ["block_ratio/L01"], "direction": direction, "kind": "ratio-change"}
    verdict = said(factors(L01=(change, 0.2)), **fields)
    assert verdict.status == wanted
    assert np.log(verdict.findings[0].estimate) == pytest.approx(change, abs=0.15)


@pytest.mark.parametrize(
    ("still", "moving", "wanted", "each"),
    [
        (0.0, 0.9, "supported", ["supported", "supported", "supported"]),
        (0.0, -0.9, "refuted", ["supported", "refuted", "refuted"]),  # the moving layer falls
        (0.9, 0.9, "refuted", ["refuted", "supported", "inconclusive"]),  # both move
        (0.9, 1.8, "refuted", ["refuted", "supported", "supported"]),  # both move, the second more
        (-0.9, 0.9, "refuted", ["refuted", "supported", "supported"]),  # apart, but the first falls
        (0.9, 0.0, "refuted", ["refuted", "inconclusive", "refuted"]),  # the wrong one moves
        (0.0, 0.0, "inconclusive", ["supported", "inconclusive", "inconclusive"]),  # neither does
    ],
)
def test_layer_response_of_both_layers(still, moving, wanted, each):
    fields = PAIRED | BLOCKS | {"margin": 0.1, "kind": "layer-response"}
    verdict = said(factors(L01=(still, 0.04), L09=(moving, 0.04)), seed=1, **fields)
    assert (verdict.status, [one.status for one in verdict.findings]) == (wanted, each)


@pytest.mark.parametrize(
    ("direction", "slope", "wanted"),
    [
        ("negative", -2.0, "supported"),
        ("negative", 2.0, "refuted"),
        ("positive", 2.0, "supported"),
        ("positive", -2.0, "refuted"),
    ],
)
def test_rank_correlation_in_both_directions(direction, slope, wanted):
    fields = PAIRED | {"arms": ["a", "b", "r", "s"], "metrics": ["block_ratio/mean", "si_snr"]}
    verdict = said(sweep(slope), kind="rank-correlation", direction=direction, **(fields | {"tiers": ["clean"]}))
    assert verdict.status == wanted
    inside, pooled = verdict.findings
    assert (inside.quantity, pooled.quantity, pooled.status) == ("Spearman rho", "pooled Spearman rho", None)


def test_a_correlation_is_taken_inside_each_mixture():
    """Inside every mixture the second metric rises with the first; over all points it falls. The first decides."""
    arms = ("a", "b", "r", "s")

    def draw(rng, n):
        level = 10.0 * np.arange(n)
        columns = {("baseline", name): np.zeros(n) for name in ("block_ratio/mean", "si_snr")}
        for step, arm in enumerate(arms):
            columns[(arm, "block_ratio/mean")] = level + step
            columns[(arm, "si_snr")] = -level + step + 0.1 * rng.standard_normal(n)
        return columns

    fields = PAIRED | {"arms": list(arms), "metrics": ["block_ratio/mean", "si_snr"], "kind": "rank-correlation"}
    for direction, wanted in (("negative", "refuted"), ("positive", "supported")):
        verdict = said(draw, direction=direction, **fields)
        assert verdict.status == wanted
        assert verdict.findings[0].estimate == pytest.approx(1.0)
        assert verdict.findings[1].estimate < -0.9


def test_the_coefficient_is_that_of_scipy_on_the_points_of_each_mixture():
    fields = PAIRED | {"arms": ["a", "b", "r", "s"], "metrics": ["block_ratio/mean", "si_snr"]}
    columns = sweep(-0.3)(np.random.default_rng(5), 24)
    verdict = judge(
        make_claim(kind="rank-correlation", direction="negative", **fields), make_ledger(columns), make_context()
    )
    tables = [np.stack([columns[arm, name] for arm in fields["arms"]]) for name in fields["metrics"]]
    rhos = [stats.spearmanr(tables[0][:, i], tables[1][:, i]).statistic for i in range(24)]
    assert verdict.findings[0].estimate == pytest.approx(np.mean(rhos))
    assert verdict.findings[1].estimate == pytest.approx(
        stats.spearmanr(tables[0].ravel(), tables[1].ravel()).statistic
    )


def test_a_metric_that_stands_still_over_the_sweep_has_no_correlation():
    fields = PAIRED | {"arms": ["a", "b", "r"], "metrics": ["block_ratio/mean", "si_snr"]}
    columns = {(arm, name): np.arange(12.0) for arm in ("baseline", "a", "b", "r") for name in fields["metrics"]}
    claim = make_claim(kind="rank-correlation", direction="negative", **fields)
    verdict = judge(claim, make_ledger(columns), make_context())
    assert (verdict.status, verdict.findings[0].estimate) == ("inconclusive", 0.0)


@pytest.mark.parametrize(
    ("direction", "gate", "wanted"), [("positive", 0.1, "supported"), ("positive", -0.1, "refuted")]
)
def test_sign_of_a_positive_gate(direction, gate, wanted):
    claim = make_claim(kind="sign", direction=direction)
    assert judge(claim, Ledger(()), make_context(gate=gate)).status == wanted


@pytest.mark.parametrize(
    ("losses", "wanted", "own", "growth", "beaten"),
    [
        ({"a": (0, 0.25), "r": (1, 0.5), "s": (4, 1.0)}, "supported", "supported", "supported", "supported"),
        # a gain is no negligible effect, nor a loss
        ({"a": (-1, 0.25), "r": (1, 0.5), "s": (4, 1.0)}, "inconclusive", "inconclusive", "supported", "supported"),
        # a loss of the arm
        ({"a": (0.5, 0.25), "r": (1, 0.5), "s": (4, 1.0)}, "refuted", "refuted", "supported", "supported"),
        # the second rival loses less
        ({"a": (0, 0.25), "r": (4, 1.0), "s": (1, 0.5)}, "refuted", "supported", "refuted", "supported"),
        # both rivals gain, the second less
        ({"a": (0, 0.25), "r": (-3, 0.5), "s": (-1, 0.5)}, "refuted", "supported", "supported", "refuted"),
        # rivals that lose alike
        ({"a": (0, 0.25), "r": (1, 0.5), "s": (1, 0.5)}, "inconclusive", "supported", "inconclusive", "supported"),
    ],
)
def test_effect_table_down_every_branch(losses, wanted, own, growth, beaten):
    fields = PAIRED | {"rivals": ["r", "s"], "matched": {"a": "r"}, "kind": "effect-table"}
    verdict = said(losing(**losses), n=500, **fields)
    assert verdict.status == wanted
    found = [all_of(verdict, quantity)[0] for quantity in ("loss", "growth of loss", "loss difference")]
    assert found == [own, growth, beaten]


# --------------------------------------------------------------------------------------------------- layers that settle


def settled(rates, *, groups=4):
    """Return the verdict on rates [mixtures, layers], of mixtures whose groups take turns."""
    rates = np.asarray(rates)
    context = make_context(entropy_rates={f"clean-{i:03d}": tuple(row) for i, row in enumerate(rates)})
    rows = rows_of({("baseline", "si_snr"): np.zeros(len(rates))})
    homes = Ledger(tuple(replace(row, group=f"g{int(row.mixture[-3:]) % groups}") for row in rows))
    return judge(make_claim(kind="layers-settle", family="f"), homes, context)


def layered(rng, *, spread, n=24):
    return np.linspace(0.1, 1.2, 12) + spread * rng.standard_normal((n, 12))


def test_layers_whose_classes_recur_are_supported():
    verdict = settled(layered(np.random.default_rng(0), spread=0.05))
    assert (verdict.status, [one.status for one in verdict.findings[:2]]) == ("supported", ["supported"] * 2)
    assert [one.note for one in verdict.findings[2:]] == ["stable"] * 3 + ["moderate"] * 4 + ["fast"] * 5
    assert [one.versus for one in verdict.findings[:2]] == ["mixtures", "voices or sounds"]


def test_layers_without_an_order_are_never_supported():
    found = [settled(np.random.default_rng(seed).uniform(size=(24, 12))).status for seed in range(10)]
    assert "supported" not in found
    assert found.count("refuted") >= 5
    assert settled(layered(np.random.default_rng(1), spread=1.2)).status == "inconclusive"


def test_classes_that_hold_for_mixtures_and_not_for_voices_are_not_supported():
    """One voice of four turns the layers round, twice as steeply: a quarter of all draws of voices has it twice."""
    slope = np.where(np.arange(240) % 4 == 0, -2.0, 1.0)
    rates = 3.0 + slope[:, None] * np.linspace(-1, 1, 12) + 0.01 * np.random.default_rng(3).standard_normal((240, 12))
    verdict = settled(rates)
    assert [one.status for one in verdict.findings[:2]] == ["supported", "inconclusive"]
    assert verdict.findings[1].estimate == pytest.approx(1 - 67 / 256, abs=0.03)  # two or more of four draws
    assert verdict.status == "inconclusive"


def test_layers_settle_counts_what_it_drops_and_needs_eight_mixtures():
    rates = layered(np.random.default_rng(0), spread=0.05)
    rates[3, 1] = np.nan
    verdict = settled(rates)
    assert (verdict.status, verdict.n, verdict.n_dropped) == ("supported", 23, 1)
    assert settled(rates[:8]).status == "inconclusive"  # seven are left
    claim = make_claim(kind="layers-settle", family="f")
    assert judge(claim, Ledger(()), make_context()).status == "not run"


# ---------------------------------------------------------------------------------------------- a metric that is lower


@pytest.fixture
def lower_is_better(monkeypatch):
    """Register a metric of which less is better, and return its name."""
    row = Metric(name="distortion", label="Distortion", unit="dB", higher_is_better=False, score=METRICS["sar"].score)
    register(monkeypatch, row)
    return row.name


MIRRORED = [
    ("no-loss", MATCHED, {"a": (0, 0.2), "r": (1, 0.3)}),
    ("no-loss", MATCHED, {"a": (0, 0.2), "r": (-1, 0.3)}),
    ("labelled-loss", PAIRED | {"label": "large"}, {"a": (2, 1)}),
    ("labelled-loss", PAIRED | {"label": "large"}, {"a": (-2, 1)}),
    ("smaller-loss", RIVAL | {"score": "loss"}, {"a": (0.1, 0.2), "r": (0.6, 0.2)}),
    ("smaller-loss", RIVAL | {"score": "deviation"}, {"a": (0.1, 0.2), "r": (-0.6, 0.2)}),
    ("loss-order", RIVAL | {"direction": "largest"}, {"a": (2, 0.5), "r": (1, 0.5)}),
    ("loss-order", RIVAL | {"direction": "smallest"}, {"a": (2, 0.5), "r": (1, 0.5)}),
    ("equivalent", PAIRED, {"a": (0.1, 0.2)}),
    ("negligible-loss", RIVAL, {"a": (-1, 0.2), "r": (3, 0.5)}),
    ("negligible-loss", RIVAL, {"a": (1, 0.2), "r": (3, 0.5)}),
    ("pareto", MATCHED, {"a": (0, 0.1), "r": (0, 0.6)}),
    ("effect-table", MATCHED | {"rivals": ["r", "s"]}, {"a": (0, 0.5), "r": (0.3, 0.5), "s": (2.0, 1.0)}),
    (
        "complementary",
        RIVAL | {"baselines": ["own-baseline"]},
        {"own-baseline": (0, 1), "a": (0.8, 0.2), "r": (0.8, 0.2)},
    ),
]


@pytest.mark.parametrize(("kind", "fields", "losses"), MIRRORED)
def test_a_loss_is_worse_whatever_the_direction_of_the_metric(kind, fields, losses, lower_is_better):
    """The same losses, once as falls of SI-SNR and once as rises of a distortion, are judged alike."""
    columns = losing(**losses)(np.random.default_rng(0), 24)
    mirrored = {(arm, lower_is_better): -values for (arm, _), values in columns.items()}
    context = make_context(costs=TWICE) if kind == "complementary" else make_context()
    falls = judge(make_claim(kind=kind, **fields), make_ledger(columns), context)
    rises = judge(make_claim(kind=kind, **(fields | {"metrics": [lower_is_better]})), make_ledger(mirrored), context)
    assert falls.status == rises.status
    for one, other in zip(falls.findings, rises.findings, strict=True):
        assert replace(one, metric=lower_is_better) == pytest.approx(other) if one.estimate is None else True
        assert (one.estimate, one.d, one.status) == (
            pytest.approx(other.estimate),
            pytest.approx(other.d),
            other.status,
        )


# ------------------------------------------------------------------------------------------------------------ headlines


def test_headlines_are_made_of_the_names_in_the_rows():
    """The same world under other names has the same headline, names aside."""
    names = {"a": "b", "r": "s"}
    losses = {"a": (0, 0.2), "r": (1, 0.3)}
    for kind in ("no-loss", "effect-table", "pareto"):
        lines = []
        for arm, rival in (("a", "r"), ("b", "s")):
            claim = make_claim(kind=kind, **(PAIRED | {"arms": [arm], "rivals": [rival], "matched": {arm: rival}}))
            draw = losing(**{arm: losses["a"], rival: losses["r"]})
            costs = make_context().costs
            context = make_context(costs={arm: replace(costs["a"], arm=arm), rival: replace(costs["r"], arm=rival)})
            lines.append(headline(claim, judge(claim, make_ledger(draw(np.random.default_rng(0), 24)), context)))
        renamed = tuple(" ".join(names.get(word, word) for word in line.split(" ")) for line in lines[0])
        assert renamed == lines[1]
        if kind == "effect-table":
            assert [line[:4] for line in lines[0][1:3]] == ["a d ", "r d "]
        if kind == "no-loss":
            assert lines[0][0] == "1 of 1 a without loss"


def test_ahead_of_cheaper_rivals_alone_is_never_shown_and_says_so():
    """A rival that saves more can contradict, by being nearer, and not support, by being farther."""
    claim = make_claim(
        kind="ahead", **(PAIRED | {"arms": ["s"], "rivals": ["a", "b"], "metrics": ["fidelity/baseline"]})
    )
    context = make_context(costs=HALVED)
    for near, wanted in ((40, "inconclusive"), (60, "refuted")):
        world = fidelities(s=(50, 1), a=(40, 1), b=(near, 1))
        verdict = judge(claim, make_ledger(world(np.random.default_rng(0), 24)), context)
        assert (verdict.status, len(judged(verdict.findings))) == (wanted, wanted == "refuted")
        assert ("None of 2 comparisons contradicts" in verdict.reason) == (wanted == "inconclusive")
        lines = headline(claim, verdict)
        assert lines[0] == f"0 of {2 if wanted == 'inconclusive' else 1} comparisons ahead"
        assert lines[1].startswith("clean nearest ")


@pytest.mark.parametrize(("saves", "wanted"), [(0.5, "supported"), (0.51, "refuted")])
def test_at_least_asks_for_the_share_of_flops_too(saves, wanted):
    fields = PAIRED | {"metrics": ["fidelity/baseline"], "bound": 50.0, "saves": saves}
    ledger = make_ledger(fidelities(a=(55, 1))(np.random.default_rng(0), 24))
    verdict = judge(make_claim(kind="at-least", **fields), ledger, make_context(costs=HALVED))
    assert (verdict.status, [one.status for one in verdict.findings]) == (wanted, [wanted, "supported"])


def test_a_verdict_without_figures_has_no_headline():
    claim = make_claim(kind="equivalent", **PAIRED)
    assert headline(claim, judge(claim, Ledger(()), make_context())) == ()
