"""Put LSAC around Meta's own ``sam_audio.SAMAudio``, without changing a line of it.

    python examples/attach_to_metas_class.py in.wav "man speaking" out/

needs Meta's package (facebookresearch/sam-audio) and access to the checkpoint on its hub page. The edits find
their modules by name, so they fit any class of the same structure; inside the ``with`` block the layers that settled
keep their attention matrices, and on leaving it the model is what it was before, bit by bit.
"""

import argparse
from pathlib import Path

import soundfile
from sam_audio import SAMAudio, SAMAudioProcessor

import sam_lsac as sl

STEPS = 16
EULER = {"method": "euler", "options": {"step_size": 1 / STEPS}}  # Meta's default, midpoint, evaluates twice a step


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("prompt", help="a lower-case noun and verb, such as 'man speaking'")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="facebook/sam-audio-small")
    parser.add_argument("--stable", default="1,6,9", help="layers that settle early (default: the paper's, small)")
    options = parser.parse_args()

    model = SAMAudio.from_pretrained(options.model).eval()
    processor = SAMAudioProcessor.from_pretrained(options.model)
    batch = processor(audios=[str(options.file)], descriptions=[options.prompt])
    layers = tuple(int(layer) for layer in options.stable.split(","))
    schedule = sl.LSAC(stable=layers, level="balanced", n_steps=STEPS)

    with sl.attach(model, [schedule.edit()], nfe=STEPS) as attached:
        result = model.separate(batch, ode_opt=EULER)

    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("target", "residual"):
        wave = getattr(result, name)[0].squeeze().cpu().numpy()
        soundfile.write(options.out / f"{options.file.stem}.{name}.wav", wave, processor.audio_sampling_rate)
    print(f"reused {sum(attached.hits.values())} attention matrices in {STEPS} evaluations")


if __name__ == "__main__":
    main()
