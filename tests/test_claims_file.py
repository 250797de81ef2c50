"""The claims file is read strictly: what is wrong is named, with the nearest known name and the remedy."""

import copy
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_lsac.claims import KINDS, load_claims, parse_claims
from sam_lsac.errors import ClaimError
from tests.claim_worlds import make_context

CLAIMS = Path(__file__).parents[1] / "bench" / "claims.toml"
RAW = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
BOOK = load_claims(CLAIMS)
USED = {claim.kind for claim in BOOK.claims}
IDS = [
    *("DP1", "DP2", "DP3", "DP4", "DP5"),
    *("SS1", "SS2", "SS3", "SS4"),
    *("GH1", "GH2", "GH3", "GH4", "GH5", "GH6"),
    *("LS1", "LS2", "LS3", "LS4", "LS5", "LS6", "LS7", "LS8", "LS9"),
    "FL1",
    *("FR1", "FR2", "FR3", "FR4", "FR5", "FR6", "FR7", "FR8", "FR9", "FR12", "FR10", "FR11"),
    *("FR20", "FR21", "FR22", "FR23", "FR24", "FR25", "FR26", "FR27"),
]


# ------------------------------------------------------------------------------------------------------------ the file


def test_all_claims_of_the_paper_and_of_the_frontier_are_rows():
    assert [claim.id for claim in BOOK.claims] == IDS


def test_every_kind_and_every_arm_is_used():
    assert set(KINDS) == USED
    used = {arm for claim in BOOK.claims for arm in (*claim.arms, *claim.rivals, *claim.controls, *claim.baselines)}
    assert used == set(BOOK.arms)


def test_a_family_is_a_section_of_the_results_and_its_size_the_number_of_its_claims():
    families = {}
    for claim in BOOK.claims:
        families.setdefault(claim.family, []).append(claim)
    assert {name: [claim.id for claim in members] for name, members in families.items()} == {
        "conditioning": ["DP1", "DP2", "DP3", "DP4"],
        "convergence": ["SS1", "SS2", "SS3", "SS4"],
        "gate": ["GH2", "GH3", "GH4", "GH5", "GH6"],
        "acceleration": ["LS1", "LS3", "LS4", "LS5", "LS6", "LS7", "LS8", "LS9"],
        "frontier": ["FR1", "FR2", "FR3", "FR4", "FR5", "FR6", "FR7", "FR8", "FR9", "FR12"],
        "given": ["FR10", "FR11"],
        "": ["DP5", "GH1", "LS2", "FL1", *(f"FR{place}" for place in range(20, 28))],  # no tests
    }
    for members in (members for name, members in families.items() if name):
        assert {claim.family_size for claim in members} == {len(members)}
        assert {len(claim.relatives) for claim in members} == {len(members)}


def test_the_papers_figures_stand_beside_their_cells():
    assert BOOK["LS7"].figure(tier="clean", arm="naive-10") == "d 0.46"
    assert BOOK["LS4"].figure(tier="noisy", arm="lsac-balanced") == "0.13 dB"
    assert BOOK["LS1"].figure(tier="noisy", arm="lsac-balanced") == ""


def test_the_figures_of_judgement_are_those_of_the_file():
    told = BOOK.settings
    assert (told.alpha, told.theta, told.smallest_factor, told.missing_share, told.power) == (0.05, 0.5, 1.1, 0.1, 0.8)
    assert BOOK["LS6"].smallest("si_snr") == 0.1
    assert BOOK["GH2"].smallest("si_snr") == 0.1
    with pytest.raises(ClaimError, match=r"add it to \[settings.smallest_effects\]"):
        BOOK["GH2"].smallest("block_ratio/L06")


def test_every_metric_that_is_judged_by_its_unit_has_a_smallest_effect():
    for claim in BOOK.claims:
        if KINDS[claim.kind].measures:
            assert all(claim.smallest(metric) > 0 for metric in claim.metrics)
    without = edited(["settings", "smallest_effects", "stoi"], None)
    with pytest.raises(ClaimError, match="claim DP1: no smallest effect of stoi"):
        parse_claims(without)


def test_the_gate_sweep_has_15_even_points():
    values = [BOOK.arms[arm].edits[0]["value"] for arm in BOOK["GH6"].arms]
    assert np.allclose(values, np.linspace(-1, 1, 15), atol=1e-6)


def test_the_needed_columns_are_listed_for_the_plan():
    assert BOOK["LS3"].columns == tuple(
        ("clean", arm, "si_snr") for arm in ("baseline", "lsac-balanced", "naive-12", "naive-15")
    )
    assert BOOK["FL1"].columns == ()
    assert BOOK["LS2"].columns == ()


def edited(path, value):
    """Return the file's contents with the value at `path` replaced, or removed where it is None."""
    data = copy.deepcopy(RAW)
    place = data
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return data


def row(claim_id, key):
    return ["claims", IDS.index(claim_id), key]


BROKEN = [
    (["setting"], {}, "unknown key 'setting': did you mean 'settings'"),
    (["claims"], None, "claims is missing"),
    (["claims"], {}, "claims: must be a valid array"),
    (["settings", "alfa"], 0.05, "unknown key 'alfa': did you mean 'alpha'"),
    (["settings", "alpha"], None, "alpha is missing"),
    (["settings", "alpha"], 5, "alpha: must be less than 1, got 5"),
    (["settings", "alpha"], True, "alpha: must be a valid number, got True"),
    (["settings", "seeds"], [0, 0], "names nothing twice"),
    (["settings", "seeds"], [-1], "seeds[0]: must be greater than or equal to 0"),
    (["settings", "tiers"], "clean", "tiers: must be a valid array"),
    (["arms", "naive-12", "solvr"], "euler:12", "did you mean 'solver'"),
    (["arms", "naive-12", "solver"], None, "solver is missing"),
    (["arms", "naive-12"], "euler:12", "[arms.naive-12]: must be an object"),
    (["arms", "naive-12", "spans"], "yes", "spans: must be a valid boolean"),
    (["arms", "lsac-safe", "edits"], [{"kind": "LSCA", "level": "safe"}], "did you mean 'LSAC'"),
    (["arms", "lsac-safe", "edits"], [{"kind": "LSAC", "level": "saef"}], "did you mean 'safe'"),
    (["arms", "lsac-safe", "edits"], [{"kind": "LSAC", "levl": "safe"}], "did you mean 'level'"),
    (["arms", "lsac-safe", "edits"], ["LSAC"], "edits[0]: must be an object"),
    (row("LS3", "rival"), ["naive-12"], "claim LS3: unknown key 'rival': did you mean 'rivals'"),
    (row("LS3", "margin"), 0.5, "claim LS3: unknown key 'margin'"),
    (row("LS3", "quote"), None, "claim LS3: quote is missing"),
    (row("LS3", "quote"), " ", "quote: must be a text that says something"),
    (row("LS3", "family"), None, "family is missing"),
    (row("LS3", "rivals"), None, "rivals is missing"),
    (row("LS3", "arms"), ["lsac-balancd"], "unknown arm 'lsac-balancd': did you mean 'lsac-balanced'"),
    (row("LS3", "arms"), ["lsac-balanced", "lsac-balanced"], "twice"),
    (row("LS3", "arms"), ["lsac-balanced", "lsac-safe"], "one to one"),
    (row("LS3", "baselines"), ["baseline-midpoin"], "did you mean 'baseline-midpoint'"),
    (row("LS3", "metrics"), ["si_sdr"], "did you mean 'si_snr'"),
    (row("GH2", "metrics"), ["block_ratio/L6"], "unknown metric"),
    (row("LS3", "tiers"), ["claen"], "did you mean 'clean'"),
    (row("LS3", "kind"), "smaler-loss", "did you mean 'smaller-loss'"),
    (row("LS3", "kind"), ["smaller-loss"], "unknown kind"),
    (row("LS3", "score"), "deviance", "did you mean 'deviation'"),
    (row("LS3", "applies_to"), "smal", "did you mean 'small'"),
    (row("LS3", "alpha"), 1.5, "claim LS3: alpha: must be less than 1"),
    (row("LS3", "id"), "LS4", "LS4 is there twice"),
    (row("LS3", "figures"), {"naive-13": "0.48 dB"}, "did you mean 'naive-12'"),
    (row("LS3", "known_refutations"), {"embedded": ""}, "known_refutations.embedded: the reason is empty"),
    (row("DP4", "stronger_tier"), "envi", "did you mean 'env'"),
    (row("DP4", "tiers"), ["clean", "noisy"], "needs itself and another tier"),
    (row("DP2", "label"), "massive", "unknown label 'massive'"),
    (row("DP1", "arms"), ["zero-additive", "text-none"], "exactly 1 arms"),
    (row("GH5", "margin"), None, "margin is missing"),
    (row("GH5", "margin"), math.nan, "margin: must be a finite number"),
    (row("FL1", "targets"), {"flops_per_evalution": 0.25}, "did you mean 'flops_per_evaluation'"),
    (row("LS6", "matched"), {"lsac-safe": "naive-14"}, "matched: lsac-balanced has no rival"),
    (row("LS6", "matched"), {"lsac-saef": "naive-14"}, "did you mean 'lsac-safe'"),
    (row("LS6", "matched"), {"lsac-safe": "naive-15", "lsac-balanced": "naive-12"}, "matched: unknown arm or rival"),
    (row("LS6", "matched"), None, "matched is missing"),
    (row("LS6", "margin"), 0.5, "unknown key 'margin'"),
    (row("GH2", "sizes"), {"block_ratio/L07": 1.7}, "sizes: unknown metric 'block_ratio/L07'"),
    (row("GH2", "sizes"), {"block_ratio/L06": -1.7}, "must be greater than 0"),
    (row("LS9", "rivals"), ["naive-12", "naive-12-midpoint"], "one to one"),
    (row("LS9", "baselines"), None, "baselines is missing"),
    (["settings", "theta"], 1.5, "theta: must be less than 1"),
    (["settings", "smallest_factor"], 1.0, "smallest_factor: must be greater than 1"),
    (["settings", "missing_share"], None, "missing_share is missing"),
    (["settings", "smallest_effects"], {}, "smallest_effects: must have at least 1 item"),
    (["settings", "smallest_effects", "si_snr"], 0.0, "must be greater than 0"),
    (["settings", "tost_margin_db"], 0.5, "unknown key 'tost_margin_db'"),
    (row("FL1", "targets"), {}, "targets: must have at least 1 item"),
    (row("LS9", "baselines"), ["baseline", "baseline-ab2"], "one for all arms or one for each"),
    (row("LS3", "arms"), [], "arms: must have at least 1 item"),
    (row("LS3", "rivals"), [3], "rivals[0]: must be a valid string"),
    (row("LS3", "id"), 3, "claim 3: id: must be a valid string"),
    (row("LS3", "known_refutations"), {"embedded": 3}, "known_refutations.embedded: must be an object"),
    (row("FL1", "targets"), {"flops_per_evaluation": -1.0}, "targets.flops_per_evaluation: must be greater than 0"),
    (["claims", 3], "LS", "claim without id: must be a table"),
    (["arms", "lsac-safe", "edits"], [{"kind": ["LSAC"]}], "unknown edit"),
    (["arms", "lsac-safe", "edits"], [{"kind": "LSAC", "level": ["safe"]}], "level: must be a valid string"),
    (["views", "sound"], {}, "[views]: unknown key 'sound': did you mean 'sounds'"),
    (["views", "sounds", "arms"], ["baselin"], "sounds.arms: unknown arm 'baselin': did you mean 'baseline'"),
    (["views", "sounds", "per_tier"], -1, "sounds.per_tier: must be 0 or more, got -1"),
    (["views", "maps", "arms", "before"], "gate-opn", "maps.arms: unknown arm 'gate-opn': did you mean 'gate-open'"),
    (["views", "maps", "layers"], [1, -1], "maps.layers: must be 0 or more"),
    (["views", "freezing", "steps"], [0], "freezing.steps: must be 1 or more"),
    (["views", "sweep", "metrics"], ["si_snrr"], "sweep.metrics: unknown metric 'si_snrr': did you mean 'si_snr'"),
    (["views", "reference"], "base", "reference: unknown arm 'base'"),
    (["views", "metric"], "snr", "metric: unknown metric 'snr'"),
    (["views", "caveats", 1, "claims"], ["LS10"], "caveats[1].claims: unknown claim 'LS10': did you mean 'LS1'"),
    (["views", "caveats", 1, "rivals"], ["naive-13"], "caveats[1].rivals: unknown arm 'naive-13'"),
    (["views", "caveats", 1, "figures"], "unmatchd", "did you mean 'unmatched'"),
    (["views", "caveats", 1, "title"], None, "caveats[1]: title is missing"),
    (["views", "topics", "LS"], 3, "topics.LS: must be a valid string"),
]


@pytest.mark.parametrize(
    ("path", "value", "words"), BROKEN, ids=lambda x: ".".join(map(str, x)) if isinstance(x, list) else ""
)
def test_a_broken_file_is_rejected_with_the_nearest_name(path, value, words):
    with pytest.raises(ClaimError) as caught:
        parse_claims(edited(path, value))
    assert words in str(caught.value)


def test_a_file_that_is_missing_or_not_toml_is_a_claim_error(tmp_path):
    with pytest.raises(ClaimError, match="no claims file"):
        load_claims(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[settings\n", encoding="utf-8")
    with pytest.raises(ClaimError, match="not TOML"):
        load_claims(tmp_path / "bad.toml")
    with pytest.raises(ClaimError, match="did you mean"):
        BOOK["LS10"]


def test_known_refutations_are_found_by_digest_and_by_name():
    reasons = {"toy": "by name", "d1": "by digest"}
    claim = parse_claims(edited(row("LS3", "known_refutations"), reasons))["LS3"]
    assert claim.known_refutation(make_context(digest="d1")) == "by digest"
    assert claim.known_refutation(make_context(digest="d2")) == "by name"
    assert claim.known_refutation(make_context(digest="d2", checkpoint="other")) is None


# ------------------------------------------------------------------------------------------------------------- any junk

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["LSAC", "clean"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(data, path=()):
    """Return the path of every value of the file, but of one item of a list only."""
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data if path == ("claims",) else data[:1]):
            yield from places(value, (*path, index))


PLACES = [path for path in places(RAW) if path and not str(path[1:2]).startswith("('gate-sweep")]


@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(PLACES), junk=JUNK)
def test_junk_anywhere_is_a_claim_error_and_nothing_else(path, junk):
    try:
        book = parse_claims(edited(path, junk) if junk is not None else RAW | {path[0]: None})
    except ClaimError as error:
        assert len(str(error)) > 10
    else:  # the junk happened to be a value that may stand there
        assert len(book.claims) <= len(RAW["claims"])


@pytest.mark.parametrize("kind", sorted(USED))
def test_a_kind_has_the_keys_that_it_needs_and_no_others(kind):
    """Every needed key is asked for by name, and every key of another kind is refused."""
    given_ = next(row for row in RAW["claims"] if row["kind"] == kind)
    place = RAW["claims"].index(given_)
    for key in KINDS[kind].needs - {"margin"}:
        with pytest.raises(ClaimError, match=f"claim {given_['id']}: {key} is missing: add it"):
            parse_claims(edited(["claims", place, key], None))
    foreign = {"label", "score", "targets", "stronger_tier", "margin", "family"} - KINDS[kind].needs - KINDS[kind].may
    for key in foreign:
        with pytest.raises(ClaimError, match=f"unknown key '{key}'"):
            parse_claims(edited(["claims", place, key], "x"))


# ---------------------------------------------------------------------------------------------------------------- views


def test_the_views_of_the_file_are_data():
    views = BOOK.views
    assert views.topic("LS10") == "Acceleration: layer-selective attention caching"
    assert views.topic("XX1") is None
    assert (views.sounds.per_tier, views.sounds.arms) == (2, ("baseline", "lsac-balanced", "naive-12"))
    assert (views.maps.layers, views.maps.step, views.maps.arms["hijacked"]) == ((1, 6, 9), 8, "gate-open")
    assert (views.freezing.steps, views.freezing.per_tier) == ((2, 4, 8, 12), 6)
    assert [row.figures for row in views.caveats] == [
        "evaluation", "unmatched", "ceiling", "equivalence", "solvers", "noise-floor",
    ]  # fmt: skip
    assert all(row.known.endswith(".") and row.missing.endswith(".") for row in views.caveats)


def test_a_book_without_views_has_the_plain_ones():
    views = parse_claims({key: value for key, value in RAW.items() if key != "views"}).views
    assert (views.reference, views.metric, views.caveats, views.sounds.arms) == ("baseline", "si_snr", (), ())
    assert views.topic("LS1") is None


def test_the_longest_prefix_gives_the_topic():
    book = parse_claims(edited(["views"], {"topics": {"L": "letters", "LS": "more letters"}}))
    assert (book.views.topic("LS1"), book.views.topic("L1"), book.views.topic("FL1")) == (
        "more letters",
        "letters",
        None,
    )
