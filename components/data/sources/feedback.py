"""Labels that people gave to answered images -> images for the dataset, with who said so.

In: feedback rows, the prediction log and the image store. Out: `Found` with origin "feedback", one an image: of several
authors the one who spoke last is believed. Which rows are merged already is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from components.data.sources import Found
from components.state.feedback import Feedback
from components.state.image_store import ImageStore
from components.state.predictions import by_items


@dataclass(frozen=True)
class FeedbackSource:
    """The labelled images of `rows` (oldest first); a row whose request is not in the log is passed over."""

    rows: Sequence[Feedback]
    log: Engine
    store: ImageStore

    def files(self) -> Iterator[Found]:
        answers = by_items(self.log, [(row.request_id, row.item) for row in self.rows])
        newest = {answers[key].image_id: row for row in self.rows if (key := (row.request_id, row.item)) in answers}
        for image_id, row in newest.items():
            yield Found(
                path=self.store.path(image_id),
                name=f"{row.source}/{row.request_id}/{row.item}",
                label=row.label,
                origin="feedback",
                author=row.author,
                said_by=f"request {row.request_id} item {row.item}",
            )
