"""What is sent and answered as JSON, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from components.data.images import BadImage
from components.tasks import Prediction


class Answer(BaseModel):
    label: str
    confidence: float = Field(description="Probability of the label")
    probabilities: dict[str, float]


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


def item_of(outcome: Prediction | BadImage) -> Answer | Refusal:
    if isinstance(outcome, BadImage):
        return Refusal(error=Reason(code=outcome.code, detail=outcome.detail))
    return Answer(label=outcome.label, confidence=outcome.confidence, probabilities=dict(outcome.probabilities))
