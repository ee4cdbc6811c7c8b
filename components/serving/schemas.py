"""What is sent and answered as JSON, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from components.data.annotations import areas_in
from components.data.images import BadImage
from components.serving.recognition import Answered
from components.tasks import Detection
from components.tasks.boxes import to_pixels


class FoundObject(BaseModel):
    label: str
    confidence: float
    box: tuple[float, float, float, float] = Field(description="Left, top, right, bottom, in px of the image")


class Answer(BaseModel):
    label: str = Field(description='In a word; several classes are joined by " + "')
    confidence: float = Field(description="Probability of the label")
    probabilities: dict[str, float] = Field(description="By class; of segmentation the share of the pixels")
    objects: Annotated[list[FoundObject] | None, Field(description="Of detection: the surest first")] = None
    areas: Annotated[dict[str, str] | None, Field(description="Of segmentation: COCO's run lengths by class")] = None
    size: Annotated[tuple[int, int] | None, Field(description="Width and height of the areas, px")] = None


class Reason(BaseModel):
    code: str
    detail: str


class Refusal(BaseModel):
    error: Reason


class Predicted(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    request_id: str
    model_version: int
    predictions: list[Answer | Refusal] = Field(description="One for each image, in the order they were sent")


class FeedbackGiven(BaseModel):
    request_id: str = Field(description="As answered by /predict")
    label: str = Field(description="What the image shows")
    item: Annotated[int, Field(ge=0, description="Place of the image in its request")] = 0
    author: str = Field("anonymous", description="Who says so; the same author's next label replaces this one")


class FeedbackTaken(BaseModel):
    request_id: str
    item: int
    label: str
    new_class: bool = Field(description="True where the model does not know this label: a new class, or a slip")


class ProblemAnswer(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str = Field(description="One word for programs")
    detail: str
    request_id: str


IMAGE = {"type": "string", "format": "binary"}
PREDICT_BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": IMAGE},
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"files": {"type": "array", "items": IMAGE}}},
        },
    },
}


def item_of(outcome: Answered | BadImage) -> dict[str, Any]:
    """An Answer or a Refusal as JSON, without what its task does not have."""
    if isinstance(outcome, BadImage):
        return Refusal(error=Reason(code=outcome.code, detail=outcome.detail)).model_dump()
    found = outcome.prediction
    answer = Answer(label=found.label, confidence=found.confidence, probabilities=dict(found.probabilities))
    if found.detections is not None:
        answer.objects = [_object(each, outcome) for each in found.detections]
    if found.classes_of_pixels is not None:
        answer.areas, answer.size = areas_in(outcome.said)
    return answer.model_dump(exclude_none=True)


def _object(found: Detection, outcome: Answered) -> FoundObject:
    left, top, right, bottom = (round(edge, 2) for edge in to_pixels(found.box, outcome.size, outcome.fit))
    return FoundObject(label=found.label, confidence=found.confidence, box=(left, top, right, bottom))
