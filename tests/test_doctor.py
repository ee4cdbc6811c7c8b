"""`doctor` names what this machine has, what is missing or broken, and what to do about it."""

from __future__ import annotations

import socket

import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from components.settings import load_settings
from flows import cli, doctor
from flows.processes import free_port


@pytest.fixture
def settings(workspace):
    free = {name: free_port() for name in ("serve_port", "mlflow_port", "prefect_port")}
    return load_settings(workspace).model_copy(update=free)


def test_every_line_says_what_to_do_unless_all_is_well(workspace, settings):
    findings = list(doctor.examine(workspace, settings))
    assert [each.about for each in findings if (each.state == "ok") == bool(each.remedy)] == []
    subjects = {each.about for each in findings}
    assert {"python", "cpu", "memory", "disk", "gpu", "tensorrt", "openvino", "onnxruntime"} <= subjects
    assert {"database", "data remote", "mail", "prefect", "mlflow", "chromium", "cleanvision"} <= subjects
    assert [each.about for each in findings if each.state == "broken"] == []


def test_the_command_ends_with_1_only_when_something_configured_does_not_work(workspace, monkeypatch):
    for name in ("SERVE", "MLFLOW", "PREFECT"):
        monkeypatch.setenv(f"VISIONLOOP_{name}_PORT", str(free_port()))
    runner = CliRunner()
    well = runner.invoke(cli.app, ["--workspace", str(workspace.root), "doctor"])
    assert (well.exit_code, "broken" in well.stdout) == (0, False)
    monkeypatch.setenv("VISIONLOOP_REMOTE", str(workspace.params))
    ill = runner.invoke(cli.app, ["--workspace", str(workspace.root), "doctor"])
    assert ill.exit_code == 1
    assert any(line.startswith("broken  data remote") for line in ill.stdout.splitlines())


def test_a_port_in_use_is_named_with_its_holder_and_the_setting_that_moves_it(workspace, settings):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = settings.model_copy(update={"serve_port": holder.getsockname()[1]})
        finding = next(doctor.ports(workspace, taken))
    assert finding.state == "broken"
    assert "in use by " in finding.found
    assert "VISIONLOOP_SERVE_PORT" in finding.remedy


def test_a_mail_server_that_is_away_is_broken_and_its_password_never_shown(workspace, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_SMTP_URL", "smtp://robot:canary-7@127.0.0.1:9")
    finding = doctor.mail(load_settings(workspace))
    assert finding.state == "broken"
    assert "127.0.0.1:9" in finding.found
    assert "canary-7" not in f"{finding}"


def test_a_mail_server_that_lets_us_in_is_ok(workspace, monkeypatch):
    server = Controller(object(), hostname="127.0.0.1", port=free_port())
    server.start()
    monkeypatch.setenv("VISIONLOOP_SMTP_URL", f"smtp://127.0.0.1:{server.port}")
    finding = doctor.mail(load_settings(workspace))
    server.stop()
    assert (finding.state, finding.found) == ("ok", f"smtp://127.0.0.1:{server.port} lets us in")


def test_a_mail_address_of_another_kind_is_broken(workspace, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_SMTP_URL", "http://robot:canary-7@mail")
    finding = doctor.mail(load_settings(workspace))
    assert (finding.state, "canary-7" in f"{finding}") == ("broken", False)


def test_without_a_mail_server_it_says_where_mails_go(workspace):
    finding = doctor.mail(load_settings(workspace))
    assert finding.state == "missing"
    assert ".visionloop/outbox" in finding.found
    assert "VISIONLOOP_SMTP_URL" in finding.remedy


def test_a_remote_that_cannot_be_written_is_broken(settings, tmp_path):
    (tmp_path / "file").write_text("")
    finding = doctor.data_remote(settings.model_copy(update={"remote": str(tmp_path / "file")}))
    assert (finding.state, "VISIONLOOP_REMOTE" in finding.remedy) == ("broken", True)


def test_a_database_that_does_not_answer_is_broken_and_its_password_never_shown(settings, tmp_path):
    (tmp_path / "file").write_text("")
    url = f"sqlite:///{tmp_path}/file/state.db"
    assert doctor.database(settings.model_copy(update={"database_url": url})).state == "broken"
    url = "oracle://me:canary-7@127.0.0.1/x"
    assert "canary-7" not in f"{doctor.database(settings.model_copy(update={'database_url': url}))}"


def test_a_server_that_is_configured_and_away_is_broken_and_its_password_never_shown():
    finding = doctor.server("prefect", "http://me:canary-7@127.0.0.1:9/api", "PREFECT_API_URL")
    assert (finding.state, finding.found) == ("broken", "http://127.0.0.1:9 does not answer")
    assert "unset PREFECT_API_URL" in finding.remedy


@pytest.mark.gpu
def test_a_gpu_is_named_with_its_cuda():
    assert "CUDA" in doctor.gpu().found
