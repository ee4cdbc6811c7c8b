"""Work spread over processes: order, bounds, and what happens when a worker or the parent dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.launcher import LauncherError
from components.launcher.local import AHEAD, LocalLauncher


def square(number: int) -> int:
    return number * number


def process_of(_: int) -> int:
    return os.getpid()


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is refused")
    return number


def mark(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_shards(workers: int) -> None:
    assert list(LocalLauncher(workers).map_shards(square, range(20))) == [n * n for n in range(20)]


def test_one_worker_means_this_process() -> None:
    assert set(LocalLauncher(1).map_shards(process_of, range(3))) == {os.getpid()}


def test_two_workers_mean_other_processes() -> None:
    assert os.getpid() not in LocalLauncher(2).map_shards(process_of, range(8))


def test_no_shards_give_no_results() -> None:
    assert list(LocalLauncher(2).map_shards(square, [])) == []


def test_less_than_one_worker_is_refused() -> None:
    with pytest.raises(LauncherError, match="at least 1"):
        LocalLauncher(0)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_function_raises_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ValueError, match="three is refused"):
        list(LocalLauncher(workers).map_shards(refuse_three, range(6)))


def test_a_killed_worker_gives_an_error_that_says_what_to_do() -> None:
    with pytest.raises(LauncherError, match="VISIONLOOP_WORKERS=1"):
        list(LocalLauncher(2).map_shards(die_at_three, range(6)))


def test_a_slow_reader_holds_the_work_back(tmp_path: Path) -> None:
    """Only a few shards are in flight, so unread results cannot fill the memory."""
    results = LocalLauncher(2).map_shards(mark, [tmp_path / str(number) for number in range(50)])
    next(results)
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) <= 2 * AHEAD + 1
    results.close()  # type: ignore[attr-defined]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\n"
        "from components.launcher.local import LocalLauncher\n"
        "if __name__ == '__main__':\n"
        "    results = LocalLauncher(2).map_shards(time.sleep, [0.01] * 6 + [60] * 20)\n"
        "    next(results)\n"
        "    print('working', flush=True)\n"
        "    next(iter([*results]))\n"
    )
    root = Path(__file__).parent.parent
    parent = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"working\n"
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(workers, timeout=10)[1] == []
