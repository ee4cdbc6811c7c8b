"""`python -m components.serving --workspace DIR [--port N]`: serve the champion of a workspace."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.params import ParamsError
from components.serving.server import ServeError, serve
from components.settings import SettingsError
from components.state.database import StateError
from components.workspace import WorkspaceError, open_workspace


def main() -> int:
    """0 after a clean stop; 1 with one message when the service cannot start."""
    parser = argparse.ArgumentParser(prog="python -m components.serving", description="Serve a workspace's champion.")
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--port", type=int, default=None, metavar="N", help="0 takes any free port")
    arguments = parser.parse_args()
    try:
        serve(open_workspace(arguments.workspace), arguments.port)
    except (ParamsError, ServeError, SettingsError, StateError, WorkspaceError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # uvicorn has stopped cleanly and passes the signal on
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
