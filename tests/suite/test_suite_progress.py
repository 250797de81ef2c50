"""Progress: figures under a clock of our own, lines for logs, a bar for terminals, and what an interrupt says."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from sam_lsac.errors import StoreError
from sam_lsac.runs import Progress
from sam_lsac.suite.progress import Lines, Tally, duration, interruptible, show_progress
from sam_lsac.suite.session import Suite
from tests.processes import start_python
from tests.suite.conftest import Judged
from tests.suite.rig import Rig, make_rig


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


class TestTally:
    def test_before_the_first_run_there_is_no_rate(self) -> None:
        clock = Clock()
        tally = Tally(40, clock)
        clock.now += 7
        assert tally.left_s is None
        assert tally.words() == "0/40 runs, 7 s so far, no rate yet"

    def test_rate_and_time_left_follow_from_the_mean(self) -> None:
        clock = Clock()
        tally = Tally(40, clock)
        clock.now += 4
        tally.step(Progress(arm="lsac", runs=8))
        assert tally.words() == "8/40 runs, 2.0 runs/s, at most 16 s left, lsac"
        clock.now += 4  # nothing came in four more seconds
        assert tally.words() == "8/40 runs, 1.0 runs/s, at most 32 s left, lsac"
        tally.step(Progress(arm="naive", runs=32))
        assert tally.words() == "40/40 runs, 5.0 runs/s, 0 s left, naive"

    def test_start_up_is_left_out_as_soon_as_later_runs_tell(self) -> None:
        """A large model takes a minute and a half to load in every process; each batch of 8 then takes 4 s."""
        clock = Clock()
        tally = Tally(308, clock)
        clock.now += 90
        tally.step(Progress(arm="baseline", runs=8))
        assert tally.left_s == pytest.approx(90 / 8 * 300)
        clock.now += 4
        tally.step(Progress(arm="lsac", runs=8))
        # two batches of processes that began together say little
        assert tally.words() == "16/308 runs, 5.9 s/run, at most 29 min left, lsac"
        for _ in range(2):
            clock.now += 4
            tally.step(Progress(arm="lsac", runs=8))
        assert tally.words() == "32/308 runs, 2.0 runs/s, 2 min left, lsac"
        clock.now += 12  # nothing came in twelve more seconds
        assert tally.words() == "32/308 runs, 1.0 runs/s, 5 min left, lsac"

    def test_slow_runs_have_seconds_a_run(self) -> None:
        clock = Clock()
        tally = Tally(101, clock)
        clock.now += 30
        tally.step(Progress(arm="lsac", runs=1))
        assert tally.words() == "1/101 runs, 30.0 s/run, at most 50 min left, lsac"
        assert tally.estimate() == (
            "first 1 of 101 runs in 30 s, start-up included: at that rate the other 100 take at most 50 min"
        )

    def test_runs_that_nothing_could_compute_say_nothing_of_the_rate(self) -> None:
        clock = Clock()
        tally = Tally(40, clock)
        clock.now += 1
        tally.step(Progress(arm="gate", runs=10, computed=False))
        assert tally.left_s is None
        assert tally.words() == "10/40 runs, 1 s so far, no rate yet"
        clock.now += 9
        tally.step(Progress(arm="gate", runs=5))
        assert tally.estimate() == (
            "first 5 of 40 runs in 10 s, start-up included: at that rate the other 25 take at most 50 s"
        )

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h")]
    )
    def test_durations(self, seconds: float, words: str) -> None:
        assert duration(seconds) == words


def test_a_log_gets_a_line_every_ten_seconds_also_while_nothing_comes() -> None:
    clock, written = Clock(), []
    tally = Tally(40, clock)
    lines = Lines(tally, written.append, clock=clock)
    for _ in range(100):
        clock.now += 0.5
        lines.tick()
        if clock.now == 1020.0:
            tally.step(Progress(arm="lsac", runs=10))
    assert len(written) == 5
    assert written[0] == "computing: 0/40 runs, 10 s so far, no rate yet"
    assert written[-1] == "computing: 10/40 runs, 5.0 s/run, at most 2 min left, lsac"


def test_a_log_has_plain_lines_from_a_real_clock() -> None:
    stream = io.StringIO()
    with show_progress(5, stream, every_s=0.05) as step:
        time.sleep(0.3)
        step(Progress(arm="gate", runs=1, computed=False))
        step(Progress(arm="lsac", runs=1))
        step(Progress(arm="naive", runs=3))
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("computing: 0/5 runs")
    assert [line for line in lines if "the other 3 take at most" in line] == [lines[-2]]
    assert lines[-1].startswith("computed 5 runs in")
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_has_a_bar_with_runs_rate_time_and_arm() -> None:
    stream = Terminal()
    with show_progress(4, stream) as step:
        step(Progress(arm="lsac", runs=1))
        step(Progress(arm="naive", runs=3))
    assert "first 1 of 4 runs" in stream.getvalue()
    assert re.search(r"━+.* 4/4 runs, [\d.]+ runs/s, 0 s left, naive", stream.getvalue())


def test_where_nothing_is_missing_nothing_is_shown() -> None:
    for stream in (Terminal(), io.StringIO()):
        with show_progress(0, stream):
            pass
        assert stream.getvalue() == ""


def test_a_termination_stops_a_block_as_ctrl_c_does_and_is_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before


def in_terminal(rig: Rig, *arguments: str) -> str:
    """What pytest shows on a terminal of 100 columns, control characters included."""
    leader, follower = pty.openpty()
    env = rig.environment(TERM="xterm", COLUMNS="100")
    process = start_python(rig.arguments(*arguments), cwd=rig.folder, env=env, output=os.ttyname(follower))
    shown = b""
    while process.is_alive() or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.1)[0]:
            shown += os.read(leader, 65536)
    os.close(follower)
    os.close(leader)
    return shown.decode()


@pytest.mark.parametrize("how", [["-q"], ["-s", "-q"]], ids=["captured", "uncaptured"])
def test_a_terminal_shows_the_bar_also_when_quiet(how: list[str], tmp_path: Path) -> None:
    shown = in_terminal(make_rig(tmp_path / "house"), *how, "-k", "MY1")
    assert "\x1b[" in shown
    assert re.search(r"━+.* 12/12 runs, [\d.]+ (runs/s|s/run), 0 s left, (lsac|baseline)", shown)
    assert shown.index("store: runs/store.sqlite, 0 of 12 runs there, 12 missing") < shown.index("━")
    assert shown.index("first 2 of 12 runs in") < shown.index("2 passed")


def is_at_work(rig: Rig) -> bool:
    """Whether a worker process that a command in the scratch repository started is there."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_bytes().decode(errors="replace"))
    return any("sam_lsac.runs.worker" in line and str(rig.folder) in line for line in lines)


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)], ids=str
)
def test_an_interrupt_says_what_is_stored_and_the_same_command_goes_on(
    number: int, processes: int, tmp_path: Path
) -> None:
    rig = make_rig(tmp_path / "house")
    process = start_python(
        rig.arguments("-q", "--processes", str(processes)),
        cwd=rig.folder,
        env=rig.environment(SPY_WAIT_S="120"),
        output=str(tmp_path / "output"),
    )
    try:
        while len(rig.stored) < 2 and process.is_alive():
            time.sleep(0.1)
        assert is_at_work(rig) == (processes > 1)
        os.kill(process.pid, number)
        process.join(300)
    finally:
        process.kill()
    out = (tmp_path / "output").read_text(encoding="utf-8")
    assert process.exitcode == pytest.ExitCode.INTERRUPTED, out
    stopped = "stopped: 2 of 18 runs are in runs/store.sqlite; the same command goes on with the other 16"
    assert len([line for line in out.splitlines() if stopped in line]) == 1, out
    assert "Traceback" not in out
    assert not is_at_work(rig)
    assert not rig.report.exists()
    again = rig.pytest("-q")
    assert "2 of 18 runs there, 16 missing" in again.stdout
    assert "computed 16 runs in" in again.stdout
    assert len({key for _, key in rig.stored}) == len(rig.stored) == 18


@pytest.mark.parametrize("workers", [(), ("-n", "2", "-q")], ids=["alone", "with workers"])
def test_an_interrupt_while_the_report_is_made_is_one_line(
    workers: tuple[str, ...], judged: Judged, tmp_path: Path
) -> None:
    """A session judges and writes for some seconds after its last test; what it has computed is in the store."""
    rig, report = judged.rig, tmp_path / "report"
    (rig.folder / "stops.py").write_text(
        "import os, signal\n"
        "from sam_lsac.suite import closing\n"
        "closing.close = lambda *_given, **_options: os.kill(os.getpid(), signal.SIGTERM)\n",
        encoding="utf-8",
    )
    finished = rig.pytest("--replay", "-p", "stops", "--report", str(report), *workers)
    out = finished.stdout + finished.stderr
    assert finished.returncode == pytest.ExitCode.INTERRUPTED, out
    assert "Exit: stopped: 18 of 18 runs are in runs/store.sqlite; the same command judges them" in out.splitlines()
    assert "Traceback" not in out
    assert not report.exists()


def test_a_replay_computes_nothing_and_shows_no_progress(judged: Judged, tmp_path: Path) -> None:
    rig, before = judged.rig, len(judged.rig.stored)
    finished = rig.pytest("--replay", "--report", str(tmp_path / "report"))
    assert "18 of 18 runs there, 0 missing" in finished.stdout
    assert "computed" not in finished.stdout
    assert "computing" not in finished.stdout
    assert len(rig.stored) == before
    assert rig.statuses(tmp_path / "report") == rig.statuses()


@pytest.mark.parametrize("sequential", [False, True])
def test_what_the_store_lacks_while_a_session_computes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, *, sequential: bool
) -> None:
    def lacks(_prepared: object, **_options: object) -> None:
        raise StoreError("a.npy cannot be read; restore it, or compute into a new store.")

    monkeypatch.setattr("sam_lsac.suite.gather.compute", lacks)
    nothing = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=lambda _name: None))
    suite = Suite(nothing)  # type: ignore[arg-type]
    suite.__dict__["options"] = SimpleNamespace(sequential=sequential, replay=True)
    with pytest.raises(pytest.UsageError, match=r"^a\.npy cannot be read; restore it, or compute into a new store\.$"):
        suite._compute(SimpleNamespace(n_missing=0))  # type: ignore[arg-type]
