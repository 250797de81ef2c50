"""The examples do what they say, run as a user runs them: each in a process of its own, from the repository's root."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sam_lsac.metrics import si_snr
from sam_lsac.mixtures import load_mixtures
from sam_lsac.runs import open_store
from sam_lsac.solver import Euler
from tests.processes import run_python
from tests.standin import CHANNELS, assert_near, attention_by_hand, network
from tests.suite.rig import PER_TIER, cases_of, make_rig

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
RATE = 16000
SECONDS = 1.0


def run(*arguments, path=(), fresh=False):
    """Run Python on the arguments from the root, in a new interpreter or a fork; its standard output."""
    inherited = ("PYTEST_", "GITHUB_", "COLUMNS", "CI")
    env = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
    env |= {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *path))), "OMP_NUM_THREADS": "1"}
    command = list(map(str, arguments))
    if fresh:
        command = [sys.executable, *command]
        finished = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    else:
        finished = run_python(command, cwd=ROOT, env=env)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def mixture():
    """A cached mixture."""
    return load_mixtures("embedded", tiers=["clean"], per_tier=1, sample_rate=RATE)[0]


@pytest.fixture
def recording(mixture, tmp_path):
    """The beginning of its sum, as a file."""
    path = tmp_path / "in.wav"
    wave = (mixture.target + mixture.residual)[: int(SECONDS * RATE)]
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    return path


def test_every_example_is_tried_here():
    assert {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"} == {
        "separate_a_file.py",
        "attach_to_metas_class.py",
        "judge_a_claim",
        "slurm",  # in tests/cluster
    }


@pytest.mark.slow
def test_separate_a_file(mixture, recording, tmp_path):
    out = run(EXAMPLES / "separate_a_file.py", recording, mixture.prompt, tmp_path / "out")
    full, cached, nearness = out.splitlines()
    said = [re.fullmatch(rf"{name} +([\d.]+) GFLOPs, +([\d.]+)% saved, [\d.]+ s", line)
            for name, line in (("full", full), ("cached", cached))]  # fmt: skip
    (flops, saved), (flops_cached, saved_cached) = (tuple(map(float, one.groups())) for one in said)
    assert saved == 0.0
    assert saved_cached == pytest.approx(100 * (1 - flops_cached / flops), abs=0.2)
    assert 1.0 < saved_cached < 10.0
    targets = []
    for name in ("full", "cached"):
        assert {path.name for path in (tmp_path / "out" / name).iterdir()} == {"in.target.wav", "in.residual.wav"}
        wave, rate = soundfile.read(tmp_path / "out" / name / "in.target.wav")
        assert (wave.size, rate) == (SECONDS * RATE, RATE)
        targets.append(wave)
    distance = float(re.fullmatch(r"cached against full: ([\d.]+) dB", nearness).group(1))
    assert distance == pytest.approx(si_snr(targets[1], targets[0]).value, abs=0.06)
    assert distance > 10.0


META = '''\
"""Stands in for Meta's package: how its class is called, on the tiny network of the tests; at exit it tells all."""

import atexit
from types import SimpleNamespace

import soundfile
import torch

from tests.standin import BUILDERS, CHANNELS, StandIn, network

seen = {"names": []}


class SAMAudio(StandIn):
    @classmethod
    def from_pretrained(cls, name):
        BUILDERS["stand-in"] = cls
        net = network("stand-in")
        model = net.model
        seen["names"].append(name)
        seen["state before"] = {key: one.clone() for key, one in model.state_dict().items()}
        model.noise = net.noise
        atexit.register(model.tell, net.conditions)
        return model

    def separate(self, batch, *, ode_opt):
        latents = super().separate(batch["conditions"], self.noise, ode_opt)
        seen["edited"], seen["options"] = latents.clone(), ode_opt
        return SimpleNamespace(
            target=[one[:, :CHANNELS].reshape(-1) for one in latents],
            residual=[one[:, CHANNELS:].reshape(-1) for one in latents],
        )

    def tell(self, conditions):
        seen["plain"] = super().separate(conditions, self.noise, seen["options"]).clone()
        seen["state after"] = dict(self.state_dict())
        seen["replaced"] = [name for name, module in self.named_modules() if "forward" in vars(module)]
        torch.save(seen, __file__ + ".seen")


class SAMAudioProcessor:
    audio_sampling_rate = 8000

    @classmethod
    def from_pretrained(cls, name):
        seen["names"].append(name)
        return cls()

    def __call__(self, *, audios, descriptions):
        seen["samples"], seen["descriptions"] = [soundfile.info(one).frames for one in audios], list(descriptions)
        return {"conditions": network("stand-in").conditions}
'''


@pytest.mark.slow
def test_attach_to_metas_class(recording, tmp_path):
    package = tmp_path / "site" / "sam_audio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(META, encoding="utf-8")
    script, out = EXAMPLES / "attach_to_metas_class.py", tmp_path / "out"
    given = ["man speaking", out, "--stable", "1,3"]
    said = run(script, recording, *given, path=[package.parent], fresh=True)  # the stand-in tells all at exit
    assert said == "reused 24 attention matrices in 16 evaluations\n"  # two layers, from step 4 of 16 on
    seen = torch.load(package / "__init__.py.seen")
    assert seen["names"] == ["facebook/sam-audio-small"] * 2
    assert (seen["samples"], seen["descriptions"]) == ([SECONDS * RATE], ["man speaking"])

    net, solver = network("meta-like"), Euler(16)
    with attention_by_hand(solver, freeze_steps={1: 4, 3: 4}):
        frozen = net.solve(solver)
    with attention_by_hand(solver):
        plain = net.solve(solver)
    assert_near(seen["edited"], frozen)
    assert_near(seen["plain"], plain)
    assert (frozen - plain).abs().max() > 1e-3 * plain.abs().max()  # far above what is near

    assert seen["replaced"] == []
    assert seen["state after"].keys() == seen["state before"].keys()
    assert all(torch.equal(one, seen["state before"][name]) for name, one in seen["state after"].items())

    for name, latents in (("target", frozen[0, :, :CHANNELS]), ("residual", frozen[0, :, CHANNELS:])):
        wave, rate = soundfile.read(out / f"in.{name}.wav")
        assert rate == 8000
        assert np.allclose(wave, np.clip(latents.flatten().numpy(), -1.0, 1.0), atol=1e-3)


@pytest.mark.slow
def test_judge_a_claim(tmp_path):
    rig = make_rig(tmp_path / "rig")
    mine, store = EXAMPLES / "judge_a_claim", tmp_path / "runs.sqlite"
    before = sorted(path for path in mine.rglob("*") if "__pycache__" not in path.parts)
    line = re.search(r"^# +(python -m pytest .*)$", (mine / "claims.toml").read_text(encoding="utf-8"), re.MULTILINE)
    command = line.group(1).replace("--mixtures-per-tier 4", f"--mixtures-per-tier {PER_TIER}").split()[1:]
    here = ["--model", rig.checkpoint, "--mixtures", rig.mixtures, "--store", store, "--report", tmp_path / "report"]
    out = run(*command, *here, "--junitxml", tmp_path / "junit.xml", "-p", "no:cacheprovider")
    assert before == sorted(path for path in mine.rglob("*") if "__pycache__" not in path.parts)

    (row,) = rig.report_data(tmp_path / "report")["claims"]
    verdict = row["verdict"]
    assert verdict["status"] in ("supported", "inconclusive")  # 0 is the exit code
    cases = cases_of(tmp_path / "junit.xml")
    assert set(cases) == {"test_our_cache[MY1-clean]", "test_our_cache[MY1-noisy]"}
    for tier, status in verdict["tiers"].items():
        skipped = cases[f"test_our_cache[MY1-{tier}]"].find("skipped") is not None
        assert skipped == (status == "inconclusive")

    with open_store(store, replay=True) as runs:
        results = runs.get(runs.keys()).values()
    scores = {}
    for one in results:
        kind = "cached" if one.spec.edits else "shorter" if one.spec.solver == "euler:12" else "baseline"
        scores.setdefault((one.spec.tier, kind), {})[one.spec.mixture] = one.scores["si_snr"].value
    for tier in ("clean", "noisy"):
        for arm in ("cached", "shorter"):
            (finding,) = [one for one in verdict["findings"]
                          if (one["tier"], one["arm"], one["quantity"]) == (tier, arm, "deviation")]  # fmt: skip
            base, own = scores[tier, "baseline"], scores[tier, arm]
            assert len(base) == PER_TIER
            deviation = np.mean([abs(own[name] - base[name]) for name in base])
            assert deviation > 0
            assert finding["estimate"] == pytest.approx(deviation)
    table = " ".join(out.split())
    assert "MY1 LSAC-Safe deviates" in table
    assert "claims" in out
