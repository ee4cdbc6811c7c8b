"""A camera's point of view: photographs sent to the prediction service, labels sent back, and the machine watched.

In: photographs with known truth and the service's address. Out: answers. Used by the demo and the slow tests; talks to
the product only over HTTP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psutil

from flows.digits import Photo

TOGETHER = 10  # images in one request
CLIENTS = 4


@dataclass(frozen=True)
class Answer:
    """What the service said of one photograph, beside the truth."""

    request_id: str
    item: int
    truth: str
    label: str
    confidence: float
    version: int

    @property
    def right(self) -> bool:
        return self.label == self.truth


def send(url: str, photos: Sequence[Photo]) -> list[Answer]:
    """Predict `photos`, in order, several to a request and several requests at once; raise on any refusal."""
    batches = [photos[start : start + TOGETHER] for start in range(0, len(photos), TOGETHER)]
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(CLIENTS) as pool:
        return [answer for answers in pool.map(lambda batch: _predict(client, batch), batches) for answer in answers]


def give_feedback(url: str, answers: Sequence[Answer], author: str) -> int:
    """Send the true label of each answer; return how many."""
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda answer: _label(client, answer, author), answers))
    return len(answers)


def accuracy(answers: Sequence[Answer]) -> float:
    return round(sum(each.right for each in answers) / len(answers), 4)


def wait_for_version(url: str, version: int, timeout_s: float = 60) -> None:
    """Return when the service answers with model `version`; raise TimeoutError when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ready = httpx.get(f"{url}/readyz", timeout=10)
        if ready.is_success and ready.json().get("model_version") == version:
            return
        time.sleep(0.2)
    raise TimeoutError(f"{url} does not serve model v{version} after {timeout_s:.0f} s.")


def _predict(client: httpx.Client, photos: Sequence[Photo]) -> list[Answer]:
    files = [("images", (photo.name, photo.png, "image/png")) for photo in photos]
    answer = client.post("/predict", files=files).raise_for_status().json()
    rows = zip(photos, answer["predictions"], strict=True)
    version, request_id = answer["model_version"], answer["request_id"]
    return [
        Answer(request_id, item, photo.label, row["label"], row["confidence"], version)
        for item, (photo, row) in enumerate(rows)
    ]


def _label(client: httpx.Client, answer: Answer, author: str) -> None:
    body = {"request_id": answer.request_id, "item": answer.item, "label": answer.truth, "author": author}
    client.post("/feedback", json=body).raise_for_status()


class MemoryWatch:
    """The largest memory of this process and all its children while the block runs, in MB.

    Proportional set size where the system tells it (shared pages counted once), else resident set size.
    """

    def __init__(self, every_s: float = 1.0) -> None:
        self.peak_mb = 0.0
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            family = [psutil.Process(), *psutil.Process().children(recursive=True)]
            self.peak_mb = max(self.peak_mb, sum(_memory_mb(each) for each in family))


def _memory_mb(process: psutil.Process) -> float:
    try:
        found = process.memory_full_info()
        return float(getattr(found, "pss", found.rss)) / 1e6
    except psutil.Error:
        return 0.0
