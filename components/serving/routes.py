"""What each address answers. Refusals are problem+json, see `components.serving.problems`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import generate_latest

from components.data.annotations import LabelError
from components.data.images import BadImage
from components.serving import pages
from components.serving.predictor import Predictor
from components.serving.problems import MEDIA_TYPE, Problem, of_image
from components.serving.running import Running
from components.serving.schemas import PREDICT_BODY, FeedbackGiven, FeedbackTaken, Predicted, ProblemAnswer, item_of
from components.serving.uploads import read_uploads
from components.state.feedback import FeedbackError, give
from components.state.predictions import by_request

router = APIRouter()


def _running(request: Request) -> Running:
    running: Running = request.app.state.running
    return running


Here = Annotated[Running, Depends(_running)]


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {MEDIA_TYPE: {"schema": ProblemAnswer.model_json_schema()}}} for status in statuses}


@router.post(
    "/predict",
    response_model=Predicted,
    responses=_refusals(400, 413, 415, 422, 503),
    openapi_extra={"requestBody": PREDICT_BODY},
)
async def predict(request: Request, running: Here) -> JSONResponse:
    """Recognise one image (raw body) or several (multipart). A bad image among several only spoils its own item."""
    predictor = _serving(running)
    uploads = await read_uploads(request)
    state = request.state
    offered = state.request_id if state.request_id == request.headers.get("x-request-id") else None
    async with running.own_id(offered) as state.request_id:
        outcomes = await running.recognize(uploads, state.request_id, predictor)
    if len(outcomes) == 1 and isinstance(outcomes[0], BadImage):
        raise of_image(outcomes[0])
    return JSONResponse(
        {
            "request_id": state.request_id,
            "model_version": predictor.version,
            "predictions": [item_of(outcome) for outcome in outcomes],
        }
    )


@router.post("/feedback", responses=_refusals(404, 422, 503))
async def feedback(given: FeedbackGiven, running: Here) -> FeedbackTaken:
    """Tell what an image of an earlier request really shows."""
    rows = await running.in_thread(by_request, running.log, given.request_id) if given.request_id.isascii() else []
    row = next((row for row in rows if row.item == given.item), None)
    if row is None:
        raise Problem(404, "unknown_request", "No image with this request_id and item was answered here.")
    try:
        label = await running.in_thread(running.checked_label, given.label.strip(), row.image_id)
        arguments = (given.request_id, given.item, label, given.author, "feedback", datetime.now(UTC))
        await running.in_thread(give, running.state, *arguments)
    except (FeedbackError, LabelError) as error:
        raise Problem(422, "bad_feedback", str(error)) from None
    new = running.is_new_class(label)
    return FeedbackTaken(request_id=given.request_id, item=given.item, label=label, new_class=new)


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    """200 while the process answers at all."""
    return {"live": True}


@router.get("/readyz", responses=_refusals(503))
async def readyz(running: Here) -> dict[str, bool | int]:
    """200 while a model serves."""
    return {"ready": True, "model_version": _serving(running).version}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(running: Here) -> PlainTextResponse:
    """Counters, for Prometheus."""
    return PlainTextResponse(generate_latest(running.metrics.registry))


@router.get("/", include_in_schema=False)
async def index(running: Here) -> HTMLResponse:
    return pages.index(running.champion)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    return pages.docs(request.app.openapi(), str(request.base_url).rstrip("/"))


def _serving(running: Running) -> Predictor:
    if running.champion.current is None:
        raise Problem(503, "no_model", running.champion.trouble)
    return running.champion.current
