"""The wheel holds all that it needs: from an empty folder it loads the model and the mixtures and judges a claim."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sam_lsac.bundled as places
from sam_lsac import load_mixtures, load_model
from sam_lsac.bundled import bundled

ROOT = Path(__file__).resolve().parents[1]
LARGEST_MB = 60.0  # of the wheel; PyPI takes 100


@pytest.mark.parametrize(
    ("what", "file"), [("checkpoint", "config.json"), ("mixtures", "manifest.toml"), ("bench", "claims.toml")]
)
def test_in_the_repository_the_data_lie_beside_the_package(what: str, file: str) -> None:
    assert (bundled(what) / file).is_file()  # type: ignore[arg-type]
    assert bundled(what).is_relative_to(ROOT)  # type: ignore[arg-type]


def test_every_folder_of_the_table_is_found_again() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    data = targets["wheel"]["hooks"]["custom"]["data"]
    for what, below in places._IN_WHEEL.items():
        assert data[places._IN_REPOSITORY[what]] == f"sam_lsac/{below}"


def run(*arguments: str, folder: Path, path: Path | None = None) -> str:
    """Run Python in a folder, with what was installed at a path before all else."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment |= (
        {} if path is None else {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    )
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling: pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    run(
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(folder),
        folder=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed; what it depends on is taken from this environment."""
    folder = tmp_path_factory.mktemp("site")
    run("-m", "pip", "install", "--no-deps", "--quiet", "--target", str(folder), str(wheel), folder=folder)
    return folder


pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.slow
def test_what_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert wheel.stat().st_size < LARGEST_MB * 1e6
    assert {"sam_lsac/py.typed", "sam_lsac/bench/claims.toml", "sam_lsac/embedded/MODEL_CARD.md"} <= set(names)
    assert {"sam_lsac/embedded/mixtures/LICENSE", "sam_lsac/embedded/mixtures/cc-by-sa/LICENSE"} <= set(names)
    assert {name.split(".dist-info/")[1] for name in names if "/licenses/" in name} == {
        "licenses/LICENSE",
        "licenses/NOTICE",
    }
    assert [name for name in names if "__pycache__" in name or not name.startswith("sam_lsac")] == []


@pytest.mark.slow
def test_from_an_empty_folder_it_has_the_model_and_the_mixtures(site: Path, tmp_path: Path) -> None:
    told = run(
        "-c",
        "import json, sam_lsac; m = sam_lsac.load_model('embedded'); "
        "x = sam_lsac.load_mixtures('embedded', per_tier=2); "
        "print(json.dumps([sam_lsac.__file__, m.checkpoint_digest, [one.digest for one in x]]))",
        folder=tmp_path,
        path=site,
    )

    file, digest, digests = json.loads(told)
    assert Path(file).is_relative_to(site)
    assert digest == load_model("embedded").checkpoint_digest
    assert digests == [one.digest for one in load_mixtures("embedded", per_tier=2)]


@pytest.mark.slow
def test_from_an_empty_folder_it_judges_a_claim(site: Path, tmp_path: Path) -> None:
    pytest_ = ["-m", "pytest", "-p", "sam_lsac.suite.plugin", "--pyargs", "sam_lsac.bench", "-p", "no:cacheprovider"]

    collected = run(*pytest_, "--collect-only", "-q", folder=tmp_path, path=site)
    judged = run(*pytest_, "-k", "FL1", "--mixtures-per-tier", "1", "-rA", folder=tmp_path, path=site)

    assert "test_lsac_fidelity.py::test_lsac_fidelity[" in collected
    assert "PASSED" in judged
    assert "[FL1]" in judged
    assert (tmp_path / "report" / "report.json").is_file()


@pytest.mark.slow
def test_an_editable_install_has_no_copy_of_the_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling: pip install hatchling")
    run(
        "-c",
        f"import os; os.chdir({str(ROOT)!r}); from hatchling.build import build_editable as b; b({str(tmp_path)!r})",
        folder=ROOT,
    )
    (built,) = tmp_path.glob("*.whl")

    assert built.stat().st_size < 1e6


def test_the_version_is_that_of_the_citation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {project['version']}\n" in cited
    assert f"license: {project['license']}\n" in cited
    assert project["name"] == importlib.metadata.metadata("sam-lsac")["Name"]
