"""The closed set of ways to judge a claim: a module each, which states what supports and what refutes.

A new kind is a module with a `KIND`, and its name in the list below.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sam_lsac.claims.kind import Kind
from sam_lsac.claims.kinds import (
    ahead,
    at_least,
    complementary,
    count,
    effect_table,
    equivalent,
    labelled_loss,
    layer_response,
    layers_settle,
    loss_order,
    negligible_loss,
    no_loss,
    pareto,
    rank_correlation,
    ratio_change,
    saved_share,
    sign,
    smaller_loss,
    state_leak,
    table,
)

__all__ = ["KINDS"]

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        module.KIND.name: module.KIND
        for module in (
            pareto,
            saved_share,
            effect_table,
            smaller_loss,
            no_loss,
            negligible_loss,
            labelled_loss,
            equivalent,
            complementary,
            ahead,
            at_least,
            loss_order,
            ratio_change,
            layer_response,
            rank_correlation,
            layers_settle,
            sign,
            count,
            state_leak,
            table,
        )
    }
)
"""Every kind, by the name that a claims file uses."""
