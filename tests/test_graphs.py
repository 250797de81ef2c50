"""Evaluations as CUDA graphs: what is read, what is written, and that the bits are those of eager evaluations."""

from contextlib import nullcontext

import pytest
import torch
from tiny_models import INPUTS, conditions, model

from sam_lsac.errors import EditError, ModelError
from sam_lsac.interventions import ZeroCrossAttention
from sam_lsac.model import graphs
from sam_lsac.model.graphs import CapturedVelocity, captured
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.separate import solve_batch
from sam_lsac.solver import AB2, Euler, Midpoint

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Graph:
    """Behaves as a CUDA graph: work is recorded once; a launch reads the same tensors, and writes one buffer."""

    def __init__(self):
        self.n_recorded = self.n_launched = 0

    def captured(self, work):
        self.n_recorded += 1
        buffer = work()

        def launch():
            self.n_launched += 1
            return buffer.copy_(work())

        return launch


@pytest.fixture
def graph(monkeypatch):
    found = Graph()
    monkeypatch.setattr(graphs, "captured", found.captured)
    return found


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("solver", [Euler(5), Midpoint(3), AB2(4)], ids=lambda solver: solver.name)
def test_a_solve_by_graphs_is_the_eager_solve(graph, solver, inputs):
    built, (given, state) = model(), conditions(**INPUTS[inputs])
    with torch.inference_mode():
        eager = solver.solve(PreparedVelocity(built, given), state)
        found = solver.solve(CapturedVelocity(PreparedVelocity(built, given)), state)
    assert torch.equal(found, eager)
    assert (graph.n_recorded, graph.n_launched) == (1, solver.nfe - 1)


def test_a_result_that_is_kept_is_not_written_over_and_the_state_given_is_left_alone(graph):
    built, (given, state) = model(), conditions()
    with torch.inference_mode():
        velocity = CapturedVelocity(PreparedVelocity(built, given))
        before = state.clone()
        kept = [velocity(time, state) for time in (0.0, 0.25, 0.5)]
        eager = [PreparedVelocity(built, given)(time, state) for time in (0.0, 0.25, 0.5)]
    assert torch.equal(state, before)
    assert all(torch.equal(a, b) for a, b in zip(kept, eager, strict=True))
    assert not torch.equal(kept[1], kept[2])


def test_without_a_cuda_device_the_error_names_the_remedy(monkeypatch):
    built, (given, state) = model(), conditions()
    with pytest.raises(ModelError, match="the model is on cpu; leave them out, or move it"):
        solve_batch(built, given, state, solver=Euler(2), cuda_graph=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="need a CUDA device"):
        captured(lambda: state)


def test_what_ends_the_work_ends_the_recording_and_is_what_is_raised(monkeypatch):
    """Out of memory, say, for which a batch is halved; the recording that it broke has an error of its own."""
    ended = []

    class Broken:
        capture_begin = staticmethod(lambda: None)

        def capture_end(self):
            ended.append(1)
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Broken)

    def work():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        captured(work)
    assert ended == [1]


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inputs", INPUTS)
def test_on_a_gpu_graphs_give_the_bits_of_eager_evaluations(inputs, dtype):
    built = model().cuda().to(dtype)
    given, state = conditions(**INPUTS[inputs])
    given = type(given)(**{k: None if v is None else v.cuda() for k, v in given.as_kwargs().items()})
    for solver in (Euler(5), Midpoint(3)):
        eager = solve_batch(built, given, state.cuda(), solver=solver)
        assert torch.equal(solve_batch(built, given, state.cuda(), solver=solver, cuda_graph=True), eager)


@pytest.mark.gpu
@gpu
def test_on_a_gpu_edits_and_graphs_exclude_each_other():
    built = model().cuda()
    given, state = conditions()
    given = type(given)(**{k: None if v is None else v.cuda() for k, v in given.as_kwargs().items()})
    with pytest.raises(EditError, match="leave one out"):
        solve_batch(built, given, state.cuda(), solver=Euler(2), edits=[ZeroCrossAttention()], cuda_graph=True)
