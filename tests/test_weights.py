"""Weight files: what is folded and skipped, refusals of everything that does not fit or is damaged, and memory."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import config_dict, model, text_encoder, write_meta_checkpoint
from torch import nn

from sam_lsac.errors import CheckpointError
from sam_lsac.model import SAMAudio, load_model
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.model.weights import WeightFiles, load_weights


@pytest.fixture
def metas(tmp_path):
    built = model()
    return tmp_path, built, write_meta_checkpoint(tmp_path, built)


def rewrite(folder, **changes):
    """Change, add or (None) remove tensors of a checkpoint.pt."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True) | changes
    torch.save({name: value for name, value in state.items() if value is not None}, folder / "checkpoint.pt")


@pytest.mark.parametrize("style", ["old", "new"])
@pytest.mark.parametrize("layer", [nn.Conv1d(4, 6, 3), nn.ConvTranspose1d(4, 6, 3)], ids=["conv", "transposed"])
def test_weight_norm_is_folded_as_pytorch_computes_it(tmp_path, layer, style):
    names = {
        "old": ("weight_g", "weight_v"),
        "new": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    }
    normed = nn.utils.parametrizations.weight_norm(layer)
    with torch.no_grad():
        normed.parametrizations.weight.original0.uniform_(0.5, 2)
    state = normed.state_dict()
    old = dict(zip(names[style], (state[name] for name in names["new"]), strict=True)) | {"bias": state["bias"]}
    torch.save(old, tmp_path / "w.pt")
    with torch.device("meta"):
        plain = type(layer)(4, 6, 3)
    report = load_weights(
        plain, WeightFiles([tmp_path / "w.pt"]), device=torch.device("cpu"), dtypes={"": torch.float32}
    )
    torch.testing.assert_close(plain.weight, normed.weight)
    assert report.folded == ("weight",)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")


@pytest.mark.parametrize(
    "name",
    [
        "transformer.layers.1.attention.wq.weight",
        "embed_anchors.gate",
        "audio_codec.decoder.model.0.weight_g",
        "memory_proj.bias",
    ],
)
def test_a_missing_tensor_is_named(metas, name):
    rewrite(metas[0], **{name: None})
    with pytest.raises(CheckpointError, match=rf"Missing \(1\): {name.removesuffix('_g')}\."):
        load_model(metas[0])


def test_an_unknown_tensor_is_an_error_and_the_misspelt_one_is_named(metas):
    rewrite(metas[0], **{"proj.bias": None, "proj.biass": torch.zeros(32), "transformer.extra": torch.zeros(1)})
    with pytest.raises(
        CheckpointError,
        match=r"Missing \(1\): proj.bias. Unknown \(2\): proj.biass, transformer.extra.*looks like 'proj.biass'",
    ):
        load_model(metas[0])


def test_many_missing_tensors_are_counted(metas):
    rewrite(metas[0], **{name: None for name in metas[2] if name.startswith("transformer.")})
    with pytest.raises(CheckpointError, match=r"Missing \(\d+\): transformer.*and \d+ more"):
        load_model(metas[0])


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("proj.weight", (32, 23), r"\[32, 24\]"),
        ("embed_anchors.gate", (), r"\[1\]"),
        ("audio_codec.quantizer.in_proj.weight_g", (8, 1), r"\[8, 1, 1\]"),
        ("audio_codec.quantizer.in_proj.weight_v", (8, 8, 2), r"\[8, 8, 1\]"),
    ],
)
def test_another_shape_is_named(metas, name, shape, wanted):
    rewrite(metas[0], **{name: torch.zeros(shape)})
    with pytest.raises(CheckpointError, match=rf"{name} is .*, not {wanted}"):
        load_model(metas[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name",
    ["proj.weight", "embed_anchors.gate", "audio_codec.decoder.model.0.bias", "audio_codec.decoder.model.0.weight_g"],
)
def test_a_weight_that_is_not_finite_is_named(metas, name, value):
    broken = metas[2][name].clone()
    broken.view(-1)[-1] = value
    rewrite(metas[0], **{name: broken})
    with pytest.raises(CheckpointError, match=rf"not finite \(1\): {name.removesuffix('_g')} \(torch\.float32\)"):
        load_model(metas[0])


def test_a_weight_that_only_a_smaller_type_cannot_hold_is_refused_in_that_type(metas):
    rewrite(metas[0], **{"proj.bias": torch.full((32,), 1e5)})
    load_model(metas[0], dtype=torch.bfloat16)
    with pytest.raises(CheckpointError, match=r"proj\.bias \(torch\.float16\).*ask for float32 or bfloat16"):
        load_model(metas[0], dtype=torch.float16)


def test_large_weights_whose_sum_overflows_are_finite_all_the_same(metas):
    rewrite(metas[0], **{"proj.bias": torch.full((32,), 3e38)})
    assert load_model(metas[0]).proj.bias[0] == 3e38


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64])
def test_a_type_of_another_kind_is_named(metas, dtype):
    rewrite(metas[0], **{"proj.bias": torch.ones(32, dtype=dtype)})
    with pytest.raises(CheckpointError, match=rf"does not fit \(1\): proj\.bias is {dtype}"):
        load_model(metas[0])


@pytest.mark.parametrize("odd", [torch.ones(32).to_sparse(), torch.ones(32, device="meta")], ids=["sparse", "meta"])
def test_a_tensor_that_is_not_dense_is_refused(metas, odd):
    rewrite(metas[0], **{"proj.bias": odd})
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt.*(proj\.bias|could not be read)"):
        load_model(metas[0])


# --- Hostile and damaged files.


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare", "in the dictionary"])
def test_nothing_in_a_checkpoint_is_executed(metas, kind):
    folder, mark = metas[0], metas[0] / "exploded"
    bomb = Bomb(mark)
    if kind == "bare":
        (folder / "checkpoint.pt").write_bytes(pickle.dumps(bomb))
    else:
        content = {**metas[2], "proj.bias": bomb} if kind == "in the dictionary" else bomb
        torch.save(content, folder / "checkpoint.pt", _use_new_zipfile_serialization=kind != "legacy")
    with pytest.raises(CheckpointError, match="anything executable in it is refused"):
        load_model(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb))  # noqa: S301  the bomb is live: a plain unpickler sets it off
    assert mark.is_dir()


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_a_damaged_file_is_a_clear_error(metas, name, damage):
    folder, _, stored = metas
    if name == "model.safetensors":
        save_file(stored, folder / name)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        {"empty": b"", "text": b"version https://git-lfs", "cut": content[: len(content) // 2]}[damage]
    )
    with pytest.raises(CheckpointError, match=f"{name} could not be read as weights"):
        load_model(folder)


def places_to_cut(path, n=20):
    """Lengths below a file's: the first bytes, the last, and evenly between."""
    size = path.stat().st_size
    return sorted({0, 1, 7, 8, 9, size - 1, *(size * part // n for part in range(1, n))})


@pytest.mark.parametrize("name", ["model.safetensors", "text_encoder/model.safetensors"])
def test_safetensors_that_are_cut_anywhere_are_refused_by_name(metas, name):
    folder, _, stored = metas
    save_file(stored, folder / "model.safetensors")
    path = folder / name
    whole = path.read_bytes()
    for length in places_to_cut(path):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=rf"{name} could not be read as weights"):
            load_model(folder)
    path.write_bytes(whole)
    load_model(folder)


@pytest.mark.parametrize(
    "content", [[torch.zeros(1)], {"model": {"proj.bias": torch.zeros(1)}}, {"step": 3}, {1: torch.zeros(1)}]
)
def test_anything_but_a_dictionary_of_tensors_is_refused(metas, content):
    torch.save(content, metas[0] / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="dictionary of named tensors and nothing else"):
        load_model(metas[0])


def test_a_tensor_in_two_shards_is_refused(metas):
    for number in (1, 2):
        save_file({"proj.bias": torch.zeros(32)}, metas[0] / f"model-0000{number}-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"'proj.bias' is in model-00001.* and in model-00002"):
        load_model(metas[0])


# --- Memory.

_MEASURE = """
import sys, torch
torch.set_num_threads(1)
from transformers import AutoTokenizer, T5EncoderModel  # so that their own size is not counted
from sam_lsac.model import load_model

def status(field):
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

before = status("VmRSS")
model = load_model(sys.argv[1], dtype=None if sys.argv[2] == "float32" else torch.bfloat16)
for part in model.parameters():
    part.view(-1)[::256].sum()  # touches every page
print((status("VmHWM") - before) / model.load_report.kept_bytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(("file", "dtype"), [("checkpoint.pt", "float32"), ("model.safetensors", "bfloat16")])
def test_loading_takes_little_more_memory_than_the_weights_that_are_kept(tmp_path, file, dtype):
    sizes = {"dim": 512, "n_heads": 4, "n_layers": 16, "context_dim": 512}  # the base model, a quarter as wide
    with torch.device("meta"):
        built = SAMAudio(SAMAudioConfig.from_dict(config_dict(**sizes)))
    state = {name: torch.zeros(value.shape) for name, value in built.state_dict().items()}
    state["vision_encoder.weight"] = torch.zeros(50_000_000)  # skipped, and as large as two thirds of the rest
    assert sum(value.nbytes for value in state.values()) > 450e6
    torch.save(state, tmp_path / file) if file == "checkpoint.pt" else save_file(state, tmp_path / file)
    (tmp_path / "config.json").write_text(json.dumps(config_dict(**sizes)))
    text_encoder().save(tmp_path / "text_encoder")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _MEASURE, str(tmp_path), dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (tmp_path / file).unlink()  # pytest keeps temporary folders
    assert 0.9 < float(done.stdout) < 1.3
