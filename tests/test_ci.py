"""`.ci/run` runs every check, goes on after a failure, and ends by naming what failed and what was skipped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parent.parent / ".ci" / "run"
# Stands for uv: writes down what it was asked; no test carries the marker `slow`; what FAIL names fails; no ray.
UV = """#!/bin/sh
echo "$*" >> "$ASKED"
case "$*" in
  *"$FAIL"*) exit 1 ;;
  *"-m slow"*) exit 5 ;;
  *"import ray"*) exit 1 ;;
esac
"""


@pytest.fixture
def run_ci(tmp_path: Path):
    (tmp_path / "uv").write_text(UV)
    (tmp_path / "uv").chmod(0o755)
    for name in ("nvidia-smi", "chromium"):
        (tmp_path / name).write_text("#!/bin/sh\nexit " + str(int(name == "nvidia-smi")))
        (tmp_path / name).chmod(0o755)

    def run(fail: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "ASKED": str(tmp_path / "asked"), "FAIL": fail}
        ended = subprocess.run([CI], env=environment, capture_output=True, text=True)
        return ended, (tmp_path / "asked").read_text().splitlines()

    return run


def test_all_checks_run_and_a_skip_names_what_is_missing(run_ci):
    ended, asked = run_ci("nothing fails")
    assert ended.returncode == 0, ended.stdout
    assert asked[:3] == ["sync", "run pytest", "run pytest -m slow"]
    assert asked[-3:] == ["run ruff check", "run ruff format --check", "run mypy"]
    assert "skipped: pytest -m ray: ray is not installed" in ended.stdout
    assert "skipped: pytest -m gpu: no NVIDIA GPU" in ended.stdout
    assert ended.stdout.endswith("all passed\n")


def test_one_failure_does_not_hide_the_others_and_is_named_at_the_end(run_ci):
    ended, asked = run_ci("ruff")
    assert ended.returncode == 1
    assert asked[-1] == "run mypy"
    assert ended.stdout.endswith("FAILED: ruff check\nFAILED: ruff format\n")


def test_it_names_no_registry():
    assert "://" not in CI.read_text()
