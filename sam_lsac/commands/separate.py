"""``separate``: a file in, two files out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sam_lsac.commands.arguments import Commands, reader
from sam_lsac.errors import InputError
from sam_lsac.suite import values
from sam_lsac.suite.usable import check_device, check_new_folder

if TYPE_CHECKING:
    from sam_lsac.files import FileSeparation
    from sam_lsac.interventions import Edit
    from sam_lsac.model import SAMAudio
    from sam_lsac.request import Span
    from sam_lsac.solver import Solver

__all__ = ["NAME", "add"]

NAME = "separate"
SOLVER = "euler:16"
#: The embedded checkpoint heard excerpts of this length in training.
EMBEDDED_SECONDS = 2.0
#: What other checkpoints separate at once, unless told otherwise.
WINDOW_SECONDS = 30.0
#: What --schedule looks up in the checkpoint's folder; anything else is a file.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
DTYPES = ("float32", "bfloat16", "float16")
#: As in `sam_lsac.files` and `sam_lsac.caching`, whose imports would keep --help waiting; a test compares them.
CHANNELS = ("each", "mix")
LEVELS = ("safe", "balanced", "aggressive")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(NAME, help="separate a file into what a prompt names and the rest")
    parser.add_argument(
        "file",
        type=reader(values.path, "file"),
        help="audio of any format of libsndfile, any rate, length and channels",
    )
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the transformer")
    parser.add_argument(
        "--compile", action="store_true", help="compile the transformer's layers first; pays on many windows"
    )
    parser.add_argument(
        "--cuda-graph",
        action="store_true",
        help="launch each evaluation at once: the same bits, sooner; not with edits",
    )
    parser.add_argument("--prompt", required=True, help="lower-case noun and verb, such as 'man speaking'")
    parser.add_argument(
        "--span",
        nargs=3,
        action="append",
        metavar=("SIGN", "START", "END"),
        help="seconds in which the target is active (+) or not (-), such as + 0.5 1.2; may be repeated",
    )
    _add_how(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace output files that are there")
    parser.add_argument(
        "--out",
        type=reader(values.path, "--out"),
        required=True,
        help="folder for STEM.target.wav and STEM.residual.wav",
    )
    parser.set_defaults(run=_run, kept=_kept)


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--solver", help=f"METHOD:STEPS[@GRID], such as midpoint:16 or euler:7@epss (default {SOLVER})")
    parser.add_argument(
        "--schedule",
        type=reader(values.path, "--schedule"),
        metavar="FILE|NAME",
        help="of `tune`, in place of --solver and --lsac; a plain word, such as recommended, is first looked for "
        "among the checkpoint's own schedules",
    )
    parser.add_argument("--lsac", choices=LEVELS, help="cache the attention of layers that settle early")
    parser.add_argument(
        "--cache-mb",
        type=reader(values.number, "--cache-mb", unit="megabytes", example=500),
        help="most megabytes that the cached matrices may take",
    )
    parser.add_argument("--channels", choices=CHANNELS, default="each", help="separate each channel, or their mean")
    parser.add_argument(
        "--window",
        type=reader(values.number, "--window", unit="seconds", example=30),
        metavar="SECONDS",
        help=f"separate at most this at once (default {WINDOW_SECONDS:g}; {EMBEDDED_SECONDS:g} for embedded)",
    )
    parser.add_argument(
        "--overlap",
        type=reader(values.number, "--overlap", unit="seconds", example=3),
        metavar="SECONDS",
        help="of windows (default: a tenth of a window)",
    )
    parser.add_argument("--seed", type=reader(values.seed, "--seed"), default=0)


def _run(options: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from sam_lsac.files import check_files, separate_file
    from sam_lsac.model import load_model
    from sam_lsac.schedule import load_schedule
    from sam_lsac.solver import parse_solver

    if options.schedule is not None and (options.solver or options.lsac):
        raise InputError("--schedule says how to solve; leave --solver and --lsac out.")
    if options.cache_mb is not None and options.lsac is None:
        raise InputError("--cache-mb limits the cache of --lsac; name a level of --lsac too.")
    solver = parse_solver(options.solver or SOLVER)
    spans = [_span(*given) for given in options.span] if options.span else None
    check_device("--device", options.device)
    check_new_folder("--out", options.out)
    check_files(options.file, options.out, overwrite=options.overwrite)
    model = load_model(options.model, device=options.device, dtype=getattr(torch, options.dtype))
    if options.compile:
        model.compile_layers()
    edits = _edits(options, model, solver)
    if options.schedule is not None:
        found = load_schedule(_schedule_file(options.schedule, model), model=model)
        solver, edits = found.solver, list(found.edits)
    window_s = options.window or (EMBEDDED_SECONDS if model.name == "embedded" else WINDOW_SECONDS)
    with tqdm(unit="step", leave=False, disable=None) as bar:
        separated = separate_file(
            model,
            options.file,
            options.out,
            prompt=options.prompt,
            spans=spans,
            solver=solver,
            edits=edits,
            seed=options.seed,
            channels=options.channels,
            window_s=window_s,
            overlap_s=options.overlap or window_s / 10,
            overwrite=options.overwrite,
            cuda_graph=options.cuda_graph,
            on_start=bar.reset,
            on_step=bar.update,
        )
    _print(separated)
    return 0


def _schedule_file(given: Path, model: SAMAudio) -> Path:
    """Return the file that is meant: the one that was given, or for a plain word the checkpoint's own of that name."""
    from sam_lsac.schedule import own_names, own_path

    if _NAME.fullmatch(str(given)) is None:
        return given
    own = own_path(str(given), model)
    if own is not None and own.is_file():
        return own
    if given.is_file():
        return given
    known = f"it has {', '.join(own_names(model))}" if own_names(model) else "it has none"
    where = "--out FILE" if own is None else f"--out {own}"
    raise InputError(
        f"--schedule {given}: {model.name} has no schedule of this name ({known}); fit one with `python -m sam_lsac "
        f"tune --model ... {where}`, or give a file."
    )


def _edits(options: argparse.Namespace, model: SAMAudio, solver: Solver) -> list[Edit]:
    from sam_lsac.caching import LSAC, layer_classes

    if not options.lsac:
        return []
    schedule = LSAC.of(layer_classes(model), level=options.lsac, n_steps=solver.n_steps)
    most = None if options.cache_mb is None else max(1, round(options.cache_mb * 1e6))
    return [schedule.edit(max_bytes=most)]


def _span(sign: str, start: str, end: str) -> Span:
    try:
        return sign, float(start), float(end)
    except ValueError:
        raise InputError(f"--span {sign} {start} {end}: start and end are seconds, such as --span + 0.5 1.2.") from None


def _print(found: FileSeparation) -> None:
    print(f"target    {found.target}\nresidual  {found.residual}")
    print(
        f"{found.audio_s:.2f} s of audio, {found.n_channels} x {found.n_windows} windows, in {found.wall_s:.1f} s: "
        f"real-time factor {found.real_time_factor:.2f}"
    )
    print(f"{found.flops / 1e9:.1f} GFLOPs, {found.flops_saved:.1%} saved")


def _kept(options: argparse.Namespace) -> str:
    there = "the files there are as they were" if options.overwrite else "nothing was written"
    return f"in {options.out} {there}, since a separation is kept whole or not at all; the same command begins anew"
