"""``tune``: a solve with fewer evaluations, and the file that holds it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sam_lsac.commands.arguments import Commands, add_mixture_options, reader
from sam_lsac.commands.calibration import calibration_mixtures, kept
from sam_lsac.errors import InputError
from sam_lsac.suite import values
from sam_lsac.suite.usable import check_device, check_new_file

if TYPE_CHECKING:
    from sam_lsac.schedule import Expected, Found

__all__ = ["NAME", "add"]

NAME = "tune"
SOLVER = "euler:16"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(NAME, help="fit a solve with fewer evaluations that stays near the full one")
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--saved", type=float, default=0.5, help="part of the FLOPs to save (default %(default)s)")
    parser.add_argument("--reference", default=SOLVER, help="what to stay near (default %(default)s)")
    add_mixture_options(parser, per_tier=3)
    parser.add_argument(
        "--seed",
        type=reader(values.seed, "--seed"),
        default=0,
        help="of the first mixture's noise; the next ones have the next",
    )
    parser.add_argument(
        "--most-fits",
        type=reader(values.whole, "--most-fits", example=24),
        default=24,
        metavar="N",
        help="choices of evaluations that may be tried for each number of evaluations (default %(default)s)",
    )
    parser.add_argument(
        "--more",
        type=reader(values.whole, "--more", example=1, least=0),
        default=1,
        metavar="N",
        help="also try up to N evaluations more, with branches of layers left out at the same cost; 0 for none "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--out", type=reader(values.path, "--out"), required=True, help="file to write, such as schedule.toml"
    )
    parser.set_defaults(run=_run, kept=kept)


def _run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from sam_lsac.model import load_model
    from sam_lsac.solver import parse_solver
    from sam_lsac.solver.base import GridSolver
    from sam_lsac.tune import tune

    reference = parse_solver(options.reference)
    if not isinstance(reference, GridSolver):
        raise InputError(f"--reference {options.reference}: name a method on a grid, such as {SOLVER}.")
    if not 0 <= options.saved < 1:
        raise InputError(f"--saved {options.saved}: give a fraction from 0, below 1, such as 0.5.")
    check_device("--device", options.device)
    check_new_file("--out", options.out, example="schedule.toml")
    model = load_model(options.model, device=options.device)
    mixtures = calibration_mixtures(options, model)
    with tqdm(unit="step", leave=False, disable=None) as bar:
        found = tune(
            model,
            mixtures,
            saved=options.saved,
            reference=reference,
            seed=options.seed,
            most_fits=options.most_fits,
            more=options.more,
            progress=lambda _: bar.update(),
        )
    found.save(options.out)
    _print(found, options.out)
    if found.rival is None and options.more:
        print(
            "caching   adds nothing: no solve with more evaluations comes to this cost, whatever branches it leaves out"
        )
    return 0


def _print(found: Found, out: object) -> None:
    solver, expected = found.solver, found.expected
    rest = f", {found.n_left_out} branches of layers left out" if found.edits else ""
    nodes, n_places = ", ".join(map(str, solver.nodes)), len(solver.reference.evaluation_points)
    print(f"schedule  {out}\nsolver    {solver.name}, evaluated at {nodes} of {n_places} places")
    print(f"saved     {found.flops_saved:.1%}: {solver.nfe} of {solver.reference.nfe} evaluations{rest}")
    print(f"fidelity  {_fidelity(expected)}, on the {len(found.provenance.mixtures)} mixtures that it was fitted on")
    if found.rival is not None:
        verdict = "adds to it" if found.edits else "adds nothing"
        other = "branches left out" if found.rival.cached else "all branches"
        print(
            f"caching   {verdict}: {found.rival.evaluations} evaluations with {other} come to "
            f"{_fidelity(found.rival.expected)}, at {found.rival.expected.flops_saved or 0:.1%} saved"
        )


def _fidelity(expected: Expected) -> str:
    both = ["unbounded" if f is None else f"{f:.1f} dB" for f in (expected.fidelity_db, expected.worst_fidelity_db)]
    return f"{both[0]}, worst {both[1]}"
