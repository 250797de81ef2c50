"""Each kind in each direction, with each label, and down each branch: exact ledgers where one answer is right."""

from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import KINDS, Ledger, headline, judge
from sam_lsac.metrics import METRICS, Metric
from tests.claim_worlds import PAIRED, factors, losing, make_claim, make_context, make_ledger, rows_of, sweep

RIVAL = PAIRED | {"rivals": ["r"]}


def said(world, *, n=24, seed=0, **fields):
    claim = make_claim(**fields)
    return judge(claim, make_ledger(world(np.random.default_rng(seed), n)), make_context())


def status(world, **fields):
    return said(world, **fields).status


# ------------------------------------------------------------------------------------------------------ number of tests

BLOCKS = {"metrics": ["block_ratio/L01", "block_ratio/L09"]}
TWO, THREE = ["clean", "noisy"], ["clean", "noisy", "env"]
N_TESTS = [
    ("pareto", PAIRED | {"rivals": ["r", "s"], "arms": ["a", "b"]}, 4, 12),  # arms x rivals, a tier
    ("saved-share", {"arms": ["a"], "targets": {"flops_saved": 0.1}, "tolerance": 0.1}, 0, None),
    ("effect-table", PAIRED | {"rivals": ["r", "s"]}, 3, 9),  # within and beyond d of the arm, one step
    ("smaller-loss", RIVAL | {"score": "loss"}, 1, 3),
    ("no-loss", PAIRED | {"rivals": ["r", "s"]}, 6, 18),  # a t-test and a TOST for each arm and rival
    ("negligible-loss", PAIRED, 3, 9),  # within, beyond the margin, beyond d
    ("labelled-loss", PAIRED | {"label": "large"}, 2, 6),
    ("equivalent", PAIRED | {"arms": ["a", "b"]}, 4, 12),
    ("loss-order", PAIRED | {"rivals": ["r", "s"], "direction": "largest"}, 2, 6),
    ("ratio-change", PAIRED | BLOCKS | {"direction": "increase"}, 2, 6),
    ("layer-response", PAIRED | BLOCKS | {"margin": 0.1}, 4, 12),
    ("rank-correlation", PAIRED | BLOCKS | {"arms": ["a", "b"], "direction": "positive"}, 1, 3),
    ("layers-differ", {"family": "f"}, 1, None),
    ("sign", {"direction": "negative"}, 0, None),
    ("count", {"targets": {"flops_per_evaluation": 1.0}, "tolerance": 0.1}, 0, None),
    ("table", {"arms": ["a"], "metrics": ["si_snr"], "tiers": ["clean"]}, 0, 0),
]


def test_the_number_of_tests_of_every_kind_is_stated():
    assert {kind for kind, *_ in N_TESTS} == set(KINDS)


@pytest.mark.parametrize(("kind", "fields", "one", "three"), N_TESTS, ids=[kind for kind, *_ in N_TESTS])
def test_number_of_tests(kind, fields, one, three):
    claim = make_claim(kind=kind, **fields)
    assert (KINDS[kind].n_tests(claim), claim.family_size) == (one, max(1, one))
    if three is not None:
        wide = make_claim(kind=kind, **(fields | {"tiers": THREE}))
        assert (KINDS[kind].n_tests(wide), wide.family_size) == (three, max(1, three))


def test_comparisons_between_tiers_are_tests_too():
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "kind": "loss-order"}
    for tiers, n in ((TWO, 2 + 1), (THREE, 3 + 2)):
        assert make_claim(**(fields | {"tiers": tiers, "stronger_tier": "clean"})).family_size == n


# ----------------------------------------------------------------------------------------------------- losses and gains


@pytest.mark.parametrize(
    ("a", "r", "wanted", "note"),
    [
        ((0, 0.2), (1, 0.3), "supported", "as claimed"),
        ((1, 0.3), (1, 0.3), "refuted", "and not shown to be within the margin"),
        ((0.1, 0.05), (1, 0.3), "refuted", "although equivalent within the margin"),
        ((-1, 0.3), (1, 0.3), "inconclusive", "equivalence is not shown either"),  # a gain is no loss, nor equivalent
        ((0, 0.2), (-1, 0.3), "refuted", "significantly better than the baseline"),
        ((0, 0.2), (0, 0.2), "refuted", "no significant loss, and equivalent"),
        ((0, 0.2), (0.2, 1.2), "inconclusive", "none is ruled out"),
    ],
)
def test_no_loss_down_every_branch(a, r, wanted, note):
    verdict = said(losing(a=a, r=r), kind="no-loss", **RIVAL)
    assert verdict.status == wanted
    assert any(note in finding.note for finding in verdict.findings)


def test_one_of_two_rivals_that_does_not_lose_refutes():
    fields = PAIRED | {"rivals": ["r", "s"], "kind": "no-loss"}
    assert status(losing(a=(0, 0.2), r=(1, 0.3), s=(1, 0.3)), **fields) == "supported"
    assert status(losing(a=(0, 0.2), r=(1, 0.3), s=(-1, 0.3)), **fields) == "refuted"


LABELS = [("small", 0.35), ("medium", 0.65), ("large", 1.5)]


@pytest.mark.parametrize(("label", "d"), LABELS)
def test_a_label_is_supported_by_its_own_effect_and_refuted_by_others(label, d):
    for size in (0.05, 0.35, 0.65, 1.5):
        wanted = "supported" if size == d else "refuted"
        assert status(exactly(size), n=2000, kind="labelled-loss", label=label, **PAIRED) == wanted
    assert status(exactly(-d), n=2000, kind="labelled-loss", label=label, **PAIRED) == "refuted"
    verdict = said(exactly(-d), n=2000, kind="labelled-loss", label=label, **PAIRED)
    assert verdict.findings[0].note == "a significant gain, not a loss"


def test_a_larger_family_leaves_more_room_for_a_label():
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    ledger = make_ledger(exactly(0.2)(np.random.default_rng(0), 24))
    said = [judge(replace(claim, family_size=size), ledger, make_context()).status for size in (1, 1000)]
    assert said == ["refuted", "inconclusive"]


def test_a_label_between_two_is_neither_found_nor_ruled_out():
    assert status(exactly(0.5), n=40, kind="labelled-loss", label="large", **PAIRED) == "inconclusive"


def exactly(d):
    """Return a world where the loss of "a" has d_z exactly `d`."""

    def draw(rng, n):
        noise = rng.standard_normal(n)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        base = 5.0 * rng.standard_normal(n)
        return {("baseline", "si_snr"): base, ("a", "si_snr"): base - (d + noise)}

    return draw


@pytest.mark.parametrize(
    ("a", "wanted", "note"),
    [
        ((0, 0.3), "supported", "shown to be within 0.5 dB"),
        ((1, 0.3), "refuted", "larger than 0.5 dB"),
        ((-1, 0.3), "refuted", "larger than 0.5 dB"),
        ((0.2, 0.05), "refuted", "an effect larger than negligible"),
        ((-0.2, 0.05), "refuted", "an effect larger than negligible"),
        ((0.1, 1.5), "inconclusive", "not shown"),
    ],
)
def test_negligible_loss_down_every_branch(a, wanted, note):
    verdict = said(losing(a=a), kind="negligible-loss", **PAIRED)
    assert (verdict.status, note in verdict.findings[0].note) == (wanted, True)


@pytest.mark.parametrize(
    ("a", "wanted"),
    [((0, 0.3), "supported"), ((1, 0.3), "refuted"), ((-1, 0.3), "refuted"), ((0.4, 1.0), "inconclusive")],
)
def test_equivalent_on_both_sides_of_the_margin(a, wanted):
    assert status(losing(a=a), kind="equivalent", **PAIRED) == wanted


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
    how = {"supported": "significantly less", "refuted": "significantly more", "inconclusive": "not significantly"}
    assert how[wanted] in verdict.reason


def test_a_deviation_of_zero_has_no_ratio():
    base = np.arange(6.0)
    columns = {("baseline", "si_snr"): base, ("a", "si_snr"): base, ("r", "si_snr"): base + np.linspace(1, 2, 6)}
    verdict = judge(make_claim(kind="smaller-loss", score="deviation", **RIVAL), make_ledger(columns), make_context())
    assert (verdict.status, [one.quantity for one in verdict.findings].count("ratio")) == ("supported", 0)
    assert "times" not in verdict.reason
    assert "a deviates 0 dB and r 1.5 dB in si_snr" in verdict.reason


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
    assert "95.000%" in verdict.findings[0].note
    wide = make_claim(kind="rank-correlation", direction=direction, **(fields | {"tiers": THREE}))
    ledger = make_ledger(sweep(slope)(np.random.default_rng(0), 24))
    (finding,) = judge(wide, ledger, make_context(), tiers=["clean"]).findings
    assert "98.333%" in finding.note  # of three tests, whatever is selected


@pytest.mark.parametrize(
    ("direction", "gate", "wanted"), [("positive", 0.1, "supported"), ("positive", -0.1, "refuted")]
)
def test_sign_of_a_positive_gate(direction, gate, wanted):
    claim = make_claim(kind="sign", direction=direction)
    assert judge(claim, Ledger(()), make_context(gate=gate)).status == wanted


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({"a": (0, 0.5), "r": (1, 0.5), "s": (4, 1.0)}, "supported"),
        ({"a": (-1, 0.5), "r": (1, 0.5), "s": (4, 1.0)}, "refuted"),  # a gain is no negligible effect either
        ({"a": (0, 0.5), "r": (4, 1.0), "s": (1, 0.5)}, "refuted"),  # the second rival loses less
        ({"a": (0, 0.5), "r": (1, 0.2), "s": (3, 3.0)}, "inconclusive"),  # loses more, with a smaller d
    ],
)
def test_effect_table_down_every_branch(losses, wanted):
    fields = PAIRED | {"rivals": ["r", "s"], "kind": "effect-table"}
    assert status(losing(**losses), n=500, **fields) == wanted


# ---------------------------------------------------------------------------------------------- a metric that is lower


@pytest.fixture
def lower_is_better(monkeypatch):
    """Register a metric of which less is better, and return its name."""
    row = Metric(name="distortion", label="Distortion", unit="dB", higher_is_better=False, score=METRICS["sar"].score)
    monkeypatch.setattr("sam_lsac.metrics.registry.METRICS", {**METRICS, row.name: row})
    return row.name


MIRRORED = [
    ("no-loss", RIVAL, {"a": (0, 0.2), "r": (1, 0.3)}),
    ("no-loss", RIVAL, {"a": (0, 0.2), "r": (-1, 0.3)}),
    ("labelled-loss", PAIRED | {"label": "large"}, {"a": (2, 1)}),
    ("labelled-loss", PAIRED | {"label": "large"}, {"a": (-2, 1)}),
    ("smaller-loss", RIVAL | {"score": "loss"}, {"a": (0.1, 0.2), "r": (0.6, 0.2)}),
    ("smaller-loss", RIVAL | {"score": "deviation"}, {"a": (0.1, 0.2), "r": (-0.6, 0.2)}),
    ("loss-order", RIVAL | {"direction": "largest"}, {"a": (2, 0.5), "r": (1, 0.5)}),
    ("loss-order", RIVAL | {"direction": "smallest"}, {"a": (2, 0.5), "r": (1, 0.5)}),
    ("equivalent", PAIRED, {"a": (0.1, 0.2)}),
    ("negligible-loss", PAIRED, {"a": (-1, 0.2)}),
    ("pareto", RIVAL, {"a": (0, 0.1), "r": (0, 0.6)}),
    ("effect-table", PAIRED | {"rivals": ["r", "s"]}, {"a": (0, 0.5), "r": (0.3, 0.5), "s": (2.0, 1.0)}),
]


@pytest.mark.parametrize(("kind", "fields", "losses"), MIRRORED)
def test_a_loss_is_worse_whatever_the_direction_of_the_metric(kind, fields, losses, lower_is_better):
    """The same losses, once as falls of SI-SNR and once as rises of a distortion, are judged alike."""
    columns = losing(**losses)(np.random.default_rng(0), 24)
    mirrored = {(arm, lower_is_better): -values for (arm, _), values in columns.items()}
    falls = judge(make_claim(kind=kind, **fields), make_ledger(columns), make_context())
    rises = judge(
        make_claim(kind=kind, **(fields | {"metrics": [lower_is_better]})), make_ledger(mirrored), make_context()
    )
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
            claim = make_claim(kind=kind, **(PAIRED | {"arms": [arm], "rivals": [rival]}))
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


def test_a_verdict_without_figures_has_no_headline():
    claim = make_claim(kind="equivalent", **PAIRED)
    assert headline(claim, judge(claim, Ledger(()), make_context())) == ()
