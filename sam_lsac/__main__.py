"""Command line: ``python -m sam_lsac separate | calibrate | report``; ``--help`` says what each takes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from sam_lsac.caching import classify_layers
from sam_lsac.errors import InputError, SamLsacError
from sam_lsac.interventions import entropy_rates
from sam_lsac.mixtures import load_mixtures
from sam_lsac.model import load_model
from sam_lsac.report.compare import compare
from sam_lsac.runs import measure_entropy

__all__ = ["main"]

#: The embedded checkpoint hears a fixed excerpt of each cached mixture.
_EMBEDDED_SECONDS = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors of the library are one line on standard error, and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m sam_lsac", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_calibrate(commands)
    _add_report(commands)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except SamLsacError as error:
        print(f"sam_lsac {options.command}: {error}", file=sys.stderr)
        return 2
    return code


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("calibrate", help="class a checkpoint's layers by how early their attention settles")
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mixtures", default="embedded", help="embedded, or a folder; its calibration subset is used")
    parser.add_argument("--mixtures-per-tier", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True, help="file to write, such as CHECKPOINT/layer_classes.json")
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    if not options.out.parent.is_dir():
        raise InputError(f"--out {options.out}: there is no folder {options.out.parent}; make it, or name another.")
    model = load_model(options.model, device=options.device)
    mixtures = load_mixtures(
        options.mixtures,
        per_tier=options.mixtures_per_tier,
        subset="calibration",
        sample_rate=model.sample_rate,
        duration_s=_EMBEDDED_SECONDS if options.mixtures == "embedded" and model.name == "embedded" else None,
    )
    with tqdm(total=len(mixtures), unit="mixture") as bar:
        entropy = measure_entropy(model, mixtures, progress=bar.update)
    rates = entropy_rates(entropy).tolist()
    classes = classify_layers(rates).as_dict()
    found = classes | {
        "rates": [round(rate, 6) for rate in rates],
        "entropy": [[round(value, 5) for value in layer] for layer in entropy.mean(dim=2).tolist()],
        "n_mixtures": len(mixtures),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, layers in classes.items():
        print(f"{name:9}{', '.join(str(layer) for layer in layers)}")
    return 0


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="compare a report with an older one; a flipped verdict is exit code 1")
    parser.add_argument("new", type=Path, help="report.json of this release")
    parser.add_argument("--compare", type=Path, required=True, metavar="OLD.json", help="report.json of the last one")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    comparison = compare(options.compare, options.new)
    print(comparison)
    return comparison.exit_code


if __name__ == "__main__":
    sys.exit(main())
