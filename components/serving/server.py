"""Runs the service: one process, one port, until SIGTERM or Ctrl-C, which let requests under way finish.

In: a workspace and a port. Out: a running service. The port is taken before anything is loaded, so that a port in use
is said at once.
"""

from __future__ import annotations

import errno
import logging
import socket

from components.params import load_params
from components.serving.edge import LOOPBACK
from components.settings import load_settings, quiet_vendors
from components.workspace import Workspace

GRACE_S = 30  # for requests under way when the service is told to stop


class ServeError(RuntimeError):
    """The service cannot start; the message says what to change."""


def serve(workspace: Workspace, port: int | None = None) -> None:
    """Serve the champion of `workspace` on `port` (VISIONLOOP_SERVE_PORT when None, any free one when 0) and block.

    Raises ServeError for a port in use, an address that is not this machine's own, or a database that does not open.
    """
    quiet_vendors(workspace.state)
    params, settings = load_params(workspace.params), load_settings(workspace)
    with listen(settings.host, settings.serve_port if port is None else port) as listener:
        import uvicorn
        from sqlalchemy.exc import SQLAlchemyError

        from components.serving.app import create_app

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        try:
            app = create_app(workspace, params, settings)
        except (SQLAlchemyError, OSError) as error:
            raise ServeError(f"The database cannot be opened: {error}. See VISIONLOOP_DATABASE_URL.") from None
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S)
        print(f"visionloop serves {workspace.root} on http://{_shown(listener)}", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raise ServeError when the port is taken, or `host` would open the service to the network."""
    if host not in LOOPBACK:
        raise ServeError(
            f"VISIONLOOP_HOST is {host!r}, but the service knows no passwords and listens on 127.0.0.1 alone. "
            "Let a proxy that asks who is there stand in front of it."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise ServeError(f"Port {port} on {host} {why}. Choose another with --port or VISIONLOOP_SERVE_PORT.") from None
    return listener


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
