"""Networks built without values: nothing is drawn, computed or imported, and a load gives what building gives."""

from __future__ import annotations

import pytest
import torch
from test_import import imported
from tiny_models import model
from torch import nn

from sam_lsac.bundled import bundled
from sam_lsac.model import SAMAudio, load_model, save_checkpoint
from sam_lsac.model.blank import blank
from sam_lsac.model.config import DACVAEConfig, SAMAudioConfig
from sam_lsac.model.json_files import read_json

SLOW = ("torch._dynamo", "sympy", "transformers")
EMBEDDED = SAMAudioConfig.from_dict(read_json(bundled("checkpoint") / "config.json"))


def buffers_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """What no checkpoint holds."""
    return {name: value for name, value in module.named_buffers() if name not in module.state_dict()}


BUILD = """
from sam_lsac.bundled import bundled
from sam_lsac.model import SAMAudio
from sam_lsac.model.blank import blank
from sam_lsac.model.config import DACVAEConfig, SAMAudioConfig
from sam_lsac.model.json_files import read_json
with blank():
    SAMAudio(SAMAudioConfig.from_dict(read_json(bundled("checkpoint") / "config.json")))
    SAMAudio(SAMAudioConfig(audio_codec=DACVAEConfig()))
"""


def test_building_imports_neither_the_compiler_nor_the_algebra():
    assert imported(BUILD, SLOW) == []
    assert imported(BUILD.replace("with blank()", "import torch\nwith torch.device('meta')"), SLOW) != []


@pytest.mark.parametrize("config", [EMBEDDED, SAMAudioConfig(audio_codec=DACVAEConfig())], ids=["mdct", "dacvae"])
def test_names_shapes_and_types_are_those_of_a_network_with_values(config):
    small = config if config is EMBEDDED else model().config
    with blank():
        empty = SAMAudio(small)
    whole = SAMAudio(small)
    for of in (nn.Module.named_parameters, nn.Module.named_buffers):
        there = {name: (value.shape, value.dtype) for name, value in of(empty)}
        assert there == {name: (value.shape, value.dtype) for name, value in of(whole)}
        assert all(value.is_meta for _, value in of(empty))


def test_a_load_computes_the_buffers_that_building_computes(tmp_path):
    save_checkpoint(model(), tmp_path / "tiny")
    for loaded in (load_model("embedded"), load_model(tmp_path / "tiny")):
        built = buffers_of(SAMAudio(loaded.config))
        found = buffers_of(loaded)
        assert set(built) <= set(found)
        assert {"transformer.rope_embeddings.cos", "transformer.t_embedder.freqs", "timestep_emb.inv_freq"} <= set(
            built
        )
        for name, value in built.items():
            assert torch.equal(found[name], value), name


def test_outside_of_the_block_modules_are_drawn_as_ever():
    with blank():
        nn.Embedding(3, 4)
    torch.manual_seed(0)
    drawn = nn.Embedding(3, 4).weight
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.randn(3, 4))


def test_the_tables_of_scales_and_shifts_have_the_variance_of_their_width():
    torch.manual_seed(0)
    table = SAMAudio(EMBEDDED).transformer.final_layer_scale_shift_table
    assert table.shape == (2, EMBEDDED.transformer.dim)
    assert float(table.detach().std() * EMBEDDED.transformer.dim**0.5) == pytest.approx(1.0, abs=0.1)
