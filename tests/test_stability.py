"""The share of verdicts that changes with the seed, and what is said of it."""

import pytest

from tests.calibration.stability import changes, table


@pytest.mark.parametrize(
    ("verdicts", "share"),
    [
        (["supported"] * 10, 0.0),
        (["supported"] * 9 + ["inconclusive"], 0.1),
        (["supported", "refuted", "inconclusive", "refuted"], 0.5),
    ],
)
def test_the_share_that_changes_is_what_differs_from_the_most_frequent(verdicts, share):
    assert changes(verdicts) == pytest.approx(share)


def test_a_case_that_changes_more_often_than_alpha_says_so():
    text = table({"A-clean": ["supported"] * 20, "B-clean": ["supported"] * 18 + ["refuted"] * 2}, alpha=0.05)
    steady, shaky = text.splitlines()[2:]
    assert steady == "| A-clean | 20 supported | 0% |"
    assert shaky == "| B-clean | 18 supported, 2 refuted | 10% (more often than alpha) |"
