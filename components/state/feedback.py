"""What people said the images of past answers show; at most one label an image and author, the newest holds.

In: the true label of one answered image. Out: labels that have not entered the dataset yet, and labelled predictions
(a live accuracy is measured on them). Whether the request exists is for the caller to check: the prediction log is
another database.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Engine, Select, insert, select, update

from components.state.database import feedback, reading
from components.state.predictions import Logged, by_items

LONGEST_AUTHOR = 200  # characters
LONGEST_LABEL = 2_000_000  # characters; a label may be a map of all pixels
REFUSED = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of surrogate pairs, line and paragraph separators


class FeedbackError(ValueError):
    """The label or the author cannot be kept; the message says why."""


@dataclass(frozen=True)
class Feedback:
    """One author's label of one image; a row of the table `feedback`."""

    id: int
    request_id: str
    item: int
    label: str
    author: str
    source: str  # feedback or review
    at: datetime
    merged_at: datetime | None


@dataclass(frozen=True)
class Labelled:
    """A prediction beside the truth that a person gave for it."""

    prediction: Logged
    truth: str

    @property
    def right(self) -> bool:
        return (self.prediction.answer or self.prediction.label) == self.truth


def give(
    state: Engine,
    request_id: str,
    item: int,
    label: str,
    author: str,
    source: Literal["feedback", "review"],
    now: datetime,
) -> None:
    """Keep `author`'s label of one image in place of any earlier one; another label has yet to enter the dataset.

    Raises FeedbackError for a label or an author that is empty, too long, or not plain text.
    """
    label, author = _plain("label", label, LONGEST_LABEL), _plain("author", author, LONGEST_AUTHOR)
    same = (feedback.c.request_id == request_id, feedback.c.item == item, feedback.c.author == author)
    with state.begin() as connection:
        before = connection.scalar(select(feedback.c.label).where(*same).with_for_update())
        if before is None:
            row = {"request_id": request_id, "item": item, "label": label, "author": author}
            connection.execute(insert(feedback).values(**row, source=source, at=now))
        elif before != label:
            connection.execute(update(feedback).where(*same).values(label=label, source=source, at=now, merged_at=None))


def unmerged(state: Engine) -> list[Feedback]:
    """Labels that have not entered the dataset, oldest first: a later author's word comes after an earlier one's."""
    return _rows(state, select(feedback).where(feedback.c.merged_at.is_(None)).order_by(feedback.c.at, feedback.c.id))


def mark_merged(state: Engine, merged: Sequence[Feedback], now: datetime) -> None:
    """Note that these labels are in the dataset; one that its author has changed meanwhile stays unmerged."""
    with state.begin() as connection:
        for each in merged:
            unchanged = (feedback.c.id == each.id, feedback.c.label == each.label)
            connection.execute(update(feedback).where(*unchanged).values(merged_at=now))


def labelled(state: Engine, log: Engine, version: int, after_id: int = 0) -> list[Labelled]:
    """The labelled answers of model `version` with ids above `after_id`, in the order of the log.

    Of several authors the one who spoke last is believed.
    """
    rows = _rows(state, select(feedback).order_by(feedback.c.at, feedback.c.id))
    truths = {(row.request_id, row.item): row.label for row in rows}
    answers = sorted(by_items(log, truths).values(), key=lambda answer: answer.id)
    wanted = [answer for answer in answers if answer.model_version == version and answer.id > after_id]
    return [Labelled(answer, truths[answer.request_id, answer.item]) for answer in wanted]


def _plain(what: str, text: str, longest: int) -> str:
    text = text.strip()
    if not text:
        raise FeedbackError(f"The {what} is empty.")
    if len(text) > longest:
        raise FeedbackError(f"The {what} has {len(text):,} characters; at most {longest:,} are kept.")
    if any(unicodedata.category(character) in REFUSED for character in text):
        raise FeedbackError(f"The {what} holds control characters or line breaks.")
    return text


def _rows(state: Engine, query: Select[Any]) -> list[Feedback]:
    with reading(state) as connection:
        return [Feedback(**row) for row in connection.execute(query).mappings()]
