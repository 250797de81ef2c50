"""``calibrate``: the classes of a checkpoint's layers, for LSAC."""

from __future__ import annotations

import argparse
import json

from sam_lsac.commands.arguments import Commands, add_mixture_options, reader
from sam_lsac.commands.calibration import calibration_mixtures, kept, write_result
from sam_lsac.suite import values
from sam_lsac.suite.usable import check_device, check_new_file

__all__ = ["NAME", "add"]

NAME = "calibrate"
#: Layers of the model whose classes the paper splits at the median.
PAPER_LAYERS_HALVED = 22


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(NAME, help="class a checkpoint's layers by how early their attention settles")
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    parser.add_argument("--device", default="cpu")
    add_mixture_options(parser, per_tier=8)
    parser.add_argument(
        "--ways",
        type=int,
        choices=(2, 3),
        help=f"classes: 3, or 2 at the median (default 3; 2 for {PAPER_LAYERS_HALVED} layers, as the paper has it)",
    )
    parser.add_argument(
        "--out",
        type=reader(values.path, "--out"),
        required=True,
        help="file to write, such as CHECKPOINT/layer_classes.json",
    )
    parser.set_defaults(run=_run, kept=kept)


def _run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from sam_lsac.caching import classify_layers
    from sam_lsac.interventions import entropy_rates
    from sam_lsac.model import load_model
    from sam_lsac.runs import measure_entropy

    check_device("--device", options.device)
    check_new_file("--out", options.out, example="layer_classes.json")
    model = load_model(options.model, device=options.device)
    mixtures = calibration_mixtures(options, model)
    with tqdm(total=len(mixtures), unit="mixture", leave=False, disable=None) as bar:
        entropy = measure_entropy(model, mixtures, progress=bar.update)
    rates = entropy_rates(entropy).tolist()
    ways = options.ways or (2 if len(rates) == PAPER_LAYERS_HALVED else 3)
    classes = classify_layers(rates, ways=ways).as_dict()
    found = classes | {
        "rates": [round(rate, 6) for rate in rates],
        "entropy": [[round(value, 5) for value in layer] for layer in entropy.mean(dim=2).tolist()],
        "n_mixtures": len(mixtures),
    }
    write_result(options.out, json.dumps(found, indent=1) + "\n")
    for name, layers in classes.items():
        print(f"{name:9}{', '.join(str(layer) for layer in layers)}")
    return 0
