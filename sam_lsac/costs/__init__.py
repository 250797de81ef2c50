"""What a solve costs: FLOPs on paper, counted, and from hits; time (`clock`), memory (`memory`), arms (`savings`)."""

from sam_lsac.costs.clock import TimeRatio, one_thread, ratio_abab, seconds_of
from sam_lsac.costs.counted import counted_flops
from sam_lsac.costs.flops import FlopCount, count_flops
from sam_lsac.costs.measured import flops_of_hits, is_on_paper, measured_cost
from sam_lsac.costs.memory import PeakMemory, cache_bytes, peak_memory
from sam_lsac.costs.savings import ArmCost, arm_cost, speed_limit
from sam_lsac.costs.sizes import SIZES, sizes_of

__all__ = [
    "SIZES",
    "ArmCost",
    "FlopCount",
    "PeakMemory",
    "TimeRatio",
    "arm_cost",
    "cache_bytes",
    "count_flops",
    "counted_flops",
    "flops_of_hits",
    "is_on_paper",
    "measured_cost",
    "one_thread",
    "peak_memory",
    "ratio_abab",
    "seconds_of",
    "sizes_of",
    "speed_limit",
]
