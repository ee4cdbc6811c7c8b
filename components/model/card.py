"""What must be known of a model beside its weights: `ModelCard`, a JSON file that travels with every artefact of it.

In and out: model.json. Whoever runs the model (export, engine, serving) reads from here how its images are prepared
and what its logits mean. No torch is needed to read a card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from components.params import ImageParams
from components.workspace import replace_file

Triple = tuple[float, float, float]


class CardError(ValueError):
    """model.json is missing, or is no card of this version of visionloop."""


@dataclass(frozen=True)
class ModelCard:
    task: str
    arch: str
    classes: tuple[str, ...]  # in the order of the logits
    size: int  # px, side of the square image
    fit: Literal["stretch", "crop"]
    mean: Triple  # of RGB in 0..1; taken off and divided by inside the model
    std: Triple
    data_version: str  # of the manifest, labels and splits it was trained on
    thresholds: Mapping[str, float] = field(default_factory=dict)  # by class, as the task tuned them

    @property
    def image(self) -> ImageParams:
        """The `image:` section of params.yaml that the model was trained with."""
        return ImageParams(size=self.size, fit=self.fit, mean=self.mean, std=self.std)

    def write(self, path: Path) -> None:
        """Write model.json, whole or not at all; equal cards give equal bytes."""
        with replace_file(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(path: Path) -> ModelCard:
    """The card in `path`; raise CardError when it is missing or has other fields than a card has."""
    if not path.is_file():
        raise CardError(f"No {path.name} in {path.parent}; train a model first: `visionloop run`.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CardError(f"{path} is not JSON: {error}. Train again: `visionloop run`.") from None
    expected = [field.name for field in fields(ModelCard)]
    if not isinstance(found, dict) or sorted(found) != sorted(expected):
        raise CardError(f"{path} is no model card; expected the fields {', '.join(expected)}. Train again.")
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return ModelCard(**{**found, **lists})
