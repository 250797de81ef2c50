"""``plan``: what a session would take, in runs, FLOPs, hours and bytes, before anything is computed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sam_lsac.commands.arguments import Commands, reader
from sam_lsac.errors import InputError
from sam_lsac.suite import values
from sam_lsac.suite.options import HOUSE_CLAIMS, read_seeds

if TYPE_CHECKING:
    from sam_lsac.claims import Book
    from sam_lsac.model import SAMAudio
    from sam_lsac.suite.planning import Planned

__all__ = ["NAME", "add"]

NAME = "plan"
HOUR_S = 3600.0
#: Seconds that the scores of a run take on one core, by second of audio: measured at 0.11 s for 2 s of audio at 8 kHz,
#: and at 0.87 s for 10 s at 48 kHz.
SCORE_S_PER_S, SCORE_S_PER_S_48_KHZ = 0.11 / 2, 0.87 / 10
#: The embedded checkpoint hears excerpts of this length; the paper's audio is of the other.
EMBEDDED_SECONDS, PAPER_SECONDS = 2.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A class of devices by its data sheet.

    Parameters
    ----------
    name
        Of the class.
    flops_per_s
        Peak of dense matrix products by type: float32 without TF32, and bfloat16.
    memory_bytes
        Of the device.

    References
    ----------
    NVIDIA H100 SXM5 data sheet; NVIDIA Ada architecture white paper, GeForce RTX 4090 (bfloat16 with float32 sums).
    """

    name: str
    flops_per_s: tuple[tuple[str, float], ...]
    memory_bytes: float


DEVICES = (
    Device(name="H100 SXM, 80 GB", flops_per_s=(("float32", 66.9e12), ("bfloat16", 989e12)), memory_bytes=80e9),
    Device(name="RTX 4090, 24 GB", flops_per_s=(("float32", 82.6e12), ("bfloat16", 165e12)), memory_bytes=24e9),
)


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(NAME, help="say what judging claims would take; nothing is computed")
    parser.add_argument(
        "--model", default="embedded", help="embedded, a checkpoint folder, or a released size, such as small or large"
    )
    parser.add_argument("--claims", type=reader(values.path, "--claims"), default=HOUSE_CLAIMS, metavar="FILE")
    parser.add_argument("-k", dest="names", metavar="WORDS", help="claims whose id has one of these words: 'LS or FR2'")
    _add_amounts(parser)
    parser.add_argument(
        "--rate",
        type=reader(values.number, "--rate", unit="FLOPs a second", example=2e14),
        metavar="FLOPS",
        help="FLOPs a second of your device, as measured there",
    )
    parser.add_argument("--measure", action="store_true", help="measure that rate here, with random weights")
    parser.add_argument("--device", default="cpu", help="where to measure it (default: %(default)s)")
    parser.add_argument(
        "--of-peak",
        type=reader(values.number, "--of-peak", unit="parts of 1", example=0.4),
        default=0.4,
        metavar="SHARE",
        help="part of a data sheet's peak that is assumed to be reached (default: %(default)s)",
    )
    parser.set_defaults(run=_run, kept=lambda _options: "nothing was written")


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mixtures-per-tier",
        type=reader(values.whole, "--mixtures-per-tier", example=24),
        default=24,
        metavar="N",
        help="mixtures per tier (default: %(default)s)",
    )
    parser.add_argument("--seeds", metavar="N,N", help="noise seeds (default: those of the claims file)")
    parser.add_argument(
        "--duration",
        type=reader(values.number, "--duration", unit="seconds", example=10),
        metavar="SECONDS",
        help=f"of a mixture (default: {EMBEDDED_SECONDS:g} for embedded, else {PAPER_SECONDS:g})",
    )
    parser.add_argument(
        "--text-tokens",
        type=reader(values.whole, "--text-tokens", example=4),
        default=4,
        metavar="N",
        help="of a prompt (default: %(default)s)",
    )
    parser.add_argument(
        "--cores",
        type=reader(values.whole, "--cores", example=16),
        metavar="N",
        help="that take scores (default: all of this machine)",
    )
    parser.add_argument(
        "--score-s",
        type=reader(values.number, "--score-s", unit="seconds", example=0.9),
        metavar="SECONDS",
        help="that the scores of a run take on one core (default: as measured, by duration and rate of the audio)",
    )


def _run(options: argparse.Namespace) -> int:
    if options.rate is not None and options.measure:
        raise InputError("--rate states what --measure would measure; leave one of them out.")
    if options.of_peak > 1.0:
        raise InputError(f"--of-peak {options.of_peak:g}: give a part of 1, such as 0.4.")
    seeds = None if options.seeds is None else read_seeds(options.seeds)
    from sam_lsac.claims import load_claims
    from sam_lsac.suite.planning import outline, plan_session
    from sam_lsac.suite.usable import check_device

    check_device("--device", options.device)
    book = load_claims(options.claims)
    names = _selected(book, options.names)
    model = outline(options.model)
    seconds = options.duration or (EMBEDDED_SECONDS if options.model == "embedded" else PAPER_SECONDS)
    planned = plan_session(
        book,
        model,
        claims=names,
        per_tier=options.mixtures_per_tier,
        seeds=seeds or book.settings.seeds,
        seconds=seconds,
        tokens=options.text_tokens,
    )
    rate, said = _rate(options, model, seconds=seconds)
    per_s = SCORE_S_PER_S_48_KHZ if model.sample_rate > 16000 else SCORE_S_PER_S
    scores_h = (
        planned.work.runs * (options.score_s or per_s * seconds) / (options.cores or os.cpu_count() or 1) / HOUR_S
    )
    print(f"{options.model}, {seconds:g} s at {model.sample_rate / 1000:g} kHz, {options.text_tokens} tokens")
    print("\n".join(_amounts(planned, scores_h=scores_h)))
    print("\n".join(_hours(planned, scores_h=scores_h, rate=rate, said=said, of_peak=options.of_peak)))
    return 0


def _rate(options: argparse.Namespace, model: SAMAudio, *, seconds: float) -> tuple[float | None, str]:
    """FLOPs a second, and where the figure is from."""
    if not options.measure:
        return options.rate, "as you gave it"
    from sam_lsac.costs.rate import measured_rate
    from sam_lsac.processes import usable_cores

    found = measured_rate(model, seconds=seconds, text_tokens=options.text_tokens, device=options.device)
    where = f"{usable_cores()} cores" if options.device.startswith("cpu") else options.device
    return found, f"measured here, on {where}"


def _selected(book: Book, words: str | None) -> list[str]:
    """Claims whose id has one of the words, whatever their case."""
    names = [claim.id for claim in book.claims]
    if words is None:
        return names
    wanted = [word.lower() for word in words.replace(",", " ").split() if word.lower() != "or"]
    found = [name for name in names if any(word in name.lower() for word in wanted)]
    if not found:
        begin = dict.fromkeys(name.rstrip("0123456789") for name in names)
        raise InputError(
            f"-k {values.shown(words)}: no claim has it in its id, and names of tests are not known here; ids begin "
            f"with {', '.join(begin)}."
        )
    return found


def _amounts(planned: Planned, *, scores_h: float) -> Iterator[str]:
    """How much there is of everything that does not depend on a device."""
    work = planned.work
    yield (
        f"claims       {planned.n_claims} on {planned.n_mixtures} mixtures x {planned.n_seeds} seeds, "
        f"{planned.n_arms} arms; {len(planned.left_out)} are not about this checkpoint"
    )
    yield f"runs         {work.runs}"
    shared = 1 - work.evaluations / work.unshared if work.unshared else 0.0
    yield f"evaluations  {work.evaluations}, {shared:.1%} fewer than without shared first steps"
    yield f"FLOPs        {work.flops:.3e}, codec and text encoder apart"
    if work.in_full:
        yield f"             at most: {work.in_full} runs skip what they decide as they run, and are counted in full"
    yield f"store        {planned.row_bytes / 1e6:.1f} MB of rows, {planned.wave_bytes / 1e6:.1f} MB of waves beside it"
    yield (
        f"memory       at least {planned.peak_bytes / 1e9:.2f} GB: weights {planned.weight_bytes / 1e9:.2f}, caches "
        f"{planned.cache_bytes / 1e9:.2f}, matrices of a layer {planned.matrix_bytes / 1e9:.2f} (float32, batches of 8)"
    )
    yield f"scoring      {_time(scores_h)} on the cores given"


def _hours(planned: Planned, *, scores_h: float, rate: float | None, said: str, of_peak: float) -> Iterator[str]:
    """Hours of solving by device, and what ends last."""
    if rate is not None:
        hours = planned.work.flops / rate / HOUR_S
        yield f"solving      {_time(hours)} at {rate:.3g} FLOPs a second, {said}; {_first(hours, scores_h)}"
    for device in DEVICES:
        fits = planned.peak_bytes <= device.memory_bytes
        for dtype, peak in device.flops_per_s:
            hours = planned.work.flops / (of_peak * peak) / HOUR_S
            full = "" if fits else "; memory is full first"
            yield (
                f"solving      {_time(hours)} on {device.name}, {dtype}, at {of_peak:.0%} of {peak / 1e12:g} TFLOP/s "
                f"(assumed); {_first(hours, scores_h)}{full}"
            )


def _first(solving_h: float, scores_h: float) -> str:
    return "scoring is the limit" if scores_h > solving_h else "solving is the limit"


def _time(hours: float) -> str:
    """In the unit in which it is a number that one can read."""
    minutes, seconds = hours * 60, hours * HOUR_S
    return f"{hours:.2f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.2f} s"
