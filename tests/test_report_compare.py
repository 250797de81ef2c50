"""Two reports side by side, and the reports of earlier runs."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sam_lsac.claims import Finding
from sam_lsac.claims.verdict import LookTaken
from sam_lsac.errors import InputError, StoreError
from sam_lsac.report import compare, from_json, history, to_json
from sam_lsac.report.badge import write_badge
from sam_lsac.report.looks import sequential
from sam_lsac.report.markdown import summary
from tests.report_sample import simulated_report, with_verdict


@pytest.fixture(scope="module")
def report():
    return simulated_report()


def test_a_report_does_not_differ_from_itself(report):
    comparison = compare(to_json(report), report)
    assert (comparison.changes, comparison.notes, comparison.fails()) == ((), (), False)
    assert str(comparison) == "No verdict flipped, no effect moved."


def test_a_flip_is_listed_and_fails(report):
    comparison = compare(report, with_verdict(report, "LS4", status="refuted"))
    (change,) = comparison.flips
    assert comparison.changes == comparison.flips
    assert (change.kind, change.claim_id, change.before, change.after) == ("flipped", "LS4", "supported", "refuted")
    assert comparison.fails()
    assert "LS4 ✓ supported -> ✗ refuted" in str(comparison)
    assert "1 flipped (0 beyond noise), 0 vanished, 0 added, 0 moved." in str(comparison)
    assert not comparison.fails("never")


def by_looks(report, planned=24):
    """The report as if it had been judged look by look."""
    return replace(report, sequential=sequential({"clean": planned, "noisy": planned, "env": planned}))


def test_what_other_levels_leave_undecided_is_no_flip(report):
    undecided = with_verdict(report, "LS4", status="inconclusive", tiers={"noisy": "inconclusive"})
    for old, new in ((report, by_looks(undecided)), (by_looks(undecided), report)):
        comparison = compare(old, new)
        assert (comparison.changes, comparison.fails()) == ((), False)
        (note,) = comparison.notes
        assert "stop by different rules" in note
        assert "LS4" in note
    assert compare(by_looks(report, 24), by_looks(undecided, 12)).flips == ()


def test_by_the_same_rule_it_is_and_so_is_the_opposite_by_any(report):
    undecided = with_verdict(report, "LS4", status="inconclusive")
    assert [one.claim_id for one in compare(by_looks(report), by_looks(undecided)).flips] == ["LS4"]
    refuted = by_looks(with_verdict(report, "LS4", status="refuted"))
    assert [one.claim_id for one in compare(report, refuted).flips] == ["LS4"]


def test_another_look_alone_changes_nothing(report):
    look = LookTaken(number=1, of=4, mixtures=12, planned=24, level=1e-4, refutation_level=1e-5)
    old, new = (
        by_looks(with_verdict(report, "LS4", looks={"noisy": one}))
        for one in (look, replace(look, number=3, mixtures=20, level=3e-3))
    )
    assert (compare(old, new).changes, compare(old, new).notes) == ((), ())


TIERS = {"clean": "supported", "noisy": "supported", "env": "inconclusive"}


def test_a_tier_that_turns_is_a_flip_though_the_claim_stands(report):
    old = with_verdict(report, "GH3", tiers=TIERS)
    for after in ("inconclusive", "refuted"):
        comparison = compare(old, with_verdict(report, "GH3", tiers=TIERS | {"noisy": after}))
        (change,) = comparison.flips
        assert (change.claim_id, change.what, change.before, change.after) == ("GH3", "noisy", "supported", after)
        assert comparison.fails("flip")
        assert "GH3 on noisy \N{CHECK MARK} supported -> " in str(comparison)


def test_a_tier_that_could_not_be_judged_again_has_vanished(report):
    old = with_verdict(report, "GH3", tiers=TIERS)
    comparison = compare(old, with_verdict(report, "GH3", tiers=TIERS | {"clean": "not run"}))
    assert [(one.kind, one.what) for one in comparison.changes] == [("vanished", "clean")]
    assert comparison.fails()


def test_claims_and_tiers_outside_one_of_the_runs_are_noted_and_not_compared(report):
    old = with_verdict(report, "GH3", tiers=TIERS)
    few = simulated_report(only=("GH3", "LS2"))
    part = with_verdict(few, "GH3", status="not run", reason="Judged on noisy alone.", tiers={"noisy": "supported"})
    comparison = compare(old, part)
    assert comparison.changes == ()
    assert not comparison.fails()
    assert any("older report alone" in note and "LS4" in note and "LS2" not in note for note in comparison.notes)
    assert "Judged in the older report alone, so not compared: GH3 on clean, GH3 on env." in comparison.notes
    turned = with_verdict(part, "GH3", tiers={"noisy": "refuted"})
    assert [(one.kind, one.what) for one in compare(old, turned).changes] == [("flipped", "noisy")]
    back = compare(part, old)
    assert back.changes == ()
    assert any("newer report alone" in note and "LS4" in note for note in back.notes)


def test_a_claim_that_part_of_its_tiers_refutes_is_a_flip(report):
    part = with_verdict(report, "GH3", status="refuted", tiers={"noisy": "refuted"})
    old = with_verdict(report, "GH3", tiers=TIERS)
    assert [one.what for one in compare(old, part).flips] == ["", "noisy"]


def test_a_claim_that_is_gone_or_no_longer_judged_has_vanished(report):
    gone = replace(report, claims=tuple(row for row in report.claims if row.id != "LS8"))
    unrun = with_verdict(report, "LS4", status="not run", findings=(), tiers={})
    for new, claim_id in ((gone, "LS8"), (unrun, "LS4")):
        comparison = compare(report, new)
        assert [(one.kind, one.claim_id) for one in comparison.changes] == [("vanished", claim_id)]
        assert comparison.fails()
        back = compare(new, report)
        assert [(one.kind, one.claim_id) for one in back.changes] == [("added", claim_id)]
        assert not back.fails()


def moved_by(report, shift):
    verdict = report.verdict("LS4")
    first, *rest = verdict.findings
    width = first.ci_high - first.ci_low
    by = shift * width
    other = replace(first, estimate=first.estimate + by, ci_low=first.ci_low + by, ci_high=first.ci_high + by)
    return with_verdict(report, "LS4", findings=(other, *rest))


def test_an_effect_is_moved_where_the_intervals_do_not_overlap(report):
    assert compare(report, moved_by(report, 0.9)).changes == ()
    for shift in (1.1, -1.1):
        comparison = compare(report, moved_by(report, shift))
        assert [(one.kind, one.claim_id) for one in comparison.changes] == [("moved", "LS4")]
        assert not comparison.fails()
        assert "LS4 deviation SI-SNR lsac-balanced against baseline noisy:" in str(comparison)


def test_a_figure_without_interval_moves_when_it_changes_beyond_rounding(report):
    def gate(value):
        return with_verdict(report, "GH1", findings=(Finding(quantity="gate", estimate=value),))

    assert compare(gate(-0.4), gate(-0.4 * (1 + 1e-9))).changes == ()
    assert [one.kind for one in compare(gate(-0.4), gate(-0.5)).changes] == ["moved"]


def test_other_checkpoints_mixtures_and_levels_are_noted(report):
    seen = replace(report.environment, checkpoint="other", digest="6" * 64, mixtures={"clean": 3})
    words = str(compare(report, replace(report, environment=seen, alpha=0.01)))
    assert "The checkpoints differ: simulated (555555555555) and other (666666666666)." in words
    assert "The mixtures differ" in words
    assert "The level or the share of no loss differs" in words


def test_a_comparison_needs_a_report(tmp_path, report):
    with pytest.raises(InputError):
        compare(tmp_path / "old.json", report)
    with pytest.raises(StoreError):
        compare("{}", report)


# -------------------------------------------------------------------------------------------------------------- history


def test_reports_are_kept_in_order_and_found_again(report, tmp_path):
    home = tmp_path / "report" / "history"
    assert history.last(home) is None
    first = history.autosave(report, home)
    assert first.name == "0001_simulated_55555555_20260101T000000Z.json"
    second = history.autosave(with_verdict(report, "LS4", status="refuted"), home)
    assert sorted(one.name for one in home.iterdir()) == [first.name, second.name]
    assert from_json(first) == report
    assert history.last(home) == second
    for name in ("last", "2", "0002", second.name, second.stem, str(second)):
        assert history.resolve(name, home) == second, name
    assert history.resolve("1", home) == first
    assert [one.claim_id for one in compare(history.resolve("1", home), history.resolve("last", home)).flips] == ["LS4"]


def test_names_stay_in_order_past_the_last_four_digits(report, tmp_path):
    file = history.autosave(report, tmp_path)
    file.rename(tmp_path / f"9999{file.name[4:]}")
    newest = history.autosave(report, tmp_path)
    assert newest.name.startswith("10000_")
    assert history.last(tmp_path) == newest


def test_a_checkpoints_name_cannot_leave_the_folder(report, tmp_path):
    seen = replace(report.environment, checkpoint="../../\x1b[2Jfacebook/sam audio", digest="ab" * 32)
    file = history.autosave(replace(report, environment=seen), tmp_path)
    assert file.parent == tmp_path
    assert file.name == "0001_2Jfacebook-sam-audio_abababab_20260101T000000Z.json"


def test_a_report_that_cannot_be_kept_leaves_nothing(report, tmp_path, monkeypatch):
    history.autosave(report, tmp_path)
    before = sorted(one.name for one in tmp_path.iterdir())

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        history.autosave(report, tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("7", "no report '7'"),
        ("0001_simulated_55555555_20260101T00000Z", "did you mean '0001_simulated_55555555_20260101T000000Z.json'"),
        ("none.json", "a path"),
    ],
)
def test_a_name_that_is_not_there_is_an_input_error(report, tmp_path, name, words):
    history.autosave(report, tmp_path)
    with pytest.raises(InputError, match=words):
        history.resolve(name, tmp_path)


def test_an_empty_history_says_how_to_fill_it(tmp_path):
    with pytest.raises(InputError, match="--report-autosave"):
        history.resolve("last", tmp_path / "none")


def test_an_unreadable_report_is_named(report, tmp_path):
    history.autosave(report, tmp_path)
    (tmp_path / "0002_simulated_55555555_20260101T000000Z.json").write_text("{", encoding="utf-8")
    for find in (lambda: history.last(tmp_path), lambda: history.resolve("last", tmp_path)):
        with pytest.raises(StoreError, match=r"0002_simulated.*is not JSON.*remove it, or name another"):
            find()


# --------------------------------------------------------------------------------------------------- badge and summary


def test_the_badge_says_checkpoint_and_counts_with_signs(report, tmp_path):
    n = report.counts["supported"]
    file = write_badge(report, tmp_path / "deep")
    assert file == tmp_path / "deep" / "badge.svg"
    svg = file.read_text(encoding="utf-8")
    root = ElementTree.fromstring(svg)  # noqa: S314 - written by us
    assert "".join(root.itertext()).count(f"\N{CHECK MARK} {n} supported  \N{BALLOT X} 1 refuted") == 2
    assert "claims on simulated" in root.attrib["aria-label"]
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    reds = [one.attrib.get("fill") for one in root.iter() if one.tag.endswith("rect")]
    (refuted,) = (row.id for row in report.claims if row.verdict.status == "refuted")
    green = write_badge(with_verdict(report, refuted, status="supported"), tmp_path).read_text(encoding="utf-8")
    assert reds[1] not in green
    assert f"{n + 1} supported" in green
    assert "0 refuted" in green


def test_a_badge_cannot_be_broken_out_of(report, tmp_path):
    seen = replace(report.environment, checkpoint='"><script>\x1b&')
    svg = write_badge(replace(report, environment=seen), tmp_path).read_text(encoding="utf-8")
    root = ElementTree.fromstring(svg)  # noqa: S314 - written by us
    assert not [one for one in root.iter() if "script" in one.tag]
    assert 'claims on "><script>\\x1b&' in "".join(root.itertext())


def test_the_summary_begins_with_flips(report):
    old = with_verdict(report, "GH3", tiers=TIERS)
    new = with_verdict(with_verdict(report, "GH3", tiers=TIERS | {"noisy": "refuted"}), "LS4", status="refuted")
    text = summary(new, compare(moved_by(old, 3.0), new))
    assert (
        text.index("Flipped verdicts") < text.index("- GH3 on noisy") < text.index("- LS4 ") < text.index("| claim |")
    )
    assert text.index("- LS4 ") < text.index("Moved effects")
    for row in new.judged:
        assert f"| {row.id} |" in text
    few = simulated_report(only=("LS2",))
    short = summary(few)
    assert [line.split(" | ")[0] for line in short.splitlines() if line.startswith("| ")] == [
        "| claim",
        "| ---",
        "| LS2",
    ]
    assert "- Not in this run, The span gate: GH1, GH2, GH3, GH4, GH5, GH6." in short
    assert "No verdict flipped" in summary(few, compare(few, few))
