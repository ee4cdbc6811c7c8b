"""Promises of components.versioning, with a real DVC and stages that take no time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.code_digest import write_code_digests
from components.settings import load_settings
from components.versioning import (
    StageFailed,
    VersioningError,
    WorkspaceBusy,
    data_version,
    ensure_dvc,
    push,
    reproduce,
    stale_stages,
    track,
    workspace_lock,
)
from components.workspace import Workspace

PIPELINE = """
stages:
  validate:
    cmd: python stage.py validate
    deps: [.visionloop/code/validate, data/manifest.parquet]
    outs: [data/validation]
  split:
    cmd: python stage.py split
    deps: [data/validation]
    params: [split]
    outs: [{data/splits.parquet: {persist: true}}]
"""
STAGE = """
import os, sys, time
from pathlib import Path
import components
print("with", sys.executable, "and", components.__file__, os.environ.get("GREETING", ""), flush=True)
if Path("fail").exists():
    sys.exit("the disk is made of cheese")
if Path("sleep").exists():
    Path("sleep").write_text(str(os.getpid()))
    Path("asleep").touch()
    time.sleep(60)
out = Path("data/validation" if sys.argv[1] == "validate" else "data/splits.parquet")
if sys.argv[1] == "validate":
    out.mkdir(parents=True)
    out = out / "verdict.json"
out.write_text(Path("data/manifest.parquet").read_text())
"""


@pytest.fixture
def tiny(workspace: Workspace) -> Workspace:
    """A workspace whose pipeline has two stages that copy a file."""
    workspace.dvc.write_text(PIPELINE)
    (workspace.root / "stage.py").write_text(STAGE)
    workspace.shards.mkdir(parents=True)
    for path in (workspace.shards / "a.arrow", workspace.manifest, workspace.labels):
        path.write_text(f"first {path.name}")
    for path in (workspace.quarantine, workspace.conflicts):
        path.write_text("")
    ensure_dvc(workspace, load_settings(workspace))
    return workspace


def _run(workspace: Workspace, stage: str, **environment: str) -> tuple[bool, list[str]]:
    lines: list[str] = []
    return reproduce(workspace, stage, environment, lines.append).changed, lines


def test_a_stage_runs_once_and_again_only_when_what_it_reads_has_changed(tiny: Workspace) -> None:
    assert stale_stages(tiny) == ["validate", "split"]
    assert [_run(tiny, stage)[0] for stage in ("validate", "split")] == [True, True]
    assert stale_stages(tiny) == []
    assert _run(tiny, "validate") == (False, [])

    tiny.manifest.unlink()
    tiny.manifest.write_text("second")
    assert stale_stages(tiny) == ["validate"]
    assert _run(tiny, "validate")[0]
    assert stale_stages(tiny) == ["split"]


def test_new_code_behind_a_stage_makes_it_stale(tiny: Workspace) -> None:
    _run(tiny, "validate")
    digest = tiny.code / "validate"
    before = digest.read_text()
    digest.write_text("digest of an older visionloop")
    _run(tiny, "validate")
    assert digest.read_text() == before


def test_a_stage_runs_with_our_interpreter_our_package_and_the_given_environment(tiny: Workspace) -> None:
    (tiny.root / "components").mkdir()
    (tiny.root / "components" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    _, lines = _run(tiny, "validate", GREETING="hello")
    import components

    assert lines == [f"with {Path(sys.executable).parent / 'python'} and {components.__file__} hello"]


def test_a_failing_stage_tells_its_last_lines_and_what_to_do_and_can_be_run_again(tiny: Workspace) -> None:
    (tiny.root / "fail").touch()
    with pytest.raises(StageFailed, match=r"(?s)Stage validate failed.*made of cheese.*run the same command again"):
        _run(tiny, "validate")
    (tiny.root / "fail").unlink()
    assert _run(tiny, "validate")[0]


def test_data_is_pushed_to_the_remote_and_tracking_it_again_changes_nothing(tiny: Workspace) -> None:
    version = track(tiny)
    push(tiny)
    stored = [path for path in (tiny.state / "remote").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"first a.arrow" for path in stored)
    assert track(tiny) == version
    assert len(version) == 12
    tiny.labels.unlink()
    tiny.labels.write_text("a label was corrected")
    assert data_version(tiny) != version


def test_a_remote_out_of_reach_is_reported_with_the_comfort_that_nothing_is_lost(tiny: Workspace) -> None:
    track(tiny)
    (tiny.root / "file").touch()
    ensure_dvc(tiny, load_settings(tiny).model_copy(update={"remote": str(tiny.root / "file" / "remote")}))
    with pytest.raises(VersioningError, match=r"(?s)nothing is lost.*run the same command again"):
        push(tiny)


def test_a_remote_may_be_in_any_folder(tiny: Workspace) -> None:
    remote = tiny.root / "a remote, #1 of 100% \N{OWL}"
    ensure_dvc(tiny, load_settings(tiny).model_copy(update={"remote": str(remote)}))
    track(tiny)
    push(tiny)
    assert any(path.is_file() for path in remote.rglob("*"))


def test_bundles_of_old_models_are_no_part_of_the_pipeline(tiny: Workspace) -> None:
    bundle = tiny.models / "0123"
    bundle.mkdir(parents=True)
    (bundle / "dvc.yaml").write_text(PIPELINE)
    assert stale_stages(tiny) == ["validate", "split"]


def test_own_credentials_and_ignore_rules_survive(tiny: Workspace) -> None:
    (tiny.root / ".dvcignore").write_text("/mine\n")
    (tiny.root / ".dvc" / "config.local").write_text("[core]\n")
    ensure_dvc(tiny, load_settings(tiny))
    assert (tiny.root / ".dvcignore").read_text() == "/mine\n"
    assert (tiny.root / ".dvc" / "config.local").read_text() == "[core]\n"


@pytest.mark.parametrize("torn", ["", "schema: '2.0'\nstag"])
def test_a_lock_file_torn_by_a_crash_is_made_anew(tiny: Workspace, torn: str) -> None:
    _run(tiny, "validate")
    (tiny.root / "dvc.lock").write_text(torn)
    (tiny.root / ".dvc" / "tmp" / "rwlock").write_text('{"data/val')
    _run(tiny, "validate")
    assert "data/validation" in (tiny.root / "dvc.lock").read_text()


def test_a_second_run_is_told_at_once_who_is_at_work(workspace: Workspace) -> None:
    began = time.monotonic()
    with (
        workspace_lock(workspace),
        pytest.raises(WorkspaceBusy, match=rf"in use by process {os.getpid()} .* Wait until it has ended"),
        workspace_lock(workspace),
    ):
        pass
    assert time.monotonic() - began < 1
    with workspace_lock(workspace):
        pass


def test_a_second_run_can_wait_for_its_turn(workspace: Workspace) -> None:
    code = f"""
        import time
        from pathlib import Path
        from components.versioning import workspace_lock
        from components.workspace import Workspace
        with workspace_lock(Workspace(Path({str(workspace.root)!r}))):
            print("held", flush=True)
            time.sleep(0.5)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdout.readline() == b"held\n"
        with workspace_lock(workspace, wait_s=20):
            pass


def test_kill_9_of_a_run_ends_its_stage_and_frees_the_workspace(tiny: Workspace) -> None:
    (tiny.root / "sleep").touch()
    code = f"""
        from pathlib import Path
        from components.versioning import reproduce, workspace_lock
        from components.workspace import Workspace
        workspace = Workspace(Path({str(tiny.root)!r}))
        with workspace_lock(workspace):
            reproduce(workspace, "validate", {{}}, print)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as run:
        _wait_until((tiny.root / "asleep").exists)
        stage = int((tiny.root / "sleep").read_text())
        with pytest.raises(WorkspaceBusy), workspace_lock(tiny):
            pass
        run.send_signal(signal.SIGKILL)
    with workspace_lock(tiny, wait_s=5):
        _wait_until(lambda: not _alive(stage))
        (tiny.root / "sleep").unlink()
        assert _run(tiny, "validate")[0]


def test_what_a_killed_dvc_left_does_not_hide_what_is_stale(tiny: Workspace) -> None:
    """A zombie keeps its number, so DVC takes the dead holder for a living one; any living process shows the same."""
    _run(tiny, "validate")
    killed = {"pid": os.getppid(), "cmd": "/x/components/dvc_command.py repro --single-item validate"}
    left = {"read": {}, "write": {str(tiny.validation): killed}}
    (tiny.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(left))
    assert stale_stages(tiny) == ["split"]


def test_kill_9_while_dvc_has_a_table_in_its_hands_loses_no_table(tiny: Workspace, tmp_path: Path) -> None:
    """DVC removes a file, then links it to its cache: it is killed in between, and so is who called it."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import os, signal
            unlink = os.unlink
            def unlink_and_die(path, *rest, **others):
                unlink(path, *rest, **others)
                if str(path).endswith("data/manifest.parquet"):
                    os.kill(os.getppid(), signal.SIGKILL)
                    os.kill(os.getpid(), signal.SIGKILL)
            os.unlink = os.remove = unlink_and_die
        """)
    )
    code = f"""
        import os
        from pathlib import Path
        os.environ["PYTHONPATH"] = {str(tmp_path)!r}
        from components.versioning import track, workspace_lock
        from components.workspace import Workspace
        workspace = Workspace(Path({str(tiny.root)!r}))
        with workspace_lock(workspace):
            track(workspace)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert not tiny.manifest.exists()
    with workspace_lock(tiny, wait_s=5):
        assert tiny.manifest.read_text() == "first manifest.parquet"
        track(tiny)
    assert tiny.manifest.read_text() == "first manifest.parquet"


def test_a_dvc_command_started_by_hand_is_named_as_the_obstacle(tiny: Workspace) -> None:
    (tiny.root / "sleep").touch()
    write_code_digests(tiny)
    by_hand = [sys.executable, "-m", "components.dvc_command", "repro", "--single-item", "validate"]
    with subprocess.Popen(by_hand, cwd=tiny.root, stdout=subprocess.DEVNULL, env={**os.environ, **_path()}) as dvc:
        _wait_until((tiny.root / "asleep").exists)
        with pytest.raises(WorkspaceBusy, match="Another DVC command is at work"):
            _run(tiny, "validate")
        dvc.terminate()


def _path() -> dict[str, str]:
    import components

    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(components.__file__).parent.parent),
    }


def _wait_until(ready: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
