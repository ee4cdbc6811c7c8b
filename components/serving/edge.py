"""What every request passes first and last: who asks (Host), how much is sent, its id, and what is counted.

In and out: ASGI. Refuses what a foreign page makes a browser send, and a body that is over the limit, while it is read.
An exception that nothing else caught becomes a 500 without details; the traceback goes to the log.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.serving.metrics import Metrics
from components.serving.problems import Problem, response

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CLIENT_LEFT = 499  # nginx's status for it; only counted, nobody is there to read it
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
logger = logging.getLogger(__name__)


def fresh_id() -> str:
    return uuid.uuid4().hex


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


class Edge:
    """Wraps `app`. The request's id is in `scope["state"]["request_id"]`, where a route may still change it."""

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], max_body: int, routes: Collection[str], metrics: Metrics
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._max_body = max_body  # bytes
        self._routes = routes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if REQUEST_ID.fullmatch(offered) else fresh_id()
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        route = scope["path"] if scope["path"] in self._routes else "other"
        with self._metrics.seconds.labels(route).time():
            status = await self._answer(scope, receive, send)
        self._metrics.requests.labels(route, str(status)).inc()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = scope["state"]["request_id"]
            await send(message)

        try:
            self._check_asker(Headers(scope=scope))
            await self._app(scope, self._limited(scope, receive), told)
        except Problem as problem:
            await response(problem, scope["state"]["request_id"])(scope, receive, told)
        except ClientDisconnect:
            return CLIENT_LEFT
        except Exception:
            logger.exception("Request %s failed", scope["state"]["request_id"])
            failed = Problem(500, "internal_error", "The service failed; its log names this request.")
            if not status:
                await response(failed, scope["state"]["request_id"])(scope, receive, told)
        return status

    def _check_asker(self, headers: Headers) -> None:
        """Refuse what a page of another site makes a browser send: by a name of its own, or across sites."""
        names = ", ".join(sorted(self._hosts))
        if _host(f"//{headers.get('host', '')}") not in self._hosts:
            raise Problem(400, "wrong_host", f"This service answers to the host names {names}.")
        if "origin" in headers and _host(headers["origin"]) not in self._hosts:
            raise Problem(403, "foreign_origin", f"This service answers pages of {names} alone.")

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, until the body is over the limit by its own account or in fact."""
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive() if size <= self._max_body else {}
            read += len(message.get("body", b""))
            if max(size, read) > self._max_body:
                if "expect" not in headers:
                    await self._discard(receive)
                detail = f"At most {self._max_body:,} bytes are read (serve.max_body_mb)."
                raise Problem(413, "body_too_large", detail, {"Connection": "close"})
            return message

        return limited

    async def _discard(self, receive: Receive) -> None:
        """Read on for a while, since many clients only look for an answer when all is sent."""
        read = 0
        while read <= self._max_body:
            message = await receive()
            read += len(message.get("body", b""))
            if not message.get("more_body", False):
                return
