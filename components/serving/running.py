"""The parts of one running service, and how they work together on a request and in the background.

In: uploads of a request. Out: their outcomes in order. What is decoded, stored and logged is in
`components.serving.recognition`; addresses and status codes are in `components.serving.routes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from components.data.images import BadImage
from components.params import Params
from components.serving.batcher import Batcher
from components.serving.champion import Champion
from components.serving.edge import fresh_id
from components.serving.metrics import Metrics
from components.serving.predictor import Predictor
from components.serving.recognition import Answered, Ready, Recognition, Upload
from components.settings import Settings
from components.state.database import open_predictions, open_state
from components.state.image_store import ImageStore
from components.state.predictions import by_request
from components.workspace import Workspace

T = TypeVar("T")
Outcome = Answered | BadImage


class Running:
    """Made with the application; works inside `async with running.at_work()`."""

    def __init__(self, workspace: Workspace, params: Params, settings: Settings) -> None:
        self.metrics = Metrics()
        self.state = open_state(settings.database_url)
        self.log = open_predictions(settings.predictions_url)
        self.champion = Champion(self.state, workspace.models, params.serve.max_batch, self.metrics)
        self._poll_s = params.serve.poll_s
        self._recognition = Recognition(self.log, ImageStore(workspace.images), params.ingest, self.metrics)
        self._batcher: Batcher[Ready, Answered] = Batcher(
            self._recognition.answer, params.serve.max_batch, params.serve.batch_window_ms / 1000
        )
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="images")
        self._under_way: set[str] = set()  # request ids that may not be in the log yet
        self.metrics.queue.set_function(lambda: self._batcher.depth)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """The champion is loaded before the first request; at the end nothing of ours is left running."""
        await asyncio.to_thread(self.champion.follow)
        async with self._batcher:
            following = asyncio.create_task(self._follow_champion())
            yield
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        self._threads.shutdown()
        self.state.dispose()
        self.log.dispose()

    def checked_label(self, label: str, image_id: str) -> str:
        """`label` as it must be for this image; raise LabelError when it cannot be one of the champion's task."""
        if self.champion.current is None:
            return label
        return self.champion.current.task.check(label, self._recognition.size_of(image_id))

    def is_new_class(self, label: str) -> bool:
        """Whether it shows a class that the champion does not know."""
        predictor = self.champion.current
        return predictor is None or not set(predictor.task.shown(label)) <= set(predictor.card.classes)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    @asynccontextmanager
    async def own_id(self, offered: str | None) -> AsyncIterator[str]:
        """`offered`, unless another request has it, answered or under way; else a fresh one."""
        if offered is None or offered in self._under_way:
            yield fresh_id()
            return
        self._under_way.add(offered)
        try:
            known = await self.in_thread(by_request, self.log, offered)
            yield fresh_id() if known else offered
        finally:
            self._under_way.discard(offered)

    async def recognize(self, uploads: Sequence[Upload], request_id: str, predictor: Predictor) -> list[Outcome]:
        """What came of each upload, in order; raises LogError, or what the engine raised."""
        ways = [self._recognize(upload, request_id, item, predictor) for item, upload in enumerate(uploads)]
        return await asyncio.gather(*ways)

    async def _recognize(self, upload: Upload, request_id: str, item: int, predictor: Predictor) -> Outcome:
        try:
            ready = await self.in_thread(self._recognition.prepare, upload, request_id, item, predictor)
        except BadImage as bad:
            self.metrics.refused.labels(bad.code).inc()
            return bad
        return await self._batcher.submit(ready)

    async def _follow_champion(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await asyncio.to_thread(self.champion.follow)
