"""The `visionloop` command: quick help, one clear message for a mistake, words that programs can read."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from components.versioning import StageFailed
from components.workspace import STAGES, Workspace, open_workspace
from flows import cli, opening
from tests.bundles import promote, tiny_bundle

VISIONLOOP = Path(sys.executable).with_name("visionloop")
COMMANDS = {command.name or command.callback.__name__: command for command in cli.app.registered_commands}


def call(*words: object):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_help_answers_in_under_a_second_of_cpu_time():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = subprocess.run([VISIONLOOP, "--help"], check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert "..." not in text.replace("[ARGS]...", "")  # every command's line is whole


def test_the_command_line_itself_imports_nothing_heavy():
    heavy = "{'torch', 'prefect', 'mlflow', 'dvc', 'pandas', 'numpy', 'pyarrow', 'sqlalchemy', 'pydantic', 'rich'}"
    code = f"import sys, flows.cli; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name):
    text = call(name, "--help").output
    assert f"Example: visionloop {name}" in " ".join(text.split())
    assert COMMANDS[name].callback.__doc__.strip().endswith(".")


def test_all_commands_of_the_product_are_there():
    assert list(COMMANDS) == [
        *("demo", "init", "ingest", "run", "up", "predict", "stage", "serve", "bench"),
        *("monitor", "retrain", "rollback", "status", "explain", "doctor"),
        *("compare", "tune", "lr-find", "synthesize", "export-dataset"),
    ]


def test_init_makes_a_workspace_and_never_overwrites_one(tmp_path):
    first = call("init", tmp_path / "birds", "--task", "classification")
    assert first.exit_code == 0
    assert "ingest FOLDER_OF_IMAGES" in first.output
    params = open_workspace(tmp_path / "birds").params
    assert params.read_text().startswith("# Everything that can change a result")
    again = call("init", tmp_path / "birds")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "already has params.yaml and dvc.yaml; nothing was changed" in again.stderr


def test_an_unknown_task_is_refused_with_those_there_are(tmp_path):
    refused = call("init", tmp_path, "--task", "poetry")
    assert refused.exit_code == 2
    assert "classification" in refused.output


def test_the_workspace_may_be_named_before_or_behind_the_command(workspace):
    before = call("--workspace", workspace.root, "status", "--json")
    behind = call("status", "--json", "--workspace", workspace.root)
    assert before.exit_code == behind.exit_code == 0
    assert before.output == behind.output
    assert call("--workspace", "/nowhere", "status", "--workspace", workspace.root).exit_code == 0


def test_without_a_name_the_workspace_is_where_one_stands(workspace, monkeypatch):
    monkeypatch.chdir(workspace.root)
    assert call("status").exit_code == 0


def test_status_as_json_is_one_object(workspace):
    found = json.loads(call("--workspace", workspace.root, "status", "--json").stdout)
    assert list(found) == [
        *("dataset", "champion", "challenger", "drift", "alerts", "review_queue", "outbox", "services"),
    ]


def test_status_without_a_terminal_is_one_plain_line_a_subject(workspace):
    lines = call("--workspace", workspace.root, "status").stdout.splitlines()
    assert lines[0] == "dataset     0 images of 0 classes"
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"demo", "init"}))
def test_a_folder_that_is_no_workspace_is_one_message_for_every_command(name, tmp_path):
    needed = {"ingest": ["photos"], "predict": ["a.jpg"], "stage": ["train"], "explain": ["1"], "compare": ["resnet18"]}
    arguments = (needed | {"export-dataset": ["out", "--format", "coco"]}).get(name, [])
    refused = call("--workspace", tmp_path, name, *arguments)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("visionloop: ")
    assert "is not a workspace" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_stage_that_does_not_exist_is_refused_with_those_that_do(workspace):
    refused = call("--workspace", workspace.root, "stage", "tain")
    assert refused.exit_code == 2
    assert all(stage in refused.stderr for stage in STAGES)


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> Workspace:
        raise error

    monkeypatch.setattr(opening, "open_workspace", fail)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StageFailed("Stage train failed."), "visionloop: Stage train failed.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "No space left on device: 'x' (--debug shows where)\n"),
        (OperationalError("SELECT", {}, Exception("database is locked")), "the database failed: database is locked."),
    ],
)
def test_an_error_of_ours_or_of_the_machine_is_a_message_and_no_traceback(error, message, monkeypatch):
    fail_with(error, monkeypatch)
    failed = call("status")
    assert failed.exit_code == 1
    assert message in failed.stderr
    assert "Traceback" not in failed.output


@pytest.mark.parametrize(("words", "variable"), [(["--debug"], ""), ([], "1")])
def test_debug_keeps_the_traceback(words, variable, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_DEBUG", variable)
    fail_with(StageFailed("Stage train failed."), monkeypatch)
    assert isinstance(call(*words, "status").exception, StageFailed)


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    fail_with(ZeroDivisionError(), monkeypatch)
    assert isinstance(call("status").exception, ZeroDivisionError)


def test_wrong_params_are_told_all_at_once_without_a_traceback(workspace):
    workspace.params.write_text(
        workspace.params.read_text().replace("fit: stretch", "fit: bend").replace(" lr:", " rl:")
    )
    failed = call("--workspace", workspace.root, "ingest", workspace.root)
    assert failed.exit_code == 1
    assert "3 problem(s)" in failed.stderr
    assert "train.rl: unknown key" in failed.stderr


def test_predicting_before_there_is_a_model_says_what_to_do(workspace):
    failed = call("--workspace", workspace.root, "predict", "a.jpg")
    assert failed.exit_code == 1
    assert "visionloop run" in failed.stderr


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A folder with a light picture, a dark one, and a file that is no picture."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    Image.new("RGB", (40, 40), "white").save(folder / "a light\none.png")
    Image.new("RGB", (40, 40), "black").save(folder / "dark.png")
    (folder / "notes.png").write_text("no picture")
    return folder


def test_predictions_without_a_terminal_are_a_table_for_programs(workspace, light):
    promote(workspace, 1, tiny_bundle(workspace).digest)
    done = call("--workspace", workspace.root, "predict", light)
    assert done.exit_code == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["path", "label", "confidence", "model_version", "error"]
    assert [(Path(row[0]).name, row[1], row[3]) for row in rows[1:]] == [
        ("a light\\none.png", "light", "1"),
        ("dark.png", "dark", "1"),
        ("notes.png", "", "1"),
    ]


def test_predictions_are_written_as_the_name_of_the_output_says(workspace, light, tmp_path):
    promote(workspace, 1, tiny_bundle(workspace).digest)
    done = call("--workspace", workspace.root, "predict", light / "dark.png", "--output", tmp_path / "found.json")
    assert done.stdout.splitlines()[-1] == f"1 predictions in {tmp_path / 'found.json'}"
    assert [row["label"] for row in json.loads((tmp_path / "found.json").read_text())] == ["dark"]
    refused = call("--workspace", workspace.root, "predict", light, "--output", tmp_path / "found.xlsx")
    assert refused.exit_code == 1
    assert ".csv, .parquet, .json" in refused.stderr


def test_rollback_lets_the_model_before_serve_again_also_when_mlflow_is_away(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    digest = tiny_bundle(workspace).digest
    for version in (1, 2):
        promote(workspace, version, digest)
    done = call("--workspace", workspace.root, "rollback")
    assert (done.exit_code, done.stdout) == (1, "Model v1 serves again.\n")
    assert "MLflow" in done.stderr
    assert json.loads(call("--workspace", workspace.root, "status", "--json").stdout)["champion"]["version"] == 1
    refused = call("--workspace", workspace.root, "rollback", 7)
    assert refused.exit_code == 1
    assert "v7 is not one that served before" in refused.stderr
