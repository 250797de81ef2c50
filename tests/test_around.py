"""`Edit.around`: libraries that replace forwards for a model's life, composed with edits, taken out without trace."""

import weakref
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions import CacheReport, ZeroCrossAttention, attach
from sam_lsac.interventions.edit import Edit
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.solver import Euler, Midpoint
from tests.standin import BUILDERS, LAYERS, network

SOLVER = Euler(4)
LAYER_PATHS = [f"transformer.layers.{layer}" for layer in range(LAYERS)]


class Library:
    """Somebody else's cache: every other call of a layer returns what the one before returned; cleans up badly."""

    def __init__(self, model, rubbish=()):
        self.model, self.rubbish = model, rubbish

    def enable(self):
        for layer in self.model.transformer.layers:
            layer.forward = self._cached(layer, layer.forward)
        self.model.transformer.forward = self.model.transformer.forward
        for leave_behind in self.rubbish:
            leave_behind(self.model.transformer.layers[1])

    @staticmethod
    def _cached(layer, original):
        kept = []

        def forward(*args, **kwargs):
            if kept:
                return kept.pop()
            kept.append(original(*args, **kwargs))
            return kept[0]

        return forward


class Shim(torch.nn.Module):
    """Stands in for a layer; a library's cache is on it, so that the layer runs only where the cache does not hit."""

    def __init__(self, block):
        super().__init__()
        self.block = block
        self.kept = None

    def forward(self, **kwargs):
        if self.kept is None:
            self.kept = self.block(**kwargs)
            return self.kept
        kept, self.kept = self.kept, None
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Edit):
    """Brings the library in, and undoes of it no more than the library does."""

    rubbish: tuple = ()
    fails: str = ""

    def sites(self, model):
        return layer_sites(model)

    @contextmanager
    def around(self, model, clock, state):
        Library(model, self.rubbish).enable()
        if self.fails == "entering":
            raise ZeroDivisionError
        yield
        if self.fails == "leaving":
            raise ZeroDivisionError

    def apply(self, call, state):
        return call.proceed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Edit):
    """A cache on shims; what really ran is counted at the layers."""

    hit: bool = True

    def sites(self, model):
        return (Site(path="transformer"), *layer_sites(model))

    def begin(self, clock):
        return {}

    @contextmanager
    def around(self, model, clock, state):
        layers = list(model.transformer.layers)
        for index, block in enumerate(layers if self.hit else ()):
            model.transformer.layers[index] = Shim(block)
        yield
        for index, block in enumerate(layers):
            model.transformer.layers[index] = block

    def apply(self, call, state):
        state[call.site.path] = state.get(call.site.path, 0) + 1
        return call.proceed()

    def finish(self, state):
        evaluations = state.pop("transformer")
        hits = {path: evaluations - ran for path, ran in state.items() if ran < evaluations}
        if not hits:
            raise CacheError("nothing was reused")
        return CacheReport(hits=hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged(Edit):
    """Notes when its `around` is entered and left, and which forwards there are then."""

    name: str
    log: list

    def sites(self, model):
        return (Site(path="transformer"),)

    @contextmanager
    def around(self, model, clock, state):
        self.log.append(("in", self.name, forwards(model)))
        try:
            yield
        finally:
            self.log.append(("out", self.name, forwards(model)))

    def apply(self, call, state):
        return call.proceed()


def forwards(model):
    return [name for name, module in model.named_modules() if "forward" in module.__dict__]


def portrait(model):
    """All that there is to a model: its tree, every instance's attributes and tables, and every bit of its tensors."""
    tree = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for attribute, value in module.__dict__.items():
            plain = [(key, id(item)) for key, item in value.items()] if isinstance(value, dict) else id(value)
            tree[name, attribute] = plain
        tree[name, "__class__"] = id(type(module)), id(module)
    return tree, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_portrait(model, before):
    (tree, values), (now, now_values) = before, portrait(model)
    assert now == tree
    assert values.keys() == now_values.keys()
    assert all(torch.equal(now_values[name], tensor) for name, tensor in values.items())


@pytest.fixture(params=BUILDERS)
def net(request):
    return network(request.param)


@pytest.fixture(autouse=True)
def left_as_it_was(net):
    before, plain = portrait(net.model), net.solve(SOLVER)
    yield
    assert_same_portrait(net.model, before)
    assert torch.equal(net.solve(SOLVER), plain)


def test_a_library_is_swept_out(net):
    plain = net.solve(SOLVER)
    with attach(net.model, [Foreign()], nfe=4) as run:
        cached = net.solve(SOLVER)
        assert set(LAYER_PATHS) < set(forwards(net.model))
    assert not torch.equal(cached, plain)
    assert run.evaluations == 4
    assert run.fired == [4 * LAYERS]


def test_evaluations_are_counted_by_the_outermost_wrapper(net):
    solver = Midpoint(3)
    with attach(net.model, [Foreign()], nfe=6, evaluations_per_step=2) as run:
        net.solve(solver)
    assert run.evaluations == 6


def test_wrappers_go_around_the_forward_of_a_library_and_put_it_back(net):
    seen = {}

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Watched(Foreign):
        @contextmanager
        def around(self, model, clock, state):
            layer = model.transformer.layers[0]
            with Foreign.around(self, model, clock, state):
                theirs = layer.forward
                yield
                seen["theirs"], seen["after"] = theirs, layer.__dict__["forward"]

    with attach(net.model, [Watched()], nfe=4):
        seen["inside"] = net.model.transformer.layers[0].forward
        net.solve(SOLVER)
    assert seen["after"] is seen["theirs"]
    assert seen["inside"] is not seen["theirs"]


def test_arounds_are_entered_in_order_before_any_site_is_wrapped_and_left_in_reverse(net):
    log = []
    with attach(net.model, [Logged(name="a", log=log), Logged(name="b", log=log)], nfe=4):
        log.append("solve")
        net.solve(SOLVER)
    assert log == [("in", "a", []), ("in", "b", []), "solve", ("out", "b", []), ("out", "a", [])]


def test_an_edit_acts_on_what_a_library_lets_run(net):
    with attach(net.model, [Counted(), ZeroCrossAttention()], nfe=4) as run:
        net.solve(SOLVER)
    assert run.hits == dict.fromkeys(LAYER_PATHS, 2)
    assert run.fired == [4 + 2 * LAYERS, 2 * LAYERS]


def test_a_library_that_never_reuses_is_an_error(net):
    with pytest.raises(CacheError, match="nothing was reused"), attach(net.model, [Counted(hit=False)], nfe=4):
        net.solve(SOLVER)


def test_an_edit_with_a_library_that_never_fired_is_an_error(net):
    with pytest.raises(EditError, match="never fired in 0 evaluations"), attach(net.model, [Foreign()], nfe=4):
        pass


@pytest.mark.parametrize("fails", ["entering", "leaving"])
def test_a_library_that_fails_is_swept_out(net, fails):
    with pytest.raises(ZeroDivisionError), attach(net.model, [Foreign(), Foreign(fails=fails)], nfe=4):
        assert fails == "leaving"
        net.solve(SOLVER)


def test_a_solve_that_fails_inside_a_library_leaves_no_trace(net):
    with pytest.raises(RuntimeError), attach(net.model, [Foreign(), Counted()], nfe=4):
        net.velocity(0.0, net.noise[:, :, :1])


def test_a_block_that_is_interrupted_leaves_no_trace_and_the_interrupt_goes_on(net):
    with pytest.raises(KeyboardInterrupt) as caught, attach(net.model, [Foreign(rubbish=(set_attribute,))], nfe=4):
        raise KeyboardInterrupt
    assert any("new attribute '_cache'" in note for note in caught.value.__notes__)


def set_attribute(layer):
    layer._cache = 1


def add_hook(layer):
    layer.register_forward_pre_hook(lambda module, args: None)


def add_module(layer):
    layer.attention.shim = torch.nn.Identity()


def swap_module(layer):
    layer.attention = Shim(layer.attention)


def change_class(layer):
    layer.__class__ = type("Patched", (type(layer),), {})


def drop_attribute(layer):
    del layer.training


@pytest.mark.parametrize(
    ("rubbish", "message"),
    [
        (set_attribute, r"transformer\.layers\.1 has a new attribute '_cache'"),
        (add_hook, r"transformer\.layers\.1 has other entries in '_forward_pre_hooks'"),
        (add_module, r"transformer\.layers\.1\.attention has other entries in '_modules'"),
        (swap_module, r"transformer\.layers\.1 has other entries in '_modules'"),
        (change_class, r"transformer\.layers\.1 is of the class Patched"),
        (drop_attribute, r"transformer\.layers\.1 has another 'training'"),
    ],
)
def test_what_a_library_leaves_beside_forwards_is_named_and_put_back(net, rubbish, message):
    with (
        pytest.raises(EditError, match=message),
        attach(net.model, [Foreign(rubbish=(rubbish,))], nfe=4),
    ):
        net.model.transformer.t_block  # noqa: B018  the block itself does nothing


def test_a_weak_reference_that_a_solve_set_is_nobodys_trace(net):
    held = Shim(torch.nn.Identity())
    layer = net.model.transformer.layers[1]
    layer.__dict__["_weak"] = None
    with attach(net.model, [Foreign()], nfe=4):
        layer.__dict__["_weak"] = weakref.ref(held)
        net.solve(SOLVER)
    assert layer.__dict__.pop("_weak")() is held


def test_a_library_that_writes_into_weights_is_named(net):
    weight = next(net.model.transformer.layers[1].parameters())
    kept = weight.detach().clone()

    def scale(layer):
        with torch.no_grad():
            weight.mul_(2)

    with pytest.raises(EditError, match="has other values"), attach(net.model, [Foreign(rubbish=(scale,))], nfe=4):
        pass
    with torch.no_grad():
        weight.copy_(kept)


def test_a_forward_that_was_there_before_is_refused_before_a_library_is_brought_in(net):
    module = net.model.transformer.layers[1]
    module.forward = theirs = module.forward
    with pytest.raises(EditError, match="another library"), attach(net.model, [Foreign()], nfe=4):
        pytest.fail("the block was entered")
    assert forwards(net.model) == [LAYER_PATHS[1]]
    assert module.__dict__.pop("forward") is theirs


def test_the_next_solve_in_one_block_counts_anew_and_meets_what_the_library_kept(net):
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Odd(Foreign):
        def again(self, clock, state):
            return "again"

        def apply(self, call, state):
            seen.add(state)
            return call.proceed()

    seen, odd = set(), Euler(3)
    with attach(net.model, [Odd()], nfe=3) as run:
        with pytest.raises(EditError, match="0 evaluations are done"):
            run.again()
        first = net.solve(odd)
        run.again()
        second = net.solve(odd)
    assert run.evaluations == 3
    assert run.fired == [3 * LAYERS]
    assert seen == {None, "again"}
    assert not torch.equal(first, second)  # three calls leave every layer with an output to hand out
