"""Damaged files before every reader: the library's own error or a good result, in time, with nothing left or executed.

What fails is kept, as small as Hypothesis makes it, in ``corpus/READER/``, and is tried again ever after.
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import signal
import warnings
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_lsac.model import load_model
from sam_lsac.runs.side_files import SideFiles
from tests.reliability.conftest import Tally, case_settings, is_full
from tests.reliability.damage import pickles
from tests.reliability.readers import OWN, READERS, Reader

CORPUS = Path(__file__).with_name("corpus")
#: The largest of these files is read in less than a tenth of a second.
LONGEST_S = 20
#: Beyond what the process has: no file of a few kilobytes needs it.
MOST_BYTES = 2 * 2**30


class HungError(BaseException):
    """A case took too long."""


@pytest.fixture(autouse=True)
def bounded():
    """Bounds on the memory of a case; a reader that believes a header gets a MemoryError, which is not its own."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def attempt(reader: Reader, content: bytes, tally: Tally) -> None:
    """One case."""
    folder = reader.whole()
    if reader.writes:
        folder = Path(mkdtemp()) / "copy"
        shutil.copytree(reader.whole(), folder)
    path = folder / reader.path
    whole = path.read_bytes()
    path.write_bytes(content)
    before = listing(folder)
    tally.count("cases")

    def hang(*_: object) -> None:
        raise HungError

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(LONGEST_S)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            reader.read(folder)
    except OWN as error:
        tally.count("own errors")
        assert str(error).strip()
    except HungError:
        tally.count("hangs")
        raise
    except BaseException:
        tally.count("foreign")
        raise
    else:
        tally.count("accepted")
    finally:
        signal.alarm(0)
        left = listing(folder) - before
        if reader.writes:
            left = {one for one in left if one.suffix == ".tmp"}
            shutil.rmtree(folder.parent)
        else:
            path.write_bytes(whole)
        tally.count("files left", len(left))
    assert not left


@pytest.mark.parametrize("name", READERS)
def test_whole(name: str, tally: Tally) -> None:
    """What is not damaged is read, so that damage is what the other cases are refused for."""
    attempt(READERS[name], READERS[name].content(), tally)
    assert tally.counts["accepted"] == 1


@pytest.mark.parametrize("name", READERS)
def test_generated(name: str, tally: Tally) -> None:
    reader = READERS[name]
    failed: list[bytes] = []

    @case_settings(slow=reader.slow)
    @given(reader.cases(reader.content()))
    def run(content: bytes) -> None:
        try:
            attempt(reader, content, tally)
        except BaseException:
            failed.append(content)
            raise

    try:
        run()
    except BaseException:
        if failed and is_full():
            smallest = min(failed, key=len)
            home = CORPUS / name.replace(" ", "-").replace(",", "")
            home.mkdir(parents=True, exist_ok=True)
            (home / hashlib.sha256(smallest).hexdigest()[:16]).write_bytes(smallest)
        raise


@pytest.mark.parametrize("name", READERS)
def test_what_once_failed(name: str, tally: Tally) -> None:
    for kept in sorted((CORPUS / name.replace(" ", "-").replace(",", "")).glob("*")):
        attempt(READERS[name], kept.read_bytes(), tally)


@pytest.mark.parametrize("path", ["checkpoint.pt", "model.safetensors", "text_encoder/pytorch_model.bin", "side file"])
def test_nothing_is_executed(path: str, tally: Tally, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    READERS["config.json"].prepare(tmp_path / "model")
    target = tmp_path / "model" / path
    for weights in target.parent.glob("*.safetensors"):
        weights.unlink()

    @case_settings(slow=True)
    @given(pickles(str(marker)), st.sampled_from([b"", b"\0" * 8]))
    def run(content: bytes, padding: bytes) -> None:
        tally.count("cases")
        try:
            if path == "side file":
                name = hashlib.sha256(padding + content).hexdigest()
                (tmp_path / f"{name}.npy").write_bytes(padding + content)
                SideFiles(tmp_path).read(name)
            else:
                target.write_bytes(padding + content)
                load_model(tmp_path / "model")
        except OWN:
            tally.count("own errors")
        except BaseException:
            tally.count("foreign")
            raise
        finally:
            tally.count("executed", marker.exists())
        assert not marker.exists()

    run()


def test_the_pickles_would_be_executed(tmp_path: Path) -> None:
    """The test above can fail: the same files, read by who trusts them, do make the marker."""
    import pickle

    marker = tmp_path / "executed"
    made = 0

    @case_settings()
    @given(pickles(str(marker)))
    def run(content: bytes) -> None:
        nonlocal made
        pickle.loads(content)  # noqa: S301  # that is the point
        made += marker.exists()
        marker.unlink(missing_ok=True)

    run()
    assert made > 0
