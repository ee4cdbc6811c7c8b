"""The demo keeps what the README promises of it: drift is noticed, the model recovers, no other folder is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.workspace import WorkspaceError
from flows.demo import prepare


def test_the_demo_never_overwrites_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WorkspaceError, match="no earlier demo"):
        prepare(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_loop_recovers_from_a_changed_camera(tmp_path: Path):
    command = Path(sys.executable).parent / "visionloop"
    told = subprocess.run([command, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    demo = tmp_path / ".visionloop" / "demo"
    report = json.loads((demo / "report.json").read_text())
    assert report["accuracy_before"] >= 0.97
    assert report["accuracy_under_drift"] <= report["accuracy_before"] - 0.10
    assert report["accuracy_recovered"] >= report["accuracy_before"] - 0.03
    assert report["false_alarms_on_good_traffic"] == 0
    assert report["windows_to_alert"] == 2
    assert report["automation_id"]
    assert report["champion_after"]["version"] > report["champion_before"]["version"]
    mails = [path.read_text() for path in (demo / ".visionloop" / "outbox").glob("*.eml")]
    assert any("drifted" in mail for mail in mails)
    assert any("images to label" in mail for mail in mails)
    assert (demo / "report.html").stat().st_size > 50_000
