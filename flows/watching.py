"""An inbox folder, looked at again and again: what is complete there joins the dataset.

In: a workspace and the folder. Out: a line whenever something was taken or refused, until the caller stops. The whole
inbox is read each time that a complete file is new, changed or gone, so that shares of bad files are shares of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from components.workspace import Workspace
from flows.ingesting import ingest_source


def watch_inbox(
    workspace: Workspace, folder: Path, every_s: float = 5.0, pause: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Ingest `folder` whenever its complete files change; a refusal is told and the next change is waited for."""
    from components.data.ingest import IngestError
    from components.data.sources import SourceError
    from components.data.sources.inbox import complete_files
    from components.versioning import WorkspaceBusy

    before: dict[str, tuple[int, int]] = {}
    while True:
        complete = complete_files(folder)
        if complete != before:
            try:
                yield str(ingest_source(workspace, folder, format="inbox"))
                before = complete
            except (IngestError, SourceError) as error:
                yield str(error)
                before = complete
            except WorkspaceBusy as error:
                yield str(error)  # the next look tries again
        pause(every_s)
