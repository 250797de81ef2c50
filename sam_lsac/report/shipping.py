"""The advice in words and rows, the same in every form of the report."""

from collections.abc import Sequence

from sam_lsac.claims.wording import NOTHING, measured, metric_name, number, percent
from sam_lsac.report.advice import Advice, Level, PairedTime, Setting, TierFidelity

__all__ = ["COLUMNS", "HEADING", "advice_note", "caching_text", "setting_cells"]

HEADING = "What to ship on this checkpoint"
COLUMNS = ("at", "setting", "solver", "evaluations", "FLOPs saved", "ms a solve", "of the full time", "cache, GB")
NOT_HELD = "nothing that was run holds it"


def advice_note(advice: Advice, *, reference: str) -> str:
    """Return what a setting must hold to be advised, and what its figures are."""
    if advice.missing:
        return advice.missing
    margins = ", ".join(
        f"{metric_name(name)} {measured(size, name, digits='g')}" for name, size in advice.margins.items()
    )
    quality = f", and whose quality is shown within a margin of {reference}'s there ({margins})" if margins else ""
    return (
        f"The cheapest of {len(advice.candidates)} settings whose mean {metric_name(advice.fidelity).lower()} is shown "
        f"above a level on every tier{quality}; each test at {advice.alpha or 0.0:.2g}. ms: stored runs, solve and "
        f"decoding, not paired; {NOTHING} where none tells.{_measured(advice)} GB: one example."
    )


def _measured(advice: Advice) -> str:
    """Return what times beside the reference's are; nothing where there are none."""
    settings = [level.setting for level in advice.levels if level.setting is not None]
    times = [one.time for one in settings if one.time is not None]
    if not times:
        return ""
    pairs, clock = min(time.n_pairs for time in times), times[0].clock
    return f" Of the full time: {pairs} pairs measured in turn on {times[0].device} ({clock} time), 95 % interval."


def level_text(advice: Advice, level: Level) -> str:
    """Return "30 dB"."""
    return measured(level.level, advice.fidelity, digits="g")


def setting_cells(setting: Setting | None) -> list[str]:
    """Return the cells after the first of `COLUMNS`; a dash for what is not known."""
    if setting is None:
        return [NOT_HELD, *[NOTHING] * (len(COLUMNS) - 2)]
    return [
        setting.arm,
        setting.solver,
        str(setting.evaluations),
        percent(setting.flops_saved),
        NOTHING if setting.seconds is None else number(1e3 * setting.seconds),
        NOTHING if setting.time is None else _paired(setting.time),
        NOTHING if setting.cache_bytes is None else _gigabytes(setting.cache_bytes),
    ]


def stated(cells: Sequence[str]) -> str:
    """Return the cells of a setting as one line."""
    arm, solver, evaluations, saved, milliseconds, paired, gigabytes = cells
    beside = "" if paired == NOTHING else f" ({paired} of the full time)"
    return (
        f"{arm} ({solver}), {evaluations} evaluations, {saved} of FLOPs saved, {milliseconds} ms a solve{beside}, "
        f"{gigabytes} GB of cache"
    )


def fidelity_text(advice: Advice, cell: TierFidelity) -> str:
    """Return mean, bound and worst mixture of one tier."""
    lacks = "".join(f", {n} {what}" for n, what in ((cell.n_failed, "failed"), (cell.n_dropped, "dropped")) if n)
    return (
        f"{cell.tier} {measured(cell.mean, advice.fidelity)} (shown beyond {number(cell.bound)}, worst "
        f"{number(cell.worst)}, n = {cell.n}{lacks})"
    )


def caching_text(level: Level) -> str:
    """Return whether caching adds anything on top of what is advised for a level."""
    if level.setting is None:
        return ""
    if level.better:
        verb = "saves" if len(level.better) == 1 else "save"
        return f"Caching adds to it: {', '.join(level.better)} {verb} as much at a fidelity shown to be higher."
    if level.setting.cached:
        return "It has a cache itself, and no other that saves as much has a fidelity shown to be higher."
    if not level.n_caches:
        return "Whether caching adds to it is open: no setting with a cache was run."
    if not level.n_as_cheap:
        return f"Caching adds nothing on top: no setting with a cache saves as much ({level.n_caches} were run)."
    return (
        "Caching is not shown to add anything on top: no setting with a cache that saves as much "
        f"({level.n_as_cheap} of {level.n_caches}) has a fidelity shown to be higher."
    )


def _paired(time: PairedTime) -> str:
    """Return the ratio with its interval."""
    return f"x{number(time.ratio)} [{number(time.low)}, {number(time.high)}]"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g}" if size else "0"
