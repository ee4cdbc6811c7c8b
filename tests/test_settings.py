"""Where things are comes from the environment; without one, everything lies in the workspace."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from components.settings import SettingsError, load_settings, quiet_vendors


def test_without_environment_everything_lies_in_the_workspace(workspace):
    settings = load_settings(workspace)
    for place in (settings.database_url, settings.predictions_url, settings.remote, settings.mlflow_uri):
        assert str(workspace.state) in place
    assert settings.host == "127.0.0.1"
    assert settings.smtp_url.get_secret_value() == ""


def test_the_environment_says_where_things_are(workspace, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_DATABASE_URL", "postgresql://db/visionloop")
    monkeypatch.setenv("VISIONLOOP_REMOTE", "s3://bucket/data")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    settings = load_settings(workspace)
    assert settings.database_url == settings.predictions_url == "postgresql://db/visionloop"
    assert (settings.remote, settings.mlflow_uri) == ("s3://bucket/data", "http://mlflow:5000")
    assert settings.prefect_url == "http://prefect:4200/api"


def test_an_empty_variable_means_the_embedded_default(workspace, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_REMOTE", "")
    monkeypatch.setenv("VISIONLOOP_SERVE_PORT", "")
    settings = load_settings(workspace)
    assert (settings.remote, settings.serve_port) == (str(workspace.state / "remote"), 8080)


def test_every_mistake_in_the_environment_is_named_at_once(workspace, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_SERVE_PORT", "http")
    monkeypatch.setenv("VISIONLOOP_WORKERS", "many")
    with pytest.raises(SettingsError, match=r"(?s)2 problem.*VISIONLOOP_SERVE_PORT: .*'http'.*VISIONLOOP_WORKERS: "):
        load_settings(workspace)


def test_the_mail_password_is_never_printed(workspace, monkeypatch):
    monkeypatch.setenv("VISIONLOOP_SMTP_URL", "smtps://robot:canary-7@mail:465")
    settings = load_settings(workspace)
    assert "canary-7" not in f"{settings} {settings!r} {settings.model_dump_json()}"
    assert settings.smtp_url.get_secret_value().endswith("@mail:465")


def test_settings_cannot_be_changed_after_they_were_read(workspace):
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(workspace).host = "0.0.0.0"  # type: ignore[misc]


def test_vendors_are_quiet_and_keep_their_files_in_the_workspace(workspace, monkeypatch):
    for name in ("DO_NOT_TRACK", "PREFECT_HOME", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    quiet_vendors(workspace.state)
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["PREFECT_HOME"].startswith(str(workspace.state))


def test_what_an_operator_set_for_a_vendor_stays(workspace, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", "/srv/prefect")
    quiet_vendors(workspace.state)
    assert os.environ["PREFECT_HOME"] == "/srv/prefect"


def test_reading_settings_imports_no_vendor():
    code = "import sys, components.settings; print({'torch', 'mlflow', 'prefect', 'dvc', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
