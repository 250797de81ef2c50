"""Kinds that judge figures of the checkpoint itself, without any paired runs.

count
    Every quantity of `targets` is within the relative tolerance of the paper's figure, else refuted.
sign
    The quantity has the sign that `direction` names, else refuted (zero has no sign, and refutes).
layers-differ
    Friedman's test over mixtures finds that the layers' convergence rates differ. It can be supported or
    inconclusive: no finite sample shows that layers do not differ at all.
table
    Every cell (tier, arm, metric) has a mean over mixtures; inconclusive where a cell has no usable mixture.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.cells import UndecidedError, conclude, p_text
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status, Verdict
from sam_lsac.statistics import friedman, mean_interval

__all__ = ["count", "layers_differ", "sign", "table"]


def count(claim: Claim, _ledger: Ledger, context: Context) -> Verdict:
    """Judge counted figures against the paper's."""
    findings, words = [], []
    for quantity, target in claim.targets.items():
        value = getattr(context, quantity)
        if value is None:
            raise UndecidedError("not run", f"{quantity.replace('_', ' ').capitalize()} was not counted.")
        error = value / target - 1.0
        status: Status = "supported" if abs(error) <= (claim.tolerance or 0.0) else "refuted"
        findings.append(
            Finding(
                quantity=quantity, estimate=float(value), paper=f"{target:.4g}", status=status, note=f"{error:+.2%}"
            )
        )
        words.append(f"{quantity.replace('_', ' ')} {value:.4g}, the paper {target:.4g} ({error:+.2%})")
    reason = (
        f"Counted {'; '.join(words)}; the tolerance is {claim.tolerance or 0.0:.1%}. The figures are those of one "
        "network evaluation: a 16-step Euler solve costs 16 times as much."
    )
    return conclude(claim, reason, findings)


def sign(claim: Claim, _ledger: Ledger, context: Context) -> Verdict:
    """Judge the sign of the pretrained span gate."""
    if context.gate is None:
        raise UndecidedError("not run", "The checkpoint's span gate was not read, or it has none.")
    wanted = -1 if claim.direction == "negative" else 1
    status: Status = "supported" if wanted * context.gate > 0 else "refuted"
    finding = Finding(quantity="gate", estimate=context.gate, paper=claim.paper, status=status)
    words = f"The span gate is {context.gate:+.4g} (tanh {np.tanh(context.gate):+.4g})"
    return conclude(claim, f"{words}; the paper says {claim.direction}.", [finding])


def layers_differ(claim: Claim, _ledger: Ledger, context: Context) -> Verdict:
    """Judge whether layers converge at different rates."""
    if not context.entropy_rates:
        raise UndecidedError("not run", "No entropy rates were recorded on this checkpoint.")
    finite = [rates for rates in context.entropy_rates.values() if np.isfinite(rates).all()]
    dropped = len(context.entropy_rates) - len(finite)
    if len(finite) < 2 or context.n_layers < 3:
        raise UndecidedError(
            "inconclusive", f"Only {len(finite)} mixtures with rates of {context.n_layers} layers; {dropped} dropped."
        )
    table_ = np.asarray(finite, dtype=np.float64)
    result = friedman(table_)
    adjusted = min(1.0, result.p * claim.family_size)
    status: Status = "supported" if adjusted < claim.alpha else "inconclusive"
    kendall = Finding(
        quantity="Kendall's W", estimate=result.kendall_w, p=result.p, p_adjusted=adjusted, n=result.n, status=status
    )
    findings = [replace(one, n_dropped=dropped) for one in (kendall, *_rates(claim, table_))]
    means = table_.mean(axis=0)
    reason = (
        f"Mean entropy rates run from {means.min():.3g} (L{means.argmin():02d}) to {means.max():.3g} "
        f"(L{means.argmax():02d}) nats per step over {result.k} layers and {result.n} mixtures: Friedman "
        f"{p_text(adjusted)}, Kendall's W {result.kendall_w:.2f}."
    )
    return conclude(claim, reason, findings)


def _rates(claim: Claim, rates: NDArray[np.float64]) -> list[Finding]:
    """Return the mean entropy rate of every layer, from rates [mixtures, layers]."""
    findings = []
    for layer, column in enumerate(rates.T):
        mean = mean_interval(column, level=1 - claim.alpha)
        findings.append(
            Finding(
                quantity="entropy rate",
                metric=f"L{layer:02d}",
                estimate=mean.estimate,
                ci_low=mean.low,
                ci_high=mean.high,
                n=mean.n,
            )
        )
    return findings


def table(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Draw the paper's table from our runs; complete or not."""
    findings: list[Finding] = []
    empty: list[str] = []
    for tier in claim.tiers:
        for arm in (*claim.baselines, *claim.arms, *claim.controls):
            for metric in claim.metrics:
                pairs = ledger.paired(metric, arm=arm, baseline=arm, tier=tier)
                cell = Finding(quantity="mean", tier=tier, metric=metric, arm=arm, n=pairs.n, n_dropped=pairs.n_dropped)
                if pairs.n < 2:
                    why = pairs.reasons[0] if pairs.reasons else "no rows"
                    empty.append(f"{metric} of {arm} on {tier} ({why})")
                    findings.append(replace(cell, status="inconclusive", note=why))
                    continue
                mean = mean_interval(pairs.treated, level=1 - claim.alpha)
                findings.append(
                    replace(cell, estimate=mean.estimate, ci_low=mean.low, ci_high=mean.high, status="supported")
                )
    if empty:
        return conclude(claim, f"{len(empty)} of {len(findings)} cells have no mean: {'; '.join(empty)}.", findings)
    return conclude(claim, f"All {len(findings)} cells of the table have a mean; the paper's own are lost.", findings)
