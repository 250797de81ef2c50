"""CONTRIBUTING's recipe for a caching policy: its very lines, from a row of the claims file to a stored run."""

from __future__ import annotations

import re
import sys
import tomllib
import types
from pathlib import Path

import pytest
import torch

from sam_lsac.claims import parse_claims
from sam_lsac.costs import arm_cost, cache_bytes, count_flops, counted_flops
from sam_lsac.errors import CacheError, ClaimError, EditError, PlanError
from sam_lsac.interventions import attach
from sam_lsac.runs import RunSpec, arms, execute, open_store, plan, resolve_arm
from sam_lsac.solver import Euler, Midpoint
from tests import tiny_runs
from tests.standin import LAYERS, network

ROOT = Path(__file__).resolve().parents[1]
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a caching policy")[1].split("\n## ")[0]


def block(language):
    """The section's one block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, flags=re.DOTALL)
    return found


@pytest.fixture
def policy(monkeypatch, tmp_path):
    """The class, in a module of its own, registered as the section says."""
    module = types.ModuleType("hold")
    source = tmp_path / "hold.py"
    source.write_text(block("python"), encoding="utf-8")
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, "hold", module)
    exec(compile(block("python"), "CONTRIBUTING.md", "exec"), module.__dict__)  # noqa: S102  # the text under test
    (row,) = re.findall(r"`\"(\w+)\": (\w+)`", SECTION)
    monkeypatch.setattr(arms, "EDITS", {**arms.EDITS, row[0]: getattr(module, row[1])})
    return getattr(module, row[1])


@pytest.fixture
def arm(policy):
    """The arm, as the claims file's own reader reads it."""
    data = tomllib.loads((ROOT / "bench" / "claims.toml").read_text(encoding="utf-8"))
    rows = {"baseline": data["arms"]["baseline"]} | tomllib.loads(block("toml"))["arms"]
    return parse_claims({"settings": data["settings"], "arms": rows, "claims": []}).arms["hold-late"]


def test_the_policy_is_unknown_before_its_row_and_its_words_are_its_fields(policy, monkeypatch):
    row = {"kind": "HoldCrossAttention", "stop": 2}
    with pytest.raises(PlanError, match="unknown key 'stop': did you mean 'step'"):
        arms.build_edit(row)
    monkeypatch.undo()
    with pytest.raises(PlanError, match="unknown edit 'HoldCrossAttention'"):
        arms.build_edit(row)


def test_the_claims_file_refuses_it_where_it_is_not_registered():
    row = {"solver": "euler:16", "edits": [{"kind": "HoldCrossAttention", "step": 12}]}
    data = tomllib.loads((ROOT / "bench" / "claims.toml").read_text(encoding="utf-8"))
    with pytest.raises(ClaimError, match="unknown edit 'HoldCrossAttention'"):
        parse_claims(data | {"arms": data["arms"] | {"hold-late": row}})


def test_a_class_without_a_file_has_no_version_that_a_run_could_name(arm, policy, monkeypatch):
    monkeypatch.delattr(sys.modules["hold"], "__file__")
    rows = {"baseline": tiny_runs.arms()["baseline"], "hold-late": arm}
    with pytest.raises(PlanError, match=r"HoldCrossAttention has no source file.*write the class into a module"):
        plan(rows, tiny_runs.mixtures(1), tiny_runs.model(), seeds=(0,), metrics=("si_snr",))


def test_from_the_row_to_a_stored_run_and_its_cost(arm, policy, tmp_path):
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(2)
    resolved = resolve_arm(arm, model)
    assert resolved.edits == (policy(step=12, layers=(1,)),)  # the tiny model's stable layer
    rows = {"baseline": tiny_runs.arms(baseline={"solver": "euler:16"})["baseline"], "hold-late": arm}
    planned = plan(rows, mixtures, model, seeds=(0,), metrics=("si_snr",))
    with open_store(tmp_path / "runs.sqlite") as store:
        execute(planned, model, mixtures, store, keep=lambda _: True)
        found = store.get(store.keys())
        for spec in planned.arms["hold-late"]:
            assert RunSpec.from_json(spec.to_json()) == found[spec.key].spec == spec
            assert found[spec.key].hits == {"transformer.layers.1.cross_attention": 4}
        held, plain = (store.array(planned.arms[name][0].key, "latents") for name in ("hold-late", "baseline"))
        assert abs(held - plain).max() > 1e-4 * abs(plain).max()
    cost = arm_cost(arm.name, model, resolved.solver, edits=resolved.edits, seconds=0.256)
    executed = counted_flops(model, seconds=0.256, edits=resolved.edits, solver=resolved.solver, device="cpu")
    assert cost.flops_total == executed.total
    assert 0 < cost.flops_saved < 4 / 16
    assert cost.layer_steps_saved == 0


@pytest.mark.parametrize("solver", [Euler(5), Midpoint(5)], ids=lambda solver: solver.name)
@pytest.mark.parametrize("layers", [None, (0, 2)])
def test_hits_bytes_and_flops_are_those_of_a_real_solve(policy, solver, layers):
    net, edit = network("ours"), policy(step=2, layers=layers)
    with net.attached(edit, solver=solver) as run:
        edited = net.solve(solver)
    held = range(LAYERS) if layers is None else layers
    hits = 3 * solver.evaluations_per_step
    assert run.hits == {f"transformer.layers.{layer}.cross_attention": hits for layer in held}
    batch, n_frames = net.noise.shape[:2]
    assert run.outcomes[0].stored_bytes == cache_bytes(net.model, edit, n_frames=n_frames, batch=batch) > 0
    assert torch.equal(edited, held_by_hand(net, solver, held, step=2))
    executed = counted_flops(net.model, seconds=0.5, edits=[edit], solver=solver, device="cpu")
    assert executed == count_flops(net.model, seconds=0.5, edits=[edit], solver=solver)
    assert executed.cross_attention < count_flops(net.model, seconds=0.5, solver=solver).cross_attention


def held_by_hand(net, solver, layers, *, step):
    """The same solve, with a forward hook on each branch that knows nothing of edits."""
    last = step * solver.evaluations_per_step
    handles = []
    for layer in layers:
        seen = []

        def hook(module, inputs, output, seen=seen):
            seen.append(output)
            return seen[last - 1] if len(seen) > last else output

        handles.append(net.model.transformer.layers[layer].cross_attention.register_forward_hook(hook))
    try:
        return net.solve(solver)
    finally:
        for handle in handles:
            handle.remove()


def test_it_refuses_what_it_cannot_do(policy):
    net = network("ours")
    with pytest.raises(EditError, match="No step follows"), attach(net.model, [policy(step=4)], nfe=4):
        pass
    with pytest.raises(EditError, match="Layer 4 does not exist"):
        count_flops(net.model, edits=[policy(step=1, layers=(4,))], solver=Euler(4))
    with pytest.raises(CacheError, match="never reused"), attach(net.model, [policy(step=3)], nfe=4):
        net.solve(Euler(3))
