"""What is said of each image, and which label stands.

In: the tables `labels` and `conflicts`, and what each file says. Out: both tables, grown. The rules: the first label
stands; another one from a folder or a table is not guessed at: the image loses its label and is listed with all that
is said of it; a person's verdict outranks folders and tables, the last one counts, and it ends a conflict.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from components.data.sources import Found
from components.data.tables import CONFLICTS, LABELS, table_so_far, write_table


class Claim(NamedTuple):
    """A label and who said it; one with an author is a person's verdict."""

    label: str
    source: str
    author: str = ""
    kind: str = "human"  # or "synthetic": the picture was made to fit its label


class Claims:
    """Labels and conflicts of the images in `known`; rows of other images are left from a run that did not end."""

    def __init__(self, labels: Path, conflicts: Path, known: Container[str]) -> None:
        self.labels, self.conflicts = labels, conflicts
        self.before = table_so_far(labels, LABELS)
        rows = self.before.select(["image_id", *Claim._fields]).to_pydict().values()
        self.standing = {image_id: Claim(*claim) for image_id, *claim in zip(*rows, strict=True) if image_id in known}
        self.disputed: dict[str, dict[str, str]] = {}  # image_id -> label -> who says so
        for row in table_so_far(conflicts, CONFLICTS).to_pylist():
            if row["image_id"] in known:
                self.standing.pop(row["image_id"], None)
                self.disputed.setdefault(row["image_id"], {})[row["label"]] = row["path"]
        self.changed: set[str] = set()

    def hear(self, image_id: str, label: str, found: Found) -> None:
        """Take in that `found` gives the image this label."""
        said_by = found.said_by or found.name
        kind = "synthetic" if found.origin == "synthetic" else "human"
        standing = self.standing.get(image_id)
        if found.origin == "feedback":
            self._settle(image_id, Claim(label, said_by, found.author or "unknown"))
        elif image_id in self.disputed:
            self.disputed[image_id].setdefault(label, said_by)
        elif standing is None:
            self._settle(image_id, Claim(label, said_by, found.author, kind))
        elif standing.label != label and not standing.author:
            self.disputed[image_id] = {standing.label: standing.source, label: said_by}
            del self.standing[image_id]
            self.changed.add(image_id)

    def write(self, now: datetime) -> None:
        """Write conflicts and labels, sorted by image; rows whose claim did not change keep their time."""
        rows = [
            {"image_id": image_id, "label": label, "path": said_by}
            for image_id, claims in sorted(self.disputed.items())
            for label, said_by in claims.items()
        ]
        write_table(pa.Table.from_pylist(rows, schema=CONFLICTS), self.conflicts)
        write_table(self._labels(now).sort_by("image_id"), self.labels)

    def _settle(self, image_id: str, claim: Claim) -> None:
        self.disputed.pop(image_id, None)
        if self.standing.get(image_id) != claim:
            self.standing[image_id] = claim
            self.changed.add(image_id)

    def _labels(self, now: datetime) -> pa.Table:
        kept = pa.array(self.standing.keys() - self.changed, pa.string())
        before = self.before.filter(pc.is_in(self.before["image_id"], kept))
        rows = [self._row(image_id, now) for image_id in self.changed & self.standing.keys()]
        return pa.concat_tables([before, pa.Table.from_pylist(rows, schema=LABELS)])

    def _row(self, image_id: str, now: datetime) -> Mapping[str, object]:
        claim = self.standing[image_id]
        return {"image_id": image_id, "labelled_at": now, **claim._asdict()}
