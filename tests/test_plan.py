"""Plans: which runs an arm asks for, what a run's key depends on, and edits as text."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from sam_lsac.caching import SAM_AUDIO_SMALL, CacheAttention, DeepCache
from sam_lsac.claims import Arm, load_claims
from sam_lsac.errors import PlanError
from sam_lsac.interventions import (
    FreezeSelfAttention,
    HijackGate,
    Record,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
)
from sam_lsac.runs import Plan, RunSpec, plan, resolve_arm
from sam_lsac.runs.arms import build_edit, describe_edit
from sam_lsac.runs.plan import checkpoint_digest, code_version
from tests import standin, tiny_runs

CLAIMS = Path(__file__).resolve().parents[1] / "bench" / "claims.toml"
LABELS = {"mixture", "tier", "group", "excerpt_s"}
SPEC = RunSpec(
    mixture="clean-000",
    tier="clean",
    group="dog",
    mixture_digest="a",
    excerpt_s=None,
    seed=0,
    checkpoint="b",
    solver="euler:16",
    edits=(),
    text=True,
    spans=False,
    record=(),
    metrics=("si_snr",),
    dtype="float32",
    device="cpu",
    code="c",
)
OTHER = {
    "mixture": "clean-001",
    "tier": "env",
    "group": "cat",
    "mixture_digest": "z",
    "excerpt_s": 2.0,
    "seed": 1,
    "checkpoint": "z",
    "solver": "midpoint:16",
    "edits": (describe_edit(ZeroAdditive()),),
    "text": False,
    "spans": True,
    "record": ("entropy",),
    "metrics": ("sar",),
    "dtype": "bfloat16",
    "device": "cuda",
    "code": "z",
}


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def planned(model):
    return plan(tiny_runs.book(), tiny_runs.mixtures(2), model, seeds=(0, 5), metrics=("si_snr",))


class TestKey:
    @pytest.mark.parametrize("name", [item.name for item in fields(RunSpec)])
    def test_it_depends_on_every_field_but_the_names(self, name):
        changed = replace(SPEC, **{name: OTHER[name]})
        assert (changed.key == SPEC.key) == (name in LABELS)

    def test_all_changes_give_different_keys(self):
        keys = {replace(SPEC, **{name: value}).key for name, value in OTHER.items() if name not in LABELS}
        assert len(keys) == len(OTHER) - len(LABELS)

    def test_the_order_of_edits_counts(self):
        both = tuple(describe_edit(edit) for edit in (ZeroAdditive(), ZeroCrossAttention()))
        assert replace(SPEC, edits=both).key != replace(SPEC, edits=both[::-1]).key

    def test_a_run_is_the_same_after_json(self, planned):
        for spec in planned.runs:
            again = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
            assert again == spec
            assert again.key == spec.key

    def test_json_of_something_else_is_refused(self):
        with pytest.raises(PlanError, match="make the plan anew"):
            RunSpec.from_json({**SPEC.to_json(), "more": 1})
        with pytest.raises(PlanError, match="make the plan anew"):
            RunSpec.from_json({})
        with pytest.raises(PlanError, match="to_json"):
            Plan.from_json({"runs": []})


class TestPlan:
    def test_every_arm_has_a_run_for_each_mixture_and_seed(self, planned):
        assert set(planned.arms) == set(tiny_runs.ARMS)
        for specs in planned.arms.values():
            assert {(spec.mixture, spec.seed) for spec in specs} == {
                (mixture, seed) for mixture in ("clean-000", "clean-001") for seed in (0, 5)
            }

    def test_arms_of_the_same_edits_share_their_runs(self, planned):
        assert [spec.key for spec in planned.arms["gate"]] == [spec.key for spec in planned.arms["gate-again"]]
        assert len(planned.runs) == 4 * (len(tiny_runs.ARMS) - 1)
        assert len({spec.key for spec in planned.runs}) == len(planned.runs)

    def test_runs_without_edits_come_first(self, planned):
        edited = [bool(spec.edits) for spec in planned.runs]
        assert edited == sorted(edited)

    def test_a_plan_is_the_same_after_json(self, planned):
        assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned

    def test_the_baseline_records_entropy_and_runs_with_spans_the_block_ratio(self, planned):
        recorded = {name: specs[0].record for name, specs in planned.arms.items()}
        spanned = {"spans", "gate", "gate-again", "shuffled"}
        assert recorded == {
            name: ("entropy",) if name == "baseline" else ("block_ratio",) if name in spanned else ()
            for name in tiny_runs.ARMS
        }

    def test_what_is_recorded_does_not_depend_on_the_arms_that_are_asked_for(self, model, planned):
        alone = plan(tiny_runs.book(), tiny_runs.mixtures(2), model, arms=["lsac", "baseline"], metrics=("si_snr",))
        assert {spec.key for spec in alone.runs} < {spec.key for spec in planned.runs}

    def test_seeds_come_from_the_book(self, model):
        book = tiny_runs.book()
        book.settings.seeds = (3, 4)
        made = plan(book, tiny_runs.mixtures(1), model, arms=["baseline"])
        assert [spec.seed for spec in made.arms["baseline"]] == [3, 4]

    def test_the_same_excerpt_is_the_same_run_however_it_was_cut(self, model):
        long = tiny_runs.mixture(n_samples=8192, excerpt_start_s=0.25)
        cut = plan(tiny_runs.book(), [long], model, arms=["baseline"], excerpt_s=0.5)
        given = plan(tiny_runs.book(), [long.excerpt(0.25, 0.5)], model, arms=["baseline"])
        elsewhere = plan(
            tiny_runs.book(), [replace(long, excerpt_start_s=0.125)], model, arms=["baseline"], excerpt_s=0.5
        )
        assert cut.runs[0].key == given.runs[0].key != elsewhere.runs[0].key

    def test_the_model_decides_checkpoint_type_and_device(self, model):
        made = plan(tiny_runs.book(), tiny_runs.mixtures(1), model, arms=["baseline"]).runs[0]
        assert (made.dtype, made.device) == ("float32", "cpu")
        half = plan(tiny_runs.book(), tiny_runs.mixtures(1), tiny_runs.model().to(torch.bfloat16), arms=["baseline"])
        assert half.runs[0].dtype == "bfloat16"

    @pytest.mark.parametrize(
        ("changes", "remedy"),
        [
            ({"arms": ["basline"]}, "claims file has baseline"),
            ({"seeds": ()}, "at least one seed"),
            ({"seeds": (0, 0)}, "there twice"),
            ({"seeds": (-1,)}, "such as 0"),
            ({"seeds": (True,)}, "such as 0"),
            ({"metrics": ()}, "at least one metric"),
            ({"metrics": ("snr",)}, "choose from si_snr"),
            ({"mixtures": []}, "at least one mixture"),
            ({"mixtures": [tiny_runs.mixture(0), tiny_runs.mixture(0)]}, "give each its own"),
            ({"excerpt_s": 0.0}, "positive length"),
        ],
    )
    def test_what_cannot_be_planned_is_refused_with_the_remedy(self, model, changes, remedy):
        given = {"mixtures": tiny_runs.mixtures(1), **changes}
        with pytest.raises(PlanError, match=remedy):
            plan(tiny_runs.book(), given.pop("mixtures"), model, **given)


class TestDigests:
    def test_a_checkpoint_without_digest_is_known_by_its_weights(self, model):
        assert checkpoint_digest(model) == checkpoint_digest(tiny_runs.model())
        other = tiny_runs.model()
        other.embed_anchors.gate.add_(1e-6)
        assert checkpoint_digest(other) != checkpoint_digest(model)
        other.checkpoint_digest = "known"
        assert checkpoint_digest(other) == "known"

    @pytest.mark.parametrize("part", ["model/text.py", "solver/adams.py", "interventions/edit.py", "caching/lsac.py"])
    def test_the_code_version_follows_the_numerical_modules(self, tmp_path, monkeypatch, part):
        self.check(tmp_path, monkeypatch, part, same=False)

    @pytest.mark.parametrize("part", ["separate.py", "metrics.py", "runs/compute.py"])
    def test_and_what_composes_them(self, tmp_path, monkeypatch, part):
        self.check(tmp_path, monkeypatch, part, same=False)

    @pytest.mark.parametrize("part", ["errors.py", "claims/judge.py", "runs/sqlite.py"])
    def test_and_nothing_else(self, tmp_path, monkeypatch, part):
        self.check(tmp_path, monkeypatch, part, same=True)

    def check(self, tmp_path, monkeypatch, part, *, same):
        module = sys.modules["sam_lsac.runs.plan"]
        package = Path(module.__file__).parents[1]
        copied = tmp_path / "sam_lsac"
        shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
        here = code_version()
        monkeypatch.setattr(module, "__file__", str(copied / "runs" / "plan.py"))
        assert code_version() == here
        with (copied / part).open("a") as file:
            file.write("# changed\n")
        assert (code_version() == here) == same


EDITS = [
    CacheAttention(freeze_steps={1: 4, 0: 6}),
    CacheAttention(freeze_steps={1: 4}, max_bytes=100, n_steps=16),
    DeepCache(interval=3),
    FreezeSelfAttention(layers=(3, 1), step=2),
    HijackGate(value=-0.25),
    Record(entropy=False, block_ratio=True, maps=((1, 2),), layers=(0, 1), steps=(1, 3)),
    ShuffleSpans(seed=4),
    UniformCrossAttention(layers=(2,)),
    UniformCrossAttention(),
    ZeroAdditive(),
    ZeroCrossAttention(layers=(0, 1)),
]


class TestEdits:
    @pytest.mark.parametrize("edit", EDITS, ids=lambda edit: type(edit).__name__)
    def test_an_edit_is_the_same_after_text(self, edit):
        described = describe_edit(edit)
        assert build_edit(described) == edit
        assert describe_edit(build_edit(described)) == described

    def test_equal_edits_have_equal_texts(self):
        assert describe_edit(HijackGate(value=1)) == describe_edit(HijackGate(value=1.0))
        assert describe_edit(CacheAttention(freeze_steps={0: 3, 1: 2})) == describe_edit(
            CacheAttention(freeze_steps={1: 2, 0: 3})
        )

    def test_different_edits_have_different_texts(self):
        assert len({describe_edit(edit) for edit in EDITS}) == len(EDITS)

    def test_an_edit_of_another_class_is_refused(self):
        class Mine(ZeroAdditive):
            pass

        with pytest.raises(PlanError, match="no class that a plan knows"):
            describe_edit(Mine())

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind":"Nothing"}', '{"kind":"DeepCache","every":2}'])
    def test_text_of_something_else_is_refused(self, text):
        with pytest.raises(PlanError):
            build_edit(text)


class TestArms:
    def resolve(self, model, **row):
        return resolve_arm(Arm(**{"name": "arm", "solver": "euler:16", **row}), model)

    def test_levels_become_freeze_steps_of_the_models_classes_and_the_arms_steps(self, model):
        arm = self.resolve(model, edits=({"kind": "LSAC", "level": "balanced"},))
        assert arm.edits == (CacheAttention(freeze_steps={1: 4, 0: 12}, n_steps=16),)
        short = self.resolve(model, solver="ab2:8", edits=({"kind": "LSAC", "level": "aggressive"},))
        assert short.edits == (CacheAttention(freeze_steps={1: 1, 0: 4}, n_steps=8),)

    @pytest.mark.parametrize(("word", "layers"), [("stable", (1,)), ("moderate", (0,)), ("fast", (2, 3))])
    def test_words_become_layers(self, model, word, layers):
        arm = self.resolve(model, edits=({"kind": "FreezeSelfAttention", "layers": word, "step": 4},))
        assert arm.edits == (FreezeSelfAttention(layers=layers, step=4),)

    def test_quantities_become_what_is_recorded(self, model):
        arm = self.resolve(model, edits=({"kind": "Record", "quantities": ["block_ratio"]},))
        assert arm.edits == (Record(entropy=False, block_ratio=True),)

    @pytest.mark.parametrize(
        "row",
        [
            {"solver": "rk4:16"},
            {"solver": "euler:0"},
            {"edits": ({"kind": "Nothing"},)},
            {"edits": ({"kind": "FreezeSelfAttention", "layers": "slow", "step": 4},)},
            {"edits": ({"kind": "FreezeSelfAttention", "layers": (4,), "step": 4},)},
            {"edits": ({"kind": "DeepCache", "interval": 0},)},
            {"edits": ({"kind": "Record", "quantities": ["maps"]},)},
            {"solver": "euler:1", "edits": ({"kind": "LSAC", "level": "safe"},)},
        ],
    )
    def test_an_arm_that_does_not_fit_is_refused_by_name(self, model, row):
        with pytest.raises(PlanError, match="The arm 'arm' does not fit this model"):
            self.resolve(model, **row)

    def test_a_model_without_layer_classes_is_told_to_calibrate(self):
        bare = tiny_runs.model()
        bare.layer_classes = None
        with pytest.raises(PlanError, match="calibrate"):
            self.resolve(bare, edits=({"kind": "LSAC", "level": "safe"},))

    def test_every_arm_of_the_claims_file_resolves(self):
        network = standin.StandIn()
        network.transformer.layers = torch.nn.ModuleList(network.transformer.layers[0] for _ in range(12))
        network.layer_classes = SAM_AUDIO_SMALL.as_dict()
        for arm in load_claims(CLAIMS).arms.values():
            resolved = resolve_arm(arm, network)
            assert [build_edit(describe_edit(edit)) for edit in resolved.edits] == list(resolved.edits)
