"""What the report shows besides verdicts: the grid of freezes, attention maps, sounds and the noise floor."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sam_lsac.claims import load_claims
from sam_lsac.errors import InputError
from sam_lsac.metrics import Score, column, measure
from sam_lsac.runs import decoder_noise, execute, noise_floor, open_store, plan, resolve_arm
from sam_lsac.suite.cases import cases_of
from sam_lsac.suite.extras import Shown, first_of_each_tier, freezing_arms
from sam_lsac.suite.gather import compute, prepare
from sam_lsac.suite.options import HOUSE_CLAIMS, Options
from tests import tiny_models, tiny_runs
from tests.suite.rig import make_rig

BOOK = load_claims(HOUSE_CLAIMS)
GRID_STEPS = BOOK.views.freezing.steps
MAP_ARMS, MAP_STEP = BOOK.views.maps.arms, BOOK.views.maps.step
SPANS = {"spans": True, "solver": f"euler:{MAP_STEP}"}
OPEN = {"kind": "HijackGate", "value": 1.0}
GATED = {
    "baseline-spans": SPANS,
    "gate-open": SPANS | {"edits": (OPEN,)},
    "gate-open-shuffled": SPANS | {"edits": (OPEN, {"kind": "ShuffleSpans", "seed": 0})},
}


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def mixtures():
    return [*tiny_runs.mixtures(3), replace(tiny_runs.mixture(3), id="env-000", tier="env")]


@pytest.fixture(scope="module")
def shown(model, mixtures, tmp_path_factory):
    """Extras of a small plan that was computed."""
    arms = tiny_runs.arms("baseline", *GATED, **GATED)
    planned = plan(arms, mixtures, model, seeds=(0,), metrics=("si_snr",))
    book = SimpleNamespace(arms=arms, views=BOOK.views)
    making = Shown(book, model, mixtures, planned)
    with open_store(tmp_path_factory.mktemp("shown") / "runs.sqlite") as store:
        execute(planned, model, mixtures, store, keep=making.is_kept)
        yield making.extras(store, replay=False), making.extras(store, replay=True), store, planned


def test_the_grid_freezes_every_class_and_every_layer_at_every_step(model) -> None:
    arms = freezing_arms(BOOK, model)
    frozen = {name: resolve_arm(arm, model).edits[0] for name, arm in arms.items()}
    wanted = [tuple(layers) for layers in tiny_runs.CLASSES.values()] + [(layer,) for layer in range(tiny_runs.LAYERS)]
    assert sorted((edit.layers, edit.step) for edit in frozen.values()) == sorted(
        (layers, step) for layers in wanted for step in GRID_STEPS
    )
    assert frozen["freezing/fast/8"].layers == (2, 3)
    assert frozen["freezing/L03/8"].layers == (3,)


def test_a_model_without_classes_still_has_its_single_layers() -> None:
    model = tiny_runs.model()
    model.layer_classes = None
    assert len(freezing_arms(BOOK, model)) == tiny_runs.LAYERS * len(GRID_STEPS)


def test_the_first_of_each_tier(mixtures) -> None:
    assert [one.id for one in first_of_each_tier(mixtures, 2)] == ["clean-000", "clean-001", "env-000"]


def test_maps_are_attention_under_each_arm_of_the_gate(shown, model) -> None:
    extras, replayed, _, _ = shown
    maps = {one.condition: one for one in extras.maps}
    assert list(maps) == list(MAP_ARMS)  # one layer, L01: this model has no layers 6 and 9
    for one in extras.maps:
        assert (one.mixture, one.layer, one.step) == ("clean-000", 1, MAP_STEP)
        assert one.weights.shape == (16, 16)
        np.testing.assert_allclose(one.weights.sum(axis=1), 1.0, rtol=1e-5)  # head-averaged rows
        assert one.span.tolist() == [True] * 8 + [False] * 8
    assert not np.allclose(maps["before"].weights, maps["hijacked"].weights, atol=1e-5)
    assert not np.allclose(maps["hijacked"].weights, maps["shuffled"].weights, atol=1e-5)
    assert replayed.maps == ()


def test_sounds_are_those_of_the_first_mixtures_with_their_score(shown) -> None:
    extras, _, store, planned = shown
    assert [one.mixture for one in extras.players] == ["clean-000", "clean-001", "env-000"]
    for player in extras.players:
        spec = next(one for one in planned.arms["baseline"] if one.mixture == player.mixture)
        assert list(player.tracks) == ["mixture", "target", "baseline"]
        np.testing.assert_array_equal(player.tracks["baseline"], store.array(spec.key, "target"))
        score = store.get({spec.key})[spec.key].scores["si_snr"].value
        assert player.notes == {"baseline": f"SI-SNR {column('si_snr').text(score)}"}


def test_entropy_is_the_mean_over_the_mixtures_of_a_tier(shown) -> None:
    extras, _, store, planned = shown
    specs = [spec for spec in planned.arms["baseline"] if spec.tier == "clean"]
    each = [store.get({spec.key})[spec.key].probes["entropy"] for spec in specs]
    np.testing.assert_allclose(extras.entropy["clean"], np.mean(each, axis=0))
    assert set(extras.entropy) == {"clean", "env"}


def test_a_codec_without_watermark_decodes_without_noise(shown) -> None:
    (floor,) = (one for one in shown[0].noise_floor if one.metric == "si_snr")
    assert (floor.mean, floor.largest, floor.n) == (0.0, 0.0, 3)
    assert "no watermark" in floor.note


def test_watermark_messages_move_the_scores() -> None:
    model = tiny_models.model()
    length = 16 * model.audio_codec.hop_length
    mixtures = [tiny_runs.mixture(k, n_samples=length, sample_rate=model.sample_rate) for k in range(2)]
    rng = np.random.default_rng(0)
    latents = [rng.standard_normal((16, 2 * tiny_models.CHANNELS)) for _ in mixtures]
    moved = decoder_noise(model, latents, mixtures, metrics=("si_snr",))
    assert moved["si_snr"].shape == (2,)
    assert (moved["si_snr"] > 0).all()
    swapped = decoder_noise(model, latents, mixtures, metrics=("si_snr",), seeds=(1, 0))
    np.testing.assert_array_equal(swapped["si_snr"], moved["si_snr"])


@pytest.mark.parametrize("codec", ["without watermark", "with one"])
def test_known_scores_stand_for_measuring_only_where_both_decodes_are_equal(codec, monkeypatch) -> None:
    model = tiny_runs.model() if codec == "without watermark" else tiny_models.model()
    length = 16 * model.audio_codec.hop_length
    mixtures = [tiny_runs.mixture(k, n_samples=length, sample_rate=model.sample_rate) for k in range(2)]
    rng = np.random.default_rng(0)
    channels = tiny_runs.CHANNELS if codec == "without watermark" else tiny_models.CHANNELS
    latents = [rng.standard_normal((16, 2 * channels)) for _ in mixtures]
    known = [{"si_snr": Score(3.0), "sar": Score(7.0)}] * 2
    metrics = ("si_snr", "sar")
    measured = decoder_noise(model, latents, mixtures, metrics=metrics)
    calls: list[object] = []
    monkeypatch.setattr(noise_floor, "measure", lambda *given, **named: calls.append(given) or measure(*given, **named))
    found = decoder_noise(model, latents, mixtures, metrics=metrics, scores=known)
    assert {name: list(values) for name, values in found.items()} == {
        name: list(values) for name, values in measured.items()
    }
    assert len(calls) == (0 if codec == "without watermark" else 4)
    known[1] = {**known[1], "sar": Score(math.nan, "unbounded")}
    some = decoder_noise(model, latents, mixtures, metrics=metrics, scores=known)
    assert len(some["sar"]) == (1 if codec == "without watermark" else 2)
    with pytest.raises(InputError, match="1 mixtures have known scores, of 2"):
        decoder_noise(model, latents, mixtures, metrics=metrics, scores=known[:1])


@pytest.mark.parametrize(
    ("n_latents", "seeds", "words"), [(1, (0, 1), "one of each"), (2, (3, 3), "two different seeds")]
)
def test_what_the_noise_floor_refuses(model, n_latents, seeds, words) -> None:
    latents = [np.zeros((16, 2 * tiny_runs.CHANNELS))] * n_latents
    with pytest.raises(InputError, match=words):
        decoder_noise(model, latents, tiny_runs.mixtures(2), seeds=seeds)


@pytest.mark.parametrize(("claim", "with_grid"), [("SS4", False), ("SS1", True)])
def test_the_grid_is_run_where_freezing_is_judged(tmp_path, claim, with_grid) -> None:
    rig = make_rig(tmp_path / "house")
    views = replace(BOOK.views, freezing=replace(BOOK.views.freezing, per_tier=1))
    options = Options(
        claims=HOUSE_CLAIMS,
        model=str(rig.checkpoint),
        device="cpu",
        processes=1,
        executor="local",
        mixtures=str(rig.mixtures),
        follow_outside=False,
        schedules={},
        per_tier=2,
        seeds=(0,),
        store=tmp_path / "runs.sqlite",
        replay=False,
        report=tmp_path / "report",
        autosave=False,
        compare=None,
        fail_on="never",
    )
    prepared = prepare(options, cases_of(BOOK, [claim])[:1], book=replace(BOOK, views=views))
    assert not options.store.exists()  # nothing is written before anything is computed
    evidence = compute(prepared, step=lambda _: None)
    assert bool(evidence.grid) == with_grid
    arms = {row.arm for row in evidence.ledger.rows}
    gridded = {row.mixture for row in evidence.ledger.rows if row.arm == "freezing/fast/8"}
    assert gridded == ({"clean-0"} if with_grid else set())
    assert {row.tier for row in evidence.ledger.rows} == ({"clean"} if with_grid else {"clean", "noisy"})
    assert set(evidence.grid) <= arms
