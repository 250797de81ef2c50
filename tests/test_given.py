"""What `separate` is given: forms that mean the same give the same bits, and all others are refused in words."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sam_lsac.errors import EditError, InputError, SamLsacError
from sam_lsac.interventions import ZeroAdditive, attach
from sam_lsac.mixtures import Mixture
from sam_lsac.separate import draw_noise, request_digest, separate
from sam_lsac.solver import AB2, Euler
from sam_lsac.windows import separate_windows, windows_of
from tests import tiny_runs

WAVE = np.random.default_rng(0).normal(0.0, 0.1, 4000)


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def noise(model):
    with torch.inference_mode():
        shape = model.conditions(torch.from_numpy(WAVE).float()[None], ["dog"]).audio_features.shape[1:]
    return draw_noise(tuple(shape), 0, mixture=request_digest(WAVE, sample_rate=tiny_runs.RATE, prompt="dog"))


def target(model, **given):
    values = {"wave": WAVE, "sample_rate": tiny_runs.RATE, "prompt": "dog", "solver": Euler(2)}
    return separate(model, **(values | given)).target


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"seed": np.int64(5)}, {"seed": 5}),
        ({"seed": np.uint8(5)}, {"seed": 5}),
        ({"solver": "ab2:3"}, {"solver": AB2(3)}),
        ({"solver": None}, {"solver": Euler(16)}),
        ({"edits": None}, {}),
        ({"edits": iter([ZeroAdditive()])}, {"edits": [ZeroAdditive()]}),
        ({"edits": (ZeroAdditive(),)}, {"edits": [ZeroAdditive()]}),
        ({"wave": WAVE.tolist()}, {}),
        ({"wave": torch.from_numpy(WAVE).bfloat16()}, {"wave": torch.from_numpy(WAVE).bfloat16().double().numpy()}),
        ({"spans": [("+", np.float64(0.1), 0.25)]}, {"spans": [("+", 0.1, 0.25)]}),
    ],
    ids=lambda given: ", ".join(given) or "nothing",
)
def test_forms_that_mean_the_same_give_the_same(model, given, same):
    found, wanted = target(model, **given), target(model, **same)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_noise_of_any_floating_type_is_computed_with_in_32_bits(model, noise, dtype):
    given = noise.to(dtype)
    np.testing.assert_array_equal(target(model, noise=given), target(model, noise=given.float()))


def test_noise_may_come_from_numpy(model, noise):
    wanted = target(model, noise=noise)
    for given in (noise.numpy(), noise.numpy().astype(np.float64)):
        np.testing.assert_array_equal(target(model, noise=given), wanted)
    np.testing.assert_array_equal(target(model, seed=0), wanted)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"seed": 5.0}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"seed": "5"}, "whole number"),
        ({"seed": 2**63}, "whole number"),
        ({"solver": 16}, r"give one such as Euler\(16\)"),
        ({"solver": Euler}, r"give one such as Euler\(16\)"),
        ({"solver": "rk4:3"}, "write a method and its steps"),
        ({"edits": ZeroAdditive()}, "give a list of edits"),
        ({"edits": [5]}, "give a list of edits"),
        ({"edits": "x"}, "give a list of edits"),
        ({"prompt": "dog\udc80"}, "names nothing"),
        ({"prompt": "dog\0"}, "names nothing"),
        ({"prompt": 5}, "names nothing"),
        ({"spans": 5}, "is no list"),
        ({"spans": [5]}, "correct it or leave it out"),
        ({"wave": [[1.0], [1.0, 2.0]]}, "cannot be read as an array"),
        ({"wave": torch.from_numpy(WAVE).to_sparse()}, "cannot be read as an array"),
        ({"wave": WAVE * 1e300}, "far too loud"),
        ({"noise": [[0.0]]}, "as draw_noise does"),
        ({"noise": np.zeros((2, 2), dtype=int)}, "as draw_noise does"),
        ({"noise": torch.zeros(2, 2, dtype=torch.complex64)}, "as draw_noise does"),
        ({"noise": np.zeros((2, 2))}, "must be"),
    ],
)
def test_what_means_nothing_is_refused_in_words(model, given, match):
    with pytest.raises(SamLsacError, match=match):
        target(model, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"group": 5},
        {"group": "\ud800"},
        {"credits": (5,)},
        {"credits": "abc"},
        {"prompt": 5},
        {"prompt": "\ud800"},
        {"residual_prompt": "\0"},
        {"spans": 5},
        {"spans": (5,)},
        {"spans": (("+", 0.0),)},
        {"sample_rate": 8000.5},
        {"target": [0.0]},
    ],
    ids=str,
)
def test_a_mixture_of_other_things_than_it_says_is_refused(given):
    with pytest.raises(InputError, match="clean-000"):
        tiny_runs.mixture(**given)
    assert isinstance(tiny_runs.mixture(), Mixture)


class TestWindows:
    @pytest.mark.parametrize("value_s", [float("nan"), float("inf"), -1.0, 0.0])
    @pytest.mark.parametrize("name", ["window_s", "overlap_s"])
    def test_a_length_that_is_none_is_refused(self, model, name, value_s):
        given = {"window_s": 30.0, "overlap_s": 3.0} | {name: value_s}
        with pytest.raises(InputError, match=f"{name} = .*give seconds above 0"):
            windows_of(model, n_samples=4000, sample_rate=tiny_runs.RATE, **given)

    def test_edits_of_an_iterator_act_in_every_window(self, model):
        wave = np.random.default_rng(0).normal(0.0, 0.1, 8000)

        def joined(edits):
            options = {
                "sample_rate": tiny_runs.RATE,
                "prompt": "dog",
                "window_s": 0.4,
                "overlap_s": 0.1,
                "solver": "euler:2",
            }
            parts = separate_windows(model, [wave], n_samples=wave.size, edits=edits, **options)
            return np.concatenate([part.target for part in parts])

        np.testing.assert_array_equal(joined(iter([ZeroAdditive()])), joined([ZeroAdditive()]))


class TestThreads:
    def test_on_one_model_each_is_right_or_refused_with_the_remedy(self, model):
        wanted = [target(model, seed=seed) for seed in range(4)]
        wrong, refused = [], []

        def solve(seed):
            for _ in range(10):
                try:
                    if not np.array_equal(target(model, seed=seed), wanted[seed]):
                        wrong.append(seed)
                except SamLsacError as error:
                    refused.append(str(error))

        threads = [threading.Thread(target=solve, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert all("a model for each thread, or hold a lock" in words for words in refused)
        assert "forward" not in model.transformer.__dict__

    def test_a_model_in_the_middle_of_another_thread_is_refused(self, model):
        errors = []

        def solve():
            try:
                target(model)
            except EditError as error:
                errors.append(str(error))

        with attach(model, None, nfe=2):
            thread = threading.Thread(target=solve)
            thread.start()
            thread.join()
            with pytest.raises(EditError, match=r"never|already"), attach(model, [], nfe=2):
                pass
        assert len(errors) == 1
        assert "hold a lock around each separate" in errors[0]

    def test_a_model_a_thread_works(self):
        models = [tiny_runs.model() for _ in range(3)]
        wanted, found = target(models[0]), {}
        threads = [
            threading.Thread(target=lambda one=one, index=index: found.update({index: target(one)}))
            for index, one in enumerate(models)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(found[index], wanted) for index in range(3))
