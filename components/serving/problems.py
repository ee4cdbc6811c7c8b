"""Refusals a client can act on: RFC 9457 problem+json with a stable code, and never a traceback or a path.

In: a `Problem` raised anywhere in a request, or what FastAPI and Starlette raise themselves. Out: the response.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from components.data.images import BadImage, Code
from components.serving.recognition import LogError

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
STATUS_OF_IMAGE: Mapping[Code, int] = {
    "empty": 400,
    "not_image": 415,
    "unsupported_format": 415,
    "too_many_pixels": 413,
    "truncated": 422,
    "corrupt": 422,
    "too_small": 422,
}


class Problem(HTTPException):
    """Ends a request with `status`; `code` is one word for programs, `detail` a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)
        self.code = code


def of_image(bad: BadImage) -> Problem:
    return Problem(STATUS_OF_IMAGE[bad.code], bad.code, bad.detail)


def response(problem: HTTPException, request_id: str) -> JSONResponse:
    title = HTTPStatus(problem.status_code).phrase
    code = problem.code if isinstance(problem, Problem) else title.lower().replace(" ", "_")
    body = {"type": "about:blank", "title": title, "status": problem.status_code, "code": code}
    body |= {"detail": str(problem.detail), "request_id": request_id}
    return JSONResponse(body, problem.status_code, problem.headers, MEDIA_TYPE)


def answer_with_problems(app: FastAPI) -> None:
    """Have `app` answer every refusal, its own and its frameworks', as problem+json."""

    async def refused(request: Request, error: Any) -> JSONResponse:
        return response(error, request.state.request_id)

    async def invalid(request: Request, error: Any) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return response(Problem(422, "invalid_request", found), request.state.request_id)

    async def unavailable(request: Request, error: Any) -> JSONResponse:
        logger.error("Request %s was not answered: %s", request.state.request_id, error)
        detail = "It could not be written down, so it is not answered. The service's log says why; try again later."
        return response(Problem(503, "not_logged", detail), request.state.request_id)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(LogError, unavailable)
    app.add_exception_handler(SQLAlchemyError, unavailable)
