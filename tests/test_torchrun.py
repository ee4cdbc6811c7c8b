"""Several processes train one model as one does, recover from a killed worker, and never outlive their parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from components.launcher.group import ALONE, Group
from tests.training import run, shapes

ROOT = Path(__file__).resolve().parent.parent
WORKER = """
import os, signal, sys
from pathlib import Path
from components.report import Silent
from tests.training import shapes, train_in

folder, arch, lr, kill = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]

class Killed(Silent):
    def metrics(self, values, step=None):
        if kill and step == 3 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

(folder / f"worker-{os.getpid()}").touch()
train_in(folder, shapes(), Killed(), arch=arch, lr=lr, optimizer="sgd", epochs=4, warmup_epochs=0)
"""
PARENT = """
import sys
from components.launcher import LauncherError
from components.launcher.torchrun import run_in_processes
try:
    run_in_processes(sys.argv[1:], 2)
except LauncherError as error:
    print("REFUSED", error, flush=True)
"""


def start(folder: Path, arch: str = "lenet5", lr: float = 0.01, *more: str) -> subprocess.Popen[str]:
    folder.mkdir()
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-c", PARENT, str(folder / "worker.py"), str(folder), arch, str(lr), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=180)
    return said


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_things_are_shared_out_whole_and_evenly():
    for count in (0, 1, 7, 8):
        parts = [list(range(count))[Group(rank, 3).share(count)] for rank in range(3)]
        assert [each for part in parts for each in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert ALONE.share(5) == slice(0, 5)
    assert ALONE.gather("x") == ["x"]


def test_two_processes_train_the_same_weights_as_one(tmp_path: Path):
    """A net without batch norm, augmented, at the same global batch."""
    assert finish(start(tmp_path / "two")) == ""
    one = run(tmp_path / "one", shapes(), arch="lenet5", lr=0.01, optimizer="sgd", epochs=4, warmup_epochs=0)
    two = weights_in(tmp_path / "two")
    before = run(tmp_path / "other", shapes(), arch="lenet5", lr=1e-9, optimizer="sgd", epochs=1, warmup_epochs=0)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) <= 1e-5
    assert max(float((one[name] - before[name]).abs().max()) for name in one) > 1e-3


@pytest.mark.slow
def test_a_killed_worker_resumes_and_ends_with_the_same_weights(tmp_path: Path):
    assert finish(start(tmp_path / "cut", "resnet9", 0.01, "kill")) == ""
    assert finish(start(tmp_path / "whole", "resnet9", 0.01)) == ""
    assert len(list((tmp_path / "cut").glob("worker-*"))) >= 3
    cut, whole = weights_in(tmp_path / "cut"), weights_in(tmp_path / "whole")
    assert all(torch.allclose(cut[name].float(), whole[name].float(), atol=1e-5) for name in whole)


@pytest.mark.slow
def test_with_batch_norm_two_processes_are_as_good_as_one_with_another_seed(tmp_path: Path):
    finish(start(tmp_path / "two", "resnet9"))
    for seed in range(5):
        run(
            tmp_path / f"{seed}",
            shapes(),
            arch="resnet9",
            optimizer="sgd",
            lr=0.01,
            epochs=4,
            warmup_epochs=0,
            seed=seed,
        )
    two, *ones = (val_loss(tmp_path / name) for name in ("two", "0", "1", "2", "3", "4"))
    print(f"val/loss of two processes {two:.4f}; of one, five seeds: {', '.join(f'{each:.4f}' for each in ones)}")
    assert min(ones) <= two <= max(ones)


def val_loss(folder: Path) -> float:
    return float(json.loads((folder / "model" / "metrics.json").read_text())["val/loss"])


@pytest.mark.slow
def test_what_a_worker_says_comes_back_once_without_new_starts(tmp_path: Path):
    said = finish(start(tmp_path / "cut", "lenet5", 1e30))
    assert said.count("REFUSED The loss grew beyond bounds") == 1
    assert len(list((tmp_path / "cut").glob("worker-*"))) == 2


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    parent = start(tmp_path / "cut", "resnet9", 1e-3)
    until = time.monotonic() + 60
    while len(list((tmp_path / "cut").glob("worker-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert len(workers) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
