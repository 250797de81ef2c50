"""Saved time against saved FLOPs of cached attention, on SAM-Audio-Small's width with random weights.

Plain and cached solves alternate, A B A B; what is reported is the ratio of their times and its interval, beside the
FLOPs that caching saves and the efficiency: saved time / saved FLOPs, 1 where time is proportional to FLOPs. A test
fails only where the whole interval lies below the goal. Time does not depend on the values of the weights.

On a CPU the network is scaled in depth, two layers, which are all cached after the first of four steps: the share that
a real schedule saves, 4 %, would drown in the noise of a shared machine. For the same reason processor time is judged
there, on one thread.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from torch import Tensor

from sam_lsac.caching import LSAC, SAM_AUDIO_SMALL, CacheAttention
from sam_lsac.costs import (
    TimeRatio,
    arm_cost,
    cache_bytes,
    peak_memory,
    ratio_abab,
    sizes_of,
)
from sam_lsac.interventions import Edit
from sam_lsac.model import Conditions, SAMAudio
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.separate import solve_batch
from sam_lsac.solver import Euler, Solver

#: Saved time / saved FLOPs.
GOAL = 0.9
#: Time of an evaluation / time of Meta's.
GOAL_AGAINST_META = 0.85
#: Time of processes of this machine / time of as many workers of a cluster.
GOAL_OF_A_CLUSTER = 0.9
TEXT_TOKENS = 4
DURATIONS_S = (10, 30, 60)

pytestmark = [pytest.mark.timing, pytest.mark.slow]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def _on_request_only(request: pytest.FixtureRequest) -> None:
    """Timing wants a quiet machine, so it is not a part of judging the claims."""
    if "timing" not in request.config.option.markexpr:
        pytest.skip("measures time; run it alone, with -m timing")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A random network and the inputs of one solve."""

    model: SAMAudio
    conditions: Conditions
    noise: Tensor
    solver: Solver
    seconds: float

    def solve(self, *edits: Edit) -> Callable[[], Tensor]:
        """One solve under these edits."""
        return lambda: solve_batch(self.model, self.conditions, self.noise, solver=self.solver, edits=edits)


def build(seconds: float, *, n_layers: int, n_steps: int, device: str, dtype: torch.dtype) -> Bench:
    """SAM-Audio-Small with random weights, so many layers deep, and one mixture of random latents."""
    config = sizes_of("small")
    config = replace(config, transformer=replace(config.transformer, n_layers=n_layers))
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = SAMAudio(config).eval().requires_grad_(False)
        n_frames = model.audio_codec.n_frames(round(seconds * model.sample_rate))
        model.audio_codec = None  # time is that of the network; its codec only takes memory
        model = model.to(dtype)
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


def judge(benchmark, bench: Bench, edit: CacheAttention, *, device: str, repeats: int) -> None:
    """Measure, write down, and fail where the goal lies outside the interval."""
    calls = (bench.solve(edit), bench.solve())
    settings = {"device": device, "repeats": repeats, "processor_time": True}
    time = benchmark.pedantic(ratio_abab, args=calls, kwargs=settings, rounds=1, iterations=1)
    figures = report(bench, edit, time)
    if device == "cuda":
        cached, plain = (peak_memory(call, device=device).added_bytes for call in calls)
        figures |= {"peak_bytes_cached": cached, "peak_bytes_plain": plain}
    benchmark.extra_info.update(figures)
    assert figures["efficiency_high"] >= GOAL, figures


@pytest.mark.parametrize("seconds", DURATIONS_S)
def test_time_saved_by_caching_two_layers(benchmark, seconds) -> None:
    """On any machine: SAM-Audio-Small's width, two layers, both cached after step 1 of 4."""
    bench = build(seconds, n_layers=2, n_steps=4, device="cpu", dtype=torch.float32)
    edit = CacheAttention(freeze_steps={0: 1, 1: 1})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        judge(benchmark, bench, edit, device="cpu", repeats=9 if seconds == 10 else 5)
    finally:
        torch.set_num_threads(threads)


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("schedule", ["balanced", "aggressive", "every layer after step 1"])
@pytest.mark.parametrize("seconds", DURATIONS_S)
def test_time_saved_by_schedules_of_the_whole_network(benchmark, seconds, schedule, dtype) -> None:
    """On a GPU: the whole of SAM-Audio-Small, 16 steps."""
    bench = build(seconds, n_layers=12, n_steps=16, device="cuda", dtype=dtype)
    every = CacheAttention(freeze_steps=dict.fromkeys(range(12), 1))
    named = {level: LSAC.of(SAM_AUDIO_SMALL, level=level).edit() for level in ("balanced", "aggressive")}
    judge(benchmark, bench, named.get(schedule, every), device="cuda", repeats=15)


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


@pytest.mark.meta
@pytest.mark.parametrize("seconds", [10, 30])
def test_time_of_an_evaluation_against_metas(benchmark, seconds) -> None:
    """SAM-Audio-Small, one evaluation within a solve, on one thread; they must agree before they are timed."""
    bench = build(seconds, n_layers=12, n_steps=16, device="cpu", dtype=torch.float32)
    theirs = metas_network(bench.model)
    arguments = bench.conditions.as_kwargs() | {"noisy_audio": bench.noise, "time": torch.tensor([0.4])}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            velocity = PreparedVelocity(bench.model, bench.conditions)
            ours, metas = velocity(0.4, bench.noise), theirs(**arguments)
            assert float((ours - metas).norm() / metas.norm()) < 2e-5
            calls = (lambda: velocity(0.4, bench.noise), lambda: theirs(**arguments))
            settings = {"repeats": 7, "processor_time": True}
            time = benchmark.pedantic(ratio_abab, args=calls, kwargs=settings, rounds=1, iterations=1)
    finally:
        torch.set_num_threads(threads)
    benchmark.extra_info.update({"time_ratio": time.ratio, "time_ratio_low": time.low, "time_ratio_high": time.high})
    assert time.low <= GOAL_AGAINST_META, time


def test_time_of_a_clusters_workers_against_processes(benchmark, tmp_path) -> None:
    """As many workers of a local Ray cluster as processes without Ray, both at work before they are timed."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from sam_lsac.mixtures import load_mixtures
    from sam_lsac.model import load_model
    from sam_lsac.processes import usable_cores
    from sam_lsac.runs import Arm, Executor, execute, local_executor, open_store, plan
    from sam_lsac.runs.cluster import RayExecutor

    model = load_model("embedded")
    mixtures = load_mixtures("embedded", tiers=["clean"], per_tier=8, sample_rate=model.sample_rate, duration_s=2.0)
    arms = {"baseline": Arm(name="baseline", solver="euler:16"), "shorter": Arm(name="shorter", solver="euler:10")}
    planned = plan(arms, mixtures, model, seeds=(0,), metrics=("si_snr",))
    stores = (tmp_path / f"{number}.sqlite" for number in range(99))

    def fill(executor: Executor) -> None:
        with open_store(next(stores)) as store:
            execute(planned, model, mixtures, store, batch_size=1, executor=executor)

    with (
        RayExecutor(model, where="ray", notice=print) as cluster,
        local_executor(model, processes=max(2, usable_cores()), notice=print) as pool,
    ):
        calls, settings = (lambda: fill(pool), lambda: fill(cluster)), {"repeats": 5, "warmup": 1}
        time = benchmark.pedantic(ratio_abab, args=calls, kwargs=settings, rounds=1, iterations=1)
    benchmark.extra_info.update({"efficiency": time.ratio, "efficiency_low": time.low, "efficiency_high": time.high})
    assert time.high >= GOAL_OF_A_CLUSTER, time
