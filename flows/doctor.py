"""What this machine has, what it lacks, and how to get what is missing.

In: a workspace and its settings. Out: findings, one at a time, as soon as each is known. What was configured and does
not work is `broken`; what would be useful and is not there is `missing`. Nothing is installed.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Literal
from urllib.parse import urlsplit

from components.engine import TargetName
from components.settings import Settings
from components.workspace import Workspace
from flows.processes import answers, free_port, read_up

RUNTIMES: tuple[TargetName, ...] = ("tensorrt", "openvino", "onnxruntime")
GB = 1e9
ENOUGH_MEMORY = 4 * GB  # the demo stays under this
ENOUGH_DISK = 5 * GB  # room for a dataset of the demo's kind, its cache, remote and models


@dataclass(frozen=True)
class Finding:
    about: str
    state: Literal["ok", "missing", "broken"]
    found: str
    remedy: str = ""  # what to do; empty when all is well


def examine(workspace: Workspace, settings: Settings) -> Iterator[Finding]:
    """Look at everything; the first findings come at once, the whole takes some seconds."""
    yield python()
    yield cpu()
    yield memory()
    yield disk(workspace)
    yield gpu()
    for name in RUNTIMES:
        yield runtime(name)
    yield database(settings)
    yield data_remote(settings)
    yield mail(settings)
    yield server("prefect", settings.prefect_url, "PREFECT_API_URL")
    yield server("mlflow", settings.mlflow_uri, "MLFLOW_TRACKING_URI")
    yield from ports(workspace, settings)
    yield browser()
    yield cleanvision()


def python() -> Finding:
    tested = sys.version_info[:2] == (3, 11)
    remedy = "" if tested else "Tested with Python 3.11 alone: `uv python install 3.11`."
    return Finding("python", "ok" if tested else "missing", platform.python_version(), remedy)


def cpu() -> Finding:
    """Which precisions this CPU has instructions for; the others it computes as well, but gains less by them."""
    import torch

    has = torch.cpu.get_capabilities()
    units = {"int8": ("amx_int8", "avx512_vnni", "avx_vnni"), "bf16": ("amx_bf16", "avx512_bf16")}
    fast = {precision: next((unit for unit in names if has.get(unit)), "") for precision, names in units.items()}
    found = f"{has['num_logical_cores']} cores of {has['cpu_name']}; fp32"
    found += "".join(f", {precision} fast ({unit})" for precision, unit in fast.items() if unit)
    without = [precision for precision, unit in fast.items() if not unit]
    if not without:
        return Finding("cpu", "ok", found)
    remedy = "Engines gain less by them here; CPUs with AMX, or AVX-512 with VNNI and BF16, have them."
    return Finding("cpu", "missing", f"{found}; no instructions for {' or '.join(without)}", remedy)


def memory() -> Finding:
    import psutil

    now = psutil.virtual_memory()
    found = f"{now.available / GB:.1f} GB free of {now.total / GB:.1f} GB"
    if now.available >= ENOUGH_MEMORY:
        return Finding("memory", "ok", found)
    return Finding("memory", "missing", found, f"The demo takes {ENOUGH_MEMORY / GB:.0f} GB.")


def disk(workspace: Workspace) -> Finding:
    space = shutil.disk_usage(workspace.root)
    found = f"{space.free / GB:.0f} GB free of {space.total / GB:.0f} GB at {workspace.root}"
    if space.free >= ENOUGH_DISK:
        return Finding("disk", "ok", found)
    return Finding("disk", "missing", found, "Images lie in data/, DVC's cache and its remote.")


def gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", "missing", "no NVIDIA GPU or no driver", "Not needed: everything runs on the CPU.")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("gpu", "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})")


def runtime(name: TargetName) -> Finding:
    """One of the runtimes that an engine can be compiled for, and the precisions that it offers here."""
    from components.engine import target_named

    target = target_named(name)
    if reason := target.missing():
        return Finding(name, "missing", reason, "Not needed: `compile.target: auto` takes another runtime.")
    offered = [precision for precision in target.PRECISIONS if not target.lacks(precision)]
    return Finding(name, "ok", f"{import_module(name).__version__}, precisions {', '.join(offered)}")


def database(settings: Settings) -> Finding:
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from components.state.database import StateError, open_state

    where = make_url(settings.database_url).render_as_string(hide_password=True)
    try:
        open_state(settings.database_url).dispose()
    except (SQLAlchemyError, StateError, ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        return Finding("database", "broken", f"{where}: {reason}", "Look at VISIONLOOP_DATABASE_URL and its server.")
    return Finding("database", "ok", where)


def data_remote(settings: Settings) -> Finding:
    from components.storage import StorageError, check_writable

    try:
        check_writable(settings.remote)
    except StorageError as error:
        return Finding("data remote", "broken", str(error), "Look at VISIONLOOP_REMOTE and the AWS_ variables.")
    return Finding("data remote", "ok", settings.remote)


def mail(settings: Settings) -> Finding:
    """Whether the mail server lets us in, with TLS and login as the URL says; no mail is sent."""
    from smtplib import SMTPException

    from components.monitoring.mail import MailError, connect_smtp

    url = settings.smtp_url.get_secret_value()
    if not url:
        remedy = "Set VISIONLOOP_SMTP_URL=smtp+starttls://user:password@host:587 to send them."
        return Finding("mail", "missing", "no SMTP server: mails are written to .visionloop/outbox", remedy)
    shown = without_password(url)
    try:
        with connect_smtp(url):
            return Finding("mail", "ok", f"{shown} lets us in")
    except (OSError, SMTPException, MailError) as error:
        return Finding("mail", "broken", f"{shown}: {error}", "Look at VISIONLOOP_SMTP_URL.")


def server(about: str, url: str, variable: str) -> Finding:
    """A server that an operator runs, if `url` names one; without one the embedded way is as good."""
    if not url.startswith("http"):
        return Finding(about, "ok", f"embedded; {variable} would name a server")
    shown = without_password(url)
    if answers(url.rstrip("/") + "/health"):
        return Finding(about, "ok", f"{shown} answers")
    return Finding(about, "broken", f"{shown} does not answer", f"Start it, or unset {variable} to do without.")


def without_password(url: str) -> str:
    place = urlsplit(url)
    return f"{place.scheme}://{place.netloc.rpartition('@')[2]}"


def ports(workspace: Workspace, settings: Settings) -> Iterator[Finding]:
    """The ports that `visionloop up` listens on."""
    wanted = {
        "VISIONLOOP_SERVE_PORT": settings.serve_port,
        "VISIONLOOP_MLFLOW_PORT": settings.mlflow_port,
        "VISIONLOOP_PREFECT_PORT": settings.prefect_port,
    }
    ours = {urlsplit(url).port for url in read_up(workspace).values()}
    for variable, port in wanted.items():
        holder = "" if port in ours else _holder(port)
        found = f"in use by {holder}" if holder else "in use by this workspace's `up`" if port in ours else "free"
        remedy = f"Stop it, or set {variable} to another port." if holder else ""
        yield Finding(f"port {port}", "broken" if holder else "ok", found, remedy)


def _holder(port: int) -> str:
    """Who listens on `port`; empty when nobody does."""
    import psutil

    if free_port(port) == port:
        return ""
    with suppress(psutil.Error):  # not everybody may look at everybody's processes
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and getattr(each.laddr, "port", 0) == port and each.pid:
                return f"{psutil.Process(each.pid).name()} (process {each.pid})"
    return "another process"


def browser() -> Finding:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found:
        return Finding("chromium", "ok", found)
    return Finding("chromium", "missing", "not installed", "For `pytest -m browser` alone: `apt-get install chromium`.")


def cleanvision() -> Finding:
    if importlib.util.find_spec("cleanvision"):
        return Finding("cleanvision", "ok", version("cleanvision"))
    remedy = "For `bench --only scan` alone: `uv run --group bench visionloop bench --only scan`."
    return Finding("cleanvision", "missing", "not installed", remedy)
