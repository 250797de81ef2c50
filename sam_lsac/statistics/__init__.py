"""Tests and intervals for paired experiments, where the mixture is the unit of analysis.

Every function takes arrays with one figure per mixture and returns a small named result. None drops anything: a
NaN is an `InputError`, because the one place that drops a pair, and counts it, is `sam_lsac.claims.Ledger`.

=============  =========================================================================================
module         subject
=============  =========================================================================================
paired         t-test, Cohen's d_z with its exact interval, equivalence (TOST), magnitude of d
families       Bonferroni over a stated family
resampling     bootstrap intervals of a mean, a ratio and a clustered rank correlation
groups         do several layers differ (Friedman), do two groups differ (Welch)
power          power of the paired t-test and the effect that a sample can show
=============  =========================================================================================
"""

from sam_lsac.statistics.families import bonferroni
from sam_lsac.statistics.groups import friedman, welch
from sam_lsac.statistics.paired import Equivalence, PairedTest, cohen_label, equivalence, paired_test
from sam_lsac.statistics.power import detectable_effect, paired_power, pairs_needed
from sam_lsac.statistics.resampling import Interval, mean_interval, ratio_interval, spearman

__all__ = [
    "Equivalence",
    "Interval",
    "PairedTest",
    "bonferroni",
    "cohen_label",
    "detectable_effect",
    "equivalence",
    "friedman",
    "mean_interval",
    "paired_power",
    "paired_test",
    "pairs_needed",
    "ratio_interval",
    "spearman",
    "welch",
]
