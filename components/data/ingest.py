"""Found files -> shards, manifest and labels; what cannot be used goes to quarantine or conflicts, with the reason.

In: a source, and the workspace's tables of earlier runs. Out: the same tables, grown. An image is its bytes: one that
is known adds nothing, whatever it is called. Its label must be one that the task takes for an image of its size.
Shards are written first and the manifest last, each whole or not at all, so that after `kill -9` or a full disk the
old dataset stands, and the same command again gives what the first would have given. DVC is left to
`components.versioning`, holding the workspace's lock to the caller.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from components.data.annotations import LabelError, Shown, alone
from components.data.claims import Claims
from components.data.look import Look, look_at
from components.data.manifest import GrowingManifest
from components.data.sources import Found, Objection, Source, printable
from components.data.tables import QUARANTINE, table_so_far, write_table
from components.launcher import Launcher
from components.params import IngestParams
from components.report import Report
from components.workspace import Workspace

CHUNK_FILES = 256  # that one worker looks at in one go ...
CHUNK_BYTES = 16_000_000  # ... or fewer: their bytes travel back through memory
SHOWN = 10  # refused files and conflicts that are printed; the tables hold them all
LABEL_SHOWN = 80  # characters of a label in a message

Check = Callable[[str, tuple[int, int]], str]  # Task.check: the label for an image of (width, height), or LabelError


class IngestError(RuntimeError):
    """Nothing was added; the message says why and what to do."""


@dataclass(frozen=True)
class Ingested:
    """Counts of one run: new images, files of known images, files refused, images under several labels."""

    added: int
    known: int
    quarantined: int
    conflicts: int

    def __str__(self) -> str:
        return (
            f"{self.added} added, {self.known} already known, "
            f"{self.quarantined} quarantined, {self.conflicts} in conflict"
        )


def as_said(label: str, size: tuple[int, int]) -> str:  # noqa: ARG001
    """The check of a task whose labels fit images of any size."""
    return label


def ingest(
    source: Source,
    workspace: Workspace,
    params: IngestParams,
    launcher: Launcher,
    report: Report,
    now: datetime,
    check: Check = as_said,
    shown: Shown = alone,
) -> Ingested:
    """Add what `source` holds, each label as `check` returns it; `shown` tells the classes of a label.

    Raises IngestError, with nothing added, when too much is bad, when no image of a class is left, or when the disk is
    full.
    """
    found = list(source.files())
    intake = Intake(workspace, params, check, shown)
    try:
        for done, chunk, looks in _looks(found, workspace, params, launcher):
            for each, look in zip(chunk, looks, strict=True):
                intake.take(each, look)
            report.progress(done, len(found), "ingest")
        intake.tell(report)
        intake.keep(now)
    except OSError as error:
        raise IngestError(
            f"{workspace.data} cannot be written: {error}. Nothing was added; "
            "make room or free the folder, then run the same command again."
        ) from error
    finally:
        with suppress(OSError):
            intake.manifest.sweep()
    return intake.counts()


class Intake:
    """Where each file goes: to the manifest and under a label, or aside. Writes nothing but shards before `keep`."""

    def __init__(self, workspace: Workspace, params: IngestParams, check: Check, shown: Shown) -> None:
        self.quarantine, self.params, self.check, self.shown = workspace.quarantine, params, check, shown
        self.manifest = GrowingManifest(workspace.manifest, workspace.shards, params.shard_mb)
        self.claims = Claims(workspace.labels, workspace.conflicts, self.manifest.known)
        self.accepted: list[str] = []  # image_id of each file that is an image with a label
        self.refused: dict[str, Mapping[str, str | None]] = {}  # rows of quarantine, by path
        self.lost: Counter[str] = Counter()  # refused files of each class
        self.seen: set[str] = set()  # paths

    def take(self, found: Found, look: Look) -> None:
        """Sort one file in, by what its source says and what it turned out to be."""
        path = found.place or printable(str(found.path))
        self.seen.add(path)
        label, objection = self._label(found, look)
        if objection:
            reason, detail = objection
            self.refused[path] = {"path": path, "reason": reason, "detail": detail, "sha256": look.image_id}
            self.lost.update(found.shows or (self.shown(found.label) if found.label else ()))
        elif look.image_id is not None:
            self.accepted.append(look.image_id)
            self.manifest.take(found, look.image_id, look.scan, look.data)
            self.claims.hear(look.image_id, label, found)

    def tell(self, report: Report) -> None:
        """A line for each refused file and each conflict of this run, as far as they can be read."""
        lines = [f"quarantined {row['path']}: {row['reason']}, {row['detail']}" for row in self.refused.values()]
        for image_id in self._in_conflict():
            said = " but ".join(
                f"{who} says {label[:LABEL_SHOWN]}" for label, who in self.claims.disputed[image_id].items()
            )
            lines.append(f"in conflict {image_id[:12]}: {said}")
        for line in lines[:SHOWN]:
            report.line(line)
        if len(lines) > SHOWN:
            report.line(f"and {len(lines) - SHOWN} more: see quarantine.parquet and conflicts.parquet in data/")

    def keep(self, now: datetime) -> None:
        """Write the tables, the manifest last; raise IngestError when too many files or a whole class were refused."""
        self._write_quarantine()
        if len(self.refused) > self.params.max_bad_share * len(self.seen):
            raise IngestError(self._too_many())
        if emptied := self._emptied():
            raise IngestError(self._no_class_left(emptied))
        self.manifest.write_shards()
        self.claims.write(now)
        self.manifest.write()

    def counts(self) -> Ingested:
        conflicts = self._in_conflict()
        added = len(self.manifest.splits.keys() - conflicts)
        known = sum(image_id not in conflicts for image_id in self.accepted) - added
        return Ingested(added, known, len(self.refused), len(conflicts))

    def _label(self, found: Found, look: Look) -> tuple[str, Objection | None]:
        """The label as the task wants it; or why the file is put aside."""
        objection = _objection(found, look)
        if objection or found.label is None or look.image_id is None:
            return "", objection
        size = (look.scan.width, look.scan.height) if look.scan else self.manifest.sizes[look.image_id]
        if found.size and found.size != size:
            made, has = (f"{width} x {height} px" for width, height in (found.size, size))
            return "", ("bad_size", f"{found.said_by}: made for an image of {made}; the image has {has}, upright")
        try:
            return self.check(found.label, size), None
        except LabelError as error:
            return "", (error.code, f"{found.said_by or found.name}: {error.detail}")

    def _emptied(self) -> list[str]:
        """Classes that refused files show, and no image of the dataset."""
        if not self.lost:
            return []
        labels = {claim.label for claim in self.claims.standing.values()}.union(*self.claims.disputed.values())
        return sorted(self.lost.keys() - {name for label in labels for name in self.shown(label)})

    def _in_conflict(self) -> list[str]:
        return sorted(self.claims.disputed.keys() & set(self.accepted))

    def _write_quarantine(self) -> None:
        before = table_so_far(self.quarantine, QUARANTINE)
        old = before.filter(pc.invert(pc.is_in(before["path"], pa.array(self.seen, pa.string()))))
        new = pa.Table.from_pylist(list(self.refused.values()), schema=QUARANTINE)
        write_table(pa.concat_tables([old, new]).sort_by("path"), self.quarantine)

    def _too_many(self) -> str:
        reasons = Counter(row["reason"] for row in self.refused.values())
        return (
            f"{len(self.refused)} of {len(self.seen)} files cannot be used "
            f"({', '.join(f'{count} {reason}' for reason, count in reasons.most_common())}); "
            f"ingest.max_bad_share allows {self.params.max_bad_share:.1%}. Nothing was added. "
            f"{self.quarantine} lists them: mend or remove them, or raise the share in params.yaml."
        )

    def _no_class_left(self, emptied: Sequence[str]) -> str:
        names = ", ".join(f"{name!r} ({self.lost[name]} refused)" for name in emptied[:SHOWN])
        return (
            f"No image that can be used is left of {len(emptied)} class(es): {names}. Nothing was added. "
            f"{self.quarantine} lists why: mend those files, or take them out of the source."
        )


def _objection(found: Found, look: Look) -> Objection | None:
    """Why a file is put aside, as far as file and source tell."""
    if look.reason == "missing":
        nowhere = found.objection is not None and found.objection[0] in {"missing", "outside"}
        return found.objection if nowhere else (look.reason, f"{found.said_by}, path {found.name}: {look.detail}")
    if look.reason:
        return look.reason, look.detail
    if found.objection is None and found.label is None:
        return "no_label", "expected inside a folder that is named after its label"
    return found.objection


def _looks(
    found: Sequence[Found], workspace: Workspace, params: IngestParams, launcher: Launcher
) -> Iterator[tuple[int, list[Found], list[Look]]]:
    """(files done so far, some files, what each of them is), in order."""
    chunks = list(_chunks(found))
    stamp = workspace.manifest.stat().st_mtime_ns if workspace.manifest.exists() else 0
    look = partial(look_at, params=params, manifest=workspace.manifest, stamp=stamp)
    done = 0
    results = launcher.map_shards(look, [[os.fspath(each.path) for each in chunk] for chunk in chunks])
    for chunk, looks in zip(chunks, results, strict=True):
        done += len(chunk)
        yield done, chunk, looks


def _chunks(found: Sequence[Found]) -> Iterator[list[Found]]:
    chunk: list[Found] = []
    size = 0
    for each in found:
        chunk.append(each)
        size += _size(each)
        if len(chunk) == CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(found: Found) -> int:
    try:
        return found.path.stat().st_size
    except OSError:  # look_at tells
        return 0
