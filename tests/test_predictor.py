"""A loaded bundle answers as its engine does, and refuses to answer nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine

from components.registry.bundle import BundleError
from components.serving.predictor import Predictor, PredictorError, load_champion, load_predictor
from components.settings import load_settings
from components.state.database import open_state
from components.workspace import Workspace, create_workspace
from tests.bundles import CLASSES, SIDE, promote, tiny_bundle


@dataclass(frozen=True)
class Fixed:
    """An engine that always gives the same logits."""

    logits: NDArray[np.float32]
    target: Literal["openvino"] = "openvino"
    precision: Literal["fp32"] = "fp32"
    provider: str = "CPU"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ARG002
        return self.logits


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    workspace = create_workspace(tmp_path_factory.mktemp("predictor") / "workspace")
    return load_predictor(tiny_bundle(workspace), version=5, batches=(1, 4))


@pytest.fixture
def state(workspace: Workspace) -> Iterator[Engine]:
    state = open_state(load_settings(workspace).database_url)
    yield state
    state.dispose()


def square(value: int) -> NDArray[np.uint8]:
    return np.full((3, SIDE, SIDE), value, np.uint8)


def test_predictions_come_in_the_order_of_the_images(predictor: Predictor) -> None:
    predictions = predictor.predict([square(255), square(0), square(200)])
    assert [prediction.label for prediction in predictions] == ["light", "dark", "light"]
    assert predictions[0].confidence > predictions[2].confidence > 0.5


def test_an_image_is_brought_to_the_size_the_model_was_trained_on(predictor: Predictor) -> None:
    rgb = np.full((50, 80, 3), 255, np.uint8)
    assert predictor.square(rgb).shape == (3, SIDE, SIDE)
    assert predictor.predict([predictor.square(rgb)])[0].label == "light"


@pytest.mark.parametrize(
    "logits",
    [[[np.nan, 0.0]], [[np.inf, 0.0]], [[0.0, 0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]],
    ids=["nan", "infinite", "another class", "another image"],
)
def test_logits_that_cannot_be_believed_are_not_answered(predictor: Predictor, logits: list[list[float]]) -> None:
    broken = replace(predictor, engine=Fixed(np.array(logits, np.float32)))
    with pytest.raises(PredictorError, match=r"Model 5 gave outputs .*Roll back"):
        broken.predict([square(0)])


def test_the_champion_is_the_newest_promotion(workspace: Workspace, state: Engine) -> None:
    with pytest.raises(PredictorError, match="visionloop run"):
        load_champion(workspace.models, state)
    first, second = tiny_bundle(workspace, 0.6), tiny_bundle(workspace, 0.8)
    promote(workspace, 1, first.digest)
    promote(workspace, 2, second.digest)
    champion = load_champion(workspace.models, state)
    assert (champion.version, champion.digest, champion.card.classes) == (2, second.digest, CLASSES)
    assert champion.predict([square(0)])[0].confidence == pytest.approx(0.8)


def test_a_bundle_with_a_changed_byte_is_not_loaded(workspace: Workspace, state: Engine) -> None:
    bundle = tiny_bundle(workspace)
    promote(workspace, 1, bundle.digest)
    weights = bundle.path / "engine" / "model.bin"
    weights.write_bytes(b"\0" + weights.read_bytes()[1:])
    with pytest.raises(BundleError, match=r"engine/model\.bin"):
        load_champion(workspace.models, state)
