"""Plans: which runs an arm asks for, what a run's key depends on, and edits as text."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch

import sam_lsac
from sam_lsac.caching import SAM_AUDIO_SMALL, CacheAttention, DeepCache, LSACLevel
from sam_lsac.caching.peers.cache_dit import DBCache
from sam_lsac.caching.peers.thresholds import TeaCache
from sam_lsac.claims import load_claims
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
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.runs import Arm, RunSpec, check_arm, plan, resolve_arm
from sam_lsac.runs.arms import EDITS, build_edit, describe_edit, schedule_of
from sam_lsac.runs.versions import NUMERICAL, code_version, edit_version
from tests import standin, test_peers, tiny_runs

CLAIMS = Path(__file__).resolve().parents[1] / "bench" / "claims.toml"
LABELS = {"mixture", "tier", "group", "residual_group"}
SPEC = RunSpec(
    mixture="clean-000",
    tier="clean",
    group="dog",
    residual_group="rain",
    mixture_digest="a",
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
    "residual_group": "wind",
    "mixture_digest": "z",
    "seed": 1,
    "checkpoint": "z",
    "solver": "midpoint:16",
    "edits": (ZeroAdditive(),),
    "text": False,
    "spans": True,
    "record": ("entropy",),
    "metrics": ("sar",),
    "dtype": "bfloat16",
    "device": "cuda",
    "code": "z",
    "references": (("baseline", "z"),),
    "versions": (("library", "2"),),
}


PACKAGE = Path(sam_lsac.__file__).parent
#: What computing a run imports and no run depends on.
DECIDES_NOTHING = {
    "bundled.py": "finds the data of the library; their content is in the key",
    "__init__.py": "names",
    "errors.py": "sentences",
    "records.py": "checks rows; what it reads from them stands in the key itself",
    "runs/__init__.py": "names",
    "runs/plan.py": "makes the key, in which all that it decides stands",
    "runs/references.py": "makes the plan, in which all that it decides stands",
    "runs/versions.py": "makes part of the key",
    "runs/store.py": "keeps results as they are",
}


def files_of(path):
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported_by(*parts):
    """Files of the package that these import, directly or not, with the packages that they lie in."""
    found, left = set(), list(parts)
    while left:
        part = left.pop()
        if part in found:
            continue
        found.add(part)
        left += [str(parent / "__init__.py") for parent in Path(part).parents if str(parent) != "."]
        left += ["__init__.py"]
        if part in ("__init__.py", "runs/__init__.py"):
            continue  # they import the whole library for its names
        for node in ast.walk(ast.parse((PACKAGE / part).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sam_lsac"):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("sam_lsac")]
            else:
                continue
            for name in names:
                below = "/".join(name.split(".")[1:])
                left += [one for one in (f"{below}.py", f"{below}/__init__.py") if (PACKAGE / one).is_file()]
    return found


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def planned(model):
    return plan(tiny_runs.arms(), tiny_runs.mixtures(2), model, seeds=(0, 5), metrics=("si_snr",))


def one_run(model, mixture, *, solver="euler:4"):
    """The baseline's run on a mixture."""
    arms = {"baseline": Arm(name="baseline", solver=solver)}
    return plan(arms, [mixture], model, seeds=(0,)).runs[0]


class TestKey:
    @pytest.mark.parametrize("name", [item.name for item in fields(RunSpec)])
    def test_it_depends_on_every_field_but_the_names(self, name):
        changed = replace(SPEC, **{name: OTHER[name]})
        assert (changed.key == SPEC.key) == (name in LABELS)

    def test_all_changes_give_different_keys(self):
        keys = {replace(SPEC, **{name: value}).key for name, value in OTHER.items() if name not in LABELS}
        assert len(keys) == len(OTHER) - len(LABELS)

    def test_the_order_of_edits_counts(self):
        both = (ZeroAdditive(), ZeroCrossAttention())
        assert replace(SPEC, edits=both).key != replace(SPEC, edits=both[::-1]).key

    def test_a_run_is_the_same_after_json(self, planned):
        for spec in planned.runs:
            again = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
            assert again == spec
            assert again.key == spec.key

    def test_solver_steps_alone_make_another_run(self, model):
        mixture = tiny_runs.mixture(0)
        keys = [
            one_run(model, mixture, solver=solver).key for solver in ("euler:4", "euler:3", "midpoint:4", "euler:4")
        ]
        assert len(set(keys)) == 3
        assert keys[0] == keys[3]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"more": 1}, "unknown key 'more'"),
            ({"seed": "0"}, "seed: must be a valid integer"),
            ({"seed": True}, "seed: must be a valid integer"),
            ({"text": 1}, "text: must be a valid boolean"),
            ({"edits": None}, "must be a valid array"),
            ({"edits": ["ZeroAdditive"]}, "must be an object"),
            ({"edits": [{"kind": "Nothing"}]}, "unknown edit 'Nothing'"),
            ({"edits": [{"kind": "LSAC", "level": "safe"}]}, "no edit until it is known for which model"),
        ],
    )
    def test_json_of_something_else_is_refused(self, change, words):
        with pytest.raises(PlanError, match=words):
            RunSpec.from_json({**SPEC.to_json(), **change})
        whole = SPEC.to_json()
        del whole["solver"]
        with pytest.raises(PlanError, match="solver is missing: make the plan anew"):
            RunSpec.from_json(whole)


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

    def test_the_baseline_records_entropy_and_runs_with_spans_the_block_ratio(self, planned):
        recorded = {name: specs[0].record for name, specs in planned.arms.items()}
        spanned = {"spans", "gate", "gate-again", "shuffled"}
        assert recorded == {
            name: ("entropy",) if name == "baseline" else ("block_ratio",) if name in spanned else ()
            for name in tiny_runs.ARMS
        }

    def test_what_is_recorded_does_not_depend_on_the_arms_that_are_asked_for(self, model, planned):
        few = tiny_runs.arms("lsac", "baseline")
        alone = plan(few, tiny_runs.mixtures(2), model, seeds=(0,), metrics=("si_snr",))
        assert {spec.key for spec in alone.runs} < {spec.key for spec in planned.runs}

    def test_the_same_excerpt_is_the_same_run_however_it_was_cut(self, model):
        long = tiny_runs.mixture(n_samples=8192, excerpt_start_s=0.25)
        cut = one_run(model, long.excerpt(duration_s=0.5))
        given = one_run(model, long.excerpt(0.25, 0.5))
        elsewhere = one_run(model, replace(long, excerpt_start_s=0.125).excerpt(duration_s=0.5))
        assert cut.key == given.key != elsewhere.key

    def test_the_model_decides_checkpoint_type_and_device(self, model):
        made = one_run(model, tiny_runs.mixture())
        assert (made.dtype, made.device) == ("float32", "cpu")
        assert one_run(tiny_runs.model().to(torch.bfloat16), tiny_runs.mixture()).dtype == "bfloat16"

    @pytest.mark.parametrize(
        ("changes", "remedy"),
        [
            ({"arms": {}}, "at least one arm"),
            ({"seeds": ()}, "at least one seed"),
            ({"seeds": (0, 0)}, "there twice"),
            ({"seeds": (-1,)}, "such as 0"),
            ({"seeds": (True,)}, "such as 0"),
            ({"metrics": ()}, "at least one metric"),
            ({"metrics": ("snr",)}, "did you mean 'si_snr'"),
            ({"mixtures": []}, "at least one mixture"),
            ({"mixtures": [tiny_runs.mixture(0), tiny_runs.mixture(0)]}, "give each its own"),
        ],
    )
    def test_what_cannot_be_planned_is_refused_with_the_remedy(self, model, changes, remedy):
        given = {"arms": tiny_runs.arms(), "mixtures": tiny_runs.mixtures(1), "seeds": (0,), **changes}
        with pytest.raises(PlanError, match=remedy):
            plan(given.pop("arms"), given.pop("mixtures"), model, **given)


class TestDigests:
    def test_a_checkpoint_without_digest_is_known_by_its_weights(self, model):
        assert checkpoint_digest(model) == checkpoint_digest(tiny_runs.model())
        other = tiny_runs.model()
        other.embed_anchors.gate.add_(1e-6)
        assert checkpoint_digest(other) != checkpoint_digest(model)
        other.checkpoint_digest = "known"
        assert checkpoint_digest(other) == "known"

    @pytest.mark.parametrize("part", ["model/text.py", "solver/adams.py", "interventions/edit.py"])
    def test_the_code_version_follows_the_numerical_modules(self, tmp_path, monkeypatch, part):
        self.check(tmp_path, monkeypatch, part, same=False)

    @pytest.mark.parametrize(
        "part",
        ["separate.py", "metrics/snr.py", "runs/compute.py", "runs/chunk.py", "runs/arms.py", "mixtures/audio.py"],
    )
    def test_and_what_composes_them(self, tmp_path, monkeypatch, part):
        self.check(tmp_path, monkeypatch, part, same=False)

    @pytest.mark.parametrize(
        "part", ["errors.py", "claims/judge.py", "runs/sqlite.py", "runs/execute.py", "caching/lsac.py"]
    )
    def test_and_nothing_else(self, tmp_path, monkeypatch, part):
        self.check(tmp_path, monkeypatch, part, same=True)

    def test_all_that_computing_imports_is_in_it_but_for_what_decides_nothing(self):
        listed = {file.relative_to(PACKAGE).as_posix() for part in NUMERICAL for file in files_of(PACKAGE / part)}
        imported = imported_by("runs/chunk.py") - listed
        caches = {part for part in imported if part.startswith("caching/")}  # each is in the key of its own runs
        assert imported - caches == set(DECIDES_NOTHING)
        assert listed & set(DECIDES_NOTHING) == set()
        assert all((PACKAGE / part).exists() for part in NUMERICAL)

    @pytest.mark.parametrize(
        ("edit", "module", "same"),
        [
            (CacheAttention(freeze_steps={1: 4}), "lsac", False),
            (CacheAttention(freeze_steps={1: 4}), "baselines", True),
            (CacheAttention(freeze_steps={1: 4}), "layers", False),  # which its module imports
            (DeepCache(interval=2), "baselines", False),
            (DeepCache(interval=2), "layers", True),
            (TeaCache(), "peers.thresholds", False),
            (DBCache(), "peers.facade", False),
        ],
    )
    def test_a_cache_is_in_the_key_of_the_runs_that_use_it(self, tmp_path, monkeypatch, edit, module, same):
        before = edit_version(edit)
        changed = tmp_path / f"{module}.py"
        original = sys.modules[f"sam_lsac.caching.{module}"]
        changed.write_text(Path(original.__file__).read_text(encoding="utf-8") + "CHANGED = 1\n", encoding="utf-8")
        monkeypatch.setattr(original, "__file__", str(changed))
        assert (edit_version(edit) == before) == same

    def check(self, tmp_path, monkeypatch, part, *, same, change=None):
        module = sys.modules["sam_lsac.runs.versions"]
        package = Path(module.__file__).parents[1]
        copied = tmp_path / "sam_lsac"
        shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
        here = code_version()
        monkeypatch.setattr(module, "__file__", str(copied / "runs" / "versions.py"))
        assert code_version() == here
        if change is None:
            with (copied / part).open("a") as file:
                file.write("CHANGED = 1\n")
        else:
            change(copied / part)
        assert (code_version() == here) == same

    @pytest.mark.parametrize(
        ("before", "after", "same"),
        [
            ("of full scale; the metrics' own threshold", "another comment", True),
            ('"""Return noise as a tensor', '"""Another sentence, and a tensor', True),
            ("SILENCE_RMS = 1e-8", "SILENCE_RMS = 1e-7", False),
            ("SHORTEST_S = 0.1", "SHORTEST_S   =   0.1", True),
            ("SHORTEST_S = 0.1", '"""What a constant is."""\nSHORTEST_S = 0.1', True),
            ("LOWEST_RATE_HZ = 1000", "LOWEST_RATE_HZ = 1000.0", False),
            ("0 <= seed < 2**63", "0 <= seed <= 2**63", False),
        ],
    )
    def test_of_a_module_its_sentences_do_not_count_and_all_else_does(self, tmp_path, monkeypatch, before, after, same):
        def edit(path):
            text = path.read_text(encoding="utf-8")
            assert before in text
            path.write_text(text.replace(before, after, 1), encoding="utf-8")

        self.check(tmp_path, monkeypatch, "request.py", same=same, change=edit)


SEVERAL = [
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
    *test_peers.CACHES.values(),
]


class TestEdits:
    @pytest.mark.parametrize("edit", SEVERAL, ids=lambda edit: type(edit).__name__)
    def test_an_edit_is_the_same_after_text(self, edit):
        row = json.loads(json.dumps(describe_edit(edit)))
        assert build_edit(row) == edit
        assert describe_edit(build_edit(row)) == row

    def test_equal_edits_have_equal_texts(self):
        assert describe_edit(HijackGate(value=1)) == describe_edit(HijackGate(value=1.0))
        assert describe_edit(CacheAttention(freeze_steps={0: 3, 1: 2})) == describe_edit(
            CacheAttention(freeze_steps={1: 2, 0: 3})
        )

    def test_different_edits_have_different_texts(self):
        assert len({json.dumps(describe_edit(edit), sort_keys=True) for edit in SEVERAL}) == len(SEVERAL)

    def test_every_edit_that_an_arm_may_name_is_among_them(self):
        assert {type(edit) for edit in SEVERAL} | {LSACLevel} == set(EDITS.values())

    def test_an_edit_of_another_class_is_refused(self):
        class Mine(ZeroAdditive):
            pass

        with pytest.raises(PlanError, match="no class that a plan knows"):
            describe_edit(Mine())

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({}, "unknown edit None"),
            ({"kind": "Nothing"}, "unknown edit 'Nothing'"),
            ({"kind": ["DeepCache"]}, "unknown edit"),
            ({"kind": "DeepCache", "intervall": 2}, "unknown key 'intervall': did you mean 'interval'"),
            ({"kind": "DeepCache", "interval": "2"}, "interval: must be a valid integer"),
            ({"kind": "FreezeSelfAttention", "layer": [1], "step": 2}, "unknown key 'layer': did you mean 'layers'"),
            ({"kind": "FreezeSelfAttention", "layers": "stable", "step": 2}, "layers: must be a valid array"),
        ],
    )
    def test_a_row_of_something_else_is_refused(self, row, words):
        with pytest.raises(PlanError, match=words):
            build_edit(row)


class TestVersions:
    @pytest.fixture
    def borrowing(self, monkeypatch):
        """An edit that calls a library, registered."""

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Borrowing(ZeroAdditive):
            def versions(self):
                return {"library": installed["library"]}

        installed = {"library": "1.0"}
        monkeypatch.setattr(sys.modules["sam_lsac.runs.arms"], "EDITS", EDITS | {"Borrowing": Borrowing})
        return installed

    def planned(self, model, *kinds):
        arm = Arm(name="arm", solver="euler:4", edits=tuple({"kind": kind} for kind in kinds))
        return plan({"arm": arm}, [tiny_runs.mixture()], model, seeds=(0,)).runs[-1]

    def test_the_version_that_an_edit_names_is_part_of_the_key(self, model, borrowing):
        first = self.planned(model, "Borrowing")
        assert ("library", "1.0") in first.versions
        assert self.planned(model, "Borrowing").key == first.key
        borrowing["library"] = "1.1"
        assert self.planned(model, "Borrowing").key != first.key
        assert RunSpec.from_json(json.loads(json.dumps(first.to_json()))).key == first.key  # a stored run stays itself

    def test_the_source_of_a_cache_is_part_of_the_key(self, model):
        for edits in (({"kind": "DeepCache", "interval": 2},), ({"kind": "LSAC", "level": "balanced"},)):
            arm = Arm(name="arm", solver="euler:4", edits=edits)
            spec = plan({"arm": arm}, [tiny_runs.mixture()], model, seeds=(0,)).runs[-1]
            (edit,) = spec.edits
            assert spec.versions == ((f"source of {type(edit).__name__}", edit_version(edit)),)
            assert replace(spec, versions=()).key != spec.key

    def test_edits_of_the_common_code_name_none(self, model):
        assert self.planned(model, "ZeroAdditive", "ZeroCrossAttention").versions == ()


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

    @pytest.mark.parametrize(
        "row",
        [
            {"solver": "rk4:16"},
            {"solver": "euler:0"},
            {"edits": ({"kind": "Nothing"},)},
            {"edits": ({"kind": "FreezeSelfAttention", "layers": "slow", "step": 4},)},
            {"edits": ({"kind": "FreezeSelfAttention", "layers": (4,), "step": 4},)},
            {"edits": ({"kind": "DeepCache", "interval": 0},)},
            {"edits": ({"kind": "Record", "layers": [0, 4]},)},
            {"edits": ({"kind": "Record", "maps": [[4, 1]]},)},
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
            check_arm(arm)
            if schedule_of(arm) is not None:  # each checkpoint has its own
                with pytest.raises(PlanError, match="leaves its solver to the schedule"):
                    resolve_arm(arm, network)
                continue
            resolved = resolve_arm(arm, network)
            assert [build_edit(describe_edit(edit)) for edit in resolved.edits] == list(resolved.edits)

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"solver": "dopri5:16"}, "dopri5"),
            ({"edits": ({"kind": "DeepCach"},)}, "unknown edit 'DeepCach': did you mean 'DeepCache'"),
            ({"edits": ({"step": 4},)}, "unknown edit None"),
            ({"edits": ({"kind": "LSAC", "level": "balancd"},)}, "unknown level 'balancd': did you mean 'balanced'"),
            ({"edits": ({"kind": "LSAC"},)}, "level is missing"),
            ({"edits": ({"kind": "ZeroCrossAttention", "layer": [1]},)}, "did you mean 'layers'"),
            (
                {"edits": ({"kind": "FreezeSelfAttention", "layers": "slow", "step": 4},)},
                "unknown class of layers 'slow'",
            ),
            ({"edits": ({"kind": "FreezeSelfAttention", "layers": "fast", "step": 0},)}, "whole numbers from 1"),
            ({"edits": ({"kind": "DeepCache", "interval": True},)}, "interval: must be a valid integer"),
            ({"edits": ({"kind": "Record", "quantities": ["entropy"]},)}, "unknown key 'quantities'"),
        ],
    )
    def test_an_arm_is_checked_without_a_model(self, row, words):
        with pytest.raises(PlanError, match=rf"\[arms\.arm\].*{words}"):
            check_arm(Arm(**{"name": "arm", "solver": "euler:16", **row}))
