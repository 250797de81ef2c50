"""Random networks of SAM-Audio-Small's width, and what is measured of their solves; only what measures imports this."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import Tensor

from sam_lsac.caching import CacheAttention
from sam_lsac.claims import load_claims
from sam_lsac.costs import TimeRatio, arm_cost, cache_bytes, peak_memory, ratio_abab, sizes_of
from sam_lsac.interventions import Edit, attach
from sam_lsac.metrics import measure
from sam_lsac.mixtures import load_mixtures
from sam_lsac.model import Conditions, SAMAudio, load_model
from sam_lsac.model.graphs import captured
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.report.settings import caches, shippable
from sam_lsac.runs import Executor, execute, open_store, plan
from sam_lsac.runs.arms import resolve_arm
from sam_lsac.runs.timings import ArmTime
from sam_lsac.separate import separate, solve_batch
from sam_lsac.solver import Euler, Solver
from sam_lsac.suite.cases import cases_of
from sam_lsac.suite.gather import prepare
from sam_lsac.suite.options import HOUSE_CLAIMS, read_options
from sam_lsac.suite.plugin import SUITE
from sam_lsac.suite.timing import measure_times

#: Saved time / saved FLOPs.
GOAL = 0.9
TEXT_TOKENS = 4
#: Of a plan whose time is measured.
ARMS = (
    "baseline",
    "lsac-safe",
    "lsac-balanced",
    "lsac-aggressive",
    "naive-14",
    "naive-12",
    "naive-10",
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A random network and the inputs of one solve."""

    model: SAMAudio
    conditions: Conditions
    noise: Tensor
    solver: Solver
    seconds: float

    def solve(self, *edits: Edit, cuda_graph: bool = False) -> Callable[[], Tensor]:
        """One solve under these edits."""
        return lambda: solve_batch(
            self.model, self.conditions, self.noise, solver=self.solver, edits=edits, cuda_graph=cuda_graph
        )

    def solve_as_one_graph(self, *edits: Edit) -> Callable[[], Tensor]:
        """The kernels of one solve under these edits, launched by one CUDA graph, so that no launch is waited for."""
        solver = self.solver
        self.solve(*edits)()  # what PyTorch readies at first
        with torch.inference_mode(), attach(self.model, edits, nfe=solver.nfe):
            velocity = PreparedVelocity(self.model, self.conditions)
            return captured(lambda: solver.solve(velocity, self.noise))


def build(seconds: float, *, n_layers: int, n_steps: int, device: str, dtype: str) -> Bench:
    """SAM-Audio-Small with random weights, so many layers deep, and one mixture of random latents."""
    config = sizes_of("small")
    config = replace(config, transformer=replace(config.transformer, n_layers=n_layers))
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = SAMAudio(config).eval().requires_grad_(False)
        n_frames = model.audio_codec.n_frames(round(seconds * model.sample_rate))
        model.audio_codec = None  # time is that of the network; its codec only takes memory
        model = model.to(getattr(torch, dtype))
        conditions = Conditions(
            audio_features=torch.randn(1, n_frames, 256),
            text_features=torch.randn(1, TEXT_TOKENS, config.text_encoder.dim),
            masked_video_features=torch.zeros(1, config.video_dim, n_frames),
            anchor_ids=torch.tensor([[0, 3]]),
            anchor_alignment=torch.zeros(1, n_frames, dtype=torch.long),
        )
        noise = torch.randn(1, n_frames, 256)
    return Bench(model=model, conditions=conditions, noise=noise, solver=Euler(n_steps), seconds=seconds)


def saved_flops(bench: Bench, edit: Edit) -> float:
    """Fraction of the plain solve's FLOPs."""
    return arm_cost(
        "cached",
        bench.model,
        bench.solver,
        edits=[edit],
        baseline_solver=bench.solver,
        seconds=bench.seconds,
        text_tokens=TEXT_TOKENS,
    ).flops_saved


def report(bench: Bench, edit: CacheAttention, time: TimeRatio) -> dict[str, float | str]:
    """What goes into the benchmark's JSON; efficiencies are saved time / saved FLOPs."""
    saved = saved_flops(bench, edit)
    weight = bench.model.proj.weight
    device = torch.cuda.get_device_name() if weight.is_cuda else "cpu"
    kept = cache_bytes(bench.model, edit, n_frames=bench.noise.size(1), dtype=weight.dtype)
    return {
        "device": device,
        "dtype": str(weight.dtype),
        "threads": torch.get_num_threads(),
        "seconds_of_audio": bench.seconds,
        "layers": bench.model.config.transformer.n_layers,
        "solver": bench.solver.name,
        "time_ratio": time.ratio,
        "time_ratio_low": time.low,
        "time_ratio_high": time.high,
        "saved_time": 1 - time.ratio,
        "saved_flops": saved,
        "efficiency": (1 - time.ratio) / saved,
        "efficiency_low": (1 - time.high) / saved,
        "efficiency_high": (1 - time.low) / saved,
        "cache_bytes": kept,
    }


def judge(
    benchmark, bench: Bench, edit: CacheAttention, *, device: str, repeats: int, as_one_graph: bool = False
) -> None:
    """Measure, write down, and fail where the goal lies outside the interval."""
    way = bench.solve_as_one_graph if as_one_graph else bench.solve
    calls = (way(edit), way())
    settings = {"device": device, "repeats": repeats, "processor_time": True}
    time = benchmark.pedantic(ratio_abab, args=calls, kwargs=settings, rounds=1, iterations=1)
    figures = report(bench, edit, time) | {"as_one_graph": as_one_graph, "seconds_plain": median(time.b_seconds)}
    if device == "cuda":
        eager = (bench.solve(edit), bench.solve())  # a graph's memory is its own and stays
        cached, plain = (peak_memory(call, device=device).added_bytes for call in eager)
        figures |= {"peak_bytes_cached": cached, "peak_bytes_plain": plain}
    benchmark.extra_info.update(figures)
    assert figures["efficiency_high"] >= GOAL, figures


def metas_network(model: SAMAudio) -> torch.nn.Module:
    """Meta's own class around the same weights, without its codec, encoders and rankers."""
    meta = pytest.importorskip("sam_audio.model.model", reason="Meta's sam_audio package is not installed")
    from sam_audio.model.config import TransformerConfig as MetaConfig
    from sam_audio.model.transformer import DiT as MetaDiT

    config, nn = model.config, torch.nn
    width = config.transformer.dim
    theirs = nn.Module.__new__(meta.SAMAudio)
    nn.Module.__init__(theirs)
    theirs.transformer = MetaDiT(MetaConfig(**asdict(config.transformer)))
    theirs.proj = nn.Linear(config.in_channels, width)
    theirs.align_masked_video = meta.AlignModalities(config.video_dim, width)
    theirs.embed_anchors = meta.EmbedAnchors(config.num_anchors, config.anchor_embedding_dim, width)
    theirs.memory_proj = nn.Linear(config.text_encoder.dim, width)
    theirs.timestep_emb = meta.SinusoidalEmbedding(width)
    nn.Module.load_state_dict(theirs, model.state_dict(), assign=True)
    return theirs.eval().requires_grad_(False)


def evaluations(bench: Bench) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """One evaluation of the network, ours and Meta's; they agree."""
    theirs = metas_network(bench.model)
    arguments = bench.conditions.as_kwargs() | {"noisy_audio": bench.noise, "time": torch.tensor([0.4])}

    def without_gradients(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return torch.inference_mode()(call)

    with torch.inference_mode():
        velocity = PreparedVelocity(bench.model, bench.conditions)
    ours = without_gradients(lambda: velocity(0.4, bench.noise))
    metas = without_gradients(lambda: theirs(**arguments))
    a, b = ours(), metas()
    assert float((a - b).norm() / b.norm()) < 2e-5
    return ours, metas


def graphs(benchmark, bench: Bench) -> None:
    """Solves whose evaluations are CUDA graphs beside eager ones: bit-equal, and never slower."""
    eager, graph = bench.solve(), bench.solve(cuda_graph=True)
    assert torch.equal(graph(), eager())
    settings = {"device": "cuda", "repeats": 9}
    time = benchmark.pedantic(ratio_abab, args=(graph, eager), kwargs=settings, rounds=1, iterations=1)
    benchmark.extra_info.update(
        {
            "device": torch.cuda.get_device_name(),
            "dtype": str(bench.model.proj.weight.dtype),
            "seconds_eager": median(time.b_seconds),
            "time_ratio": time.ratio,
            "time_ratio_low": time.low,
            "time_ratio_high": time.high,
        }
    )
    assert time.low <= 1, time


class Work:
    """Runs of the embedded checkpoint, for whoever computes them; LSAC, its rivals and the solve that they begin with.

    Parameters
    ----------
    folder
        Of the stores, each used once.
    n_mixtures
        Of the clean tier.
    """

    def __init__(self, folder: Path, *, n_mixtures: int = 8) -> None:
        self.model = load_model("embedded")
        self.mixtures = load_mixtures(
            "embedded", tiers=["clean"], per_tier=n_mixtures, sample_rate=self.model.sample_rate, duration_s=2.0
        )
        book = load_claims(HOUSE_CLAIMS)
        self.arms = {name: book.arms[name] for name in ARMS}
        self.plan = plan(self.arms, self.mixtures, self.model, seeds=(0,))
        self._stores = (folder / f"{number}.sqlite" for number in count())

    def planned(self, executor: Executor) -> None:
        """All runs, as a session computes them, into a new store."""
        with open_store(next(self._stores)) as store:
            execute(self.plan, self.model, self.mixtures, store, batch_size=2, executor=executor)

    def one_by_one(self) -> None:
        """All runs, each as a user would: `separate`, then the scores."""
        for arm in self.arms.values():
            resolved = resolve_arm(arm, self.model)
            for mixture in self.mixtures:
                out = separate(
                    self.model,
                    mixture.target + mixture.residual,
                    sample_rate=mixture.sample_rate,
                    prompt=mixture.prompt,
                    spans=mixture.spans or None,
                    solver=resolved.solver,
                    edits=resolved.edits,
                    seed=0,
                )
                measure(out.target, target=mixture.target, residual=mixture.residual, sample_rate=mixture.sample_rate)


@dataclass(frozen=True, kw_only=True)
class SettingTime:
    """A setting that could be shipped, what it saves on paper, and its time beside the full solve's."""

    arm: str
    cached: bool
    flops_saved: float
    time: ArmTime


def settings(config: pytest.Config) -> list[SettingTime]:
    """Measure every setting of the claims file on the session's model and device; all samples go into its store."""
    suite = config.stash.get(SUITE, None)
    prepared = suite and suite.prepared  # with the claims that were judged, and their model, which is not loaded twice
    if prepared is None:
        given = replace(read_options(config.getoption, root=config.rootpath), replay=False)
        every = load_claims(given.claims)
        prepared = prepare(given, cases_of(every, [claim.id for claim in every.claims]), book=every)
    options, book, costs = prepared.options, prepared.book, prepared.context.costs
    arms = shippable(book, prepared.context)
    times = measure_times(
        book,
        load_model(options.model, device=options.device) if options.replay else prepared.model,
        prepared.mixtures[0],
        arms=arms,
        store=options.store,
        repeats=5,
    )
    return [
        SettingTime(arm=arm, cached=caches(book.arms[arm]), flops_saved=costs[arm].flops_saved, time=time)
        for arm, time in times.items()
    ]
