"""Flows run from the command line, in this process, against whichever Prefect server there is.

In: a workspace. Out: lines that say what happened. Nothing here imports prefect before `PREFECT_API_URL` is set,
and a run that has nothing to do starts no server at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from components.settings import load_settings
from components.workspace import Workspace, WorkspaceError
from flows.server import prefect_server

if TYPE_CHECKING:
    from flows.monitoring import MonitoringResult


def run_training(workspace: Workspace, reason: str = "by hand") -> list[str]:
    """Bring the workspace's model up to date; raise WorkspaceError when there are no images."""
    if not workspace.manifest.is_file():
        raise WorkspaceError(f"{workspace.root} has no images yet. Add some: `visionloop ingest FOLDER`.")
    unchanged = nothing_changed(workspace)
    if unchanged:
        catch_up(workspace)
        return [unchanged]
    with quiet_server(workspace):
        from flows.training import training

        return training(str(workspace.root), reason).lines


def run_monitoring(workspace: Workspace) -> MonitoringResult:
    """Judge the predictions that arrived since the last look."""
    with quiet_server(workspace):
        from flows.monitoring import monitoring

        return monitoring(str(workspace.root))


def run_retraining(workspace: Workspace, reason: str = "by hand") -> list[str]:
    """Merge new labels, train a challenger from the champion, and promote it if it is better."""
    with quiet_server(workspace):
        from flows.retraining import retraining

        return retraining(str(workspace.root), reason=reason, force=True)


@contextmanager
def quiet_server(workspace: Workspace) -> Iterator[None]:
    """A Prefect server that gets every log, while tracebacks stay off the terminal: whoever called sees the error."""
    with prefect_server(workspace, load_settings(workspace)):
        from prefect.logging.configuration import ensure_logging_setup
        from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

        ensure_logging_setup()
        for handler in logging.getLogger().handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(without_traceback)
        try:
            yield
        finally:
            APILogHandler().flush()  # before the server is gone


def without_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def catch_up(workspace: Workspace) -> None:
    """Let alias and mail follow decisions that a killed process left unannounced."""
    from components.monitoring.alerts import announce
    from components.params import load_params
    from components.registry.promote import replay_effects
    from components.state.database import open_state

    settings, alert, now = load_settings(workspace), load_params(workspace.params).alert, datetime.now(UTC)
    tell = partial(announce, params=alert, now=now)
    replay_effects(settings, open_state(settings.database_url), now, tell)


def nothing_changed(workspace: Workspace) -> str:
    """A line that says so when every stage is up to date and its model has been judged; else an empty string."""
    from components.state.database import open_state
    from components.state.ledger import newest_model
    from components.versioning import data_version, ensure_dvc, stale_stages

    settings = load_settings(workspace)
    ensure_dvc(workspace, settings)
    if stale_stages(workspace):
        return ""
    model = newest_model(open_state(settings.database_url))
    if model is None or model.verdict is None or model.data_version != data_version(workspace):
        return ""
    decision = model.verdict["decision"].replace("_", " ")
    return f"Nothing changed: data, params and code are those of model v{model.version} ({decision})."
