"""One DVC command as a process of its own: what it says, line by line, and that it ends when its caller does.

In: a workspace and the arguments of a DVC command. Out: its exit status and its lines. As a program
(`python -m components.dvc_command ARGUMENTS`) it is DVC itself, which stops, with the stage that it runs, when its
caller is gone. What the commands are for is left to `components.versioning`.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from components.workspace import Workspace

CHATTER = re.compile(
    r"\s*$|Running stage '|> python |(Updating|Generating) lock file |Use `dvc push`|WARNING: '.*' is empty\."
    r"|Stage '.*'( didn't change|.* is cached)|Data and pipelines are up to date|ERROR: failed to repr.* exited with"
)


def dvc(
    workspace: Workspace,
    arguments: list[str],
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[int, list[str]]:
    """Exit status and all lines of `dvc ARGUMENTS`, run again when a file that a crash tore had to be set aside."""
    code, output = _once(workspace, arguments, environment or {}, say)
    while code and _set_torn_file_aside(workspace, output):
        code, output = _once(workspace, arguments, environment or {}, say)
    return code, output


def _once(
    workspace: Workspace, arguments: list[str], environment: Mapping[str, str], say: Callable[[str], None] | None
) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "components.dvc_command", *arguments]
    output: list[str] = []
    with subprocess.Popen(
        command,
        cwd=workspace.root,
        env={**os.environ, **environment, **_ours()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        close_fds=False,  # the workspace's lock, the one inheritable file, is held while DVC lives
    ) as process:
        try:
            for line in process.stdout or ():
                output.append(line.rstrip("\n"))
                if say and news(line):
                    say(output[-1])
        except BaseException:
            process.terminate()
            raise
    return process.returncode, output


def _ours() -> dict[str, str]:
    """What makes `python` in dvc.yaml this interpreter, and `components` this package whatever the workspace holds."""
    package = str(Path(__file__).resolve().parent.parent)
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "SHELL": "/bin/sh",
    }


def _set_torn_file_aside(workspace: Workspace, output: list[str]) -> bool:
    """DVC writes these in place, so `kill -9` or a full disk can tear them; it makes them anew, from its run cache."""
    text = "\n".join(output)
    signs = {
        workspace.root / "dvc.lock": r"dvc\.lock' (validation failed|is invalid)",
        workspace.root / ".dvc" / "tmp" / "rwlock": "Unable to read RWLock-file",
    }
    torn = next((path for path, sign in signs.items() if re.search(sign, text) and path.exists()), None)
    if torn:
        torn.replace(torn.with_name(f"{torn.name}.torn"))
    return torn is not None


def news(line: str) -> bool:
    """Whether a line tells more than that DVC is at work."""
    return not CHATTER.match(line)


def _end_with_caller() -> None:
    """Stop this process and all that it started when told to (SIGTERM), or when its caller is gone (Linux alone)."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.killpg(0, signal.SIGTERM)

    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, stop)
    die_with_parent()


def die_with_parent() -> None:
    """Let Linux send this process SIGTERM when the one that started it is gone; elsewhere it runs on."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


if __name__ == "__main__":
    _end_with_caller()
    from dvc.cli import main

    sys.exit(main(sys.argv[1:]))
