"""Child processes end with their owner, however it ends."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedchest.federation.engines.processes import Program, await_condition, free_ports, running

SLEEPER = "import time; time.sleep(600)"
# Starts a sleeping child of its own and prints both process ids.
FAMILY = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "{SLEEPER}"])
print("family", os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + FAMILY


def program(folder: Path, code: str) -> Program:
    return Program(name="child", command=[sys.executable, "-c", code], folder=folder, environment={})


def family(log: Path) -> list[int]:
    """The process ids that a FAMILY has printed."""
    assert await_condition(lambda: log.exists() and log.read_bytes().endswith(b"\n"), 60)
    return [int(word) for word in log.read_text().split()[1:3]]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def all_gone(processes: list[int]) -> bool:
    return not any(alive(process) for process in processes)


def working_in(folder: Path) -> list[str]:
    """The processes whose working directory is `folder`."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            found += [cwd.parent.name] if cwd.readlink() == folder else []
    return found


def test_children_and_theirs_end_with_the_block(tmp_path: Path) -> None:
    one, other = program(tmp_path / "one", FAMILY), program(tmp_path / "other", FAMILY)
    with running(one, other):
        everyone = family(one.log) + family(other.log)
        assert all(alive(process) for process in everyone)
    assert all_gone(everyone)


def test_they_end_when_the_block_fails(tmp_path: Path) -> None:
    child = program(tmp_path, FAMILY)
    with pytest.raises(KeyboardInterrupt), running(child):
        processes = family(child.log)
        raise KeyboardInterrupt
    assert all_gone(processes)


def test_those_that_started_end_when_another_can_not_start(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("a file where a folder should be")
    with (
        pytest.raises(OSError),
        running(program(tmp_path / "good", SLEEPER), program(tmp_path / "bad", SLEEPER)),
    ):
        pytest.fail("the block must not be entered")
    assert not working_in(tmp_path / "good" / "work")


@pytest.mark.slow
def test_a_child_that_is_deaf_to_termination_is_killed(tmp_path: Path) -> None:
    child = program(tmp_path, DEAF)
    with running(child):
        processes = family(child.log)
    assert await_condition(lambda: all_gone(processes), 10)


def test_they_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    owner_code = f"""
import sys, time
from pathlib import Path
from fedchest.federation.engines.processes import Program, running
code = {FAMILY!r}
with running(Program("child", [sys.executable, "-c", code], Path({str(tmp_path)!r}), {{}})):
    time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", owner_code])
    try:
        processes = family(tmp_path / "child.log")
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert await_condition(lambda: all_gone(processes), 20)


def test_the_exit_status_and_the_output_are_the_commands_own(tmp_path: Path) -> None:
    for status in (0, 3):
        with running(program(tmp_path, f"print('says', {status}); raise SystemExit({status})")) as [child]:
            assert await_condition(lambda child=child: child.status() is not None, 60)
        assert child.status() == status
        assert child.output() == f"says {status}\n"  # of this start alone, though the log has both
    assert child.program.log.read_text() == "says 0\nsays 3\n"


def test_a_command_killed_by_a_signal_is_not_taken_for_success(tmp_path: Path) -> None:
    with running(program(tmp_path, "import os; os.kill(os.getpid(), 9)")) as [child]:
        assert await_condition(lambda: child.status() is not None, 60)
    assert child.status() == 128 + 9


def test_a_child_starts_in_an_empty_folder_and_sends_nothing_home(tmp_path: Path) -> None:
    code = (
        "import os; print(os.listdir(), os.environ['FLWR_TELEMETRY_ENABLED'], os.getsid(0) == os.getppid())"
    )
    with running(program(tmp_path, code)) as [child]:
        assert await_condition(lambda: child.status() is not None, 60)
    assert child.output() == "[] 0 True\n"


def test_a_condition_that_never_holds_is_waited_for_a_bounded_time() -> None:
    start = time.monotonic()
    assert not await_condition(lambda: False, 0.1)
    assert time.monotonic() - start < 30


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
