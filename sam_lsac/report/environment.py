"""Where and from what a report was made."""

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import torch

from sam_lsac.claims import Context, Ledger
from sam_lsac.records import STRICT

__all__ = ["Environment", "environment"]

PACKAGES = ("sam-lsac", "torch", "numpy", "scipy", "fast-bss-eval", "pystoi", "pesq", "transformers")
DRIVER = Path("/proc/driver/nvidia/version")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a reader needs to make the same figures again.

    Parameters
    ----------
    created
        UTC, ISO 8601.
    checkpoint, digest
        Name and SHA-256 of the weights.
    n_layers
        Of the model's transformer.
    device, accelerator, driver, cpu
        The torch device of the runs, the GPU's name and driver ("none" on a CPU), and the processor.
    operating_system, python, torch
        The system with its release and machine, and the versions of Python and of torch.
    packages
        Versions of what computes figures, by package.
    git_commit
        Of the source tree, with "+ changes" where files differ from it; "unknown" outside a repository.
    mixtures
        Mixtures per tier with at least one run.
    seeds
        Of the noise, over all runs.
    n_runs
        Different (arm, mixture, seed) in the ledger.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    created: str
    checkpoint: str
    digest: str
    n_layers: int
    device: str
    accelerator: str
    driver: str
    cpu: str
    operating_system: str
    python: str
    torch: str
    packages: Mapping[str, str]
    git_commit: str
    mixtures: Mapping[str, int]
    seeds: tuple[int, ...]
    n_runs: int


def environment(context: Context, ledger: Ledger, *, device: str = "cpu", root: Path | None = None) -> Environment:
    """Collect the environment of this process and of these runs.

    Parameters
    ----------
    context
        Names the checkpoint that was run.
    ledger
        The runs, whose mixtures and seeds are listed.
    device
        The torch device that the runs were computed on.
    root
        A folder of the source repository; None for the folder of this package, where git tracks it.
    """
    on_gpu = torch.device(device).type == "cuda" and torch.cuda.is_available()
    homes = {row.mixture: row.tier for row in ledger.rows}
    tiers = list(dict.fromkeys(homes.values()))
    return Environment(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        checkpoint=context.checkpoint,
        digest=context.digest,
        n_layers=context.n_layers,
        device=device,
        accelerator=torch.cuda.get_device_name(torch.device(device)) if on_gpu else "none",
        driver=_driver() if on_gpu else "none",
        cpu=_cpu(),
        operating_system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        packages=_versions(),
        git_commit=_git_commit(root),
        mixtures={tier: sum(home == tier for home in homes.values()) for tier in tiers},
        seeds=tuple(sorted({row.seed for row in ledger.rows})),
        n_runs=len({(row.arm, row.mixture, row.seed) for row in ledger.rows}),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _driver() -> str:
    try:
        words = DRIVER.read_text(encoding="utf-8")
    except OSError:
        return UNKNOWN
    match = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", words)
    return match.group() if match else UNKNOWN


def _cpu() -> str:
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or UNKNOWN
    match = re.search(r"^model name\s*:\s*(.+)$", words, flags=re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or UNKNOWN


def _git_commit(root: Path | None) -> str:
    folder = root or Path(__file__).parent
    if root is None and not _git(folder, "ls-files", Path(__file__).name):
        return UNKNOWN  # installed beside another repository's files, whose commit would mislead
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return UNKNOWN
    return f"{commit} + changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str:
    """Return what git prints, or the empty text where there is no git, repository or commit."""
    program = shutil.which("git")
    if program is None:
        return ""
    done = subprocess.run(  # noqa: S603 - a fixed program with fixed arguments
        [program, "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
