"""Command line: ``python -m sam_lsac separate | calibrate | tune | report``; ``--help`` says what each takes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from sam_lsac.caching import LEVELS, LSAC, classify_layers, layer_classes
from sam_lsac.errors import InputError, SamLsacError
from sam_lsac.files import CHANNELS, separate_file
from sam_lsac.interventions import entropy_rates
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.model import SAMAudio, load_model
from sam_lsac.report.compare import compare
from sam_lsac.report.json import schema_text
from sam_lsac.runs import measure_entropy
from sam_lsac.schedule import load_schedule
from sam_lsac.separate import Span
from sam_lsac.solver import Solver, parse_solver
from sam_lsac.solver.base import GridSolver
from sam_lsac.tune import tune

__all__ = ["main"]

#: The embedded checkpoint hears a fixed excerpt of each cached mixture.
_EMBEDDED_SECONDS = 2.0
_SOLVER = "euler:16"
#: What other checkpoints separate at once, unless told otherwise.
_WINDOW_SECONDS = 30.0
#: Layers of the model whose classes the paper splits at the median.
_PAPER_LAYERS_HALVED = 22
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors of the library are one line on standard error, and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m sam_lsac", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_separate(commands)
    _add_calibrate(commands)
    _add_tune(commands)
    _add_report(commands)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except SamLsacError as error:
        print(f"sam_lsac {options.command}: {error}", file=sys.stderr)
        return 2
    return code


def _add_separate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("separate", help="separate a file into what a prompt names and the rest")
    parser.add_argument("file", type=Path, help="audio of any format of libsndfile, any rate, length and channels")
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=tuple(_DTYPES), default="float32", help="of the transformer")
    parser.add_argument(
        "--compile", action="store_true", help="compile the transformer's layers first; pays on many windows"
    )
    parser.add_argument("--prompt", required=True, help="lower-case noun and verb, such as 'man speaking'")
    parser.add_argument(
        "--span",
        nargs=3,
        action="append",
        metavar=("SIGN", "START", "END"),
        help="seconds in which the target is active (+) or not (-), such as + 0.5 1.2; may be repeated",
    )
    parser.add_argument(
        "--solver", help=f"METHOD:STEPS[@GRID], such as midpoint:16 or euler:7@epss (default {_SOLVER})"
    )
    parser.add_argument("--schedule", type=Path, metavar="FILE", help="of `tune`, in place of --solver and --lsac")
    parser.add_argument("--lsac", choices=tuple(LEVELS), help="cache the attention of layers that settle early")
    parser.add_argument("--cache-mb", type=float, help="most megabytes that the cached matrices may take")
    parser.add_argument("--channels", choices=CHANNELS, default="each", help="separate each channel, or their mean")
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help=f"separate at most this at once (default {_WINDOW_SECONDS:g}; {_EMBEDDED_SECONDS:g} for embedded)",
    )
    parser.add_argument("--overlap", type=float, metavar="SECONDS", help="of windows (default: a tenth of a window)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace output files that are there")
    parser.add_argument("--out", type=Path, required=True, help="folder for STEM.target.wav and STEM.residual.wav")
    parser.set_defaults(run=_separate)


def _separate(options: argparse.Namespace) -> int:
    if options.schedule is not None and (options.solver or options.lsac):
        raise InputError("--schedule says how to solve; leave --solver and --lsac out.")
    solver: Solver = parse_solver(options.solver or _SOLVER)
    spans = [_span(*given) for given in options.span] if options.span else None
    if options.cache_mb is not None and options.lsac is None:
        raise InputError("--cache-mb limits the cache of --lsac; name a level of --lsac too.")
    model = load_model(options.model, device=options.device, dtype=_DTYPES[options.dtype])
    if options.compile:
        model.compile_layers()
    edits = []
    if options.schedule is not None:
        solver = load_schedule(options.schedule, model=model).solver
    if options.lsac:
        schedule = LSAC.of(layer_classes(model), level=options.lsac, n_steps=solver.n_steps)
        edits = [schedule.edit(max_bytes=None if options.cache_mb is None else round(options.cache_mb * 1e6))]
    window_s = options.window
    if window_s is None:
        window_s = _EMBEDDED_SECONDS if model.name == "embedded" else _WINDOW_SECONDS
    with tqdm(unit="step", leave=False) as bar:
        found = separate_file(
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
            overlap_s=window_s / 10 if options.overlap is None else options.overlap,
            overwrite=options.overwrite,
            on_start=bar.reset,
            on_step=bar.update,
        )
    print(f"target    {found.target}\nresidual  {found.residual}")
    print(
        f"{found.audio_s:.2f} s of audio, {found.n_channels} x {found.n_windows} windows, in {found.wall_s:.1f} s: "
        f"real-time factor {found.real_time_factor:.2f}"
    )
    print(f"{found.flops / 1e9:.1f} GFLOPs, {found.flops_saved:.1%} saved")
    return 0


def _span(sign: str, start: str, end: str) -> Span:
    try:
        return sign, float(start), float(end)
    except ValueError:
        raise InputError(f"--span {sign} {start} {end}: start and end are seconds, such as --span + 0.5 1.2.") from None


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("calibrate", help="class a checkpoint's layers by how early their attention settles")
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mixtures", default="embedded", help="embedded, or a folder; its calibration subset is used")
    parser.add_argument("--mixtures-per-tier", type=int, default=8)
    parser.add_argument(
        "--ways",
        type=int,
        choices=(2, 3),
        help=f"classes: 3, or 2 at the median (default 3; 2 for {_PAPER_LAYERS_HALVED} layers, as the paper has it)",
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, such as CHECKPOINT/layer_classes.json")
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    _check_new_file(options.out)
    model = load_model(options.model, device=options.device)
    mixtures = _calibration_mixtures(options, model)
    with tqdm(total=len(mixtures), unit="mixture") as bar:
        entropy = measure_entropy(model, mixtures, progress=bar.update)
    rates = entropy_rates(entropy).tolist()
    ways = options.ways or (2 if len(rates) == _PAPER_LAYERS_HALVED else 3)
    classes = classify_layers(rates, ways=ways).as_dict()
    found = classes | {
        "rates": [round(rate, 6) for rate in rates],
        "entropy": [[round(value, 5) for value in layer] for layer in entropy.mean(dim=2).tolist()],
        "n_mixtures": len(mixtures),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, layers in classes.items():
        print(f"{name:9}{', '.join(str(layer) for layer in layers)}")
    return 0


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("tune", help="fit a solve with fewer evaluations that stays near the full one")
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--saved", type=float, default=0.5, help="part of the evaluations to save (default %(default)s)"
    )
    parser.add_argument("--reference", default=_SOLVER, help="what to stay near (default %(default)s)")
    parser.add_argument("--mixtures", default="embedded", help="embedded, or a folder; its calibration subset is used")
    parser.add_argument("--mixtures-per-tier", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the first mixture's noise; the next ones have the next")
    parser.add_argument("--most-fits", type=int, default=24, help="choices that may be tried (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, such as schedule.toml")
    parser.set_defaults(run=_tune)


def _tune(options: argparse.Namespace) -> int:
    _check_new_file(options.out)
    reference = parse_solver(options.reference)
    if not isinstance(reference, GridSolver):
        raise InputError(f"--reference {options.reference}: name a method on a grid, such as {_SOLVER}.")
    model = load_model(options.model, device=options.device)
    mixtures = _calibration_mixtures(options, model)
    with tqdm(unit="fit", leave=False) as bar:
        found = tune(
            model,
            mixtures,
            saved=options.saved,
            reference=reference,
            seed=options.seed,
            most_fits=options.most_fits,
            progress=lambda _: bar.update(),
        )
    found.save(options.out)
    solver, expected = found.solver, found.expected
    print(f"schedule  {options.out}\nsolver    {solver.name}, evaluated at steps {', '.join(map(str, solver.nodes))}")
    print(f"saved     {found.evaluations_saved:.1%}: {solver.nfe} of {reference.nfe} evaluations")
    fidelity = ["unbounded" if f is None else f"{f:.1f} dB" for f in (expected.fidelity_db, expected.worst_fidelity_db)]
    print(f"fidelity  {fidelity[0]}, worst {fidelity[1]}, on the {len(mixtures)} mixtures that it was fitted on")
    return 0


def _check_new_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}; make it, or name another.")
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; name a file in it, such as {path / 'out.toml'}.")


def _calibration_mixtures(options: argparse.Namespace, model: SAMAudio) -> list[Mixture]:
    return load_mixtures(
        options.mixtures,
        per_tier=options.mixtures_per_tier,
        subset="calibration",
        sample_rate=model.sample_rate,
        duration_s=_EMBEDDED_SECONDS if options.mixtures == "embedded" and model.name == "embedded" else None,
    )


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="compare a report with an older one; a flipped verdict is exit code 1")
    parser.add_argument("new", type=Path, nargs="?", metavar="NEW.json", help="report.json of this release")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="report.json of the last one")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a report.json instead")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    if options.schema:
        print(schema_text(), end="")
        return 0
    if options.new is None or options.compare is None:
        raise InputError("two reports are needed: python -m sam_lsac report NEW.json --compare OLD.json.")
    comparison = compare(options.compare, options.new)
    print(comparison)
    return int(comparison.fails("flip"))


if __name__ == "__main__":
    sys.exit(main())
