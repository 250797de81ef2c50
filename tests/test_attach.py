"""`attach`: bit-exact undo, one attachment a model, one solve an attachment, order of edits, copies and threads."""

import copy
import pickle
import threading
from dataclasses import dataclass

import pytest
import torch

from sam_lsac.caching import CacheAttention
from sam_lsac.errors import EditError
from sam_lsac.interventions import (
    FreezeSelfAttention,
    HijackGate,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
    attach,
    first_acting_step,
)
from sam_lsac.interventions.edit import Edit
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.solver import AB2, Euler, Midpoint
from tests.standin import BUILDERS, LAYERS, assert_near, network

SOLVER = Euler(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placebo(Edit):
    """Goes through the motions everywhere and changes nothing."""

    def sites(self, model):
        parts = [layer_sites(model, part) for part in (None, "attention", "cross_attention", "feed_forward")]
        paths = ("memory_proj", "embed_anchors", "embed_anchors.proj", "transformer")
        return (*sum(parts, ()), *(Site(path=path) for path in paths))

    def apply(self, call, state):
        return call.proceed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine(Edit):
    """Output times ``scale`` plus ``shift``, so that order shows."""

    scale: float = 1.0
    shift: float = 0.0
    log: tuple = ()

    def sites(self, model):
        return (Site(path="memory_proj"),)

    def apply(self, call, state):
        return call.proceed() * self.scale + self.shift


@pytest.fixture(params=BUILDERS)
def net(request):
    return network(request.param)


def forwards(model):
    return [name for name, module in model.named_modules() if "forward" in module.__dict__]


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def solve_twice(net):
    net.solve(SOLVER)
    net.solve(SOLVER)


def assert_untouched(net, before, plain):
    assert forwards(net.model) == []
    after = net.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert torch.equal(net.solve(SOLVER), plain)


@pytest.mark.parametrize("solver", [Euler(3), Midpoint(3), AB2(3)])
def test_a_placebo_is_bit_equal(net, solver):
    plain = net.solve(solver)
    with attach(net.model, [Placebo(), Placebo()], nfe=solver.nfe) as run:
        edited = net.solve(solver)
    assert torch.equal(edited, plain)
    assert run.evaluations == solver.nfe
    assert run.fired == [solver.nfe * (4 * LAYERS + 4)] * 2


def test_undo_is_bit_equal(net):
    before, plain = snapshot(net.model), net.solve(SOLVER)
    edits = [ZeroAdditive(), UniformCrossAttention(), HijackGate(), FreezeSelfAttention(layers=(1,), step=2)]
    with attach(net.model, edits, nfe=4):
        assert "transformer" in forwards(net.model)
        assert not torch.equal(net.solve(SOLVER), plain)
    assert_untouched(net, before, plain)


def test_undo_is_bit_equal_after_an_exception_in_the_block(net):
    before, plain = snapshot(net.model), net.solve(SOLVER)
    with pytest.raises(ZeroDivisionError), attach(net.model, [ZeroCrossAttention(), Placebo()], nfe=4):
        raise ZeroDivisionError(net.velocity(0.0, net.noise).shape)
    assert_untouched(net, before, plain)


def test_undo_is_bit_equal_after_an_exception_in_the_network(net):
    before, plain = snapshot(net.model), net.solve(SOLVER)
    with pytest.raises(RuntimeError), attach(net.model, [Placebo()], nfe=4):
        net.velocity(0.0, net.noise[:, :, :1])
    assert_untouched(net, before, plain)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (ZeroCrossAttention(layers=(LAYERS,)), f"layers 0 to {LAYERS - 1}"),
        (FreezeSelfAttention(layers=(0,), step=4), "step 3 at the latest"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_before_anything_is_touched(net, edit, message):
    with pytest.raises(EditError, match=message), attach(net.model, [Placebo(), edit], nfe=4):
        pytest.fail("the block was entered")
    assert forwards(net.model) == []


def test_a_model_of_another_structure_is_refused():
    with pytest.raises(EditError, match="no module 'transformer'"), attach(torch.nn.Linear(2, 2), [], nfe=4):
        pass


def test_what_is_not_an_edit_is_refused(net):
    from sam_lsac.caching import LSAC

    with pytest.raises(EditError, match=r"call its \.edit\(\)"), attach(net.model, [LSAC(stable={1: 2})], nfe=4):
        pass
    with pytest.raises(EditError, match="is not an edit"), attach(net.model, ["zero"], nfe=4):
        pass


def test_a_second_attachment_is_refused_and_leaves_the_first_at_work(net):
    plain = net.solve(SOLVER)
    with attach(net.model, [ZeroAdditive()], nfe=8) as first:
        edited = net.solve(SOLVER)
        with pytest.raises(EditError, match="attached already"), attach(net.model, [Placebo()], nfe=4):
            pass
        assert torch.equal(net.solve(SOLVER), edited)
    assert first.evaluations == 8
    assert torch.equal(net.solve(SOLVER), plain)


def test_a_forward_that_another_library_set_is_refused_and_kept(net):
    module = net.model.transformer.layers[1].attention
    theirs = module.forward
    module.forward = theirs
    with pytest.raises(EditError, match="another library"), attach(net.model, [Placebo()], nfe=4):
        pass
    assert forwards(net.model) == ["transformer.layers.1.attention"]


def test_a_forward_that_is_set_inside_the_block_is_reported_and_kept(net):
    with pytest.raises(EditError, match="replaced while edits were attached"), attach(net.model, [Placebo()], nfe=4):
        net.model.memory_proj.forward = lambda x: x
    assert forwards(net.model) == ["memory_proj"]


def test_a_second_solve_in_one_attachment_is_refused_with_the_remedy(net):
    with (
        pytest.raises(EditError, match=r"Evaluation 5 of a solve of nfe = 4.*open a new one for the next solve"),
        attach(net.model, [Placebo()], nfe=4),
    ):
        solve_twice(net)
    assert forwards(net.model) == []


def test_a_solver_with_more_evaluations_than_declared_is_refused(net):
    with pytest.raises(EditError, match="midpoint takes two"), attach(net.model, [], nfe=4):
        net.solve(Midpoint(4))


def test_one_attachment_a_solve_gives_the_same_result_again(net):
    results = []
    for _ in range(2):
        with attach(net.model, [FreezeSelfAttention(layers=(0, 2), step=2)], nfe=4):
            results.append(net.solve(SOLVER))
    assert torch.equal(*results)


def test_an_edit_that_never_fired_is_an_error(net):
    net.conditions["text_features"], net.conditions["text_mask"] = None, None
    with (
        pytest.raises(EditError, match=r"ZeroAdditive\(\) never fired in 4 evaluations"),
        attach(net.model, [Placebo(), ZeroAdditive()], nfe=4),
    ):
        net.solve(SOLVER)
    assert forwards(net.model) == []


def test_a_block_without_a_solve_is_an_error(net):
    with pytest.raises(EditError, match="never fired in 0 evaluations"), attach(net.model, [Placebo()], nfe=4):
        pass


def test_later_edits_are_around_earlier_ones(net):
    with attach(net.model, [Affine(scale=2.0), Affine(shift=1.0)], nfe=1):
        doubled_first = net.model.memory_proj(net.conditions["text_features"])
    with attach(net.model, [Affine(shift=1.0), Affine(scale=2.0)], nfe=1):
        shifted_first = net.model.memory_proj(net.conditions["text_features"])
    plain = net.model.memory_proj(net.conditions["text_features"])
    torch.testing.assert_close(doubled_first, plain * 2 + 1)
    torch.testing.assert_close(shifted_first, (plain + 1) * 2)


def test_an_edit_hidden_behind_a_later_one_never_fires(net):
    with (
        pytest.raises(EditError, match=r"UniformCrossAttention.* never fired"),
        attach(net.model, [UniformCrossAttention(), ZeroCrossAttention()], nfe=4),
    ):
        net.solve(SOLVER)


def test_edits_of_one_site_compose_in_either_order(net):
    results = []
    for edits in ([HijackGate(value=0.3), ShuffleSpans(seed=1)], [ShuffleSpans(seed=1), HijackGate(value=0.3)]):
        with attach(net.model, edits, nfe=4):
            results.append(net.solve(SOLVER))
    assert torch.equal(*results)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
def test_a_part_of_the_model_cannot_be_copied_inside(net, duplicate):
    with attach(net.model, [], nfe=4), pytest.raises(EditError, match="copy it outside"):
        duplicate(net.model.transformer)


def test_a_shallow_copy_shares_the_edits_and_is_refused_after(net):
    with attach(net.model, [Placebo()], nfe=4):
        shallow = copy.copy(net.model.transformer)
        net.solve(SOLVER)
    net.model.transformer = shallow
    with pytest.raises(EditError, match="copy the model outside"):
        net.solve(SOLVER)


def test_the_model_cannot_be_deepcopied_inside_and_can_after(net):
    plain = net.solve(SOLVER)
    with attach(net.model, [ZeroAdditive()], nfe=4):
        with pytest.raises(EditError, match="copy it outside"):
            copy.deepcopy(net.model)
        net.solve(SOLVER)
    net.model = copy.deepcopy(net.model)
    assert torch.equal(net.solve(SOLVER), plain)


def in_thread(work):
    """Run in another thread; return what it raised."""
    raised = []

    def guarded():
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    return raised


def test_another_thread_cannot_evaluate_inside(net):
    with attach(net.model, [Placebo()], nfe=4) as run:
        (error,) = in_thread(lambda: net.solve(SOLVER))
        assert run.evaluations == 0
        net.solve(SOLVER)
    assert isinstance(error, EditError)
    assert "in the thread that runs the solve" in str(error)


def test_of_two_threads_one_gets_the_model():
    net = network("ours")
    start, outcomes = threading.Barrier(2), []

    def compete():
        start.wait()
        try:
            with attach(net.model, [Placebo()], nfe=4):
                outcomes.append("in")
                hold.wait(timeout=10)
                net.solve(SOLVER)
        except EditError:
            outcomes.append("refused")
            hold.set()

    for _ in range(5):
        hold = threading.Event()
        threads = [threading.Thread(target=compete) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["in"] * 5 + ["refused"] * 5
    assert forwards(net.model) == []


def test_two_models_are_edited_side_by_side():
    one, other = network("ours"), network("meta-like")
    plain = one.solve(SOLVER)
    with attach(one.model, [Placebo()], nfe=4), attach(other.model, [ZeroAdditive()], nfe=4):
        assert torch.equal(one.solve(SOLVER), plain)
        other.solve(SOLVER)


@pytest.mark.parametrize(("nfe", "evaluations_per_step"), [(0, 1), (3, 2), (4, 0), (-4, 1)])
def test_counts_that_make_no_steps_are_refused(net, nfe, evaluations_per_step):
    with (
        pytest.raises(EditError, match="no whole number of steps"),
        attach(net.model, [], nfe=nfe, evaluations_per_step=evaluations_per_step),
    ):
        pass


@pytest.mark.parametrize("solver", [Euler(6), Midpoint(6), AB2(6)])
def test_a_run_may_start_from_the_plain_state_before_its_first_acting_step(net, solver):
    edits = [FreezeSelfAttention(layers=(1,), step=4), CacheAttention(freeze_steps={0: 3, 2: 5})]
    first = first_acting_step(edits)
    assert first == 3
    states = {}
    net.solve(solver, on_step=states.__setitem__)
    counts = {"nfe": solver.nfe, "evaluations_per_step": solver.evaluations_per_step}
    with attach(net.model, edits, **counts) as whole:
        edited = net.solve(solver)
    net.noise = states[first - 1]
    with attach(net.model, edits, **counts, first_step=first) as shared:
        assert torch.equal(net.solve(solver), edited)
    assert shared.hits == whole.hits
    assert shared.evaluations == whole.evaluations - (first - 1) * solver.evaluations_per_step


def test_a_start_after_the_first_acting_step_is_refused(net):
    with (
        pytest.raises(EditError, match="must be present from step 3"),
        attach(net.model, [CacheAttention(freeze_steps={0: 3})], nfe=6, first_step=4),
    ):
        pass
    with pytest.raises(EditError, match="must be present from step 1"), attach(net.model, [], nfe=6, first_step=0):
        pass


@pytest.mark.parametrize("method", ["euler", "midpoint"])
def test_separate_of_metas_class_is_edited(method):
    net = network("meta-like")
    solver = {"euler": Euler(6), "midpoint": Midpoint(6)}[method]
    ode_opt = {"method": method, "options": {"step_size": 1 / 6}}
    edit = FreezeSelfAttention(layers=(0, 3), step=2)
    counts = {"nfe": solver.nfe, "evaluations_per_step": solver.evaluations_per_step}
    plain = net.model.separate(net.conditions, net.noise, ode_opt)
    with attach(net.model, [edit], **counts) as run:
        theirs = net.model.separate(net.conditions, net.noise, ode_opt)
    with attach(net.model, [edit], **counts):
        ours = net.solve(solver)
    assert run.hits == {f"transformer.layers.{layer}.attention": 4 * solver.evaluations_per_step for layer in (0, 3)}
    assert not torch.equal(theirs, plain)
    assert_near(theirs, ours)
    assert torch.equal(net.model.separate(net.conditions, net.noise, ode_opt), plain)
