"""Separate a file with LSAC, and say what that saved and what it changed.

    python examples/separate_a_file.py in.wav "man speaking" out/

writes out/cached/in.target.wav and in.residual.wav with LSAC-Balanced, out/full/ without, and prints both costs and how
near the two targets are: the SI-SNR of the one against the other, in dB, in their first channel.
"""

import argparse
from pathlib import Path

import soundfile

import sam_lsac as sl
from sam_lsac.files import separate_file
from sam_lsac.metrics import si_snr

WINDOW_S = {"embedded": 2.0}  # what it was trained on; SAM Audio takes 30 s and more


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("prompt", help="a lower-case noun and verb, such as 'man speaking'")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    options = parser.parse_args()

    model = sl.load_model(options.model)
    schedule = sl.LSAC.balanced(model)  # the layer classes come with the checkpoint
    window_s = WINDOW_S.get(options.model, 30.0)
    targets = {}
    for name, edits in (("full", []), ("cached", [schedule.edit()])):
        found = separate_file(
            model,
            options.file,
            options.out / name,
            prompt=options.prompt,
            edits=edits,
            window_s=window_s,
            overlap_s=window_s / 10,  # neighbours are cross-faded there
        )
        targets[name], _ = soundfile.read(found.target, always_2d=True)
        print(f"{name:7} {found.flops / 1e9:8.1f} GFLOPs, {found.flops_saved:5.1%} saved, {found.wall_s:.1f} s")
    nearness = si_snr(targets["cached"][:, 0], targets["full"][:, 0])
    print(f"cached against full: {nearness.reason or f'{nearness.value:.1f} dB'}")


if __name__ == "__main__":
    main()
