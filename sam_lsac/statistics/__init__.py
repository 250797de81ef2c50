"""Tests and intervals for paired experiments, where the mixture is the unit of analysis.

Every function takes arrays with one figure per mixture and returns a small named result. None drops anything: a
NaN is an `InputError`, because the one place that drops a pair, and counts it, is `sam_lsac.claims.Ledger`.

=============  =========================================================================================
module         subject
=============  =========================================================================================
contrast       is the mean of a contrast above 0 (any distribution), sign test, share beyond a margin
effect         Cohen's d_z of a contrast, bounds that hold for skewed data
nested         test over groups of mixtures (voices), variance of mixture, seed and rest
joint          how many mixtures show all conditions of a claim at once
families       Bonferroni over a stated family
spending       levels of repeated looks at growing data
futility       is a test likely to be passed with all mixtures
resampling     bootstrap intervals of a mean and a ratio
groups         do two groups of different mixtures differ (Welch)
=============  =========================================================================================
"""

from sam_lsac.statistics.contrast import Contrast, Share, contrast_test, share_beyond, sign_test
from sam_lsac.statistics.effect import Effect, effect_size
from sam_lsac.statistics.families import bonferroni
from sam_lsac.statistics.futility import conditional_power
from sam_lsac.statistics.groups import welch
from sam_lsac.statistics.joint import Conditions, joint_pairs_needed
from sam_lsac.statistics.nested import GroupTest, VarianceComponents, group_test, variance_components
from sam_lsac.statistics.resampling import Interval, mean_interval, ratio_interval
from sam_lsac.statistics.spending import nominal_levels

__all__ = [
    "Conditions",
    "Contrast",
    "Effect",
    "GroupTest",
    "Interval",
    "Share",
    "VarianceComponents",
    "bonferroni",
    "conditional_power",
    "contrast_test",
    "effect_size",
    "group_test",
    "joint_pairs_needed",
    "mean_interval",
    "nominal_levels",
    "ratio_interval",
    "share_beyond",
    "sign_test",
    "variance_components",
    "welch",
]
