"""Environment -> where things are: addresses, credentials, folders. Nothing here can change a result.

In: environment variables that start with VISIONLOOP_ (and the vendors' own names where they have one). Out: a frozen
`Settings` with every default filled in for one workspace on one machine. Results are `components.params`.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.workspace import Workspace

PREFIX = "VISIONLOOP_"


class SettingsError(ValueError):
    """The environment cannot be used; the message names every variable that is wrong."""


class Settings(BaseSettings):
    """Read from the environment by `load_settings`; an empty string stands for the embedded default."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    database_url: str = ""
    predictions_url: str = ""
    remote: str = ""
    smtp_url: SecretStr = SecretStr("")
    host: str = "127.0.0.1"
    serve_port: int = 8080
    mlflow_port: int = 5000
    prefect_port: int = 4200
    mlflow_uri: str = Field(default="", validation_alias="MLFLOW_TRACKING_URI")
    prefect_url: str = Field(default="", validation_alias="PREFECT_API_URL")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1)
    # For train.launcher torchrun on several machines, which share the workspace and run the same stage.
    machines: int = 1
    meet_at: str = ""  # host:port of one of them
    # MLflow run that a stage reports to; set by the training flow for the processes that it starts
    parent_run: str = ""


def load_settings(workspace: Workspace) -> Settings:
    """Settings for `workspace`, with the embedded defaults (SQLite files, local folders) filled in."""
    try:
        found = Settings()
    except ValidationError as error:
        lines = [
            f"  {PREFIX}{each['loc'][0]}: ".upper() + f"{each['msg']}, found {each['input']!r}"
            for each in error.errors()
        ]
        raise SettingsError(f"The environment has {len(lines)} problem(s):\n" + "\n".join(lines)) from None
    state = workspace.state
    defaults = {
        "database_url": f"sqlite:///{state / 'state.db'}",
        "predictions_url": found.database_url or f"sqlite:///{state / 'predictions.db'}",
        "remote": str(state / "remote"),
        "mlflow_uri": f"sqlite:///{state / 'mlflow.db'}",
    }
    missing = {name: value for name, value in defaults.items() if not getattr(found, name)}
    return found.model_copy(update=missing)


def quiet_vendors(state: Path) -> None:
    """Turn off every vendor's telemetry and keep its files under `state`; call first thing in a process."""
    quiet = {
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(state / "dvc" / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(state / "dvc" / "config"),
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(state / "prefect"),
        "OPENVINO_TELEMETRY": "0",
        "NNCF_TELEMETRY": "0",
        "SCARF_NO_ANALYTICS": "true",
        "GOMP_SPINCOUNT": "10000",  # then sleep: threads that spin on starve each other on a busy machine
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
