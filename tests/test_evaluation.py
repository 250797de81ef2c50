"""Judging a checkpoint as a separator: what is counted, and on which recordings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fixtures.training import evaluate as evaluation
from fixtures.training.evaluate import evaluate
from sam_lsac.interventions import ShuffleSpans
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.model import SAMAudio, load_model


@pytest.fixture(scope="module")
def mixtures() -> list[Mixture]:
    """Two cached mixtures: the first is active throughout, the second falls silent."""
    loud, paused = load_mixtures(tiers=["clean"], per_tier=2, sample_rate=8000, duration_s=2.0)
    return [
        replace(loud, spans=(("+", 0.0, loud.duration_s),)),
        replace(paused, spans=(("+", 0.0, 1.0),)),
    ]


@pytest.fixture(scope="module")
def model() -> SAMAudio:
    return load_model("embedded")


@pytest.fixture
def separated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Answers in place of a solve: the sources and, with wrong spans, the mixture; and who was asked for."""
    asked = []

    def answer(model, chunk, *, seed, prompts, spans=False, edits=()) -> np.ndarray:
        asked.append((spans, *edits, *prompts))
        waves = []
        for one, prompt in zip(chunk, prompts, strict=True):
            clean = one.target if prompt == one.prompt else one.residual
            noise = np.random.default_rng(0).standard_normal(clean.size).astype(np.float32)
            level = {(False, 0): 0.01, (True, 0): 0.001, (True, 1): 0.1}[spans, len(edits)]
            waves.append(clean + level * noise)
        return np.stack(waves)

    monkeypatch.setattr(evaluation, "_separate", answer)
    return asked


def test_spans_are_judged_where_the_target_falls_silent(mixtures, separated) -> None:
    found = evaluate(None, mixtures)
    prompt = mixtures[1].prompt
    assert (True, prompt) in separated
    assert (True, ShuffleSpans(seed=0), prompt) in separated
    assert found["n"] == 2
    # of one mixture there is no test
    assert "with_spans_db" not in found
    more = evaluate(None, [*mixtures, replace(mixtures[1], id="again")])
    assert more["with_spans_db"]["n"] == 2
    assert more["with_spans_db"]["mean"] == pytest.approx(20.0, abs=0.5)
    assert more["with_wrong_spans_db"]["mean"] == pytest.approx(-20.0, abs=0.5)
    assert more["wrong_for_true_spans_db"]["mean"] == pytest.approx(-40.0, abs=0.5)


def test_improvement_and_obedience_are_of_the_waves(mixtures, separated) -> None:
    found = evaluate(None, mixtures)
    before = [10 * math.log10(np.sum(one.target**2) / np.sum(one.residual**2)) for one in mixtures]
    after = [10 * math.log10(np.mean(one.target**2) / 0.01**2) for one in mixtures]
    expected = np.mean(after) - np.mean(before)
    assert found["si_snr_improvement_db"]["estimate"] == pytest.approx(expected, abs=0.3)
    assert found["obedience"] == 1.0
    disobedient = [replace(one, residual_prompt=one.prompt) for one in mixtures]
    assert evaluate(None, disobedient)["obedience"] == 0.0


def test_improvement_is_split_by_who_is_asked_for(mixtures, separated) -> None:
    of = {"a": mixtures[0], "b": mixtures[1]}
    together = [replace(of[name], id=f"{name}{index}", group=name) for index, name in enumerate("abaab")]
    found = evaluate(None, together)["improvement_db_by_group"]
    alone = {name: evaluate(None, [of[name]] * 2)["si_snr_improvement_db"] for name in of}
    assert {name: row["n"] for name, row in found.items()} == {"a": 3, "b": 2}
    for name, row in found.items():
        assert row["mean"] == pytest.approx(alone[name]["estimate"])
        assert row["median"] == pytest.approx(alone[name]["median"])
    assert abs(found["a"]["mean"] - found["b"]["mean"]) > 0.05


def test_one_mixture_a_tier_is_refused(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        evaluation.main(["--mixtures-per-tier", "1", "--out", str(tmp_path / "out.json")])
    assert "must be 2 or more" in capsys.readouterr().err


def test_a_real_solve_is_judged(model, mixtures) -> None:
    found = evaluate(model, mixtures)
    assert found["n"] == 2
    assert math.isfinite(found["si_snr_improvement_db"]["estimate"])
    assert found["stoi"]["n"] == found["pesq"]["n"] == 2
