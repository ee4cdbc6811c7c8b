"""Run one command in several processes that work together, here or also on other machines (torch's elastic launch).

In: arguments of Python, how many processes. Out: nothing, once all have finished; each finds its `group.Group`. When a
worker dies, all start anew, to go on from what they keep on disk. What a worker raises for people to read comes back
as one LauncherError; workers never outlive the process that started them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.launcher import LauncherError
from components.launcher.group import FAILURE

RESTARTS = 3  # of all workers together, after one died
LOOK_S = 0.5  # between two looks at the workers
# Workers of a new start must not meet in the store of those before them: only half of the restarts came up so.
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def processes_here(wanted: int) -> int:
    """`wanted`, or for 0 one for each GPU, or for each core that this process may use where there is none."""
    import torch

    return wanted or torch.cuda.device_count() or len(os.sched_getaffinity(0))


def run_in_processes(arguments: Sequence[str], processes: int, machines: int = 1, meet_at: str = "") -> None:
    """Run `python <arguments>` in `processes` processes; raise LauncherError with what they said, or why they died.

    With more `machines`, call this on each with the same arguments and the same `meet_at`, host:port of one of them.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=machines,
        max_nodes=machines,
        nproc_per_node=processes,
        run_id="visionloop",
        rdzv_backend="c10d",
        rdzv_endpoint=meet_at or "localhost:0",
        max_restarts=RESTARTS,
        monitor_interval=LOOK_S,
    )
    with tempfile.TemporaryDirectory() as folder:
        failure = Path(folder) / "failure.txt"
        os.environ |= {**OWN_STORE, FAILURE: str(failure)}
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except ChildFailedError as error:
            raise LauncherError(_words(failure) or _death(error)) from None
        if failure.is_file():
            raise LauncherError(_words(failure))


def _words(failure: Path) -> str:
    return failure.read_text(encoding="utf-8") if failure.is_file() else ""


def _death(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith(("exitcode", "Signal"))), lines[0] if lines else "")
    return (
        f"A worker process died again after {RESTARTS} new starts ({reason}); what it said is above. Most likely "
        "memory is short: lower `train.processes` or `train.batch_size`. The same command goes on after the last epoch."
    )
